"""Verbs of `entrenous privacy` about what is held: export, erase, object, correct, consent-receipt, retention, egress;
and `bundle`, about what is decided.

They work on a client's own files, while it runs or not. A visitor is named by the identifier that the shop knows them
by, on standard input or in a file: an argument would stay in the shell's history and show in the list of processes.
Every verb that reads a store leaves an entry `access` in its audit log.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from entrenous import rights
from entrenous.bundle import BUNDLE_LIMIT, read_bundle
from entrenous.documents import privacy_documents as documents
from entrenous.documents.bundle_documents import bundle_document
from entrenous.documents.egress_documents import egress_document
from entrenous.documents.holdings import ENDLESS, Holdings, egress, held, identifier_in, opened
from entrenous_consent import audit
from entrenous_consent.dpo import host
from entrenous_consent.dpo.commands import Commands
from entrenous_consent.dpo.consent_receipt import consent_receipt
from entrenous_consent.dpo.output import put, with_output
from entrenous_consent.errors import Malformed, Missing, Unauthentic, Unavailable
from entrenous_consent.files import reaching, read_up_to, write_whole
from entrenous_consent.policy import POLICY_LIMIT, parse_policy
from entrenous_consent.pseudonyms import IDENTIFIER_LIMIT
from entrenous_consent.signal_settings import OBJECTION
from entrenous_consent.upkeep import rotate

__all__ = ["PENDING", "REFUSED", "register"]

PENDING = 1
"""The exit code of an erasure that a reader of the store's files still delays: nothing can be read, but call again."""

REFUSED = 1
"""The exit code of a bundle that the policy does not permit; it is shown all the same."""

Answer = Callable[[argparse.Namespace, Holdings, bytes], int]


def register(verbs: Commands) -> None:
    """Register them."""
    _of_visitor(verbs, "export", "everything kept about one visitor (GDPR Art. 15, 20)", _export)
    _of_visitor(verbs, "erase", "erase everything kept about one visitor (GDPR Art. 17)", _erase)
    object_ = _of_visitor(verbs, "object", "a visitor objects: purposes end (GDPR Art. 21)", _object)
    object_.add_argument(
        "--purpose", action="append", metavar="PURPOSE", help="which, as often as needed (default: every purpose)"
    )
    correct = _of_visitor(verbs, "correct", "put right what is kept about one visitor (GDPR Art. 16)", _correct)
    correct.add_argument(
        "--set", action="append", default=[], metavar="FEATURE=CATEGORY", help="hold another category of it"
    )
    correct.add_argument("--forget", action="append", default=[], metavar="FEATURE", help="forget what it holds")
    receipt = _of_visitor(verbs, "consent-receipt", "what one visitor chose, for them to keep", _receipt)
    receipt.add_argument("--receipt", type=Path, metavar="FILE", help="write the receipt itself there, as JSON")
    retention = _verb(verbs, "retention", "the rule, the oldest value held, and what the next sweep takes")
    host.with_keys(retention).set_defaults(run=_retention)
    turned = _verb(verbs, "rotate", "wrap every data key anew now: what was erased dies in every backup")
    host.with_keys(turned).set_defaults(run=_rotate)
    left = _verb(verbs, "egress", "everything that left in a period, in bytes and in words")
    left.add_argument("--from", dest="since", type=_date, default=0, metavar="YYYY-MM-DD", help="from that day, UTC")
    left.add_argument(
        "--to", dest="until", type=_date, default=ENDLESS, metavar="YYYY-MM-DD", help="before that day, UTC"
    )
    left.add_argument(
        "--raw", type=Path, metavar="DIR", help="write the very bytes there, a file for each report and message"
    )
    left.set_defaults(run=_egress)
    words = "what a bundle asks of a policy, and every rule that it decides by"
    bundle = with_output(verbs.add_parser("bundle", help=words, description=words, allow_abbrev=False))
    bundle.add_argument("policy", type=Path, metavar="POLICY", help="the privacy policy (TOML)")
    bundle.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle, as train wrote it (.msgpack)")
    bundle.set_defaults(run=_bundle)


def _verb(verbs: Commands, name: str, words: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=words, description=words, allow_abbrev=False)
    return host.with_state(with_output(parser))


