"""Did the arms get the visitors they should have? If not, something other than chance chose, and no figure holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from entrenous_consent.errors import Malformed
from entrenous_evaluation.statistics.estimates import MOST_NOISE, Unknown
from entrenous_evaluation.statistics.quantiles import chi2_tail
from entrenous_evaluation.statistics.sums import Sums, number

__all__ = ["LEAST_EXPECTED", "SampleRatio", "sample_ratio"]

LEAST_EXPECTED = 50
"""Visitors that each arm should have, for the normal approximation of their number."""

_SUM = 1e-9


_MOST_CONDITION = 1e12
"""Of the covariance: beyond it, fewer than four digits of a float64 would be left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """A test of the arms' shares.

    Attributes:
        statistic: chi-square of `degrees` degrees where the shares are as expected. p_value: its upper tail.
        shares: observed, in the order of the arms.
    """

    statistic: float
    degrees: int
    p_value: float
    shares: tuple[float, ...]


def sample_ratio(arms: Sequence[Sums], shares: Sequence[float]) -> SampleRatio | Unknown:
    """Return the test of sample-ratio mismatch under noise.

    With c the noisy visitors of k arms, N their sum, p the expected shares and A = I − p1'::

        d = c − N·p,   Σ = N·(diag p − pp') + A·diag(σ²)·A',   statistic = d'Σ⁻¹d, one arm left out

    Pearson's test with the noise of the counts, σ², added to their multinomial covariance; d and the rows of Σ add up
    to 0, so that it does not matter which arm is left out. What usually causes a mismatch:
    Fabijan et al., "Diagnosing Sample Ratio Mismatch" (KDD 2019). Where the noise outweighs the sampling, its tails
    are longer than the normal's: an alarm set to 1 in 1,000 rang 2 to 5 times in 1,000.

    Args:
        arms: at least two, of which only visitors and their noise are read. shares: p, above 0, adding up to 1.

    Returns:
        Unknown where an arm should have fewer than `LEAST_EXPECTED` visitors, has more noise than `MOST_NOISE` of what
        it should have, or so much beside the others that float64 does not hold both.

    Raises:
        Malformed: shares that are none, or not one for each arm.
    """
    p = np.array([number(share, f"shares[{i}]", least=0, most=1) for i, share in enumerate(shares)])
    if len(p) < 2 or len(p) != len(arms) or not p.all() or abs(p.sum() - 1) > _SUM:
        raise Malformed(
            "are not a share above 0 for each arm", place="shares", remedy="give one for each, adding up to 1"
        )
    count, noise = np.array([arm.visitors for arm in arms]), np.array([arm.noise.visitors for arm in arms])
    total = float(count.sum())
    for i, (share, variance) in enumerate(zip(p, noise, strict=True)):
        if share * total < LEAST_EXPECTED:
            return Unknown("too_few", f"arms[{i}] should have about {share * total:.0f}, {LEAST_EXPECTED} are needed")
        if sqrt(variance) > MOST_NOISE * share * total:
            return Unknown("lost_in_noise", f"arms[{i}] has noise over {MOST_NOISE:.0%} of the visitors it should have")
    apart = np.eye(len(p)) - p[:, None]
    sigma = total * (np.diag(p) - np.outer(p, p)) + apart @ np.diag(noise) @ apart.T
    kept = np.arange(len(p)) != p.argmax()  # the others stay well apart from singular, however small their shares
    d = (count - total * p)[kept]
    sigma = sigma[np.ix_(kept, kept)]
    if np.linalg.cond(sigma) > _MOST_CONDITION:
        return Unknown("lost_in_noise", "the noise of one arm hides, to the last bit, what the draw of the others says")
    statistic, degrees = float(d @ np.linalg.solve(sigma, d)), len(p) - 1
    return SampleRatio(
        statistic=statistic,
        degrees=degrees,
        p_value=chi2_tail(statistic, degrees),
        shares=tuple(float(share) for share in count / total),
    )
