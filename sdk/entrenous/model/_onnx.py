"""ONNX's own messages, as far as a bundle may use them, and what every profile of ours demands around its nodes.

A profile says which nodes a graph may hold. Around them all is the same: the IR version, the opsets, the producer,
one float32 input `x` [N, F], one float32 output `margin` [N, P], and nothing that a model does not need.

Source: onnx.proto3 of the ONNX standard, IR version 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from entrenous.model._protobuf import FIXED32, LENGTH, VARINT, Field, Message, read
from entrenous_consent.errors import Malformed

__all__ = [
    "ATTRIBUTE",
    "IR_VERSION",
    "LARGEST_MODEL",
    "NODE",
    "OPSETS",
    "SINGLE",
    "TYPE_NUMBERS",
    "open_graph",
    "operator_of",
    "spoken",
    "wrong",
]

LARGEST_MODEL = 4 << 20
"""Bytes."""
IR_VERSION = 9
OPSETS: Mapping[str, int] = MappingProxyType({"": 18, "ai.onnx.ml": 3})
SINGLE = 1
"""The number of float32 among ONNX's element types."""
_REMEDY = "emit it with this version's exporter"

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
_INITIALISERS = "initialisers"
_GRAPH = Message(
    fields={
        1: Field(name="node", wire=LENGTH, many=True),
        2: Field(name="name", wire=LENGTH),
        11: Field(name="input", wire=LENGTH, many=True),
        12: Field(name="output", wire=LENGTH, many=True),
    },
    refused={
        5: _INITIALISERS,
        10: "a doc string",
        13: "value information",
        14: "quantisation annotations",
        15: "sparse initialisers",
        16: "metadata properties",
    },
)
_GRAPH_WITH_INITIALISERS = Message(
    fields={**_GRAPH.fields, 5: Field(name="initializer", wire=LENGTH, many=True)},
    refused={number: name for number, name in _GRAPH.refused.items() if name != _INITIALISERS},
)
NODE = Message(
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
_TENSOR_TYPE = Message(fields={1: Field(name="element", wire=VARINT), 2: Field(name="shape", wire=LENGTH)})
_SHAPE = Message(fields={1: Field(name="dim", wire=LENGTH, many=True)})
_DIM = Message(
    fields={1: Field(name="size", wire=VARINT), 2: Field(name="symbol", wire=LENGTH)},
    refused={3: "a denotation"},
)
ATTRIBUTE = Message(
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
TYPE_NUMBERS: Mapping[str, int] = MappingProxyType(
    {"float": 1, "int": 2, "string": 3, "floats": 6, "ints": 7, "strings": 8}
)


def wrong(what: str, place: str, remedy: str = _REMEDY) -> Malformed:
    """Return the refusal of a model."""
    return Malformed(what, place=place, remedy=remedy)


def open_graph(
    model: bytes, *, place: str, features: int, columns: int, longest: int, initialisers: bool
) -> dict[str, Any]:
    """Check everything around the nodes; return the graph's parts, unread but for inputs and outputs.

    Args:
        model: ONNX bytes from anywhere.
        place: what they are, for errors.
        features: F, the width of `x`. columns: P, the width of `margin`.
        longest: the most bytes the model may have.
        initialisers: whether the graph may hold some.

    Raises:
        Malformed: anything else than the profile allows, named.
    """
    if len(model) > longest:
        raise wrong(f"is longer than {longest} bytes", place, "use fewer or smaller trees, or fewer categories")
    outer = read(model, _MODEL, place)
    if outer.get("ir_version") != IR_VERSION or outer.get("producer_name") != b"entrenous":
        raise wrong(f"is not of IR version {IR_VERSION} by entrenous", place)
    raw = outer.get("opset_import", [])
    opsets = [read(each, _OPSET, f"{place}: opset") for each in raw[: len(OPSETS)]]
    imported = {(each.get("domain", b""), each.get("version")) for each in opsets}
    wanted = {(domain.encode(), version) for domain, version in OPSETS.items()}
    if imported != wanted or len(raw) != len(wanted):
        raise wrong("does not import exactly opset 18 and ai.onnx.ml 3", place)
    message = _GRAPH_WITH_INITIALISERS if initialisers else _GRAPH
    graph = read(outer.get("graph", b""), message, f"{place}: graph")
    _check_value(graph.get("input", []), b"x", features, f"{place}: input")
    _check_value(graph.get("output", []), b"margin", columns, f"{place}: output")
    return graph


def operator_of(node: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return a node's operator: its domain, empty for ONNX's own, and its name."""
    return node.get("domain", b""), node.get("op_type", b"")


def spoken(operator: tuple[bytes, bytes]) -> str:
    """Return an operator as errors name it, like `ai.onnx.ml.Scaler` or `Concat`; never to be compared."""
    return b".".join(operator)[:64].decode("ascii", "replace").strip(".")


def _check_value(values: list[bytes], name: bytes, width: int, place: str) -> None:
    expected = f"expected exactly one, {name.decode()}, float32 [N, {width}]"
    if len(values) != 1:
        raise wrong(expected, place)
    value = read(values[0], _VALUE, place)
    kind = read(value.get("type", b""), _TYPE, place)
    tensor = read(kind.get("tensor", b""), _TENSOR_TYPE, place)
    shape = read(tensor.get("shape", b""), _SHAPE, place)
    dims = [read(dim, _DIM, place) for dim in shape.get("dim", [])[:3]]
    if value.get("name") != name or tensor.get("element") != SINGLE or dims != [{"symbol": b"N"}, {"size": width}]:
        raise wrong(expected, place)
