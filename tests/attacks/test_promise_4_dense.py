"""Promise 4, in dense graphs: two signatures do not make a graph harmless; one that could do more is never active."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests import dense
from tests.repository import BUNDLE_PATH, Publisher, Runtime, pair

from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import to_dense_onnx


def graph() -> Any:
    features = len(dense.packaged().manifest.features)
    return onnx.load_from_string(to_dense_onnx(dense.packaged_linears(), features))


def _loop(proto: Any) -> None:
    body = helper.make_graph([], "body", [], [])
    proto.graph.node[1].CopyFrom(helper.make_node("Loop", ["t0"], ["t1"], body=body))


def _branch(proto: Any) -> None:
    body = helper.make_graph([], "body", [], [])
    proto.graph.node[1].CopyFrom(helper.make_node("If", ["t0"], ["t1"], then_branch=body, else_branch=body))


def _external(proto: Any) -> None:
    constant = proto.graph.initializer[1]
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="/etc/passwd")


def _huge(proto: Any) -> None:
    proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros(100_000, np.int64), "c0"))


def _cycle(proto: Any) -> None:
    proto.graph.node[1].input[:] = ["t4"]


def _note(proto: Any) -> None:
    proto.metadata_props.add(key="note", value="customer-42")


def _other_rows(proto: Any) -> None:
    """Axis 0 reads other visitors' rows of a batch."""
    proto.graph.node[0].attribute[0].i = 0


def _not_a_number(proto: Any) -> None:
    for node in proto.graph.node:
        if node.op_type == "LinearRegressor":
            next(each for each in node.attribute if each.name == "intercepts").floats[0] = np.nan


def _endless(proto: Any) -> None:
    for node in proto.graph.node:
        if node.op_type == "LinearRegressor":
            next(each for each in node.attribute if each.name == "coefficients").floats[0] = 3e38


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_loop, "uses the operator 'Loop'"),
        (_branch, "uses the operator 'If'"),
        (_external, "holds external data"),
        (_huge, "does not hold 1 to 4096 values"),
        (_cycle, "reads 't4', which is not a tensor written before"),
        (_note, "holds metadata properties"),
        (_other_rows, "has another axis than 1"),
        (_not_a_number, "holds NaN"),
        (_endless, "may sum past"),
    ],
)
def test_a_signed_bundle_around_a_hostile_graph_never_becomes_active(
    tmp_path: Any, change: Callable[[Any], None], words: str
) -> None:
    shop: tuple[Publisher, Runtime] = pair(tmp_path)
    publisher, runtime = shop
    proto = graph()
    change(proto)
    data = dense.bundle_of(proto.SerializeToString(deterministic=True), version=2)
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, data, 2))
    publisher.publish()
    runtime.refuses(Malformed, words)


def test_the_same_bundle_around_the_honest_graph_does(tmp_path: Any) -> None:
    publisher, runtime = pair(tmp_path)
    data = dense.bundle_of(graph().SerializeToString(deterministic=True), version=2)
    publisher.forge("models", lambda signed: publisher.list_target(signed, BUNDLE_PATH, data, 2))
    publisher.publish()
    assert runtime.refresh().refused is None
    assert runtime.serving() == (1, 2)
