"""From pipelines to ONNX bytes: skl2onnx converts each, one graph holds them all, a margin column each.

Two steps go around the stock converters. `OneHotEncoder` is cast to integers there, so that 1.5 counts as 1, -0.5 as 0
and a missing code as whatever the machine makes of NaN: here a code is compared as float32. `LinearClassifier` answers
a label that nobody asked for: here the same coefficients go through `LinearRegressor`. Clipping has no stock
converter: `Max`, then `Min`.

What skl2onnx answers is written anew in the one spelling that `entrenous.model.onnx_dense` accepts: selections of
columns become one `Gather` of `x` each, what leads to no margin is dropped, tensors are named by position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from entrenous.model.onnx_dense import check_dense
from entrenous.model.onnx_profile import IR_VERSION, OPSETS
from entrenous_consent.errors import Malformed
from entrenous_exporters.dense.pipeline import Linear

__all__ = ["to_dense_onnx"]

_SELECTIONS = {("", "Gather"), ("ai.onnx.ml", "ArrayFeatureExtractor")}


def to_dense_onnx(columns: Sequence[tuple[Linear, Sequence[int]]], features: int) -> bytes:
    """Return the models as one ONNX model: `x` float32 [N, F] in, `margin` float32 [N, P] out.

    The bytes depend on the fitted models alone.

    Args:
        columns: models, each with the positions in the vector of the columns that it takes; one margin or more each.
        features: F, the width of the vector.

    Raises:
        Malformed: positions out of range, twice or not as many as the model takes, or a model outside what the runtime
            accepts (`entrenous.model.onnx_dense`).
    """
    if not columns:
        raise Malformed("has no model", place="model", remedy="give one for each consent pattern")
    writer = _Writer()
    margins = []
    for i, (linear, positions) in enumerate(columns):
        chosen = np.array(positions, dtype=np.int64)
        distinct = np.unique(chosen)
        if (
            chosen.size != linear.width
            or distinct.size != chosen.size
            or not 0 <= chosen.min() <= chosen.max() < features
        ):
            remedy = "name each column of the model once"
            raise Malformed("has positions that do not fit its model", place=f"column {i}", remedy=remedy)
        margins.append(_Reading(_convert(linear), chosen, writer).margin())
    if len(margins) > 1:
        writer.add("Concat", margins, axis=1)
    readable = [frozenset(int(i) for i in at) for linear, at in columns for _ in range(linear.outputs)]
    graph = helper.make_graph(
        writer.finish(),
        "entrenous",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", features])],
        [helper.make_tensor_value_info("margin", TensorProto.FLOAT, ["N", len(readable)])],
        initializer=writer.initialisers,
    )
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="entrenous", graph=graph)
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in OPSETS.items())
    data: bytes = model.SerializeToString(deterministic=True)
    check_dense(data, place="model", features=features, columns=len(readable), readable=readable)
    return data


def _convert(linear: Linear) -> Any:
    """Return what skl2onnx makes of a model, with our own converters where the stock ones are wrong or missing."""
    proto = convert_sklearn(
        linear.exportable(),
        initial_types=[("x", FloatTensorType([None, linear.width]))],
        target_opset=dict(OPSETS),
        custom_conversion_functions={OneHotEncoder: _convert_codes, FunctionTransformer: _convert_clip},
        custom_shape_calculators={OneHotEncoder: _shape_of_codes, FunctionTransformer: _shape_of_clip},
    )
    return proto.graph


def _shape_of_codes(operator: Any) -> None:
    width = sum(len(each) for each in operator.raw_operator.categories_)
    operator.outputs[0].type = FloatTensorType([None, width])


def _convert_codes(scope: Any, operator: Any, container: Any) -> None:
    """[N, C] ---> [N, codes of all columns]: 1 where the value is the code, to the bit of a float32, else 0."""
    codes = operator.raw_operator.categories_
    columns = np.repeat(np.arange(len(codes)), [len(each) for each in codes])
    values = np.concatenate(codes).astype(np.float32)
    names = [scope.get_unique_variable_name(f"codes_{part}") for part in ("columns", "values", "chosen", "equal")]
    container.add_initializer(names[0], TensorProto.INT64, [columns.size], columns.tolist())
    container.add_initializer(names[1], TensorProto.FLOAT, [1, values.size], values.tolist())
    container.add_node("Gather", [operator.inputs[0].full_name, names[0]], names[2], op_version=13, axis=1)
    container.add_node("Equal", [names[2], names[1]], names[3], op_version=13)
    container.add_node("Cast", [names[3]], operator.outputs[0].full_name, op_version=13, to=TensorProto.FLOAT)


def _shape_of_clip(operator: Any) -> None:
    operator.outputs[0].type = FloatTensorType(operator.inputs[0].type.shape)


def _convert_clip(scope: Any, operator: Any, container: Any) -> None:
    """[N, C] ---> [N, C]: each column between its own bounds, which `Clip` cannot do."""
    bounds = operator.raw_operator.kw_args
    names = [scope.get_unique_variable_name(f"clip_{part}") for part in ("low", "high", "raised")]
    for name, values in zip(names, (bounds["a_min"], bounds["a_max"]), strict=False):
        container.add_initializer(name, TensorProto.FLOAT, [1, len(values)], [float(each) for each in values])
    container.add_node("Max", [operator.inputs[0].full_name, names[0]], names[2], op_version=13)
    container.add_node("Min", [names[2], names[1]], operator.outputs[0].full_name, op_version=13)


@dataclass(slots=True)
class _Writer:
    """The graph as it grows: nodes and initialisers, named by position."""

    nodes: list[Any] = field(default_factory=list)
    initialisers: list[Any] = field(default_factory=list)

    def add(self, operator: str, inputs: list[str], *, domain: str = "", **attributes: Any) -> str:
        """Return the name of the tensor that the new node writes."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], domain=domain or None, **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        """Return the name of a new initialiser."""
        name = f"c{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(values, name))
        return name

    def finish(self) -> list[Any]:
        """Return the nodes, of which the last writes the margin."""
        self.nodes[-1].output[0] = "margin"
        return self.nodes


class _Reading:
    """One converted model, read backwards from its margin into the common graph: what leads nowhere is never read."""

    def __init__(self, graph: Any, positions: NDArray[np.int64], writer: _Writer) -> None:
        self._input, self._positions, self._writer = graph.input[0].name, positions, writer
        self._output = graph.output[0].name
        self._constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self._made_by = {name: node for node in graph.node for name in node.output}

    def margin(self) -> str:
        """Return the name of the margin, [N, 1], in the common graph."""
        return self._write(self._output)

    def _write(self, name: str) -> str:
        if name in self._constants:
            return self._writer.constant(self._constants[name])
        chosen = self._selection(name)
        if chosen is not None:
            return self._writer.add("Gather", ["x", self._writer.constant(chosen)], axis=1)
        node = self._made_by[name]
        if node.op_type == "Identity":
            return self._write(node.input[0])
        inputs = [self._write(each) for each in node.input]
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type == "Concat":
            if len(inputs) == 1:
                return inputs[0]
            attributes["axis"] = 1
        return self._writer.add(node.op_type, inputs, domain=node.domain, **dict(sorted(attributes.items())))

    def _selection(self, name: str) -> NDArray[np.int64] | None:
        """Return which columns of the vector a tensor is, if it is a selection of them."""
        if name == self._input:
            return self._positions
        node = self._made_by[name]
        if (node.domain, node.op_type) not in _SELECTIONS or node.input[1] not in self._constants:
            return None
        before = self._selection(node.input[0])
        return None if before is None else before[self._constants[node.input[1]].reshape(-1)]
