"""Maximum likelihood over positive parameters: from several starts, in their logarithms, with intervals.

The logarithm keeps every step positive and makes the curvature near the optimum alike in all directions; intervals are
symmetric there, so no end is ever below zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from entrenous_consent.errors import Malformed

__all__ = ["Fit", "Parameter", "maximise"]

Floats = NDArray[np.float64]
Likelihood: TypeAlias = Callable[[Floats], tuple[float, Floats]]
"""Of parameters `[P]` to a buyer's mean log-likelihood and its gradient `[P]`."""

_NORMAL_95 = 1.959963984540054
_CURVE_STEP = 1e-4
_POLISHES = 8
_FLAT = 1e-7
"""A mean likelihood with less curvature than that (in logarithms) does not say where its optimum is."""
_NEAR = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One fitted number.

    Attributes:
        value: where the likelihood is highest. error: its standard error. low, high: ends of the 95 % interval. These
            three are None where the data do not determine it.
    """

    value: float
    error: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What came of one model.

    Attributes:
        parameters: by name. log_likelihood: of all buyers together. buyers: how many it rests on.
        at_bound: the parameters that ended at the edge of what is tried.
    """

    parameters: Mapping[str, Parameter]
    log_likelihood: float
    buyers: int
    at_bound: tuple[str, ...]

    def __getitem__(self, name: str) -> float:
        return self.parameters[name].value

    @property
    def determined(self) -> bool:
        """Whether every parameter has its interval."""
        return all(one.error is not None for one in self.parameters.values())


def maximise(
    likelihood: Likelihood,
    bounds: Mapping[str, tuple[float, float]],
    starts: Sequence[tuple[float, ...]],
    buyers: int,
    *,
    place: str,
) -> Fit:
    """Return the parameters of the highest likelihood.

    Args:
        likelihood: a buyer's mean. bounds: of each parameter, by name. starts: where to begin, inside them.
        buyers: how many the mean is over. place: what is fitted, for errors.

    Raises:
        Malformed: no start came to an end.
    """
    lows, highs = (np.log([pair[end] for pair in bounds.values()]) for end in (0, 1))

    def downhill(logs: Floats) -> tuple[float, Floats]:
        values = np.exp(logs)
        height, slope = likelihood(values)
        return -height, -slope * values

    best: Floats | None = None
    lowest = np.inf
    for start in starts:
        begun = np.clip(np.log(start), lows, highs)
        options = {"maxiter": 2_000, "ftol": 1e-15, "gtol": 1e-10}
        found = minimize(
            downhill, begun, jac=True, method="L-BFGS-B", bounds=list(zip(lows, highs, strict=True)), options=options
        )
        if np.isfinite(found.fun) and found.fun < lowest:
            best, lowest = np.asarray(found.x, dtype=np.float64), float(found.fun)
    if best is None:
        raise Malformed("comes to no end from any start", place=place, remedy="look for values that cannot be")
    best = _polished(downhill, best, lows, highs)
    names = tuple(bounds)
    at_bound = tuple(
        name
        for name, log, low, high in zip(names, best, lows, highs, strict=True)
        if min(log - low, high - log) < _NEAR
    )
    errors = None if at_bound else _errors(_curvature(downhill, best), buyers)
    parameters = {}
    for at, name in enumerate(names):
        value = float(np.exp(best[at]))
        spread = float(errors[at]) if errors is not None else None
        parameters[name] = Parameter(
            value=value,
            error=value * spread if spread is not None else None,
            low=value * float(np.exp(-_NORMAL_95 * spread)) if spread is not None else None,
            high=value * float(np.exp(_NORMAL_95 * spread)) if spread is not None else None,
        )
    return Fit(parameters=parameters, log_likelihood=-downhill(best)[0] * buyers, buyers=buyers, at_bound=at_bound)


def _curvature(downhill: Likelihood, logs: Floats) -> Floats:
    """Return the Hessian, by central differences of the gradient."""
    rows = []
    for at in range(len(logs)):
        step = np.zeros(len(logs))
        step[at] = _CURVE_STEP
        rows.append((downhill(logs + step)[1] - downhill(logs - step)[1]) / (2 * _CURVE_STEP))
    curvature = np.array(rows)
    return (curvature + curvature.T) / 2


def _polished(downhill: Likelihood, logs: Floats, lows: Floats, highs: Floats) -> Floats:
    """Return the optimum after a few steps of Newton's, as long as each makes the slope smaller."""
    slope = downhill(logs)[1]
    for _ in range(_POLISHES):
        curvature = _curvature(downhill, logs)
        if np.linalg.eigvalsh(curvature)[0] < _FLAT:
            break
        moved = logs - np.linalg.solve(curvature, slope)
        if (moved < lows).any() or (moved > highs).any():
            break
        steeper = downhill(moved)[1]
        if np.abs(steeper).max() >= np.abs(slope).max():
            break
        logs, slope = moved, steeper
    return logs


def _errors(curvature: Floats, buyers: int) -> Floats | None:
    """Return the standard errors of the logarithms; None where the likelihood is flat in some direction."""
    if np.linalg.eigvalsh(curvature)[0] < _FLAT:
        return None
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(curvature)) / buyers), dtype=np.float64)
