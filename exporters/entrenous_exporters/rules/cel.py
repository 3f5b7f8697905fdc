"""CEL in, tree out: the package `cel-python` parses, and what it parsed is walked here.

Only a subset of CEL is taken, the part that a rule needs and that means the same at run time; `docs/targeting.md` lists
it. Whatever else was written is refused with its line and column, and so is what does not fit the declared variables:
the same check that stands before activation (`entrenous.targeting.check_tree`) answers with a path into the tree, and
the path is turned into a place in the text here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celpy.celparser import CELParseError, CELParser
from lark import Token, Tree

from entrenous.targeting import FARTHEST_MINUTES, LONGEST_RULE, NOW, Misfit, Variable, check_tree, float32
from entrenous_consent.errors import Malformed
from entrenous_consent.policy import PrivacyPolicy, Request

__all__ = ["Refused", "Written", "write_rule"]

_DEEPEST = 64
_PASSING = frozenset(
    {
        "expr",
        "conditionalor",
        "conditionaland",
        "relation",
        "addition",
        "multiplication",
        "unary",
        "member",
        "primary",
        "paren_expr",
    }
)
"""Rules of the grammar that mean nothing of their own where they hold one part."""

_COMPARISONS = {
    "relation_lt": "<",
    "relation_le": "<=",
    "relation_gt": ">",
    "relation_ge": ">=",
    "relation_eq": "==",
    "relation_ne": "!=",
    "relation_in": "in",
}
_SUMS = {"addition_add": "+", "addition_sub": "-", "multiplication_mul": "*", "multiplication_div": "/"}
_TEXTS = {"startsWith": "starts_with", "endsWith": "ends_with", "contains": "contains", "matches": "matches"}
_CLOCKS = {"getHours": "hour", "getDayOfWeek": "day_of_week"}
_REMEDIES = {
    "expr": "write the condition with && and ||",
    "member_dot": "name a declared variable; variables have no fields",
    "member_index": "look for a text, as in 'gold' in segments; there are no indexes",
    "member_object": "compare declared variables with literals",
    "map_lit": "compare declared variables with literals",
    "list_lit": "lists stand to the right of in",
    "multiplication_mod": "let the app supply the remainder as a key of its own",
    "dot_ident": "write the name without a dot before it",
    "dot_ident_arg": "write the name without a dot before it",
}
_SHORTER = "list values with in, drop comments, or let the app supply one key that stands for several conditions"
_UNREAD = "look there for an operand, a quote or a parenthesis that is missing or too many"
_LITERALS = {
    "BYTES_LIT": "write text in quotes, without b",
    "MLSTRING_LIT": "write it on one line, in one pair of quotes",
    "NULL_LIT": "leave it out: a rule that reads what is absent does not match",
    "UINT_LIT": "write the number without u",
}
"""By token, what to write in place of a literal that the subset does not have."""
_FUNCTIONS = {"has": "leave it out: a rule that reads what is absent does not match"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "`": "`", "?": "?"}
_OFFSET = re.compile(r"([+-]?)(\d{2}):(\d{2})")

Place = tuple[int, int]
"""Line and column, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One thing that the policy does not permit.

    Attributes:
        place: where the rule reads it first. line: the refusal, as the policy words it.
    """

    place: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A rule that was read.

    Attributes:
        text: as written. tree: as it ships. reads: each variable, with the place where it is read first.
        place: where the text stands in its document.
    """

    text: str
    tree: tuple[Any, ...]
    reads: Mapping[str, Place]
    place: str

    def refusals(self, policy: PrivacyPolicy, request: Request) -> tuple[Refused, ...]:
        """Return what the policy does not permit of what this rule reads, each with its place in the text.

        Args:
            request: what the bundle asks, the rule's variables among it.
        """
        return tuple(
            Refused(place=_spoken(self.place, self.reads[asked.name]), line=line)
            for asked in request.features
            if asked.name in self.reads
            for line in policy.permits(Request(features=(asked,), decisions=()))
        )


