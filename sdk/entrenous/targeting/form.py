"""The form of a rule as it ships: a small bounded tree, closed and typed.

A node is a literal (true or false, a number that float32 holds exactly, text) or an array that begins with its
operator:

    ["var", name]                                   a feature, or a context key that rules alone read
    ["and", a, b, ...]  ["or", a, b, ...]  ["not", a]
    ["==", a, b]  ["!=", a, b]                      of one type
    ["<", a, b]  ["<=", a, b]  [">", a, b]  [">=", a, b]    numbers, or two moments
    ["in", a, [literal, ...]]                       one of those listed
    ["has", ["var", name], text]  ["size", ["var", name]]   of a variable that holds several texts
    ["+", a, b]  ["-", a, b]  ["*", a, b]  ["/", a, b]  ["neg", a]
    ["starts_with", ["var", name], text]            also "ends_with", "contains"; "matches" with a pattern
    ["now"]  ["time", seconds]                      moments; Unix seconds
    ["hour", minutes]  ["day_of_week", minutes]     of the decision's clock, so many minutes east of UTC; Sunday is 0

`read_tree` refuses what has another form, what does not fit the variables' types, and a category's value that is not
listed. The same reading stands behind writing a rule and behind activating one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from struct import pack, unpack
from typing import Any

from entrenous.features import Feature
from entrenous.targeting.pattern import compile_pattern
from entrenous_consent.errors import Malformed

__all__ = [
    "DEEPEST",
    "FARTHEST_MINUTES",
    "LONGEST_RULE",
    "LONGEST_TEXT",
    "MOST_LISTED",
    "MOST_MATCHES",
    "MOST_NODES",
    "MOST_SOUGHT",
    "MOST_VARIABLES",
    "NOW",
    "TYPES",
    "Misfit",
    "Tree",
    "Variable",
    "check_tree",
    "features_as_variables",
    "float32",
    "names_in",
    "read_tree",
]

MOST_NODES = 256
DEEPEST = 16
MOST_VARIABLES = 32
MOST_LISTED = 256
MOST_MATCHES = 2
MOST_SOUGHT = 200
"""Characters that a rule may look for with `contains`, all of them together: what a text can cost grows with them."""
LONGEST_TEXT = 200
LONGEST_RULE = 4_096
"""The most characters of a rule as it is written, in CEL; the runtime sees none of them."""
NOW = "now"
"""The name under which a rule finds the decision's clock; no variable has it."""

TYPES = ("boolean", "number", "text", "texts")
_LATEST = 1 << 40
FARTHEST_MINUTES = 14 * 60
"""How far from UTC an hour or a weekday may be asked for; no place on Earth is farther."""

