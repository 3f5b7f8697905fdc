"""The replay: real shopping trips through a real worker, hour by hour, each household under a consent of its own.

The trips are real (Complete Journey, 2017). The mix of consents is ours, and how households answer an offer is
*simulated* (`Response`): every place that shows a figure which rests on either says so.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from entrenous_exporters.demo.processes import Edge, Line

__all__ = ["GROUPS", "HALF_WAY", "OCTOBER", "SIMULATED", "Group", "Moment", "Replay", "Response", "Trip", "assign"]

OCTOBER = 1_506_816_000
"""2017-10-01: trips before it are loaded as history, trips from it on ask for a decision."""
HALF_WAY = 1_510_704_000
"""2017-11-15: when some withdraw, and some ask to be erased."""
SIMULATED = (
    "The trips are real; that an offer brings further trips is simulated, since nobody in 2017 was shown one. "
    "The mix of consents is ours."
)

_ALL = ("history", "improve", "measure", "personalize")
_HOUR, _DAY = 3600, 86_400
_MOST_EVENTS = 900
_ARMS = {"ten_off": 0.8, "double_points": 0.5}
_FURTHER_TRIPS = 2
_WITHIN_DAYS = 10
_LINES = 3
"""Connections over which decisions are asked for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One way to answer the banner. `granted` None: it is never answered."""

    name: str
    share: float
    granted: tuple[str, ...] | None
    half_way: str = ""


GROUPS = (
    Group(name="all", share=0.40, granted=_ALL),
    Group(name="without history", share=0.15, granted=("improve", "measure", "personalize")),
    Group(name="personalise only", share=0.05, granted=("personalize",)),
    Group(name="measure only", share=0.10, granted=("measure",)),
    Group(name="refused", share=0.10, granted=()),
    Group(name="unknown", share=0.10, granted=None),
    Group(name="withdrawn half-way", share=0.05, granted=_ALL, half_way="withdraw"),
    Group(name="erased half-way", share=0.05, granted=_ALL, half_way="erase"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """One basket: its line items, and where its row is in the table that the model was judged on."""

    household: str
    time: int
    items: tuple[dict[str, Any], ...]
    value: int
    row: int


@dataclass(frozen=True, slots=True)
class Moment:
    """One decision of the replay, as the worker told it; `touched` where a simulated trip came before it."""

    group: str
    row: int
    reason: str
    cause: str
    tranche: str
    touched: bool
    seconds: float


class Response:
    """How households answer an offer: *simulated*.

    A household that is shown `ten_off` for the first time makes up to two more trips within ten days, each with
    probability .8; `double_points`, .5. Each is worth that household's average trip.
    """

    def __init__(self, seed: int, averages: dict[str, int]) -> None:
        self._chance, self._averages = np.random.default_rng(seed), averages
        self._answered: set[str] = set()
        self._coming: list[tuple[int, str, int]] = []
        self.touched: set[str] = set()
        self.made = 0

    def shown(self, household: str, arm: str, now: int) -> None:
        """Let a household see an offer."""
        if arm not in _ARMS or household in self._answered:
            return
        self._answered.add(household)
        for _ in range(_FURTHER_TRIPS):
            if self._chance.random() < _ARMS[arm]:
                time = now + int(self._chance.integers(_HOUR, _WITHIN_DAYS * _DAY))
                heapq.heappush(self._coming, (time, household, self._averages[household]))

    def until(self, now: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the simulated purchases that happen up to `now`."""
        while self._coming and self._coming[0][0] <= now:
            time, household, value = heapq.heappop(self._coming)
            self.made += 1
            self.touched.add(household)
            event = {"name": "purchase", "time": time, "value": value, "currency": "USD"}
            yield household, {**event, "transaction_id": f"simulated-{self.made}"}


def assign(households: list[str], seed: int) -> dict[str, Group]:
    """Return each household's group, drawn by the stated shares."""
    order = np.random.default_rng(seed).permutation(len(households))
    ends = np.round(np.cumsum([group.share for group in GROUPS]) * len(households)).astype(int)
    return {households[at]: GROUPS[int(np.searchsorted(ends, place, side="right"))] for place, at in enumerate(order)}


