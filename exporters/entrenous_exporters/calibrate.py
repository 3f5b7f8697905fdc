"""Calibration: Platt's sigmoid, fitted on rows not trained on and folded into the column's leaves and base.

The sigmoid is affine in the margin, so calibrated log-odds are another column of the same trees: margin' = a · margin +
b. The runtime needs no further operator, promises about bits hold as before, and a forest, whose margin is a mean
probability, becomes log-odds by it. Isotonic steps are not affine and are not offered.

Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, section 2.2, with its smoothed targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.calibration import _SigmoidCalibration

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.form import Column, Floats, check_float32, fold
from entrenous_exporters.trees.reference import margin_of

__all__ = ["Calibrated", "calibrated", "fold", "platt", "sigmoid", "visitor_parts"]

Labels = NDArray[np.bool_]
Visitors = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibrated:
    """A column of calibrated log-odds, and what was folded into it.

    Attributes:
        column: a · margin + b of the model fitted on all rows. a, b: of the sigmoid.
    """

    column: Column
    a: float
    b: float


def visitor_parts(visitors: Visitors, parts: int, seed: int) -> NDArray[np.int64]:
    """Return the part [N], from 0 to parts - 1, that each row is in: all rows of a visitor in one, drawn by `seed`.

    The part depends on the seed and the set of visitors, not on the order of rows.

    Args:
        visitors: int64 [N], whose row each is.
        parts: at least 2; they differ by at most one visitor.
        seed: of the draw.

    Raises:
        Malformed: fewer than 2 parts, or fewer visitors than parts.
    """
    who, row = np.unique(np.asarray(visitors), return_inverse=True)
    if not 2 <= parts <= who.size:
        remedy = "use 5, and give at least as many visitors"
        raise Malformed(f"is not within 2..{who.size}, the number of visitors", place="parts", remedy=remedy)
    part = np.empty(who.size, dtype=np.int64)
    part[np.random.default_rng(seed).permutation(who.size)] = np.arange(who.size) % parts
    return part[row]


def platt(margins: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Return a and b such that 1 / (1 + exp(-(a · margin + b))) is the calibrated probability; `fold` judges them.

    Args:
        margins: [N], of rows that the model was not trained on.
        y: bool [N].

    Raises:
        Malformed: unequal lengths, one class alone, or a margin that is not finite.
    """
    margin, label = np.asarray(margins, dtype=np.float64), np.asarray(y, dtype=bool)
    if margin.ndim != 1 or margin.shape != label.shape or not np.isfinite(margin).all():
        raise Malformed("needs a finite margin and a label for each row", place="calibration", remedy="score them all")
    if label.all() or not label.any():
        raise Malformed("has rows of one class alone", place="calibration", remedy="give it more rows")
    sigmoid = _SigmoidCalibration().fit(margin, label.astype(np.int64))
    return -float(sigmoid.a_), -float(sigmoid.b_)


def sigmoid(
    fit: Callable[[Floats, Labels, Visitors], Callable[[Floats], NDArray[np.float64]]],
    x: Floats,
    y: Labels,
    visitors: Visitors,
    *,
    parts: int = 5,
    seed: int,
) -> tuple[float, float]:
    """Return a and b of the sigmoid fitted on margins of rows not trained on: each part's, by a model of the others.

    Args:
        fit: makes of rows float32 [M, F], labels [M] and visitors [M] what scores rows, the same for the same rows.
        x: float32 [N, F], the training rows, and y: bool [N], their labels. visitors: int64 [N], whose row each is.
        parts: how often `fit` is called. seed: of the parts.

    Raises:
        Malformed: rows of another type, a part outside which one class is missing, or as `visitor_parts` and `platt`.
    """
    check_float32(x)
    label = np.asarray(y, dtype=bool)
    part = visitor_parts(visitors, parts, seed)
    margins = np.empty(len(x), dtype=np.float64)
    for i in range(parts):
        out = part == i
        if label[~out].all() or not label[~out].any():
            remedy = "give more rows of the rarer class, or use fewer parts"
            raise Malformed(f"leaves one class alone when part {i} is out", place="calibration", remedy=remedy)
        margins[out] = fit(x[~out], label[~out], visitors[~out])(x[out])
    return platt(margins, label)


def calibrated(
    fit: Callable[[Floats, Labels], Column], x: Floats, y: Labels, visitors: Visitors, *, parts: int = 5, seed: int
) -> Calibrated:
    """Return the column that `fit` makes of all rows, calibrated on margins of rows not trained on.

    It is what scikit-learn's `CalibratedClassifierCV(method="sigmoid", ensemble=False)` does, with whole visitors on
    one side or the other.

    Args:
        fit: makes a column of rows float32 [M, F] and labels [M], the same for the same rows; called `parts` + 1 times.
        x, y, visitors, parts, seed: as in `sigmoid`.

    Raises:
        Malformed: as `sigmoid` and `fold`.
    """
    label = np.asarray(y, dtype=bool)
    a, b = sigmoid(lambda rows, of, _: partial(margin_of, fit(rows, of)), x, label, visitors, parts=parts, seed=seed)
    return Calibrated(column=fold(fit(x, label), a, b), a=a, b=b)
