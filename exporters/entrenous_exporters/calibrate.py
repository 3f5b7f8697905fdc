"""Calibration, fitted on rows not trained on: Platt's sigmoid, folded into the model, or a rising line beside it.

The sigmoid is affine in the margin, so calibrated log-odds are another column of the same trees: margin' = a · margin +
b. The runtime needs no further operator, promises about bits hold as before, and a forest, whose margin is a mean
probability, becomes log-odds by it.

An isotonic regression is not affine. It ships as knots in the manifest, a line that strictly rises: what is read of a
score changes, which of two scores is the higher does not, and so neither do tranches, cuts or AUC. Its steps are joined
at their centres, which keeps apart what a step would have made equal.

Sources: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, section 2.2, with its smoothed targets;
Oron and Flournoy, "Centered Isotonic Regression", Statistics in Biopharmaceutical Research 9(3), 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import isotonic_regression

from entrenous.decisions.calibration import Calibration
from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.form import Column, Floats, check_float32, fold
from entrenous_exporters.trees.reference import margin_of

__all__ = ["Calibrated", "calibrated", "fold", "isotonic", "platt", "rising", "sigmoid", "visitor_parts"]

Labels = NDArray[np.bool_]
Visitors = NDArray[np.int64]
Fit = Callable[[Floats, Labels, Visitors], Callable[[Floats], NDArray[np.float64]]]
"""Makes of rows float32 [M, F], labels [M] and visitors [M] what scores rows, the same for the same rows."""

_MOST_BINS = 32
_FEWEST_ROWS = 50
"""Of a bin: a share of fewer says little."""


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
    margin, label = _checked(margins, y)
    sigmoid = _SigmoidCalibration().fit(margin, label.astype(np.int64))
    return -float(sigmoid.a_), -float(sigmoid.b_)


def rising(margins: ArrayLike, y: ArrayLike, visitors: Visitors, k: int) -> Calibration:
    """Return the isotonic line through shares of the label, each knot of at least `k` distinct visitors.

    Rows are put into bins by rising margin, rows of one margin into the same. Pooling adjacent bins until their shares
    rise gives the steps; a knot is a step's mean margin and the log-odds of its share, half a row of each label added.

    Args:
        margins: [N], of rows that the model was not trained on. y: bool [N]. visitors: int64 [N], whose row each is.

    Raises:
        Malformed: as `platt`, or fewer than two steps: nothing rises.
    """
    margin, label = _checked(margins, y)
    order = np.argsort(margin, kind="stable")
    margin, label, visitors = margin[order], label[order], np.asarray(visitors)[order]
    starts = _starts(margin, visitors, k)
    size = np.diff([*starts, margin.size])
    share = (np.add.reduceat(label.astype(np.float64), starts) + 0.5) / (size + 1)
    step = isotonic_regression(share, sample_weight=size)
    first = np.flatnonzero(np.concatenate([[True], np.diff(step) > 0]))
    rows = np.add.reduceat(size, first)
    centre = (np.add.reduceat(np.add.reduceat(margin, starts), first) / rows).astype(np.float32)
    apart = np.concatenate([[True], np.diff(centre) > 0])
    centre, height = centre[apart], step[first][apart]
    if centre.size < 2:
        remedy = "use sigmoid, or give it more rows or better features"
        raise Malformed("finds no two margins of which the higher is likelier", place="calibration", remedy=remedy)
    return Calibration(tuple(centre.tolist()), tuple(np.log(height / (1 - height)).tolist()))


def _starts(margin: NDArray[np.float64], visitors: Visitors, k: int) -> list[int]:
    """Return where each bin of rising margins begins; the last one takes what is too little for one of its own."""
    least = max(_FEWEST_ROWS, margin.size // _MOST_BINS + 1)
    starts, seen = [0], set[int]()
    for i, who in enumerate(visitors.tolist()):
        if i - starts[-1] >= least and len(seen) >= k and margin[i] > margin[i - 1]:
            starts.append(i)
            seen.clear()
        seen.add(who)
    if len(starts) > 1 and (margin.size - starts[-1] < least or len(seen) < k):
        starts.pop()
    return starts


def _checked(margins: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], Labels]:
    margin, label = np.asarray(margins, dtype=np.float64), np.asarray(y, dtype=bool)
    if margin.ndim != 1 or margin.shape != label.shape or not np.isfinite(margin).all():
        raise Malformed("needs a finite margin and a label for each row", place="calibration", remedy="score them all")
    if label.all() or not label.any():
        raise Malformed("has rows of one class alone", place="calibration", remedy="give it more rows")
    return margin, label


def sigmoid(fit: Fit, x: Floats, y: Labels, visitors: Visitors, *, parts: int = 5, seed: int) -> tuple[float, float]:
    """Return a and b of the sigmoid fitted on margins of rows not trained on: each part's, by a model of the others.

    Args:
        fit: called `parts` times. x: float32 [N, F], the training rows, and y: bool [N], their labels.
        visitors: int64 [N], whose row each is. seed: of the parts.

    Raises:
        Malformed: rows of another type, a part outside which one class is missing, or as `visitor_parts` and `platt`.
    """
    return platt(_unseen(fit, x, y, visitors, parts, seed), y)


def isotonic(fit: Fit, x: Floats, y: Labels, visitors: Visitors, *, k: int, parts: int = 5, seed: int) -> Calibration:
    """Return the rising line fitted on margins of rows not trained on; see `sigmoid` and `rising`."""
    return rising(_unseen(fit, x, y, visitors, parts, seed), y, visitors, k)


def _unseen(fit: Fit, x: Floats, y: Labels, visitors: Visitors, parts: int, seed: int) -> NDArray[np.float64]:
    """Return the margins [N] of each part's rows by a model of the others."""
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
    return margins


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
