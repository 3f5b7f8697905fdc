"""Nobody inside the model: no leaf under *k* distinct visitors, no threshold that is one visitor's value.

Rows are not people: a visitor with ten thousand rows satisfies any `min_samples_leaf` alone. So distinct visitors are
counted, after thresholds were coarsened, since coarsening moves rows between leaves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.form import Ensemble, Floats, Tree, check_float32, coarsen, coarsened, parse_tree
from entrenous_exporters.trees.reference import leaf_of

__all__ = ["DEFAULT_K", "enforce", "least_support", "lone_thresholds", "protect", "step_aside", "support"]

DEFAULT_K = 5
_MOST_VISITORS = 1 << 40

Visitors = NDArray[np.int64]


def support(tree: Tree, rows: Floats, visitors: Visitors) -> NDArray[np.int64]:
    """Return the number of distinct visitors under each node that is a leaf; 0 at splits. Shape [n].

    Args:
        tree: of n nodes.
        rows: float32 [N, F], the training rows.
        visitors: int64 [N], whose row each is, numbered from 0.

    Raises:
        Malformed: rows that are not float32, not one visitor number a row, or a number below 0.
    """
    return _distinct(tree, leaf_of(tree, rows), _checked(visitors, rows))


def _checked(visitors: Visitors, rows: Floats) -> Visitors:
    check_float32(rows)
    codes = np.asarray(visitors)
    if codes.shape != (len(rows),) or not np.issubdtype(codes.dtype, np.integer):
        what = "expected one integer for each row"
        raise Malformed(what, place="visitors", remedy="number them with np.unique(…, return_inverse=True)")
    if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) < _MOST_VISITORS:
        what = "expected numbers from 0"
        raise Malformed(what, place="visitors", remedy="number them with np.unique(…, return_inverse=True)")
    return codes.astype(np.int64, copy=False)


def _distinct(tree: Tree, reached: NDArray[np.int32], visitors: Visitors) -> NDArray[np.int64]:
    many = int(visitors.max(initial=0)) + 1
    pairs = np.sort(reached.astype(np.int64) * many + visitors)  # np.unique hashes: 20 to 40 times slower here
    first = np.diff(pairs, prepend=-1) > 0
    return np.bincount(pairs[first] // many, minlength=tree.is_leaf.size)


def least_support(model: Ensemble | Tree, rows: Floats, visitors: Visitors) -> int:
    """Return the fewest distinct visitors under any leaf of a tree, or of all trees of an ensemble.

    Raises:
        Malformed: as `support`.
    """
    if isinstance(model, Tree):
        return int(support(model, rows, visitors)[model.is_leaf].min())
    rows = np.asfortranarray(rows)
    return min(least_support(tree, rows, visitors) for column in model.columns for tree in column.trees)


def lone_thresholds(tree: Tree, rows: Floats, visitors: Visitors) -> NDArray[np.intp]:
    """Return the splits whose threshold is, to the bit, a value that exactly one visitor holds in that column.

    Raises:
        Malformed: as `support`.
    """
    codes = _checked(visitors, rows)
    lone = []
    for node in np.flatnonzero(~tree.is_leaf):
        holders = codes[rows[:, tree.feature[node]] == tree.threshold[node]]
        if holders.size and (holders == holders[0]).all():
            lone.append(node)
    return np.array(lone, dtype=np.intp)


def step_aside(tree: Tree, rows: Floats, visitors: Visitors) -> Tree:
    """Return the tree with each lone threshold moved down to the next coarse value that is not lone.

    Raises:
        Malformed: as `support`, or where no finite value is left below.
    """
    threshold = coarsen(tree.threshold)
    while (lone := lone_thresholds(replace(tree, threshold=threshold), rows, visitors)).size:
        threshold[lone] = coarsen(np.nextafter(threshold[lone], np.float32(-np.inf)))
        if np.isneginf(threshold).any():
            raise Malformed("has no value left for a threshold", place="tree", remedy="scale the feature")
    threshold.flags.writeable = False
    return replace(tree, threshold=threshold)


def enforce(tree: Tree, rows: Floats, visitors: Visitors, k: int = DEFAULT_K) -> Tree:
    """Return the tree with the parent of every leaf under `k` distinct visitors collapsed, until none is left.

    A collapsed parent's value is the mean of its leaves, weighted by their rows.

    Args:
        tree: with its final thresholds.
        rows: float32 [N, F], the training rows.
        visitors: int64 [N], whose row each is, numbered from 0.
        k: at least 1.

    Raises:
        Malformed: `k` below 1, as `support`, or fewer than `k` visitors in all rows together.
    """
    if k < 1:
        raise Malformed("is below 1", place="k", remedy=f"use {DEFAULT_K} or more")
    codes = _checked(visitors, rows)
    reached = leaf_of(tree, rows)
    counts = np.bincount(reached, minlength=tree.is_leaf.size)
    held = _distinct(tree, reached, codes)
    is_leaf, value = tree.is_leaf.copy(), tree.value.copy()
    parent, end = _family(tree)
    failing = np.flatnonzero(is_leaf & (held < k))
    while failing.size:
        if is_leaf[0]:
            what = f"rests on fewer than {k} distinct visitors"
            raise Malformed(what, place="tree", remedy="train on more visitors")
        for node in np.unique(parent[failing])[::-1]:  # deepest first: a parent clears what stands below it
            inside = slice(node, end[node])
            within = (reached >= node) & (reached < end[node])
            rows_below = counts[inside].sum()
            if rows_below:
                value[node] = counts[inside] @ tree.value[inside] / rows_below
            is_leaf[node] = True
            is_leaf[node + 1 : end[node]] = False
            held[node] = np.unique(codes[within]).size
        failing = np.flatnonzero(is_leaf & (held < k))
    return parse_tree(
        feature=tree.feature,
        threshold=tree.threshold,
        left=tree.left,
        right=tree.right,
        nan_left=tree.nan_left,
        is_leaf=is_leaf,
        value=value,
    )


def _family(tree: Tree) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return each node's parent, and the end of its subtree's range."""
    n = tree.is_leaf.size
    parent = np.zeros(n, dtype=np.int32)
    splits = np.flatnonzero(~tree.is_leaf)
    parent[tree.left[splits]] = parent[tree.right[splits]] = splits
    end = np.arange(1, n + 1)
    for node in splits[::-1]:
        end[node] = end[tree.right[node]]
    return parent, end


def protect(ensemble: Ensemble, rows: Floats, visitors: Visitors, k: int = DEFAULT_K) -> Ensemble:
    """Return the ensemble that may ship: thresholds coarsened, none of them lone, no leaf under `k` distinct visitors.

    Args:
        ensemble: as extracted, over F features.
        rows: float32 [N, F], the training rows of visitors who granted `improve`.
        visitors: int64 [N], whose row each is, numbered from 0.
        k: the fewest distinct visitors under a leaf.

    Raises:
        Malformed: as `step_aside` and `enforce`.
    """
    rows = np.asfortranarray(rows)
    columns = tuple(
        replace(
            column,
            trees=tuple(enforce(step_aside(tree, rows, visitors), rows, visitors, k) for tree in column.trees),
        )
        for column in coarsened(ensemble).columns
    )
    return replace(ensemble, columns=columns, step=0.0)
