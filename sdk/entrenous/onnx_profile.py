"""The closed ONNX profile: what a bundle's model may be, checked before any runtime sees it.

A model is one `TreeEnsembleRegressor` (ai.onnx.ml 3): `x` float32 [N, F] in, `margin` float32 [N, P] out. Trees are
numbered from 0; each stands in pre-order (a node, its left subtree, its right subtree), so there is no cycle and
nothing unreached; each adds to one output. Leaves and bases lie on one power-of-two step with
|base| + Σ max|leaf| <= 2^24 steps for every output: then every float32 sum is exact, and every runtime gives the same
bits. Everything else is refused by name: other operators, functions, subgraphs, initialisers, external data, metadata,
and other spellings of the same model.

Sources: onnx.proto3 and Operators-ml.md of the ONNX standard, IR version 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous._protobuf import FIXED32, LENGTH, VARINT, Field, Message, read
from entrenous_consent.errors import Malformed

__all__ = ["IR_VERSION", "LARGEST_MODEL", "MOST_STEPS", "OPSETS", "ModelFacts", "check_model"]

LARGEST_MODEL = 4 << 20
"""Bytes."""
IR_VERSION = 9
OPSETS: Mapping[str, int] = MappingProxyType({"": 18, "ai.onnx.ml": 3})
MOST_STEPS = 1 << 24
_STEP_EXPONENTS = (-64, 64)
_REMEDY = "emit it with this version's exporter"
_FLOAT32 = 1

_MODEL = Message(
    fields={
        1: Field(name="ir_version", wire=VARINT),
        2: Field(name="producer_name", wire=LENGTH),
        7: Field(name="graph", wire=LENGTH),
        8: Field(name="opset_import", wire=LENGTH, many=True),
    },
    refused={
        3: "a producer version",
        4: "a domain",
        5: "a model version",
        6: "a doc string",
        14: "metadata properties",
        20: "training information",
        25: "functions",
        26: "a device configuration",
    },
)
_OPSET = Message(fields={1: Field(name="domain", wire=LENGTH), 2: Field(name="version", wire=VARINT)})
_GRAPH = Message(
    fields={
        1: Field(name="node", wire=LENGTH, many=True),
        2: Field(name="name", wire=LENGTH),
        11: Field(name="input", wire=LENGTH, many=True),
        12: Field(name="output", wire=LENGTH, many=True),
    },
    refused={
        5: "initialisers",
        10: "a doc string",
        13: "value information",
        14: "quantisation annotations",
        15: "sparse initialisers",
        16: "metadata properties",
    },
)
_NODE = Message(
    fields={
        1: Field(name="input", wire=LENGTH, many=True),
        2: Field(name="output", wire=LENGTH, many=True),
        3: Field(name="name", wire=LENGTH),
        4: Field(name="op_type", wire=LENGTH),
        5: Field(name="attribute", wire=LENGTH, many=True),
        7: Field(name="domain", wire=LENGTH),
    },
    refused={6: "a doc string", 8: "an overload", 9: "metadata properties", 10: "a device configuration"},
)
_VALUE = Message(
    fields={1: Field(name="name", wire=LENGTH), 2: Field(name="type", wire=LENGTH)},
    refused={3: "a doc string", 4: "metadata properties"},
)
_TYPE = Message(
    fields={1: Field(name="tensor", wire=LENGTH)},
    refused={4: "a sequence", 5: "a map", 6: "a denotation", 8: "a sparse tensor", 9: "an optional"},
)
_TENSOR = Message(fields={1: Field(name="element", wire=VARINT), 2: Field(name="shape", wire=LENGTH)})
_SHAPE = Message(fields={1: Field(name="dim", wire=LENGTH, many=True)})
_DIM = Message(
    fields={1: Field(name="size", wire=VARINT), 2: Field(name="symbol", wire=LENGTH)},
    refused={3: "a denotation"},
)
_ATTRIBUTE = Message(
    fields={
        1: Field(name="name", wire=LENGTH),
        3: Field(name="int", wire=VARINT),
        4: Field(name="string", wire=LENGTH),
        7: Field(name="floats", wire=FIXED32, many=True),
        8: Field(name="ints", wire=VARINT, many=True),
        9: Field(name="strings", wire=LENGTH, many=True),
        20: Field(name="type", wire=VARINT),
    },
    refused={
        2: "a float",
        5: "a tensor",
        6: "a subgraph",
        10: "tensors",
        11: "subgraphs",
        13: "a doc string",
        14: "a type",
        15: "types",
        21: "a reference to a function's attribute",
        22: "a sparse tensor",
        23: "sparse tensors",
    },
)
_TYPE_NUMBERS = {"int": 2, "string": 3, "floats": 6, "ints": 7, "strings": 8}

_PER_NODE = {
    "nodes_treeids": "ints",
    "nodes_nodeids": "ints",
    "nodes_modes": "strings",
    "nodes_featureids": "ints",
    "nodes_values": "floats",
    "nodes_truenodeids": "ints",
    "nodes_falsenodeids": "ints",
    "nodes_missing_value_tracks_true": "ints",
}
_PER_LEAF = {
    "target_treeids": "ints",
    "target_nodeids": "ints",
    "target_ids": "ints",
    "target_weights": "floats",
}
_ATTRIBUTES = {
    "aggregate_function": "string",
    "base_values": "floats",
    "n_targets": "int",
    "post_transform": "string",
    **_PER_NODE,
    **_PER_LEAF,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a checked model holds.

    Attributes:
        size: bytes. features: F. columns: P.
        trees, nodes, leaves: how many.
        step: the coarsest power of two (up to 2^64) on which every leaf and base lies, in units of the margin.
        bound: |base| + Σ max|leaf| of the fullest output, in steps: at most 2^24.
    """

    size: int
    features: int
    columns: int
    trees: int
    nodes: int
    leaves: int
    step: float
    bound: int