def _of_visitor(verbs: Commands, name: str, words: str, answer: Answer) -> argparse.ArgumentParser:
    parser = host.with_keys(_verb(verbs, name, f"{words}; the visitor's identifier is read from standard input"))
    parser.add_argument("--visitor-file", type=Path, metavar="FILE", help="read the visitor's identifier from there")
    parser.add_argument("named", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--visitor", dest="named_too", help=argparse.SUPPRESS)

    def run(arguments: argparse.Namespace) -> int:
        if arguments.named or arguments.named_too is not None:
            remedy = "pipe it in, or use --visitor-file; and take this line out of the shell's history"
            raise Malformed("a visitor is not named on the command line", place=name, remedy=remedy)
        identifier = _identifier(arguments.visitor_file)
        with _host(arguments, name) as holdings:
            return answer(arguments, holdings, holdings.handle(identifier))

    parser.set_defaults(run=run)
    return parser


@contextmanager
def _host(arguments: argparse.Namespace, verb: str) -> Iterator[Holdings]:
    """Open the client's files, and leave the entry that a verb did."""
    with opened(arguments.state, arguments.keys, arguments.root_key, host.system_clock) as holdings:
        host.noted(holdings.store, verb, holdings.engine.clock())
        yield holdings


def _identifier(file: Path | None) -> str:
    if file is not None:
        try:
            with reaching(file), file.open("rb") as source:
                return identifier_in(source, place="--visitor-file")
        except (Missing, Unavailable) as error:  # whose place is the path: perhaps the identifier, by mistake
            raise type(error)(error.what, place="--visitor-file", remedy="name a file that holds it") from None
    if sys.stdin.isatty():
        return getpass.getpass("the visitor's identifier (not shown): ")[: IDENTIFIER_LIMIT + 1]
    return identifier_in(sys.stdin.buffer, place="standard input")


def _date(text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise argparse.ArgumentTypeError("is not a day, as 2026-11-27") from None


def _export(arguments: argparse.Namespace, holdings: Holdings, handle: bytes) -> int:
    told = rights.export(holdings.engine, handle)
    put(documents.export_document(told, holdings.policy, arguments.language), arguments)
    return 0


def _erase(arguments: argparse.Namespace, holdings: Holdings, handle: bytes) -> int:
    try:
        known = holdings.standing(handle) is not None
    except (Malformed, Unauthentic):
        known = True  # what does not open any more goes too
    erased = holdings.engine.erase(handle)
    put(documents.erase_document(known, erased, arguments.language), arguments)
    return 0 if erased == "done" else PENDING


def _object(arguments: argparse.Namespace, holdings: Holdings, handle: bytes) -> int:
    purposes = frozenset(arguments.purpose or holdings.policy.purposes)
    erased = holdings.engine.object(handle, purposes, OBJECTION)
    told = rights.choices(holdings.engine, handle)
    put(documents.object_document(purposes, told, erased, holdings.policy, arguments.language), arguments)
    return 0 if erased == "done" else PENDING


def _correct(arguments: argparse.Namespace, holdings: Holdings, handle: bytes) -> int:
    corrections: dict[str, str | None] = dict.fromkeys(arguments.forget)
    for text in arguments.set:
        feature, equals, category = text.partition("=")
        if not equals or feature in corrections:
            remedy = "write FEATURE=CATEGORY, each feature once"
            raise Malformed("names no feature and category, or one twice", place="--set", remedy=remedy)
        corrections[feature] = category
    changed = rights.correct(holdings.engine, handle, corrections)
    put(documents.correct_document(changed, arguments.language), arguments)
    return 0


def _receipt(arguments: argparse.Namespace, holdings: Holdings, handle: bytes) -> int:
    standing = holdings.standing(handle)
    made = None
    if standing is not None:
        subject = audit.commitment(standing.record.salt, handle)
        made = consent_receipt(
            standing.record,
            holdings.policy,
            subject=subject,
            language=arguments.language,
            now=holdings.engine.clock(),
        )
        if arguments.receipt is not None:
            with reaching(arguments.receipt):
                write_whole(arguments.receipt, (json.dumps(made, indent=1) + "\n").encode())
    put(documents.receipt_document(made, arguments.language), arguments)
    return 0


def _retention(arguments: argparse.Namespace) -> int:
    with _host(arguments, "retention") as holdings:
        found, now = held(holdings), holdings.engine.clock()
        document = documents.retention_document(
            found, holdings.policy, holdings.engine.active.retention_days, arguments.language, now
        )
    put(document, arguments)
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    with _host(arguments, "rotate") as holdings:
        living = rotate(holdings.engine.custody, holdings.engine.clock())
        document = documents.rotate_document(living, holdings.engine.custody.keyring.generation, arguments.language)
    put(document, arguments)
    return 0


def _egress(arguments: argparse.Namespace) -> int:
    with host.opened_store(arguments.state) as store:
        host.noted(store, "egress", host.system_clock())
        left = egress(store, arguments.since, arguments.until)
    if arguments.raw is not None:
        with reaching(arguments.raw):
            arguments.raw.mkdir(parents=True, exist_ok=True)
            for one, _ in left.reports:
                write_whole(arguments.raw / f"{one.id.hex()}.report", one.data)
            for one, _ in left.messages:
                write_whole(arguments.raw / f"{one.id.hex()}.message", one.data)
    put(egress_document(left, arguments.since, arguments.until, arguments.language), arguments)
    return 0


def _bundle(arguments: argparse.Namespace) -> int:
    policy = parse_policy(read_up_to(arguments.policy, POLICY_LIMIT), place=str(arguments.policy))
    bundle = read_bundle(read_up_to(arguments.bundle, BUNDLE_LIMIT), place=str(arguments.bundle))
    put(bundle_document(bundle, policy, arguments.language, version("entrenous")), arguments)
    return REFUSED if policy.permits(bundle.manifest.request()) else 0
