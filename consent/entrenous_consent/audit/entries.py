"""Entries of the audit log: the closed list of what is written down, and of what may be said about it.

An entry's bytes are msgpack `[1, time, kind, subject, detail]` with sorted detail keys. The subject is a commitment,
`SHA-256(salt || handle)`: the salt lies under the visitor's key, so when that dies the entry still counts and points to
nobody. There is one log a month. Decisions are not audited.

Every kind lists the keys of its detail, and every key the shape of its value: short keys of the policy, numbers,
digests of documents, a few words of bounded length. None takes bytes, so that no pseudonym and no handle fits anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from typing import Any

from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import KEY

__all__ = [
    "DETAILS",
    "ENTRY_LIMIT",
    "KINDS",
    "LOG_NAME",
    "Entry",
    "commitment",
    "entry",
    "log_name",
    "read_entry",
    "sound_source",
]

ENTRY_LIMIT = 1 << 16
"""The most bytes an entry may have."""

LOG_NAME = re.compile(r"audit [0-9]{4}-(0[1-9]|1[0-2])")
"""The shape of a log's name: the UTC month of its entries."""

_FORMAT = 1
_COMMITMENT_BYTES = 32
_LARGEST = 1 << 53
_LONGEST_SOURCE = 200
_LONGEST_WORDS = 300
_OPAQUE = re.compile(r"[0-9A-Za-z_+/=-]{40}|[0-9A-Fa-f]{16}|@")
"""What a consent string, a token, a keyed hash or an address of mail holds, and the name of a source does not."""


def _keys(value: object) -> bool:
    texts = isinstance(value, (list, tuple)) and len(value) <= 4096 and all(map(_key, value))
    return texts and list(value) == sorted(set(value))  # type: ignore[call-overload,arg-type,unused-ignore]


def _key(value: object) -> bool:
    return isinstance(value, str) and KEY.fullmatch(value) is not None


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _counts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) <= 4096 and all(map(_count, value))


def _amount(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _report_id(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}", value) is not None


def _name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_SOURCE and value.isprintable()


def sound_source(value: object) -> bool:
    """Say whether an entry may name this as where a choice came from."""
    return _name(value) and _OPAQUE.search(str(value)) is None


def _words(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_WORDS


def _verb(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z][a-z-]{0,31}( [a-z-]{1,31})?", value) is not None


def _error(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z]{0,39}", value) is not None


def _log(value: object) -> bool:
    return isinstance(value, str) and LOG_NAME.fullmatch(value) is not None


Shape = Callable[[object], bool]

_CHOICE: Mapping[str, Shape] = {"granted": _keys, "withdrawn": _keys, "policy": _count, "source": sound_source}
_MONTH: Mapping[str, Shape] = {"log": _log, "size": _count, "root": _digest}

DETAILS: Mapping[str, Mapping[str, Shape]] = {
    "consent.granted": _CHOICE,
    "consent.changed": _CHOICE,
    "consent.withdrawn": _CHOICE,
    "objection": {"purposes": _keys, "policy": _count, "source": sound_source},
    "erasure": {"policy": _count},
    "export": {"purposes": _keys},
    "correction": {"purposes": _keys, "features": _keys, "policy": _count},
    "activation": {
        "policy": _count,
        "policy_digest": _digest,
        "bundle?": _key,
        "bundle_version?": _count,
        "bundle_digest?": _digest,
    },
    "refusal": {"error": _error, "what": _words, "place": _words},
    "release": {
        "report": _key,
        "experiment": _key,
        "id": _report_id,
        "epsilon": _amount,
        "cells": _count,
        "suppressed": _count,
    },
    "message": {"message": _key, "purpose": _key, "policy": _count},
    "key.rotation": {"generation": _count, "rewrapped?": _count, "epochs?": _counts},
    "access": {"verb": _verb},
    "audit.sealed": _MONTH,
    "audit.dropped": _MONTH,
}
"""By kind, the keys of its detail and the shape of each value; a key ended by `?` may be left out.

A refusal's words come from the updater and from releases, which know no visitor.
"""

KINDS = tuple(DETAILS)
"""Every kind of entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry that was read. `time` is in Unix seconds; `subject` is empty where no visitor is concerned."""

    time: int
    kind: str
    subject: bytes
    detail: Mapping[str, Any]


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
        detail: as `DETAILS` says for the kind; never an identifier, a handle, a pseudonym or a feature value.

    Raises:
        ValueError: what is to be written is not on the closed list: a mistake of ours.
    """
    wrong = _wrong(time, kind, subject, detail)
    if wrong:
        raise ValueError(wrong)
    return pack([_FORMAT, time, kind, subject, {key: detail[key] for key in sorted(detail)}])


def read_entry(data: bytes, *, place: str = "audit entry") -> Entry:
    """Return the entry in `data`.

    Raises:
        Malformed: it is none, or says what its kind may not say.
    """
    value = unpack(data, place=place, longest=ENTRY_LIMIT)
    remedy = "read it with the version that wrote it; verify says whether it was changed"
    if not isinstance(value, list) or len(value) != 5 or value[0] != _FORMAT or not isinstance(value[4], dict):
        raise Malformed("is not an audit entry of this format", place=place, remedy=remedy)
    _, time, kind, subject, detail = value
    wrong = _wrong(time, kind, subject, detail)
    if not wrong and list(detail) != sorted(detail):
        wrong = "the detail is not sorted"
    if wrong:
        raise Malformed(wrong, place=place, remedy=remedy)
    return Entry(time=time, kind=kind, subject=subject, detail=detail)


def _wrong(time: object, kind: object, subject: object, detail: Mapping[Any, Any]) -> str:
    """Return what is wrong with an entry, empty for nothing."""
    if not isinstance(kind, str) or kind not in DETAILS:
        return "its kind is none of an audit entry's"
    if not _count(time):
        return "the time is not in Unix seconds"
    if not isinstance(subject, bytes) or len(subject) not in (0, _COMMITMENT_BYTES):
        return "the subject is no commitment"
    shapes = {key.removesuffix("?"): shape for key, shape in DETAILS[kind].items()}
    needed = {key for key in DETAILS[kind] if not key.endswith("?")}
    if not needed <= detail.keys() <= shapes.keys():
        return f"the detail of {kind} has other keys than {', '.join(sorted(shapes))}"
    wrong = [key for key in sorted(detail) if not shapes[key](detail[key])]
    return f"the detail {wrong[0]} of {kind} is not as its kind has it" if wrong else ""
