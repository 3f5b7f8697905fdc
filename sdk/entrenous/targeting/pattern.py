"""Patterns: the regular expressions a rule may use, turned into a table that reads each character once.

The subset: literal characters, `.`, classes such as `[a-z0-9_]` and `[^/]`, `\\d \\w \\s` and their opposites, groups,
`|`, `* + ? {m} {m,} {m,n}`, `^` and `$` for the ends of the whole text. Not in it: references back, look-around, flags,
lazy or possessive repetition, and repetition inside repetition. Meanings are those of RE2, which CEL names: classes
know ASCII alone, `.` is anything but a line feed, `$` is the very end, and a pattern is looked for anywhere.

A pattern becomes a deterministic automaton when it is compiled, bounded in states. Matching then takes one look-up a
character whatever the text holds: there is nothing to try twice (Thompson, "Regular expression search algorithm", 1968;
the subset construction is Rabin and Scott's, 1959).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from entrenous_consent.errors import Malformed

__all__ = ["LONGEST_PATTERN", "LONGEST_SUBJECT", "MOST_STATES", "Automaton", "compile_pattern"]

LONGEST_PATTERN = 200
LONGEST_SUBJECT = 2_048
MOST_STATES = 256
"""States of an automaton; the non-deterministic one that it is made from has at most twice as many."""

_MOST_REPEATS = 64
_DIGITS = frozenset("0123456789")
_WORD = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_SPACE = frozenset("\t\n\f\r ")
_NAMED = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_SPECIAL = frozenset("\\.+*?()|[]{}^$")
_ESCAPABLE = _SPECIAL | frozenset("/-&~#%,:;=@!\"'<> _")
_MOST_IN_CLASS = 128
_MOST_KINDS = 64

_START, _END, _OTHER = 0, 1, 2
"""The first symbols: before the text, after it, and every character that the pattern does not name."""

Set = tuple[bool, frozenset[str]]
"""Characters: those listed, or (True) all but those."""

_Place = tuple[int, int]
"""Where a piece of the machine begins and where it ends."""


class _Machine:
    """A non-deterministic automaton under construction: for each state, where it leads and on what."""

    def __init__(self) -> None:
        self.empty: list[list[int]] = []
        self.on: list[list[tuple[Set | int, int]]] = []

    def state(self) -> int:
        if len(self.empty) >= 2 * MOST_STATES:
            raise Malformed("is too large when its repetitions are written out", remedy="lower its counts")
        self.empty.append([])
        self.on.append([])
        return len(self.empty) - 1

    def step(self, symbol: Set | int) -> _Place:
        begin, end = self.state(), self.state()
        self.on[begin].append((symbol, end))
        return begin, end

    def nothing(self) -> _Place:
        begin = self.state()
        return begin, begin

    def chain(self, parts: Sequence[_Place]) -> _Place:
        for (_, end), (begin, _) in pairwise(parts):
            self.empty[end].append(begin)
        return parts[0][0], parts[-1][1]

    def either(self, parts: Sequence[_Place]) -> _Place:
        begin, end = self.state(), self.state()
        for first, last in parts:
            self.empty[begin].append(first)
            self.empty[last].append(end)
        return begin, end

    def optional(self, part: _Place, *, again: bool) -> _Place:
        begin, end = self.either([part])
        self.empty[begin].append(end)
        if again:
            self.empty[part[1]].append(part[0])
        return begin, end


class _Piece(NamedTuple):
    """A piece of the pattern.

    Attributes:
        build: builds its part of the machine, once for each repetition. repeats: it holds a repetition.
        begins, ends: it asks for the beginning, or the end, of the text.
    """

    build: Callable[[], _Place]
    repeats: bool = False
    begins: bool = False
    ends: bool = False


class _Reader:
    """Reads a pattern into pieces; every refusal says at which character."""

    def __init__(self, text: str, machine: _Machine) -> None:
        self.text, self.at, self.machine = text, 0, machine
        self.named: set[str] = set()

    def refuse(self, what: str, remedy: str = "") -> Malformed:
        return Malformed(f"character {self.at + 1} {what}", remedy=remedy)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise self.refuse("is missing", "finish the pattern")
        self.at += 1
        return char

    def alternatives(self, depth: int) -> _Piece:
        branches = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            branches.append(self.sequence(depth))
        if len(branches) == 1:
            return branches[0]
        return _Piece(
            lambda: self.machine.either([branch.build() for branch in branches]),
            any(branch.repeats for branch in branches),
            any(branch.begins for branch in branches),
            any(branch.ends for branch in branches),
        )

    def sequence(self, depth: int) -> _Piece:
        parts: list[_Piece] = []
        while (char := self.peek()) and char not in "|)":
            begin = self.at
            part = self.repetition(depth)
            if parts and (part.begins or parts[-1].ends):
                self.at = begin
                raise self.refuse("stands before the beginning or after the end of the text", "move ^ first, $ last")
            parts.append(part)
        if not parts:
            return _Piece(self.machine.nothing)
        return _Piece(
            lambda: self.machine.chain([part.build() for part in parts]),
            any(part.repeats for part in parts),
            parts[0].begins,
            parts[-1].ends,
        )

    def repetition(self, depth: int) -> _Piece:
        begin = self.at
        part = self.atom(depth)
        counts = self.counts()
        if counts is None:
            return part
        if part.repeats or part.begins or part.ends:
            self.at = begin
            what = "repeats what repeats inside" if part.repeats else "repeats an end of the text"
            raise self.refuse(what, "write it once")
        if self.peek() in ("*", "+", "?", "{"):
            raise self.refuse("is lazy, possessive or repeated repetition", "remove it")
        least, most = counts
        machine = self.machine

        def build() -> _Place:
            built = [part.build() for _ in range(least)]
            if most is None:
                built.append(machine.optional(part.build(), again=True))
            else:
                built += [machine.optional(part.build(), again=False) for _ in range(most - least)]
            return machine.chain(built) if built else machine.nothing()

        return _Piece(build, True)

    def counts(self) -> tuple[int, int | None] | None:
        char = self.peek()
        if char in ("*", "+", "?"):
            self.at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        if char != "{":
            return None
        begin, end = self.at, self.text.find("}", self.at)
        least, comma, most = self.text[begin + 1 : end].partition(",")
        numbers = [one for one in (least, most) if one]
        if end < 0 or not least or not all(one.isascii() and one.isdigit() and len(one) < 4 for one in numbers):
            raise self.refuse("begins no count", "write {2}, {2,} or {2,5}; for the brace itself write \\{")
        low, high = int(least), (int(most) if most else None) if comma else int(least)
        if max(low, high or 0) > _MOST_REPEATS or (high is not None and high < low):
            raise self.refuse(f"counts beyond {_MOST_REPEATS}, or downwards", "lower it")
        self.at = end + 1
        return low, high

    def atom(self, depth: int) -> _Piece:
        begin, char = self.at, self.take()
        if char == "(":
            return self.group(depth)
        if char in "^$":
            symbol = _START if char == "^" else _END
            return _Piece(lambda: self.machine.step(symbol), begins=char == "^", ends=char == "$")
        if char in "*+?{":
            self.at = begin
            raise self.refuse("has nothing to repeat", "for the character itself put a \\ before it")
        if char in "]}":
            self.at = begin
            raise self.refuse("closes what is not open", "for the character itself put a \\ before it")
        chars: Set
        if char == "[":
            chars = self.charset()
        elif char == ".":
            chars = (True, self.name(frozenset("\n")))
        elif char == "\\":
            chars = self.escape()
        else:
            chars = (False, self.name(frozenset(char)))
        return _Piece(lambda: self.machine.step(chars))

    def group(self, depth: int) -> _Piece:
        if depth >= 8:
            raise self.refuse("opens a ninth group within groups", "write it flatter")
        if self.peek() == "?":
            if not self.text.startswith("?:", self.at):
                raise self.refuse("begins look-around, a flag or a name", "only ( ) and (?: ) are groups here")
            self.at += 2
        inner = self.alternatives(depth + 1)
        self.take()  # alternatives end at a closing bracket, or where the pattern does
        return inner

    def escape(self) -> Set:
        char = self.take()
        if char.lower() in _NAMED:
            return char.isupper(), self.name(_NAMED[char.lower()])
        if char in _CONTROLS:
            return False, self.name(frozenset(_CONTROLS[char]))
        if char not in _ESCAPABLE:
            self.at -= 1
            what = "is a reference back" if char.isdigit() else "is no escape of this subset"
            raise self.refuse(what, "write the text out")
        return False, self.name(frozenset(char))

    def charset(self) -> Set:
        negated = self.peek() == "^"
        self.at += negated
        chars: set[str] = set()
        first = True
        while (char := self.take()) != "]" or first:
            first = False
            if char == "[":
                raise self.refuse("is inside a class already", "write \\[")
            found = self.escape() if char == "\\" else (False, frozenset(char))
            if found[0]:
                raise self.refuse("is an opposite inside a class", "write the class the other way round")
            single = len(found[1]) == 1
            if single and self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                last = self.take()
                end = self.escape() if last == "\\" else (False, frozenset(last))
                (low,), ends = found[1], end[1]
                if end[0] or len(ends) != 1 or not 0 <= ord(min(ends)) - ord(low) < _MOST_IN_CLASS:
                    raise self.refuse(f"ends no range of up to {_MOST_IN_CLASS} characters", "list the characters")
                chars.update(map(chr, range(ord(low), ord(min(ends)) + 1)))
            else:
                chars |= found[1]
        if len(chars) > _MOST_IN_CLASS:
            raise self.refuse(f"ends a class of more than {_MOST_IN_CLASS} characters", "use its opposite")
        return negated, self.name(frozenset(chars))

    def name(self, chars: frozenset[str]) -> frozenset[str]:
        self.named |= chars
        return chars


_Row = list[Any]
"""A state: by symbol, the row of the next one; last, whether a text may end here."""


class Automaton:
    """A compiled pattern.

    Args:
        symbols: by named character. rows: by state and symbol, the next state. accepting: the states of a match.
        begins, ends: how often the pattern asks for the beginning and the end: each asking reads one symbol.

    Attributes:
        states: how many rows there are.
    """

    __slots__ = ("_ascii", "_begin", "_codes", "_named", "states")

    def __init__(
        self, symbols: dict[str, int], rows: list[list[int]], accepting: frozenset[int], begins: int, ends: int
    ) -> None:
        self.states = len(rows)
        self._ascii = bytes(symbols.get(chr(byte), _OTHER) for byte in range(256))
        self._codes = np.array([*sorted(map(ord, symbols)), 0xFFFFFFFF], np.uint32)
        self._named = np.array([*(symbols[char] for char in sorted(symbols)), _OTHER], np.uint8)

        def after(state: int, symbol: int, times: int) -> int:
            for _ in range(times):
                state = rows[state][symbol]
            return state

        linked: list[_Row] = [[] for _ in rows]
        for state, row in enumerate(rows):
            linked[state] += [linked[reached] for reached in row]
            linked[state].append(after(state, _END, ends) in accepting)
        self._begin = linked[after(0, _START, begins)]

    def search(self, text: str) -> bool:
        """Say whether the pattern is found in `text`, which has at most `LONGEST_SUBJECT` characters."""
        row = self._begin
        for symbol in text.encode("ascii").translate(self._ascii) if text.isascii() else self._spelled(text):
            row = row[symbol]
        return row[-1]  # type: ignore[no-any-return]

    def _spelled(self, text: str) -> bytes:
        """Return the symbols of a text with characters beyond ASCII."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        at = np.searchsorted(self._codes, codes)
        return np.where(self._codes[at] == codes, self._named[at], np.uint8(_OTHER)).tobytes()


