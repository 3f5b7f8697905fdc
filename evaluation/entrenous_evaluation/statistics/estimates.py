"""Means per visitor and the order value, from noised sums; the variance of each includes the noise.

One formula serves all, for a linear combination Z of metrics. S is its sum over n visitors, Q the sum of Z², m = S/n,
and vS, vn are the variances of the noise in S and n, drawn independently::

    s²   = max((Q/n − (S² − vS)/n²) · n/(n − 1), floor)      spread between visitors, the noise taken out of S²
    V(m) = s²/n + (vS + m²·vn)/n²                            sampling, then noise (delta method)

The floor is m²·(1/p − 1), p the share of visitors who ordered, kept within [1/n, 1 − 1/n]. Z is 0 for everyone else, so
no true spread lies below it (Jensen), and for a conversion it is p·(1 − p). It matters because Q is noisy too: noise of
Q alone could make s² negative. Where converters are not counted, orders stand for them, which only lowers it.

What is too thin to answer is decided on the least noisy counts at hand: letting a figure's own noise decide whether it
shows would show it when the noise happens to be large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from entrenous_consent.errors import Malformed
from entrenous_evaluation.statistics.quantiles import critical
from entrenous_evaluation.statistics.sums import Sums

__all__ = [
    "CAUSES",
    "LEAST_BUYERS",
    "LEAST_CONVERTERS",
    "LEAST_VISITORS",
    "MOST_NOISE",
    "Estimate",
    "Interval",
    "Moments",
    "Unknown",
    "counted",
    "lacking",
    "mean",
    "moments",
    "order_value",
]

CAUSES = ("not_counted", "too_few", "not_positive", "lost_in_noise", "no_spread", "no_cost")
"""Why there is no number: the report lacks a sum; counts are under a minimum; a mean of which a lift was asked is not
clearly above 0; the standard error or the noise is too large a part; nothing varies; nothing was spent."""

LEAST_VISITORS = 100
"""In an arm, for any figure."""

LEAST_CONVERTERS = 30
"""In an arm, for a mean of converters or orders: with so few, 95 % intervals covered 94 to 96 %."""

LEAST_BUYERS = 200
"""Converters in an arm, for anything in money: with log-normal orders of σ = 1.1, hardly clipped, 95 % intervals of the
order value covered 89 % with 50 of them, 92 % with 100, and 94 % from 170 on."""

MOST_NOISE = 0.2
"""What the noise's standard deviation may be of a count that something is divided by: beyond it, the bias of a ratio
(the square of this) is no longer small beside its standard error."""

_ROUNDING = 1e-14
_SECOND = {
    ("converters", "converters"): "converters",
    ("orders", "orders"): "orders2",
    ("orders", "revenue"): "revenue_orders",
    ("revenue", "revenue"): "revenue2",
}
_LEAST = {"converters": LEAST_CONVERTERS, "orders": LEAST_CONVERTERS, "revenue": LEAST_BUYERS}


@dataclass(frozen=True, slots=True)
class Unknown:
    """The answer where the sums can't carry one.

    Attributes:
        cause: one of `CAUSES`. message: what is short, and by how much.
    """

    cause: str
    message: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between the ends of its confidence interval, all in the value's own unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the variance of its error, sampling and noise together, in the square of its unit."""

    value: float
    variance: float

    @property
    def certain(self) -> bool:
        """Nothing varied but by rounding: a relative error under one in ten million."""
        return self.variance <= _ROUNDING * self.value**2

    def interval(self, confidence: float = 0.95) -> Interval | Unknown:
        """Return value ± z·√variance.

        Raises:
            Malformed: a confidence that is not between 0 and 1.
        """
        half = critical(confidence) * sqrt(self.variance)
        if self.certain:
            return Unknown("no_spread", "every visitor or order is the same: there is nothing to infer from")
        return Interval(self.value, self.value - half, self.value + half)


class Moments(NamedTuple):
    """Of a linear combination of metrics, per visitor, in its unit or the unit's square.

    Attributes:
        mean: m. sampling: s²/n. noise: vS/n², the noise in the sum without that in the number of visitors.
    """

    mean: float
    sampling: float
    noise: float


