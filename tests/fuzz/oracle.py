"""A second reading of consent strings, slow and written differently, to compare the first with.

It turns a segment into text of 0 and 1 and cuts pieces off it, after the tables of the specifications; it shares no
line with `entrenous_consent.signals`. None means: this string is not to be taken.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
CODES = {letter: format(place, "06b") for place, letter in enumerate(ALPHABET)}
DUE = 1_772_323_200  # 2026-03-01T00:00:00Z
VERSION_2 = 1_566_345_600  # 2019-08-21T00:00:00Z

STATES: dict[tuple[int, int], tuple[int, list[int]]] = {
    (7, 1): (60, [18, 20, 22]), (7, 2): (70, [18, 20, 22]), (8, 1): (46, [12, 14]), (9, 1): (40, [12, 14]),
    (10, 1): (38, [12, 14]), (11, 1): (42, [14, 16]), (12, 1): (44, [12, 14]), (13, 1): (46, [12, 14]),
    (14, 1): (46, [12, 14]), (15, 1): (52, [12, 14]), (16, 1): (42, [12, 14]), (17, 1): (52, [12, 14]),
    (18, 1): (42, [14, 16]), (19, 1): (42, [12, 14]), (20, 1): (46, [12, 14]), (21, 1): (54, [12, 14]),
    (22, 1): (42, [12, 14]), (23, 1): (42, [12, 14]), (24, 1): (22, [16, 18]), (25, 1): (24, [16, 18]),
    (26, 1): (24, [16, 18]), (27, 1): (24, [16, 18]),
}  # fmt: skip
"""Bits of a section in all, and where its opt-outs begin."""


class Wrong(Exception):
    """This is no such string."""


class Tape:
    """Text of 0 and 1, read from the left."""

    def __init__(self, text: str) -> None:
        if not text or any(letter not in CODES for letter in text):
            raise Wrong
        self.bits, self.at = "".join(CODES[letter] for letter in text), 0

    def cut(self, many: int) -> str:
        if self.at + many > len(self.bits):
            raise Wrong
        self.at += many
        return self.bits[self.at - many : self.at]

    def number(self, many: int) -> int:
        return int("0" + self.cut(many), 2)

    def ids(self, many: int) -> set[int]:
        return {place for place, bit in enumerate(self.cut(many), 1) if bit == "1"}

    def end(self) -> None:
        rest, used = self.bits[self.at :], self.at
        if "1" in rest:
            raise Wrong
        by_character, by_byte = used, used
        while by_character % 6:
            by_character += 1
        while by_byte % 8:
            by_byte += 1
        while by_byte % 6:
            by_byte += 1
        whole = used
        while whole % 24:
            whole += 1
        if len(self.bits) not in {by_character, by_byte, whole}:
            raise Wrong


def _spans(tape: Tape) -> list[tuple[int, int]]:
    spans = []
    for _ in range(tape.number(12)):
        several, first = tape.cut(1) == "1", tape.number(16)
        spans.append((first, tape.number(16) if several else first))
    for first, last in spans:
        if first < 1 or last < first:
            raise Wrong
    for (_, before), (after, _) in pairwise(spans):
        if after <= before:
            raise Wrong
    return spans


def _vendors(tape: Tape) -> set[int]:
    highest, ranged = tape.number(16), tape.cut(1) == "1"
    if not ranged:
        return tape.ids(highest)
    spans = _spans(tape)
    if highest == 0 or any(last > highest for _, last in spans):
        raise Wrong
    return {one for first, last in spans for one in range(first, last + 1)}


def tcf(text: str) -> dict[str, Any]:
    """Return the fields that a choice rests on.

    Raises:
        Wrong: it is no TCF string of version 2.
    """
    if len(text) > 8192:
        raise Wrong
    pieces = text.split(".")
    tape = Tape(pieces[0])
    if tape.number(6) != 2:
        raise Wrong
    created, updated = tape.number(36), tape.number(36)
    if created < 10 * VERSION_2 or updated < created:
        raise Wrong
    found: dict[str, Any] = {"updated": updated // 10}
    if tape.number(12) in {0, 1}:
        raise Wrong
    tape.cut(18)
    if tape.number(6) > 25 or tape.number(6) > 25:
        raise Wrong
    tape.cut(12)
    found["policy"] = tape.number(6)
    if found["policy"] in {0, 1} or tape.cut(1) != "1":
        raise Wrong
    tape.cut(13)
    found["purposes"] = tape.ids(24)
    if tape.ids(24) & {3, 4, 5, 6} and found["policy"] > 3:
        raise Wrong
    found["one_hidden"] = tape.cut(1) == "1"
    if tape.number(6) > 25 or tape.number(6) > 25:
        raise Wrong
    found["vendors"] = _vendors(tape)
    _vendors(tape)
    rules: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for _ in range(tape.number(12)):
        purpose, kind = tape.number(6), tape.number(2)
        spans = _spans(tape)
        if purpose not in range(1, 25) or kind == 3 or not spans or (purpose, kind) in rules:
            raise Wrong
        rules[purpose, kind] = spans
    found["rules"] = rules
    tape.end()
    for piece in pieces[1:]:
        more = Tape(piece)
        kind = more.number(3)
        if kind == 1 and "disclosed" not in found:
            found["disclosed"] = _vendors(more)
        elif kind == 3 and "publisher" not in found:
            found["publisher"] = more.ids(24)
            more.cut(24)
            more.cut(2 * more.number(6))
        else:
            raise Wrong
        more.end()
    if "disclosed" not in found and found["updated"] >= DUE:
        raise Wrong
    return found


def tcf_grants(text: str, purposes: dict[str, tuple[set[int], int]], vendor: int, now: int) -> set[str] | None:
    """Return which of our purposes a TCF string grants; None where it is not to be taken.

    Args:
        text: the string. purposes: by name, the TCF purposes it needs and how long it is kept, in seconds.
        vendor: whose consents are read, beside the publisher's. now: Unix seconds.
    """
    try:
        held = tcf(text)
    except Wrong:
        return None
    if held["policy"] < 4 or held["updated"] - now >= 86_400:
        return None
    if all(now - held["updated"] >= kept for _, kept in purposes.values()):
        return None
    granted = set()
    for name, (needed, kept) in purposes.items():
        if now - held["updated"] >= kept or (held["one_hidden"] and 1 in needed):
            continue
        forbidden = any(
            purpose in needed and kind in {0, 2} and any(first <= vendor <= last for first, last in spans)
            for (purpose, kind), spans in held["rules"].items()
        )
        by_vendor = vendor in held["vendors"] and vendor in held.get("disclosed", set()) and not forbidden
        if needed <= held.get("publisher", set()) or (by_vendor and needed <= held["purposes"]):
            granted.add(name)
    return granted


def _fibonacci(tape: Tape) -> int:
    code = ""
    while not code.endswith("11"):
        code += tape.cut(1)
        if len(code) > 24:
            raise Wrong
    worth = [1, 2]
    while len(worth) < len(code):
        worth.append(worth[-1] + worth[-2])
    return sum(value for value, bit in zip(worth, code[:-1], strict=False) if bit == "1")


def _objects(section: int, body: str) -> bool:
    pieces = body.split(".")
    tape = Tape(pieces[0])
    version = tape.number(6)
    if (section, version) not in STATES:
        raise Wrong
    length, places = STATES[section, version]
    answers = [tape.number(2) for _ in range((length - 6) // 2)]
    tape.end()
    if 3 in answers or len(pieces) > 2:
        raise Wrong
    objects = any(answers[(place - 6) // 2] == 1 for place in places)
    if len(pieces) == 2:
        more = Tape(pieces[1])
        if section in {25, 26, 27}:
            if any(more.number(2) == 3 for _ in range(8)):
                raise Wrong
        elif section in {9, 11, 13} or more.number(2) != 1:
            raise Wrong
        else:
            objects = more.cut(1) == "1" or objects
        more.end()
    return objects


def gpp(text: str) -> tuple[str | None, bool]:
    """Return the European section of a GPP string, if any, and whether it objects.

    Raises:
        Wrong: it is no GPP string of version 1.
    """
    if len(text) > 8192:
        raise Wrong
    pieces = text.split("~")
    tape = Tape(pieces[0])
    if tape.number(6) != 3 or tape.number(6) != 1:
        raise Wrong
    ids: list[int] = []
    for _ in range(tape.number(12)):
        several = tape.cut(1) == "1"
        first = (ids[-1] if ids else 0) + _fibonacci(tape)
        last = first + (_fibonacci(tape) if several else 0)
        if len(ids) + last - first + 1 > 64:
            raise Wrong
        ids.extend(range(first, last + 1))
    tape.end()
    if not ids or len(ids) != len(pieces) - 1:
        raise Wrong
    european, objects = None, False
    for one, body in zip(ids, pieces[1:], strict=True):
        if one == 2:
            european = body
            tcf(body)
        elif one == 6:
            if len(body) != 4 or body[0] != "1" or not set(body[1:]) <= set("YN-"):
                raise Wrong
            objects = objects or body[2] == "Y"
        elif 7 <= one <= 27:
            objects = _objects(one, body) or objects
        elif not re.fullmatch("[-._A-Za-z0-9]+", body) or "\n" in body:
            raise Wrong
    return european, objects
