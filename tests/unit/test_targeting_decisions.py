"""Rules on real decisions: signed bundle, policy, consent, profile and clock, through a client."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.rules import PAGE, SEGMENTS, permit, target

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.context import columns_of
from entrenous.openfeature import Provider
from entrenous.targeting import MOST_SUPPLIED, Supplied, compile_gate
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.packing import pack, unpack


def agreeing(client, **without):
    visitor = client.visitor("customer-42")
    assert visitor.consent(dict(client.example_choices) | without).accepted
    return visitor


def answer(visitor, **context):
    return visitor.decide("promotion", "elsewhere", context)


def looked(visitor, times: int) -> None:
    for _ in range(times):
        assert visitor.observe("view_item", category="boots", price=9900, currency="EUR").accepted


def test_whom_a_rule_is_not_for_gets_the_default_arm_and_is_told_why(shop):
    target(shop, "visit_views_7d >= 2.0")
    visitor = agreeing(shop.open())
    decision = answer(visitor)
    assert (decision.value, decision.reason, decision.cause) == ("none", "DEFAULT", "ineligible")
    assert (decision.tranche, decision.margin, decision.arm) == ("", None, "none")
    looked(visitor, 2)
    assert answer(visitor).cause in ("", "holdout")
    assert answer(visitor).tranche


def test_an_exclusion_leaves_out_whom_it_matches(shop):
    target(shop, exclude="visit_taste_30d == 'boots'")
    visitor = agreeing(shop.open())
    assert answer(visitor).cause == "ineligible", "what is absent counts as matched"
    visitor.observe("view_item", category="bags", price=100, currency="EUR")
    assert answer(visitor).cause != "ineligible"
    looked(visitor, 5)
    assert answer(visitor).cause == "ineligible"


def test_an_exclusion_is_asked_after_the_targeting(shop):
    target(shop, "visit_views_7d >= 1.0", exclude="visit_views_7d >= 3.0")
    visitor = agreeing(shop.open())
    causes = []
    for _ in range(4):
        causes.append(answer(visitor).cause == "ineligible")
        looked(visitor, 1)
    assert causes == [True, False, False, True]


def test_a_rule_on_a_purpose_that_is_not_granted_never_matches(shop):
    target(shop, "bought_orders_90d >= 0.0")
    client = shop.open()
    assert answer(agreeing(client)).cause != "ineligible"
    assert answer(agreeing(client, history=False)).cause == "ineligible"


def test_the_receipt_names_the_purposes_that_the_rule_used(shop):
    target(shop, "bought_orders_90d > 3.0")
    client = shop.open()
    basis = answer(agreeing(client)).receipt.basis
    assert basis.cause == "ineligible"
    assert dict(basis.consents).keys() == {"history", "personalize"}
    assert basis.withheld == ()
    closed = answer(agreeing(client, history=False)).receipt.basis
    assert dict(closed.consents).keys() == {"personalize"}
    assert closed.withheld == ("bought_orders_90d", "bought_spent_90d", "bought_last_90d")


def test_a_scored_answer_names_the_purpose_that_its_rule_alone_used(shop):
    """The decision is for `personalize` and the model's pattern too; it is the rule that looked at purchases."""
    target(shop, "bought_orders_90d >= 0.0")
    read = read_bundle(shop.bundle.read_bytes())
    rule = read.manifest.decisions["promotion"]
    narrow = tuple(pattern for pattern in rule.patterns if pattern.purposes == ("personalize",))
    compiler = shop.open()._engine.active.compiler
    manifest = replace(read.manifest, decisions={"promotion": replace(rule, patterns=narrow)})
    narrowed = replace(compiler, manifest=manifest)
    route = narrowed.routes(frozenset({"personalize", "history"}))["promotion"]
    for result in (*(arms.best for arms in route.arms), *route.capped, route.ineligible):
        assert {"history", "personalize"} <= dict(result.basis.consents).keys()
    closed = narrowed.routes(frozenset({"personalize"}))["promotion"]
    for result in (*(arms.best for arms in closed.arms), *closed.capped, closed.ineligible):
        assert "history" not in dict(result.basis.consents)


def test_a_model_that_reads_less_than_the_rule_says_so_in_the_receipt(shop):
    """The pattern without purchases, and a rule on them: one is looked at, the others are withheld."""
    target(shop, "bought_orders_90d >= 0.0")
    read = read_bundle(shop.bundle.read_bytes())
    rule = read.manifest.decisions["promotion"]
    (narrow,) = (pattern for pattern in rule.patterns if pattern.purposes == ("personalize",))
    compiler = shop.open()._engine.active.compiler
    manifest = replace(read.manifest, decisions={"promotion": replace(rule, patterns=(replace(narrow, column=0),))})
    route = replace(compiler, manifest=manifest).routes(frozenset({"personalize", "history"}))["promotion"]
    assert route.arms[0].best.basis.withheld == ("bought_spent_90d", "bought_last_90d")


