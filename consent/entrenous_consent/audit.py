"""The audit log: what happened to consent and data, in a Merkle log (RFC 9162, section 2.1).

An entry's bytes are msgpack `[1, time, kind, subject, detail]` with sorted detail keys; its leaf hash is SHA-256 of a
zero byte and those bytes. The subject is a commitment, `SHA-256(salt || handle)`: the salt lies under the visitor's
key, so when that dies the entry still counts and points to nobody. There is one log a month. Decisions are not audited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from entrenous_consent.packing import pack

__all__ = ["KINDS", "commitment", "entry", "leaf_hash", "log_name", "root"]

KINDS = (
    "consent.granted",
    "consent.changed",
    "consent.withdrawn",
    "erasure",
    "export",
    "activation",
    "refusal",
    "release",
)
"""The last three concern no visitor: which policy and bundle came into force, what was refused, what left."""


def commitment(salt: bytes, handle: bytes) -> bytes:
    """Return the 32 bytes that stand for a visitor in the log."""
    return sha256(salt + handle).digest()


def log_name(time: int) -> str:
    """Return the name of the log that an entry of this time belongs to: `audit 2026-11`."""
    return datetime.fromtimestamp(time, UTC).strftime("audit %Y-%m")


def entry(kind: str, *, time: int, subject: bytes, detail: Mapping[str, Any]) -> bytes:
    """Return the bytes of one entry.

    Args:
        kind: one of `KINDS`. time: Unix seconds. subject: a commitment, empty where no visitor is concerned.
        detail: plain values; never an identifier, a handle, a pseudonym or a feature value.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind} is not a kind of audit entry")
    return pack([1, time, kind, subject, {key: detail[key] for key in sorted(detail)}])


def leaf_hash(data: bytes) -> bytes:
    """Return the Merkle leaf hash of an entry."""
    return sha256(b"\0" + data).digest()


def root(entries: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of a log's entries, SHA-256 of nothing for an empty log."""
    if not entries:
        return sha256(b"").digest()
    level = [leaf_hash(data) for data in entries]
    while len(level) > 1:
        pairs = [sha256(b"\1" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) // 2 * 2 :]
    return level[0]
