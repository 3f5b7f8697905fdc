"""Promise 1, in rules: what was not granted decides nothing, whatever the record holds, and absent is no default."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from tests.rules import SEGMENTS, target

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.targeting import NOW, Rule, compile_rule, features_as_variables
from entrenous_consent.errors import Forbidden, Malformed

BOUGHT = {"bought_orders_90d", "bought_spent_90d", "bought_last_90d"}
CONDITIONS = ("bought_orders_90d > 0.0", "bought_orders_90d <= 0.0")


def decided(client, purchases: int, choices, **context):
    """Return what a new visitor with so many purchases is answered."""
    visitor = client.visitor("customer-42")
    assert visitor.erase().accepted
    assert visitor.consent(client.example_choices).accepted
    for _ in range(purchases):
        assert visitor.observe("purchase", value=900, currency="EUR").accepted
    assert visitor.consent(choices).accepted
    return visitor.decide("promotion", "elsewhere", context)


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("key", ["targeting", "exclude"])
def test_a_withheld_feature_influences_no_rule(shop, key, condition):
    """Whatever they bought, and whatever the rule asks of it: the same answer, and always the default arm."""
    target(shop, **{key: condition})
    client = shop.open()
    choices = dict(client.example_choices) | {"history": False}
    answers = [decided(client, purchases, choices) for purchases in (0, 1, 7)]
    assert {(one.value, one.reason, one.cause, one.tranche) for one in answers} == {
        ("none", "DEFAULT", "ineligible", "")
    }
    for basis in (one.receipt.basis for one in answers):
        assert dict(basis.consents).keys() == {"personalize"}, (
            "the rule was not asked, and so used no purpose of its own"
        )
        assert {name for name in basis.withheld if name.startswith("bought_")} == BOUGHT
    none, many = (decided(client, purchases, client.example_choices).cause for purchases in (0, 7))
    assert none != many, "where it is granted, the rule tells them apart"


def test_a_scrambled_column_of_a_withheld_purpose_changes_no_decision(shop):
    """Even a runtime that had the numbers in memory would not look at them: the gate is closed before."""
    target(shop, "bought_orders_90d > 3.0 || bought_spent_90d > 0.0")
    client = shop.open()
    gate = client._engine.active.gates["promotion"]
    manifest = client.bundle
    draw = np.random.default_rng(7)
    for granted in (frozenset({"personalize"}), frozenset({"personalize", "measure"}), frozenset()):
        narrowed = gate.within(granted)
        for _ in range(200):
            head = draw.normal(0, 100, len(manifest.features)).astype(np.float32).tolist()
            assert not narrowed.admits(head, [], None, 0)
    assert gate.within(frozenset({"personalize", "history"})).admits([9.0] * len(manifest.features), [], None, 0)


def test_withheld_context_influences_no_rule(shop):
    target(shop, exclude="'staff' in segments", context=[SEGMENTS])
    client = shop.open()
    choices = dict(client.example_choices) | {"history": False}
    for said in ({}, {"segments": []}, {"segments": ["staff"]}, {"segments": 7}):
        assert decided(client, 0, choices, **said).cause == "ineligible"


def _rules() -> list[tuple[str, Rule]]:
    """Return every comparison of every feature of the packaged bundle with what would be its default."""
    shipped = read_bundle(files("entrenous.demo").joinpath("bundle.msgpack").read_bytes())
    variables = features_as_variables(shipped.manifest.features)
    found = []
    for name, variable in variables.items():
        literal = variable.values[0] if variable.values else 0.0
        operators = ("==", "!=") if variable.values else ("==", "!=", "<", "<=", ">", ">=")
        found += [(name, compile_rule((operator, ("var", name), literal), variables)) for operator in operators]
    return found


def test_what_is_absent_never_counts_as_its_default():
    """A count that is not there is not 0, nor is it unlike 0: no comparison holds, and every exclusion does."""
    rules = _rules()
    assert len(rules) > 40
    for name, rule in rules:
        assert not rule.matches({NOW: 0}), name
        assert rule.excludes({NOW: 0}), name


def test_a_rule_nobody_permitted_never_serves(shop):
    """A bundle whose rule reads a key that the policy does not name is forbidden, signed or not."""
    target(shop, "visit_views_7d >= 0.0")
    serving = shop.open()
    before = serving.bundle
    read = read_bundle(shop.bundle.read_bytes())
    sneaked = replace(read.manifest, context=(SEGMENTS,))
    shop.bundle.write_bytes(encode_bundle(sneaked, read.models))
    shop.publish()
    client = shop.open_as_is()
    assert isinstance(client.refused, Forbidden)
    assert client.bundle == before


@pytest.mark.parametrize(
    "change", [{"field": "ip_address"}, {"name": "user_ip"}, {"category": "user.device.ip_address"}]
)
def test_a_bundle_that_asks_for_a_raw_address_never_serves(shop, change):
    """Neither as what a rule reads nor as what a model reads, whoever signed it."""
    serving = shop.open()
    before = serving.bundle
    read = read_bundle(shop.bundle.read_bytes())
    moment = next(one for one in read.manifest.features if one.kind == "context")
    features = tuple(replace(one, **change) if one is moment else one for one in read.manifest.features)
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, features=features, proofs={}), read.models))
    shop.publish()
    client = shop.open_as_is()
    assert isinstance(client.refused, Malformed)
    assert "raw address" in client.refused.what
    assert client.bundle == before
