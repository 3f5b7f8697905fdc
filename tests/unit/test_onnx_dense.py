"""The runtime's reader of the dense profile, fed with hostile graphs and with broken bytes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests import dense

from entrenous.model.onnx_dense import LARGEST_DENSE, MOST_NODES, WIDEST, DenseFacts, check_dense
from entrenous.model.onnx_profile import check_model
from entrenous.model.scorer import open_session
from entrenous_consent.errors import Malformed

F, P = 5, 2
PLACE = "models.promotion"
READABLE = (frozenset(dense.ALL), frozenset(dense.FEW))
Change = Callable[[Any], None]


def check(model: bytes, readable: Any = READABLE) -> DenseFacts:
    return check_dense(model, place=PLACE, features=F, columns=P, readable=readable)


def changed(change: Change) -> bytes:
    proto = onnx.load_from_string(dense.model())
    change(proto)
    return proto.SerializeToString(deterministic=True)


def node(proto: Any, operator: str, which: int = 0) -> Any:
    return [each for each in proto.graph.node if each.op_type == operator][which]


def initialiser(proto: Any, values: np.ndarray, at: int) -> None:
    proto.graph.initializer[at].CopyFrom(numpy_helper.from_array(values, f"c{at}"))


def constant(proto: Any, operator: str, which: int = 0) -> int:
    """Return the position of the initialiser that an operator takes."""
    return int(node(proto, operator, which).input[1][1:])


def values(proto: Any, at: int) -> np.ndarray:
    return numpy_helper.to_array(proto.graph.initializer[at]).copy()


def attribute(proto: Any, operator: str, name: str, value: Any) -> None:
    for each in node(proto, operator).attribute:
        if each.name == name:
            each.CopyFrom(helper.make_attribute(name, value))


def test_a_model_within_the_profile_is_described() -> None:
    facts = check(dense.model())
    assert facts.reads == READABLE
    assert (facts.size, facts.features, facts.columns, facts.nodes) == (len(dense.model()), F, P, 21)
    assert 1 < facts.bound < 100


def test_the_graph_has_the_shape_that_is_documented() -> None:
    proto = onnx.load_from_string(dense.model())
    one = ["Gather", "Imputer", "Max", "Min", "Scaler", "Gather", "Equal", "Cast", "Concat", "LinearRegressor"]
    assert [each.op_type for each in proto.graph.node] == [*one, *one, "Concat"]
    onnx.checker.check_model(proto, full_check=True)


def test_neither_checker_takes_the_other_ones_model() -> None:
    with pytest.raises(Malformed, match="holds initialisers"):
        check_model(dense.model(), place=PLACE, features=F, columns=P)
    (trees,) = dense.packaged().models.values()
    manifest = dense.packaged().manifest
    width, columns = len(manifest.features), len(manifest.decisions["promotion"].patterns)
    with pytest.raises(Malformed, match=r"uses the operator 'ai\.onnx\.ml\.TreeEnsembleRegressor'"):
        check_dense(trees, place=PLACE, features=width, columns=columns)


# What reads what


def _reads_withheld(proto: Any) -> None:
    at = constant(proto, "Gather", 2)
    initialiser(proto, np.full_like(values(proto, at), 0), at)


def _codes_of_withheld(proto: Any) -> None:
    at = constant(proto, "Gather", 3)
    initialiser(proto, np.full_like(values(proto, at), 3), at)


def _swapped_margins(proto: Any) -> None:
    last = proto.graph.node[-1]
    last.input[:] = list(reversed(last.input))


def _zero_coefficient_on_withheld(proto: Any) -> None:
    _reads_withheld(proto)
    last = node(proto, "LinearRegressor", 1)
    last.attribute[0].CopyFrom(
        helper.make_attribute("coefficients", [0.0] * len(helper.get_attribute_value(last.attribute[0])))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_reads_withheld, "reads feature 0, which is withheld from output 1"),
        (_codes_of_withheld, "reads feature 3, which is withheld from output 1"),
        (_swapped_margins, "reads feature 0, which is withheld from output 1"),
        (_zero_coefficient_on_withheld, "reads feature 0, which is withheld from output 1"),
    ],
)
def test_a_margin_that_depends_on_a_withheld_feature_is_refused(change: Change, message: str) -> None:
    data = changed(change)
    open_session(data)
    assert check(data, None).columns == P, "nothing but the withheld feature is wrong with it"
    with pytest.raises(Malformed, match=f"^{PLACE}: {message}"):
        check(data)


# Hostile graphs


def _set(part: str, name: str, value: Any) -> Change:
    return lambda proto: setattr(proto.graph.node[_INDEX[part]], name, value)


_INDEX = {"gather": 0, "impute": 1, "max": 2, "min": 3, "scale": 4, "codes": 5, "equal": 6, "cast": 7, "join": 8}


def _input(part: str, *names: str) -> Change:
    def change(proto: Any) -> None:
        proto.graph.node[_INDEX[part]].input[:] = names

    return change


def _subgraph(operator: str) -> Change:
    def change(proto: Any) -> None:
        body = helper.make_graph([], "body", [], [])
        names = ("then_branch", "else_branch") if operator == "If" else ("body",)
        made = helper.make_node(operator, ["t0"], ["t1"], **dict.fromkeys(names, body))
        proto.graph.node[1].CopyFrom(made)

    return change


def _attribute(operator: str, name: str, value: Any) -> Change:
    return lambda proto: attribute(proto, operator, name, value)


def _more(operator: str, name: str, value: Any) -> Change:
    def change(proto: Any) -> None:
        node(proto, operator).attribute.extend([helper.make_attribute(name, value)])

    return change


def _less(operator: str) -> Change:
    def change(proto: Any) -> None:
        del node(proto, operator).attribute[0]

    return change


def _external(proto: Any) -> None:
    proto.graph.initializer[0].data_location = TensorProto.EXTERNAL
    proto.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")


def _huge(proto: Any) -> None:
    initialiser(proto, np.zeros(WIDEST + 1, np.int64), 0)


def _claims_more(proto: Any) -> None:
    proto.graph.initializer[0].dims[0] = 2**31 - 1


def _replaced(at: int, values: np.ndarray) -> Change:
    return lambda proto: initialiser(proto, values, at)


def _spare_initialiser(proto: Any) -> None:
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), f"c{len(proto.graph.initializer)}"))


def _misnamed_initialiser(proto: Any) -> None:
    proto.graph.initializer[1].name = "c0"


def _unused_output(proto: Any) -> None:
    last = proto.graph.node[-1]
    proto.graph.node.insert(len(proto.graph.node) - 1, last)
    proto.graph.node[-2].output[0] = "t20"
    proto.graph.node[-2].input[:] = ["t9", "t19"]


def _unread_node(proto: Any) -> None:
    count = len(proto.graph.node) - 1
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), f"c{len(proto.graph.initializer)}"))
    made = helper.make_node("Gather", ["x", proto.graph.initializer[-1].name], [f"t{count}"], axis=1)
    proto.graph.node.insert(count, made)


def _second_output_of_a_node(proto: Any) -> None:
    proto.graph.node[0].output.append("t1")


def _two_graph_outputs(proto: Any) -> None:
    proto.graph.output.extend([helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["N", 3])])


def _too_many_nodes(proto: Any) -> None:
    for _ in range(MOST_NODES):
        proto.graph.node.append(proto.graph.node[0])


def _no_nodes(proto: Any) -> None:
    del proto.graph.node[:]


def _function(proto: Any) -> None:
    proto.functions.add(name="Gather", domain="")


def _metadata(proto: Any) -> None:
    proto.metadata_props.add(key="note", value="customer-42")


def _value_info(proto: Any) -> None:
    proto.graph.value_info.extend([helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["N", 3])])


def _model(name: str, value: Any) -> Change:
    return lambda proto: setattr(proto, name, value)


def _doubles_in(proto: Any) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _graph_name(proto: Any) -> None:
    proto.graph.name = "other"


def _one_margin_only(proto: Any) -> None:
    del proto.graph.node[10:]
    del proto.graph.initializer[5:]
    proto.graph.node[9].output[0] = "margin"


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_subgraph("Loop"), "node 1: uses the operator 'Loop'"),
        (_subgraph("If"), "node 1: uses the operator 'If'"),
        (_subgraph("Scan"), "node 1: uses the operator 'Scan'"),
        (_set("min", "op_type", "Clip"), "uses the operator 'Clip'"),
        (_set("max", "op_type", "RandomNormalLike"), "uses the operator 'RandomNormalLike'"),
        (_set("scale", "domain", "com.example"), "uses the operator 'com.example.Scaler'"),
        (_set("scale", "domain", ""), "uses the operator 'Scaler'"),
        (_set("gather", "domain", "ai.onnx"), "uses the operator 'ai.onnx.Gather'"),
        (_set("gather", "name", "first"), r"node 0 \(Gather\): has a name"),
        (_set("gather", "doc_string", "hello"), "holds a doc string"),
        (_external, "initialiser 0: holds external data"),
        (_huge, f"initialiser 0: does not hold 1 to {WIDEST} values"),
        (_claims_more, "initialiser 0: does not hold 1 to"),
        (_replaced(0, np.zeros((1, 3), np.int64)), r"initialiser 0: is neither int64 \[n\] nor float32 \[1, n\]"),
        (_replaced(1, np.zeros((1, 3))), "initialiser 1: is neither"),
        (_replaced(1, np.zeros((3, 1), np.float32)), "initialiser 1: is neither"),
        (_replaced(1, np.array([[0, NAN, 0]], np.float32)), "initialiser 1: holds NaN or an infinity"),
        (_replaced(2, np.array([[0, INFINITY, 0]], np.float32)), "initialiser 2: holds NaN or an infinity"),
        (_replaced(1, np.zeros((1, 2), np.float32)), r"node 2 \(Max\): takes an initialiser that is not float32"),
        (_replaced(1, np.zeros(3, np.int64)), r"node 2 \(Max\): takes an initialiser that is not float32"),
        (_replaced(0, np.zeros((1, 3), np.float32)), r"node 0 \(Gather\): takes an initialiser that is not int64"),
        (_replaced(0, np.array([0, 1, F])), r"node 0 \(Gather\): reads a feature outside 0..4"),
        (_replaced(0, np.array([0, 1, -1])), r"node 0 \(Gather\): reads a feature outside 0..4"),
        (_replaced(0, np.array([0, 1])), r"node 1 \(Imputer\): does not fill every column"),
        (_spare_initialiser, "has a node or an initialiser that nothing reads"),
        (_misnamed_initialiser, "initialiser 1: is not named c1"),
        (_unused_output, "reads 't9', which is not a tensor written before and read by nobody else"),
        (_unread_node, "has a node or an initialiser that nothing reads"),
        (_second_output_of_a_node, r"node 0 \(Gather\): has a name, or does not write exactly t0"),
        (_two_graph_outputs, "output: expected exactly one, margin"),
        (_too_many_nodes, f"has no nodes, or more than {MOST_NODES}"),
        (_no_nodes, f"has no nodes, or more than {MOST_NODES}"),
        (_input("impute", "t4"), r"node 1 \(Imputer\): reads 't4', which is not a tensor written before"),
        (_input("impute", "t1"), r"node 1 \(Imputer\): reads 't1', which is not a tensor written before"),
        (_input("impute", "x"), r"node 1 \(Imputer\): reads 'x', which is not a tensor written before"),
        (_input("impute", ""), r"node 1 \(Imputer\): reads ''"),
        (_input("impute"), r"node 1 \(Imputer\): has 0 inputs"),
        (_input("max", "x", "c1"), r"node 2 \(Max\): reads 'x'"),
        (_input("max", "t1", "c1", "x"), r"node 2 \(Max\): does not take exactly one tensor"),
        (_input("max", "t1", "c2"), r"node 2 \(Max\): does not take exactly one tensor, then the initialiser c1"),
        (_input("max", "t1", "t0"), r"node 2 \(Max\): does not take exactly one tensor"),
        (_input("max"), r"node 2 \(Max\): reads ''"),
        (_input("equal", "t1", "c4"), r"node 6 \(Equal\): reads 't1'"),
        (_input("codes", "t4", "c3"), r"node 5 \(Gather\): reads another tensor than x"),
        (_input("codes", "x", "t4"), r"node 5 \(Gather\): does not take exactly one tensor"),
        (_input("join", "t4", "t4"), r"node 8 \(Concat\): reads 't4', which is not .* read by nobody else"),
        (_input("join", "t4"), r"node 8 \(Concat\): does not join two tensors"),
        (_input("scale", "t0"), r"node 4 \(Scaler\): reads 't0'"),
        (_attribute("Gather", "axis", 0), r"node 0 \(Gather\): has another axis than 1"),
        (_attribute("Concat", "axis", 0), r"node 8 \(Concat\): does not join two tensors or more on axis 1"),
        (_attribute("Gather", "axis", -1), "negative or past"),
        (_attribute("Cast", "to", TensorProto.DOUBLE), r"node 7 \(Cast\): casts something else"),
        (_attribute("Imputer", "replaced_value_float", 0.0), r"node 1 \(Imputer\): replaces something else than NaN"),
        (_attribute("Imputer", "imputed_value_floats", [0.0]), "does not fill every column"),
        (_attribute("Imputer", "imputed_value_floats", [0.0, NAN, 0.0]), "imputed_value_floats: holds NaN"),
        (_attribute("Scaler", "scale", [1.0, INFINITY, 1.0]), "scale: holds NaN or an infinity"),
        (_attribute("Scaler", "scale", [1.0, 0.0, 1.0]), "has a scale that does not rise, or an offset too far"),
        (_attribute("Scaler", "scale", [1.0, 1e30, 1.0]), "scales values too far"),
        (_attribute("Scaler", "offset", [0.0, 1e30, 0.0]), "has a scale that does not rise, or an offset too far"),
        (_attribute("Scaler", "offset", [0.0, 0.0]), "does not scale every column"),
        (_attribute("Scaler", "scale", 1.0), "scale: is not of type floats"),
        (_attribute("LinearRegressor", "targets", 2), "does not give 1 to 100 margins of every column"),
        (_attribute("LinearRegressor", "intercepts", [0.0, 1.0]), "does not give 1 to 100 margins of every column"),
        (_attribute("LinearRegressor", "intercepts", [NAN]), "intercepts: holds NaN"),
        (_attribute("LinearRegressor", "intercepts", [2.0**25]), "may sum past 16777216"),
        (_attribute("LinearRegressor", "coefficients", [3e38] * 10), "may sum past"),
        (_more("LinearRegressor", "post_transform", "PROBIT"), "has the attribute 'post_transform' twice or unknown"),
        (_more("Gather", "axis", 1), "has the attribute 'axis' twice or unknown"),
        (_less("Gather"), "axis: is missing"),
        (_less("Scaler"), "offset: is missing"),
        (_function, "holds functions"),
        (_metadata, "holds metadata properties"),
        (_value_info, "holds value information"),
        (_model("ir_version", 10), "IR version 9"),
        (_model("producer_name", "skl2onnx"), "by entrenous"),
        (_doubles_in, "input: expected exactly one, x, float32"),
        (_graph_name, "graph of another name"),
        (_one_margin_only, "gives 1 margins, not 2"),
    ],
)
def test_a_hostile_graph_is_refused_by_name(change: Change, message: str) -> None:
    data = changed(change)
    assert data != dense.model()
    with pytest.raises(Malformed, match=f"^{PLACE}.*({message})"):
        check(data)


def _clip_goes(operator: str) -> Change:
    """Take away what makes numbers finite: the node stays, its neighbours are led around it."""

    def change(proto: Any) -> None:
        at = [each.op_type for each in proto.graph.node].index(operator)
        gone = proto.graph.node[at]
        skipped, removed = gone.output[0], len(gone.input) - 1
        before = gone.input[0]
        first = int(gone.input[1][1:]) if removed else len(proto.graph.initializer)
        del proto.graph.node[at]
        if removed:
            del proto.graph.initializer[first]
        names = {skipped: before}
        for each in proto.graph.node[at:]:
            old = each.output[0]
            each.input[:] = [names.get(name, name) for name in each.input]
            each.input[:] = [
                f"c{int(name[1:]) - removed}" if name[0] == "c" and int(name[1:]) > first else name
                for name in each.input
            ]
            if old != "margin":
                names[old] = each.output[0] = f"t{int(old[1:]) - 1}"
        for i, each in enumerate(proto.graph.initializer):
            each.name = f"c{i}"

    return change


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ("Imputer", r"\(Max\): compares what may be NaN"),
        ("Max", r"\(Scaler\): takes values that are not clipped"),
        ("Min", r"\(Scaler\): takes values that are not clipped"),
        ("Cast", r"\(Concat\): joins values that are not clipped, or no numbers"),
    ],
)
def test_numbers_that_are_not_made_finite_are_refused(operator: str, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        check(changed(_clip_goes(operator)))


def test_a_graph_without_scaling_is_still_proven() -> None:
    data = changed(_clip_goes("Scaler"))
    assert check(data).nodes == 20
    open_session(data)


def test_another_width_or_number_of_columns_than_the_bundle_states_is_refused() -> None:
    with pytest.raises(Malformed, match="input"):
        check_dense(dense.model(), place=PLACE, features=F + 1, columns=P)
    with pytest.raises(Malformed, match="output"):
        check_dense(dense.model(), place=PLACE, features=F, columns=P + 1)


def test_a_model_past_the_size_limit_is_refused_unread() -> None:
    with pytest.raises(Malformed, match="longer than 1048576 bytes"):
        check(bytes(LARGEST_DENSE + 1))


def test_no_prefix_and_no_extension_of_a_model_is_a_model() -> None:
    data = dense.model()
    for end in range(len(data)):
        with pytest.raises(Malformed):
            check(data[:end])
    for extra in (b"\0", b"\x08", data[:1], data):
        with pytest.raises(Malformed):
            check(data + extra)


EDGES = np.array([NAN, INFINITY, -INFINITY, 3.4e38, -3.4e38, 0, -0.0, 1e-45, 1, 2, 2.5, -1, 140], np.float32)


def _holds(data: bytes, facts: DenseFacts) -> None:
    """See that onnxruntime agrees with what the checker says of a model."""
    draw = np.random.default_rng(1)
    rows = draw.choice(EDGES, size=(24, F))
    score = open_session(data).run
    margins = score(["margin"], {"x": rows})[0]
    assert np.isfinite(margins).all()
    assert (np.abs(margins) <= facts.bound * (1 + 2.0**-10) + 2.0**-10).all()
    for column in range(P):
        scrambled = draw.choice(EDGES, size=rows.shape)
        kept = sorted(facts.reads[column])
        scrambled[:, kept] = rows[:, kept]
        again = score(["margin"], {"x": scrambled})[0]
        assert (again[:, column].view(np.uint32) == margins[:, column].view(np.uint32)).all()


def test_what_the_checker_says_of_a_model_is_so() -> None:
    _holds(dense.model(), check(dense.model()))


def test_a_mutated_byte_is_refused_or_leaves_a_model_that_reads_no_more_and_stays_finite() -> None:
    """Every byte, each of its bits flipped: all go through the checker, a seeded tenth of those that pass is run."""
    data = dense.model()
    draw = np.random.default_rng(5)
    accepted = 0
    for at, bit in product(range(len(data)), range(8)):
        broken = bytearray(data)
        broken[at] ^= 1 << bit
        try:
            facts = check(bytes(broken))
        except Malformed:
            continue
        accepted += 1
        assert all(reads <= allowed for reads, allowed in zip(facts.reads, READABLE, strict=True))
        if draw.random() < 0.1:
            _holds(bytes(broken), facts)
    assert 500 < accepted < 8 * len(data) / 3, "numbers may change within the profile, and little else"
