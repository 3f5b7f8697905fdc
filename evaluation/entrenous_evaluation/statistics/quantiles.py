"""Quantiles and tails, typed: the one place that knows scipy.

From `scipy.special`, which is what `scipy.stats` calls: a third of the import, and 0.5 µs a call instead of 140.
"""

from __future__ import annotations

from scipy.special import chdtrc, ndtr, ndtri

from entrenous_consent.errors import Malformed
from entrenous_evaluation.statistics.sums import number

__all__ = ["chi2_tail", "critical", "two_sided"]


def critical(confidence: float) -> float:
    """Return z: a standard normal lies in [-z, z] with probability `confidence`.

    Raises:
        Malformed: a confidence that is not between 0 and 1, or is so near 1 that it is 1.
    """
    if number(confidence, "confidence", least=0, most=1) in (0, 1):
        raise Malformed("is not between 0 and 1", place="confidence", remedy="0.95 is usual")
    return float(-ndtri((1 - confidence) / 2))


def two_sided(z: float) -> float:
    """Return the probability that a standard normal lies at least as far from 0 as `z`."""
    return float(2 * ndtr(-abs(z)))


def chi2_tail(statistic: float, degrees: int) -> float:
    """Return the probability of a chi-square of at least `statistic`."""
    return float(chdtrc(degrees, statistic))
