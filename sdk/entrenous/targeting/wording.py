"""A rule that ships, written as CEL again, so that whoever answers for it can read it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from entrenous.targeting.form import Tree, float32

__all__ = ["as_cel"]

_OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(1, 8)
_BETWEEN: Mapping[str, tuple[str, int]] = {
    "or": ("||", _OR),
    "and": ("&&", _AND),
    **{sign: (sign, _RELATION) for sign in ("==", "!=", "<", "<=", ">", ">=", "in")},
    "+": ("+", _SUM),
    "-": ("-", _SUM),
    "*": ("*", _PRODUCT),
    "/": ("/", _PRODUCT),
}
"""By operator, how it is written between its parts and how tightly it holds them."""

_METHODS: Mapping[str, str] = {
    "starts_with": "startsWith",
    "ends_with": "endsWith",
    "contains": "contains",
    "matches": "matches",
}
_CLOCKS: Mapping[str, str] = {"hour": "getHours", "day_of_week": "getDayOfWeek"}
_WHOLE = 1e15
_LAST = 253_402_300_799
"""The last second of the year 9999, after which no moment is written as a date."""


def as_cel(tree: Tree, segments: Mapping[tuple[Any, ...], str] | None = None) -> str:
    """Return a rule that `read_tree` read, in CEL.

    Args:
        segments: by tree, the name of a segment; where it stands within another rule, it is written as such.
    """
    return _Writer(segments or {}).write(tree, 0)


class _Writer:
    def __init__(self, segments: Mapping[tuple[Any, ...], str]) -> None:
        self.segments = segments

    def write(self, tree: Tree, around: int) -> str:
        """Return a part, in parentheses where what is around it holds tighter."""
        if not isinstance(tree, tuple):
            return _literal(tree)
        if tree in self.segments:
            return f"segment({_quoted(self.segments[tree])})"
        text, holds = self._operation(tree[0], tree[1:])
        return text if holds >= around else f"({text})"

    def _operation(self, operator: str, parts: tuple[Any, ...]) -> tuple[str, int]:
        if operator in _BETWEEN:
            return self._between(operator, parts)
        if operator in ("not", "neg"):
            return f"{'!' if operator == 'not' else '-'}{self.write(parts[0], _UNARY)}", _UNARY
        if operator == "has":
            return f"{_literal(parts[1])} in {self.write(parts[0], _MEMBER)}", _RELATION
        if operator in _METHODS:
            text = _pattern(parts[1]) if operator == "matches" else _literal(parts[1])
            return f"{self.write(parts[0], _MEMBER)}.{_METHODS[operator]}({text})", _MEMBER
        return self._plain(operator, parts), _MEMBER

    def _between(self, operator: str, parts: tuple[Any, ...]) -> tuple[str, int]:
        sign, holds = _BETWEEN[operator]
        if operator == "in":
            return f"{self.write(parts[0], holds + 1)} in [{', '.join(map(_literal, parts[1]))}]", holds
        first = holds if holds > _RELATION else holds + 1  # a - b - c is (a - b) - c; a < b < c is nothing
        written = [self.write(one, holds + 1 if i else first) for i, one in enumerate(parts)]
        return f" {sign} ".join(written), holds

    def _plain(self, operator: str, parts: tuple[Any, ...]) -> str:
        if operator == "var":
            return str(parts[0])
        if operator == "now":
            return "now"
        if operator == "size":
            return f"size({self.write(parts[0], 0)})"
        if operator == "time":
            return f"timestamp({_moment(parts[0])})"
        return f"now.{_CLOCKS[operator]}({_offset(parts[0])})"


def _literal(value: bool | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    """Return a whole number as such, and any other as the shortest that float32 reads as `value`."""
    if value.is_integer() and abs(value) < _WHOLE:
        return f"{value:.0f}"
    return next(text for text in (f"{value:.{digits}g}" for digits in range(1, 18)) if float32(float(text)) == value)


def _quoted(text: str) -> str:
    marked = "".join(
        f"\\{char}" if char in "\\'" else char if char.isprintable() or ord(char) > 0xFFFF else f"\\u{ord(char):04x}"
        for char in text
    )
    return f"'{marked}'"


def _pattern(text: str) -> str:
    """Return a pattern as it is meant to be read, with nothing marked, where that can be written."""
    return f"r'{text}'" if "'" not in text and text.isprintable() and not text.endswith("\\") else _quoted(text)


def _moment(seconds: float) -> str:
    if seconds > _LAST:
        return f"{seconds:.0f}"
    return _quoted(datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _offset(minutes: float) -> str:
    hours, rest = divmod(abs(int(minutes)), 60)
    return _quoted(f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}") if minutes else ""