def check_model(
    model: bytes, *, place: str, features: int, columns: int, readable: Sequence[Set[int]] | None = None
) -> ModelFacts:
    """Return what the model holds, if it is within the closed profile.

    Args:
        model: ONNX bytes from anywhere.
        place: what they are, for errors, like `models.promotion`.
        features: F, the width of the vector that it must take.
        columns: P, the margins that it must give.
        readable: for each margin, the features that its trees may read; all of them when left out.

    Raises:
        Malformed: outside the profile in any way, with the place (`models.promotion: tree 3, node 5`).
    """
    if len(model) > LARGEST_MODEL:
        raise _wrong(f"is longer than {LARGEST_MODEL} bytes", place, "use fewer or smaller trees")
    attributes = _attributes(_only_node(model, place, features, columns), place)
    if attributes["n_targets"] != columns or attributes["base_values"].size != columns:
        raise _wrong(f"does not have {columns} targets with a base each", place)
    first = _check_trees(attributes, place, features)
    weights = _check_targets(attributes, place, first, columns)
    if readable is not None:
        _check_withheld(attributes, place, first, readable)
    step, bound = _check_grid(weights, attributes, place, first.size)
    return ModelFacts(
        size=len(model),
        features=features,
        columns=columns,
        trees=first.size,
        nodes=attributes["nodes_modes"].size,
        leaves=weights.size,
        step=step,
        bound=bound,
    )


def _wrong(what: str, place: str, remedy: str = _REMEDY) -> Malformed:
    return Malformed(what, place=place, remedy=remedy)


def _only_node(model: bytes, place: str, features: int, columns: int) -> list[bytes]:
    """Check everything around the one node; return its attributes, unread."""
    outer = read(model, _MODEL, place)
    if outer.get("ir_version") != IR_VERSION or outer.get("producer_name") != b"entrenous":
        raise _wrong(f"is not of IR version {IR_VERSION} by entrenous", place)
    raw = outer.get("opset_import", [])
    opsets = [read(each, _OPSET, f"{place}: opset") for each in raw[: len(OPSETS)]]
    imported = {(each.get("domain", b""), each.get("version")) for each in opsets}
    wanted = {(domain.encode(), version) for domain, version in OPSETS.items()}
    if imported != wanted or len(raw) != len(wanted):
        raise _wrong("does not import exactly opset 18 and ai.onnx.ml 3", place)
    graph = read(outer.get("graph", b""), _GRAPH, f"{place}: graph")
    _check_value(graph.get("input", []), b"x", features, f"{place}: input")
    _check_value(graph.get("output", []), b"margin", columns, f"{place}: output")
    raw = graph.get("node", [])
    for each in raw:
        node = read(each, _NODE, f"{place}: node")
        operator = node.get("domain", b"") + b"." + node.get("op_type", b"")
        if operator != b"ai.onnx.ml.TreeEnsembleRegressor":
            name = operator[:64].decode("ascii", "replace").strip(".")
            raise _wrong(f"uses the operator {name!r}", place, "use trees: TreeEnsembleRegressor only")
    if len(raw) != 1:
        raise _wrong(f"has {len(raw)} nodes, not one", place)
    if node.get("input") != [b"x"] or node.get("output") != [b"margin"]:
        raise _wrong("does not lead from x to margin", place)
    if graph.get("name") != b"entrenous" or "name" in node:
        raise _wrong("has a graph or a node of another name", place)
    return node.get("attribute", [])  # type: ignore[no-any-return]


