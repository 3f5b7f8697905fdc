"""Rows of another system, taken into a host's store: what was kept, what was not, and why, by row.

A row holds events, or what is known of a visitor (attributes), as its mapping says. It is pseudonymised as it is read,
and its identifier dropped. The consent gate stands before everything: who granted nothing is counted, and not kept. A
row that is refused holds up no other.

Taken in again, rows change nothing: events within a day, by their id or one of their own bytes; attributes at any time,
since only what is newer than what is kept changes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias

from entrenous.active import Active
from entrenous.engine import Engine
from entrenous.events import Attribute, Event, attribute_name, parse_attribute, parse_event
from entrenous.features import ANY
from entrenous.importing.attributes import AttributeMapping, exact_number, text_of
from entrenous.importing.mapping import AnyMapping, EventMapping
from entrenous.telling import imported_for, keep
from entrenous_consent.errors import Malformed, Refusal, Unauthentic

__all__ = ["Import", "Imported", "Row", "take_in"]

_BATCH = 100
"""Rows between two looks at the clock, and at most so many events of one visitor at once: fewer than a profile
remembers ids of."""
_NAMED_ROWS = 5

Row = tuple[int, object]
"""Its number, counted from 1, and what it holds: a mapping, or the `Refusal` that says why it can't be read."""

_Waiting: TypeAlias = dict[bytes, list[tuple[int, Event | Attribute]]]


