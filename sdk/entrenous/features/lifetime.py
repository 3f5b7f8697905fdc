"""What a buyer is still worth, in closed form: BG/NBD for how often they buy, Gamma-Gamma for how much.

The two models are fitted centrally, on the shop's own orders (`entrenous lifetime fit`). A device holds their seven
numbers and three of its visitor's: `x` repeat purchases, the last of them at `t_x` after the first purchase, and the
age `T` since that first purchase. Everything here is scalar and reads no clock, so that both engines call the same
lines.

BG/NBD (Fader, Hardie and Lee 2005, "Counting Your Customers the Easy Way", Marketing Science 24(2)): while active, a
buyer buys at a Poisson rate drawn from Gamma(r, alpha); after each repeat purchase they leave with a probability drawn
from Beta(a, b). Gamma-Gamma (Fader and Hardie 2013, "The Gamma-Gamma Model of Monetary Value"): what one purchase is
worth varies around the buyer's own mean, whatever their rate.

The paper writes the expected number of purchases with Gauss's 2F1:

    (a+b+x-1) / (a-1) · (1 - (1-z)^(r+x) · 2F1(r+x, b+x; a+b+x-1; z)),   z = t / (alpha+T+t)

It is 0/0 at a = 1, cancels near it and for short horizons, and overflows for many purchases. Its expansion in powers
of the probability to stay has none of this: Σ NB(k) · (1 + s₁ + … + s₁…s₍ₖ₋₁₎), over the number k of purchases that a
buyer who can't leave would make (negative binomial, r+x and z), each step staying with s₍ᵢ₎ = (b+x+i-1) / (a+b+x+i-1).
Every term is positive. Where it would take more than some 512 terms, the same expectation is integrated over the
probability to leave, by the trapezoidal rule on its log odds, which converges geometrically there. Neither takes more
than 2,048 steps; both are exact to 1e-12.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, inf, isnan, log, log1p, nan, sqrt
from typing import Any

from entrenous_consent.parsing import Table

__all__ = [
    "UNITS",
    "Lifetime",
    "alive",
    "churn",
    "expected_purchases",
    "expected_value",
    "lifetime_value",
    "parse_lifetime",
]

UNITS = {"day": 1, "week": 7}
"""The units of time that a model may be fitted in, with their days."""
SHAPES = (1e-6, 1e6)
"""The bounds of r, a, b, p and q; q is above 1 besides."""
SCALES = (1e-6, 1e12)
"""The bounds of alpha and gamma."""

_MOST = 1e12
_MONTH_DAYS = 365.25 / 12
_MONTHS = 1_200
_STEPS = 512
"""The longest series: longer ones are integrated."""
_NODES = 1_024
"""The most nodes on either side of the integral's middle."""
_STEP = 0.2
_BELOW = 1e-17
"""Below this share, what is left out can't be seen in a float."""
_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """Both fitted models.

    Attributes:
        r, alpha: of the rates, Gamma(r, alpha); alpha in `unit`.
        a, b: of the probability to leave after a repeat purchase, Beta(a, b).
        p, q, gamma: of the values; gamma in minor units of money. q > 1: the mean exists.
        unit: `day` or `week`, in which `t_x`, `T` and horizons are handed over.
    """

    r: float
    alpha: float
    a: float
    b: float
    p: float
    q: float
    gamma: float
    unit: str

    def as_table(self) -> dict[str, Any]:
        """Return the models as plain values: what a declaration holds and `parse_lifetime` reads."""
        return {name: getattr(self, name) for name in self.__slots__}


