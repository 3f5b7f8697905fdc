"""What is handed out of the log, and the first entry that no longer fits it.

A checkpoint says *that* a log was changed; to say *where*, its holder needs the leaf hashes that it was made over. They
travel beside it in a file of their own: for each month from the oldest that is held to the one of the checkpoint, the
leaf hashes and, where it is one, the seal that the month begins with. The checkpoint's root proves the last month, that
month's seal the one before, and so on: nothing in the file has to be believed. Hashes of entries tell nobody what they
say: an entry holds a visitor's commitment or a digest, or words that the policy publishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from entrenous_consent.audit.checkpoints import Checkpoint
from entrenous_consent.audit.entries import LOG_NAME, Entry, read_entry
from entrenous_consent.audit.merkle import HASH_BYTES, leaf_hash, root_of
from entrenous_consent.audit.months import RETENTION_DAYS, month_end, summary
from entrenous_consent.audit.notes import AGAIN
from entrenous_consent.errors import Malformed, Missing, Unauthentic
from entrenous_consent.packing import pack, unpack

__all__ = ["LEAVES_LIMIT", "Failure", "Held", "Month", "checkpoint_of", "first_failure", "read_leaves", "write_leaves"]

LEAVES_LIMIT = 1 << 28
"""The most bytes that the leaf hashes beside a checkpoint may have: over eight million entries."""

_FORMAT = 1
_MOST_MONTHS = 1200

Held = Mapping[str, Sequence[bytes]]
"""The entries that a store holds, by log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """One log as it was exported: its name, the seal it begins with (empty for none), its leaf hashes."""

    log: str
    seal: bytes
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The first place at which a log is not what it was.

    Attributes:
        log: its name. index: from 0; -1 where only the whole log can be named.
        what: `changed`, `removed`, `inserted`, `moved`; `ended` where the log ends before this entry; `added` to a
            month that was sealed; `missing`, a whole month; `unsealed`, a month that does not seal the one before;
            `differs`, somewhere among the entries that a checkpoint without leaf hashes is about.
    """

    log: str
    index: int
    what: str


def checkpoint_of(held: Held) -> Checkpoint:
    """Return what is to be signed of the newest log held.

    Raises:
        Missing: nothing is held.
    """
    if not held:
        raise Missing("holds no entry", place="audit log", remedy="start a client or worker once: that makes one")
    log = max(held)
    return Checkpoint(log=log, size=len(held[log]), root=root_of([leaf_hash(data) for data in held[log]]))


def write_leaves(held: Held) -> bytes:
    """Return the leaf hashes of the newest log held, and of those before it that the chain of seals reaches."""
    months: list[tuple[str, bytes, bytes]] = []
    wanted = max(held)
    while True:
        entries = held[wanted]
        seal = _seal(entries[0])
        leaves = b"".join(leaf_hash(data) for data in entries)
        months.append((wanted, entries[0] if seal else b"", leaves))
        before = str(seal.detail["log"]) if seal else ""
        if not seal or before >= wanted or before not in held or seal.detail != summary(before, held[before]):
            break
        wanted = before
    return pack({"format": _FORMAT, "logs": [list(month) for month in reversed(months)]})


def read_leaves(data: bytes, checkpoint: Checkpoint, *, place: str = "leaf hashes") -> tuple[Month, ...]:
    """Return the months in `data`, the oldest first, each proved by `checkpoint`, whose signature was checked.

    Raises:
        Malformed: not leaf hashes as `write_leaves` writes them. Unauthentic: the checkpoint is not about them.
    """
    wrong = Malformed("are not the leaf hashes of a checkpoint", place=place, remedy=AGAIN)
    table = unpack(data, place=place, longest=LEAVES_LIMIT)
    if not isinstance(table, dict) or list(table) != ["format", "logs"] or table["format"] != _FORMAT:
        raise wrong
    if not isinstance(table["logs"], list) or not 0 < len(table["logs"]) <= _MOST_MONTHS:
        raise wrong
    months = []
    for one in table["logs"]:
        if not isinstance(one, list) or [type(part) for part in one] != [str, bytes, bytes]:
            raise wrong
        log, seal, joined = one
        if not LOG_NAME.fullmatch(log) or not joined or len(joined) % HASH_BYTES:
            raise wrong
        leaves = tuple(joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES))
        months.append(Month(log=log, seal=seal, leaves=leaves))
    if not _proved(months, checkpoint):
        raise Unauthentic("are not what the checkpoint is about", place=place, remedy=AGAIN)
    return tuple(months)


def _proved(months: Sequence[Month], checkpoint: Checkpoint) -> bool:
    """Say whether the checkpoint proves the last month, its seal the one before, and so on."""
    log, size, root = checkpoint.log, checkpoint.size, checkpoint.root.hex()
    for month in reversed(months):
        if (month.log, len(month.leaves), root_of(month.leaves).hex()) != (log, size, root):
            return False
        seal = _seal(month.seal) if month.seal else None
        if month.seal and (seal is None or leaf_hash(month.seal) != month.leaves[0]):
            return False
        if seal is None:
            return month is months[0]
        log, size, root = seal.detail["log"], seal.detail["size"], seal.detail["root"]
    return True


def first_failure(
    held: Held,
    checkpoint: Checkpoint | None = None,
    months: Sequence[Month] = (),
    *,
    now: int,
    days: int = RETENTION_DAYS,
) -> Failure | None:
    """Return the first entry held that is not what it was, by log and place; None where all is.

    Args:
        held: what the store holds. checkpoint: an earlier one, whose signature was checked; None to look at the chain
            of seals alone, which whoever rewrites every month from there on can make anew.
        months: its leaf hashes, as `read_leaves` proved them; without them a change before the checkpoint is found,
            but not its place. now: Unix seconds. days: how long the policy keeps a month.
    """
    held = {log: entries for log, entries in held.items() if entries}
    dropped = _dropped(held)
    for month in months:
        failure = _compared(month, held.get(month.log, ()))
        if failure is not None and not _over(_gist(month), dropped, held, now, days):
            return failure
        if failure is None and month is not months[-1] and len(held[month.log]) > len(month.leaves):
            return Failure(log=month.log, index=len(month.leaves), what="added")
    if checkpoint is not None and not months:
        gist = (checkpoint.log, checkpoint.size, checkpoint.root.hex())
        begun = [leaf_hash(data) for data in held.get(checkpoint.log, ())[: checkpoint.size]]
        same = len(begun) == checkpoint.size and root_of(begun) == checkpoint.root
        if not same and not _over(gist, dropped, held, now, days):
            return Failure(log=checkpoint.log, index=-1, what="differs" if begun else "missing")
    return _unchained(held, dropped, now, days)


_Gist = tuple[str, int, str]
"""Name, size and root in hexadecimal: what a seal says of a log."""


def _gist(month: Month) -> _Gist:
    return month.log, len(month.leaves), root_of(month.leaves).hex()


def _compared(month: Month, entries: Sequence[bytes]) -> Failure | None:
    """Return the first of a month's entries that is not there any more, or not in its place."""
    if not entries:
        return Failure(log=month.log, index=0, what="missing")
    found = [leaf_hash(data) for data in entries]
    for i, leaf in enumerate(month.leaves):
        if i >= len(found):
            return Failure(log=month.log, index=i, what="ended")
        if found[i] != leaf:
            later, was_later = leaf in found[i + 1 :], found[i] in month.leaves[i + 1 :]
            what = ("moved" if later else "removed") if was_later else ("inserted" if later else "changed")
            return Failure(log=month.log, index=i, what=what)
    return None


