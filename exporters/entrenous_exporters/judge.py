"""Judging a model on visitors it did not learn from, through the bytes that would ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrenous_exporters.build import margins_at
from entrenous_exporters.built import Built, score
from entrenous_exporters.quality import Quality, assess, auc_of, tranches_of
from entrenous_exporters.rows import FEWEST_IN_GROUP, Rows, joined
from entrenous_exporters.spec import TrainingSpec

__all__ = ["COMPARED_K", "Judged", "judge", "merged"]

COMPARED_K = (1, 5, 20, 50)
"""The `k` whose cost in quality the model card states, beside the one that ships."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What models said of rows that they had not learnt from.

    Attributes:
        margins: log-odds, float64 [M, P]. tranches: int64 [M, P], by the cuts of the model that scored the row.
        folds: int64 [M], which model that was. rows: the rows themselves.
        at_k: by `k`, the margins [M, P] had the same models been held to it; absent where they can't be.
    """

    margins: NDArray[np.float64]
    tranches: NDArray[np.int64]
    folds: NDArray[np.int64]
    rows: Rows
    at_k: Mapping[int, NDArray[np.float32]]

    def quality(self, spec: TrainingSpec, column: int, where: NDArray[np.bool_] | None = None) -> Quality:
        """Return the quality of one pattern's margins, on all rows or those that `where` [M] marks."""
        here = np.ones(len(self.margins), bool) if where is None else where
        return assess(
            self.margins[here, column],
            self.rows.y[here],
            self.tranches[here, column],
            count=len(spec.decision.tranches),
            folds=self.folds[here],
        )

    def cost_of_k(self, column: int) -> dict[int, float]:
        """Return one pattern's AUC by `k`."""
        return {k: auc_of(found[:, column], self.rows.y, self.folds) for k, found in sorted(self.at_k.items())}

    def groups(self, spec: TrainingSpec, column: int) -> dict[str, dict[str, Quality | None]]:
        """Return one pattern's quality by declared group; None where it rests on too few visitors to be told."""
        found: dict[str, dict[str, Quality | None]] = {}
        least = max(FEWEST_IN_GROUP, spec.learner.k)
        for name, group in self.rows.groups.items():
            found[name] = {}
            for value in np.unique(group):
                here = group == value
                enough = np.unique(self.rows.visitors[here]).size >= least
                found[name][str(value)] = self.quality(spec, column, here) if enough else None
        return found


def judge(spec: TrainingSpec, built: Built, learn: Rows, rows: Rows, *, fold: int = 0) -> Judged:
    """Return what the shipped bytes say of `rows`, whose visitors `learn` does not hold."""
    margins = score(built.model, rows.x, singly=built.tolerance > 0)
    tranches = [tranches_of(margins[:, i], cuts) for i, cuts in enumerate(built.cuts)]
    most = np.unique(learn.visitors).size
    compared = sorted({*COMPARED_K, spec.learner.k})
    return Judged(
        margins=built.log_odds(margins),
        tranches=np.stack(tranches, axis=1),
        folds=np.full(len(margins), fold),
        rows=rows,
        at_k={k: margins_at(spec, built, learn, rows.x, k) for k in compared if k <= most},
    )


def merged(parts: Sequence[Judged]) -> Judged:
    """Return the folds' rows and margins as one."""
    return Judged(
        margins=np.concatenate([part.margins for part in parts]),
        tranches=np.concatenate([part.tranches for part in parts]),
        folds=np.concatenate([part.folds for part in parts]),
        rows=joined([part.rows for part in parts]),
        at_k={
            k: np.concatenate([part.at_k[k] for part in parts])
            for k in parts[0].at_k
            if all(k in part.at_k for part in parts)
        },
    )
