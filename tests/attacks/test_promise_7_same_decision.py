"""Promise 7, same input, same decision: models whose bits would depend on order, batch or converter are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from entrenous.model.onnx_profile import check_model
from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import (
    Column,
    Ensemble,
    adversarial_rows,
    assemble,
    check,
    check_library,
    from_hist_gradient_boosting,
    on_grid,
    parse_tree,
    to_onnx,
    walk,
)


def constant(*leaves: float) -> Ensemble:
    trees = tuple(
        parse_tree(feature=[0], threshold=[0], left=[0], right=[0], nan_left=[0], is_leaf=[1], value=[value])
        for value in leaves
    )
    return assemble([Column(trees=trees, base=0.0)], 1)


def with_weights(model: bytes, weights: list[float]) -> bytes:
    parsed = onnx.load_from_string(model)
    (target,) = (each for each in parsed.graph.node[0].attribute if each.name == "target_weights")
    target.floats[:] = weights
    return parsed.SerializeToString()


def fitted() -> tuple[HistGradientBoostingRegressor, np.ndarray]:
    """A model trained on float64, so that most of its thresholds are no float32."""
    rows = np.random.default_rng(8).normal(size=(3_000, 3))
    model = HistGradientBoostingRegressor(max_iter=10, max_leaf_nodes=8, random_state=0)
    return model.fit(rows, rows[:, 0] + np.sin(3 * rows[:, 1])), rows.astype(np.float32)


def test_leaves_whose_sum_depends_on_the_order_are_refused_by_exporter_and_runtime() -> None:
    leaves = [2.0**25, 1.0, -(2.0**25), 1.0]
    forwards, backwards = (np.cumsum(np.array(way, np.float32))[-1] for way in (leaves, sorted(leaves)))
    assert forwards != backwards, "the attack is real"
    with pytest.raises(Malformed, match=r"2\^24 steps"):
        on_grid(constant(*leaves), 1.0)
    smuggled = with_weights(to_onnx(on_grid(constant(1, 2, 3, 4))), leaves)
    with pytest.raises(Malformed, match=r"output 0: sums past 2\^24 steps"):
        check_model(smuggled, place="models.promotion", features=1, columns=1)


def test_leaves_as_a_library_leaves_them_are_refused_by_the_runtime() -> None:
    smuggled = with_weights(to_onnx(on_grid(constant(1, 2, 3))), [0.1, 0.7, 3.3])
    with pytest.raises(Malformed, match="not on one grid"):
        check_model(smuggled, place="models.promotion", features=1, columns=1)


def test_thresholds_rounded_to_nearest_are_found_and_refused() -> None:
    model, rows = fitted()
    ready = on_grid(assemble([from_hist_gradient_boosting(model, range(3), 3)], 3))
    nodes = [predictor.nodes for (predictor,) in model._predictors]
    nearest = tuple(
        replace(tree, threshold=each["num_threshold"].astype(np.float32))
        for tree, each in zip(ready.columns[0].trees, nodes, strict=True)
    )
    naive = replace(ready, columns=(replace(ready.columns[0], trees=nearest),))
    tricky = adversarial_rows(naive, rows, 20_000, 1, originals=[ready])
    expected = model.predict(tricky)[:, None]
    assert check_library(ready, tricky, expected) <= 11 * ready.step / 2
    with pytest.raises(Malformed, match="differs from the library"):
        check_library(naive, tricky, expected)
    with pytest.raises(Malformed, match="differs from the reference walk"):
        check(to_onnx(naive), ready, tricky)


def test_a_refused_model_leaves_the_ensemble_as_it_was() -> None:
    ready = on_grid(constant(1, 2, 3))
    model, rows = to_onnx(ready), np.zeros((4, 1), np.float32)
    with pytest.raises(Malformed, match="4 of 4 rows"):
        check(with_weights(model, [1, 2, 3.5]), ready, rows)
    assert walk(ready, rows).tolist() == [[6.0]] * 4
    assert to_onnx(ready) == model
    with pytest.raises(ValueError, match="read-only"):
        ready.columns[0].trees[0].value[0] = 9.0
