"""From the one form to ONNX bytes: one `TreeEnsembleRegressor` node, equal bytes for equal ensembles."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from entrenous.model.onnx_profile import IR_VERSION, OPSETS, check_model
from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.form import Ensemble

__all__ = ["to_onnx"]


def to_onnx(ensemble: Ensemble) -> bytes:
    """Return the ensemble as an ONNX model: `x` float32 [N, F] in, `margin` float32 [N, P] out.

    Each tree adds to one column; nodes stand in pre-order. The bytes depend on the ensemble alone.

    Args:
        ensemble: on its grid, of F features and P columns.

    Raises:
        Malformed: not on a grid yet, or outside what the runtime accepts (`entrenous.model.onnx_profile`).
    """
    if not ensemble.step:
        raise Malformed("is not on a grid", place="ensemble", remedy="call on_grid first")
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["margin"], domain="ai.onnx.ml", **_attributes(ensemble))
    width, columns = ensemble.features, len(ensemble.columns)
    graph = helper.make_graph(
        [node],
        "entrenous",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info("margin", TensorProto.FLOAT, ["N", columns])],
    )
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="entrenous", graph=graph)
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in OPSETS.items())
    data: bytes = model.SerializeToString(deterministic=True)
    check_model(data, place="model", features=width, columns=columns)
    return data


def _attributes(ensemble: Ensemble) -> dict[str, Any]:
    placed = [(tree, i) for i, column in enumerate(ensemble.columns) for tree in column.trees]
    sizes = [tree.is_leaf.size for tree, _ in placed]
    trees = np.repeat(np.arange(len(placed)), sizes)
    nodes = np.concatenate([np.arange(size) for size in sizes])
    leaf = np.concatenate([tree.is_leaf for tree, _ in placed])
    weights = np.concatenate([tree.value for tree, _ in placed])[leaf].astype(np.float32)
    return {
        "n_targets": len(ensemble.columns),
        "base_values": [float(column.base) for column in ensemble.columns],
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "nodes_treeids": trees.tolist(),
        "nodes_nodeids": nodes.tolist(),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_featureids": np.concatenate([tree.feature for tree, _ in placed]).tolist(),
        "nodes_values": np.concatenate([tree.threshold for tree, _ in placed]).tolist(),
        "nodes_truenodeids": np.concatenate([tree.left for tree, _ in placed]).tolist(),
        "nodes_falsenodeids": np.concatenate([tree.right for tree, _ in placed]).tolist(),
        "nodes_missing_value_tracks_true": np.concatenate([tree.nan_left for tree, _ in placed]).astype(int).tolist(),
        "target_treeids": trees[leaf].tolist(),
        "target_nodeids": nodes[leaf].tolist(),
        "target_ids": np.repeat([i for _, i in placed], sizes)[leaf].tolist(),
        "target_weights": weights.tolist(),
    }
