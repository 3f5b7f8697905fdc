"""The reference: walking every tree with numpy, independently of any runtime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.form import Column, Ensemble, Floats, Tree, check_float32

__all__ = ["leaf_of", "margin_of", "walk"]


def leaf_of(tree: Tree, rows: Floats) -> NDArray[np.int32]:
    """Return the leaf that each row reaches, as a node number.

    Args:
        tree: in pre-order.
        rows: float32 [N, F]; Fortran order is faster.

    Raises:
        Malformed: rows of another type.
    """
    check_float32(rows)
    reached = np.empty(len(rows), dtype=np.int32)
    waiting: dict[int, NDArray[np.intp]] = {0: np.arange(len(rows))}
    for node in range(tree.is_leaf.size):
        here = waiting.pop(node)
        if tree.is_leaf[node]:
            reached[here] = node
            continue
        x = rows[here, tree.feature[node]]
        goes_left = x <= tree.threshold[node]
        if tree.nan_left[node]:
            goes_left |= np.isnan(x)
        waiting[int(tree.left[node])] = here[goes_left]
        waiting[int(tree.right[node])] = here[~goes_left]
    return reached


def margin_of(column: Column, rows: Floats) -> NDArray[np.float64]:
    """Return the column's margins [N] in float64: base, then each tree's leaf.

    Raises:
        Malformed: rows of another type.
    """
    rows = np.asfortranarray(rows)
    total = np.full(len(rows), column.base, dtype=np.float64)
    for tree in column.trees:
        total += tree.value[leaf_of(tree, rows)]
    return total


def walk(ensemble: Ensemble, rows: Floats) -> Floats:
    """Return the margins float32 [N, P] by walking every tree: the reference for every runtime.

    Exact for an ensemble on its grid; before that, the float64 sums rounded once.

    Args:
        ensemble: of F features and P columns.
        rows: float32 [N, F]; NaN is absent.

    Raises:
        Malformed: rows of another type or width.
    """
    check_float32(rows)
    if rows.shape[1] != ensemble.features:
        raise Malformed(f"expected float32 [N, {ensemble.features}]", place="rows", remedy="check the schema")
    rows = np.asfortranarray(rows)
    margins = np.empty((len(rows), len(ensemble.columns)), dtype=np.float32)
    for i, column in enumerate(ensemble.columns):
        margins[:, i] = margin_of(column, rows)
    return margins
