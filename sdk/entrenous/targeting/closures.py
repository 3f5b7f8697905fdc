"""A rule that was read, turned into closures once: what is left for a visitor is a handful of calls.

A rule sees a mapping from names to what is *granted and there*: numbers, text, true or false, several texts, and the
clock under `NOW`. Before it is evaluated, every variable that it reads is looked for. One that is absent decides the
matter: `matches` (for targeting) then says no, `excludes` (for an exclusion or a guard-rail) says yes. So does an
error: a division by zero, a result that is not finite.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A compiled rule.

    Attributes:
        reads: the names of its variables, sorted. purposes: what must be granted for all of them.
        matches: says whether it holds; no where something is absent, or in error.
        excludes: says whether it holds; yes where something is absent, or in error.
    """

    reads: tuple[str, ...]
    purposes: frozenset[str]
    matches: Callable[[Known], bool]
    excludes: Callable[[Known], bool]


def compile_rule(tree: tuple[Any, ...], variables: Mapping[str, Variable]) -> Rule:
    """Return the rule of a tree that `read_tree` returned for these variables."""
    reads = tuple(sorted(set(names_in(tree))))
    return Rule(
        reads=reads,
        purposes=frozenset(variables[name].purpose for name in reads),
        matches=_outcome(reads, tree, otherwise=False),
        excludes=_outcome(reads, tree, otherwise=True),
    )


def _outcome(reads: tuple[str, ...], tree: Tree, *, otherwise: bool) -> Callable[[Known], bool]:
    """Return what evaluates a rule after looking for all that it reads; `otherwise` where that is not all there."""
    look_for, holds = operator.itemgetter(NOW, *reads), _closure(tree)

    def evaluate(known: Known) -> bool:
        try:
            look_for(known)
            return holds(known)  # type: ignore[no-any-return]
        except (ArithmeticError, KeyError):
            return otherwise

    def at_once(known: Known) -> bool:
        try:
            return holds(known)  # type: ignore[no-any-return]
        except (ArithmeticError, KeyError):
            return otherwise

    return at_once if _settles(tree, "or" if otherwise else "and") else evaluate


def _settles(tree: Tree, joint: str) -> bool:
    """Say whether nothing needs to be looked for first: all that a rule may leave unread, once a part of its outermost
    `joint` has decided, is what would decide the same were it absent. So it is for `a && b` where absent means no."""
    if isinstance(tree, tuple) and tree[0] == joint:
        return all(_settles(part, joint) for part in tree[1:])
    return _reads_all(tree)


def _reads_all(tree: Tree) -> bool:
    return not isinstance(tree, tuple) or (tree[0] not in ("and", "or") and all(map(_reads_all, tree[1:])))


def _closure(tree: Tree) -> _Evaluate:
    if not isinstance(tree, tuple):
        return lambda known: tree
    kind, *parts = tree
    if kind == "var":
        return operator.itemgetter(parts[0])
    if kind in _COMPARE:
        return _comparison(kind, *parts)
    if kind in _RECKON:
        return _reckoning(_RECKON[kind], *parts)
    return _MAKERS[kind](*parts)


def _comparison(kind: str, left: Tree, right: Tree) -> _Evaluate:
    """Return a comparison; with a literal, which most are, it spares a call or two."""
    if isinstance(right, tuple):
        a, b, compare = _closure(left), _closure(right), _COMPARE[kind]
        return lambda known: compare(a(known), b(known))
    if isinstance(left, tuple) and left[0] == "var":
        return _VARIABLE_WITH_LITERAL[kind](left[1], right)
    return _VALUE_WITH_LITERAL[kind](_closure(left), right)


_VARIABLE_WITH_LITERAL: Mapping[str, Callable[[str, Any], _Evaluate]] = {
    "==": lambda name, literal: lambda known: known[name] == literal,
    "!=": lambda name, literal: lambda known: known[name] != literal,
    "<": lambda name, literal: lambda known: known[name] < literal,
    "<=": lambda name, literal: lambda known: known[name] <= literal,
    ">": lambda name, literal: lambda known: known[name] > literal,
    ">=": lambda name, literal: lambda known: known[name] >= literal,
}
_VALUE_WITH_LITERAL: Mapping[str, Callable[[_Evaluate, Any], _Evaluate]] = {
    "==": lambda value, literal: lambda known: value(known) == literal,
    "!=": lambda value, literal: lambda known: value(known) != literal,
    "<": lambda value, literal: lambda known: value(known) < literal,
    "<=": lambda value, literal: lambda known: value(known) <= literal,
    ">": lambda value, literal: lambda known: value(known) > literal,
    ">=": lambda value, literal: lambda known: value(known) >= literal,
}


def _reckoning(reckon: Callable[[float, float], float], left: Tree, right: Tree) -> _Evaluate:
    a, b = _closure(left), _closure(right)

    def evaluate(known: Known) -> float:
        result = reckon(a(known), b(known))
        if result - result != 0:
            raise ArithmeticError
        return result

    def with_literal(known: Known) -> float:
        result = reckon(a(known), right)  # type: ignore[arg-type]
        if result - result != 0:
            raise ArithmeticError
        return result

    return evaluate if isinstance(right, tuple) else with_literal


def _every(*parts: Tree) -> _Evaluate:
    checks = tuple(map(_closure, parts))
    if len(checks) == 2:
        a, b = checks
        return lambda known: a(known) and b(known)
    if len(checks) == 3:
        a, b, c = checks
        return lambda known: a(known) and b(known) and c(known)

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
    if isinstance(subject, tuple) and subject[0] == "var":
        name = subject[1]
        return lambda known: known[name] in values
    return lambda known: value(known) in values


def _among(subject: tuple[str, str], text: str) -> _Evaluate:
    name = subject[1]
    return lambda known: text in known[name]


def _size(subject: tuple[str, str]) -> _Evaluate:
    name = subject[1]
    return lambda known: len(known[name])


def _starts(subject: tuple[str, str], text: str) -> _Evaluate:
    name, length = subject[1], len(text)
    return lambda known: known[name][:length] == text  # quicker than startswith


def _ends(subject: tuple[str, str], text: str) -> _Evaluate:
    name, length = subject[1], len(text)
    return lambda known: known[name][-length:] == text


def _contains(subject: tuple[str, str], text: str) -> _Evaluate:
    name = subject[1]
    return lambda known: text in known[name]


def _matches(subject: tuple[str, str], pattern: str) -> _Evaluate:
    name, search = subject[1], compile_pattern(pattern).search
    return lambda known: search(known[name])


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
