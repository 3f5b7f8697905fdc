"""The replay: real shopping trips, one household after the other's turn in time, each under a consent of its own.

The trips are real (Complete Journey, 2017). The mix of consents is ours, and every place that shows a figure says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from entrenous import Client, Decision, Visitor

__all__ = ["GROUPS", "HALF_WAY", "OCTOBER", "Group", "Moment", "Replay", "ScriptedClock", "Trip", "assign"]

OCTOBER = 1_506_816_000
"""2017-10-01: before it, trips are history; from it on, they ask for a decision."""
HALF_WAY = 1_510_704_000
"""2017-11-15: when some withdraw, and some ask to be erased."""
_ASK_AGAIN = 170 * 86_400

_ALL = ("history", "improve", "measure", "personalize")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One way to answer the banner. `granted` None: it is never answered."""

    name: str
    share: float
    granted: tuple[str, ...] | None
    half_way: str = ""


GROUPS = (
    Group(name="all", share=0.30, granted=_ALL),
    Group(name="without history", share=0.15, granted=("improve", "measure", "personalize")),
    Group(name="personalise only", share=0.10, granted=("personalize",)),
    Group(name="measure only", share=0.10, granted=("measure",)),
    Group(name="refused", share=0.10, granted=()),
    Group(name="unknown", share=0.10, granted=None),
    Group(name="withdrawn half-way", share=0.10, granted=_ALL, half_way="withdraw"),
    Group(name="erased half-way", share=0.05, granted=_ALL, half_way="erase"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One basket: its line items, and whether the household came again within the label's days (None: not known
    yet)."""

    household: str
    time: int
    items: tuple[dict[str, Any], ...]
    value: int
    again: bool | None


@dataclass(frozen=True, slots=True)
class Moment:
    """One decision of the replay."""

    group: str
    after: bool
    decision: Decision
    again: bool | None
    seconds: float


class ScriptedClock:
    """A clock that stands where the replay puts it."""

    def __init__(self, start: int) -> None:
        self.now = start

    def __call__(self) -> int:
        """Return the replay's moment, Unix seconds."""
        return self.now


def assign(households: list[str], seed: int) -> dict[str, Group]:
    """Return each household's group, drawn by the stated shares."""
    order = np.random.default_rng(seed).permutation(len(households))
    ends = np.round(np.cumsum([group.share for group in GROUPS]) * len(households)).astype(int)
    return {households[at]: GROUPS[int(np.searchsorted(ends, place, side="right"))] for place, at in enumerate(order)}


@dataclass(slots=True)
class Replay:
    """A client, a clock, and what came of the trips.

    Attributes:
        moments: every decision asked for. observed: outcomes of events by group and cause (empty: taken in).
    """

    client: Client
    clock: ScriptedClock
    groups: dict[str, Group]
    moments: list[Moment] = field(default_factory=list)
    observed: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _asked: dict[str, int] = field(default_factory=dict)
    _turned: set[str] = field(default_factory=set)

    def run(self, trips: Iterator[Trip], tick: Callable[[Trip], None]) -> None:
        """Walk through `trips`, which come in order of time; `tick` is told each."""
        for trip in trips:
            self.clock.now = trip.time
            group, visitor = self.groups[trip.household], self.client.visitor(trip.household)
            self._life(trip, group, visitor)
            for outcome in visitor.observe_all(trip.items):
                self.observed[group.name][outcome.cause] += 1
            if trip.time >= OCTOBER:
                context = {"basket_items": len(trip.items), "basket_value": trip.value}
                start = perf_counter()
                decision = visitor.decide("promotion", "none", context)
                seconds = perf_counter() - start
                self.moments.append(Moment(group.name, trip.time >= HALF_WAY, decision, trip.again, seconds))
            tick(trip)

    def _life(self, trip: Trip, group: Group, visitor: Visitor) -> None:
        """Let the household answer the banner when it is shown, and change its mind half-way where its group does."""
        if group.half_way and trip.time >= HALF_WAY:
            if trip.household not in self._turned:
                self._turned.add(trip.household)
                self._check(visitor.erase() if group.half_way == "erase" else visitor.consent({}))
            return
        if group.granted is not None and trip.time - self._asked.get(trip.household, -_ASK_AGAIN) >= _ASK_AGAIN:
            self._asked[trip.household] = trip.time
            self._check(visitor.consent(dict.fromkeys(group.granted, True)))

    @staticmethod
    def _check(outcome: Any) -> None:
        if not outcome.accepted:
            raise RuntimeError(f"the replay's own call was refused: {outcome.cause} {outcome.message}")
