"""The parity gate: a bit of difference between the shipped bytes and the reference walk, and nothing ships."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous.model.onnx_profile import check_model
from entrenous.model.runtime import onnxruntime
from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.form import Column, Ensemble, Floats, bound_of, check_float32
from entrenous_exporters.trees.reference import walk

__all__ = ["Parity", "adversarial_rows", "check", "check_library"]

_MAX, _TINY = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
_EDGES = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, _TINY, -_TINY, 1000 * _TINY, -1000 * _TINY, _MAX, -_MAX], np.float32
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """What the gate compared, for the model card.

    Attributes:
        rows: rows scored all at once, with each number of threads.
        rows_alone: rows also scored one at a time, with each number of threads.
        differing: margins that differed in any bit; 0, or there would be no record.
        threads: the numbers of intra-op threads tried.
        columns, trees, nodes: what the graph holds.
        step: its grid. bound: |base| + Σ max|leaf| of the fullest column, in steps.
        size: bytes of the model.
    """

    rows: int
    rows_alone: int
    differing: int
    threads: tuple[int, ...]
    columns: int
    trees: int
    nodes: int
    step: float
    bound: int
    size: int


def adversarial_rows(
    ensemble: Ensemble,
    observed: Floats,
    n: int,
    seed: int,
    *,
    originals: Iterable[Ensemble] = (),
    infinite: bool = True,
) -> Floats:
    """Return float32 [n, F] rows that sit on and beside every threshold.

    Each row is an observed one in which a random share of the values is drawn from the feature's pool: its thresholds,
    their two float32 neighbours, NaN, ±inf, ±0, denormals and the largest floats.

    Args:
        ensemble: what will be scored.
        observed: float32 [M, F], M at least 1.
        n: rows wanted.
        seed: of the draw.
        originals: the same model before its thresholds were coarsened, whose thresholds join the pool. Their upper
            neighbours are the nearest-rounded thresholds that a naive converter would have shipped.
        infinite: whether ±inf is among the values. The feature layer hands over finite values or NaN, and a forest of
            scikit-learn's scores nothing else.

    Raises:
        Malformed: observed rows of another type: casting them would hide what it changes.
    """
    check_float32(observed)
    draw = np.random.default_rng(seed)
    rows = observed[draw.integers(len(observed), size=n)]
    swapped = draw.random((n, ensemble.features)) < draw.random((n, 1))
    trees = [t for e in (ensemble, *originals) for column in e.columns for t in column.trees]
    feature = np.concatenate([tree.feature[~tree.is_leaf] for tree in trees])
    threshold = np.concatenate([tree.threshold[~tree.is_leaf] for tree in trees])
    for j in range(ensemble.features):
        at = np.unique(threshold[feature == j])
        with np.errstate(over="ignore", under="ignore"):
            beside = [np.nextafter(at, np.float32(side)) for side in (-np.inf, np.inf)]
        pool = np.concatenate([at, *beside, _EDGES])
        pool = pool if infinite else pool[~np.isinf(pool)]
        chosen = swapped[:, j]
        rows[chosen, j] = draw.choice(pool, size=int(chosen.sum()))
    return rows


def check(
    model: bytes, ensemble: Ensemble, rows: Floats, *, threads: tuple[int, ...] = (1, 2), alone: int = 2_000
) -> Parity:
    """Return the record of a comparison in which every margin of every row agreed to the bit.

    Args:
        model: what `to_onnx` answered.
        ensemble: what it was made from.
        rows: float32 [N, F], held-out and adversarial.
        threads: numbers of intra-op threads; each scores all rows at once and the first `alone` one at a time.
        alone: rows for batches of 1.

    Raises:
        Malformed: outside the runtime's profile, refused by onnxruntime, or differing, with the rows' indices.
    """
    facts = check_model(model, place="model", features=ensemble.features, columns=len(ensemble.columns))
    expected = walk(ensemble, rows)
    rows = np.ascontiguousarray(rows)
    few = rows[:alone]
    for count in threads:
        score = _scorer(model, count)
        _compare(score(rows), expected, f"{count} threads, all rows at once")
        singly = [score(few[i : i + 1]) for i in range(len(few))]
        if singly:
            _compare(np.concatenate(singly), expected[:alone], f"{count} threads, one row at a time")
    return Parity(
        rows=len(rows),
        rows_alone=len(few),
        differing=0,
        threads=threads,
        columns=facts.columns,
        trees=facts.trees,
        nodes=facts.nodes,
        step=ensemble.step,
        bound=int(facts.bound * (facts.step / ensemble.step)),
        size=facts.size,
    )


def _scorer(model: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no base class for its errors
        raise Malformed("is refused by onnxruntime", place="model", remedy="emit it again") from error
    return lambda rows: session.run(["margin"], {"x": rows})[0]


def _compare(scored: Floats, expected: Floats, how: str) -> None:
    if scored.dtype != np.float32 or scored.shape != expected.shape:
        raise Malformed(f"expected float32 {list(expected.shape)} ({how})", place="margin")
    different = scored.view(np.uint32) != expected.view(np.uint32)
    bad = np.flatnonzero(different.any(axis=1))
    if bad.size:
        some = ", ".join(str(i) for i in bad[:10]) + (" …" if bad.size > 10 else "")
        what = f"differs from the reference walk in {bad.size} of {len(scored)} rows ({how}): {some}"
        raise Malformed(what, place="margin", remedy="do not ship it; emit it again from the same ensemble")


def check_library(ensemble: Ensemble, rows: Floats, expected: NDArray[np.float64] | Floats) -> float:
    """Return the largest distance between the rounded ensemble and the library's own margins.

    Rounding moves a leaf or a base by at most half a step, so (trees + 1) * step / 2 bounds the distance of a faithful
    extraction. It holds before thresholds are coarsened and leaves collapsed; both change the model on purpose. On
    `finest_step` the bound is far below any leaf, so that one row on the wrong side of one split is found.

    scikit-learn and LightGBM compare and add in float64, float32 rows cast up: exactly what the form does. XGBoost adds
    in float32: what it answers is off by up to (trees + 2) roundings of 2^-24 of the bound, granted on top where
    `expected` is float32, and only there.

    Args:
        ensemble: on its grid, straight from the extractors.
        rows: float32 [N, F].
        expected: [N, P], the library's raw predictions (`library_margins`), in the type in which it adds.

    Raises:
        Malformed: rows that are not float32, or a row further away, with the rows' indices.
    """
    apart = np.abs(walk(ensemble, rows).astype(np.float64) - expected)
    own = 2.0**-24 if expected.dtype == np.float32 else 0.0
    allowed = np.array([_allowed(column, ensemble.step, own) for column in ensemble.columns])
    bad = np.flatnonzero((~(apart <= allowed * (1 + 1e-9))).any(axis=1))
    if bad.size:
        some = ", ".join(str(i) for i in bad[:10]) + (" …" if bad.size > 10 else "")
        what = f"differs from the library in {bad.size} of {len(rows)} rows: {some}"
        raise Malformed(what, place="margin", remedy="train on float32 values, finite or NaN")
    return float(apart.max(initial=0.0))


def _allowed(column: Column, step: float, own: float) -> float:
    count = len(column.trees)
    return (count + 1) * step / 2 + (count + 2) * own * bound_of(column)
