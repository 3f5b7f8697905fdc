"""Checkpoints of a log after C2SP (`c2sp.org/tlog-checkpoint`), and the proofs that travel with one.

A checkpoint is a signed note of three lines: origin, size, root in base64. The log's key is the Ed25519 key whose seed
is the keyring's audit key; it names itself after its own public bytes, and a log's origin is that name and the month.
So a verifier key says by itself which store signed, and two stores never share an origin.

That one entry is in a log travels as a `c2sp.org/tlog-proof@v1`, with the entry's bytes as its extra line. That a log
only grew since an older checkpoint travels in the same form under a first line of our own.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from entrenous_consent.audit.entries import ENTRY_LIMIT, LOG_NAME
from entrenous_consent.audit.merkle import HASH_BYTES, verify_consistency, verify_inclusion
from entrenous_consent.audit.merkle import leaf_hash as _leaf_hash
from entrenous_consent.audit.notes import AGAIN, NOTE_LIMIT, VerifierKey, decoded, open_note, sign_note
from entrenous_consent.errors import Malformed, Unauthentic

__all__ = [
    "PROOF_LIMIT",
    "Checkpoint",
    "Growth",
    "Inclusion",
    "audit_key",
    "read_checkpoint",
    "read_growth",
    "read_inclusion",
    "sign_checkpoint",
    "write_growth",
    "write_inclusion",
]

PROOF_LIMIT = 2 * ENTRY_LIMIT + 2 * NOTE_LIMIT
"""The most bytes a proof may have."""

_INCLUSION = "c2sp.org/tlog-proof@v1"
_GROWTH = "entrenous/tlog-growth@v1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_MOST_HASHES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is said of a log: its name (`audit 2026-11`), how many entries it holds, their root."""

    log: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """An entry that is in a log: its bytes, its place from 0, and the checkpoint that it was proved against."""

    entry: bytes
    index: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A log that only grew: the checkpoint now, and how many entries it held then."""

    before: int
    checkpoint: Checkpoint


def audit_key(seed: bytes) -> VerifierKey:
    """Return the verifier key of the log whose keyring holds `seed`, its 32-byte audit key."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return VerifierKey(name=f"entrenous/audit-{public[:4].hex()}", public=public)


def sign_checkpoint(checkpoint: Checkpoint, seed: bytes) -> str:
    """Return the signed note of a checkpoint."""
    name = audit_key(seed).name
    root = b64encode(checkpoint.root).decode()
    text = f"{name}/{checkpoint.log.removeprefix('audit ')}\n{checkpoint.size}\n{root}\n"
    return sign_note(text, name, seed)[0]


def read_checkpoint(data: bytes, key: VerifierKey, *, place: str = "checkpoint") -> Checkpoint:
    """Return the checkpoint that `key` signed. It has no lines beside the three.

    Raises:
        Malformed: not a checkpoint. Unauthentic: not signed by `key`, or of another log than that key's.
    """
    lines = open_note(data, key, place=place).split("\n")
    root = decoded(lines[2]) if len(lines) == 4 else None
    if root is None or len(root) != HASH_BYTES or not _NUMBER.fullmatch(lines[1]):
        raise Malformed("is not a checkpoint", place=place, remedy=AGAIN)
    name, _, month = lines[0].rpartition("/")
    log = f"audit {month}"
    if name != key.name or not LOG_NAME.fullmatch(log):
        raise Unauthentic("is not of a log of this key", place=place, remedy="check that the key is this log's")
    return Checkpoint(log=log, size=int(lines[1]), root=root)


def write_inclusion(entry: bytes, index: int, path: Sequence[bytes], note: str) -> str:
    """Return the proof that `entry` stands at `index` (from 0) of the log that `note`, a checkpoint, is about."""
    return _written([_INCLUSION, f"extra {b64encode(entry).decode()}", f"index {index}"], path, note)


def read_inclusion(data: bytes, key: VerifierKey, *, place: str = "proof") -> Inclusion:
    """Return what a proof of `write_inclusion` proves.

    Raises:
        Malformed: it is none. Unauthentic: the checkpoint is not signed by `key`, or does not hold the entry.
    """
    if data.startswith(f"{_GROWTH}\n".encode()):
        remedy = "give the earlier checkpoint with it, which it starts from"
        raise Malformed("is a proof that a log only grew", place=place, remedy=remedy)
    head, path, note = _read(data, 3, place)
    entry = decoded(head[1].removeprefix("extra "))
    index = head[2].removeprefix("index ")
    shaped = head[0] == _INCLUSION and head[1].startswith("extra ") and head[2].startswith("index ")
    if not shaped or entry is None or not _NUMBER.fullmatch(index):
        raise Malformed("is not a proof that an entry is in a log", place=place, remedy=AGAIN)
    checkpoint = read_checkpoint(note, key, place=place)
    if not verify_inclusion(_leaf_hash(entry), int(index), checkpoint.size, path, checkpoint.root):
        raise Unauthentic("does not show that this entry is in the log", place=place, remedy=AGAIN)
    return Inclusion(entry=entry, index=int(index), checkpoint=checkpoint)


def write_growth(before: int, path: Sequence[bytes], note: str) -> str:
    """Return the proof that a log of `before` entries grew into the one that `note`, a checkpoint, is about."""
    return _written([_GROWTH, f"from {before}"], path, note)


def read_growth(data: bytes, key: VerifierKey, before: Checkpoint, *, place: str = "proof") -> Growth:
    """Return what a proof of `write_growth` proves of `before`, a checkpoint whose signature was checked.

    Raises:
        Malformed: it is none. Unauthentic: the later checkpoint is not signed by `key`, is of another month, or the
            earlier log is not its beginning.
    """
    if data.startswith(f"{_INCLUSION}\n".encode()):
        remedy = "verify it without a checkpoint: it carries its own"
        raise Malformed("is a proof that an entry is in a log", place=place, remedy=remedy)
    head, path, note = _read(data, 2, place)
    size = head[1].removeprefix("from ")
    if head[0] != _GROWTH or not head[1].startswith("from ") or not _NUMBER.fullmatch(size):
        raise Malformed("is not a proof that a log only grew", place=place, remedy=AGAIN)
    after = read_checkpoint(note, key, place=place)
    same = (before.log, before.size) == (after.log, int(size))
    if not same or not verify_consistency(before.size, after.size, path, before.root, after.root):
        raise Unauthentic("does not show that the log only grew", place=place, remedy=AGAIN)
    return Growth(before=before.size, checkpoint=after)


def _written(head: Sequence[str], path: Sequence[bytes], note: str) -> str:
    return "\n".join([*head, *(b64encode(one).decode() for one in path), "", note])


def _read(data: bytes, head: int, place: str) -> tuple[list[str], list[bytes], bytes]:
    """Return the first `head` lines of a proof, its hashes, and the checkpoint's bytes."""
    wrong = Malformed("is not a proof", place=place, remedy=AGAIN)
    if len(data) > PROOF_LIMIT:
        raise Malformed(f"is longer than {PROOF_LIMIT} bytes", place=place, remedy=AGAIN)
    top, parted, note = data.partition(b"\n\n")
    try:
        lines = top.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise wrong from error
    hashes = [decoded(line) for line in lines[head:]]
    path = [one for one in hashes if one is not None and len(one) == HASH_BYTES]
    if not parted or not head <= len(lines) <= head + _MOST_HASHES or len(path) != len(hashes):
        raise wrong
    return lines[:head], path, note
