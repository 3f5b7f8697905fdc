"""What decisions have yet to tell the store: their receipts, and how often an arm was given.

A decision answers at once; its receipt and cap count wait here and reach the profile at the next flush, under the
consent they were made with. The counts of what waits, and of what is on its way, go on counting towards the cap
meanwhile.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from entrenous.decision import Receipt
from entrenous.profile import RECEIPTS, Caps, Cold, Hot, Kept, caps_within, count_in, keep_offer

__all__ = ["Key", "Tally", "Waiting"]

Key = tuple[bytes, int, str]
"""Handle, consent generation, purpose."""


@dataclass(slots=True)
class Tally:
    """What waits for one visitor, consent and purpose: the last receipts, and the counts of all."""

    receipts: deque[Receipt] = field(default_factory=lambda: deque(maxlen=RECEIPTS))
    caps: Caps = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)
    keep_days: int = 1

    def settle(self, hot: Hot, cold: Cold, now: int) -> None:
        """Write this tally into a profile's two records; offers that hold no more at `now` leave it."""
        for decision, days in self.caps.items():
            for day, count in days.items():
                count_in(hot.caps, decision, day, count, keep_days=self.keep_days)
        for decision, promised in self.kept.items():
            keep_offer(hot.kept, decision, *promised)
        hot.kept = {decision: promised for decision, promised in hot.kept.items() if now < promised[1]}
        cold.receipts = [*cold.receipts, *self.receipts][-RECEIPTS:]

    def merge(self, later: Tally) -> None:
        """Take in what came to wait while this one could not be written."""
        self.receipts.extend(later.receipts)
        self.keep_days = max(self.keep_days, later.keep_days)
        for decision, promised in later.kept.items():
            keep_offer(self.kept, decision, *promised)
        for decision, days in later.caps.items():
            for day, count in days.items():
                count_in(self.caps, decision, day, count, keep_days=self.keep_days)


class Waiting:
    """All tallies of a process. Its owner holds a lock around every call.

    Args:
        most: how many visitors may wait; what comes beyond while the store is out of reach is dropped.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._now: dict[Key, Tally] = {}
        self._leaving: dict[Key, Tally] = {}
        self._arrivals: dict[bytes, int] = {}

    def note(self, key: Key, receipt: Receipt, *, counted: str, keep_days: int, kept_until: int = 0) -> None:
        """Add one decision.

        Args:
            counted: under which word it counts towards a cap, empty where it doesn't. keep_days: for how long that is
                remembered. kept_until: the second from which the offer that it makes holds no more, 0 for no offer.
        """
        tally = self._now.get(key)
        if tally is None:
            if len(self._now) >= self._most:
                return
            tally = self._now[key] = Tally()
        tally.receipts.append(receipt)
        if counted:
            tally.keep_days = max(tally.keep_days, keep_days)
            count_in(tally.caps, counted, receipt.time // 86_400, 1, keep_days=keep_days)
        if kept_until:
            keep_offer(tally.kept, receipt.basis.decision, receipt.basis.arm, kept_until)

    def counted(self, key: Key, decision: str, *, days: int, now: int) -> int:
        """Return how often `decision` counted among what has not reached the store."""
        tallies = (self._now.get(key), self._leaving.get(key))
        return sum(caps_within(tally.caps, decision, days=days, now=now) for tally in tallies if tally)

    def kept(self, key: Key) -> Kept:
        """Return the offers among what has not reached the store."""
        found: Kept = {}
        for tally in (self._leaving.get(key), self._now.get(key)):
            for decision, promised in (tally.kept if tally else {}).items():
                keep_offer(found, decision, *promised)
        return found

    def leave(self, handle: bytes | None = None) -> dict[Key, Tally]:
        """Return what waits, of one visitor or of all; it keeps counting until `arrived`.

        What waits behind a tally that is still on its way stays: one key never travels twice at once.
        """
        going = [key for key in self._now if key not in self._leaving and handle in (None, key[0])]
        leaving = {key: self._now.pop(key) for key in going}
        self._leaving |= leaving
        return leaving

    def arrived(self, key: Key, *, written: bool) -> None:
        """Let go of one tally that left, or take it back where it could not be written."""
        self._arrivals[key[0][:2]] = self.arrivals(key[0]) + 1
        tally = self._leaving.pop(key, None)
        if tally is None or written:
            return
        later = self._now.get(key)
        if later is not None:
            tally.merge(later)
        if later is not None or len(self._now) < self._most:
            self._now[key] = tally

    def on_its_way(self, key: Key) -> bool:
        """Say whether a tally left and has not arrived."""
        return key in self._leaving

    def arrivals(self, handle: bytes) -> int:
        """Return a number that changes when a tally of this visitor arrives (or one of the few who share two bytes).

        Whoever adds what is stored to what waits compares it before and after: what arrived in between is in neither.
        """
        return self._arrivals.get(handle[:2], 0)

    def forget(self, handle: bytes) -> None:
        """Drop everything of one visitor."""
        for tallies in (self._now, self._leaving):
            for key in [key for key in tallies if key[0] == handle]:
                del tallies[key]
