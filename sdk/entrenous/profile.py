"""One purpose's profile: a hot record that a decision reads, and a cold one that it never does.

Hot: `[schema stamp, made, until, folded columns (float32), caps, kept offers, state]`, the state as bytes that only an
event or an outdated fold decodes. Cold: `[receipts, event ids]`: the last 20 receipts of 90 days, the last 128 event
ids of 24 hours at eight bytes each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from entrenous.decision import Basis, Receipt
from entrenous.features import Plan, State
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.retention import RECEIPT_DAYS

__all__ = ["EVENT_IDS", "RECEIPTS", "Caps", "Cold", "Hot", "Kept", "caps_within", "count_in", "keep_offer"]

RECEIPTS = 20
EVENT_IDS = 128
_EVENT_SECONDS = 86_400
_LIMIT = 1 << 20
_DID_NOTHING = b"\x90"
"""A state without a series, packed."""

Caps = dict[str, dict[int, int]]
"""Decision, or a word that several share, to UTC day to how often an arm other than the default was given."""

Kept = dict[str, tuple[str, int]]
"""Decision to the arm whose offer was shown, and the second from which it holds no more."""


def caps_within(caps: Caps, decision: str, *, days: int, now: int) -> int:
    """Return how often `decision` counted in the last `days` UTC days, the current one included."""
    today = now // 86_400
    return sum(count for day, count in caps.get(decision, {}).items() if today - days < day <= today)


def count_in(caps: Caps, decision: str, day: int, count: int, *, keep_days: int) -> None:
    """Add `count` answers of `decision` on a UTC `day`, and forget days `keep_days` or more before it."""
    days = caps.setdefault(decision, {})
    days[day] = days.get(day, 0) + count
    caps[decision] = {known: number for known, number in days.items() if known > day - keep_days}


def keep_offer(kept: Kept, decision: str, arm: str, until: int) -> None:
    """Remember an offer that was shown, unless one of that decision holds at least as long."""
    if decision not in kept or kept[decision][1] < until:
        kept[decision] = arm, until


@dataclass(slots=True)
class Hot:
    """What a decision reads.

    Attributes:
        columns: the purpose's columns, float32 bytes in the order of `Plan.positions`; valid in `[made, until)`.
        kept: offers that were shown and still hold. state: packed, as `Plan.pack` wrote it.
    """

    stamp: bytes = b""
    made: int = 0
    until: int = 0
    columns: bytes = b""
    caps: Caps = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)
    state: bytes = _DID_NOTHING

    @classmethod
    def unpack(cls, data: bytes | None) -> Hot:
        """Return the record, or an empty one for None.

        Raises:
            Malformed: the bytes are not a hot record.
        """
        if data is None:
            return cls()
        try:
            stamp, made, until, columns, caps, kept, state = unpack(data, place="hot record", longest=_LIMIT)
            shown = {name: (arm, ends) for name, arm, ends in kept}
            return cls(stamp, made, until, columns, {name: dict(days) for name, days in caps}, shown, state)
        except (TypeError, ValueError) as error:
            raise Malformed("is not a hot record", place="hot record") from error

    def pack(self) -> bytes:
        """Return the record as msgpack.

        Raises:
            Malformed: it has outgrown what is read again.
        """
        caps = [
            [name, [[day, count] for day, count in sorted(days.items())]] for name, days in sorted(self.caps.items())
        ]
        kept = [[name, arm, ends] for name, (arm, ends) in sorted(self.kept.items())]
        return _bounded(pack([self.stamp, self.made, self.until, self.columns, caps, kept, self.state]), "hot record")

    def fresh(self, plan: Plan, now: int) -> bytes:
        """Return the purpose's columns at `now`, folded anew if the stored fold is of another schema or bucket."""
        if self.stamp == plan.stamp and self.made <= now < self.until:
            return self.columns
        if self.state == _DID_NOTHING:
            return plan.nothing
        return plan.fold(plan.unpack(self.state), now)

    def take_shown(self, other: Hot) -> None:
        """Count what another profile of the same person was shown, too; of two offers the one that holds longer."""
        for decision, promised in other.kept.items():
            keep_offer(self.kept, decision, *promised)
        for decision, days in other.caps.items():
            mine = self.caps.setdefault(decision, {})
            for day, count in days.items():
                mine[day] = mine.get(day, 0) + count

    def refold(self, plan: Plan, state: State, now: int) -> None:
        """Take in a changed `state`."""
        self.stamp, self.made, self.until = plan.stamp, now, plan.until(now)
        self.columns, self.state = plan.fold(state, now), plan.pack(state, now)


@dataclass(slots=True)
class Cold:
    """What a decision never reads."""

    receipts: list[Receipt] = field(default_factory=list)
    event_ids: list[tuple[int, bytes]] = field(default_factory=list)

    @classmethod
    def unpack(cls, data: bytes | None, now: int) -> Cold:
        """Return the record without the receipts and ids that are too old at `now`, or an empty one for None.

        Raises:
            Malformed: the bytes are not a cold record.
        """
        if data is None:
            return cls()
        try:
            receipts, ids = unpack(data, place="cold record", longest=_LIMIT)
            young = [one for one in map(_receipt, receipts) if now - one.time < RECEIPT_DAYS * 86_400]
            return cls(young, [(time, known) for time, known in ids if now - time < _EVENT_SECONDS])
        except (TypeError, ValueError) as error:
            raise Malformed("is not a cold record", place="cold record") from error

    def take(self, other: Cold) -> None:
        """Remember what another profile of the same person remembered, too; the newest are kept."""
        self.receipts = sorted([*self.receipts, *other.receipts], key=lambda one: one.time)
        self.event_ids = sorted({*self.event_ids, *other.event_ids})

    def pack(self) -> bytes:
        """Return the record as msgpack.

        Raises:
            Malformed: it has outgrown what is read again.
        """
        receipts = [[one.id, one.time, *one.basis] for one in self.receipts[-RECEIPTS:]]
        return _bounded(pack([receipts, self.event_ids[-EVENT_IDS:]]), "cold record")

    def seen(self, identifier: bytes, now: int) -> bool:
        """Say whether this event id is remembered; remember it, as of `now`, if not."""
        if any(known == identifier for _, known in self.event_ids):
            return True
        self.event_ids.append((now, identifier))
        return False


def _bounded(record: bytes, place: str) -> bytes:
    if len(record) > _LIMIT:
        raise Malformed(f"would be longer than {_LIMIT} bytes", place=place, remedy="wait until older days fall out")
    return record


def _receipt(parts: list[Any]) -> Receipt:
    identifier, time, *basis = parts
    *plain, consents, withheld = basis
    return Receipt(identifier, time, Basis._make([*plain, tuple((p, v) for p, v in consents), tuple(withheld)]))
