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

It is 0/0 at a = 1, cancels near it and for short horizons, and overflows for many purchases. What it stands for has
none of this: the mean of (1 - (1 + p·u)^-(r+x)) / p, with u = t / (alpha+T), over a probability p to leave from
Beta(a, b+x). The power is expanded in Chebyshev polynomials of p, whose coefficients and whose means under the
distribution each obey a recurrence of three terms (for the means: Piessens and Branders 1973, "The evaluation and
application of some modified moments", BIT 13); with the signs taken out every term of the sum is positive. A term is
e^l smaller than the one before, cosh l = 1 + 2/u: some 30 are needed for a horizon as long as alpha+T. Where it would
take more than 400, the mean is integrated by the trapezoidal rule on the log odds of p, in at most 2,048 nodes. Both
are exact to 1e-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cosh, exp, expm1, inf, isnan, log, log1p, nan, sqrt
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
_TERMS = 400
"""The longest expansion."""
_EXPONENTS = 1_200.0
"""How far its coefficients may lie apart, as a power of e: less than a float's range."""
_SMALLEST = 1e-290
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
    return active * _purchases(model, x, T, (horizon,))[0]


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
    whole = min(int(horizon / month), _MONTHS)
    ends = [number * month for number in range(1, whole + 1)]
    if not ends or ends[-1] < horizon:
        ends.append(horizon)
    worth = before = 0.0
    for end, until in zip(ends, _purchases(model, x, T, ends), strict=True):
        worth += max(until - before, 0.0) * exp(-shrink * end / month)
        before = until
    return value * active * worth


def _possible(x: float, t_x: float, T: float) -> bool:
    """Say whether there is such a history; False for NaN."""
    return (x == 0.0 or 1.0 <= x <= _MOST) and 0.0 <= t_x <= T <= _MOST


def _purchases(model: Lifetime, x: float, T: float, horizons: Sequence[float]) -> list[float]:
    """Return the purchases to expect within each horizon of a buyer who is active."""
    shape, stay, leave = model.r + x, model.b + x, model.a
    aheads = [horizon / (model.alpha + T) for horizon in horizons]
    lengths = [_length(shape, ahead) if ahead > 0 else 0 for ahead in aheads]
    means = _means(leave, stay, max((length for length in lengths if length <= _TERMS), default=0))
    return [
        (_expanded(shape, ahead, length, means) if length <= _TERMS else _integrated(shape, stay, leave, ahead))
        if ahead > 0
        else 0.0
        for ahead, length in zip(aheads, lengths, strict=True)
    ]


def _length(shape: float, ahead: float) -> int:
    """Return after how many terms the expansion can't be told from its sum; one more than `_TERMS` if it is no use.

    The coefficients of a function that is analytic within an ellipse fall with its axes, times the function's size on
    it: the smallest of three ellipses counts.
    """
    wide = 1.0 + 2.0 / ahead
    full = log(wide + sqrt(wide * wide - 1.0))
    digits = 38.0 - log(min(shape, 1.0))
    least = inf
    for part in (0.9, 0.75, 0.5):
        room = wide - cosh(part * full)
        if room > 0:
            least = min(least, (digits + shape * log((wide - 1.0) / room)) / (part * full))
    return int(least) + 2 if least < _TERMS - 2 and least * full < _EXPONENTS else _TERMS + 1


def _means(leave: float, stay: float, length: int) -> list[float]:
    """Return for each k up to `length` the mean of what one unit of the k-th coefficient adds.

    With Tⱼ the polynomials of 2p - 1 and mⱼ their means, it is k/2 + Σ (k-j)·(-1)^j·mⱼ over j from 1 to k: the k-th
    polynomial, with its sign, divided by p.
    """
    both, twice = leave + stay, 2.0 * (stay - leave)
    before, now = 1.0, (stay - leave) / both
    slope, added, means = 0.5, 0.0, [0.0]
    k = 1.0
    for _ in range(length):
        added += slope
        means.append(added)
        slope += now
        before, now = now, (twice * now - (both - k) * before) / (both + k)
        k += 1.0
    return means


def _expanded(shape: float, ahead: float, length: int, means: Sequence[float]) -> float:
    """Return the sum of the expansion, from its smallest term up.

    The coefficients are those of (1 + p · ahead)^-shape without their signs, up to a factor: at p = 0 they add up to 1.
    """
    width = 2.0 + 4.0 / ahead
    now, after = _SMALLEST, 0.0
    total = found = 0.0
    k = float(length)
    for mean in means[length:0:-1]:
        total += now
        found += now * mean
        k -= 1.0
        now, after = ((k + 1.0) * width * now - (k + 2.0 - shape) * after) / (k + shape), now
    return 4.0 * found / (total + 0.5 * now)


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
