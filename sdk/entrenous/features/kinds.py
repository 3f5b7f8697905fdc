"""The kinds of features: what each reads, in which buckets it is kept, and the arithmetic that both engines share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

__all__ = [
    "ANY",
    "DECAY_SCALE",
    "DERIVED",
    "HALF_HOUR",
    "KINDS",
    "LONGEST_WINDOW",
    "MOST_RANKS",
    "MOST_SLOTS",
    "SECONDS",
    "SLOTS_A_DAY",
    "Kind",
    "decay_weights",
    "derived",
    "slot",
]

SECONDS = {"day": 86_400, "hour": 3_600}
LONGEST_WINDOW = {"day": 400, "hour": 24 * 14}
"""The most buckets of a window, by unit."""
HALF_HOUR = 1_800
SLOTS_A_DAY = SECONDS["day"] // HALF_HOUR
DERIVED = ("hour", "weekday")
"""Context that comes from the decision's own clock."""
ANY = "any"
"""In place of an event's name: whatever the visitor does."""
DECAY_SCALE = 1 << 24
MOST_RANKS = 3
MOST_SLOTS = 60
"""The most slots of a `distinct` without listed values: they are the bits of one integer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What may be declared of one kind.

    Attributes:
        reads: `number` or `category` where a field of the event is read, else empty.
        coded: whether the number is a category's code.
        zero: whether nothing is 0; it is NaN otherwise.
        units: the bucket sizes that can be chosen; the first is what is meant when none is.
        longest: the most buckets of a window, where that is fewer than `LONGEST_WINDOW`.
    """

    reads: str = ""
    coded: bool = False
    zero: bool = False
    units: tuple[str, ...] = ("day", "hour")
    longest: int = max(LONGEST_WINDOW.values())


KINDS: Mapping[str, Kind] = {
    "affinity": Kind(reads="category", coded=True),
    "context": Kind(),
    "count": Kind(zero=True),
    "days": Kind(zero=True, units=("day",)),
    "decayed_sum": Kind(reads="number", zero=True),
    "distinct": Kind(reads="category", zero=True),
    "first": Kind(reads="category", coded=True),
    "last": Kind(reads="category", coded=True),
    "max": Kind(reads="number"),
    "mean": Kind(reads="number"),
    "min": Kind(reads="number"),
    "ratio": Kind(),
    "recency": Kind(),
    "session_length": Kind(zero=True, units=("hour",), longest=24),
    "sessions": Kind(zero=True, units=("day",)),
    "share": Kind(reads="category"),
    "streak": Kind(zero=True, units=("day",)),
    "sum": Kind(reads="number", zero=True),
    "top": Kind(reads="category", coded=True),
}


def derived(field: str, seconds: Any) -> Any:
    """Return what the clock says at a Unix time, or at each of an array: the UTC `hour`, or the `weekday`, Monday 0.

    Day 0 of Unix time was a Thursday.
    """
    return seconds // SECONDS["hour"] % 24 if field == "hour" else (seconds // SECONDS["day"] + 3) % 7


@lru_cache(maxsize=256)
def decay_weights(half_life: int, window: int) -> tuple[int, ...]:
    """Return `floor(DECAY_SCALE * 2^(-age / half_life))` for each age in `[0, window)`."""
    return tuple(int(DECAY_SCALE * 2.0 ** (-age / half_life)) for age in range(window))


@lru_cache(maxsize=4096)
def slot(value: str, slots: int) -> int:
    """Return which of `slots` a category's value falls into: eight bytes of its SHA-256, modulo."""
    return int.from_bytes(sha256(value.encode("utf-8", "surrogatepass")).digest()[:8]) % slots
