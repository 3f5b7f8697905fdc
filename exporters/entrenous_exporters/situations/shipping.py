"""Situations as they ship: one dense graph that recognises them under each consent pattern."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters import dense
from entrenous_exporters.built import TOLERANCE, Built, Progress, positions_of, score
from entrenous_exporters.rows import Rows
from entrenous_exporters.situations.find import Found, find_situations
from entrenous_exporters.spec import TrainingSpec

__all__ = ["build_situations"]

Floats = NDArray[np.float32]


def build_situations(spec: TrainingSpec, learn: Rows, sample: Floats, rows: int, progress: Progress) -> Built:
    """Return the graph that puts a visit into a situation; see `entrenous_exporters.build.build`.

    Raises:
        Malformed: fewer situations than asked for have `k` visitors behind them, or the gate finds a difference.
    """
    learner, patterns = spec.learner, spec.decision.patterns
    fullest = min(patterns, key=lambda one: (-len(one), one))
    progress(f"looking for {learner.situations} situations in {len(learn.x):,} rows")
    found = find_situations(
        learn.x,
        learn.y,
        learn.visitors,
        [len(feature.values) for feature in spec.features],
        positions=positions_of(spec, fullest),
        count=learner.situations,
        k=learner.k,
        seed=learner.seed,
    )
    if found.count < learner.situations:
        what = f"are {found.count} with {learner.k} visitors behind each, not {learner.situations}"
        raise Malformed(what, place="learner.situations", remedy=f"ask for {found.count}, or give more rows")
    columns = [(found.linear(positions), positions) for positions in (positions_of(spec, one) for one in patterns)]
    model = dense.to_dense_onnx(columns, len(spec.features))
    progress(f"comparing {rows:,} adversarial rows with the library, one by one")
    hostile = dense.dense_rows(columns, sample, rows, learner.seed)
    parity = dense.check_dense_parity(model, columns, hostile, TOLERANCE)
    near = _near(score(model, hostile, singly=True), learner.situations + 1)
    return Built(
        model=model,
        cuts=((),) * len(patterns),
        tolerance=TOLERANCE,
        ensemble=None,
        raw=None,
        sigmoids=((1.0, 0.0),) * len(patterns),
        least_support=_least_support(found),
        parity=asdict(parity) | {"near_another_situation": near},
    )


def _near(margins: Floats, width: int) -> int:
    """Return in how many rows, of any pattern, the tolerance could name another situation."""
    near = np.zeros(len(margins), bool)
    for first in range(0, margins.shape[1], width):
        two = np.sort(margins[:, first : first + width].astype(np.float64), axis=1)[:, -2:]
        near |= two[:, 1] - two[:, 0] <= 2 * TOLERANCE * np.maximum(1, np.abs(two).max(axis=1))
    return int(near.sum())


def _least_support(found: Found) -> int:
    counts = [np.unique(found.visitors[found.member == one]).size for one in range(1, found.count + 1)]
    return int(min(counts))
