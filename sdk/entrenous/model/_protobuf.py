"""Protobuf's wire format, strictly: one encoding for one value, bounded, nothing unknown.

A message is read against the closed list of its fields. Refused: an unknown field, another wire type, a field that
stands twice or out of ascending order, an integer that is overlong, negative or past 2^31 - 1, a length past the end.
Repeated integers and floats stand unpacked, as in ONNX's own schema (proto2), and are read a run at a time with numpy.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed

__all__ = ["FIXED32", "LENGTH", "VARINT", "Field", "Message", "read"]

VARINT, LENGTH, FIXED32 = 0, 2, 5
_MOST = (1 << 31) - 1
_LONGEST_VARINT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field that a message may hold: its name, its wire type, and whether it is repeated."""

    name: str
    wire: int
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The closed list of a message's fields by number, and names for some that are refused."""

    fields: Mapping[int, Field]
    refused: Mapping[int, str] = field(default_factory=dict)


def read(data: bytes, message: Message, place: str) -> dict[str, Any]:
    """Return the fields of a message by name; absent ones are absent.

    An integer is an int, a float a Python float, a length-delimited field bytes. Repeated, they are an int64 array, a
    float32 array and a list of bytes.

    Args:
        data: the message's bytes, all of them.
        message: what it may hold.
        place: what this is, for errors.

    Raises:
        Malformed: as the module says.
    """
    found: dict[str, Any] = {}
    position = last = 0
    while position < len(data):
        start = position
        tag, position = _varint(data, position, place)
        number, wire = tag >> 3, tag & 7
        known = message.fields.get(number)
        if known is None:
            name = message.refused.get(number, f"field {number}")
            raise _wrong(f"holds {name}, which the profile does not allow", place)
        if wire != known.wire:
            raise _wrong(f"has {known.name} in wire type {wire}, not {known.wire}", place)
        if number <= last:
            raise _wrong(f"has {known.name} twice or out of order", place)
        last = number
        if known.many:
            found[known.name], position = _RUNS[wire](data, start, position - start, place)
        else:
            found[known.name], position = _ONE[wire](data, position, place)
    return found


def _wrong(what: str, place: str) -> Malformed:
    return Malformed(what, place=place, remedy="emit it with this version's exporter")


def _varint(data: bytes, position: int, place: str) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[position : position + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if i and not byte:
                raise _wrong("has an overlong integer", place)
            if value > _MOST:
                raise _wrong("has an integer past 2^31 - 1", place)
            return value, position + i + 1
    if position + _LONGEST_VARINT > len(data):
        raise _wrong("is cut short", place)
    raise _wrong("has an integer that is negative or past 2^31 - 1", place)


def _bytes(data: bytes, position: int, place: str) -> tuple[bytes, int]:
    length, position = _varint(data, position, place)
    if length > len(data) - position:
        raise _wrong("is cut short", place)
    return data[position : position + length], position + length


def _fixed32(data: bytes, position: int, place: str) -> tuple[float, int]:
    if position + 4 > len(data):
        raise _wrong("is cut short", place)
    return float(np.frombuffer(data, "<f4", count=1, offset=position)[0]), position + 4


def _run_of_bytes(data: bytes, start: int, width: int, place: str) -> tuple[list[bytes], int]:
    tag, position, values = data[start : start + width], start, []
    while data.startswith(tag, position):
        begin = position + width
        if begin < len(data) and data[begin] < 0x80:  # one byte of length: the common case, without two calls
            length, begin = data[begin], begin + 1
        else:
            length, begin = _varint(data, begin, place)
        position = begin + length
        if position > len(data):
            raise _wrong("is cut short", place)
        values.append(data[begin:position])
    return values, position


def _run_of_floats(data: bytes, start: int, width: int, place: str) -> tuple[NDArray[np.float32], int]:
    record = np.dtype([("tag", np.uint8, (width,)), ("value", "<f4")])
    records = np.frombuffer(data, record, count=(len(data) - start) // record.itemsize, offset=start)
    tag = np.frombuffer(data, np.uint8, count=width, offset=start)
    count = _leading((records["tag"] == tag).all(axis=1))
    position = start + count * record.itemsize
    if data.startswith(tag.tobytes(), position):
        raise _wrong("is cut short", place)
    return records["value"][:count].astype(np.float32), position


def _run_of_varints(data: bytes, start: int, width: int, place: str) -> tuple[NDArray[np.int64], int]:
    """Read tag, value, tag, value …: both are varints, so every byte below 128 ends one of the two in turn."""
    raw = np.frombuffer(data, np.uint8, offset=start)
    ends = np.flatnonzero(raw < 0x80)
    pairs = ends.size // 2
    tag_end, value_end = ends[0 : 2 * pairs : 2], ends[1 : 2 * pairs : 2]
    tag_start = np.concatenate(([0], value_end[:-1] + 1))[:pairs]
    same = tag_end - tag_start + 1 == width
    for i in range(width):
        same[same] = raw[tag_start[same] + i] == raw[i]
    count = _leading(same)
    position = start + (int(value_end[count - 1]) + 1 if count else 0)
    if data.startswith(data[start : start + width], position):
        raise _wrong("is cut short", place)
    length = value_end[:count] - tag_end[:count]
    if (length > _LONGEST_VARINT).any():
        raise _wrong("has an integer that is negative or past 2^31 - 1", place)
    if ((length > 1) & (raw[value_end[:count]] == 0)).any():
        raise _wrong("has an overlong integer", place)
    values = np.zeros(count, dtype=np.int64)
    for i in range(int(length.max(initial=0))):
        longer = length > i
        values[longer] |= (raw[tag_end[:count][longer] + 1 + i].astype(np.int64) & 0x7F) << (7 * i)
    if (values > _MOST).any():
        raise _wrong("has an integer past 2^31 - 1", place)
    return values, position


def _leading(true: NDArray[np.bool_]) -> int:
    return true.size if true.all() else int(true.argmin())


_ONE: Mapping[int, Callable[[bytes, int, str], tuple[Any, int]]] = {
    VARINT: _varint,
    LENGTH: _bytes,
    FIXED32: _fixed32,
}
_RUNS: Mapping[int, Callable[[bytes, int, int, str], tuple[Any, int]]] = {
    VARINT: _run_of_varints,
    LENGTH: _run_of_bytes,
    FIXED32: _run_of_floats,
}
