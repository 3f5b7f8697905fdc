"""Another system's columns as what is known of a visitor: a declared table, and one pure function from a row.

A mapping of attributes is TOML: which column is about which field of a feature of the kind `imported`, whose row it is,
and since when that is so. Columns that it does not name are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

from entrenous.importing.places import UNITS, Places, found, moment, places
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

__all__ = ["AttributeMapping", "Said", "exact_number", "parse_attributes", "text_of"]

_MOST_FIELDS = 256
_MOST_DECIMALS = 9
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a row says: whom of, since when (Unix seconds), and by field what stands in its column."""

    visitor: str
    time: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeMapping:
    """A parsed mapping of attributes.

    Attributes:
        visitor, time: where each is in a row; `time` is empty where `at`, Unix seconds, is the time of every row.
        fields: by field, where it is. decimals: how many a number may have; none where a field is not named.
        time_unit, time_zone: see `entrenous.importing.places.moment`.
    """

    visitor: Places
    time: Places
    at: int
    fields: Mapping[str, Places]
    decimals: Mapping[str, int]
    time_unit: str
    time_zone: str

    def said(self, row: object) -> Said:
        """Return what a row says.

        Raises:
            Malformed: it names no visitor or no time. The message repeats nothing of the row.
        """
        if not isinstance(row, Mapping):
            raise Malformed("is no object", place="row")
        visitor = found(row, self.visitor)
        if not isinstance(visitor, str) or not visitor:
            raise Malformed("names no visitor", place="visitor")
        time = moment(found(row, self.time), self.time_unit, self.time_zone) if self.time else self.at
        held = {field: found(row, where) for field, where in self.fields.items()}
        return Said(
            visitor=visitor, time=time, values={key: one for key, one in held.items() if one is not None and one != ""}
        )


def exact_number(value: object, decimals: int, *, place: str) -> float:
    """Return a number that is written as one: digits, a point, and no more decimals than declared.

    Raises:
        Malformed: it is no number, is written otherwise, has more decimals, or more digits than a float tells apart.
    """
    text = value if isinstance(value, str) else str(value) if isinstance(value, (int, float, Decimal)) else ""
    if isinstance(value, bool) or (isinstance(value, str) and not _NUMBER.fullmatch(text)):
        text = ""
    exact = Decimal(text) if text else Decimal("nan")
    if not exact.is_finite():
        raise Malformed("is no number", place=place, remedy="write digits and a point, with nothing between thousands")
    exponent = exact.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > decimals:
        remedy = f"round them, or say decimals.{place} in the mapping"
        raise Malformed(f"has more than {decimals} decimals", place=place, remedy=remedy)
    number = float(exact)
    if not isfinite(number) or exact not in (Decimal(number), Decimal(repr(number))):
        raise Malformed("has more digits than can be kept", place=place, remedy="round it, or import it as a category")
    return number


def text_of(value: object, *, place: str) -> str:
    """Return a category as text: a whole number, and true or false, as they are written.

    Raises:
        Malformed: it is none of these.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int)):
        return str(value)
    raise Malformed("is no text", place=place, remedy="write the category as text")


def parse_attributes(top: Table) -> AttributeMapping:
    """Return the mapping in a document whose `kind` has been read.

    Raises:
        Malformed: an unknown or missing key, or both a time for each row and one for all.
    """
    fields, decimals = top.table("fields"), top.table("decimals", {})
    if top.has("time") == top.has("at"):
        raise top.refuse("time", "is missing, or stands beside at", "say where a row's time is, or at: one for all")
    known = {key: places(fields, key) for key in fields.keys()}  # noqa: SIM118
    if not all(map(_FIELD.fullmatch, known)):
        raise top.refuse("fields", "names what is no short key", "write it as the feature's field")
    if not 1 <= len(known) <= _MOST_FIELDS:
        raise top.refuse("fields", f"is not 1 to {_MOST_FIELDS} fields", "name what a feature is imported from")
    mapping = AttributeMapping(
        visitor=places(top, "visitor"),
        time=places(top, "time", ()),
        at=top.moment("at") if top.has("at") else 0,
        fields=known,
        decimals={key: decimals.integer(key, least=0, most=_MOST_DECIMALS) for key in known if decimals.has(key)},
        time_unit=top.choice("time_unit", (*UNITS, "iso")) if top.has("time") else "iso",
        time_zone=top.choice("time_zone", ("UTC",), ""),
    )
    for table in (fields, decimals, top):
        table.close()
    return mapping
