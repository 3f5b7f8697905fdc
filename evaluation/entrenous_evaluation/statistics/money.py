"""What an arm brought in that the holdout says would not have come anyway, and whether it was worth its cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from entrenous_evaluation.statistics.estimates import (
    LEAST_BUYERS,
    MOST_NOISE,
    Interval,
    Unknown,
    counted,
    lacking,
    mean,
    moments,
)
from entrenous_evaluation.statistics.quantiles import critical
from entrenous_evaluation.statistics.sums import Sums, number

__all__ = ["Money", "money"]

_LEAST_COST, _MOST_COST, _LEAST_MARGIN = 1e-6, 1e12, 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Over all treated visitors, in minor units.

    Attributes:
        revenue: incremental. cost: of the treatment; negative if the noise in orders is. net: the incremental
            revenue's margin less the cost. roi: net over cost, 1 where twice the cost came back; Unknown where nothing
            was spent or the noise is over `MOST_NOISE` of the cost.
    """

    revenue: Interval
    cost: float
    net: Interval
    roi: Interval | Unknown


def money(
    treated: Sums,
    holdout: Sums,
    *,
    cost_per_visitor: float = 0.0,
    cost_per_order: float = 0.0,
    gross_margin: float = 1.0,
    confidence: float = 0.95,
) -> Money | Unknown:
    """Return what treating the treated visitors brought in, against the holdout's mean scaled to their number.

    With S_T, O_T and n the treated arm's revenue, orders and visitors, m_C the holdout's revenue per visitor, and g the
    gross margin::

        revenue = S_T − n·m_C
        cost    = cost_per_visitor·n + cost_per_order·O_T
        net     = g·revenue − cost
        roi     = g·revenue/cost − 1

    All three are, to first order, L(g, w) = g·(S_T − n·m_C) − w·cost: revenue is L(1, 0), net is L(g, 1), and roi has
    the error of L(g, g·revenue/cost) over cost. With Z = g·revenue − w·cost_per_order·orders of one visitor::

        V(L) = n·s²_Z + g²·vS + (w·cost_per_order)²·vO + (g·m_C + w·cost_per_visitor)²·vn + n²·g²·V_C

    The orders and revenue that these visitors would have made anyway are in both arms, so they drop out of revenue; a
    discount is paid on them all the same, so they stay in the cost.

    Args:
        cost_per_visitor: of each exposed visitor. cost_per_order: of each order of the treated arm. Both in minor
            units: 0, or from a millionth to 1e12. gross_margin: what is left of revenue before this cost, from .001
            to 1. It is 1 by default, which counts revenue as if the goods were free.

    Returns:
        Unknown where either arm's mean revenue is, or where orders have a cost and are not counted.

    Raises:
        Malformed: a cost, a margin or a confidence out of its bounds.
    """
    per_visitor, per_order = _cost(cost_per_visitor, "cost_per_visitor"), _cost(cost_per_order, "cost_per_order")
    g = number(gross_margin, "gross_margin", least=_LEAST_MARGIN, most=1)
    z = critical(confidence)
    control = mean(holdout, "revenue")
    if isinstance(control, Unknown):
        return Unknown(control.cause, f"holdout: {control.message}")
    short = lacking(treated, ("orders", "revenue") if per_order else ("revenue",), LEAST_BUYERS)
    if short:
        return Unknown(short.cause, f"treated: {short.message}")
    n, noise = treated.visitors, treated.noise
    cost = per_visitor * n + (per_order * counted(treated, "orders") if per_order else 0.0)
    revenue = counted(treated, "revenue") - n * control.value

    def error(g: float, w: float) -> float:
        weights = {"revenue": g, "orders": -w * per_order} if per_order else {"revenue": g}
        _, sampling, noised = moments(treated, weights)
        visitor = g * control.value + w * per_visitor
        return sqrt(n**2 * (sampling + noised + g**2 * control.variance) + visitor**2 * noise.visitors)

    def around(value: float, half: float) -> Interval:
        return Interval(value, value - half, value + half)

    roi: Interval | Unknown
    if not per_visitor and not per_order:
        roi = Unknown("no_cost", "nothing was spent, so there is no return on it")
    elif cost <= 0 or sqrt(per_visitor**2 * noise.visitors + per_order**2 * noise.orders) > MOST_NOISE * cost:
        roi = Unknown("lost_in_noise", f"the noise in the cost is over {MOST_NOISE:.0%} of it")
    else:
        times = g * revenue / cost
        roi = around(times - 1, z * error(g, times) / cost)
    return Money(
        revenue=around(revenue, z * error(1.0, 0.0)),
        cost=cost,
        net=around(g * revenue - cost, z * error(g, 1.0)),
        roi=roi,
    )


def _cost(value: float, place: str) -> float:
    return number(value, place, least=_LEAST_COST if value else 0, most=_MOST_COST)
