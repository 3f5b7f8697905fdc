"""Does it hold? Fitted on the earlier part of the orders, the purchases of the later part predicted and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from entrenous.features.lifetime import UNITS, Lifetime, expected_purchases
from entrenous_consent.errors import Malformed
from entrenous_exporters.lifetime.fitting import Fit
from entrenous_exporters.lifetime.models import fit_purchases
from entrenous_exporters.lifetime.orders import Orders

__all__ = ["Band", "Holdout", "check_holdout"]

_BANDS = 8
"""0 to 6 repeat purchases, and 7 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Buyers with equally many repeat purchases in the earlier part.

    Attributes:
        repeats: how many; the last band holds those with more, too. buyers: how many there are.
        predicted, actual: days with a purchase in the later part, a buyer's mean.
    """

    repeats: int
    buyers: int
    predicted: float
    actual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdout:
    """What came of the later part.

    Attributes:
        days: how long it is. buyers: how many had bought before it. bands: by how often, empty ones left out.
        predicted, actual: days with a purchase in it, of all of them together.
    """

    days: int
    buyers: int
    bands: tuple[Band, ...]
    predicted: float
    actual: int


def check_holdout(
    orders: Orders, days: int, unit: str, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> Holdout:
    """Return how the last `days` of the orders compare with what the model of the time before them expects.

    Args:
        days: how many at the end are held out. unit: in which the model counts.
        progress: called with how many histories are done, and of how many.

    Raises:
        Malformed: the days are not within the orders, or those before them are too few to be fitted.
    """
    if not 1 <= days < orders.days:
        raise Malformed("are not within the orders", place="holdout days", remedy="hold out fewer")
    cut = orders.last - days
    buyers = orders.buyers(cut)
    model = _counting(fit_purchases(buyers.histories(unit)), unit)
    again = orders.bought_again(buyers, cut)
    seen = np.stack([buyers.repeats, buyers.recency, buyers.age], axis=1)
    cells, index = np.unique(seen, axis=0, return_inverse=True)
    predicted = np.empty(len(cells))
    length = UNITS[unit]
    for at, (repeats, recency, age) in enumerate(cells.tolist()):
        predicted[at] = expected_purchases(model, float(repeats), recency / length, age / length, days / length)
        progress(at + 1, len(cells))
    expected = predicted[index.reshape(-1)]
    band = np.minimum(buyers.repeats, _BANDS - 1)
    held, hoped, counted = (np.bincount(band, weights, _BANDS) for weights in (None, expected, again))
    return Holdout(
        days=days,
        buyers=len(again),
        bands=tuple(
            Band(
                repeats=at,
                buyers=int(held[at]),
                predicted=float(hoped[at] / held[at]),
                actual=float(counted[at] / held[at]),
            )
            for at in range(_BANDS)
            if held[at]
        ),
        predicted=float(expected.sum()),
        actual=int(again.sum()),
    )


def _counting(fit: Fit, unit: str) -> Lifetime:
    """Return the model of how often; what it says of values is nobody's."""
    often = {name: fit[name] for name in ("r", "alpha", "a", "b")}
    return Lifetime(**often, p=1.0, q=2.0, gamma=1.0, unit=unit)
