"""Triggers: what is declared to fall due some time after a visitor did something, unless they do something else.

    cart_abandoned    add_to_cart, unless purchase
    browse_abandoned  view_item, unless add_to_cart or purchase
    search_abandoned  search, unless view_item, add_to_cart or purchase
    win_back          purchase, or whatever is named; each one begins anew
    replenishment     purchase of one category; each one begins anew
    post_purchase     purchase, unless refund

A kind names the events that are meant where a declaration names none; all of them work in one way (module `armed`). A
trigger with a `message` is told to that message's recipient, by the worker; one without, to the app (module `raising`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from entrenous.events import EVENT_NAMES, LONGEST, Event
from entrenous.features import ANY, Feature
from entrenous.segments import kept_variables, words_of
from entrenous.targeting import Gate, compile_gate, read_tree
from entrenous_consent.packing import pack
from entrenous_consent.parsing import Table

__all__ = [
    "MOST_TRIGGERS",
    "TRIGGER_KINDS",
    "Group",
    "Limit",
    "Quiet",
    "Trigger",
    "groups_of",
    "parse_limit",
    "parse_triggers",
    "said_of",
]

MOST_TRIGGERS = 64
MOST_COUNTED = 10
"""The most events that a trigger may ask for."""
FARTHEST = 14 * 60
"""Minutes that an offset from UTC may have, either way."""
MINUTE, HOUR, DAY = 60, 3600, 86_400

TRIGGER_KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "cart_abandoned": ("add_to_cart", ("purchase",)),
    "browse_abandoned": ("view_item", ("add_to_cart", "purchase")),
    "search_abandoned": ("search", ("view_item", "add_to_cart", "purchase")),
    "win_back": ("purchase", ()),
    "replenishment": ("purchase", ()),
    "post_purchase": ("purchase", ("refund",)),
}
"""By kind, the event that arms it and those that disarm it, where a declaration names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `times` in `days` times 24 hours."""

    times: int
    days: int

    def as_table(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return {"times": self.times, "days": self.days}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """Hours in which nothing falls due; what would, does at their end.

    Attributes:
        start, end: minutes of the day; from `start` until before `end`, over midnight where that comes first.
        offset: minutes east of UTC where the app told no offset of the visitor's own.
    """

    start: int
    end: int
    offset: int

    def ends(self, moment: int, offset: int | None) -> int:
        """Return the first moment from `moment` on (Unix seconds) that lies outside.

        Args:
            offset: the visitor's, minutes east of UTC; None where it isn't known.
        """
        local = (moment + (self.offset if offset is None else offset) * MINUTE) % DAY
        start, end = self.start * MINUTE, self.end * MINUTE
        inside = start <= local < end if start < end else local >= start or local < end
        return moment + (end - local) % DAY if inside else moment

    def as_table(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return {"start": self.start, "end": self.end, "offset": self.offset}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A declared trigger. Durations are in seconds.

    Attributes:
        kind: one of `TRIGGER_KINDS`. purpose: what must be granted. message: of the policy; empty for the app alone.
        after: the event that arms it, or `ANY`; of `category` alone, where one is named. at_least: how many of them,
            the first and the last no more than `within` apart. unless: events that disarm it.
        delay: from the last of them until it falls due. lasting: from then on, until it is let go.
        cap: how often it may be raised. quiet: when it may not. exclude: the rule for who is left out.
        en, fr: what it is called, for people. stamp: eight bytes that change when the declaration does.
    """

    name: str
    kind: str
    purpose: str
    after: str
    delay: int
    lasting: int
    en: str
    fr: str
    message: str = ""
    at_least: int = 1
    within: int = 0
    category: str = ""
    unless: tuple[str, ...] = ()
    cap: Limit | None = None
    quiet: Quiet | None = None
    exclude: tuple[Any, ...] | None = None
    stamp: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", sha256(pack(self.as_table())).digest()[:8])

    def arms(self, event: Event) -> bool:
        """Say whether it begins with this event."""
        return (
            self.after in (event.name, ANY)
            and event.name not in self.unless
            and (not self.category or event.category == self.category)
        )

    @property
    def reach(self) -> int:
        """How long after an event nothing can come of it any more."""
        return self.within + self.delay + self.lasting

    def as_table(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        table: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "purpose": self.purpose,
            "after": self.after,
            "unless": list(self.unless),
            "at_least": self.at_least,
            "delay_minutes": self.delay // MINUTE,
            "lasting_hours": self.lasting // HOUR,
        }
        if self.within:
            table["within_hours"] = self.within // HOUR
        optional = {"message": self.message, "category": self.category}
        table |= {key: value for key, value in optional.items() if value}
        for key, part in (("cap", self.cap), ("quiet", self.quiet)):
            if part is not None:
                table[key] = part.as_table()
        if self.exclude is not None:
            table["exclude"] = self.exclude
        return table | {"words": {"en": self.en, "fr": self.fr}}


