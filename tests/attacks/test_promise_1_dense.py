"""Promise 1, in dense graphs: what was not granted is not scored with, whoever signed the graph that would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests import dense
from tests.shop import Shop

from entrenous import Client, Decision, Visitor
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.model.scorer import Scorer
from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import to_dense_onnx


def graph() -> Any:
    features = len(dense.packaged().manifest.features)
    return onnx.load_from_string(to_dense_onnx(dense.packaged_linears(), features))


def withheld() -> tuple[int, int]:
    """Return a pattern's column that reads some features, and a feature that is withheld from it."""
    manifest = dense.packaged().manifest
    (rule,) = manifest.decisions.values()
    found = [
        (pattern.column, i)
        for pattern in rule.patterns
        for i, feature in enumerate(manifest.features)
        if feature.purpose not in pattern.purposes
    ]
    return found[0]


def reading_withheld() -> bytes:
    """Return a graph in which one pattern's Gather points at a withheld feature; it loads and scores."""
    proto, (column, feature) = graph(), withheld()
    gather = [node for node in proto.graph.node if node.op_type == "Gather"][column]
    constant = next(each for each in proto.graph.initializer if each.name == gather.input[1])
    indices = numpy_helper.to_array(constant).copy()
    indices[0] = feature
    constant.CopyFrom(numpy_helper.from_array(indices, constant.name))
    return proto.SerializeToString(deterministic=True)


def test_a_graph_that_reads_a_withheld_feature_would_score_with_it_and_is_refused() -> None:
    data, (column, feature) = reading_withheld(), withheld()
    (rule,) = dense.packaged().manifest.decisions.values()
    features = len(dense.packaged().manifest.features)
    scorer = Scorer(data, features=features, columns=len(rule.patterns))
    row = np.full(features, 1, np.float32)
    before = scorer.margin(row.data, [], column)
    assert scorer.margin(row.data, [(feature, 0.0)], column) != before, "the attack is real"
    with pytest.raises(Malformed, match=f"reads feature {feature}, which is withheld from output {column}"):
        read_bundle(dense.bundle_of(data))


def test_margins_in_another_order_are_refused() -> None:
    proto = graph()
    last = proto.graph.node[-1]
    last.input[:] = list(reversed(last.input))
    with pytest.raises(Malformed, match="which is withheld from output"):
        read_bundle(dense.bundle_of(proto.SerializeToString(deterministic=True)))


def test_patterns_in_another_order_are_refused() -> None:
    """The graph is honest; the manifest says that a visitor who granted little is scored by the column of all."""
    bundle = read_bundle(dense.bundle_of(graph().SerializeToString(deterministic=True)))
    ((name, rule),) = bundle.manifest.decisions.items()
    swapped = tuple(
        replace(pattern, purposes=other.purposes)
        for pattern, other in zip(rule.patterns, reversed(rule.patterns), strict=True)
    )
    manifest = replace(bundle.manifest, decisions={name: replace(rule, patterns=swapped)})
    with pytest.raises(Malformed, match="which is withheld from output"):
        read_bundle(encode_bundle(manifest, bundle.models))


def test_withheld_history_cannot_move_a_dense_margin(shop: Shop, ask: Callable[[Visitor], Decision]) -> None:
    shop.bundle.write_bytes(dense.bundle_of(graph().SerializeToString(deterministic=True)))
    client = shop.open()
    spender, newcomer = client.visitor("spender"), client.visitor("newcomer")
    for visitor in (spender, newcomer):
        visitor.consent(client.example_choices)
    for _ in range(5):
        spender.observe("purchase", value=9900, currency="EUR")
    assert ask(spender).margin != ask(newcomer).margin
    for visitor in (spender, newcomer):
        visitor.consent({"personalize": True})
    assert ask(spender).margin == ask(newcomer).margin


def test_a_shop_keeps_what_served_when_such_a_bundle_is_published(
    shop: Shop, client: Client, agreed: Visitor, ask: Callable[[Visitor], Decision]
) -> None:
    before = ask(agreed)
    shop.bundle.write_bytes(dense.bundle_of(reading_withheld()))
    shop.publish()
    later = shop.open_as_is()
    assert isinstance(later.refused, Malformed)
    assert "withheld from output" in str(later.refused)
    assert ask(later.visitor("customer-42")).margin == before.margin