def test_an_ineligible_answer_spends_no_cap_and_enrols_nobody(shop):
    target(shop, "visit_views_7d > 100.0")
    client = shop.open()
    visitor = agreeing(client)
    for _ in range(3):
        assert answer(visitor).cause == "ineligible"
    client.flush()
    kept = visitor.export().data["purposes"]
    assert kept["personalize"]["times_shown"] == {}
    assert [receipt["cause"] for receipt in kept["personalize"]["receipts"]] == ["ineligible"] * 3


@pytest.mark.parametrize(
    ("targeting", "without", "counted"),
    [
        ("", {}, True),
        ("", {"personalize": False}, True),
        ("visit_views_7d >= 0.0", {}, True),
        ("visit_views_7d > 100.0", {}, False),
        ("bought_orders_90d >= 0.0", {"history": False}, False),
        ("visit_views_7d >= 0.0", {"personalize": False}, False),
    ],
)
def test_an_experiment_counts_those_alone_whom_its_rules_let_in(shop, targeting, without, counted):
    """Who refused what a rule reads is not let in, and so is not counted among those who were."""
    if targeting:
        target(shop, targeting)
    client = shop.open(crowd=True, release_seconds=0)
    client.release()
    visitor = agreeing(client, **without)
    answer(visitor)
    held = visitor.export().data["purposes"].get("measure", {})
    assert bool(held.get("contributions")) == counted


def test_a_rule_reads_the_context_of_the_model_and_its_own(shop):
    target(shop, "page_url.startsWith('/sale/')", context=[PAGE])
    visitor = agreeing(shop.open())
    assert answer(visitor, page_url="/sale/boots").cause != "ineligible"
    assert answer(visitor, page_url="/boots").cause == "ineligible"
    assert answer(visitor).cause == "ineligible"
    assert answer(visitor, page_url="/sale/" + "a" * 1_000_000).cause == "ineligible"


def test_context_of_another_type_is_refused(shop):
    target(shop, "page_url.startsWith('/sale/')", context=[PAGE])
    visitor = agreeing(shop.open())
    assert answer(visitor, page_url=3).cause == "bad_context"
    assert answer(visitor, page="/sale/").cause == "bad_context"


def test_context_under_a_purpose_that_is_not_granted_is_not_even_looked_at(shop):
    target(shop, "'gold' in segments", context=[SEGMENTS])
    client = shop.open()
    assert answer(agreeing(client), segments=["gold"]).cause != "ineligible"
    refusing = agreeing(client, history=False)
    decision = answer(refusing, segments=["gold"])
    assert decision.cause == "ineligible"
    assert "segments" in decision.receipt.basis.withheld
    assert answer(refusing, segments=3).cause == "ineligible"


def test_the_models_own_context_is_seen_as_the_model_sees_it(shop):
    read = read_bundle(shop.bundle.read_bytes())
    features = read.manifest.features
    hour = next(i for i, one in enumerate(features) if one.name == "hour")
    taste = next(i for i, one in enumerate(features) if one.name == "visit_taste_30d")
    gate = compile_gate(
        ("and", (">", ("var", "hour"), 3.0), ("==", ("var", "visit_taste_30d"), "bags")), None, features, ()
    )
    narrowed = gate.within(frozenset({"personalize"}))
    head = [float("nan")] * len(features)
    assert narrowed.admits(head, [(hour, 4.0), (taste, 2.0)], None, 0)
    assert narrowed.admits(head, [(hour, 3.0), (taste, 2.0), (0, 1.0)], None, 0) is False
    head[hour], head[taste] = 4.0, 2.0
    assert narrowed.admits(head, [], None, 0)
    assert not narrowed.admits(head, [(hour, float("nan"))], None, 0), "a context that is no number is absent"


def test_a_rule_follows_the_decisions_clock(shop, clock):
    target(shop, "now.getHours() >= 9 && now.getHours() < 18")
    visitor = agreeing(shop.open())
    assert answer(visitor).cause != "ineligible"
    clock.now += 8 * 3600
    assert answer(visitor).cause == "ineligible"


def test_a_decision_without_rules_has_no_gate():
    assert compile_gate(None, None, (), ()) is None


def test_two_rules_share_one_gate_and_each_reads_its_own(shop):
    target(shop, "page_url.contains('sale')", exclude="'staff' in segments", context=[PAGE, SEGMENTS])
    visitor = agreeing(shop.open())
    assert answer(visitor, page_url="/sale/", segments=[]).cause != "ineligible"
    assert answer(visitor, page_url="/sale/", segments=["staff"]).cause == "ineligible"
    assert answer(visitor, page_url="/sale/").cause == "ineligible"


def test_a_client_says_which_context_it_knows_and_openfeature_hands_it_over(shop):
    from openfeature.evaluation_context import EvaluationContext

    target(shop, "page_url.contains('sale')", context=[PAGE])
    client = shop.open()
    assert client.context_keys == {"page_url"}
    agreeing(client)
    context = EvaluationContext("customer-42", {"page_url": "/shop", "other": 1})
    found = Provider(client).resolve_string_details("promotion", "elsewhere", context)
    assert (found.value, found.reason, found.flag_metadata["cause"]) == ("none", "DEFAULT", "ineligible")


