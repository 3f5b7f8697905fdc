"""Events of another system, taken into a host's store: what was kept, what was not, and why, by row.

A row is pseudonymised as it is read, and its identifier dropped. The consent gate stands before everything: who granted
nothing is counted, and not kept. A row that is refused holds up no other. Taken in again within a day, rows with an id
change nothing; rows without one are given one of their own bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from entrenous.engine import Engine
from entrenous.events import Event, parse_event
from entrenous.mapping import EventMapping
from entrenous_consent.errors import Malformed, Refusal, Unauthentic

__all__ = ["Imported", "Row", "take_in"]

_BATCH = 100
"""Rows between two looks at the clock, and at most so many events of one visitor at once: fewer than a profile
remembers ids of."""
_NAMED_ROWS = 5

Row = tuple[int, object]
"""Its number, counted from 1, and what it holds: a mapping, or the `Refusal` that says why it can't be read."""


@dataclass(slots=True)
class Imported:
    """What came of the rows.

    Attributes:
        rows: how many there were. events: how many ours they came to. kept: taken in (or, dry, to be taken in).
        causes: why others were not: `consent_missing` and `duplicate`, `unheard` (no feature of the bundle listens to
            that event), `unnamed` (no event of ours), and what was wrong, in words; each with its count and first rows.
        heard: names of the events that were kept.
    """

    rows: int = 0
    events: int = 0
    kept: int = 0
    causes: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)

    def passed_over(self, cause: str, row: int) -> None:
        """Count one that was not kept."""
        count, rows = self.causes.get(cause, (0, ()))
        self.causes[cause] = count + 1, rows if len(rows) == _NAMED_ROWS or row in rows else (*rows, row)


def take_in(
    engine: Engine,
    handle_of: Callable[[str], bytes],
    rows: Iterable[Row],
    mapping: EventMapping,
    *,
    dry: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> Imported:
    """Take in every row that can be; return what came of them.

    Args:
        engine: of the host. handle_of: turns an identifier into a handle. rows: in any order.
        dry: look, and write nothing. progress: told how many rows are done since it was last told.

    Raises:
        Unavailable: the store can't be written; what was told as done is kept.
    """
    told = Imported()
    waiting: dict[bytes, list[tuple[int, Event]]] = {}
    held = 0
    for number, row in rows:
        told.rows += 1
        held += 1
        try:
            handle, events = _read(row, mapping, handle_of, engine.clock())
        except Refusal as error:
            told.passed_over(f"{error.place}: {error.what}", number)
        else:
            told.events += len(events)
            if not events:
                told.passed_over("unnamed", number)
            waiting.setdefault(handle, []).extend((number, event) for event in events)
        if held == _BATCH:
            _settle(engine, waiting, told, dry=dry)
            progress(held)
            held = 0
    _settle(engine, waiting, told, dry=dry)
    progress(held)
    return told


def _read(row: object, mapping: EventMapping, handle_of: Callable[[str], bytes], now: int) -> tuple[bytes, list[Event]]:
    if isinstance(row, Refusal):
        raise row
    mapped = mapping.events(row)
    handle, events = handle_of(mapped.visitor), []
    for place, described in enumerate(mapped.events):
        properties: dict[str, Any] = {"id": f"{_fingerprint(row)}/{place}"} | described
        name, time = properties.pop("name"), properties.pop("time")
        events.append(parse_event(name, properties, time=time, now=now))
    return handle, events


def _fingerprint(row: object) -> str:
    try:
        return sha256(json.dumps(row, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()
    except (ValueError, RecursionError, TypeError) as error:
        raise Malformed("can't be read", place="row") from error


def _settle(engine: Engine, waiting: dict[bytes, list[tuple[int, Event]]], told: Imported, *, dry: bool) -> None:
    """Take in what waits, a visitor at a time."""
    heard = frozenset[str]().union(*(plan.events for plan in engine.active.plans.values()))
    for handle in list(waiting):
        some = waiting.pop(handle)
        for number, event in some:
            if event.name not in heard:
                told.passed_over("unheard", number)
        some = [(number, event) for number, event in some if event.name in heard]
        for at in range(0, len(some), _BATCH):
            part = some[at : at + _BATCH]
            try:
                causes = (_would if dry else _does)(engine, handle, [event for _, event in part])
            except Unauthentic:
                causes = ["unreadable"] * len(part)
            for (number, event), cause in zip(part, causes, strict=True):
                if cause:
                    told.passed_over(cause, number)
                else:
                    told.kept += 1
                    told.heard.add(event.name)


def _does(engine: Engine, handle: bytes, events: list[Event]) -> list[str]:
    return engine.observe(handle, events, engine.clock())


def _would(engine: Engine, handle: bytes, events: list[Event]) -> list[str]:
    """Say what `_does` would, as far as consent goes, and write nothing."""
    active, now = engine.active, engine.clock()
    standing = engine.custody.standing(handle, active.policy, now, move=False)
    granted = standing.granted if standing else frozenset[str]()
    heard = frozenset[str]().union(*(plan.events for purpose, plan in active.plans.items() if purpose in granted))
    return ["" if event.name in heard else "consent_missing" for event in events]
