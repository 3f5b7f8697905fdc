"""The one form every tree passes through: extracted into it, coarsened, checked, rounded and emitted from it.

A row goes left where `x <= threshold`; NaN goes where `nan_left` says. Nodes stand in pre-order (a node, its left
subtree, its right subtree), so a subtree is a contiguous range. Rounding makes sums exact: with every leaf and base on
one power-of-two step and |base| + Σ max|leaf| <= 2^24 steps, each partial float32 sum is a float32, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil, frexp, isfinite, log2
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entrenous_consent.errors import Malformed

__all__ = [
    "DEFAULT_STEP",
    "MOST_STEPS",
    "STEP_RANGE",
    "Column",
    "Ensemble",
    "Floats",
    "Tree",
    "assemble",
    "bound_of",
    "check_float32",
    "coarsen",
    "coarsened",
    "finest_step",
    "float32_rows",
    "floor32",
    "fold",
    "on_grid",
    "parse_tree",
    "weighted",
]

Floats = NDArray[np.float32]

DEFAULT_STEP = 2.0**-10
MOST_STEPS = 1 << 24
"""The integers up to here are all float32, so sums of that many steps are exact."""
STEP_RANGE = (2.0**-64, 2.0**64)
"""Steps far from float32's denormals and its overflow: no sum of `MOST_STEPS` comes near either."""
_SIGNIFICANT_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """One binary tree of n nodes in pre-order; read-only arrays of shape [n]. Built by `parse_tree`.

    Attributes:
        feature: int32, the column a split reads; 0 at a leaf.
        threshold: float32, finite or +inf; 0 at a leaf.
        left, right: int32, the children; 0 at a leaf.
        nan_left: bool, whether NaN goes left; False at a leaf.
        is_leaf: bool.
        value: float64, what a leaf adds to the margin; exactly float32 once on the grid; 0 at a split.
    """

    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    nan_left: NDArray[np.bool_]
    is_leaf: NDArray[np.bool_]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Column:
    """One margin: its trees, and the base they add to."""

    trees: tuple[Tree, ...]
    base: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """What one graph holds. Built by `assemble`.

    Attributes:
        columns: one margin for each consent pattern (pattern-major, then arm): P of them.
        features: F, the width of the full vector.
        step: the grid of leaves and bases, a power of two; 0 before `on_grid`.
    """

    columns: tuple[Column, ...]
    features: int
    step: float = 0.0


def floor32(values: ArrayLike) -> Floats:
    """Return the largest float32 <= each value, so that `x <= t` is unchanged for every float32 x.

    Args:
        values: float64, any shape. Below the finite range of float32 the answer is -inf.
    """
    exact = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):
        near = exact.astype(np.float32)
        below = np.nextafter(near, np.float32(-np.inf))
    return np.asarray(np.where(near > exact, below, near), dtype=np.float32)


def check_float32(rows: NDArray[Any]) -> None:
    """Refuse rows that are not float32 [N, columns]: casting would move them across thresholds, silently.

    Raises:
        Malformed: another type or shape.
    """
    if rows.dtype != np.float32 or rows.ndim != 2:
        remedy = "make them with float32_rows before the model is trained, and train on those"
        raise Malformed(f"expected float32 [N, columns], not {rows.dtype}", place="rows", remedy=remedy)


def float32_rows(rows: ArrayLike) -> Floats:
    """Return the rows as float32 [N, F], if not one value is changed by it.

    A model trained on float64 and fed float32 scores other numbers than it learnt from; Unix seconds lose two minutes.

    Raises:
        Malformed: a value that float32 does not hold, with the columns.
    """
    exact = np.asarray(rows)
    if exact.ndim != 2 or exact.dtype.kind not in "fiub":
        raise Malformed(f"expected numbers [N, F], not {exact.dtype}", place="rows", remedy="encode them first")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        near = exact.astype(np.float32)
        back = near.astype(exact.dtype)
    bad = np.flatnonzero(((back != exact) & ~(np.isnan(back) & np.isnan(exact))).any(axis=0))
    if bad.size:
        some = ", ".join(str(i) for i in bad[:10]) + (" …" if bad.size > 10 else "")
        what = f"hold values that float32 changes, in the columns {some}"
        remedy = "count days instead of Unix times, or cast with astype(np.float32) before training and train on that"
        raise Malformed(what, place="rows", remedy=remedy)
    return near