def _unchained(held: Held, dropped: Mapping[_Gist, int], now: int, days: int) -> Failure | None:
    """Return the first month that does not seal the one before it, or that was sealed as another than it is."""
    names = sorted(held)
    for before, log in zip([None, *names], names, strict=False):
        seal = _seal(held[log][0])
        sealed: _Gist = (seal.detail["log"], seal.detail["size"], seal.detail["root"]) if seal else ("", 0, "")
        if sealed[0] and sealed[0] not in held and not _over(sealed, dropped, held, now, days):
            return Failure(log=sealed[0], index=0, what="missing")
        if before is not None and sealed[0] != before:
            return Failure(log=log, index=0, what="unsealed")
        if before is not None and sealed != tuple(summary(before, held[before]).values()):
            return Failure(log=before, index=-1, what="differs")
    return None


def _dropped(held: Held) -> dict[_Gist, int]:
    """Return the logs that the log itself says were dropped, and when."""
    found = {}
    for data in (data for entries in held.values() for data in entries):
        entry = _of_kind(data, "audit.dropped") if b"audit.dropped" in data else None
        if entry is not None:
            found[entry.detail["log"], entry.detail["size"], entry.detail["root"]] = entry.time
    return found


def _over(gist: _Gist, dropped: Mapping[_Gist, int], held: Held, now: int, days: int) -> bool:
    """Say whether a month is gone because its retention was over: the log says so, and by then it was."""
    time = dropped.get(gist)
    return gist[0] not in held and time is not None and month_end(gist[0]) + days * 86_400 <= time <= now


def _seal(data: bytes) -> Entry | None:
    return _of_kind(data, "audit.sealed")


def _of_kind(data: bytes, kind: str) -> Entry | None:
    """Return the entry in `data` if it is of this kind and reads."""
    try:
        found = read_entry(data)
    except Malformed:
        return None
    return found if found.kind == kind else None
