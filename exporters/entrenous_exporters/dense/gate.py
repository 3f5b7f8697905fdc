"""The parity gate of dense graphs: further from the library's own margins than was promised, and nothing ships."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrenous.decisions.form import MOST_TOLERANCE
from entrenous.model.onnx_dense import check_dense
from entrenous.model.scorer import Scorer, open_session
from entrenous_consent.errors import Malformed
from entrenous_exporters.dense.pipeline import Linear
from entrenous_exporters.trees.form import Floats, check_float32

__all__ = ["DenseParity", "check_dense_parity", "dense_margins", "dense_rows"]

_MAX, _TINY = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
_EDGES = np.array([np.nan, 0.0, -0.0, _TINY, -_TINY, 1000 * _TINY, -1000 * _TINY, _MAX, -_MAX], np.float32)
_OFF_CODE = np.array([-1.0, -0.5, 0.5, 1.5, 1e6, -1e6, 2.0**31, 2.0**63, -(2.0**63)], np.float32)
_BLOCK = 8_192
_SCORED = 2_000

Columns = Sequence[tuple[Linear, Sequence[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseParity:
    """What the gate compared, for the model card.

    Attributes:
        rows: rows scored one at a time and in batches.
        distance: the largest distance from the library's margin, relative to the larger of 1 and the margin.
        tolerance: what was allowed, and the manifest is to state.
        bound: the largest magnitude that a margin can reach, whatever the input. size: bytes of the model.
    """

    rows: int
    distance: float
    tolerance: float
    bound: float
    size: int


def dense_margins(columns: Columns, rows: Floats) -> NDArray[np.float64]:
    """Return the library's own margins, [N, M]: each pipeline's `decision_function` in float64, one after the other.

    Args:
        columns: P models with the positions of their columns. rows: float32 [N, F], finite or NaN.

    Raises:
        Malformed: rows of another type.
    """
    check_float32(rows)
    wide = rows.astype(np.float64)
    found = [linear.pipeline.decision_function(wide[:, list(at)]).reshape(len(rows), -1) for linear, at in columns]
    return np.concatenate(found, axis=1)


def dense_rows(columns: Columns, observed: Floats, n: int, seed: int) -> Floats:
    """Return float32 [n, F] rows that sit on and beside every bound, centre and code.

    Each row is an observed one in which a random share of the values is drawn from the feature's pool: what its models
    hold for it, the two float32 neighbours of that, codes that are fractional, negative or out of range, NaN, ±0,
    denormals and the largest floats.

    Args:
        columns: P models with the positions of their columns. observed: float32 [M, F], M at least 1.
        n: rows wanted. seed: of the draw.

    Raises:
        Malformed: observed rows of another type.
    """
    check_float32(observed)
    draw = np.random.default_rng(seed)
    rows = observed[draw.integers(len(observed), size=n)]
    swapped = draw.random(rows.shape) < draw.random((n, 1))
    for j in range(rows.shape[1]):
        held = [_held(linear, list(at).index(j)) for linear, at in columns if j in list(at)]
        at = np.unique(np.concatenate([*held, _OFF_CODE]))
        beside = [np.nextafter(at, np.float32(side)) for side in (-np.inf, np.inf)]
        pool = np.concatenate([at, *beside, _EDGES])
        chosen = swapped[:, j]
        rows[chosen, j] = draw.choice(pool, size=int(chosen.sum()))
    return rows


def _held(linear: Linear, column: int) -> Floats:
    """Return the values that a model holds for one of its columns."""
    values: list[float] = []
    for name, part, at in linear.pipeline[0].transformers_:
        if name not in ("numbers", "codes") or column not in list(at):
            continue
        i = list(at).index(column)
        if name == "codes":
            values += [float(code) for code in part.categories_[i]]
        else:
            fill, clip, scale = (step for _, step in part.steps)
            values += [fill.statistics_[i], scale.mean_[i], clip.kw_args["a_min"][i], clip.kw_args["a_max"][i]]
    return np.array(values, np.float32)


def check_dense_parity(model: bytes, columns: Columns, rows: Floats, tolerance: float) -> DenseParity:
    """Return the record of a comparison in which every margin of every row was within `tolerance`.

    Each row is scored alone, as the runtime does, and again in batches; the first 2,000 through the runtime's own
    scorer too, which must give the bits of the row alone.

    Args:
        model: what `to_dense_onnx` answered. columns: what it was made from.
        rows: float32 [N, F], held-out and adversarial, finite or NaN, at least one.
        tolerance: relative to the larger of 1 and the margin; above 0, at most 2^-10.

    Raises:
        Malformed: outside the runtime's profile, or a margin further away or not finite, with the rows' indices.
    """
    if not 0 < tolerance <= MOST_TOLERANCE:
        raise Malformed("is not above 0 and at most 2^-10", place="tolerance", remedy="use 2^-16 or so")
    check_float32(rows)
    if not len(rows):
        raise Malformed("are none", place="rows", remedy="give held-out and adversarial ones")
    width = rows.shape[1]
    readable = [frozenset(int(i) for i in at) for linear, at in columns for _ in range(linear.outputs)]
    facts = check_dense(model, place="model", features=width, columns=len(readable), readable=readable)
    expected = dense_margins(columns, rows)
    rows = np.ascontiguousarray(rows)
    session = open_session(model)
    alone = np.concatenate([session.run(["margin"], {"x": rows[i : i + 1]})[0] for i in range(len(rows))])
    batches = range(0, len(rows), _BLOCK)
    together = np.concatenate([session.run(["margin"], {"x": rows[i : i + _BLOCK]})[0] for i in batches])
    distance = max(
        _compare(alone, expected, tolerance, "one row at a time"),
        _compare(together, expected, tolerance, "in batches"),
    )
    _check_scorer(Scorer(model, features=width, columns=len(readable)), rows[:_SCORED], alone[:_SCORED])
    return DenseParity(rows=len(rows), distance=distance, tolerance=tolerance, bound=facts.bound, size=facts.size)


def _compare(scored: Floats, expected: NDArray[np.float64], tolerance: float, how: str) -> float:
    distance = np.abs(scored.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    _refuse(~(distance <= tolerance), f"is further than {tolerance:.2g} from the library", how)
    return float(distance.max())


def _check_scorer(scorer: Scorer, rows: Floats, alone: Floats) -> None:
    scored = [[scorer.margin(row.data, [], i) for i in range(alone.shape[1])] for row in rows]
    other = np.array(scored, np.float32).view(np.uint32) != alone.view(np.uint32)
    _refuse(other, "differs in bits from what the runtime's scorer answers", "one row at a time")


def _refuse(bad: NDArray[np.bool_], what: str, how: str) -> None:
    at = np.flatnonzero(bad.any(axis=1))
    if at.size:
        some = ", ".join(str(i) for i in at[:10]) + (" …" if at.size > 10 else "")
        what = f"{what} in {at.size} of {len(bad)} rows ({how}): {some}"
        raise Malformed(what, place="margin", remedy="do not ship it; scale its columns, or use a larger l2")