def coarsen(thresholds: ArrayLike) -> Floats:
    """Return each threshold rounded down to 8 significant bits, as float32.

    Args:
        thresholds: any shape; finite or +inf. Both zeros become +0; +inf stays.
    """
    with np.errstate(over="ignore", under="ignore"):
        mantissa, exponent = np.frexp(np.asarray(thresholds, dtype=np.float64))
        kept = np.ldexp(np.floor(np.ldexp(mantissa, _SIGNIFICANT_BITS)), exponent - _SIGNIFICANT_BITS)
    return floor32(kept + 0.0)


def parse_tree(
    *,
    feature: ArrayLike,
    threshold: ArrayLike,
    left: ArrayLike,
    right: ArrayLike,
    nan_left: ArrayLike,
    is_leaf: ArrayLike,
    value: ArrayLike,
    place: str = "tree",
) -> Tree:
    """Return the tree under node 0 in pre-order; nodes that nothing reaches are dropped, thresholds are rounded down.

    Args:
        feature, threshold, left, right, nan_left, is_leaf, value: shape [n], as in `Tree`, nodes in any order.
        place: which tree this is, for errors.

    Raises:
        Malformed: unequal lengths, a child out of range or reached twice, a split on a column below 0, a threshold that
            is NaN or -inf, a leaf value that is not finite.
    """
    leaf = np.asarray(is_leaf, dtype=np.bool_)
    parts: dict[str, NDArray[Any]] = {
        "feature": np.asarray(feature, dtype=np.int64),
        "left": np.asarray(left, dtype=np.int64),
        "right": np.asarray(right, dtype=np.int64),
        "nan_left": np.asarray(nan_left, dtype=np.bool_),
        "threshold": floor32(threshold) + np.float32(0),
        "value": np.asarray(value, dtype=np.float64),
    }
    if leaf.ndim != 1 or not leaf.size or any(part.shape != leaf.shape for part in parts.values()):
        raise Malformed("has arrays that are empty or of unequal length", place=place, remedy="extract again")
    order = _preorder(leaf, parts["left"], parts["right"], place)
    number = np.zeros(leaf.size, dtype=np.int32)
    number[order] = np.arange(order.size)
    leaf = leaf[order]
    chosen = {name: part[order] for name, part in parts.items()}
    if (chosen["feature"][~leaf] < 0).any():
        raise Malformed("splits on a column below 0", place=place, remedy="extract again")
    splits = chosen["threshold"][~leaf]
    if np.isnan(splits).any() or np.isneginf(splits).any():
        raise Malformed("has a threshold that is NaN or -inf", place=place, remedy="train on finite values")
    if not np.isfinite(chosen["value"][leaf]).all():
        raise Malformed("has a leaf that is not finite", place=place, remedy="train on finite values")
    return Tree(
        feature=_frozen(np.where(leaf, 0, chosen["feature"]).astype(np.int32)),
        threshold=_frozen(np.where(leaf, np.float32(0), chosen["threshold"])),
        left=_frozen(np.where(leaf, 0, number[np.where(leaf, 0, chosen["left"])])),
        right=_frozen(np.where(leaf, 0, number[np.where(leaf, 0, chosen["right"])])),
        nan_left=_frozen(chosen["nan_left"] & ~leaf),
        is_leaf=_frozen(leaf),
        value=_frozen(np.where(leaf, chosen["value"], 0.0)),
    )


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _preorder(leaf: NDArray[np.bool_], left: NDArray[Any], right: NDArray[Any], place: str) -> NDArray[np.intp]:
    order: list[int] = []
    seen = [False] * leaf.size
    waiting = [0]
    while waiting:
        node = waiting.pop()
        if not 0 <= node < leaf.size or seen[node]:
            raise Malformed(f"reaches node {node} twice or out of range", place=place, remedy="extract again")
        seen[node] = True
        order.append(node)
        if not leaf[node]:
            waiting += (int(right[node]), int(left[node]))
    return np.array(order, dtype=np.intp)


def assemble(columns: Iterable[Column], features: int) -> Ensemble:
    """Return the ensemble of these columns over a vector of `features` values.

    Raises:
        Malformed: no column, a column without trees, a base that is not finite, a split on a column >= `features`.
    """
    columns = tuple(columns)
    if not columns:
        raise Malformed("holds no column", place="ensemble", remedy="train at least one consent pattern")
    for i, column in enumerate(columns):
        if not column.trees or not isfinite(column.base):
            raise Malformed("needs a tree and a finite base", place=f"columns[{i}]", remedy="train it again")
        for j, tree in enumerate(column.trees):
            if int(tree.feature.max()) >= features:
                place = f"columns[{i}].trees[{j}]"
                raise Malformed(f"splits on a column >= {features}", place=place, remedy="check the positions")
    return Ensemble(columns=columns, features=features)


