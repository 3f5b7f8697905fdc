"""The sums of a report's cells, in minor units, with the variance of the noise in each."""

from __future__ import annotations

from collections.abc import Sequence

from entrenous.loop.noise import variance
from entrenous.loop.reports import Mechanism
from entrenous_evaluation.statistics import Noise, Sums

__all__ = ["sums_of"]

_POWERS = {"revenue": 1, "revenue2": 2, "revenue_orders": 1}
"""How often the step that revenue is counted in is in each sum; in the others it is not."""


def sums_of(metrics: Sequence[str], mechanism: Mechanism, values: Sequence[int]) -> Sums:
    """Return the sums of one cell that shows, in the order of a report's metrics."""
    sums, noise = {}, {}
    for metric, value, scale in zip(metrics, values, mechanism.scales, strict=True):
        unit = float(mechanism.quantum ** _POWERS.get(metric, 0))
        sums[metric], noise[metric] = value * unit, variance(float(scale)) * unit**2
    return Sums(**sums, noise=Noise(**noise))
