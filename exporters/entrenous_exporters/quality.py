"""How good a margin is: discrimination, calibration, and the shares its cuts give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

__all__ = ["Quality", "assess", "auc_of", "calibration", "tranches_of"]

_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Quality on rows that were not learnt from.

    Attributes:
        rows: how many. base_rate: share of positives. auc: area under the ROC curve.
        ece: expected calibration error over ten equal-count bins. shares: of the tranches, by the cuts.
        curve: for each bin, mean predicted and observed share.
    """

    rows: int
    base_rate: float
    auc: float
    ece: float
    shares: tuple[float, ...]
    curve: tuple[tuple[float, float], ...]

    def as_table(self) -> dict[str, Any]:
        """Return plain values, rounded for reading."""
        table = asdict(self)
        table["shares"] = [round(share, 4) for share in self.shares]
        table["curve"] = [[round(p, 4), round(q, 4)] for p, q in self.curve]
        return table | {key: round(table[key], 6) for key in ("base_rate", "auc", "ece")}


def calibration(
    probability: NDArray[np.float64], y: NDArray[np.bool_]
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Return the expected calibration error and its curve over equal-count bins. Both inputs are [N]."""
    order = np.argsort(probability, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if part.size]
    curve = tuple((float(probability[part].mean()), float(y[part].mean())) for part in bins)
    error = sum(abs(p - q) * part.size for (p, q), part in zip(curve, bins, strict=True)) / len(order)
    return float(error), curve


def assess(
    margins: ArrayLike, y: ArrayLike, tranches: ArrayLike, *, count: int, folds: ArrayLike | None = None
) -> Quality:
    """Return the quality of log-odds against labels.

    Args:
        margins: [N]. y: bool [N]. tranches: int [N], each row's tranche by the cuts of the model that scored it, of
            `count` in all. folds: int [N], which model scored the row: the AUC is then the mean of the folds' own,
            weighted by rows, since margins of different models do not rank against each other. One model by default.
    """
    margin, label = np.asarray(margins, np.float64), np.asarray(y, bool)
    ece, curve = calibration(1 / (1 + np.exp(-margin)), label)
    counts = np.bincount(np.asarray(tranches), minlength=count)
    fold = np.zeros(len(label), int) if folds is None else np.asarray(folds)
    return Quality(
        rows=len(label),
        base_rate=float(label.mean()),
        auc=auc_of(margin, label, fold),
        ece=ece,
        shares=tuple(float(share) for share in counts / len(label)),
        curve=curve,
    )


def auc_of(margins: ArrayLike, y: NDArray[np.bool_], folds: NDArray[Any]) -> float:
    """Return the folds' own AUC, weighted by rows; NaN where a fold holds one class alone. All are [N]."""
    margin, total = np.asarray(margins, np.float64), 0.0
    for fold in np.unique(folds):
        here = folds == fold
        if y[here].all() or not y[here].any():
            return float("nan")
        total += float(roc_auc_score(y[here], margin[here])) * int(here.sum())
    return total / len(y)


def tranches_of(margins: ArrayLike, cuts: Sequence[float]) -> NDArray[np.int64]:
    """Return each margin's tranche: below cuts[0] is the first, from cuts[i] on the next."""
    found = np.searchsorted(np.asarray(cuts, np.float64), np.asarray(margins, np.float64), side="right")
    return np.asarray(found, np.int64)