@dataclass(slots=True)
class Imported:
    """What came of the rows.

    Attributes:
        rows: how many there were. events: how many ours they came to, events or attributes. kept: taken in (or, dry, to
            be taken in).
        causes: why others were not: `consent_missing`; `duplicate`, `unheard` (no feature of the bundle listens to that
            event) and `unnamed` (no event of ours); of attributes `known` (what is kept is as new), `unasked` (no
            feature is imported from that column) and `unlisted` (none lists that value); and what was wrong, in words;
            each with its count and first rows.
        heard: names of the events or attributes that were kept. attributes: whether they were those.
    """

    rows: int = 0
    events: int = 0
    kept: int = 0
    causes: dict[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    attributes: bool = False

    def passed_over(self, cause: str, row: int) -> None:
        """Count one that was not kept."""
        count, rows = self.causes.get(cause, (0, ()))
        self.causes[cause] = count + 1, rows if len(rows) == _NAMED_ROWS or row in rows else (*rows, row)

    def lacking(self, active: Active) -> list[str]:
        """Return the features of the bundle in force that rows of this kind could fill, and that none did."""
        if self.attributes:
            imported = [one for one in active.features if one.kind == "imported"]
            return [one.name for one in imported if attribute_name("imported", one.field) not in self.heard]
        listening = [one for one in active.features if one.event]
        return [one.name for one in listening if one.event not in self.heard and not (one.event == ANY and self.heard)]

    def as_table(self, active: Active, *, dry: bool) -> dict[str, Any]:
        """Return the report in plain values; it repeats nothing of a row."""
        return {
            "rows": self.rows,
            "attributes" if self.attributes else "events": self.events,
            "kept": self.kept,
            "dry": dry,
            "passed_over": {
                cause: {"count": count, "rows": list(rows)} for cause, (count, rows) in self.causes.items()
            },
            "lacking": self.lacking(active),
        }


def take_in(
    engine: Engine,
    handle_of: Callable[[str], bytes],
    rows: Iterable[Row],
    mapping: AnyMapping,
    *,
    dry: bool = False,
    progress: Callable[[int], None] = lambda count: None,
    told: Imported | None = None,
) -> Imported:
    """Take in every row that can be; return what came of them.

    Args:
        engine: of the host. handle_of: turns an identifier into a handle. rows: in any order.
        dry: look, and change nothing of what is kept. progress: told how many rows are done since it was last told.
        told: what came of rows before these, which is added to.

    Raises:
        Unavailable: the store can't be written; what was told as done is kept.
    """
    told = told if told is not None else Imported()
    told.attributes = isinstance(mapping, AttributeMapping)
    waiting: _Waiting = {}
    held = 0
    for number, row in rows:
        told.rows += 1
        held += 1
        try:
            handle, found = _read(engine, row, mapping, handle_of, told, number)
        except Refusal as error:
            told.passed_over(f"{error.place}: {error.what}", number)
        else:
            waiting.setdefault(handle, []).extend((number, one) for one in found)
        if held == _BATCH:
            _settle(engine, waiting, told, dry=dry)
            progress(held)
            held = 0
    _settle(engine, waiting, told, dry=dry)
    progress(held)
    return told


class Import:
    """Rows that come a part at a time, numbered through; see `take_in`."""

    def __init__(
        self, engine: Engine, handle_of: Callable[[str], bytes], mapping: AnyMapping, *, dry: bool = False
    ) -> None:
        self._engine, self._handle_of, self._mapping, self._dry = engine, handle_of, mapping, dry
        self._told = Imported(attributes=isinstance(mapping, AttributeMapping))

    def take(self, rows: Iterable[object]) -> None:
        """Take in the next rows.

        Raises:
            Unavailable: the store can't be written.
        """
        numbered = enumerate(rows, self._told.rows + 1)
        take_in(self._engine, self._handle_of, numbered, self._mapping, dry=self._dry, told=self._told)

    def report(self) -> dict[str, Any]:
        """Return what came of the rows so far; see `Imported.as_table`."""
        return self._told.as_table(self._engine.active, dry=self._dry)


def _read(
    engine: Engine,
    row: object,
    mapping: AnyMapping,
    handle_of: Callable[[str], bytes],
    told: Imported,
    number: int,
) -> tuple[bytes, Sequence[Event | Attribute]]:
    """Return whom a row is of, and what it comes to; what no feature has a use for is counted, and left out."""
    if isinstance(row, Refusal):
        raise row
    now = engine.clock()
    if isinstance(mapping, EventMapping):
        handle, events = _events(row, mapping, handle_of, now)
        told.events += len(events)
        if not events:
            told.passed_over("unnamed", number)
        return handle, events
    handle, said, causes = _attributes(engine.active, row, mapping, handle_of, now)
    told.events += len(said) + len(causes)
    for cause in causes:
        told.passed_over(cause, number)
    return handle, said


def _events(
    row: object, mapping: EventMapping, handle_of: Callable[[str], bytes], now: int
) -> tuple[bytes, list[Event]]:
    mapped = mapping.events(row)
    handle, events = handle_of(mapped.visitor), []
    for place, described in enumerate(mapped.events):
        properties: dict[str, Any] = {"id": f"{_fingerprint(row)}/{place}"} | described
        name, time = properties.pop("name"), properties.pop("time")
        events.append(parse_event(name, properties, time=time, now=now))
    return handle, events


def _attributes(
    active: Active, row: object, mapping: AttributeMapping, handle_of: Callable[[str], bytes], now: int
) -> tuple[bytes, list[Attribute], list[str]]:
    said = mapping.said(row)
    handle, kept, causes = handle_of(said.visitor), list[Attribute](), list[str]()
    for key, value in said.values.items():
        asking = [one for one in active.features if one.kind == "imported" and one.field == key]
        if not asking:
            causes.append("unasked")
            continue
        name, found = attribute_name("imported", key), list[str | float]()
        if any(not one.values for one in asking):
            found.append(exact_number(value, mapping.decimals.get(key, 0), place=key))
        if listed := {value for one in asking for value in one.values}:
            text = text_of(value, place=key)
            if text in listed:
                found.append(text)
            else:
                causes.append("unlisted")
        kept += [parse_attribute(name, one, time=said.time, now=now) for one in found]
    return handle, kept, causes


def _fingerprint(row: object) -> str:
    try:
        return sha256(json.dumps(row, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).hexdigest()
    except (ValueError, RecursionError, TypeError) as error:
        raise Malformed("can't be read", place="row") from error


def _settle(engine: Engine, waiting: _Waiting, told: Imported, *, dry: bool) -> None:
    """Take in what waits, a visitor at a time."""
    heard = frozenset[str]().union(*(plan.events for plan in engine.active.plans.values()))
    take = _would if dry else _keep if told.attributes else _observe
    for handle in list(waiting):
        some = waiting.pop(handle)
        for number, one in some:
            if one.name not in heard:
                told.passed_over("unheard", number)
        some = [(number, one) for number, one in some if one.name in heard]
        for at in range(0, len(some), _BATCH):
            part = some[at : at + _BATCH]
            try:
                causes = take(engine, handle, [one for _, one in part])
            except Unauthentic:
                causes = ["unreadable"] * len(part)
            for (number, one), cause in zip(part, causes, strict=True):
                if cause:
                    told.passed_over(cause, number)
                else:
                    told.kept += 1
                    told.heard.add(one.name)


def _observe(engine: Engine, handle: bytes, events: Sequence[Any]) -> list[str]:
    return engine.observe(handle, events, engine.clock())


def _keep(engine: Engine, handle: bytes, said: Sequence[Any]) -> list[str]:
    return keep(engine, handle, said)


def _would(engine: Engine, handle: bytes, some: Sequence[Any]) -> list[str]:
    """Say what taking them in would, as far as consent goes, and write nothing."""
    active, now = engine.active, engine.clock()
    standing = engine.custody.standing(handle, active.policy, now, move=False)
    granted = standing.granted if standing else frozenset[str]()
    heard = frozenset[str]().union(*(plan.events for purpose, plan in active.plans.items() if purpose in granted))
    of_use = [
        bool(imported_for(active, one) & granted) if isinstance(one, Attribute) else one.name in heard for one in some
    ]
    return ["" if kept else "consent_missing" for kept in of_use]
