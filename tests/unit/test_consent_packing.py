"""msgpack, strictly."""

from __future__ import annotations

import struct

import msgpack
import pytest

from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack

VALUES = [None, True, 0, -1, 2**63, 1.5, "é", b"\0", [1, [2]], {"a": {"b": []}}, {1: 2, "t": 3}]


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_was_packed_comes_back(value):
    assert unpack(pack(value), place="p", longest=1000) == value


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xcc\x05",
        b"\xd9\x01a",
        b"\xc5\x00\x01a",
        b"\xdc\x00\x01\x05",
        b"\xde\x00\x01\xa1a\x05",
        b"\xca" + struct.pack(">f", 1.5),
        b"\x82\xa1a\x01\xa1a\x02",
        b"\x82\x01\x01\xc3\x02",
        b"\x81\x90\x01",
        b"\x05\x05",
        b"\x92\x05",
        b"\xc1",
        b"\xa1\xff",
        b"\xa3\xed\xa0\x80",
        b"\xdd\xff\xff\xff\xff",
        nested(100_000),
    ],
    ids=[
        "nothing",
        "a small integer in two bytes",
        "a short text in a long form",
        "bytes in a long form",
        "an array in a long form",
        "a map in a long form",
        "a float of 32 bits",
        "a key twice",
        "1 and true as keys",
        "an array as a key",
        "a byte left over",
        "cut short",
        "a reserved byte",
        "text that is not UTF-8",
        "a surrogate",
        "a length beyond the end",
        "deeply nested",
    ],
)
def test_anything_else_is_malformed(data):
    with pytest.raises(Malformed) as caught:
        unpack(data, place="report", longest=1 << 20)
    assert caught.value.place == "report"
    assert caught.value.remedy


def test_the_bound_is_on_bytes_and_exact():
    data = pack("x" * 10)
    assert unpack(data, place="p", longest=len(data)) == "x" * 10
    with pytest.raises(Malformed, match=f"is longer than {len(data) - 1} bytes"):
        unpack(data, place="p", longest=len(data) - 1)


def test_keys_stay_in_the_order_given():
    assert pack({"b": 1, "a": 2}) == msgpack.packb({"b": 1, "a": 2})