def mean(sums: Sums, metric: str) -> Estimate | Unknown:
    """Return the mean of a metric per visitor: of `converters` it is the conversion, a share.

    Args:
        metric: `converters`, `orders` or `revenue` (minor units). The latter two also need their squares.

    Returns:
        Unknown under `LEAST_VISITORS` or under `LEAST_CONVERTERS` (`LEAST_BUYERS` for revenue). Noise may make a mean
        negative; it is left so, since cutting it at 0 would bias what is added up later.

    Raises:
        Malformed: another metric.
    """
    if metric not in _LEAST:
        raise Malformed("has no mean of its own", place="metric", remedy="use one of: " + ", ".join(_LEAST))
    short = lacking(sums, (metric,), _LEAST[metric])
    if short:
        return short
    m, sampling, noise = moments(sums, {metric: 1.0})
    return Estimate(m, sampling + noise + m**2 * sums.noise.visitors / sums.visitors**2)


def order_value(sums: Sums) -> Estimate | Unknown:
    """Return revenue per order, in minor units: a ratio R of two sums over visitors, by the delta method.

    With A revenue, B orders and b = B/n, the spread is that of A − R·B::

        V(R) = max(s_AA − 2R·s_AB + R²·s_BB, 0)/(n·b²) + (vA + R²·vB)/(n·b)²

    Deng, Knoblich, Lu, "Applying the Delta Method in Metric Analytics" (KDD 2018); the noise of n cancels.
    Its floor is 0, the spread where all orders have one price.

    Returns:
        Unknown under `LEAST_VISITORS` or `LEAST_BUYERS`, or where the noise in orders is over `MOST_NOISE` of who
        ordered (converters where they are counted, which have far less noise) or left under half an order for each.
    """
    short = lacking(sums, ("revenue", "orders"), LEAST_BUYERS)
    if short:
        return short
    orders, revenue = counted(sums, "orders"), counted(sums, "revenue")
    if orders < _ordered(sums) / 2 or sqrt(sums.noise.orders) > MOST_NOISE * _ordered(sums):
        return Unknown("lost_in_noise", f"the noise in orders is over {MOST_NOISE:.0%} of who ordered: merge less")
    ratio, b = revenue / orders, orders / sums.visitors
    _, sampling, noise = moments(sums, {"revenue": 1.0, "orders": -ratio})
    return Estimate(ratio, (sampling + noise) / b**2)


def lacking(sums: Sums, metrics: tuple[str, ...], least: int) -> Unknown | None:
    """Return why these metrics have no moments, None where they have.

    Args:
        metrics: those combined; their squares and products are needed as well. least: of who ordered.
    """
    needed = {*metrics, *(_SECOND[pair] for pair in _pairs(metrics))}
    absent = sorted(metric for metric in needed if getattr(sums, metric) is None)
    if sums.converters is None and sums.orders is None:
        absent.append("converters")
    if absent:
        return Unknown("not_counted", f"the report does not count {', '.join(absent)}: the policy declares its metrics")
    if sums.visitors < LEAST_VISITORS:
        return Unknown("too_few", f"about {sums.visitors:.0f} visitors, and {LEAST_VISITORS} are needed")
    if sqrt(sums.noise.visitors) > MOST_NOISE * sums.visitors:
        return Unknown("lost_in_noise", f"the noise in visitors is over {MOST_NOISE:.0%} of their number")
    if _ordered(sums) < least:
        return Unknown("too_few", f"about {_ordered(sums):.0f} visitors ordered, and {least} are needed")
    return None


def moments(sums: Sums, weights: Mapping[str, float]) -> Moments:
    """Return the moments of Σ weight·metric, as the module's text derives them; `lacking` has found nothing short."""
    n = sums.visitors
    total = sum(weight * counted(sums, metric) for metric, weight in weights.items())
    noise = sum(weight**2 * getattr(sums.noise, metric) for metric, weight in weights.items())
    square = sum(
        weights[a] * weights[b] * (1 if a == b else 2) * counted(sums, _SECOND[a, b]) for a, b in _pairs(tuple(weights))
    )
    share = min(max(_ordered(sums) / n, 1 / n), 1 - 1 / n)
    m = total / n
    spread = max((square / n - (total**2 - noise) / n**2) * n / (n - 1), m**2 * (1 / share - 1))
    return Moments(m, spread / n, noise / n**2)


def _pairs(metrics: tuple[str, ...]) -> list[tuple[str, str]]:
    names = sorted(metrics)
    return [(a, b) for i, a in enumerate(names) for b in names[i:]]


def counted(sums: Sums, metric: str) -> float:
    """Return a sum that `lacking` has found to be there."""
    value: float = getattr(sums, metric)
    return value


def _ordered(sums: Sums) -> float:
    return counted(sums, "orders" if sums.converters is None else "converters")