def compile_pattern(text: str) -> Automaton:
    """Return the automaton of a pattern.

    Raises:
        Malformed: not in the subset, or too large; the error names the character and no place: the caller knows it.
    """
    if not 0 < len(text) <= LONGEST_PATTERN:
        raise Malformed(f"is not 1 to {LONGEST_PATTERN} characters", remedy="shorten it")
    machine = _Machine()
    reader = _Reader(text, machine)
    piece = reader.alternatives(0)
    if reader.peek():
        raise reader.refuse("closes a group that is not open", "for the character itself put a \\ before it")
    begin, end = piece.build()
    return _determine(machine, begin, end, reader.named)


def _determine(machine: _Machine, begin: int, end: int, named: set[str]) -> Automaton:
    """Return the deterministic automaton: each of its states is a set of the machine's, as the bits of an integer."""
    symbols, kinds = _kinds(machine, named)
    count = _OTHER + 1 + len(kinds)
    closures = _closures(machine)
    moves = [[0] * count for _ in machine.on]
    for state, edges in enumerate(machine.on):
        for symbol, target in edges:
            for index in _indices(symbol, kinds):
                moves[state][index] |= closures[target]
    start, accept = closures[begin], 1 << end
    order, found = [start], {start: 0}
    rows: list[list[int]] = []
    while len(rows) < len(order):
        bits = order[len(rows)]
        if bits & accept:
            rows.append([len(rows)] * count)
            continue
        row = []
        for index in range(count):
            reached = start | _moved(bits, moves, index)
            reached = accept if reached & accept else reached
            if reached not in found:
                if len(order) >= MOST_STATES:
                    raise Malformed(f"needs more than {MOST_STATES} states", remedy="make it shorter, or anchor it")
                found[reached] = len(order)
                order.append(reached)
            row.append(found[reached])
        rows.append(row)
    accepting = frozenset(state for bits, state in found.items() if bits & accept)
    asked = [symbol for edges in machine.on for symbol, _ in edges]
    return Automaton(symbols, rows, accepting, asked.count(_START), asked.count(_END))


