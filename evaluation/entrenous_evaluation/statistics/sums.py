"""Sufficient statistics of one cell or of several merged, and how much noise is in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import METRICS

__all__ = ["Noise", "Sums", "number"]

_LARGEST = 1e40
"""Of a sum, beyond any report's; it keeps every product of sums finite. Its square bounds a variance."""


def number(value: object, place: str, *, least: float, most: float) -> float:
    """Return `value`, from `least` to `most`, as a float.

    Raises:
        Malformed: not a number (a bool is none, and NaN is not), or out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Malformed("expected a number", place=place, remedy="give an int or a float")
    if not least <= value <= most:
        raise Malformed(f"is not a number from {least:g} to {most:g}", place=place, remedy="give one within")
    return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Variance of the noise in each sum, 0 where there is none; in the square of the sum's own unit.

    Raises:
        Malformed: a variance that is no number from 0 to 1e80.
    """

    visitors: float = 0.0
    converters: float = 0.0
    orders: float = 0.0
    orders2: float = 0.0
    revenue: float = 0.0
    revenue2: float = 0.0
    revenue_orders: float = 0.0

    def __post_init__(self) -> None:
        for metric in METRICS:
            object.__setattr__(
                self, metric, number(getattr(self, metric), f"noise.{metric}", least=0, most=_LARGEST**2)
            )

    def __add__(self, other: Noise) -> Noise:
        """Return the noise of merged cells: each drew its own, so variances add."""
        return Noise(**{metric: getattr(self, metric) + getattr(other, metric) for metric in METRICS})


_NONE = Noise()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums over the visitors of one arm, perhaps within a tranche or a segment; noisy, so they may be negative.

    Amounts are as the report clipped them, and all that is said of them is said of clipped amounts. A report counts
    revenue in steps of q minor units: multiply revenue and revenue_orders by q and revenue2 by q², the variances of
    their noise by q² and q⁴.

    Attributes:
        visitors, converters: how many, and how many of them ordered at least once. orders, orders2: orders and their
            squares. revenue, revenue2: minor units and their squares. revenue_orders: the product of both.
            None where the report does not count it.
        noise: the variance of the noise in each.

    Raises:
        Malformed: a sum that is no number from -1e40 to 1e40.
    """

    visitors: float
    converters: float | None = None
    orders: float | None = None
    orders2: float | None = None
    revenue: float | None = None
    revenue2: float | None = None
    revenue_orders: float | None = None
    noise: Noise = _NONE

    def __post_init__(self) -> None:
        for metric in METRICS:
            value = getattr(self, metric)
            if value is not None or metric == "visitors":
                object.__setattr__(self, metric, number(value, f"sums.{metric}", least=-_LARGEST, most=_LARGEST))

    def __add__(self, other: Sums) -> Sums:
        """Return the sums of both groups of visitors; what either does not count, the whole does not."""
        merged: dict[str, Any] = {}
        for metric in METRICS:
            mine, theirs = getattr(self, metric), getattr(other, metric)
            merged[metric] = None if mine is None or theirs is None else mine + theirs
        return Sums(**merged, noise=self.noise + other.noise)
