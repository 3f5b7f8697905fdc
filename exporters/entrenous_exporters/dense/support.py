"""What a linear model may know of single columns: statistics that no visitor owns.

Bounds, centres, scales and categories are counted in visitors, not in rows: a visitor with ten thousand rows is one.
A coefficient multiplies a column that lies at either of its ends for *k* visitors or more; it rests, like the
intercept, on the rows of all visitors together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from entrenous_exporters.trees.form import Floats, coarsen

__all__ = ["Supported", "supported_codes", "supported_number"]

_SHARE = 0.005
"""Of the visitors, that lie at a bound or beyond it, where this is more than k: a few giants don't stretch a column."""
_FARTHEST, _FINEST = 2.0**60, -60
"""Bounds and scales stay where float32 neither overflows nor vanishes."""

Visitors = NDArray[np.int64]
Wide = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supported:
    """What is kept of a number's values; all float32-exact.

    Attributes:
        low, high: values are clipped to these; at least k distinct visitors lie at each or beyond it.
        centre: the mean over visitors, which also stands for a missing value. 8 significant bits, as the bounds.
        scale: the power of two next to the deviation from it.
    """

    low: float
    high: float
    centre: float
    scale: float


def supported_number(values: Floats, visitors: Visitors, k: int) -> Supported | None:
    """Return what may be kept of a number; None where fewer than `k` visitors set it apart.

    Args:
        values: float32 [N], finite or NaN for unknown.
        visitors: int64 [N], whose row each is. k: the fewest distinct visitors.
    """
    known = ~np.isnan(values)
    who, row = np.unique(visitors[known], return_inverse=True)
    value = values[known].astype(np.float64)
    if who.size < k:
        return None
    for beyond in (max(k, ceil(_SHARE * who.size)), k):
        high = _upper_bound(value, row, who.size, beyond)
        low = 0.0 - _upper_bound(-value, row, who.size, beyond)
        if low < high:
            break
    else:
        return None
    clipped = np.clip(value, low, high)
    rows = np.bincount(row)
    mean = float((np.bincount(row, clipped) / rows).mean())
    centre = max(low, _step_aside(float(coarsen(mean)), value, row))
    spread = float((np.bincount(row, (clipped - centre) ** 2) / rows).mean()) ** 0.5
    exponent = min(max(round(log2(spread)), _FINEST), -_FINEST) if spread else _FINEST
    return Supported(low=low, high=high, centre=centre, scale=2.0**exponent)


def _upper_bound(value: Wide, row: NDArray[np.intp], count: int, beyond: int) -> float:
    """Return a coarse value that `beyond` of `count` visitors reach, and that is nobody's own."""
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, row, value)
    reached = float(np.clip(np.partition(highest, count - beyond)[count - beyond], -_FARTHEST, _FARTHEST))
    return _step_aside(float(coarsen(reached)), value, row)


def _step_aside(at: float, value: Wide, row: NDArray[np.intp]) -> float:
    """Return `at`, or the next coarse value below that is not the value of exactly one visitor."""
    while (holders := row[value == at]).size and (holders == holders[0]).all():
        at = float(coarsen(np.nextafter(np.float32(at), np.float32(-np.inf))))
    return at


def supported_codes(values: Floats, visitors: Visitors, count: int, k: int) -> tuple[int, ...]:
    """Return the codes that get a coefficient of their own, rising.

    At least `k` distinct visitors hold each. What is left (unknown, missing and rare codes) has no coefficient, and
    is told apart by that: it too is held by `k` visitors or more, or by nobody; the rarest codes join it until it is.

    Args:
        values: float32 [N], codes 0 to `count` - 1 or NaN for unknown.
        visitors: int64 [N], whose row each is. k: the fewest distinct visitors.
    """
    who, row = np.unique(visitors, return_inverse=True)
    code = np.where(np.isnan(values), count, values).astype(np.int64)
    pairs = np.unique(code * who.size + row)
    held = np.bincount(pairs // who.size, minlength=count + 1)
    kept = [i for i in range(count) if held[i] >= k]
    while kept:
        others = np.unique(row[~np.isin(code, kept)]).size
        if not 0 < others < k:
            break
        kept.remove(min(kept, key=lambda i: (held[i], i)))
    return tuple(kept)
