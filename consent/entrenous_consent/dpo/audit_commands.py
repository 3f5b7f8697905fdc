"""`entrenous privacy audit`: read the log, sign what it holds, verify it against what was signed, prove an entry.

`show`, `checkpoint` and `prove` work on a host's own files. `verify` works for an outsider too: with a checkpoint and
the public key alone it reads a copy of the store, or a proof that was handed over.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from entrenous_consent import audit
from entrenous_consent.audit.checkpoints import PROOF_LIMIT
from entrenous_consent.audit.exports import LEAVES_LIMIT
from entrenous_consent.audit.notes import NOTE_LIMIT
from entrenous_consent.dpo import audit_documents as documents
from entrenous_consent.dpo import host
from entrenous_consent.dpo.commands import Commands
from entrenous_consent.dpo.output import put, with_output
from entrenous_consent.errors import Malformed, Missing, Unauthentic
from entrenous_consent.files import reaching, read_up_to, write_whole
from entrenous_consent.policy import POLICY_LIMIT, parse_policy
from entrenous_consent.store import Store

__all__ = ["FAILED", "LEAVES_SUFFIX", "register"]

FAILED = 1
"""The exit code of a log that is not what it was."""

LEAVES_SUFFIX = ".leaves"
"""What the file of leaf hashes is named after its checkpoint."""

_LAST = 100


def register(verbs: Commands) -> None:
    """Register `entrenous privacy audit`."""
    parser = verbs.add_parser("audit", help="read the audit log, sign it, verify it, prove an entry")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = host.with_keys(_action(actions, "show", "the entries of a month in words"), required=False)
    show.add_argument("--month", metavar="YYYY-MM", help="which month (default: the newest)")
    show.add_argument("--kind", choices=audit.KINDS, help="entries of this kind alone")
    show.add_argument(
        "--last", type=_number, default=_LAST, metavar="N", help=f"how many, 0 for all (default: {_LAST})"
    )
    checkpoint = host.with_keys(_action(actions, "checkpoint", "sign what the log holds now, to be kept elsewhere"))
    checkpoint.add_argument("file", type=Path, help=f"where it goes; its leaf hashes go to FILE{LEAVES_SUFFIX}")
    verify = _action(actions, "verify", "say whether the log is what it was, and which entry first is not", state=False)
    verify.add_argument("--checkpoint", type=Path, metavar="FILE", help="what was signed, with FILE.leaves beside it")
    verify.add_argument("--key", metavar="KEY", help="the key that verifies it (default: that of the keyring)")
    verify.add_argument("--proof", type=Path, metavar="FILE", help="verify a proof instead, without the log")
    verify.add_argument("--policy", type=Path, metavar="FILE", help="the policy that says how long months are kept")
    host.with_keys(verify, required=False)
    prove = host.with_keys(_action(actions, "prove", "prove that an entry is in the log, or that the log only grew"))
    prove.add_argument("file", type=Path, help="where the proof goes")
    prove.add_argument("--month", metavar="YYYY-MM", help="which month (default: the newest)")
    what = prove.add_mutually_exclusive_group(required=True)
    what.add_argument("--entry", type=_number, metavar="N", help="the entry, by the number that show gives it")
    what.add_argument("--since", type=Path, metavar="FILE", help="an earlier checkpoint of the same month")


def _action(actions: Commands, name: str, words: str, *, state: bool = True) -> argparse.ArgumentParser:
    parser = with_output(actions.add_parser(name, help=words, description=words))
    parser.set_defaults(run={"show": _show, "checkpoint": _checkpoint, "verify": _verify, "prove": _prove}[name])
    return host.with_state(parser, required=state)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError("is not a number")
    return int(text)


def _show(arguments: argparse.Namespace) -> int:
    key = _key_of(arguments) if arguments.keys is not None else None
    with host.opened_store(arguments.state) as store:
        host.noted(store, "audit show", host.system_clock())
        log = _log(arguments.month, store.logs())
        entries = store.log(log)
    chosen = [
        (number, data)
        for number, data in enumerate(entries, 1)
        if arguments.kind is None or _kind(data) == arguments.kind
    ]
    if arguments.last:
        chosen = chosen[-arguments.last :]
    shown = documents.Shown(log=log, total=len(entries), entries=chosen, key=str(key) if key else "")
    put(documents.show_document(shown, arguments.language), arguments)
    return 0


def _checkpoint(arguments: argparse.Namespace) -> int:
    keyring = host.keyring_of(arguments.keys, arguments.root_key)
    with host.opened_store(arguments.state) as store:
        host.noted(store, "audit checkpoint", host.system_clock())
        held = host.held_logs(store)
    checkpoint = audit.checkpoint_of(held)
    files = (arguments.file, _beside(arguments.file))
    for path, data in zip(
        files, (audit.sign_checkpoint(checkpoint, keyring.audit).encode(), audit.write_leaves(held)), strict=True
    ):
        with reaching(path):
            write_whole(path, data)
    key = str(audit.audit_key(keyring.audit))
    document = documents.checkpoint_document(checkpoint, key, [str(path) for path in files], arguments.language)
    put(document, arguments)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    if arguments.proof is not None:
        return _verify_proof(arguments)
    if arguments.state is None:
        raise Malformed("names neither a store nor a proof", place="audit verify", remedy="add --state or --proof")
    checkpoint: audit.Checkpoint | None = None
    months: Sequence[audit.Month] = ()
    if arguments.checkpoint is not None:
        checkpoint = _read_checkpoint(arguments.checkpoint, _key_of(arguments))
        beside = _beside(arguments.checkpoint)
        if beside.is_file():
            months = audit.read_leaves(read_up_to(beside, LEAVES_LIMIT), checkpoint, place=str(beside))
    days = audit.RETENTION_DAYS
    if arguments.policy is not None:
        days = parse_policy(read_up_to(arguments.policy, POLICY_LIMIT), place=str(arguments.policy)).audit_days
    now = host.system_clock()
    with host.opened_store(arguments.state) as store:
        held = host.held_logs(store)
        failure = audit.first_failure(held, checkpoint, months, now=now, days=days)
        host.noted(store, "audit verify", now)
    put(documents.verified_document(failure, held, checkpoint, arguments.language), arguments)
    return FAILED if failure is not None else 0


def _verify_proof(arguments: argparse.Namespace) -> int:
    key, place = _key_of(arguments), str(arguments.proof)
    data = read_up_to(arguments.proof, PROOF_LIMIT)
    proved: audit.Inclusion | audit.Growth
    if arguments.checkpoint is not None:
        proved = audit.read_growth(data, key, _read_checkpoint(arguments.checkpoint, key), place=place)
    else:
        proved = audit.read_inclusion(data, key, place=place)
    put(documents.proved_document(proved, arguments.language), arguments)
    return 0


def _prove(arguments: argparse.Namespace) -> int:
    keyring = host.keyring_of(arguments.keys, arguments.root_key)
    key = audit.audit_key(keyring.audit)
    before = _read_checkpoint(arguments.since, key) if arguments.since is not None else None
    with host.opened_store(arguments.state) as store:
        host.noted(store, "audit prove", host.system_clock())
        log = _log(arguments.month, store.logs()) if before is None else _still_held(before, arguments.since, store)
        entries = store.log(log)
    leaves = [audit.leaf_hash(data) for data in entries]
    checkpoint = audit.Checkpoint(log=log, size=len(entries), root=audit.root_of(leaves))
    note = audit.sign_checkpoint(checkpoint, keyring.audit)
    facts = [("column.month", log.removeprefix("audit "))]
    if before is not None:
        if before.size > len(entries) or audit.root_of(leaves[: before.size]) != before.root:
            remedy = "run audit verify with --checkpoint: it names the first entry that fails"
            raise Unauthentic("is not what that checkpoint is about", place=log, remedy=remedy)
        proof = audit.write_growth(before.size, audit.consistency_proof(leaves, before.size), note)
        facts += [("prove.before", str(before.size)), ("prove.after", str(len(entries)))]
    else:
        index = arguments.entry - 1
        if not 0 <= index < len(entries):
            remedy = f"take a number that audit show gives, from 1 to {len(entries)}"
            raise Missing("has no entry of that number", place=log, remedy=remedy)
        proof = audit.write_inclusion(entries[index], index, audit.inclusion_proof(leaves, index), note)
        facts += [("column.entry", str(arguments.entry))]
    with reaching(arguments.file):
        write_whole(arguments.file, proof.encode())
    put(documents.proof_document(facts, str(arguments.file), arguments.language), arguments)
    return 0


def _key_of(arguments: argparse.Namespace) -> audit.VerifierKey:
    """Return the key that verifies: the one that was named, else that of the keyring."""
    if getattr(arguments, "key", None) is not None:
        return audit.parse_verifier_key(arguments.key, place="--key")
    if arguments.keys is None:
        raise Malformed("names no key", place="audit verify", remedy="add --key, or --keys for the keyring's own")
    return audit.audit_key(host.keyring_of(arguments.keys, arguments.root_key).audit)


def _read_checkpoint(path: Path, key: audit.VerifierKey) -> audit.Checkpoint:
    return audit.read_checkpoint(read_up_to(path, NOTE_LIMIT), key, place=str(path))


def _beside(path: Path) -> Path:
    return path.with_name(path.name + LEAVES_SUFFIX)


def _log(month: str | None, logs: Sequence[str]) -> str:
    log = f"audit {month}" if month is not None else max(logs)
    if log not in logs:
        raise Missing("is not a month that is held", place="--month", remedy=f"take {_months(logs)}")
    return log


def _still_held(checkpoint: audit.Checkpoint, path: Path, store: Store) -> str:
    """Return the log that an earlier checkpoint is about."""
    logs = store.logs()
    if checkpoint.log not in logs:
        remedy = f"give a checkpoint of {_months(logs)}"
        raise Missing("is about a month that is not held any more", place=str(path), remedy=remedy)
    return checkpoint.log


def _months(logs: Sequence[str]) -> str:
    return " or ".join(one.removeprefix("audit ") for one in sorted(logs))


def _kind(data: bytes) -> str:
    try:
        return audit.read_entry(data).kind
    except Malformed:
        return ""
