"""From posteriors to shares: how likely each arm is the best, a floor for each, and whole numbers that add up.

While posteriors stand, Thompson sampling (Thompson 1933; Russo et al. 2018, "A Tutorial on Thompson Sampling") draws
each arm with the probability that it is the best. That probability is computed here, once, without any sampling, and
ships: so draws replay, and the propensity of every arm that was shown is known exactly.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import ndtr

from entrenous_consent.errors import Malformed
from entrenous_consent.pseudonyms import BUCKETS

__all__ = ["Posterior", "best_probabilities", "shares_of"]

_REACH, _STEPS = 6.5, 288

Posterior = tuple[float, float]
"""Mean and standard deviation of what an arm brings a visitor."""


def best_probabilities(posteriors: Mapping[str, Posterior]) -> dict[str, float]:
    """Return the probability that each arm is the best, for independent normal posteriors; they add up to 1.

    ::

        P(arm) = ∫ Π Φ((x − m_other)/s_other) dΦ((x − m_arm)/s_arm)

    By the trapezoid rule on the points of all arms together, so that a narrow posterior beside a wide one is resolved:
    within 1e-4 of the truth.

    Args:
        posteriors: by arm; deviations above 0.
    """
    arms = list(posteriors)
    mean = np.array([posteriors[arm][0] for arm in arms])
    deviation = np.array([posteriors[arm][1] for arm in arms])
    points = np.sort((mean[:, None] + deviation[:, None] * np.linspace(-_REACH, _REACH, _STEPS + 1)).ravel())
    below = ndtr((points - mean[:, None]) / deviation[:, None])
    found = []
    for i in range(len(arms)):
        others = np.prod(np.delete(below, i, axis=0), axis=0)
        found.append(float(np.sum((others[1:] + others[:-1]) / 2 * np.diff(below[i]))))
    total = sum(found)
    return {arm: one / total for arm, one in zip(arms, found, strict=True)}


def shares_of(probabilities: Mapping[str, float], floor: int) -> dict[str, int]:
    """Return shares of `BUCKETS`: at least `floor` for each arm, the rest by probability, rounded by largest remainder.

    Args:
        probabilities: by arm, adding up to 1. floor: of each arm, in buckets.

    Raises:
        Malformed: the floors alone are more than there is.
    """
    if floor < 0 or floor * len(probabilities) > BUCKETS:
        raise Malformed(
            f"is not from 0 to {BUCKETS} over the number of arms", place="floor", remedy="lower it, or drop arms"
        )
    wanted = _lifted(probabilities, floor / BUCKETS)
    spare = {arm: max(share * BUCKETS - floor, 0.0) for arm, share in wanted.items()}
    shares = {arm: floor + int(one) for arm, one in spare.items()}
    remainders = sorted(spare, key=lambda arm: int(spare[arm]) - spare[arm])
    left = BUCKETS - sum(shares.values())
    for i in range(left):
        shares[remainders[i % len(remainders)]] += 1
    return shares


def _lifted(probabilities: Mapping[str, float], floor: float) -> dict[str, float]:
    """Return probabilities with those under the floor raised to it, at the cost of the others in proportion."""
    low: set[str] = set()
    while True:
        rest = sum(probability for arm, probability in probabilities.items() if arm not in low)
        room = 1 - floor * len(low)
        found = {
            arm: floor if arm in low else probability * room / rest if rest > 0 else room / (len(probabilities))
            for arm, probability in probabilities.items()
        }
        short = {arm for arm, share in found.items() if arm not in low and share < floor}
        if not short:
            return found
        low |= short