def write_rule(
    text: str,
    variables: Mapping[str, Variable],
    *,
    place: str = "rule",
    segments: Callable[[str], tuple[Any, ...]] | None = None,
) -> Written:
    """Return the rule that `text` (CEL) writes down.

    Args:
        variables: what it may read. place: where the text stands, for errors.
        segments: given the name of a segment, returns its tree, which ships in the place of `segment("name")`; raises
            `Malformed` without a place where there is none, or where it would stand within itself. None where no rule
            may name one.

    Raises:
        Malformed: not CEL, not in the subset, a variable that is not declared, or types that do not fit; with the line
            and the column.
    """
    if len(text) > LONGEST_RULE:
        raise Malformed(f"is longer than {LONGEST_RULE} characters", place=place, remedy=_SHORTER)
    try:
        parsed = CELParser().parse(text)
    except CELParseError as error:
        at = (error.line or 1, error.column or 1)
        raise Malformed("is not CEL from here on", place=_spoken(place, at), remedy=_UNREAD) from error
    try:
        written = _Walk(segments).read(parsed, 0)
    except _Unfit as unfit:
        raise Malformed(unfit.what, place=_spoken(place, unfit.at), remedy=unfit.remedy) from unfit
    places: dict[tuple[int, ...], Place] = {}
    plain = _plain(written, (), places)
    try:
        tree = check_tree(plain, variables)
    except Misfit as misfit:
        at = next(places[misfit.path[:end]] for end in range(len(misfit.path), -1, -1) if misfit.path[:end] in places)
        raise Malformed(misfit.what, place=_spoken(place, at), remedy=misfit.remedy) from misfit
    return Written(text=text, tree=tree, reads=_first_reads(written), place=place)


def _spoken(place: str, at: Place) -> str:
    return f"{place}, line {at[0]}, column {at[1]}"


