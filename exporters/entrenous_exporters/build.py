"""From rows to the graph that ships: one margin column for each consent pattern, protected, gated, with its cuts.

Each pattern's model sees that pattern's columns alone. What the library fitted is compared with what was extracted
before anything is changed on purpose; what ships is compared, to the bit, with the reference walk after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous.decisions.calibration import Calibration
from entrenous_exporters import dense, trees
from entrenous_exporters.built import TOLERANCE, Built, Progress, positions_of, score, spoken
from entrenous_exporters.calibrate import Fit, isotonic, sigmoid
from entrenous_exporters.deciding import DecisionSpec
from entrenous_exporters.learners import fit_trees
from entrenous_exporters.rows import Rows
from entrenous_exporters.situations.shipping import build_situations
from entrenous_exporters.spec import Learner, TrainingSpec
from entrenous_exporters.trees import Column, Ensemble
from entrenous_exporters.uplift.shipping import build_uplift

__all__ = ["build", "cuts_of", "margins_at"]

GATE_ROWS = 20_000
_CALIBRATION_PARTS = 5

Floats = NDArray[np.float32]


def build(spec: TrainingSpec, learn: Rows, sample: Floats, *, rows: int = GATE_ROWS, progress: Progress) -> Built:
    """Return the protected graph that `learn` teaches.

    Args:
        learn: the rows to learn from. sample: float32 [M, F], observed rows for the gate, held out if there are any.
        rows: how many adversarial rows the gate compares. progress: told each step.

    Raises:
        Malformed: a pattern without a feature, a model that can't be protected or emitted exactly, or a difference
            that the gate finds, with the rows.
    """
    if spec.decision.kind == "uplift":
        return build_uplift(spec, learn, sample, rows, progress)
    if spec.decision.kind == "situation":
        return build_situations(spec, learn, sample, rows, progress)
    if spec.learner.kind == "logistic":
        return _build_dense(spec, learn, sample, rows, progress)
    return _build_trees(spec, learn, sample, rows, progress)


def margins_at(spec: TrainingSpec, built: Built, learn: Rows, rows: Floats, k: int) -> Floats:
    """Return the margins [N, P] of `rows` had the same models been held to another `k`.

    Raises:
        Malformed: not even `k` visitors are there.
    """
    if built.raw is None:
        columns = _linear_columns(spec, learn, k, built.sigmoids)
        return np.asarray(dense.dense_margins(columns, rows).astype(np.float32))
    return trees.walk(trees.on_grid(trees.protect(built.raw, learn.x, learn.visitors, k), spec.step), rows)


def _build_trees(spec: TrainingSpec, learn: Rows, sample: Floats, rows: int, progress: Progress) -> Built:
    width, learner = len(spec.features), spec.learner
    plain: list[Column] = []
    columns: list[Column] = []
    sigmoids: list[tuple[float, float]] = []
    lines: list[Calibration | None] = []
    models: list[tuple[Any, list[int]]] = []
    for pattern in spec.decision.patterns:
        progress(f"training {spoken(pattern)} on {len(learn.x):,} rows")
        positions, own = positions_of(spec, pattern), spec.learner_of(pattern)
        (a, b), line = _calibration(own, _tree_fit(own, positions, width), learn)
        model = fit_trees(own, learn.x[:, positions], learn.y)
        models.append((model, positions))
        plain.append(trees.extract(model, positions, width))
        columns.append(trees.fold(plain[-1], a, b) if (a, b) != (1.0, 0.0) else plain[-1])
        sigmoids.append((a, b))
        lines.append(line)
    progress(f"comparing {rows:,} adversarial rows with the library")
    extracted = trees.assemble(plain, width)
    far = _check_library(
        extracted, models, trees.adversarial_rows(extracted, sample, rows, learner.seed, infinite=False)
    )
    progress(f"holding every leaf to {learner.k} distinct visitors")
    raw = trees.assemble(columns, width)
    ensemble = trees.on_grid(trees.protect(raw, learn.x, learn.visitors, learner.k), spec.step)
    model_bytes = trees.to_onnx(ensemble)
    progress(f"comparing {rows:,} adversarial rows to the bit")
    hostile = trees.adversarial_rows(ensemble, sample, rows, learner.seed, originals=[raw])
    parity = trees.check(model_bytes, ensemble, hostile, alone=min(2_000, rows))
    return Built(
        model=model_bytes,
        cuts=cuts_of(trees.walk(ensemble, learn.x), spec.decision),
        tolerance=0.0,
        ensemble=ensemble,
        raw=raw,
        sigmoids=tuple(sigmoids),
        least_support=trees.least_support(ensemble, learn.x, learn.visitors),
        parity=asdict(parity) | {"library_rows": rows, "library_distance": far},
        lines=tuple(lines),
    )


def _calibration(learner: Learner, fit: Fit, learn: Rows) -> tuple[tuple[float, float], Calibration | None]:
    """Return a and b to fold into a pattern's margins, and the line that turns those into log-odds.

    Every part is fitted without its visitors; without calibration a and b are 1 and 0, and margins are log-odds.
    """
    parts, seed = _CALIBRATION_PARTS, learner.seed
    match learner.calibration:
        case "isotonic":
            line = isotonic(fit, learn.x, learn.y, learn.visitors, k=learner.k, parts=parts, seed=seed)
            return (1.0, 0.0), line
        case "sigmoid":
            return sigmoid(fit, learn.x, learn.y, learn.visitors, parts=parts, seed=seed), None
        case _:
            return (1.0, 0.0), None


def _tree_fit(learner: Learner, positions: list[int], width: int) -> Fit:
    """Return what fits this pattern's trees to some rows of the full vector."""

    def fit(x: Floats, y: NDArray[np.bool_], _: NDArray[np.int64]) -> Callable[[Floats], NDArray[np.float64]]:
        column = trees.extract(fit_trees(learner, x[:, positions], y), positions, width)
        return lambda rows: trees.margin_of(column, rows)

    return fit


