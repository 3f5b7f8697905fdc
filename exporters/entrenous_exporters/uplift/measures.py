"""How well visitors are ranked by what an action adds to them. Everything here takes one arm against its control.

Curves follow Radcliffe (2007): visitors by falling prediction; at each, the treated's outcomes so far less the
control's, scaled to as many. Predictions that are equal are taken together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed

__all__ = ["auuc", "qini", "qini_curve", "uplift_at"]

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


def qini_curve(predicted: Values, outcome: Values, treated: Flags) -> tuple[Values, Values]:
    """Return how many visitors were taken, from 0, and what their treatment brought in all.

    Args:
        predicted: [N], finite. outcome: [N]. treated: bool [N], both sides present.

    Raises:
        Malformed: arrays that do not fit, one side missing, or a prediction that is not finite.
    """
    predicted, outcome = np.asarray(predicted, np.float64), np.asarray(outcome, np.float64)
    treated = np.asarray(treated, np.bool_)
    if not (predicted.shape == outcome.shape == treated.shape) or predicted.ndim != 1:
        raise Malformed("are of unequal length", place="predictions", remedy="give one entry a visitor")
    if not np.isfinite(predicted).all() or treated.all() or not treated.any():
        what = "are not finite, or of one side alone"
        raise Malformed(what, place="predictions", remedy="give treated and control visitors, each with a number")
    order = np.argsort(-predicted, kind="stable")
    ranked, won, took = predicted[order], outcome[order], treated[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    taken = ends + 1.0
    many = np.cumsum(took)[ends].astype(np.float64)
    few = taken - many
    brought = np.cumsum(np.where(took, won, 0.0))[ends]
    anyway = np.cumsum(np.where(took, 0.0, won))[ends]
    scaled = np.divide(anyway * many, few, out=np.zeros_like(anyway), where=few > 0)
    return np.append(0.0, taken), np.append(0.0, brought - scaled)


def qini(predicted: Values, outcome: Values, treated: Flags) -> float:
    """Return the Qini coefficient: the area between the curve and a random order's, over that of the best order.

    The best order knows the outcomes: treated who act first, control who act last. 0 is a random order.

    Raises:
        Malformed: as `qini_curve`.
    """
    outcome = np.asarray(outcome, np.float64)
    best = np.where(np.asarray(treated, np.bool_), outcome, -outcome)
    of, most = (_over_random(*qini_curve(one, outcome, treated)) for one in (predicted, best))
    return of / most if most else 0.0


def auuc(predicted: Values, outcome: Values, treated: Flags) -> float:
    """Return the area under the curve, a visitor: what treating a random share by this order brings, on average.

    Raises:
        Malformed: as `qini_curve`.
    """
    taken, brought = qini_curve(predicted, outcome, treated)
    return float(np.trapezoid(brought, taken) / taken[-1] / np.sum(treated))


def uplift_at(predicted: Values, outcome: Values, treated: Flags, share: float) -> float:
    """Return what treatment adds, a visitor, among the `share` with the highest predictions.

    Raises:
        Malformed: as `qini_curve`, a share outside (0, 1], or one side missing among them.
    """
    qini_curve(predicted, outcome, treated)
    if not 0 < share <= 1:
        raise Malformed("is outside (0, 1]", place="share", remedy="give .1 for the top tenth")
    top = np.argsort(-np.asarray(predicted), kind="stable")[: max(1, round(share * len(predicted)))]
    took, won = np.asarray(treated, np.bool_)[top], np.asarray(outcome, np.float64)[top]
    if took.all() or not took.any():
        raise Malformed("leaves one side alone", place="share", remedy="take a larger one")
    return float(won[took].mean() - won[~took].mean())


def _over_random(taken: Values, brought: Values) -> float:
    return float(np.trapezoid(brought, taken) - brought[-1] * taken[-1] / 2)
