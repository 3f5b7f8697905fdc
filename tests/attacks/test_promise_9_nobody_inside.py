"""Promise 9, nobody inside the model: one visitor with many rows tries to own a leaf, or to be read off a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from entrenous.model.onnx_profile import check_model
from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import (
    Ensemble,
    assemble,
    coarsen,
    from_hist_gradient_boosting,
    leaf_of,
    least_support,
    lone_thresholds,
    on_grid,
    protect,
    to_onnx,
)

SECRET = np.float32(54_321.25)
CROWD, LOUD = 4_000, 3_000


def fit(rows: np.ndarray, target: np.ndarray) -> Ensemble:
    model = HistGradientBoostingClassifier(max_iter=8, max_leaf_nodes=8, early_stopping=False, random_state=0)
    return assemble([from_hist_gradient_boosting(model.fit(rows, target), [0, 1], 2)], 2)


def crowd_and_one(value: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crowd of one row each between 0 and 100,000, and one visitor, number 0, with thousands of rows at `value`."""
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(CROWD + LOUD, 2)).astype(np.float32)
    rows[:CROWD, 0] = draw.uniform(0, 100_000, CROWD)
    rows[CROWD:, 0] = value
    visitors = np.concatenate([np.arange(1, CROWD + 1), np.zeros(LOUD, dtype=np.int64)])
    return rows, (rows[:, 0] <= value) & (draw.random(len(rows)) < 0.9), visitors


def owned_leaves(ensemble: Ensemble, rows: np.ndarray, visitors: np.ndarray) -> int:
    trees = [tree for column in ensemble.columns for tree in column.trees]
    reached = [(leaf_of(tree, rows), tree) for tree in trees]
    return sum(
        np.unique(visitors[at == node]).size == 1 for at, tree in reached for node in np.flatnonzero(tree.is_leaf)
    )


def test_a_visitor_with_many_extreme_rows_owns_no_leaf() -> None:
    rows, _, visitors = crowd_and_one(1e9)
    target = (rows[:, 0] > 1e8) | (rows[:, 1] > 1)
    raw = fit(rows, target)
    assert owned_leaves(raw, rows, visitors) > 0, "the attack is real: min_samples_leaf counts rows"
    safe = on_grid(protect(raw, rows, visitors, 5))
    assert owned_leaves(safe, rows, visitors) == 0
    assert least_support(safe, rows, visitors) >= 5
    extreme = [t for tree in safe.columns[0].trees for t in tree.threshold[~tree.is_leaf & (tree.feature == 0)]]
    assert all(t < 100_000 for t in extreme), "no split is left that only this visitor is beyond"
    assert check_model(to_onnx(safe), place="model", features=2, columns=1).trees == 8
    assert least_support(raw, rows, visitors) == 1, "the extracted ensemble is unchanged"


def test_a_visitors_own_value_is_no_threshold() -> None:
    rows, target, visitors = crowd_and_one(SECRET)
    raw = fit(rows, target)
    written = {float(t) for tree in raw.columns[0].trees for t in tree.threshold}
    assert float(SECRET) in written, "the attack is real: the library splits on the value itself"
    assert any(lone_thresholds(tree, rows, visitors).size for tree in raw.columns[0].trees)
    safe = protect(raw, rows, visitors, 5)
    for tree in safe.columns[0].trees:
        assert not (tree.threshold == SECRET).any()
        assert not lone_thresholds(tree, rows, visitors).size
        assert (coarsen(tree.threshold) == tree.threshold).all()


def test_a_value_that_coarsening_keeps_is_no_threshold_either() -> None:
    value = 54_272.0
    assert coarsen([value])[0] == value
    rows, target, visitors = crowd_and_one(value)
    raw = fit(rows, target)
    assert any((tree.threshold == value).any() for tree in raw.columns[0].trees)
    safe = protect(raw, rows, visitors, 5)
    assert not any((tree.threshold == value).any() for tree in safe.columns[0].trees)
    assert least_support(safe, rows, visitors) >= 5


def test_a_handful_of_visitors_ships_nothing_however_many_rows_they_have() -> None:
    rows, target, _ = crowd_and_one(SECRET)
    raw = fit(rows, target)
    few = np.arange(len(rows)) % 4
    with pytest.raises(Malformed, match=r"fewer than 5 distinct visitors.*train on more visitors"):
        protect(raw, rows, few, 5)
    with pytest.raises(Malformed, match="call on_grid first"):
        to_onnx(raw)