@dataclass(slots=True)
class Replay:
    """A worker, and what came of the trips.

    Attributes:
        moments: every decision asked for. refused: events by group that were not taken in.
        reports: ids of what was released. loaded: events of January to September.
    """

    edge: Edge
    groups: dict[str, Group]
    response: Response
    moments: list[Moment] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    reports: list[str] = field(default_factory=list)
    loaded: int = 0
    sent: int = 0
    seconds: float = 0.0
    _turned: set[str] = field(default_factory=set)

    def load(self, trips: Sequence[Trip], tick: Callable[[int], None]) -> None:
        """On 1 October: let every household answer the banner, and load what it bought before."""
        line, admin = self.edge.line(), self.edge.admin()
        admin.ask("POST", "/clock", {"now": OCTOBER})
        admin.ask("POST", "/release")  # the experiment begins
        for household, group in self.groups.items():
            if group.granted is not None:
                choices = {"choices": dict.fromkeys(group.granted, True)}
                line.ask("POST", "/v1/consent", choices, self.edge.signed_in(household, OCTOBER))
        by_household: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for trip in trips:
            by_household[trip.household].extend(trip.items)
        lines = [line, self.edge.line()]
        with ThreadPoolExecutor(len(lines)) as pool:
            work = list(by_household.items())
            for _ in pool.map(
                self._load, lines, [work[i :: len(lines)] for i in range(len(lines))], [tick] * len(lines)
            ):
                pass
        self.loaded = sum(map(len, by_household.values()))

    def _load(self, line: Line, work: Sequence[tuple[str, list[dict[str, Any]]]], tick: Callable[[int], None]) -> None:
        for household, events in work:
            for i in range(0, len(events), _MOST_EVENTS):
                self._observe(line, [(household, events[i : i + _MOST_EVENTS])])
            tick(1)

    def run(self, trips: Iterable[Trip], tick: Callable[[int], None]) -> None:
        """Replay October to December, hour by hour; `trips` come in order of time."""
        started = perf_counter()
        admin, writing = self.edge.admin(), self.edge.line()
        asking = [self.edge.line() for _ in range(_LINES)]
        day = OCTOBER // _DAY
        with ThreadPoolExecutor(_LINES) as pool:
            for hourly in _slots(trips):
                now = hourly[-1].time
                admin.ask("POST", "/clock", {"now": now})
                if now // _DAY != day:
                    day = now // _DAY
                    self.reports += admin.ask("POST", "/release")["reports"]
                self._turn(writing, hourly, now)
                events = [(trip.household, list(trip.items)) for trip in hourly]
                events += [(household, [event]) for household, event in self.response.until(now)]
                for batch in _batches(events):
                    self._observe(writing, batch)
                parts = [hourly[i::_LINES] for i in range(_LINES)]
                for part, told in zip(parts, pool.map(self._ask, asking, parts), strict=True):
                    for trip, (decision, seconds) in zip(part, told, strict=True):
                        self._note(trip, decision, seconds, now)
                tick(len(hourly))
        self.seconds = perf_counter() - started

    def finish(self, end: int) -> None:
        """Let the year end: release what is due, and send it."""
        admin = self.edge.admin()
        admin.ask("POST", "/clock", {"now": end})
        self.reports += admin.ask("POST", "/release")["reports"]
        admin.ask("POST", "/flush")
        self.sent = admin.ask("POST", "/send")["sent"]

    def _turn(self, line: Line, trips: Sequence[Trip], now: int) -> None:
        """Let households that change their mind half-way do so."""
        for trip in trips:
            group = self.groups[trip.household]
            if group.half_way and trip.time >= HALF_WAY and trip.household not in self._turned:
                self._turned.add(trip.household)
                signed_in = self.edge.signed_in(trip.household, now)
                if group.half_way == "erase":
                    line.ask("DELETE", "/v1/visitor", None, signed_in)
                else:
                    line.ask("POST", "/v1/consent", {"choices": {}}, signed_in)

    def _observe(self, line: Line, batches: Sequence[tuple[str, list[dict[str, Any]]]]) -> None:
        told = line.ask("POST", "/v1/events", {"batches": [{"visitor": who, "events": what} for who, what in batches]})
        for (household, _), outcomes in zip(batches, told["outcomes"], strict=True):
            refused = sum(not outcome["accepted"] for outcome in outcomes)
            if refused:
                self.refused[self.groups[household].name] += refused

    @staticmethod
    def _ask(line: Line, trips: Sequence[Trip]) -> list[tuple[dict[str, Any], float]]:
        told = []
        for trip in trips:
            context = {"basket_items": len(trip.items), "basket_value": trip.value}
            body = {"decisions": ["promotion"], "visitor": trip.household, "context": context}
            start = perf_counter()
            answer = line.ask("POST", "/v1/decide", body)
            told.append((answer["decisions"]["promotion"], perf_counter() - start))
        return told

    def _note(self, trip: Trip, decision: dict[str, Any], seconds: float, now: int) -> None:
        moment = Moment(
            group=self.groups[trip.household].name,
            row=trip.row,
            reason=decision["reason"],
            cause=decision.get("cause", ""),
            tranche=decision.get("tranche", ""),
            touched=trip.household in self.response.touched,
            seconds=seconds,
        )
        self.moments.append(moment)
        if decision["value"] is not None:
            self.response.shown(trip.household, decision["value"], now)


def _slots(trips: Iterable[Trip]) -> Iterator[list[Trip]]:
    """Yield trips of one hour, each household at one moment: a decision then sees just what it would have seen at its
    trip. Baskets of one second are one moment, here as in the table."""
    slot: list[Trip] = []
    there: dict[str, int] = {}
    for trip in trips:
        if slot and (trip.time // _HOUR != slot[0].time // _HOUR or there.get(trip.household, trip.time) != trip.time):
            yield slot
            slot, there = [], {}
        slot.append(trip)
        there[trip.household] = trip.time
    if slot:
        yield slot


def _batches(events: Sequence[tuple[str, list[dict[str, Any]]]]) -> Iterator[list[tuple[str, list[dict[str, Any]]]]]:
    batch: list[tuple[str, list[dict[str, Any]]]] = []
    size = 0
    for household, some in events:
        if batch and size + len(some) > _MOST_EVENTS:
            yield batch
            batch, size = [], 0
        batch.append((household, some))
        size += len(some)
    if batch:
        yield batch
