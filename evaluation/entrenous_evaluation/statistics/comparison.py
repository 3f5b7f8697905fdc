"""An arm against the holdout: the lift, the difference, and how surprising they would be if there were none."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, hypot, log, sqrt

from entrenous_evaluation.statistics.estimates import Estimate, Interval, Unknown
from entrenous_evaluation.statistics.quantiles import critical, two_sided

__all__ = ["MOST_RELATIVE_ERROR", "Comparison", "compare"]

MOST_RELATIVE_ERROR = 1 / 3
"""Of the standard error of either mean to the mean of both: beyond it, the logarithm is too curved for the normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A treated arm over its control.

    Attributes:
        lift: relative, .1 for ten per cent more. difference: absolute, in the unit of what is compared.
        p_value: two-sided, of the logarithm of the ratio: below 1 − confidence just where `lift` excludes 0.
    """

    lift: Interval
    difference: Interval
    p_value: float


def compare(
    treated: Estimate | Unknown, control: Estimate | Unknown, *, confidence: float = 0.95
) -> Comparison | Unknown:
    """Return the lift of one figure over the same figure of other visitors.

    ::

        lift        expm1(log(mT/mC) ± z·√(VT/mT² + VC/mC²))
        difference  mT − mC ± z·√(VT + VC)

    The delta method on the logarithm (Deng, Knoblich, Lu, KDD 2018) keeps the lift above −1 and makes it the
    same when the arms change places. It looks once: watching it daily finds what is not there.

    Returns:
        Unknown where either is, where nothing varies, where the standard error of either is over
        `MOST_RELATIVE_ERROR` of the arms' mean weighted by precision (not of the arm's own: a holdout would pass
        whenever its noise is large), or where either mean is less than one standard error above 0.

    Raises:
        Malformed: a confidence that is not between 0 and 1.
    """
    z = critical(confidence)
    if isinstance(treated, Unknown):
        return Unknown(treated.cause, f"treated: {treated.message}")
    if isinstance(control, Unknown):
        return Unknown(control.cause, f"control: {control.message}")
    both = {"treated": treated, "control": control}
    for name, one in both.items():
        if one.certain:
            return Unknown("no_spread", f"{name}: nothing varies, there is nothing to infer from")
    variance = treated.variance + control.variance
    middle = (treated.value * control.variance + control.value * treated.variance) / variance
    for name, one in both.items():
        if sqrt(one.variance) > MOST_RELATIVE_ERROR * abs(middle):
            return Unknown("lost_in_noise", f"{name}: its standard error is over a third of the mean")
        if one.value < sqrt(one.variance):
            return Unknown("not_positive", f"{name}: its mean is not a standard error above 0")
    ratio = log(treated.value / control.value)
    error = hypot(sqrt(treated.variance) / treated.value, sqrt(control.variance) / control.value)
    difference, half = treated.value - control.value, z * sqrt(variance)
    return Comparison(
        lift=Interval(expm1(ratio), expm1(ratio - z * error), expm1(ratio + z * error)),
        difference=Interval(difference, difference - half, difference + half),
        p_value=two_sided(ratio / error),
    )