class _Unfit(Exception):
    """What the subset does not take, and where."""

    def __init__(self, at: Place, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.at, self.what, self.remedy = at, what, remedy


@dataclass(frozen=True, slots=True)
class _Part:
    """A literal, or an array of parts, with its place."""

    value: bool | float | int | str | list[_Part]
    at: Place


def _plain(part: _Part, path: tuple[int, ...], places: dict[tuple[int, ...], Place]) -> Any:
    """Return the tree as `check_tree` reads it, noting each path's place."""
    places[path] = part.at
    if not isinstance(part.value, list):
        return part.value
    return [_plain(one, (*path, i), places) for i, one in enumerate(part.value)]


def _first_reads(part: _Part) -> dict[str, Place]:
    if not isinstance(part.value, list):
        return {}
    if part.value[0].value == "var" and len(part.value) == 2:
        return {str(part.value[1].value): part.at}
    found: dict[str, Place] = {}
    for one in part.value[1:]:
        found = _first_reads(one) | found
    return found


def _planted(tree: object, at: Place) -> _Part:
    """Return a tree that was read before, all of it at one place."""
    if isinstance(tree, tuple):
        return _Part([_planted(one, at) for one in tree], at)
    assert isinstance(tree, (bool, float, int, str))
    return _Part(tree, at)


def _unwrapped(node: Tree[Token] | Token) -> Tree[Token] | Token:
    while isinstance(node, Tree) and node.data in _PASSING and len(node.children) == 1:
        node = node.children[0]
    return node


def _place(node: Tree[Token] | Token) -> Place:
    """Return where a part begins; `true` and `false` carry no place, and are said to stand at the beginning."""
    if isinstance(node, Token):
        return node.line or 1, node.column or 1
    return getattr(node.meta, "line", None) or 1, getattr(node.meta, "column", None) or 1


class _Walk:
    """Turns the parser's tree into ours."""

    def __init__(self, segments: Callable[[str], tuple[Any, ...]] | None) -> None:
        self.segments = segments

    def read(self, node: Tree[Token] | Token, depth: int) -> _Part:
        node = _unwrapped(node)
        at = _place(node)
        if depth > _DEEPEST:
            raise _Unfit(at, f"lies deeper than {_DEEPEST}", "take parentheses and negations away")
        assert isinstance(node, Tree)  # every token of the grammar lies under a rule that takes it
        readers: Mapping[str, Callable[[Tree[Token], Place, int], _Part]] = {
            "conditionalor": self.either,
            "conditionaland": self.both,
            "relation": self.relation,
            "addition": self.reckoning,
            "multiplication": self.reckoning,
            "unary": self.unary,
            "ident": self.name,
            "literal": self.literal,
            "ident_arg": self.function,
            "member_dot_arg": self.method,
        }
        reader = readers.get(node.data)
        if reader is None:
            raise _Unfit(at, "is not part of the subset", _REMEDIES.get(node.data, "see docs/targeting.md"))
        return reader(node, at, depth + 1)

    def _operation(self, operator: str, parts: list[_Part], at: Place) -> _Part:
        return _Part([_Part(operator, at), *parts], at)

    def either(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        return self._operation("or", [self.read(one, depth) for one in _chain(node)], at)

    def both(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        return self._operation("and", [self.read(one, depth) for one in _chain(node)], at)

    def relation(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        how, right = node.children
        assert isinstance(how, Tree)
        operator, left = _COMPARISONS[how.data], self.read(how.children[0], depth)
        if operator != "in":
            return self._operation(operator, [left, self.read(right, depth)], at)
        listed = _unwrapped(right)
        if isinstance(listed, Tree) and listed.data == "list_lit":
            values = listed.children[0].children if listed.children else []  # type: ignore[union-attr]
            return self._operation("in", [left, _Part([self.value(one) for one in values], _place(listed))], at)
        if not isinstance(left.value, str):
            raise _Unfit(left.at, "is looked up in a variable", "write text in quotes to the left of in")
        return self._operation("has", [self.read(right, depth), left], at)

    def value(self, node: Tree[Token] | Token) -> _Part:
        """Return one literal of a list."""
        inner, at = _unwrapped(node), _place(node)
        negative = isinstance(inner, Tree) and inner.data == "unary"
        if isinstance(inner, Tree) and (inner.data == "literal" or negative):
            found = self.read(inner, 1)
            if not isinstance(found.value, list):
                return found
        raise _Unfit(at, "is not a literal", "list numbers or texts")

    def reckoning(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        how, right = node.children
        assert isinstance(how, Tree)
        if how.data not in _SUMS:
            raise _Unfit(at, "is not part of the subset", _REMEDIES[how.data])
        return self._operation(_SUMS[how.data], [self.read(how.children[0], depth), self.read(right, depth)], at)

    def unary(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        how, inner = node.children
        part = self.read(inner, depth)
        assert isinstance(how, Tree)
        if how.data == "unary_not":
            return self._operation("not", [part], at)
        if isinstance(part.value, float):
            return _Part(-part.value, at)
        return self._operation("neg", [part], at)

    def name(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        name = str(node.children[0])
        if name == NOW:
            return self._operation("now", [], at)
        return self._operation("var", [_Part(name, at)], at)

    def literal(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        token = node.children[0]
        assert isinstance(token, Token)
        text = str(token)
        match token.type:
            case "BOOL_LIT":
                return _Part(text == "true", at)
            case "INT_LIT" | "FLOAT_LIT":
                return _Part(_number(text), at)
            case "STRING_LIT":
                return _Part(_string(text, at), at)
        remedy = _LITERALS.get(token.type, "write true, false, a number or text in quotes")
        raise _Unfit(at, "is a literal that the subset does not have", remedy)

    def function(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        name, *given = node.children
        parts = [self.read(one, depth) for one in _arguments(given)]
        if name == "size" and len(parts) == 1:
            return self._operation("size", parts, at)
        if name == "timestamp" and len(parts) == 1 and isinstance(parts[0].value, str):
            return self._operation("time", [_Part(_moment(parts[0]), parts[0].at)], at)
        if name == "segment" and self.segments and len(parts) == 1 and isinstance(parts[0].value, str):
            return self.planted(self.segments, parts[0].value, at)
        remedy = _FUNCTIONS.get(str(name), 'it has size(x) of several texts, and timestamp("…") of text')
        raise _Unfit(at, "calls a function that the subset does not have", remedy)

    def planted(self, segments: Callable[[str], tuple[Any, ...]], name: str, at: Place) -> _Part:
        """Return a segment's tree in the place of the call that names it."""
        try:
            return _planted(segments(name), at)
        except Malformed as error:
            if error.place:
                raise  # something in the segment's own rule
            raise _Unfit(at, error.what, error.remedy) from error

    def method(self, node: Tree[Token], at: Place, depth: int) -> _Part:
        subject, name, *given = node.children
        assert isinstance(name, Token)
        part, parts = self.read(subject, depth), [self.read(one, depth) for one in _arguments(given)]
        if name in _CLOCKS and isinstance(part.value, list) and part.value[0].value == "now" and len(parts) < 2:
            minutes = _Part(_minutes(parts[0]), parts[0].at) if parts else _Part(0, at)
            return self._operation(_CLOCKS[name], [minutes], at)
        if name in _TEXTS and len(parts) == 1:
            return self._operation(_TEXTS[name], [part, *parts], at)
        if name == "size" and not parts:
            return self._operation("size", [part], at)
        known = ", ".join((*_TEXTS, "size", *(f"now.{clock}" for clock in _CLOCKS)))
        raise _Unfit(_place(name), "calls a method that the subset does not have", f"it has {known}")


def _chain(node: Tree[Token]) -> list[Tree[Token] | Token]:
    """Return the parts of `a || b || c`, in order."""
    parts: list[Tree[Token] | Token] = []
    kind = node.data
    current: Tree[Token] | Token = node
    while isinstance(current, Tree) and current.data == kind and len(current.children) == 2:
        parts.append(current.children[1])
        current = _unwrapped(current.children[0])
    return [current, *reversed(parts)]


def _arguments(given: list[Tree[Token] | Token]) -> list[Tree[Token] | Token]:
    return list(given[0].children) if given and isinstance(given[0], Tree) else []


def _number(text: str) -> float:
    """Return a number as float32 holds it."""
    try:
        value = float(int(text, 16)) if "x" in text else float(text)
    except OverflowError:
        return float("inf")
    return float32(value)


def _string(text: str, at: Place) -> str:
    """Return the text that a string literal stands for."""
    if text[0] in "rR":
        return text[2:-1]

    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        char = chr(int(code, 16)) if code else _ESCAPED.get(found[3])
        if char is None:
            raise _Unfit(at, "has an escape that the subset does not have", 'write r"…" for a pattern')
        return char

    return _ESCAPE.sub(character, text[1:-1])


def _moment(part: _Part) -> int:
    try:
        moment = datetime.fromisoformat(str(part.value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.microsecond:
        raise _Unfit(
            part.at, "is not a moment", "write it as 2026-11-28T00:00:00Z, in whole seconds and with its offset"
        )
    return int(moment.timestamp())


def _minutes(part: _Part) -> int:
    """Return the minutes east of UTC that an offset such as +02:00 means."""
    if part.value in ("UTC", "Z"):
        return 0
    found = _OFFSET.fullmatch(part.value) if isinstance(part.value, str) else None
    minutes = int(found[2]) * 60 + int(found[3]) if found is not None else FARTHEST_MINUTES + 1
    if found is None or int(found[3]) > 59 or minutes > FARTHEST_MINUTES:
        remedy = 'write it as "+02:00", from "-14:00" to "+14:00"; the runtime knows no named zones'
        raise _Unfit(part.at, "is not an offset from UTC", remedy)
    return -minutes if found[1] == "-" else minutes