def _check_value(values: list[bytes], name: bytes, width: int, place: str) -> None:
    expected = f"expected exactly one, {name.decode()}, float32 [N, {width}]"
    if len(values) != 1:
        raise _wrong(expected, place)
    value = read(values[0], _VALUE, place)
    kind = read(value.get("type", b""), _TYPE, place)
    tensor = read(kind.get("tensor", b""), _TENSOR, place)
    shape = read(tensor.get("shape", b""), _SHAPE, place)
    dims = [read(dim, _DIM, place) for dim in shape.get("dim", [])[:3]]
    if value.get("name") != name or tensor.get("element") != _FLOAT32 or dims != [{"symbol": b"N"}, {"size": width}]:
        raise _wrong(expected, place)


def _attributes(raw: list[bytes], place: str) -> dict[str, Any]:
    """Return the attributes by name, each there once, of its type, and as long as its kind demands."""
    found: dict[str, Any] = {}
    for each in raw:
        parts = read(each, _ATTRIBUTE, f"{place}: attribute")
        name = parts.pop("name", b"")[:64].decode("ascii", "replace")
        kind = _ATTRIBUTES.get(name)
        if kind is None or name in found:
            raise _wrong(f"has the attribute {name!r} twice or unknown", place)
        if parts.pop("type", None) != _TYPE_NUMBERS[kind] or list(parts) != [kind]:
            raise _wrong(f"is not of type {kind}, with one value or more", f"{place}: {name}")
        found[name] = parts[kind]
    for name in _ATTRIBUTES:
        if name not in found:
            raise _wrong("is missing", f"{place}: {name}")
    for name, wanted in (("aggregate_function", b"SUM"), ("post_transform", b"NONE")):
        if found[name] != wanted:
            raise _wrong(f"is not {wanted.decode()}", f"{place}: {name}")
    for group, first in ((_PER_NODE, "nodes_treeids"), (_PER_LEAF, "target_treeids")):
        for name in group:
            if len(found[name]) != len(found[first]):
                raise _wrong(f"is not as long as {first}", f"{place}: {name}")
    modes = found["nodes_modes"]
    if set(modes) - {b"BRANCH_LEQ", b"LEAF"}:
        raise _wrong("holds other modes than BRANCH_LEQ and LEAF", f"{place}: nodes_modes")
    found["nodes_modes"] = np.array([mode == b"LEAF" for mode in modes])
    return found


def _check_trees(attributes: dict[str, Any], place: str, features: int) -> NDArray[np.intp]:
    """Check that every tree stands in pre-order; return where each starts."""
    leaf: NDArray[np.bool_] = attributes["nodes_modes"]
    trees, numbers = attributes["nodes_treeids"], attributes["nodes_nodeids"]
    left, right = attributes["nodes_truenodeids"], attributes["nodes_falsenodeids"]
    feature, nan_left = attributes["nodes_featureids"], attributes["nodes_missing_value_tracks_true"]
    threshold: NDArray[np.float32] = attributes["nodes_values"]
    n = leaf.size
    is_first = np.diff(trees, prepend=-1) == 1
    if not (is_first | (np.diff(trees, prepend=-1) == 0)).all():
        raise _wrong("does not number its trees from 0, one after the other", f"{place}: nodes_treeids")
    first = np.flatnonzero(is_first)
    start = first[trees]
    here = np.arange(n) - start

    def refuse(bad: NDArray[np.bool_], what: str) -> None:
        if bad.any():
            i = int(bad.argmax())
            raise _wrong(what, f"{place}: tree {trees[i]}, node {here[i]}")

    refuse(numbers != here, "is not numbered from 0 in order")
    split = ~leaf
    size = np.diff(np.append(first, n))[trees]
    refuse(split & ((left >= size) | (right >= size)), "has a child out of range")
    refuse(split & ((left <= here) | (right <= here)), "has a child that does not come after it")
    # A split opens a subtree, a leaf closes one. The left child stands next; the right one stands after a leaf, where
    # as many are open as before the split, and is nobody else's. With one root a tree, that is pre-order.
    opened = np.concatenate(([0], np.cumsum(np.where(leaf, -1, 1))))
    target = np.where(split, start + right, 1)
    taken = np.bincount(target[split], minlength=n + 2)
    misplaced = (left != here + 1) | ~leaf[target - 1] | (opened[target] != opened[:-1]) | (taken[target] != 1)
    refuse(split & misplaced, "does not stand in pre-order")
    refuse(is_first & (opened[np.append(first, n)[trees + 1]] != opened[:-1] - 1), "does not root one tree")
    refuse(split & (feature >= features), f"reads a feature outside 0..{features - 1}")
    refuse(split & (np.isnan(threshold) | np.isneginf(threshold)), "has a threshold that is NaN or -inf")
    refuse(nan_left > 1, "sends NaN neither left nor right")
    unused = (left != 0) | (right != 0) | (feature != 0) | (nan_left != 0) | (threshold.view(np.uint32) != 0)
    refuse(leaf & unused, "is a leaf that carries a split")
    return first