def parse_lifetime(table: Table) -> Lifetime:
    """Return the models that a table declares, all of it.

    Raises:
        Malformed: a number is missing, not finite, not positive or beyond `SHAPES` or `SCALES`; q is not above 1; the
            unit is none of `UNITS`; or there is another key.
    """
    lifetime = Lifetime(
        r=_shape(table, "r"),
        alpha=_scale(table, "alpha"),
        a=_shape(table, "a"),
        b=_shape(table, "b"),
        p=_shape(table, "p"),
        q=_shape(table, "q"),
        gamma=_scale(table, "gamma"),
        unit=table.choice("unit", UNITS),
    )
    table.close()
    if lifetime.q <= 1:
        raise table.refuse("q", "is not above 1: values would have no mean", "fit again: `entrenous lifetime fit`")
    return lifetime


def _shape(table: Table, key: str) -> float:
    return table.number(key, least=SHAPES[0], most=SHAPES[1])


def _scale(table: Table, key: str) -> float:
    return table.number(key, least=SCALES[0], most=SCALES[1])


def alive(model: Lifetime, x: float, t_x: float, T: float) -> float:
    """Return the probability that a buyer is still active.

    It is 1 where `x` is 0: in this model nobody leaves before a repeat purchase.

    Args:
        x: repeat purchases. t_x: when the last was, since the first purchase. T: time since the first purchase.

    Returns:
        0 to 1; NaN where an argument is NaN or no history can be so: `x` between 0 and 1, a negative, `t_x` above `T`,
        or any of them above 10¹².
    """
    if not _possible(x, t_x, T):
        return nan
    if x == 0:
        return 1.0
    left = log(model.a) - log(model.b + (x - 1.0)) + (model.r + x) * log((model.alpha + T) / (model.alpha + t_x))
    return 0.0 if left > _LARGEST_EXPONENT else 1.0 / (1.0 + exp(left))


def churn(model: Lifetime, x: float, t_x: float, T: float) -> float:
    """Return the probability that a buyer has left: 1 - `alive`."""
    return 1.0 - alive(model, x, t_x, T)


def expected_purchases(model: Lifetime, x: float, t_x: float, T: float, horizon: float) -> float:
    """Return how many purchases to expect of a buyer within `horizon`.

    Args:
        x, t_x, T: as for `alive`. horizon: how far ahead, in the model's unit.

    Returns:
        0 or more; NaN as for `alive`, and for a negative horizon.
    """
    active = alive(model, x, t_x, T)
    if isnan(active) or not 0.0 <= horizon <= _MOST:
        return nan
    return active * _purchases(model.r + x, model.b + x, model.a, horizon / (model.alpha + T))


def expected_value(model: Lifetime, n: float, mean_value: float) -> float:
    """Return what a further purchase of a buyer is worth on average, in minor units.

    Args:
        n: how many purchases the mean is over; of none, everybody's mean is returned. mean_value: minor units.

    Returns:
        0 or more; NaN where an argument is NaN or negative.
    """
    if n == 0:
        return model.p * model.gamma / (model.q - 1.0)
    if not (0.0 < n <= _MOST and 0.0 <= mean_value < inf):
        return nan
    weight = model.p * n / (model.p * n + model.q - 1.0)
    return weight * mean_value + (1.0 - weight) * model.p * model.gamma / (model.q - 1.0)


def lifetime_value(
    model: Lifetime, x: float, t_x: float, T: float, mean_value: float, horizon: float, monthly_discount: float
) -> float:
    """Return what a buyer's purchases within `horizon` are worth today, in minor units.

    What is bought in a month (a twelfth of 365.25 days) counts as of its end, the last month ending at the horizon.
    After 1,200 months the rest counts as one. Revenue, not margin: costs are the caller's.

    Args:
        x, t_x, T, horizon: as for `expected_purchases`. mean_value: of the `x` + 1 purchases, minor units.
        monthly_discount: the share of 1 that a month takes, 0 for none.

    Returns:
        0 or more; NaN where one of the parts is, or the discount is negative.
    """
    value = expected_value(model, x + 1.0, mean_value)
    active = alive(model, x, t_x, T)
    if isnan(value) or isnan(active) or not (0.0 <= horizon <= _MOST and 0.0 <= monthly_discount < inf):
        return nan
    if monthly_discount == 0:
        return value * expected_purchases(model, x, t_x, T, horizon)
    month, shrink = _MONTH_DAYS / UNITS[model.unit], log1p(monthly_discount)
    worth, before, end, number = 0.0, 0.0, 0.0, 0
    while end < horizon:
        number += 1
        end = min(number * month, horizon) if number <= _MONTHS else horizon
        until = _purchases(model.r + x, model.b + x, model.a, end / (model.alpha + T))
        worth += max(until - before, 0.0) * exp(-shrink * end / month)
        before = until
    return value * active * worth