def _moved(bits: int, moves: list[list[int]], index: int) -> int:
    reached = 0
    while bits:
        lowest = bits & -bits
        reached |= moves[lowest.bit_length() - 1][index]
        bits ^= lowest
    return reached


def _kinds(machine: _Machine, named: set[str]) -> tuple[dict[str, int], list[str]]:
    """Return each named character's symbol, and one character for each kind: those that no class tells apart."""
    classes = list({symbol[1] for edges in machine.on for symbol, _ in edges if not isinstance(symbol, int)})
    known: dict[tuple[bool, ...], int] = {}
    symbols: dict[str, int] = {}
    kinds: list[str] = []
    for char in sorted(named):
        signature = tuple(char in one for one in classes)
        if signature not in known:
            known[signature] = _OTHER + 1 + len(kinds)
            kinds.append(char)
        symbols[char] = known[signature]
    if len(kinds) > _MOST_KINDS:
        raise Malformed(f"tells more than {_MOST_KINDS} kinds of characters apart", remedy="make it shorter")
    return symbols, kinds


def _indices(symbol: Set | int, kinds: list[str]) -> list[int]:
    if isinstance(symbol, int):
        return [symbol]
    opposite, chars = symbol
    inside = [_OTHER + 1 + i for i, char in enumerate(kinds) if (char in chars) != opposite]
    return [_OTHER, *inside] if opposite else inside


def _closures(machine: _Machine) -> list[int]:
    """Return, for each state, the states it reaches without a character, itself included, as bits."""
    found = []
    for state in range(len(machine.empty)):
        seen, todo = 1 << state, [state]
        while todo:
            for target in machine.empty[todo.pop()]:
                if not seen >> target & 1:
                    seen |= 1 << target
                    todo.append(target)
        found.append(seen)
    return found
