"""What a policy would have brought, told from a test in which other arms were drawn: IPS, SNIPS and DR.

Beside it always stands the best constant arm: a policy that does not beat it is worth nothing, however well it ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed

__all__ = ["Constant", "Value", "best_constant", "value_of"]

_Z = 1.959963984540054
"""Of a two-sided 95 % interval."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """An estimate of the mean outcome, with its standard error; a 95 % interval by the normal."""

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The lower and the upper end."""
        return self.value - _Z * self.error, self.value + _Z * self.error


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One arm for everybody: which, and what it brought."""

    arm: int
    value: Value


def value_of(
    chosen: NDArray[np.float64],
    arm: NDArray[np.int64],
    outcome: Values,
    propensity: Values,
    *,
    expected: NDArray[np.float64] | None = None,
) -> dict[str, Value]:
    """Return the value of a policy by `ips`, `snips` and, where `expected` is given, `dr`.

    ::

        w      π(arm | row) / propensity
        ips    mean of w·r
        snips  Σ w·r / Σ w                                  error √Σ w²(r − snips)² / Σ w
        dr     mean of Σₐ π(a | row)·q(a) + w·(r − q(arm))

    Args:
        chosen: [N, A], the policy's probability of each arm. arm: [N], what was drawn. outcome: [N].
        propensity: [N], with which it was drawn, above 0. expected: [N, A], a model's outcomes, fitted on other rows.

    Raises:
        Malformed: arrays that do not fit, probabilities that are none, a propensity that is not above 0.
    """
    n = len(arm)
    if not n or chosen.ndim != 2 or chosen.shape[0] != n or outcome.shape != (n,) or propensity.shape != (n,):
        raise Malformed("are of unequal length", place="policy", remedy="give one entry a row")
    if not (propensity > 0).all() or (chosen < 0).any() or not np.allclose(chosen.sum(axis=1), 1):
        what = "are no probabilities"
        raise Malformed(what, place="policy", remedy="every arm that was shown had a chance above 0")
    weight = chosen[np.arange(n), arm] / propensity
    weighed = weight * outcome
    total = float(weight.sum())
    ratio = float(weighed.sum()) / total if total else float("nan")
    found = {
        "ips": _mean(weighed),
        "snips": Value(
            value=ratio,
            error=sqrt(float((weight**2 * (outcome - ratio) ** 2).sum())) / total if total else float("nan"),
        ),
    }
    if expected is not None:
        said = (chosen * expected).sum(axis=1) + weight * (outcome - expected[np.arange(n), arm])
        found["dr"] = _mean(said)
    return found


def _mean(values: Values) -> Value:
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Value(value=float(values.mean()), error=spread / sqrt(len(values)))


def best_constant(arm: NDArray[np.int64], outcome: Values, arms: int) -> Constant:
    """Return the arm with the greatest mean outcome among those who got it."""
    values = [_mean(outcome[arm == one]) for one in range(arms)]
    best = int(np.argmax([one.value for one in values]))
    return Constant(arm=best, value=values[best])
