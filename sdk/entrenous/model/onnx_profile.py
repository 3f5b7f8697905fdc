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

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous.model._onnx import (
    ATTRIBUTE,
    IR_VERSION,
    LARGEST_MODEL,
    NODE,
    OPSETS,
    TYPE_NUMBERS,
    open_graph,
    operator_of,
    spoken,
)
from entrenous.model._onnx import wrong as _wrong
from entrenous.model._protobuf import read

__all__ = ["IR_VERSION", "LARGEST_MODEL", "MOST_STEPS", "OPSETS", "ModelFacts", "check_model"]

MOST_STEPS = 1 << 24
_STEP_EXPONENTS = (-64, 64)

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


def _only_node(model: bytes, place: str, features: int, columns: int) -> list[bytes]:
    """Check everything around the one node; return its attributes, unread."""
    graph = open_graph(
        model, place=place, features=features, columns=columns, longest=LARGEST_MODEL, initialisers=False
    )
    raw = graph.get("node", [])
    for each in raw:
        node = read(each, NODE, f"{place}: node")
        operator = operator_of(node)
        if operator != (b"ai.onnx.ml", b"TreeEnsembleRegressor"):
            raise _wrong(f"uses the operator {spoken(operator)!r}", place, "use trees: TreeEnsembleRegressor only")
    if len(raw) != 1:
        raise _wrong(f"has {len(raw)} nodes, not one", place)
    if node.get("input") != [b"x"] or node.get("output") != [b"margin"]:
        raise _wrong("does not lead from x to margin", place)
    if graph.get("name") != b"entrenous" or "name" in node:
        raise _wrong("has a graph or a node of another name", place)
    return node.get("attribute", [])  # type: ignore[no-any-return]


def _attributes(raw: list[bytes], place: str) -> dict[str, Any]:
    """Return the attributes by name, each there once, of its type, and as long as its kind demands."""
    found: dict[str, Any] = {}
    for each in raw:
        parts = read(each, ATTRIBUTE, f"{place}: attribute")
        name = parts.pop("name", b"")[:64].decode("ascii", "replace")
        kind = _ATTRIBUTES.get(name)
        if kind is None or name in found:
            raise _wrong(f"has the attribute {name!r} twice or unknown", place)
        if parts.pop("type", None) != TYPE_NUMBERS[kind] or list(parts) != [kind]:
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
