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
    "FUNNEL",
    "HALF_HOUR",
    "KINDS",
    "LATEST",
    "LONGEST_WINDOW",
    "MOMENTS",
    "MOST_CUTS",
    "MOST_RANKS",
    "MOST_SLOTS",
    "PARTS",
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
MOST_CUTS = 8
"""The most cuts of a score, which is one digit."""
FUNNEL = ("nothing", "view", "cart", "checkout", "purchase")
MOMENTS = ("discovering", "comparing", "deciding", "returning")
MOST_SLOTS = 60
"""The most slots of a `distinct` without listed values: they are the bits of one integer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What may be declared of one kind.

    Attributes:
        reads: `number` or `category` where a field of the event is read, else empty.
        needs: what has to be declared beside it: `cuts`, `half_life`, `horizon`, `lifetime`, `per`, `slots`, `values`.
        coded: whether the number is a category's code. codes: what it is a code of, where no declaration says so.
        zero: whether nothing is 0; it is NaN otherwise.
        units: the bucket sizes that can be chosen; the first is what is meant when none is.
        shortest, longest: the fewest and the most buckets of a window; `LONGEST_WINDOW` holds as well.
        events: whether it listens to an event that the declaration names.
        made: whether it is made of other numbers (`interpret`).
    """

    reads: str = ""
    needs: tuple[str, ...] = ()
    coded: bool = False
    codes: tuple[str, ...] = ()
    zero: bool = False
    units: tuple[str, ...] = ("day", "hour")
    shortest: int = 1
    longest: int = max(LONGEST_WINDOW.values())
    events: bool = True
    made: bool = False


_DAYS = ("day",)


def _made(**said: Any) -> Kind:
    return Kind(made=True, **said)


KINDS: Mapping[str, Kind] = {
    "abandoned": _made(needs=("per",)),
    "affinity": Kind(reads="category", needs=("values", "half_life"), coded=True),
    "age": Kind(),
    "alive": _made(needs=("lifetime",), units=_DAYS),
    "asked": Kind(needs=("values",), units=_DAYS, events=False),
    "burst": _made(),
    "churn": _made(needs=("lifetime",), units=_DAYS),
    "context": Kind(events=False),
    "count": Kind(zero=True),
    "coverage": _made(reads="category", needs=("values",), zero=True),
    "days": Kind(zero=True, units=_DAYS),
    "decayed_sum": Kind(reads="number", needs=("half_life",), zero=True),
    "distinct": Kind(reads="category", needs=("values", "slots"), zero=True),
    "drift": _made(reads="number", shortest=4),
    "due": _made(units=_DAYS),
    "engagement": _made(units=_DAYS),
    "expected_purchases": _made(needs=("lifetime", "horizon"), units=_DAYS),
    "expected_value": _made(reads="number", needs=("lifetime",), units=_DAYS),
    "exploration": _made(reads="category", needs=("slots",)),
    "first": Kind(reads="category", needs=("values",), coded=True),
    "focus": _made(reads="category", needs=("values",)),
    "frequency_score": _made(needs=("cuts",), zero=True, units=_DAYS),
    "funnel": _made(coded=True, codes=FUNNEL, zero=True, events=False),
    "gap": _made(units=_DAYS),
    "given_back": _made(reads="number", needs=("per",)),
    "imported": Kind(units=_DAYS, coded=True, events=False),
    "intensity": _made(units=_DAYS),
    "lag": _made(needs=("per",)),
    "last": Kind(reads="category", needs=("values",), coded=True),
    "lifetime_value": _made(reads="number", needs=("lifetime", "horizon", "discount"), units=_DAYS),
    "loyalty": _made(units=_DAYS),
    "max": Kind(reads="number"),
    "mean": _made(reads="number"),
    "min": Kind(reads="number"),
    "moment": _made(coded=True, codes=MOMENTS, units=("hour",), events=False),
    "momentum": _made(shortest=2),
    "monetary_score": _made(reads="number", needs=("cuts",), zero=True, units=_DAYS),
    "newcomer": _made(units=_DAYS),
    "outstanding": _made(needs=("per",), zero=True),
    "pause": Kind(),
    "peak": Kind(),
    "per_session": _made(units=_DAYS),
    "presence": _made(zero=True, units=_DAYS),
    "price_gap": _made(reads="number", needs=("per",)),
    "ratio": _made(needs=("per",)),
    "recency": Kind(),
    "recency_score": _made(needs=("cuts",), zero=True, units=_DAYS),
    "regularity": _made(units=_DAYS),
    "rfm_score": _made(reads="number", needs=("cuts",), zero=True, units=_DAYS),
    "session_length": Kind(zero=True, units=("hour",), longest=24),
    "sessions": Kind(zero=True, units=_DAYS),
    "settled": _made(reads="category", needs=("values",)),
    "share": _made(reads="category", needs=("values",)),
    "spread": _made(reads="number"),
    "strayed": _made(reads="category", needs=("values",)),
    "streak": Kind(zero=True, units=_DAYS),
    "sum": Kind(reads="number", zero=True),
    "told": Kind(needs=("values",), units=_DAYS, coded=True, events=False),
    "top": Kind(reads="category", needs=("values",), coded=True),
    "trend": _made(shortest=4),
    "weekend": _made(units=_DAYS),
    "worth": _made(reads="number", needs=("per",)),
}

PARTS: Mapping[str, Kind] = {
    "chosen": Kind(reads="category", zero=True),
    "filled": Kind(zero=True),
    "listed": Kind(reads="category", zero=True),
    "squared": Kind(reads="category", zero=True),
    "weekend_days": Kind(zero=True, units=_DAYS),
}
"""What only a part of another feature can be: events with the one value; events that have the field; events with a
listed value, and the sum over the values of their number's square; days with an event that were at a
weekend."""

LATEST = ("asked", "imported", "told")
"""Kinds that hold what was said last of a visitor, not what the visitor did."""


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
