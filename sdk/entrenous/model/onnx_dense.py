"""The dense profile: linear models as small graphs, and a proof of what each margin depends on.

::

    x ── Gather ── Imputer ── Max ── Min ── Scaler ──┐
                                                     ├── Concat ── LinearRegressor ──┐
    x ── Gather ── Equal ── Cast ────────────────────┘                               ├── Concat ── margin
    … the same for every other margin ──────────────────────────────────────────────┘

Only a `Gather` with constant indices reads `x`, every other node works column by column or adds columns up, and
every tensor is read once. So each column has a known set of features that it depends on, and a margin that depends on
a withheld one is refused. The same walk carries an interval for each column: numbers are NaN and unbounded until they
are imputed and clipped, and nothing but that may be done to them before; so no input makes a margin NaN or infinite.

Names are positions: node i writes `t<i>`, the last one `margin`; initialisers are `c0`, `c1` … in the order they are
read. A node reads only what is written before it: there is no cycle. Everything else is refused by name.

Sources: onnx.proto3, Operators.md and Operators-ml.md of the ONNX standard, IR version 9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous.model._onnx import ATTRIBUTE, NODE, SINGLE, TYPE_NUMBERS, open_graph, operator_of, spoken, wrong
from entrenous.model._protobuf import FIXED32, LENGTH, VARINT, Field, Message, read

__all__ = [
    "FARTHEST",
    "HIGHEST_MARGIN",
    "LARGEST_DENSE",
    "MOST_NODES",
    "MOST_TARGETS",
    "WIDEST",
    "DenseFacts",
    "check_dense",
]

LARGEST_DENSE = 1 << 20
"""Bytes."""
MOST_NODES = 128
WIDEST = 4096
"""The most columns of a tensor."""
MOST_TARGETS = 100
"""The most margins that one set of columns gives: a decision has no more tranches."""
FARTHEST = 2.0**64
"""The largest magnitude that a value may have once it is clipped: far from where float32 ends."""
HIGHEST_MARGIN = 2.0**24
"""The largest magnitude that a margin may reach, whatever the input."""

_LEARNT = "train it with this version's exporter"
_INT64 = 7
_INITIALISER = Message(
    fields={
        1: Field(name="dims", wire=VARINT, many=True),
        2: Field(name="element", wire=VARINT),
        8: Field(name="name", wire=LENGTH),
        9: Field(name="raw", wire=LENGTH),
    },
    refused={
        3: "a segment",
        4: "floats that are not raw",
        5: "integers that are not raw",
        6: "strings",
        7: "integers that are not raw",
        10: "doubles",
        11: "unsigned integers",
        12: "a doc string",
        13: "external data",
        14: "a place of its data",
        16: "metadata properties",
    },
)
_ATTRIBUTE = Message(
    fields={**ATTRIBUTE.fields, 2: Field(name="float", wire=FIXED32)},
    refused={number: name for number, name in ATTRIBUTE.refused.items() if number != 2},
)

Wide = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseFacts:
    """What a checked dense model is known to do.

    Attributes:
        size: bytes. features: F. columns: P. nodes: how many.
        reads: for each margin, the features that it depends on; no other one changes a bit of it.
        bound: the largest magnitude that a margin can reach, up to rounding.
    """

    size: int
    features: int
    columns: int
    nodes: int
    reads: tuple[frozenset[int], ...]
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Facts:
    """What is known of a tensor [N, width].

    Attributes:
        reads: for each column, the features it depends on. low, high: [width], the least and the largest value.
        missing: whether a value may be NaN. boolean: true or false, not float32.
    """

    reads: tuple[frozenset[int], ...]
    low: Wide
    high: Wide
    missing: bool = False
    boolean: bool = False

    @property
    def width(self) -> int:
        return len(self.reads)

    @property
    def clipped(self) -> bool:
        return not self.missing and bool((np.maximum(-self.low, self.high) <= FARTHEST).all())


def check_dense(
    model: bytes, *, place: str, features: int, columns: int, readable: Sequence[Set[int]] | None = None
) -> DenseFacts:
    """Return what the model does, if it is within the dense profile.

    Args:
        model: ONNX bytes from anywhere.
        place: what they are, for errors, like `models.promotion`.
        features: F, the width of the vector that it must take; finite, infinite and NaN are all provided for.
        columns: P, the margins that it must give.
        readable: for each margin, the features that it may depend on; all of them when left out.

    Raises:
        Malformed: outside the profile in any way, with the place (`models.promotion: node 3 (Concat)`).
    """
    graph = open_graph(model, place=place, features=features, columns=columns, longest=LARGEST_DENSE, initialisers=True)
    if graph.get("name") != b"entrenous":
        raise wrong("has a graph of another name", place)
    nodes = graph.get("node", [])
    if not 0 < len(nodes) <= MOST_NODES:
        raise wrong(f"has no nodes, or more than {MOST_NODES}", place)
    margin = _Walk(_initialisers(graph.get("initializer", []), place), features, place).over(nodes)
    if margin.width != columns:
        raise wrong(f"gives {margin.width} margins, not {columns}", place)
    bound = float(np.maximum(-margin.low, margin.high).max())
    if margin.boolean or margin.missing or not bound <= HIGHEST_MARGIN:
        raise wrong(f"gives margins that may be NaN or past {HIGHEST_MARGIN:.0f}", place, _LEARNT)
    for column, allowed in enumerate(readable or ()):
        withheld = sorted(margin.reads[column] - allowed)
        if withheld:
            what = f"reads feature {withheld[0]}, which is withheld from output {column}"
            raise wrong(what, place, "train each pattern without it")
    return DenseFacts(
        size=len(model), features=features, columns=columns, nodes=len(nodes), reads=margin.reads, bound=bound
    )


def _initialisers(raw: list[bytes], place: str) -> list[NDArray[Any]]:
    """Return the initialisers in order: int64 [n], or finite float32 [1, n]."""
    found: list[NDArray[Any]] = []
    for i, each in enumerate(raw[: 2 * MOST_NODES]):
        here = f"{place}: initialiser {i}"
        parts = read(each, _INITIALISER, here)
        if parts.get("name") != b"c%d" % i:
            raise wrong(f"is not named c{i}", here)
        dims = parts.get("dims", np.zeros(0, np.int64)).tolist()
        floats = parts.get("element") == SINGLE
        if (not floats and parts.get("element") != _INT64) or len(dims) != 1 + floats or (floats and dims[0] != 1):
            raise wrong("is neither int64 [n] nor float32 [1, n]", here)
        data = parts.get("raw", b"")
        if not 0 < dims[-1] <= WIDEST or len(data) != dims[-1] * (4 if floats else 8):
            raise wrong(f"does not hold 1 to {WIDEST} values, or not as many as it says", here)
        values = np.frombuffer(data, "<f4" if floats else "<i8")
        if floats and not np.isfinite(values).all():
            raise wrong("holds NaN or an infinity", here)
        found.append(values)
    if len(raw) > len(found):
        raise wrong(f"has more than {2 * MOST_NODES} initialisers", place)
    return found


class _Walk:
    """One pass over the nodes, in which each is allowed only what is known of what it reads."""

    def __init__(self, initialisers: list[NDArray[Any]], features: int, place: str) -> None:
        self._initialisers, self._features, self._place = initialisers, features, place
        self._constants = 0
        self._unread: dict[bytes, _Facts] = {}

    def over(self, nodes: list[bytes]) -> _Facts:
        """Return what is known of `margin`."""
        for i, each in enumerate(nodes):
            here = f"{self._place}: node {i}"
            node = read(each, NODE, here)
            operator = operator_of(node)
            if operator not in _OPERATORS:
                allowed = ", ".join(sorted(spoken(one) for one in _OPERATORS))
                raise wrong(f"uses the operator {spoken(operator)!r}", here, f"use {allowed} only")
            kinds, apply = _OPERATORS[operator]
            here += f" ({operator[1].decode()})"
            name = b"margin" if i == len(nodes) - 1 else b"t%d" % i
            if "name" in node or node.get("output") != [name]:
                raise wrong(f"has a name, or does not write exactly {name.decode()}", here)
            attributes = _attributes(node.get("attribute", []), kinds, here)
            facts = apply(self, node.get("input", []), attributes, here)
            if facts.width > WIDEST:
                raise wrong(f"is wider than {WIDEST} columns", here)
            self._unread[name] = facts
        margin = self._unread.pop(b"margin")
        if self._unread or self._constants != len(self._initialisers):
            raise wrong("has a node or an initialiser that nothing reads", self._place)
        return margin

    def _take(self, name: bytes, place: str) -> _Facts:
        """Return the facts of a tensor and mark it read."""
        facts = self._unread.pop(name, None)
        if facts is None:
            spelt = name[:16].decode("ascii", "replace")
            raise wrong(f"reads {spelt!r}, which is not a tensor written before and read by nobody else", place)
        return facts

    def _one(self, names: list[bytes], place: str) -> _Facts:
        if len(names) != 1:
            raise wrong(f"has {len(names)} inputs, not one", place)
        return self._take(names[0], place)

    def _constant(self, names: list[bytes], width: int | None, kind: type, place: str) -> NDArray[Any]:
        """Return the initialiser that stands second, if it is the next one, of its type, and as wide as it must be."""
        i = self._constants
        if len(names) != 2 or names[1] != b"c%d" % i or i >= len(self._initialisers):
            raise wrong(f"does not take exactly one tensor, then the initialiser c{i}", place)
        values = self._initialisers[i]
        if values.dtype != np.dtype(kind) or (width is not None and values.size != width):
            raise wrong(f"takes an initialiser that is not {np.dtype(kind)} as wide as its tensor", place)
        self._constants = i + 1
        return values

    def gather(self, names: list[bytes], attributes: dict[str, Any], place: str) -> _Facts:
        """`x`, int64 [n] ---> [N, n]: columns of the input."""
        if names[:1] != [b"x"]:
            raise wrong("reads another tensor than x", place)
        _demand(attributes["axis"] == 1, "has another axis than 1", place)
        columns = self._constant(names, None, np.int64, place)
        if ((columns < 0) | (columns >= self._features)).any():
            raise wrong(f"reads a feature outside 0..{self._features - 1}", place)
        unbounded = np.full(columns.size, np.inf)
        return _Facts(
            reads=tuple(frozenset((i,)) for i in columns.tolist()), low=-unbounded, high=unbounded, missing=True
        )

    def impute(self, names: list[bytes], attributes: dict[str, Any], place: str) -> _Facts:
        """[N, C] ---> [N, C]: a value of its own for each column where it is NaN."""
        tensor, fill = self._one(names, place), attributes["imputed_value_floats"]
        _demand(not tensor.boolean and fill.size == tensor.width, "does not fill every column of numbers", place)
        _demand(bool(np.isnan(attributes["replaced_value_float"])), "replaces something else than NaN", place)
        return _Facts(reads=tensor.reads, low=np.minimum(tensor.low, fill), high=np.maximum(tensor.high, fill))

    def clip(self, names: list[bytes], place: str, limit: Callable[[Wide, Wide], Wide]) -> _Facts:
        """[N, C], float32 [1, C] ---> [N, C]: the larger of the two, or the smaller."""
        tensor = self._take(names[0] if names else b"", place)
        constant = self._constant(names, tensor.width, np.float32, place).astype(np.float64)
        _demand(not tensor.boolean and not tensor.missing, "compares what may be NaN, or is no number", place)
        return _Facts(reads=tensor.reads, low=limit(tensor.low, constant), high=limit(tensor.high, constant))

    def scale(self, names: list[bytes], attributes: dict[str, Any], place: str) -> _Facts:
        """[N, C] ---> [N, C]: (value - offset) · scale."""
        tensor = self._one(names, place)
        offset, scale = (attributes[name].astype(np.float64) for name in ("offset", "scale"))
        _demand(not tensor.boolean and tensor.clipped, "takes values that are not clipped", place)
        _demand(offset.size == scale.size == tensor.width, "does not scale every column", place)
        fits = bool((scale > 0).all() and np.abs(offset).max() <= FARTHEST)
        _demand(fits, "has a scale that does not rise, or an offset too far", place)
        scaled = _Facts(reads=tensor.reads, low=(tensor.low - offset) * scale, high=(tensor.high - offset) * scale)
        _demand(scaled.clipped, "scales values too far", place)
        return scaled

    def equal(self, names: list[bytes], attributes: dict[str, Any], place: str) -> _Facts:
        """[N, C], float32 [1, C] ---> boolean [N, C]: never true for NaN."""
        tensor = self._take(names[0] if names else b"", place)
        self._constant(names, tensor.width, np.float32, place)
        _demand(not tensor.boolean, "compares what is no number", place)
        return _Facts(reads=tensor.reads, low=np.zeros(tensor.width), high=np.ones(tensor.width), boolean=True)

    def cast(self, names: list[bytes], attributes: dict[str, Any], place: str) -> _Facts:
        """Boolean [N, C] ---> float32 [N, C]: 0 or 1."""
        tensor = self._one(names, place)
        _demand(tensor.boolean and attributes["to"] == SINGLE, "casts something else than boolean to float32", place)
        return _Facts(reads=tensor.reads, low=tensor.low, high=tensor.high)

    def concat(self, names: list[bytes], attributes: dict[str, Any], place: str) -> _Facts:
        """[N, C_1], … ---> [N, C_1 + …]."""
        _demand(len(names) > 1 and attributes["axis"] == 1, "does not join two tensors or more on axis 1", place)
        tensors = [self._take(name, place) for name in names]
        _demand(
            all(one.clipped and not one.boolean for one in tensors),
            "joins values that are not clipped, or no numbers",
            place,
        )
        return _Facts(
            reads=sum((one.reads for one in tensors), ()),
            low=np.concatenate([one.low for one in tensors]),
            high=np.concatenate([one.high for one in tensors]),
        )

    def regress(self, names: list[bytes], attributes: dict[str, Any], place: str) -> _Facts:
        """[N, C] ---> [N, T]: T sums of value · coefficient, each with its intercept."""
        tensor, targets = self._one(names, place), attributes["targets"]
        weights, base = (attributes[name].astype(np.float64) for name in ("coefficients", "intercepts"))
        _demand(not tensor.boolean and tensor.clipped, "takes values that are not clipped", place)
        fits = 1 <= targets <= MOST_TARGETS and weights.size == tensor.width * targets and base.size == targets
        _demand(fits, f"does not give 1 to {MOST_TARGETS} margins of every column", place)
        weights = weights.reshape(targets, tensor.width)
        ends = np.sort([tensor.low * weights, tensor.high * weights], axis=0)
        reach = float((np.abs(ends).max(axis=0).sum(axis=1) + np.abs(base)).max())
        if not reach <= HIGHEST_MARGIN:
            raise wrong(f"may sum past {HIGHEST_MARGIN:.0f}", place, _LEARNT)
        return _Facts(
            reads=(frozenset().union(*tensor.reads),) * targets,
            low=ends[0].sum(axis=1) + base,
            high=ends[1].sum(axis=1) + base,
        )


def _demand(true: bool, what: str, place: str) -> None:
    if not true:
        raise wrong(what, place)


def _attributes(raw: list[bytes], kinds: Mapping[str, str], place: str) -> dict[str, Any]:
    """Return the attributes by name: all that the operator has, each once, of its type, numbers finite."""
    found: dict[str, Any] = {}
    for each in raw[: len(kinds) + 1]:
        parts = read(each, _ATTRIBUTE, f"{place}: attribute")
        name = parts.pop("name", b"")[:64].decode("ascii", "replace")
        kind = kinds.get(name)
        if kind is None or name in found:
            raise wrong(f"has the attribute {name!r} twice or unknown", place)
        if parts.pop("type", None) != TYPE_NUMBERS[kind] or list(parts) != [kind]:
            raise wrong(f"is not of type {kind}, with one value or more", f"{place}: {name}")
        if kind == "floats" and not np.isfinite(parts[kind]).all():
            raise wrong("holds NaN or an infinity", f"{place}: {name}")
        found[name] = parts[kind]
    for name in kinds:
        if name not in found:
            raise wrong("is missing", f"{place}: {name}")
    return found


_Apply = Callable[[_Walk, list[bytes], dict[str, Any], str], _Facts]
_OPERATORS: Mapping[tuple[bytes, bytes], tuple[Mapping[str, str], _Apply]] = MappingProxyType(
    {
        (b"", b"Gather"): ({"axis": "int"}, _Walk.gather),
        (b"", b"Max"): ({}, lambda walk, names, _, place: walk.clip(names, place, np.maximum)),
        (b"", b"Min"): ({}, lambda walk, names, _, place: walk.clip(names, place, np.minimum)),
        (b"", b"Equal"): ({}, _Walk.equal),
        (b"", b"Cast"): ({"to": "int"}, _Walk.cast),
        (b"", b"Concat"): ({"axis": "int"}, _Walk.concat),
        (b"ai.onnx.ml", b"Imputer"): (
            {"imputed_value_floats": "floats", "replaced_value_float": "float"},
            _Walk.impute,
        ),
        (b"ai.onnx.ml", b"Scaler"): ({"offset": "floats", "scale": "floats"}, _Walk.scale),
        (b"ai.onnx.ml", b"LinearRegressor"): (
            {"coefficients": "floats", "intercepts": "floats", "targets": "int"},
            _Walk.regress,
        ),
    }
)