def test_a_policy_that_does_not_name_a_rules_context_forbids_the_bundle(shop):
    target(shop, "page_url.contains('sale')", context=[PAGE])
    text = shop.policy.read_text()
    shop.policy.write_text(text.replace('name = "page_url"', 'name = "page_title"'))
    with pytest.raises(Forbidden, match=r"features\.page_url: the policy names no such feature"):
        shop.open()


def test_a_policy_that_names_it_for_another_purpose_forbids_the_bundle(shop):
    target(shop, "page_url.contains('sale')", context=[PAGE])
    shop.policy.write_text(shop.policy.read_text().replace("page_url", "elsewhere"))
    permit(shop, [replace(PAGE, purpose="history")])
    with pytest.raises(Forbidden, match=r"features\.page_url\.purpose: asks 'personalize', the policy says 'history'"):
        shop.open()


def test_rules_are_kept_byte_for_byte(shop):
    target(shop, "page_url.matches('^/sale/') && visit_views_7d > 0.5", exclude="hour in [1, 2]", context=[PAGE])
    data = shop.bundle.read_bytes()
    read = read_bundle(data)
    assert encode_bundle(read.manifest, read.models) == data
    assert read.manifest.context == (PAGE,)


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("targeting", ["var", "page_url"], "targeting"),
        ("targeting", "page_url", "targeting"),
        ("exclude", ["==", ["var", "colour"], "red"], "exclude[1]"),
        ("exclude", ["==", ["var", "visit_taste_30d"], "hats"], "exclude[2]"),
        ("targeting", ["matches", ["var", "page_url"], "(a+)+"], "targeting[2]"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_again_as_the_bundle_is_read(shop, key, value, place):
    target(shop, "page_url.contains('sale')", context=[PAGE])
    outer = unpack(shop.bundle.read_bytes(), place="", longest=1 << 22)
    manifest = unpack(outer["manifest"], place="", longest=1 << 22)
    manifest["decisions"]["promotion"][key] = value
    with pytest.raises(Malformed) as refused:
        read_bundle(pack(outer | {"manifest": pack(manifest)}))
    assert refused.value.place == f"bundle: manifest.decisions.promotion.{place}"


@pytest.mark.parametrize("name", ["visit_views_7d", "hour"])
def test_a_key_that_a_feature_has_already_is_refused(shop, name):
    context = Supplied(name=name, type="text", purpose="personalize", category="c", source="s")
    read = read_bundle(shop.bundle.read_bytes())
    data = encode_bundle(replace(read.manifest, context=(context,)), read.models)
    with pytest.raises(Malformed, match=r"manifest\.context\[0\]\.name: is the name of a feature"):
        read_bundle(data)


def test_a_bundle_declares_so_many_keys_and_no_more(shop):
    read = read_bundle(shop.bundle.read_bytes())
    keys = tuple(replace(PAGE, name=f"key_{i}") for i in range(MOST_SUPPLIED + 1))
    most = encode_bundle(replace(read.manifest, context=keys[:-1]), read.models)
    assert read_bundle(most).manifest.context == keys[:-1]
    with pytest.raises(Malformed, match=rf"manifest\.context: holds more than {MOST_SUPPLIED} values"):
        read_bundle(encode_bundle(replace(read.manifest, context=keys), read.models))


@pytest.mark.parametrize(
    ("number", "seen"),
    [(3.0 + 1e-12, 3.0), (16_777_217, 16_777_216.0), (1e39, math.nan), (10**400, math.nan), (-math.inf, math.nan)],
)
def test_a_context_number_is_what_float32_holds_for_model_and_rule_alike(number, seen):
    active = SimpleNamespace(supplied={"size": (4, "personalize", None)}, context=frozenset())
    ((position, value),) = columns_of({"size": number}, active, frozenset({"personalize"}))
    assert position == 4
    assert value == seen or (math.isnan(value) and math.isnan(seen))


@pytest.mark.parametrize(
    ("context", "what", "remedy"),
    [
        (["size"], "expected a mapping", "hand over a dict of keys and values"),
        ({"size": "3"}, "expected a number", "hand over an int or a float"),
        ({"size": True}, "expected a number", "hand over an int or a float"),
        ({"taste": 3}, "expected text", "hand over one str"),
        ({"colour": "red"}, "has a key that this bundle does not know", "known: page, size, taste"),
    ],
)
def test_a_models_context_that_is_refused_says_what_to_hand_over(context, what, remedy):
    supplied = {"size": (4, "personalize", None), "taste": (5, "personalize", {"bags": 0})}
    active = SimpleNamespace(supplied=supplied, context=frozenset({"page"}))
    with pytest.raises(Malformed) as refused:
        columns_of(context, active, frozenset({"personalize"}))
    assert (refused.value.what, refused.value.remedy) == (what, remedy)