def coarsened(ensemble: Ensemble) -> Ensemble:
    """Return the ensemble with every threshold rounded down to 8 significant bits."""
    columns = tuple(
        replace(column, trees=tuple(replace(t, threshold=_frozen(coarsen(t.threshold))) for t in column.trees))
        for column in ensemble.columns
    )
    return replace(ensemble, columns=columns)


def fold(column: Column, a: float, b: float) -> Column:
    """Return the column whose margin is a · margin + b: `a` multiplied into leaves and base, `b` added to the base.

    Raises:
        Malformed: `a` is not above 0, or either is not finite.
    """
    if not (isfinite(a) and isfinite(b) and a > 0):
        what = "does not rise with the margin: the model ranks visitors backwards, or not at all"
        raise Malformed(what, place="calibration", remedy="do not ship it; give it more rows, or better features")
    trees = tuple(replace(tree, value=_frozen(tree.value * a)) for tree in column.trees)
    return Column(trees=trees, base=column.base * a + b)


def weighted(terms: Iterable[tuple[float, Column]]) -> Column:
    """Return the column whose margin is the sum of `weight` · margin over `terms`: their trees, side by side.

    Raises:
        Malformed: no term, or a weight that is not finite.
    """
    terms = tuple(terms)
    if not terms or not all(isfinite(weight) for weight, _ in terms):
        raise Malformed("needs a column and finite weights", place="weights", remedy="check what is added up")
    return Column(
        trees=tuple(
            replace(tree, value=_frozen(tree.value * weight)) for weight, column in terms for tree in column.trees
        ),
        base=sum(weight * column.base for weight, column in terms),
    )


def on_grid(ensemble: Ensemble, step: float | None = None) -> Ensemble:
    """Return the ensemble with leaves and bases rounded to multiples of `step`.

    Args:
        ensemble: any ensemble.
        step: a power of two, in units of the margin; by default 2^-10, or the finest that the bound allows if coarser.

    Raises:
        Malformed: a step that is no power of two in `STEP_RANGE`, or |base| + Σ max|leaf| > 2^24 steps in some column.
    """
    if step is not None:
        return _rounded(ensemble, step)
    step = max(DEFAULT_STEP, _finest(ensemble))
    try:
        return _rounded(ensemble, step)
    except Malformed:
        return _rounded(ensemble, 2 * step)  # rounding leaves up may pass the bound by less than one doubling


def finest_step(ensemble: Ensemble) -> float:
    """Return a step that `on_grid` takes, as fine as the bound allows: where a comparison with a library is sharpest.

    Raises:
        Malformed: no step in `STEP_RANGE` would do.
    """
    step = max(_finest(ensemble), STEP_RANGE[0])
    try:
        return _rounded(ensemble, step).step
    except Malformed:
        return _rounded(ensemble, 2 * step).step


def _finest(ensemble: Ensemble) -> float:
    bound = max(bound_of(column) for column in ensemble.columns)
    return 2.0 ** (ceil(log2(bound)) - 24) if isfinite(bound) and bound > 0 else DEFAULT_STEP


def bound_of(column: Column) -> float:
    """Return |base| + Σ max|leaf|, which no partial sum of the column passes."""
    return abs(column.base) + sum(float(np.abs(tree.value).max()) for tree in column.trees)


def _rounded(ensemble: Ensemble, step: float) -> Ensemble:
    if not STEP_RANGE[0] <= step <= STEP_RANGE[1] or frexp(step)[0] != 0.5:
        what = "is not a power of two in 2^-64..2^64"
        raise Malformed(what, place="step", remedy="scale the target, or pass 2**-10")
    columns = []
    for i, column in enumerate(ensemble.columns):
        trees = tuple(replace(tree, value=_frozen(np.rint(tree.value / step) * step + 0.0)) for tree in column.trees)
        rounded = Column(trees=trees, base=round(column.base / step) * step + 0.0)
        if bound_of(rounded) > MOST_STEPS * step:
            what = "sums past 2^24 steps, where float32 sums stop being exact"
            raise Malformed(what, place=f"columns[{i}]", remedy="pass a coarser step")
        columns.append(rounded)
    return replace(ensemble, columns=tuple(columns), step=step)
