"""A rule that was read, turned into closures once: what is left for a visitor is a handful of calls.

A rule sees a mapping from names to what is *granted and there*: numbers, text, true or false, several texts, and the
clock under `NOW`. Every variable that it reads is looked for. One that is absent decides the matter: `matches` (for
targeting) then says no, `excludes` (for an exclusion or a guard-rail) says yes. So does an error in a part that is
reached: a division by zero, a result that is not finite.

A part looks for a variable by reading it. Only where a part has decided, and so the next ones are not read, is what
they would have read looked for by name; and not even that where absent would mean what was decided.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    plain = _plain(tree)
    return Rule(
        reads=reads,
        purposes=frozenset(variables[name].purpose for name in reads),
        matches=_all_hold(_in_turn(plain, "and")),
        excludes=_any_holds(_in_turn(plain, "or")),
    )


def _in_turn(tree: Tree, joint: str) -> tuple[_Evaluate, ...]:
    """Return the parts of a rule's outermost `joint`, each of which looks for all that it reads itself.

    Those after the part that decides need not be looked for: for `a && b`, where absent means no, a `b` that is absent
    says what `a` has said already.
    """
    parts, seen = [], frozenset[str]()
    for part in _flat(tree, joint):
        parts.append(_closure(part, seen))
        seen |= frozenset(names_in(part))
    return tuple(parts)


def _flat(tree: Tree, joint: str) -> Iterator[Tree]:
    if isinstance(tree, tuple) and tree[0] == joint:
        for part in tree[1:]:
            yield from _flat(part, joint)
    else:
        yield tree


def _all_hold(checks: tuple[_Evaluate, ...]) -> Callable[[Known], bool]:
    """Return what says whether all hold: no where one reads what is absent, or errs."""
    if len(checks) == 1:
        return _alone(checks[0], otherwise=False)
    if len(checks) == 2:
        a, b = checks

        def both(known: Known) -> bool:
            try:
                return a(known) and b(known)  # type: ignore[no-any-return]
            except (ArithmeticError, KeyError):
                return False

        return both
    if len(checks) == 3:
        a, b, c = checks

        def three(known: Known) -> bool:
            try:
                return a(known) and b(known) and c(known)  # type: ignore[no-any-return]
            except (ArithmeticError, KeyError):
                return False

        return three

    def every(known: Known) -> bool:
        try:
            for check in checks:
                if not check(known):
                    return False
        except (ArithmeticError, KeyError):
            return False
        return True

    return every


def _any_holds(checks: tuple[_Evaluate, ...]) -> Callable[[Known], bool]:
    """Return what says whether one holds: yes where one before it reads what is absent, or errs."""
    if len(checks) == 1:
        return _alone(checks[0], otherwise=True)

    def some(known: Known) -> bool:
        try:
            for check in checks:
                if check(known):
                    return True
        except (ArithmeticError, KeyError):
            return True
        return False

    return some


def _alone(check: _Evaluate, *, otherwise: bool) -> Callable[[Known], bool]:
    def evaluate(known: Known) -> bool:
        try:
            return check(known)  # type: ignore[no-any-return]
        except (ArithmeticError, KeyError):
            return otherwise

    return evaluate


_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<", "and": "or", "or": "and"}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _plain(tree: Tree) -> Tree:
    """Return the same rule with each `not` as far inside as it goes: what is compared is there and finite, so that
    not less is at least."""
    if not isinstance(tree, tuple):
        return tree
    kind, *parts = tree
    if kind == "not":
        return _denied(parts[0])
    return (kind, *map(_plain, parts)) if kind in ("and", "or") else tree


def _denied(tree: Tree) -> Tree:
    if not isinstance(tree, tuple):
        return not tree
    kind, *parts = tree
    if kind == "not":
        return _plain(parts[0])
    if kind in ("and", "or"):
        return (_OPPOSITE[kind], *map(_denied, parts))
    return (_OPPOSITE[kind], *parts) if kind in _COMPARE else ("not", tree)


def _closure(tree: Tree, seen: frozenset[str] = frozenset()) -> _Evaluate:
    """Return what evaluates a part, and raises KeyError if anything that it reads is absent.

    Args:
        seen: what was read, and so is there, before this part is reached.
    """
    if not isinstance(tree, tuple):
        return lambda known: tree
    kind, *parts = tree
    if kind == "var":
        return operator.itemgetter(parts[0])
    if kind in ("and", "or"):
        return _joined(kind, parts, seen)
    if kind in _COMPARE:
        return _comparison(kind, *parts)
    if kind in _RECKON:
        return _reckoning(kind, *parts)
    return _MAKERS[kind](*parts)


def _joined(kind: str, parts: Sequence[Tree], seen: frozenset[str]) -> _Evaluate:
    """Return what evaluates parts until one decides, and then looks for what the others would have read."""
    decides = kind == "or"
    steps: list[tuple[_Evaluate, _Evaluate]] = []
    for i, part in enumerate(parts):
        check = _closure(part, seen)
        seen |= frozenset(names_in(part))
        unread = frozenset(name for other in parts[i + 1 :] for name in names_in(other)) - seen
        steps.append((check, operator.itemgetter(*sorted(unread)) if unread else _nothing))
    if len(steps) == 2:
        return (_either if decides else _both)(*steps[0], steps[1][0])

    def evaluate(known: Known) -> Any:
        for check, look_for in steps:
            if check(known) is decides:
                look_for(known)
                return decides
        return not decides

    return evaluate


def _nothing(known: Known) -> None:
    """Look for nothing."""


def _both(a: _Evaluate, look_for: _Evaluate, b: _Evaluate) -> _Evaluate:
    if look_for is _nothing:
        return lambda known: a(known) and b(known)

    def evaluate(known: Known) -> bool:
        if a(known):
            return b(known)  # type: ignore[no-any-return]
        look_for(known)
        return False

    return evaluate


def _either(a: _Evaluate, look_for: _Evaluate, b: _Evaluate) -> _Evaluate:
    if look_for is _nothing:
        return lambda known: a(known) or b(known)

    def evaluate(known: Known) -> bool:
        if a(known):
            look_for(known)
            return True
        return b(known)  # type: ignore[no-any-return]

    return evaluate


def _comparison(kind: str, left: Tree, right: Tree) -> _Evaluate:
    """Return a comparison; with a literal, which most are, it spares a call or two."""
    if not isinstance(left, tuple):
        kind, left, right = _MIRRORED[kind], right, left
    if isinstance(right, tuple):
        a, b, compare = _closure(left), _closure(right), _COMPARE[kind]
        return lambda known: compare(a(known), b(known))
    if isinstance(left, tuple) and left[0] in _CLOCKS:
        compare = _COMPARE[kind]
        return _by_the_clock(left[0], left[1], lambda told: compare(told, right))
    if isinstance(left, tuple) and left[0] == "var":
        return _VARIABLE_WITH_LITERAL[kind](left[1], right)
    return _VALUE_WITH_LITERAL[kind](_closure(left), right)


def _by_the_clock(kind: str, minutes: int, answer: Callable[[int], Any]) -> _Evaluate:
    """Return what an hour or a weekday answers: one of 24 or 7 answers that are known beforehand."""
    seconds, count, shift = _CLOCKS[kind]
    east, answers = minutes * 60 + shift, tuple(map(answer, range(count)))
    return lambda known: answers[(known[NOW] + east) // seconds % count]


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


def _reckoning(kind: str, left: Tree, right: Tree) -> _Evaluate:
    """Return a sum, difference, product or quotient. Of two float32 numbers it is finite, as a double: one operation on
    a variable and a literal needs no look at its result."""
    if isinstance(left, tuple) and left[0] == "var" and not isinstance(right, tuple):
        return _RECKON_WITH_LITERAL[kind](left[1], right)
    a, b, reckon = _closure(left), _closure(right), _RECKON[kind]
    return _finite(lambda known: reckon(a(known), b(known)))


_RECKON_WITH_LITERAL: Mapping[str, Callable[[str, Any], _Evaluate]] = {
    "+": lambda name, literal: lambda known: known[name] + literal,
    "-": lambda name, literal: lambda known: known[name] - literal,
    "*": lambda name, literal: lambda known: known[name] * literal,
    "/": lambda name, literal: lambda known: known[name] / literal,
}


def _finite(value: _Evaluate) -> _Evaluate:
    def evaluate(known: Known) -> float:
        result = value(known)
        if result - result != 0:
            raise ArithmeticError
        return result  # type: ignore[no-any-return]

    return evaluate


def _not(part: Tree) -> _Evaluate:
    if isinstance(part, tuple) and part[0] in ("has", "contains"):
        name, text = part[1][1], part[2]
        return lambda known: text not in known[name]
    check = _closure(part)
    return lambda known: not check(known)


def _negative(part: Tree) -> _Evaluate:
    value = _closure(part)
    return lambda known: -value(known)


def _one_of(subject: Tree, listed: tuple[Any, ...]) -> _Evaluate:
    value, values = _closure(subject), frozenset(listed)
    if isinstance(subject, tuple) and subject[0] in _CLOCKS:
        return _by_the_clock(subject[0], subject[1], lambda told: told in values)
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
    """Return what compares with the first text of that beginning, and with the first after all of them: characters
    have an order, and that is quicker than to cut the beginning off."""
    name, first = subject[1], text.rstrip(_LAST_CHARACTER)
    if first != text:
        return lambda known: known[name].startswith(text)
    beyond = text[:-1] + chr(ord(text[-1]) + 1)
    return lambda known: text <= known[name] < beyond


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


_LAST_CHARACTER = chr(sys.maxunicode)
_CLOCKS = {"hour": (3600, 24, 0), "day_of_week": (86_400, 7, 4 * 86_400)}
"""By operator: seconds of one, how many there are, and a shift: the first of January 1970 was a Thursday."""


def _told(kind: str) -> Callable[[int], _Evaluate]:
    return lambda minutes: _by_the_clock(kind, minutes, lambda told: told)


_MAKERS: Mapping[str, Callable[..., _Evaluate]] = {
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
    "hour": _told("hour"),
    "day_of_week": _told("day_of_week"),
}
