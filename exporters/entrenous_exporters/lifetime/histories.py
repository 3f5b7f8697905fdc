"""What the models are fitted to: buyers' histories, as a histogram, and what their purchases were worth.

Both are built by strict parsers, from a value for each buyer or from cells with how many buyers each holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entrenous_consent.errors import Malformed

__all__ = ["Histories", "Spending", "parse_histories", "parse_spending"]

Floats = NDArray[np.float64]

_MOST_REPEATS = 100_000
_LONGEST = 1e9
_LARGEST_VALUE = 1e15
_MOST_BUYERS = 1e12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histories:
    """A histogram of `[C]` cells.

    Attributes:
        repeats: purchases after the first one, whole. recency: when the last was, since the first. age: time since the
            first. Both in one unit of time.
        counts: how many buyers have this history.
    """

    repeats: Floats
    recency: Floats
    age: Floats
    counts: Floats

    @property
    def buyers(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def repeating(self) -> int:
        """How many bought again."""
        return int(self.counts[self.repeats > 0].sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spending:
    """A histogram of `[C]` cells.

    Attributes:
        purchases: how many the mean is over, whole and at least one. mean: of their values, minor units, above 0.
        counts: how many buyers it holds for.
    """

    purchases: Floats
    mean: Floats
    counts: Floats

    @property
    def buyers(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def correlation(self) -> float:
        """Pearson's correlation of how often with how much, of those who bought again; NaN where one never varies."""
        again = self.purchases > 1
        counts, often, much = self.counts[again], self.purchases[again], self.mean[again]
        if not counts.size:
            return float("nan")
        often, much = (column - np.average(column, weights=counts) for column in (often, much))
        spread = np.sqrt((counts @ often**2) * (counts @ much**2))
        return float(counts @ (often * much) / spread) if spread > 0 else float("nan")


def parse_histories(
    repeats: ArrayLike, recency: ArrayLike, age: ArrayLike, counts: ArrayLike | None = None
) -> Histories:
    """Return the histogram of `[N]` histories; equal ones become one cell.

    Args:
        repeats, recency, age: as in `Histories`. counts: how many buyers each stands for, one by default.

    Raises:
        Malformed: lengths differ, a value is not finite or beyond its bounds, repeats or counts are not whole, a
            recency is above its age, or it is 0 although there are repeats, or not although there are none.
    """
    columns = _columns({"repeats": repeats, "recency": recency, "age": age}, counts)
    often, last, old = columns["repeats"], columns["recency"], columns["age"]
    _refuse("repeats", (often < 0) | (often > _MOST_REPEATS), f"is outside 0..{_MOST_REPEATS}")
    _refuse("repeats", often != np.floor(often), "is not whole")
    _refuse("age", (old < 0) | (old > _LONGEST), f"is outside 0..{_LONGEST:g}")
    _refuse("recency", (last < 0) | (last > old), "is negative or above its age")
    _refuse("recency", (last > 0) != (often > 0), "is not above 0 exactly where there are repeats")
    (often, last, old), held = _histogram((often, last, old), columns["counts"])
    return Histories(repeats=often, recency=last, age=old, counts=held)


def parse_spending(purchases: ArrayLike, mean: ArrayLike, counts: ArrayLike | None = None) -> Spending:
    """Return what `[N]` buyers spent; equal ones become one cell.

    Args:
        purchases, mean: as in `Spending`. counts: how many buyers each stands for, one by default.

    Raises:
        Malformed: lengths differ, a value is not finite or beyond its bounds, purchases or counts are not whole, or a
            mean is not above 0: Gamma-Gamma knows no free purchase.
    """
    columns = _columns({"purchases": purchases, "mean": mean}, counts)
    often, much = columns["purchases"], columns["mean"]
    _refuse("purchases", (often < 1) | (often > _MOST_REPEATS), f"is outside 1..{_MOST_REPEATS}")
    _refuse("purchases", often != np.floor(often), "is not whole")
    _refuse("mean", (much <= 0) | (much > _LARGEST_VALUE), f"is not above 0, or above {_LARGEST_VALUE:g}")
    (often, much), held = _histogram((often, much), columns["counts"])
    return Spending(purchases=often, mean=much, counts=held)


def _columns(given: dict[str, ArrayLike], counts: ArrayLike | None) -> dict[str, Floats]:
    columns: dict[str, Floats] = {}
    length: int | None = None
    for name, values in (*given.items(), ("counts", counts)):
        if values is None:
            columns[name] = np.ones(length or 0)
            continue
        try:
            column = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise Malformed("holds what is no number", place=name, remedy="give an array of numbers") from error
        if column.ndim != 1 or (length is not None and len(column) != length):
            raise Malformed("is not one column as long as the others", place=name, remedy="give [N] values")
        _refuse(name, ~np.isfinite(column), "is not finite")
        columns[name], length = column, len(column)
    held = columns["counts"]
    _refuse("counts", (held < 1) | (held != np.floor(held)), "is not whole and at least one")
    if held.sum() > _MOST_BUYERS:
        raise Malformed(f"add up to more than {_MOST_BUYERS:g}", place="counts", remedy="check them")
    return columns


def _refuse(name: str, wrong: NDArray[np.bool_], what: str) -> None:
    """Refuse a column with how many values are wrong and where the first one stands, from 0; never with a value."""
    if wrong.any():
        count, first = int(wrong.sum()), int(np.argmax(wrong))
        raise Malformed(f"{what} in {count} of {len(wrong)}", place=f"{name}[{first}]", remedy="correct or remove them")


def _histogram(columns: tuple[Floats, ...], counts: Floats) -> tuple[list[Floats], Floats]:
    """Return the distinct rows, ordered, and how many buyers each holds."""
    if not len(counts):
        return list(columns), counts
    order = np.lexsort(columns[::-1])
    columns, counts = tuple(column[order] for column in columns), counts[order]
    new = np.zeros(len(counts), dtype=np.bool_)
    new[0] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(new)
    return [column[starts] for column in columns], np.add.reduceat(counts, starts)