def _linear_columns(
    spec: TrainingSpec, learn: Rows, k: int, sigmoids: Sequence[tuple[float, float]]
) -> list[tuple[dense.Linear, list[int]]]:
    columns = []
    for pattern, (a, b) in zip(spec.decision.patterns, sigmoids, strict=True):
        positions = positions_of(spec, pattern)
        linear = _fit_linear(spec, positions, k)(learn.x, learn.y, learn.visitors)
        columns.append((linear.folded(a, b) if (a, b) != (1.0, 0.0) else linear, positions))
    return columns


def _fit_linear(
    spec: TrainingSpec, positions: list[int], k: int
) -> Callable[[Floats, NDArray[np.bool_], NDArray[np.int64]], dense.Linear]:
    """Return what fits a linear model to some rows of the full vector."""
    categories = [len(spec.features[i].values) for i in positions]
    learner = spec.learner

    def fit(x: Floats, y: NDArray[np.bool_], visitors: NDArray[np.int64]) -> dense.Linear:
        return dense.fit_linear(x[:, positions], y, visitors, categories, l2=learner.l2, k=k, seed=learner.seed)

    return fit


def _build_dense(spec: TrainingSpec, learn: Rows, sample: Floats, rows: int, progress: Progress) -> Built:
    learner = spec.learner
    sigmoids, lines = [], []
    for pattern in spec.decision.patterns:
        progress(f"training {spoken(pattern)} on {len(learn.x):,} rows")
        folded, line = _calibration(learner, _margins_fit(spec, positions_of(spec, pattern)), learn)
        sigmoids.append(folded)
        lines.append(line)
    columns = _linear_columns(spec, learn, learner.k, sigmoids)
    model = dense.to_dense_onnx(columns, len(spec.features))
    progress(f"comparing {rows:,} adversarial rows with the library, one by one")
    hostile = dense.dense_rows(columns, sample, rows, learner.seed)
    parity = dense.check_dense_parity(model, columns, hostile, TOLERANCE)
    return Built(
        model=model,
        cuts=cuts_of(score(model, learn.x, singly=True), spec.decision),
        tolerance=TOLERANCE,
        ensemble=None,
        raw=None,
        sigmoids=tuple(sigmoids),
        least_support=None,
        parity=asdict(parity),
        lines=tuple(lines),
    )


def _margins_fit(spec: TrainingSpec, positions: list[int]) -> Fit:
    """Return what fits a linear model to some rows of the full vector and scores others."""
    fitted = _fit_linear(spec, positions, spec.learner.k)

    def fit(x: Floats, y: NDArray[np.bool_], visitors: NDArray[np.int64]) -> Callable[[Floats], NDArray[np.float64]]:
        linear = fitted(x, y, visitors)
        return lambda rows: dense.dense_margins([(linear, positions)], rows)[:, 0]

    return fit


def _check_library(extracted: Ensemble, models: list[tuple[Any, list[int]]], rows: Floats) -> float:
    """Compare, on the finest grid there is, each column with its library's own margins; return the largest distance."""
    fine = trees.on_grid(extracted, trees.finest_step(extracted))
    expected = [trees.library_margins(model, rows, positions) for model, positions in models]
    return trees.check_library(fine, rows, np.stack(expected, axis=1))


def cuts_of(margins: Floats, decision: DecisionSpec) -> tuple[tuple[float, ...], ...]:
    """Return, for each pattern's margins [N, P], the rising float32 cuts that give each tranche its share."""
    wanted = np.cumsum(decision.shares)[:-1]
    found = []
    for column in margins.T:
        cuts = np.quantile(column.astype(np.float64), wanted, method="higher").astype(np.float32)
        for i in range(1, len(cuts)):
            if cuts[i] <= cuts[i - 1]:
                cuts[i] = np.nextafter(cuts[i - 1], np.float32(np.inf))
        found.append(tuple(float(cut) for cut in cuts))
    return tuple(found)
