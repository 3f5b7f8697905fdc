"""Another system's events as ours: a declared table of names and places, and one pure function from a row to events.

A mapping is TOML: which of its names is which of ours, and where in a row each field is (`places`). A row with line
items becomes one event for each, so that an order's lines carry its transaction.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, LARGEST, MONEY_FIELDS
from entrenous.importing.attributes import AttributeMapping, parse_attributes
from entrenous.importing.places import UNITS, Places, found, moment, places, whole
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table

__all__ = [
    "AnyMapping",
    "EventMapping",
    "Mapped",
    "minor_units",
    "packaged_mappings",
    "parse_mapping",
    "read_mapping",
]

_LIMIT = 1 << 16
_FIELDS = ("transaction_id", *MONEY_FIELDS, "quantity", *CATEGORY_FIELDS)
_ITEM_FIELDS = (*MONEY_FIELDS, "quantity", *CATEGORY_FIELDS)
_MOST_ITEMS = 1_000
_NO_DECIMALS = ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV")
_EXPONENTS = {
    **dict.fromkeys((*_NO_DECIMALS, "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
"""Decimals of a currency's minor unit, where they are not 2 (ISO 4217, table A.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A row as ours.

    Attributes:
        visitor: the identifier it names. events: as `Visitor.observe_all` takes them; none where the name is not ours.
    """

    visitor: str
    events: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMapping:
    """A parsed mapping.

    Attributes:
        name, visitor, time, id, currency, items: where each is in a row. fields, item_fields: the same, by our name.
        names: theirs to ours; one that is ours already stands for itself.
        time_unit, time_zone: see `entrenous.importing.places.moment`.
        money: `decimal` or `minor`. fixed_currency: of every row, empty where the row says it.
    """

    name: Places
    visitor: Places
    time: Places
    id: Places
    currency: Places
    items: Places
    fields: Mapping[str, Places]
    item_fields: Mapping[str, Places]
    names: Mapping[str, str]
    time_unit: str
    time_zone: str
    money: str
    fixed_currency: str

    def events(self, row: object) -> Mapped:
        """Return what a row comes to.

        Raises:
            Malformed: it names no visitor, no time, or money that is none. The message repeats nothing of the row.
        """
        if not isinstance(row, Mapping):
            raise Malformed("is no object", place="row")
        visitor = found(row, self.visitor)
        if not isinstance(visitor, str) or not visitor:
            raise Malformed("names no visitor", place="visitor")
        told = found(row, self.name)
        name = self.names.get(told, told) if isinstance(told, str) else None
        if name not in EVENT_NAMES:
            return Mapped(visitor=visitor, events=())
        whole: dict[str, Any] = {"name": name, "time": moment(found(row, self.time), self.time_unit, self.time_zone)}
        if isinstance(identifier := found(row, self.id), str) and identifier:
            whole["id"] = identifier
        items = found(row, self.items)
        lines = [line for line in items if isinstance(line, Mapping)] if isinstance(items, (list, tuple)) else []
        if len(lines) > _MOST_ITEMS:
            raise Malformed(f"has more than {_MOST_ITEMS} line items", place="items")
        currency = self.fixed_currency or found(row, self.currency)
        if not lines:
            return Mapped(visitor=visitor, events=(whole | self._amounts(row, self.fields, currency),))
        shared = self._amounts(row, {key: self.fields[key] for key in ("transaction_id",) if key in self.fields}, "")
        events = []
        for number, line in enumerate(lines):
            event = whole | shared | self._amounts(line, self.item_fields, currency)
            if "id" in event:
                event["id"] = f"{event['id']}/{number}"
            if "value" not in event and "price" in event:
                event["value"] = event["price"] * event.get("quantity", 1)
            events.append(event)
        return Mapped(visitor=visitor, events=tuple(events))

    def _amounts(self, source: Mapping[str, Any], known: Mapping[str, Places], currency: object) -> dict[str, Any]:
        amounts: dict[str, Any] = {}
        for field, where in known.items():
            value = found(source, where)
            if value is None or value == "":
                continue
            if field in MONEY_FIELDS:
                amounts[field] = value if self.money == "minor" else minor_units(value, currency, place=field)
            elif field == "quantity":
                amounts[field] = whole(value, field)
            else:
                amounts[field] = value if isinstance(value, str) else str(value)
        if amounts.keys() & set(MONEY_FIELDS):
            amounts["currency"] = currency
        return amounts


AnyMapping: TypeAlias = EventMapping | AttributeMapping


def minor_units(value: object, currency: object, *, place: str) -> int:
    """Return a decimal amount in minor units of its currency, rounded half up.

    Raises:
        Malformed: no number, no currency, negative or too large.
    """
    if not isinstance(currency, str) or len(currency) != 3:
        raise Malformed("has no currency beside it", place=place)
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise Malformed("is no amount", place=place)
    try:
        exact, whole = Decimal(str(value)), -1
        if exact.is_finite() and abs(exact) < 10**18:
            whole = int(exact.scaleb(_EXPONENTS.get(currency, 2)).to_integral_value(ROUND_HALF_UP))
    except InvalidOperation:
        raise Malformed("is no amount", place=place) from None
    if not 0 <= whole <= LARGEST[place]:
        raise Malformed(f"is outside 0..{LARGEST[place]} minor units", place=place)
    return whole


def parse_mapping(data: bytes, *, place: str = "mapping") -> AnyMapping:
    """Return the mapping, of events or of attributes, that `data` (UTF-8 TOML) writes down.

    Raises:
        Malformed: not TOML, an unknown or missing key, or a name that is none of our events.
    """
    if len(data) > _LIMIT:
        raise Malformed(f"is longer than {_LIMIT} bytes", place=place, remedy="shorten it")
    try:
        top = Table(tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=place, remedy="mend that line") from error
    try:
        return _parse(top)
    except Malformed as error:
        raise Malformed(error.what, place=f"{place}: {error.place}", remedy=error.remedy) from error


def _parse(top: Table) -> AnyMapping:
    top.integer("format", least=1, most=1)
    if top.choice("kind", ("attributes", "events"), "events") == "attributes":
        return parse_attributes(top)
    names = top.table("names", {})
    renamed = {theirs: names.choice(theirs, sorted(EVENT_NAMES)) for theirs in names.keys()}  # noqa: SIM118
    fields, lines = top.table("fields"), top.table("item_fields", {})
    mapping = EventMapping(
        name=places(top, "name"),
        visitor=places(top, "visitor"),
        time=places(top, "time"),
        id=places(top, "id", ()),
        currency=places(top, "currency", ()),
        items=places(top, "items", ()),
        fields={key: places(fields, key) for key in _FIELDS if fields.has(key)},
        item_fields={key: places(lines, key) for key in _ITEM_FIELDS if lines.has(key)},
        names=renamed,
        time_unit=top.choice("time_unit", (*UNITS, "iso")),
        time_zone=top.choice("time_zone", ("UTC",), ""),
        money=top.choice("money", ("decimal", "minor")),
        fixed_currency=top.text("fixed_currency", "", longest=3),
    )
    for table in (fields, lines, top):
        table.close()
    return mapping


def packaged_mappings() -> tuple[str, ...]:
    """Return the names of the mappings that ship with the package."""
    folder = files("entrenous.importing.mappings")
    return tuple(sorted(one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml")))


def read_mapping(named: str) -> AnyMapping:
    """Return a packaged mapping by its name, or the one in a file.

    Raises:
        Missing: it is neither. Malformed: see `parse_mapping`.
    """
    if named in packaged_mappings():
        return parse_mapping(
            (files("entrenous.importing.mappings") / f"{named}.toml").read_bytes(), place=f"{named}.toml"
        )
    path = Path(named)
    if not path.is_file():
        known = ", ".join(packaged_mappings())
        raise Missing("is no mapping", place="--mapping", remedy=f"name a file, or one of: {known}")
    return parse_mapping(path.read_bytes(), place=path.name)
