"""The primary metric of each cell: its mean per visitor, with a variance that includes the noise.

The spread between visitors is taken from all arms of a tranche together, over all rounds; where a tranche has too few
who ordered, it is at least everyone's. An arm's own spread would follow its own luck: of one that happened to sell
little it would say that it is known well to sell little, and it would not be tried again. So are cells judged by their
visitors alone: one that was left out for having sold too little would show whenever it happened to sell much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import METRICS as SUMS
from entrenous_evaluation.answer import Costs
from entrenous_evaluation.statistics import Estimate, Noise, Sums, Unknown
from entrenous_evaluation.statistics.estimates import (
    LEAST_BUYERS,
    LEAST_CONVERTERS,
    MOST_NOISE,
    counted,
    lacking,
    moments,
)

__all__ = ["FINEST", "LEAST", "METRICS", "Cells", "Measured", "Metric", "measure", "merged"]

METRICS = ("conversion", "revenue_per_visitor", "margin")
"""What an arm may be judged by: who orders, minor units a visitor, or these at the gross margin and less the cost."""

FINEST = 1e-5
"""Of what a visitor brings on average: no mean is taken to be known better."""

Cells = Mapping[tuple[str, str], Sums]
"""By tranche and arm, the sums of one round. A cell that the threshold hid is left out."""

LEAST = 30
"""Visitors in a cell. It needs no more: cells add up over rounds before anything is said of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What arms are judged by.

    Attributes:
        name: one of `METRICS`. costs: of arms; only `margin` reads them.

    Raises:
        Malformed: another name.
    """

    name: str
    costs: Costs

    def __post_init__(self) -> None:
        if self.name not in METRICS:
            raise Malformed("is not a metric", place="metric", remedy="use one of: " + ", ".join(METRICS))

    def weights(self, arm: str) -> dict[str, float]:
        """Return how much each of a report's sums adds to it."""
        if self.name == "conversion":
            return {"converters": 1.0}
        if self.name == "revenue_per_visitor":
            return {"revenue": 1.0}
        return {"revenue": self.costs.gross_margin} | ({"orders": -self.per_order(arm)} if self.per_order(arm) else {})

    def per_order(self, arm: str) -> float:
        """Return what each order of an arm costs, in minor units."""
        cost = self.costs.arms.get(arm)
        return cost.per_order if cost else 0.0

    def per_visitor(self, arm: str) -> float:
        """Return what each visitor of an arm costs, in minor units."""
        cost = self.costs.arms.get(arm)
        return cost.per_visitor if cost else 0.0

    @property
    def least(self) -> int:
        """How many who ordered a spread needs."""
        return LEAST_CONVERTERS if self.name == "conversion" else LEAST_BUYERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the cells say.

    Attributes:
        unit: what a visitor brings on average before costs; above 0. rounds: by tranche and arm, the mean of each cell.
    """

    unit: float
    rounds: tuple[Mapping[tuple[str, str], Estimate], ...]


def measure(rounds: Sequence[Cells], metric: Metric) -> Measured | Unknown:
    """Return each cell's mean; a cell with too few visitors, or too much noise in their number, is left out.

    Returns:
        Unknown where all cells together are too thin, or a report does not count what the metric needs.
    """
    everyone = merged(sums for cells in rounds for sums in cells.values())
    if everyone is None:
        return Unknown("too_few", "no cell shows")
    arms = {arm for cells in rounds for _, arm in cells}
    short = next(
        filter(None, (lacking(everyone, tuple(metric.weights(arm)), metric.least) for arm in sorted(arms))), None
    )
    if short:
        return short
    gross = "converters" if metric.name == "conversion" else "revenue"
    unit = counted(everyone, gross) / everyone.visitors
    if metric.name == "margin":
        unit *= metric.costs.gross_margin
    if unit <= 0:
        return Unknown("not_positive", "nobody brought anything that the noise leaves to be seen")
    tranches = {tranche for cells in rounds for tranche, _ in cells}
    pooled = {
        tranche: merged(sums for cells in rounds for (where, _), sums in cells.items() if where == tranche)
        for tranche in tranches
    }
    spreads = {
        (tranche, arm): _spread(pooled[tranche], everyone, metric, arm)
        for tranche, arm in {key: None for cells in rounds for key in cells}
    }
    return Measured(
        unit=unit,
        rounds=tuple(
            {
                (tranche, arm): _mean(sums, metric, arm, spreads[tranche, arm], FINEST * unit)
                for (tranche, arm), sums in cells.items()
                if not _thin(sums)
            }
            for cells in rounds
        ),
    )


def _thin(sums: Sums) -> bool:
    """Say whether there are too few visitors, or too much noise in their number, to divide by it."""
    return sums.visitors < LEAST or sqrt(sums.noise.visitors) > MOST_NOISE * sums.visitors


def merged(cells: Iterable[Sums]) -> Sums | None:
    """Return what `+` gives, over many cells at once."""
    found = list(cells)
    if not found:
        return None
    sums: dict[str, Any] = {}
    noise = {}
    for metric in SUMS:
        values = [getattr(one, metric) for one in found]
        sums[metric] = None if None in values else sum(values)
        noise[metric] = sum(getattr(one.noise, metric) for one in found)
    return Sums(**sums, noise=Noise(**noise))


def _spread(tranche: Sums | None, everyone: Sums, metric: Metric, arm: str) -> float:
    """Return the variance between visitors of what an arm brings."""
    weights = metric.weights(arm)
    wide = moments(everyone, weights).sampling * everyone.visitors
    if tranche is None or _thin(tranche):
        return wide
    own = moments(tranche, weights).sampling * tranche.visitors
    return max(own, wide) if lacking(tranche, tuple(weights), metric.least) else own


def _mean(sums: Sums, metric: Metric, arm: str, spread: float, finest: float) -> Estimate:
    weights, n = metric.weights(arm), sums.visitors
    mean = sum(weight * counted(sums, one) for one, weight in weights.items()) / n
    noise = sum(weight**2 * float(getattr(sums.noise, one)) for one, weight in weights.items())
    variance = spread / n + (noise + mean**2 * sums.noise.visitors) / n**2
    return Estimate(mean - metric.per_visitor(arm), max(variance, finest**2))