def _possible(x: float, t_x: float, T: float) -> bool:
    """Say whether there is such a history; False for NaN."""
    return (x == 0.0 or 1.0 <= x <= _MOST) and 0.0 <= t_x <= T <= _MOST


def _purchases(shape: float, stay: float, leave: float, ahead: float) -> float:
    """Return the purchases to expect of a buyer who is active.

    Args:
        shape: r + x, of the rate's distribution. stay, leave: b + x and a. ahead: horizon / (alpha + T).
    """
    if ahead == 0:
        return 0.0
    if shape * ahead + 40.0 / log1p(1.0 / ahead) <= _STEPS:
        return _summed(shape, stay, leave, ahead)
    return _integrated(shape, stay, leave, ahead)


def _summed(shape: float, stay: float, leave: float, ahead: float) -> float:
    """Return the series: over how often a buyer who can't leave would buy, how often one who can does."""
    z = ahead / (1.0 + ahead)
    weight = total = 1.0  # of no purchase; unscaled, as both sums are
    made = found = 0.0
    staying = 1.0
    for k in range(2 * _STEPS):
        weight *= z * (shape + k) / (k + 1.0)
        made += staying
        staying *= (stay + k) / (leave + stay + k)
        total += weight
        found += weight * made
        growth = max(z * (shape + k + 1.0) / (k + 1.0), z)
        if growth < 1.0 and weight * made < _BELOW * found * (1.0 - growth):
            break
    return found / total


def _integrated(shape: float, stay: float, leave: float, ahead: float) -> float:
    """Return the mean of (1 - (1 + p · ahead)^-shape) / p over p of Beta(leave, stay).

    The nodes are equidistant in the log odds of p, from the density's middle outwards. Where p, or 1 - p, no longer
    changes what is averaged, the rest is a geometric series.
    """
    middle, other = leave / (leave + stay), stay / (leave + stay)
    step = min(_STEP, 0.6 / sqrt(leave * other))
    least = _BELOW / max((shape + 1.0) * max(ahead, 1.0), leave, stay)

    def at(shift: float) -> tuple[float, float, float]:
        """Return the density against the middle's, p, and 1 - p."""
        to_leave, to_stay = _log_moved(other, middle, -shift), _log_moved(middle, other, shift)
        density = exp(-leave * to_leave - stay * to_stay)
        return density, middle * exp(-to_leave), other * exp(-to_stay)

    def number(p: float) -> float:
        return -expm1(-shape * log1p(p * ahead)) / p

    density, p, _ = at(0.0)
    total, found = density, density * number(p)
    for side, fall in ((-1.0, leave), (1.0, stay)):
        rest, before = 1.0 / expm1(min(fall * step, _LARGEST_EXPONENT)), 1.0
        for node in range(1, _NODES):
            density, p, q = at(side * node * step)
            constant = min(p, q) < least
            weight = density * (1.0 + rest) if constant else density
            total += weight
            found += weight * number(p)
            # The density is log-concave: it falls faster and faster.
            if constant or density * density < _BELOW * total * (before - density):
                break
            before = density
    return found / total


def _log_moved(share: float, other: float, shift: float) -> float:
    """Return log(other + share · e^shift), of two shares that make 1, exact where it is near 0."""
    if shift < -1.0:
        return log(other + share * exp(shift))
    return log1p(share * expm1(shift))
