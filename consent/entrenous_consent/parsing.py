"""Typed reading of untrusted tables: every value checked once, every unknown key refused.

A `Table` wraps one mapping of a parsed document (TOML, JSON, msgpack) and remembers its path, so that an
error can say `features[2].retention_days`. Values are taken with typed getters; `close` refuses what nobody took.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

from entrenous_consent.errors import Malformed

__all__ = ["KEY", "REQUIRED", "Table"]

KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""The shape of every short key of ours: purposes, features, decisions, arms."""

_LARGEST = sys.float_info.max
_LONGEST_PLACE = 100

REQUIRED: Any = object()
"""The default of a getter whose key must be present."""


class Table:
    """One mapping of a document under strict reading.

    Args:
        values: the mapping as parsed.
        path: its place in the document, for errors; empty at the top.

    Raises:
        Malformed: from every getter, when the key is absent without a default, of another type or out of bounds.
    """

    __slots__ = ("_taken", "_values", "path")

    def __init__(self, values: object, path: str = "") -> None:
        self.path = path
        if not isinstance(values, Mapping):
            raise self._wrong("expected a table", "", "write key = value pairs")
        if not all(isinstance(key, str) for key in values):
            raise self._wrong("a key is not text", "", "use short keys of text")
        self._values: Mapping[str, Any] = values
        self._taken: set[str] = set()

    def _wrong(self, what: str, key: str, remedy: str = "") -> Malformed:
        key = key[:_LONGEST_PLACE]
        place = f"{self.path}.{key}" if self.path and key else (key or self.path or "document")
        return Malformed(what, place=place, remedy=remedy)

    def refuse(self, key: str, what: str, remedy: str = "") -> Malformed:
        """Return the error that says `what` is wrong with `key`, for checks that only the caller can make."""
        return self._wrong(what, key, remedy)

    def keys(self) -> tuple[str, ...]:
        """Return the keys as written."""
        return tuple(self._values)

    def has(self, key: str) -> bool:
        """Say whether `key` is present."""
        return key in self._values

    def _take(self, key: str, default: Any) -> Any:
        self._taken.add(key)
        if key in self._values:
            return self._values[key]
        if default is REQUIRED:
            raise self._wrong("is missing", key, "add it")
        return default

    def text(self, key: str, default: Any = REQUIRED, *, longest: int = 500, empty: bool = False) -> str:
        """Return text of at most `longest` characters."""
        value = self._take(key, default)
        if key not in self._values:
            return value  # type: ignore[no-any-return]
        if not isinstance(value, str):
            raise self._wrong("expected text", key, "put it in quotes")
        if len(value) > longest:
            raise self._wrong(f"is longer than {longest} characters", key, "shorten it")
        if not empty and not value.strip():
            raise self._wrong("is empty", key, "fill it in")
        return value

    def name(self, key: str, default: Any = REQUIRED) -> str:
        """Return a short key: lower case, digits and underscores, starting with a letter."""
        value = self.text(key, default, longest=64)
        if key in self._values and not KEY.fullmatch(value):
            raise self._wrong("is not a short key", key, "use a-z, 0-9 and _, starting with a letter")
        return value

    def choice(self, key: str, options: Iterable[str], default: Any = REQUIRED) -> str:
        """Return one of `options`."""
        value = self.text(key, default, longest=200)
        options = tuple(options)
        if key in self._values and value not in options:
            raise self._wrong("is not a known value", key, "use one of: " + ", ".join(options))
        return value

    def is_text(self, key: str) -> bool:
        """Say whether the value under `key` is text: where text or a table may stand."""
        return isinstance(self._values.get(key), str)

    def integer(self, key: str, default: Any = REQUIRED, *, least: int, most: int) -> int:
        """Return an integer in `[least, most]`; a bool is not one."""
        value = self._take(key, default)
        if key not in self._values:
            return value  # type: ignore[no-any-return]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong("expected an integer", key, "write a whole number")
        if not least <= value <= most:
            raise self._wrong(f"is outside {least}..{most}", key, "choose a value within")
        return value

    def number(self, key: str, default: Any = REQUIRED, *, least: float, most: float) -> float:
        """Return a finite number in `[least, most]` as a float."""
        value = self._take(key, default)
        if key not in self._values:
            return value  # type: ignore[no-any-return]
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self._wrong("expected a number", key, "write a number")
        if not least <= value <= most:  # False for NaN, exact for any integer
            raise self._wrong(f"is outside {least}..{most}", key, "choose a value within")
        return float(value)

    def flag(self, key: str, default: Any = REQUIRED) -> bool:
        """Return a boolean."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self._wrong("expected true or false", key, "write one of them, without quotes")
        return value

    def scalar(self, key: str) -> str | bool | int | float:
        """Return text, a boolean, an integer or a finite number: a flag's value."""
        value = self._take(key, REQUIRED)
        if not isinstance(value, (str, bool, int, float)) or (isinstance(value, float) and not isfinite(value)):
            raise self._wrong("expected text, a boolean or a finite number", key, "write one of these")
        if isinstance(value, str) and len(value) > 200:
            raise self._wrong("is longer than 200 characters", key, "shorten it")
        return value

    def blob(self, key: str, *, longest: int) -> bytes:
        """Return bytes of at most `longest`."""
        value = self._take(key, REQUIRED)
        if not isinstance(value, bytes):
            raise self._wrong("expected bytes", key, "build it with this version's tools")
        if len(value) > longest:
            raise self._wrong(f"is longer than {longest} bytes", key, "shorten it")
        return value

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return the mapping under `key`, unchecked inside: for payloads that only pass through."""
        value = self._take(key, REQUIRED)
        if not isinstance(value, Mapping):
            raise self._wrong("expected a table", key, "write key = value pairs")
        return value

    def moment(self, key: str) -> int:
        """Return a date, or a date and time with its offset, as Unix seconds; a date is its midnight in UTC."""
        value = self._take(key, REQUIRED)
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise self._wrong("has no time zone", key, "end it with Z")
            return int(value.timestamp())
        if not isinstance(value, date):
            raise self._wrong("expected a date", key, "write it as 2026-11-22")
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())

    def array(self, key: str, default: Any = REQUIRED, *, longest: int = 4096) -> list[Any]:
        """Return an array of at most `longest` values, unchecked inside."""
        value = self._take(key, default)
        if not isinstance(value, (list, tuple)):
            raise self._wrong("expected an array", key, "put the values in [ ]")
        if len(value) > longest:
            raise self._wrong(f"holds more than {longest} values", key, "remove some")
        return list(value)

    def texts(self, key: str, default: Any = REQUIRED, *, longest: int = 4096) -> tuple[str, ...]:
        """Return an array of distinct, non-empty texts of at most 200 characters."""
        values = self.array(key, default, longest=longest)
        for i, value in enumerate(values):
            if not isinstance(value, str) or not value.strip() or len(value) > 200:
                raise self._wrong("expected text of 1 to 200 characters", f"{key}[{i}]", "put it in quotes")
        if len(set(values)) != len(values):
            raise self._wrong("names a value twice", key, "remove one")
        return tuple(values)

    def names(self, key: str, default: Any = REQUIRED, *, longest: int = 4096) -> tuple[str, ...]:
        """Return an array of distinct short keys."""
        values = self.texts(key, default, longest=longest)
        for i, value in enumerate(values):
            if not KEY.fullmatch(value):
                raise self._wrong("is not a short key", f"{key}[{i}]", "use a-z, 0-9 and _")
        return values

    def integers(self, key: str, default: Any = REQUIRED, *, least: int, most: int) -> tuple[int, ...]:
        """Return an array of integers in `[least, most]`."""
        values = self.array(key, default)
        for i, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise self._wrong(f"expected an integer in {least}..{most}", f"{key}[{i}]", "change it")
        return tuple(values)

    def numbers(self, key: str, default: Any = REQUIRED) -> tuple[float, ...]:
        """Return an array of finite numbers as floats."""
        values = self.array(key, default)
        for i, value in enumerate(values):
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= _LARGEST:
                raise self._wrong("expected a finite number", f"{key}[{i}]", "change it")
        return tuple(float(value) for value in values)

    def table(self, key: str, default: Any = REQUIRED) -> Table:
        """Return the table under `key`."""
        return Table(self._take(key, default), f"{self.path}.{key}" if self.path else key)

    def tables(self, key: str, default: Any = REQUIRED, *, longest: int = 4096) -> list[Table]:
        """Return the array of tables under `key`, each with its own path."""
        base = f"{self.path}.{key}" if self.path else key
        return [Table(value, f"{base}[{i}]") for i, value in enumerate(self.array(key, default, longest=longest))]

    def named_tables(self, key: str, default: Any = REQUIRED, *, longest: int = 256) -> dict[str, Table]:
        """Return a table of tables whose keys are short keys."""
        outer = self.table(key, default)
        if len(outer.keys()) > longest:
            raise self._wrong(f"holds more than {longest} entries", key, "remove some")
        for name in outer.keys():  # noqa: SIM118 — Table.keys is a method of ours, not a mapping's view
            if not KEY.fullmatch(name):
                raise outer.refuse(name, "is not a short key", "use a-z, 0-9 and _, starting with a letter")
        return {name: outer.table(name) for name in outer.keys()}  # noqa: SIM118

    def close(self) -> None:
        """Refuse the first key that no getter took.

        Raises:
            Malformed: with the place of that key.
        """
        for key in self._values:
            if key not in self._taken:
                known = ", ".join(sorted(self._taken))
                raise self._wrong("is not a known key", key, f"remove it; known here: {known}")
