"""The two likelihoods, and what is asked of the data before they are fitted.

BG/NBD after Fader, Hardie and Lee (2005), section 4; Gamma-Gamma after Fader and Hardie (2013). Gamma functions of r, a
and b only ever appear as ratios over whole numbers of purchases: they are summed as logarithms, which stays exact
where parameters run off to thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from entrenous.features.lifetime import SCALES, SHAPES, UNITS, Lifetime
from entrenous_consent.errors import Malformed
from entrenous_exporters.lifetime.fitting import Fit, maximise
from entrenous_exporters.lifetime.histories import Histories, Spending

__all__ = ["LEAST_BUYERS", "LEAST_REPEATING", "as_lifetime", "fit_purchases", "fit_values"]

Floats = NDArray[np.float64]

LEAST_BUYERS = 100
"""Fewer histories are not fitted."""
LEAST_REPEATING = 30
"""Nor are fewer buyers who came back: only they say how buyers leave, and how much values vary within one."""
_LEAST_Q = 1.001


def fit_purchases(histories: Histories) -> Fit:
    """Return BG/NBD's r, alpha, a and b.

    Raises:
        Malformed: fewer than `LEAST_BUYERS` buyers, nobody or fewer than `LEAST_REPEATING` who bought again, or no
            maximum.
    """
    _enough(histories.buyers, histories.repeating, "histories")
    rate = float(histories.counts @ histories.repeats / (histories.counts @ histories.age))
    bounds = {"r": SHAPES, "alpha": SCALES, "a": SHAPES, "b": SHAPES}
    starts = [(r, r / rate, a, b) for r, a, b in ((0.3, 0.5, 2.0), (1.0, 1.0, 1.0), (1.0, 0.2, 5.0), (3.0, 2.0, 2.0))]
    return maximise(_purchases(histories), bounds, starts, histories.buyers, place="BG/NBD")


def fit_values(spending: Spending) -> Fit:
    """Return Gamma-Gamma's p, q and gamma.

    Raises:
        Malformed: fewer than `LEAST_BUYERS` buyers or `LEAST_REPEATING` with more than one purchase, all spend the
            same, values spread so widely that they have no mean, or no maximum.
    """
    again = int(spending.counts[spending.purchases > 1].sum())
    _enough(spending.buyers, again, "values")
    if spending.mean.min() == spending.mean.max():
        raise Malformed("are all the same", place="values", remedy="no model is needed: multiply by that value")
    mean = float(np.average(spending.mean, weights=spending.counts))
    bounds = {"p": SHAPES, "q": (_LEAST_Q, SHAPES[1]), "gamma": SCALES}
    starts = [(p, q, mean * (q - 1) / p) for p, q in ((1.0, 2.0), (5.0, 4.0), (2.0, 20.0))]
    fit = maximise(_values(spending), bounds, starts, spending.buyers, place="Gamma-Gamma")
    if "q" in fit.at_bound and fit["q"] < 2:
        remedy = "look for purchases of another kind (wholesale, errors), and leave them out"
        raise Malformed("spread so widely that they have no mean", place="values", remedy=remedy)
    return fit


def as_lifetime(purchases: Fit, values: Fit, unit: str) -> Lifetime:
    """Return both models as a device holds them.

    Args:
        unit: in which the histories were counted, one of `UNITS`.
    """
    if unit not in UNITS:
        raise Malformed("is not a known unit", place="unit", remedy="use one of: " + ", ".join(UNITS))
    return Lifetime(
        **{name: purchases[name] for name in ("r", "alpha", "a", "b")},
        **{name: values[name] for name in ("p", "q", "gamma")},
        unit=unit,
    )


def _enough(buyers: int, repeating: int, place: str) -> None:
    if buyers < LEAST_BUYERS:
        remedy = f"{LEAST_BUYERS} are the least: take a longer time"
        raise Malformed(f"hold {buyers} buyers, too few", place=place, remedy=remedy)
    if not repeating:
        raise Malformed("hold nobody who bought again", place=place, remedy="take a longer time")
    if repeating < LEAST_REPEATING:
        remedy = f"{LEAST_REPEATING} are the least: take a longer time"
        raise Malformed(f"hold {repeating} buyers who bought again, too few", place=place, remedy=remedy)


def _purchases(histories: Histories) -> Callable[[Floats], tuple[float, Floats]]:
    """Return BG/NBD's mean log-likelihood and its gradient."""
    x, last, age, counts = histories.repeats, histories.recency, histories.age, histories.counts
    total, again = counts.sum(), x > 0
    at = x.astype(np.int64)
    steps = np.arange(at.max(), dtype=np.float64)
    # How many buyers passed each number of repeats: a sum over buyers of sums over their purchases is one over these.
    passed = total - np.cumsum(np.bincount(at, weights=counts))[:-1]

    def likelihood(parameters: Floats) -> tuple[float, Floats]:
        r, alpha, a, b = parameters
        stayed = -(r + x) * np.log(alpha + age)
        left = np.full_like(stayed, -np.inf)
        odds = b + x[again] - 1.0
        left[again] = np.log(a / odds) - (r + x[again]) * np.log(alpha + last[again])
        either = np.logaddexp(stayed, left)
        gone = np.exp(left - either)
        height = counts @ (either + r * np.log(alpha)) + passed @ (
            np.log(r + steps) + np.log((b + steps) / (a + b + steps))
        )
        one, other = counts * (1.0 - gone), counts * gone
        whole = passed @ (1.0 / (a + b + steps))
        slope = np.array(
            [
                total * np.log(alpha)
                - one @ np.log(alpha + age)
                - other @ np.log(alpha + last)
                + passed @ (1.0 / (r + steps)),
                total * r / alpha - one @ ((r + x) / (alpha + age)) - other @ ((r + x) / (alpha + last)),
                other.sum() / a - whole,
                passed @ (1.0 / (b + steps)) - whole - other[again] @ (1.0 / odds),
            ]
        )
        return float(height / total), slope / total

    return likelihood


def _values(spending: Spending) -> Callable[[Floats], tuple[float, Floats]]:
    """Return Gamma-Gamma's mean log-likelihood and its gradient."""
    n, mean, counts = spending.purchases, spending.mean, spending.counts
    total = counts.sum()
    levels, index = np.unique(n, return_inverse=True)
    held = np.bincount(index, weights=counts)
    spent, log_mean, log_spent = n * mean, np.log(mean), np.log(n * mean)
    fixed = float(counts @ log_mean)

    def likelihood(parameters: Floats) -> tuple[float, Floats]:
        p, q, gamma = parameters
        base = np.log(gamma + spent)
        often = p * levels
        height = (
            held @ (gammaln(often + q) - gammaln(often))
            + total * (q * np.log(gamma) - gammaln(q))
            + counts @ (p * n * log_spent - (p * n + q) * base)
            - fixed
        )
        both, over = digamma(often + q), counts / (gamma + spent)
        slope = np.array(
            [
                held @ (levels * (both - digamma(often))) + counts @ (n * (log_spent - base)),
                held @ both + total * (np.log(gamma) - digamma(q)) - counts @ base,
                total * q / gamma - over @ (p * n + q),
            ]
        )
        return float(height / total), slope / total

    return likelihood
