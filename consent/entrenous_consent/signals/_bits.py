"""Bits of a base64url segment, taken from the left, every one accounted for.

Consent strings are fields of so many bits each, written without gaps and then as base64url. What remains after the last
field is padding. Three are in use: up to a character (6 bits), up to a byte and then a character, or up to a multiple
of 24 bits. Bits beyond, or a bit of padding that is set, mean that this is not what was written.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

from entrenous_consent.errors import Malformed

__all__ = ["Bits", "Ids", "Layout", "layout"]

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_MOST_CODED = 1 << 16
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


Layout: TypeAlias = tuple[int, tuple[tuple[int, int], ...]]
"""Fields side by side: their bits in all, and for each how far from the right it ends, and its mask."""


def layout(*widths: int) -> Layout:
    """Return the layout of fields of these widths, from the left."""
    total = sum(widths)
    ends = (total - done for done in accumulate(widths))
    return total, tuple((end, (1 << width) - 1) for end, width in zip(ends, widths, strict=True))


@dataclass(frozen=True, slots=True, repr=False)
class Ids:
    """A set of ids from 1 to `most`, as bits: the leftmost is id 1. Never shown: it is what a person chose."""

    most: int
    bits: int

    def __contains__(self, one: int) -> bool:
        return 1 <= one <= self.most and bool(self.bits >> (self.most - one) & 1)

    def __iter__(self) -> Iterator[int]:
        return (one for one in range(1, self.most + 1) if one in self)

    def __len__(self) -> int:
        return self.bits.bit_count()


class Bits:
    """What is left of a segment.

    Args:
        text: the segment in base64url, without padding characters.
        place: what the segment is, for errors, which never repeat it.

    Raises:
        Malformed: empty, or a character that base64url does not have; from `take`, fewer bits than asked for; from
            `close`, more left than padding, or padding that is not zero.
    """

    __slots__ = ("_left", "_place", "_size", "_value")

    def __init__(self, text: str, place: str) -> None:
        self._place = place
        written = text.encode("utf-8", "replace")
        if not written or written.translate(None, _ALPHABET):
            raise self.refuse("is empty, or holds what is not base64url")
        spare = -len(written) % 4
        whole = a2b_base64(written.translate(_TO_STANDARD) + b"A" * spare)
        self._value = int.from_bytes(whole) >> (6 * spare)
        self._size = self._left = 6 * len(written)

    def refuse(self, what: str) -> Malformed:
        """Return the error that says `what` is wrong with this segment."""
        return Malformed(what, place=self._place, remedy="pass the string as the consent platform wrote it")

    def take(self, width: int) -> int:
        """Return the next `width` bits as a number."""
        self._left -= width
        if self._left < 0:
            raise self.refuse("is cut short")
        return self._value >> self._left & ((1 << width) - 1)

    def ids(self, width: int) -> Ids:
        """Return the ids of the next `width` bits, a bit each."""
        return Ids(width, self.take(width))

    def fields(self, side_by_side: Layout) -> list[int]:
        """Return several fields at once: one look at a long number instead of many."""
        total, fields = side_by_side
        taken = self.take(total)
        return [taken >> end & mask for end, mask in fields]

    def letters(self, number: int) -> str:
        """Return the two letters that 12 bits taken from here mean, A for 0."""
        first, second = number >> 6, number & 63
        if first > 25 or second > 25:
            raise self.refuse("names a language or a country by what is no letter")
        return chr(65 + first) + chr(65 + second)

    def fibonacci(self) -> int:
        """Return the next Fibonacci-coded number: a sum of 1, 2, 3, 5 … that ends with the first two ones in a row."""
        number, low, high, before = 0, 1, 2, 0
        while low <= _MOST_CODED:
            bit = self.take(1)
            if bit and before:
                return number
            number += low * bit
            low, high, before = high, low + high, bit
        raise self.refuse("holds a number that is too large")

    def close(self) -> None:
        """Refuse anything but padding."""
        used = self._size - self._left
        if self._size not in (-(-used // 6) * 6, -(-(-(-used // 8) * 8) // 6) * 6, -(-used // 24) * 24):
            raise self.refuse("is longer than what it says it holds")
        if self._value & ((1 << self._left) - 1):
            raise self.refuse("goes on where it should have ended")
