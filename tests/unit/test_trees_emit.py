"""Emission and the gate: equal bytes for equal ensembles, and not one bit let through."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import onnx
import onnxruntime
import pytest

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import (
    Column,
    Ensemble,
    Tree,
    adversarial_rows,
    assemble,
    check,
    on_grid,
    parse_tree,
    to_onnx,
    walk,
)


def stump(feature: int, threshold: float, left: float, right: float, *, nan_left: bool = False) -> Tree:
    return parse_tree(
        feature=[feature, 0, 0],
        threshold=[threshold, 0, 0],
        left=[1, 0, 0],
        right=[2, 0, 0],
        nan_left=[nan_left, False, False],
        is_leaf=[False, True, True],
        value=[0.0, left, right],
    )


def leaf(value: float) -> Tree:
    return parse_tree(feature=[0], threshold=[0], left=[0], right=[0], nan_left=[0], is_leaf=[1], value=[value])


def small() -> Ensemble:
    return on_grid(
        assemble(
            [
                Column(trees=(stump(0, 1.5, -0.5, 0.25), stump(2, np.inf, 0.125, 2.0)), base=0.75),
                Column(trees=(leaf(-0.25), stump(1, -3.0, 1.0, -1.0, nan_left=True)), base=-0.5),
            ],
            3,
        )
    )


def grid(seed: int, n: int) -> np.ndarray:
    values = np.array([np.nan, -np.inf, -3, np.nextafter(np.float32(-3), np.float32(0)), 1.5, 2, np.inf], np.float32)
    return np.random.default_rng(seed).choice(values, size=(n, 3))


def test_the_bytes_depend_on_the_ensemble_alone() -> None:
    assert to_onnx(small()) == to_onnx(small())
    # A new digest changes every signed bundle: change it on purpose only.
    assert sha256(to_onnx(small())).hexdigest() == "a5968c8dc19f2ad40b349b7e009da78e67e605d6d80b270cf90b68107f5746b3"


def test_the_graph_has_the_names_and_shapes_of_the_profile() -> None:
    model = onnx.load_from_string(to_onnx(small()))
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (x,), (margin,) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.type, x.shape) == ("x", "tensor(float)", ["N", 3])
    assert (margin.name, margin.type, margin.shape) == ("margin", "tensor(float)", ["N", 2])
    assert {each.domain: each.version for each in model.opset_import} == {"": 18, "ai.onnx.ml": 3}
    assert model.producer_name == "entrenous"
    assert not model.producer_version


def test_an_ensemble_off_the_grid_is_not_emitted() -> None:
    with pytest.raises(Malformed, match="call on_grid first"):
        to_onnx(replace(small(), step=0.0))


def test_a_model_of_single_leaves_scores_its_constants() -> None:
    ready = on_grid(assemble([Column(trees=(leaf(0.25), leaf(0.5)), base=-1), Column(trees=(leaf(0),), base=0)], 1))
    rows = np.array([[np.nan], [0]], np.float32)
    assert walk(ready, rows).tolist() == [[-0.25, 0.0]] * 2
    assert check(to_onnx(ready), ready, rows).differing == 0


def test_the_gate_answers_what_it_compared() -> None:
    ready = small()
    model = to_onnx(ready)
    record = check(model, ready, grid(1, 500), alone=50)
    assert (record.rows, record.rows_alone, record.differing, record.threads) == (500, 50, 0, (1, 2))
    assert (record.columns, record.trees, record.nodes) == (2, 4, 10)
    assert (record.step, record.bound, record.size) == (2.0**-10, int(3.25 * 2**10), len(model))


@pytest.mark.parametrize("what", ["threshold", "leaf", "nan", "base"])
def test_one_bit_of_difference_is_refused_with_its_rows(what: str) -> None:
    ready = small()
    model = onnx.load_from_string(to_onnx(ready))
    parts = {each.name: each for each in model.graph.node[0].attribute}
    rows = np.zeros((40, 3), np.float32)
    rows[17] = [1.5, np.nan, 0]
    if what == "threshold":
        parts["nodes_values"].floats[0] = np.nextafter(np.float32(1.5), np.float32(0))
    elif what == "leaf":
        rows[:] = [2, 0, 0]
        rows[17] = 1
        parts["target_weights"].floats[0] += 2.0**-10
    elif what == "nan":
        parts["nodes_missing_value_tracks_true"].ints[7] = 0
    else:
        parts["base_values"].floats[1] += 2.0**-10
    where = "40 of 40 rows .*: 0, 1, " if what == "base" else "1 of 40 rows .*: 17"
    with pytest.raises(Malformed, match=f"differs from the reference walk in {where}"):
        check(model.SerializeToString(), ready, rows)


def test_adversarial_rows_sit_on_and_beside_thresholds_and_at_the_edges() -> None:
    ready = small()
    before = replace(ready, columns=(Column(trees=(stump(0, 1.75, 0, 0),), base=0), ready.columns[1]))
    rows = adversarial_rows(ready, np.full((3, 3), 42, np.float32), 5_000, 9, originals=[before])
    assert rows.dtype == np.float32
    on = {float(v) for v in rows[:, 0] if not np.isnan(v)}
    for t in (np.float32(1.5), np.float32(1.75)):
        assert {float(t), float(np.nextafter(t, np.float32(-9))), float(np.nextafter(t, np.float32(9)))} <= on
    assert {42.0, np.inf, -np.inf, float(np.finfo(np.float32).max), float(np.float32(1e-45))} <= on
    assert np.isnan(rows).any(axis=0).all()
    assert np.signbit(rows[rows == 0]).any()
    again = adversarial_rows(ready, np.full((3, 3), 42, np.float32), 5_000, 9, originals=[before])
    assert (again.view(np.uint32) == rows.view(np.uint32)).all()
