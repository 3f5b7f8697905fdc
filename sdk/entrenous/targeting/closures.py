"""A rule that was read, turned into closures once: what is left for a visitor is a handful of calls.

A rule sees a mapping from names to what is *granted and there*: numbers, text, true or false, several texts, and the
clock under `NOW`. Before it is evaluated, every variable that it reads is looked for. One that is absent decides the
matter: `matches` (for targeting) then says no, `excludes` (for an exclusion or a guard-rail) says yes. So does an
error: a division by zero, a result that is not finite.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from entrenous.targeting.form import NOW, Tree, Variable, names_in
from entrenous.targeting.pattern import compile_pattern

__all__ = ["Known", "Rule", "compile_rule"]

Known = Mapping[str, Any]
"""What is granted and there, by name, and the decision's clock (Unix seconds) under `NOW`."""

_Evaluate = Callable[[Known], Any]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RECKON: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


class Rule:
    """A compiled rule.

    Attributes:
        reads: the names of its variables, sorted. purposes: what must be granted for all of them.
    """

    __slots__ = ("_holds", "purposes", "reads")

    def __init__(self, reads: tuple[str, ...], purposes: frozenset[str], holds: _Evaluate) -> None:
        self.reads, self.purposes, self._holds = reads, purposes, holds

    def matches(self, known: Known) -> bool:
        """Say whether it holds; no where something is absent, or in error."""
        for name in self.reads:
            if name not in known:
                return False
        try:
            return self._holds(known)  # type: ignore[no-any-return]
        except ArithmeticError:
            return False

    def excludes(self, known: Known) -> bool:
        """Say whether it holds; yes where something is absent, or in error."""
        for name in self.reads:
            if name not in known:
                return True
        try:
            return self._holds(known)  # type: ignore[no-any-return]
        except ArithmeticError:
            return True


def compile_rule(tree: tuple[Any, ...], variables: Mapping[str, Variable]) -> Rule:
    """Return the rule of a tree that `read_tree` returned for these variables."""
    reads = tuple(sorted(set(names_in(tree))))
    return Rule(reads, frozenset(variables[name].purpose for name in reads), _closure(tree))


def _closure(tree: Tree) -> _Evaluate:
    if not isinstance(tree, tuple):
        return lambda known: tree
    kind, *parts = tree
    if kind == "var":
        return operator.itemgetter(parts[0])
    if kind in _COMPARE:
        return _comparison(kind, *parts)
    if kind in _RECKON:
        return _reckoning(_RECKON[kind], *map(_closure, parts))
    return _MAKERS[kind](*parts)


def _comparison(kind: str, left: Tree, right: Tree) -> _Evaluate:
    """Return a comparison; those of a variable with a literal, which most are, spare two calls."""
    if isinstance(left, tuple) and left[0] == "var" and not isinstance(right, tuple):
        return _of_variable(kind, left[1], right)
    a, b, compare = _closure(left), _closure(right), _COMPARE[kind]
    return lambda known: compare(a(known), b(known))


def _of_variable(kind: str, name: str, literal: Any) -> _Evaluate:
    match kind:
        case "==":
            return lambda known: known[name] == literal
        case "!=":
            return lambda known: known[name] != literal
        case "<":
            return lambda known: known[name] < literal
        case "<=":
            return lambda known: known[name] <= literal
        case ">":
            return lambda known: known[name] > literal
    return lambda known: known[name] >= literal


def _reckoning(reckon: Callable[[float, float], float], a: _Evaluate, b: _Evaluate) -> _Evaluate:
    def evaluate(known: Known) -> float:
        result = reckon(a(known), b(known))
        if result - result != 0:
            raise ArithmeticError
        return result

    return evaluate


def _every(*parts: Tree) -> _Evaluate:
    checks = tuple(map(_closure, parts))
    if len(checks) == 2:
        a, b = checks
        return lambda known: a(known) and b(known)

    def evaluate(known: Known) -> bool:
        for check in checks:  # noqa: SIM110 — a generator costs more than the checks
            if not check(known):
                return False
        return True

    return evaluate


def _any(*parts: Tree) -> _Evaluate:
    checks = tuple(map(_closure, parts))
    if len(checks) == 2:
        a, b = checks
        return lambda known: a(known) or b(known)

    def evaluate(known: Known) -> bool:
        for check in checks:  # noqa: SIM110
            if check(known):
                return True
        return False

    return evaluate


def _not(part: Tree) -> _Evaluate:
    check = _closure(part)
    return lambda known: not check(known)


def _negative(part: Tree) -> _Evaluate:
    value = _closure(part)
    return lambda known: -value(known)


def _one_of(subject: Tree, listed: tuple[Any, ...]) -> _Evaluate:
    value, values = _closure(subject), frozenset(listed)
    return lambda known: value(known) in values


def _among(subject: tuple[str, str], text: str) -> _Evaluate:
    name = subject[1]
    return lambda known: text in known[name]


def _size(subject: tuple[str, str]) -> _Evaluate:
    name = subject[1]
    return lambda known: len(known[name])


def _starts(subject: Tree, text: str) -> _Evaluate:
    value = _closure(subject)
    return lambda known: value(known).startswith(text)


def _ends(subject: Tree, text: str) -> _Evaluate:
    value = _closure(subject)
    return lambda known: value(known).endswith(text)


def _contains(subject: Tree, text: str) -> _Evaluate:
    value = _closure(subject)
    return lambda known: text in value(known)


def _matches(subject: Tree, pattern: str) -> _Evaluate:
    value, search = _closure(subject), compile_pattern(pattern).search
    return lambda known: search(value(known))


def _now() -> _Evaluate:
    return operator.itemgetter(NOW)


def _moment(seconds: int) -> _Evaluate:
    return lambda known: seconds


def _hour(minutes: int) -> _Evaluate:
    east = minutes * 60
    return lambda known: (known[NOW] + east) // 3600 % 24


def _day_of_week(minutes: int) -> _Evaluate:
    east = minutes * 60 + 4 * 86_400  # the first of January 1970 was a Thursday
    return lambda known: (known[NOW] + east) // 86_400 % 7


_MAKERS: Mapping[str, Callable[..., _Evaluate]] = {
    "and": _every,
    "or": _any,
    "not": _not,
    "neg": _negative,
    "in": _one_of,
    "has": _among,
    "size": _size,
    "starts_with": _starts,
    "ends_with": _ends,
    "contains": _contains,
    "matches": _matches,
    "now": _now,
    "time": _moment,
    "hour": _hour,
    "day_of_week": _day_of_week,
}
