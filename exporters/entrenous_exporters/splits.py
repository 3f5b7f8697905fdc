"""Who is learnt from and who judges: never the same visitor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters.calibrate import visitor_parts
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import TrainingSpec

__all__ = ["folds", "learnt"]

_Mask = NDArray[np.bool_]


def learnt(rows: Rows, spec: TrainingSpec) -> tuple[_Mask, _Mask]:
    """Return which of the usable `rows` [N] the shipped model learns from, and which judge it.

    Split by time, the visitors set aside judge at moments from `until` on, and nobody else does; the others are learnt
    from where their label is known before `until`. Grouped, all are learnt from and `folds` judge.

    Args:
        rows: those whose label is known, of visitors who granted `improve`.

    Raises:
        Malformed: no row at all, or fewer visitors than the split needs.
    """
    if not len(rows.x):
        remedy = "see data.improve: rows whose visitor did not grant it never enter"
        raise Malformed("has no row to learn from", place="data", remedy=remedy)
    everything = np.ones(len(rows.x), dtype=bool)
    if spec.split.kind == "grouped":
        return everything, ~everything
    aside = visitor_parts(rows.visitors, round(1 / spec.split.judge_share), spec.learner.seed) == 0
    before = (rows.times >= spec.split.start) & (rows.times < spec.split.until - spec.label.horizon)
    return before & ~aside, (rows.times >= spec.split.until) & aside


def folds(rows: Rows, spec: TrainingSpec) -> Iterator[tuple[_Mask, _Mask]]:
    """Yield, fold by fold, which `rows` [N] are learnt from and which judge; none for a split by time.

    Raises:
        Malformed: fewer visitors than folds.
    """
    if spec.split.kind == "grouped":
        part = visitor_parts(rows.visitors, spec.split.folds, spec.learner.seed)
        for i in range(spec.split.folds):
            yield part != i, part == i