def parse_limit(table: Table) -> Limit:
    """Return the limit in `table`; a specification writes it the same way."""
    limit = Limit(times=table.integer("times", least=1, most=100), days=table.integer("days", least=1, most=366))
    table.close()
    return limit


def _quiet(table: Table) -> Quiet:
    most = 24 * 60 - 1
    quiet = Quiet(
        start=table.integer("start", least=0, most=most),
        end=table.integer("end", least=0, most=most),
        offset=table.integer("offset", least=-FARTHEST, most=FARTHEST),
    )
    if quiet.start == quiet.end:
        raise table.refuse("end", "is the start", "leave some time of the day")
    table.close()
    return quiet


def said_of(table: Table) -> dict[str, Any]:
    """Return what a declaration says, but for the rule `exclude`; a specification writes it the same way.

    Raises:
        Malformed: an unknown kind or event, a bound that is not kept, a replenishment without a category.
    """
    kind = table.choice("kind", TRIGGER_KINDS)
    after, unless = TRIGGER_KINDS[kind]
    at_least = table.integer("at_least", 1, least=1, most=MOST_COUNTED)
    said: dict[str, Any] = {
        "name": table.name("name"),
        "kind": kind,
        "purpose": table.name("purpose"),
        "message": table.name("message", ""),
        "after": table.choice("after", (ANY, *sorted(EVENT_NAMES)), after),
        "unless": table.names("unless", unless, longest=len(EVENT_NAMES)),
        "at_least": at_least,
        "within": HOUR * table.integer("within_hours", least=1, most=366 * 24) if at_least > 1 else 0,
        "category": table.text("category", "", longest=LONGEST["category"]),
        "delay": MINUTE * table.integer("delay_minutes", least=0, most=366 * 24 * 60),
        "lasting": HOUR * table.integer("lasting_hours", 72, least=1, most=366 * 24),
        "cap": parse_limit(table.table("cap")) if table.has("cap") else None,
        "quiet": _quiet(table.table("quiet")) if table.has("quiet") else None,
    }
    said["en"], said["fr"] = words_of(table)
    for i, name in enumerate(said["unless"]):
        if name not in EVENT_NAMES or name == said["after"]:
            raise table.refuse(f"unless[{i}]", "is no event, or the one that arms it", "name another")
    if kind == "replenishment" and not said["category"]:
        raise table.refuse("category", "is missing", "name what runs out")
    return said


def parse_triggers(tables: Sequence[Table], schema: Iterable[Feature]) -> tuple[Trigger, ...]:
    """Return the triggers of a manifest.

    Raises:
        Malformed: as `said_of`, a rule that does not read, a name that stands twice.
    """
    variables, found = kept_variables(schema), list[Trigger]()
    for table in tables:
        said = said_of(table)
        if table.has("exclude"):
            said["exclude"] = read_tree(table.array("exclude"), variables, place=f"{table.path}.exclude")
        table.close()
        trigger = Trigger(**said)
        if any(one.name == trigger.name for one in found):
            raise table.refuse("name", "is declared twice", "rename one")
        found.append(trigger)
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The triggers of one purpose, compiled.

    Attributes:
        triggers: by name. gates: by name, where it excludes somebody. limit: of all of them together.
        listens: events that can change something; `ANY` for every one.
    """

    triggers: Mapping[str, Trigger]
    gates: Mapping[str, Gate]
    limit: Limit | None
    listens: frozenset[str]

    def hears(self, events: Iterable[Event]) -> bool:
        """Say whether one of these events can change something."""
        return ANY in self.listens or any(event.name in self.listens for event in events)

    @property
    def days(self) -> int:
        """For how many days it has to be known what was raised."""
        limits = (self.limit, *(one.cap for one in self.triggers.values()))
        return max((one.days for one in limits if one is not None), default=0)


def groups_of(triggers: Iterable[Trigger], limit: Limit | None, schema: Sequence[Feature]) -> dict[str, Group]:
    """Return the triggers by purpose."""
    by_purpose: dict[str, dict[str, Trigger]] = {}
    for one in triggers:
        by_purpose.setdefault(one.purpose, {})[one.name] = one
    return {purpose: _group(some, limit, schema) for purpose, some in by_purpose.items()}


def _group(triggers: Mapping[str, Trigger], limit: Limit | None, schema: Sequence[Feature]) -> Group:
    gates = {name: compile_gate(None, one.exclude, schema, ()) for name, one in triggers.items()}
    compiled = {name: gate for name, gate in gates.items() if gate is not None}
    read = {column for gate in compiled.values() for column, _, _ in gate.columns}
    listens = {event for one in triggers.values() for event in (one.after, *one.unless)}
    listens |= {event for one in schema if one.name in read for event in (one.event or ANY, one.per) if event}
    return Group(triggers=triggers, gates=compiled, limit=limit, listens=frozenset(listens))