Tree = bool | float | str | tuple[Any, ...]
"""A rule that was read: literals and tuples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """What a rule may read.

    Attributes:
        type: one of `TYPES`. purpose: what must be granted for it. values: a category's listed values, else empty.
    """

    type: str
    purpose: str
    values: tuple[str, ...] = ()


class Misfit(Exception):
    """What is wrong with a tree, at a path of positions from its root."""

    def __init__(self, path: tuple[int, ...], what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.path, self.what, self.remedy = path, what, remedy


def features_as_variables(schema: Iterable[Feature]) -> dict[str, Variable]:
    """Return what rules may read of a feature schema: a category as text, all else as a number."""
    return {
        feature.name: Variable(
            type="text" if feature.values else "number", purpose=feature.purpose, values=feature.values
        )
        for feature in schema
        if feature.name != NOW
    }


def float32(number: float) -> float:
    """Return the float32 nearest to `number`, as a float; infinite where there is none."""
    try:
        return unpack("f", pack("f", float(number)))[0]  # type: ignore[no-any-return]
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def read_tree(value: object, variables: Mapping[str, Variable], *, place: str) -> tuple[Any, ...]:
    """Return the rule that `value` (as unpacked) writes down.

    Args:
        variables: what it may read, by name. place: where it stands, for the error.

    Raises:
        Malformed: another form, type, name or size; the place ends with the positions that lead there.
    """
    try:
        return check_tree(value, variables)
    except Misfit as misfit:
        where = place + "".join(f"[{step}]" for step in misfit.path)
        raise Malformed(misfit.what, place=where, remedy=misfit.remedy) from misfit


def check_tree(value: object, variables: Mapping[str, Variable]) -> tuple[Any, ...]:
    """Return the rule that `value` writes down.

    Raises:
        Misfit: with the path to what does not fit.
    """
    reader = _Reader(variables)
    found = reader.read(value, ())
    if found.type != "boolean" or not isinstance(found.tree, tuple):
        remedy = "compare it, as in visits > 3.0; leave out a rule that is for everyone"
        raise Misfit((), "is not a condition", remedy)
    if len(set(names_in(found.tree))) > MOST_VARIABLES:
        remedy = "let the app supply one key that stands for several"
        raise Misfit((), f"reads more than {MOST_VARIABLES} variables", remedy)
    return found.tree


def names_in(tree: Tree) -> Iterator[str]:
    """Yield the name of every variable that a rule reads, as often as it does."""
    if not isinstance(tree, tuple):
        return
    if tree[0] == "var":
        yield tree[1]
        return
    for part in tree[1:2] if tree[0] == "in" else tree[1:]:  # what is listed there are literals
        yield from names_in(part)


@dataclass(frozen=True, slots=True)
class _Found:
    """A part that was read: its tree, its type, and the values it is known to be one of."""

    tree: Tree
    type: str
    values: tuple[str, ...] = ()


_Path = tuple[int, ...]


class _Reader:
    """Reads one tree, counting what it holds."""

    def __init__(self, variables: Mapping[str, Variable]) -> None:
        self.variables = variables
        self.nodes = self.matches = self.sought = 0

    def read(self, value: object, path: _Path) -> _Found:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            remedy = "list values with in, or let the app supply one key that stands for several conditions"
            raise Misfit(path, f"is more than {MOST_NODES} parts into the rule", remedy)
        if len(path) > DEEPEST:
            remedy = "join with && and || side by side instead of inside each other, and reckon in fewer steps"
            raise Misfit(path, f"lies deeper than {DEEPEST}", remedy)
        if not isinstance(value, (list, tuple)):
            return self._literal(value, path)
        operator = value[0] if value else None
        if not isinstance(operator, str) or operator not in _OPERATORS:
            raise Misfit(path, "is not a known operator", "known: " + " ".join(_OPERATORS))
        least, most, reads = _OPERATORS[operator]
        if not least <= len(value) - 1 <= most:
            remedy = f"give it {least}" + (" or more" if most > least else "")
            raise Misfit(path, f"gives {operator} a wrong number of parts", remedy)
        return reads(self, operator, tuple(value[1:]), path)

    def _literal(self, value: object, path: _Path) -> _Found:
        if isinstance(value, bool):
            return _Found(value, "boolean")
        if isinstance(value, str):
            return _Found(self._text(value, path), "text")
        if not isinstance(value, float):
            raise Misfit(path, "is not true, false, a number or text", "write one of them; a number as 3.0, not 3")
        if not isfinite(value) or float32(value) != value:
            raise Misfit(path, "is not a float32 number", "stay within 3.4e38, and round it to float32")
        return _Found(value, "number")

    def _text(self, value: object, path: _Path) -> str:
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            remedy = "write a literal in quotes; a variable can't stand here"
            raise Misfit(path, f"is not text of at most {LONGEST_TEXT} characters", remedy)
        return value

    def _typed(self, value: object, path: _Path, type_: str) -> Tree:
        found = self.read(value, path)
        if found.type != type_:
            raise Misfit(path, f"is {_SPOKEN[found.type]} where {_SPOKEN[type_]} is needed", _NEEDED[type_])
        return found.tree

    def _integer(self, value: object, path: _Path, most: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > most:
            raise Misfit(path, f"is not an integer from -{most} to {most}", "write a whole number within")
        return value

    def variable(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        name = parts[0]
        known = self.variables.get(name) if isinstance(name, str) else None
        if known is None or name == NOW:
            known_names = ", ".join(sorted(self.variables)) or "none"
            raise Misfit(path, "reads a variable that is not declared", f"declare it; declared: {known_names}")
        return _Found((operator, name), known.type, known.values)

    def logic(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        return _Found((operator, *(self._typed(one, (*path, i), "boolean") for i, one in _numbered(parts))), "boolean")

    def equality(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        left, right = (self.read(part, (*path, i)) for i, part in _numbered(parts))
        if left.type != right.type or left.type not in ("boolean", "number", "text"):
            what = f"compares {_SPOKEN[left.type]} with {_SPOKEN[right.type]}"
            raise Misfit(path, what, _COMPARED.get(left.type, _COMPARED.get(right.type, "compare two of one type")))
        for one, other, step in ((left, right, 2), (right, left, 1)):
            self._listed(one, other.tree, (*path, step))
        return _Found((operator, left.tree, right.tree), "boolean")

    def _listed(self, category: _Found, literal: Tree, path: _Path) -> None:
        if category.values and isinstance(literal, str) and literal not in category.values:
            raise Misfit(path, "is no listed value of that category", "listed: " + ", ".join(category.values))

    def order(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        left, right = (self.read(part, (*path, i)) for i, part in _numbered(parts))
        if left.type != right.type or left.type not in ("number", "moment"):
            what = f"orders {_SPOKEN[left.type]} and {_SPOKEN[right.type]}"
            raise Misfit(path, what, "order two numbers, or two moments; text has no order")
        return _Found((operator, left.tree, right.tree), "boolean")

    def one_of(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        subject, listed = self.read(parts[0], (*path, 1)), parts[1]
        if subject.type not in ("number", "text"):
            what = f"is {_SPOKEN[subject.type]}, which no list is searched for"
            raise Misfit((*path, 1), what, "look up a number or text, or compare with == or <")
        if not isinstance(listed, (list, tuple)) or not 0 < len(listed) <= MOST_LISTED:
            remedy = "list literals between [ and ]; join two lists with ||"
            raise Misfit((*path, 2), f"is not a list of 1 to {MOST_LISTED} values", remedy)
        values = []
        for i, value in enumerate(listed):
            found = self._literal(value, (*path, 2, i))
            if found.type != subject.type:
                what = f"is {_SPOKEN[found.type]}, and looked up is {_SPOKEN[subject.type]}"
                raise Misfit((*path, 2, i), what, "list values of the type that is looked up")
            self._listed(subject, found.tree, (*path, 2, i))
            values.append(found.tree)
        if len(set(values)) != len(values):
            raise Misfit((*path, 2), "lists a value twice", "remove one")
        return _Found((operator, subject.tree, tuple(values)), "boolean")

    def among(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        several = self._typed(parts[0], (*path, 1), "texts")
        return _Found((operator, several, self._text(parts[1], (*path, 2))), "boolean")

    def size(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        return _Found((operator, self._typed(parts[0], (*path, 1), "texts")), "number")

    def arithmetic(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        trees = [self._typed(part, (*path, i), "number") for i, part in _numbered(parts)]
        if not any(isinstance(tree, tuple) for tree in trees):
            raise Misfit(path, "reckons with literals alone", "write the result")
        return _Found((operator, *trees), "number")

    def text(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        subject = self._typed(parts[0], (*path, 1), "text")
        if not isinstance(subject, tuple):
            raise Misfit((*path, 1), "is a literal", "look into a variable")
        needle = self._text(parts[1], (*path, 2))
        if not needle:
            raise Misfit((*path, 2), "is empty", "say what to look for")
        if operator == "contains":
            self.sought += len(needle)
            if self.sought > MOST_SOUGHT:
                remedy = "say it in one pattern, with | between the texts"
                raise Misfit(path, f"looks for more than {MOST_SOUGHT} characters with contains, in all", remedy)
        if operator == "matches":
            self.matches += 1
            if self.matches > MOST_MATCHES:
                remedy = "say it in one of the others, with | between the two"
                raise Misfit(path, f"is a pattern beyond the first {MOST_MATCHES}", remedy)
            try:
                compile_pattern(needle)
            except Malformed as error:
                raise Misfit((*path, 2), error.what, error.remedy) from error
        return _Found((operator, subject, needle), "boolean")

    def now(self, operator: str, _: tuple[object, ...], __: _Path) -> _Found:
        return _Found((operator,), "moment")

    def moment(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        return _Found((operator, self._integer(parts[0], (*path, 1), _LATEST)), "moment")

    def clock(self, operator: str, parts: tuple[object, ...], path: _Path) -> _Found:
        return _Found((operator, self._integer(parts[0], (*path, 1), FARTHEST_MINUTES)), "number")


def _numbered(parts: tuple[object, ...]) -> Iterator[tuple[int, object]]:
    return enumerate(parts, start=1)


_Reads = Callable[[_Reader, str, tuple[object, ...], _Path], _Found]
_MANY = MOST_NODES

_OPERATORS: Mapping[str, tuple[int, int, _Reads]] = {
    "var": (1, 1, _Reader.variable),
    "and": (2, _MANY, _Reader.logic),
    "or": (2, _MANY, _Reader.logic),
    "not": (1, 1, _Reader.logic),
    "==": (2, 2, _Reader.equality),
    "!=": (2, 2, _Reader.equality),
    "<": (2, 2, _Reader.order),
    "<=": (2, 2, _Reader.order),
    ">": (2, 2, _Reader.order),
    ">=": (2, 2, _Reader.order),
    "in": (2, 2, _Reader.one_of),
    "has": (2, 2, _Reader.among),
    "size": (1, 1, _Reader.size),
    "+": (2, 2, _Reader.arithmetic),
    "-": (2, 2, _Reader.arithmetic),
    "*": (2, 2, _Reader.arithmetic),
    "/": (2, 2, _Reader.arithmetic),
    "neg": (1, 1, _Reader.arithmetic),
    "starts_with": (2, 2, _Reader.text),
    "ends_with": (2, 2, _Reader.text),
    "contains": (2, 2, _Reader.text),
    "matches": (2, 2, _Reader.text),
    "now": (0, 0, _Reader.now),
    "time": (1, 1, _Reader.moment),
    "hour": (1, 1, _Reader.clock),
    "day_of_week": (1, 1, _Reader.clock),
}
"""By operator: the fewest and the most parts it takes, and what reads them."""

_SPOKEN = {
    "boolean": "a condition",
    "moment": "a moment",
    "number": "a number",
    "text": "text",
    "texts": "several texts",
}
_NEEDED = {
    "boolean": "compare it, as in visits > 3.0",
    "number": "write a number, or a variable that holds one",
    "text": "name a variable that holds one text",
    "texts": "name a variable that is declared with the type texts",
}
"""By the type that is needed, what to write instead."""

_COMPARED = {
    "moment": "order moments with < or >=",
    "texts": "look for one text, as in 'gold' in segments, or compare size(segments)",
}
"""By a type that nothing is compared with, what to write instead."""
