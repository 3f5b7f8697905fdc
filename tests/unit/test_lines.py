"""JSON lines, cut from bytes as they come."""

from __future__ import annotations

import pytest

from entrenous.importing.lines import LONGEST_LINE, Lines
from entrenous_consent.errors import Malformed

TEXT = b'{"a": 1}\n\n  \n[2]\r\n{no\n"\xc3\xa9"\n7'


def read(data: bytes, step: int) -> list[object]:
    lines, found = Lines(), list[object]()
    for at in range(0, len(data), step):
        found += lines.feed(data[at : at + step])
    found += lines.end()
    return [one.what if isinstance(one, Malformed) else one for one in found]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_lines_are_the_same_wherever_the_bytes_are_cut(step):
    assert read(TEXT, step) == [{"a": 1}, [2], "is not JSON", "é", 7]


@pytest.mark.parametrize("step", [1 << 10, 1 << 16, 1 << 22])
def test_a_line_without_end_is_told_once_and_the_next_is_read(step):
    data = b'"' + b"x" * (3 * LONGEST_LINE) + b'"\n{"a": 1}\n'
    assert read(data, step) == [f"is longer than {LONGEST_LINE} bytes", {"a": 1}]


def test_a_last_line_without_end_is_told_once():
    assert read(b"x" * (2 * LONGEST_LINE), 1 << 16) == [f"is longer than {LONGEST_LINE} bytes"]


@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff\xfe", b'{"a":'])
def test_what_is_no_json_is_told(data):
    assert read(data, 1 << 16) == ["is not JSON"]


def test_nothing_is_nothing():
    assert read(b"", 1) == []
