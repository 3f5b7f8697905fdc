"""The runtime's reader of the closed ONNX profile, fed with models built by the onnx package and with broken bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from entrenous.model._protobuf import FIXED32, LENGTH, VARINT, Field, Message, read
from entrenous.model.onnx_profile import LARGEST_MODEL, ModelFacts, check_model
from entrenous_consent.errors import Malformed

F, P = 3, 2
PLACE = "models.promotion"


def tables() -> dict[str, Any]:
    """Two outputs; tree 0 splits twice, tree 1 once, tree 2 is a leaf."""
    return {
        "n_targets": P,
        "base_values": [0.5, -0.25],
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "nodes_treeids": [0, 0, 0, 0, 0, 1, 1, 1, 2],
        "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2, 0],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
        "nodes_featureids": [0, 2, 0, 0, 0, 1, 0, 0, 0],
        "nodes_values": [1.5, -3.0, 0, 0, 0, float("inf"), 0, 0, 0],
        "nodes_truenodeids": [1, 2, 0, 0, 0, 1, 0, 0, 0],
        "nodes_falsenodeids": [4, 3, 0, 0, 0, 2, 0, 0, 0],
        "nodes_missing_value_tracks_true": [0, 1, 0, 0, 0, 0, 0, 0, 0],
        "target_treeids": [0, 0, 0, 1, 1, 2],
        "target_nodeids": [2, 3, 4, 1, 2, 0],
        "target_ids": [0, 0, 0, 1, 1, 0],
        "target_weights": [0.125, -0.5, 1.0, 2.0, -4.0, 0.25],
    }


def proto(**changes: Any) -> onnx.ModelProto:
    attributes = {name: value for name, value in (tables() | changes).items() if value is not None}
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["margin"], domain="ai.onnx.ml", **attributes)
    graph = helper.make_graph(
        [node],
        "entrenous",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", F])],
        [helper.make_tensor_value_info("margin", TensorProto.FLOAT, ["N", P])],
    )
    model = onnx.ModelProto(ir_version=9, producer_name="entrenous", graph=graph)
    model.opset_import.extend([helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)])
    return model


def check(model: onnx.ModelProto | bytes) -> ModelFacts:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return check_model(data, place=PLACE, features=F, columns=P)


def altered(name: str, index: int, value: Any) -> onnx.ModelProto:
    values = list(tables()[name])
    values[index] = value
    return proto(**{name: values})


def test_a_model_within_the_profile_is_described() -> None:
    data = proto().SerializeToString()
    assert check(data) == ModelFacts(
        size=len(data), features=F, columns=P, trees=3, nodes=9, leaves=6, step=0.125, bound=34
    )


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("nodes_truenodeids", 0, 0, "tree 0, node 0: has a child that does not come after it"),
        ("nodes_falsenodeids", 1, 0, "tree 0, node 1: has a child that does not come after it"),
        ("nodes_falsenodeids", 1, 1, "tree 0, node 1: has a child that does not come after it"),
        ("nodes_falsenodeids", 0, 5, "tree 0, node 0: has a child out of range"),
        ("nodes_falsenodeids", 5, 2**31 - 1, "tree 1, node 0: has a child out of range"),
        ("nodes_falsenodeids", 0, 3, "tree 0, node 0: does not stand in pre-order"),
        ("nodes_falsenodeids", 1, 4, "tree 0, node 0: does not stand in pre-order"),
        ("nodes_truenodeids", 0, 4, "tree 0, node 0: does not stand in pre-order"),
        ("nodes_featureids", 1, F, "tree 0, node 1: reads a feature outside 0..2"),
        ("nodes_featureids", 5, 2**31 - 1, "tree 1, node 0: reads a feature outside 0..2"),
        ("nodes_featureids", 1, -1, "negative or past"),
        ("nodes_featureids", 1, 2**31, "past 2\\^31 - 1"),
        ("nodes_featureids", 2, 1, "tree 0, node 2: is a leaf that carries a split"),
        ("nodes_values", 3, 1.0, "tree 0, node 3: is a leaf that carries a split"),
        ("nodes_values", 3, -0.0, "tree 0, node 3: is a leaf that carries a split"),
        ("nodes_values", 0, float("nan"), "tree 0, node 0: has a threshold that is NaN or -inf"),
        ("nodes_values", 1, float("-inf"), "tree 0, node 1: has a threshold that is NaN or -inf"),
        ("nodes_missing_value_tracks_true", 5, 2, "tree 1, node 0: sends NaN neither left nor right"),
        ("nodes_modes", 5, "BRANCH_LT", "nodes_modes: holds other modes than BRANCH_LEQ and LEAF"),
        ("nodes_modes", 5, "LEAF", "tree 1, node 0: does not root one tree"),
        ("nodes_treeids", 5, 0, "tree 0, node 5: is not numbered"),
        ("nodes_treeids", 8, 3, "nodes_treeids: does not number its trees from 0"),
        ("nodes_treeids", 0, 1, "nodes_treeids: does not number its trees from 0"),
        ("nodes_nodeids", 8, 1, "tree 2, node 0: is not numbered"),
        ("target_nodeids", 0, 1, "targets: are not exactly the leaves"),
        ("target_treeids", 5, 1, "targets: are not exactly the leaves"),
        ("target_ids", 5, P, "tree 2, node 0: adds to an output outside 0..1"),
        ("target_ids", 1, 1, "tree 0, node 3: adds to an output outside 0..1, or to another than its tree"),
        ("target_weights", 1, float("nan"), "leaves and bases: hold NaN"),
        ("target_weights", 1, float("inf"), "leaves and bases: hold NaN"),
        ("target_weights", 1, -0.0, "leaves and bases: hold NaN, an infinity or a negative zero"),
        ("target_weights", 4, 2.0**-30, "output 1: sums past 2\\^24 steps of 2\\^-30"),
        ("target_weights", 0, 0.1, "output 1: sums past 2\\^24 steps of 2\\^-27"),
        ("target_weights", 0, 1e-38, "finer than 2\\^-64"),
        ("target_weights", 0, 2.0**23, "output 0: sums past 2\\^24 steps of 2\\^-2"),
        ("target_weights", 0, 3e38, "output 0: sums past"),
        ("base_values", 0, 2.0**21, "output 0: sums past 2\\^24 steps"),
    ],
)
def test_an_altered_table_is_refused_with_its_place(name: str, index: int, value: Any, message: str) -> None:
    with pytest.raises(Malformed, match=f"^{PLACE}: .*({message})"):
        check(altered(name, index, value))


def test_the_bound_itself_is_allowed() -> None:
    assert check(altered("base_values", 0, 2.0**21 - 1.25)).bound == 2**24


def test_an_output_without_a_tree_is_refused() -> None:
    with pytest.raises(Malformed, match="output 1: has no tree"):
        check(proto(target_ids=[0] * 6))


@pytest.mark.parametrize("name", sorted(tables()))
def test_every_attribute_is_required_once_with_its_type(name: str) -> None:
    with pytest.raises(Malformed, match=f"{name}: is missing"):
        check(proto(**{name: None}))
    twice = proto()
    twice.graph.node[0].attribute.extend([helper.make_attribute(name, tables()[name])])
    with pytest.raises(Malformed, match=f"'{name}' twice"):
        check(twice)
    mistyped = "text" if not isinstance(tables()[name], str) else 3
    with pytest.raises(Malformed, match=f"{name}: is not of type"):
        check(proto(**{name: mistyped}))


@pytest.mark.parametrize("name", [name for name, value in tables().items() if isinstance(value, list)])
def test_lists_of_unequal_length_are_refused(name: str) -> None:
    with pytest.raises(Malformed, match=r"as long as|a base each|exactly the leaves"):
        check(proto(**{name: tables()[name][:-1]}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregate_function": "AVERAGE"}, "aggregate_function: is not SUM"),
        ({"post_transform": "LOGISTIC"}, "post_transform: is not NONE"),
        ({"n_targets": 3}, "2 targets with a base each"),
        ({"nodes_hitrates": [1.0] * 9}, "'nodes_hitrates' twice or unknown"),
        ({"nodes_values_as_tensor": helper.make_tensor("t", TensorProto.DOUBLE, [9], [0.0] * 9)}, "holds a tensor"),
        ({"then_branch": helper.make_graph([], "g", [], [])}, "holds a subgraph"),
    ],
)
def test_other_attributes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed, match=message):
        check(proto(**changes))


def _rename(field: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        getattr(model.graph, field)[0].name = "other"

    return change


def _extra_operator(model: onnx.ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Sigmoid", ["margin"], ["p"])])


def _other_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "TreeEnsembleClassifier"


def _foreign_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def _two_nodes(model: onnx.ModelProto) -> None:
    model.graph.node.extend([model.graph.node[0]])


def _integers_in(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def _doubles_out(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _wider(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = F + 1


def _fixed_rows(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _second_input(model: onnx.ModelProto) -> None:
    model.graph.input.extend([helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", F])])


def _second_output(model: onnx.ModelProto) -> None:
    model.graph.output.extend([model.graph.output[0]])


def _external_data(model: onnx.ModelProto) -> None:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")
    model.graph.initializer.extend([weights])


def _sparse_initialiser(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add()


def _function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="ai.onnx.ml")


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def _metadata(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="note", value="customer-42")


def _doc_string(model: onnx.ModelProto) -> None:
    model.graph.node[0].doc_string = "hello"


def _named_graph(model: onnx.ModelProto) -> None:
    model.graph.name = "other"


def _named_node(model: onnx.ModelProto) -> None:
    model.graph.node[0].name = "trees"


def _producer(model: onnx.ModelProto) -> None:
    model.producer_name = "skl2onnx"


def _newer_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 10


def _newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[1].version = 5


def _third_opset(model: onnx.ModelProto) -> None:
    model.opset_import.extend([helper.make_opsetid("com.microsoft", 1)])


def _opset_twice(model: onnx.ModelProto) -> None:
    model.opset_import.extend([helper.make_opsetid("", 18)])


def _no_graph(model: onnx.ModelProto) -> None:
    model.ClearField("graph")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_extra_operator, "uses the operator 'Sigmoid'"),
        (_other_operator, "uses the operator 'ai.onnx.ml.TreeEnsembleClassifier'"),
        (_foreign_domain, "uses the operator 'com.example.TreeEnsembleRegressor'"),
        (_two_nodes, "has 2 nodes"),
        (_rename("output"), "output: expected exactly one, margin"),
        (_rename("input"), "input: expected exactly one, x"),
        (_integers_in, "input: expected exactly one, x, float32"),
        (_doubles_out, "output: expected exactly one, margin, float32"),
        (_wider, r"input: expected exactly one, x, float32 \[N, 3\]"),
        (_fixed_rows, "input: expected exactly one"),
        (_second_input, "input: expected exactly one"),
        (_second_output, "output: expected exactly one"),
        (_external_data, "graph: holds initialisers"),
        (_sparse_initialiser, "graph: holds sparse initialisers"),
        (_function, "holds functions"),
        (_training, "holds training information"),
        (_metadata, "holds metadata properties"),
        (_doc_string, "node: holds a doc string"),
        (_named_graph, "graph or a node of another name"),
        (_named_node, "graph or a node of another name"),
        (_producer, "by entrenous"),
        (_newer_ir, "IR version 9"),
        (_newer_opset, "exactly opset 18"),
        (_third_opset, "exactly opset 18"),
        (_opset_twice, "exactly opset 18"),
        (_no_graph, "input: expected exactly one"),
    ],
)
def test_anything_around_the_node_is_refused(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = proto()
    change(model)
    with pytest.raises(Malformed, match=message):
        check(model)


def test_another_width_or_number_of_columns_than_the_bundle_states_is_refused() -> None:
    data = proto().SerializeToString()
    with pytest.raises(Malformed, match="input"):
        check_model(data, place=PLACE, features=F + 1, columns=P)
    with pytest.raises(Malformed, match="output"):
        check_model(data, place=PLACE, features=F, columns=P + 1)


def test_a_model_past_the_size_limit_is_refused_unread() -> None:
    with pytest.raises(Malformed, match="longer than 4194304 bytes"):
        check(bytes(LARGEST_MODEL + 1))


def test_no_prefix_and_no_extension_of_a_model_is_a_model() -> None:
    data = proto().SerializeToString()
    for end in range(len(data)):
        with pytest.raises(Malformed):
            check(data[:end])
    for extra in (b"\0", b"\x08", data[:1], data):
        with pytest.raises(Malformed):
            check(data + extra)


def test_a_flipped_bit_is_refused_or_leaves_a_model_that_every_thread_count_scores_alike() -> None:
    data = proto().SerializeToString()
    rows = np.random.default_rng(0).choice(np.array([np.nan, -4, -3, 0, 1.5, 2], np.float32), size=(32, F))
    accepted = 0
    for bit in np.random.default_rng(7).choice(8 * len(data), size=3_000, replace=False):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << (bit % 8)
        try:
            facts = check(bytes(broken))
        except Malformed:
            continue
        accepted += 1
        one, two = (_score(bytes(broken), rows, threads) for threads in (1, 2))
        assert (one.view(np.uint32) == two.view(np.uint32)).all()
        assert (np.abs(one) <= facts.bound * facts.step).all()
    assert 0 < accepted < 300, "thresholds, features and leaves may change within the profile, nothing else"


def _score(model: bytes, rows: np.ndarray, threads: int) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["margin"], {"x": rows})[0]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        check(data)


def _is_preorder(leaf: list[bool], left: list[int], right: list[int]) -> bool:
    """The slow, obvious definition, against which the vectorised check is compared."""
    visited: list[int] = []
    waiting = [0]
    while waiting:
        node = waiting.pop()
        if not 0 <= node < len(leaf) or len(visited) >= len(leaf):
            return False
        visited.append(node)
        if not leaf[node]:
            waiting += [right[node], left[node]]
    return visited == list(range(len(leaf)))


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[bool], list[int], list[int]]:
    """A random pre-order tree, mostly with a few links or modes changed."""
    leaf: list[bool] = []
    left: list[int] = []
    right: list[int] = []

    def grow(depth: int) -> int:
        node = len(leaf)
        leaf.append(depth == 0 or draw(st.booleans()))
        left.append(0)
        right.append(0)
        if not leaf[node]:
            left[node] = grow(depth - 1)
            right[node] = grow(depth - 1)
        return node

    grow(3)
    for _ in range(draw(st.integers(0, 3))):
        links, i = draw(st.sampled_from([left, right])), draw(st.integers(0, len(leaf) - 1))
        if draw(st.booleans()):
            leaf[i] = not leaf[i]
            left[i] = right[i] = 0
        if not leaf[i]:
            links[i] = draw(st.integers(0, len(leaf)))
    return leaf, left, right


@settings(max_examples=400, deadline=None)
@given(shapes())
def test_a_tree_is_accepted_exactly_when_a_walk_visits_its_nodes_in_order(
    shape: tuple[list[bool], list[int], list[int]],
) -> None:
    leaf, left, right = shape
    n = len(leaf)
    leaves = [i for i in range(n) if leaf[i]]
    second = len(leaves)
    model = proto(
        base_values=[0.0, 0.0],
        nodes_treeids=[0] * n + [1],
        nodes_nodeids=[*range(n), 0],
        nodes_modes=["LEAF" if each else "BRANCH_LEQ" for each in leaf] + ["LEAF"],
        nodes_featureids=[0] * (n + 1),
        nodes_values=[0.0] * (n + 1),
        nodes_truenodeids=[*left, 0],
        nodes_falsenodeids=[*right, 0],
        nodes_missing_value_tracks_true=[0] * (n + 1),
        target_treeids=[0] * second + [1],
        target_nodeids=[*leaves, 0],
        target_ids=[0] * second + [1],
        target_weights=[1.0] * (second + 1),
    )
    if _is_preorder(leaf, left, right):
        assert check(model).nodes == n + 1
    else:
        with pytest.raises(Malformed, match=f"^{PLACE}: tree 0, node"):
            check(model)


MESSAGE = Message(
    fields={
        1: Field(name="one", wire=VARINT),
        2: Field(name="text", wire=LENGTH),
        3: Field(name="real", wire=FIXED32),
        7: Field(name="reals", wire=FIXED32, many=True),
        8: Field(name="wholes", wire=VARINT, many=True),
        9: Field(name="texts", wire=LENGTH, many=True),
        20: Field(name="far", wire=VARINT, many=True),
    },
    refused={4: "a secret"},
)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@given(
    st.lists(st.integers(0, 2**31 - 1), max_size=20),
    st.lists(st.floats(width=32, allow_nan=False), max_size=20),
    st.lists(st.binary(max_size=300), max_size=5),
)
def test_what_the_wire_format_encodes_is_read_back(wholes: list[int], reals: list[float], texts: list[bytes]) -> None:
    data = b"\x08\x05"
    data += b"".join(b"\x3d" + struct.pack("<f", v) for v in reals)
    data += b"".join(b"\x40" + _varint(v) for v in wholes)
    data += b"".join(b"\x4a" + _varint(len(v)) + v for v in texts)
    data += b"".join(b"\xa0\x01" + _varint(v) for v in wholes)
    found = read(data, MESSAGE, "here")
    assert found.pop("one") == 5
    assert list(found.pop("reals", [])) == reals
    assert list(found.pop("wholes", [])) == list(found.pop("far", [])) == wholes
    assert found.pop("texts", []) == texts
    assert not found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x22\x00", "holds a secret"),
        (b"\x28\x00", "holds field 5"),
        (b"\x00\x00", "holds field 0"),
        (b"\x0d\x00\x00\x00\x00", "has one in wire type 5, not 0"),
        (b"\x42\x02\x01\x02", "has wholes in wire type 2, not 0"),
        (b"\x08\x01\x08\x01", "has one twice or out of order"),
        (b"\x12\x00\x08\x01", "has one twice or out of order"),
        (b"\x40\x01\x4a\x00\x40\x01", "has wholes twice or out of order"),
        (b"\x88\x00\x01", "overlong"),
        (b"\x08\x81\x00", "overlong"),
        (b"\x40\x81\x00", "overlong"),
        (b"\x40\x81\x80\x00", "overlong"),
        (b"\x08", "cut short"),
        (b"\x08\x80", "cut short"),
        (b"\x40", "cut short"),
        (b"\x40\x01\x40\x80", "cut short"),
        (b"\x12\x02a", "cut short"),
        (b"\x4a\x02a", "cut short"),
        (b"\x4a", "cut short"),
        (b"\x4a\xff\xff\xff\xff\x07a", "cut short"),
        (b"\x1d\x00\x00\x00", "cut short"),
        (b"\x3d\x00\x00\x00", "cut short"),
        (b"\x3d\x00\x00\x00\x00\x3d\x00", "cut short"),
        (b"\x08\x80\x80\x80\x80\x08", "past 2"),
        (b"\x40\x80\x80\x80\x80\x08", "past 2"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "negative"),
        (b"\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "negative"),
    ],
)
def test_broken_wire_format_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=f"^here: .*{message}"):
        read(data, MESSAGE, "here")
