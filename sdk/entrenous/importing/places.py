"""Where in another system's row something stands, and when that row says it was: what every mapping reads alike.

A place is a path of keys with dots (`ecommerce.items`; a number counts in an array); where several are named, the first
that holds something counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

__all__ = ["UNITS", "Places", "found", "moment", "places", "whole"]

UNITS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}
"""What a time may be counted in, by how many of it are a second; `iso` besides."""

Places = tuple[tuple[str, ...], ...]


def places(table: Table, key: str, default: Any = None) -> Places:
    """Return the places under a key: one, or an array of at most 8.

    Raises:
        Malformed: there is none, and no `default`.
    """
    if not table.has(key) and default is not None:
        return ()
    try:
        paths: Sequence[str] = (table.text(key),)
    except Malformed:
        paths = table.texts(key, longest=8)
    return tuple(tuple(path.split(".")) for path in paths)


def found(row: object, where: Places) -> Any:
    """Return what the first place holds that holds something, None where none does."""
    for path in where:
        value: Any = row
        for key in path:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, (list, tuple)) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                value = None
                break
        if value is not None:
            return value
    return None


def whole(value: object, place: str) -> int:
    """Return a whole number, written as one.

    Raises:
        Malformed: it is none.
    """
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Malformed("is no whole number", place=place)
    return value


def moment(value: object, unit: str, zone: str) -> int:
    """Return a row's time in Unix seconds.

    Args:
        unit: `iso`, or a key of `UNITS`. zone: `UTC` where a time of day without an offset is taken for that, else
            empty: it is refused.

    Raises:
        Malformed: it is no time, or lacks its offset.
    """
    if unit != "iso":
        return whole(value, "time") // UNITS[unit]
    if isinstance(value, datetime):
        read = value
    else:
        try:
            read = datetime.fromisoformat(value if isinstance(value, str) else "")
        except ValueError:
            raise Malformed("is no date and time", place="time", remedy="write it after ISO 8601") from None
    if read.tzinfo is None:
        if zone != "UTC":
            raise Malformed("has no time zone", place="time", remedy="add its offset, or say time_zone in the mapping")
        read = read.replace(tzinfo=UTC)
    return int(read.timestamp())