def _check_targets(
    attributes: dict[str, Any], place: str, first: NDArray[np.intp], columns: int
) -> NDArray[np.float32]:
    """Check that the targets are the leaves, in order, one output a tree; return the weights."""
    leaves = np.flatnonzero(attributes["nodes_modes"])
    trees = attributes["nodes_treeids"][leaves]
    outputs = attributes["target_ids"]
    if (
        outputs.size != leaves.size
        or (attributes["target_treeids"] != trees).any()
        or (attributes["target_nodeids"] != leaves - first[trees]).any()
    ):
        raise _wrong("are not exactly the leaves, in order", f"{place}: targets")
    own = outputs[np.searchsorted(trees, np.arange(first.size))]
    bad = (outputs >= columns) | (outputs != own[trees])
    if bad.any():
        i = int(bad.argmax())
        what = f"adds to an output outside 0..{columns - 1}, or to another than its tree"
        raise _wrong(what, f"{place}: tree {trees[i]}, node {leaves[i] - first[trees[i]]}")
    for output in range(columns):
        if output not in own:
            raise _wrong("has no tree", f"{place}: output {output}")
    return attributes["target_weights"]  # type: ignore[no-any-return]


def _check_withheld(
    attributes: dict[str, Any], place: str, first: NDArray[np.intp], readable: Sequence[Set[int]]
) -> None:
    """Check that no tree reads a feature that is withheld from its output."""
    trees, features = attributes["nodes_treeids"], attributes["nodes_featureids"]
    at = np.searchsorted(attributes["target_treeids"], np.arange(first.size))
    output = attributes["target_ids"][at][trees]
    split = ~attributes["nodes_modes"]
    for column, allowed in enumerate(readable):
        bad = split & (output == column) & ~np.isin(features, list(allowed))
        if bad.any():
            i = int(bad.argmax())
            what = f"reads feature {features[i]}, which is withheld from output {column}"
            raise _wrong(what, f"{place}: tree {trees[i]}, node {i - first[trees[i]]}", "train each pattern without it")


def _check_grid(weights: NDArray[np.float32], attributes: dict[str, Any], place: str, trees: int) -> tuple[float, int]:
    """Return the step of the grid, and the bound of the fullest output in steps."""
    bases: NDArray[np.float32] = attributes["base_values"]
    values = np.concatenate([bases, weights])
    if not np.isfinite(values).all() or (np.signbit(values) & (values == 0)).any():
        raise _wrong("hold NaN, an infinity or a negative zero", f"{place}: leaves and bases")
    exact = np.abs(values.astype(np.float64))
    mantissa, exponent = np.frexp(exact)
    whole = (mantissa * MOST_STEPS).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] - 1 + exponent - 24
    step = 2.0 ** int(lowest[whole != 0].min(initial=_STEP_EXPONENTS[1]))
    if step < 2.0 ** _STEP_EXPONENTS[0]:
        raise _wrong("are finer than 2^-64: on no grid", f"{place}: leaves and bases")
    largest = np.zeros(trees)
    leaves = attributes["target_treeids"]
    np.maximum.at(largest, leaves, exact[bases.size :])
    output = attributes["target_ids"][np.searchsorted(leaves, np.arange(trees))]
    bounds = (exact[: bases.size] + np.bincount(output, weights=largest, minlength=bases.size)) / step
    fullest = int(bounds.argmax())
    if bounds[fullest] > MOST_STEPS:
        what = f"sums past 2^24 steps of 2^{int(np.log2(step))}: leaves and base are not on one grid"
        raise _wrong(what, f"{place}: output {fullest}", "round them with on_grid")
    return step, int(bounds[fullest])
