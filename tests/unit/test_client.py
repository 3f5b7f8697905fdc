"""The front door: what an app gets from a client and its visitors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from entrenous import Client, Config, Deployment, demo
from entrenous.bundle import read_bundle
from entrenous_consent.errors import Forbidden, Malformed, Missing, Unauthentic, Unavailable
from entrenous_consent.policy import parse_policy

DAY = 86_400


def test_a_visitor_who_agreed_gets_a_scored_decision(agreed, ask):
    agreed.observe("view_item", category="slippers", price=4900, currency="EUR")
    decision = ask(agreed)
    assert decision.reason == "TARGETING_MATCH"
    assert decision.tranche in ("cold", "warm", "hot")
    assert decision.margin is not None
    assert decision.receipt.basis.consents == (("history", 1), ("personalize", 1))


def test_without_consent_the_default_and_its_cause(client, ask):
    decision = ask(client.visitor("customer-42"))
    assert (decision.value, decision.reason, decision.cause) == ("none", "DEFAULT", "consent_missing")
    assert decision.receipt is None
    assert decision.margin is None


def test_a_choice_is_the_whole_choice(client, ask):
    visitor = client.visitor("customer-42")
    visitor.consent({"history": True})
    assert ask(visitor).cause == "consent_missing"
    assert visitor.export().data["consent"]["granted"] == ["history"]


@pytest.mark.parametrize(
    "choices", [{"personalise": True}, {"personalize": 1}, {"personalize": "true"}, {"personalize": None}, [], None]
)
def test_a_choice_that_is_not_understood_changes_nothing(agreed, ask, choices):
    outcome = agreed.consent(choices)
    assert not outcome.accepted
    assert outcome.cause == "malformed"
    assert "choices" in outcome.message
    assert ask(agreed).reason == "TARGETING_MATCH"


def test_a_partial_consent_uses_its_own_column_and_names_what_was_withheld(client, ask):
    visitor = client.visitor("customer-42")
    visitor.consent({"personalize": True})
    visitor.observe("purchase", value=9900, currency="EUR", category="boots")
    decision = ask(visitor)
    assert decision.receipt.basis.withheld == ("bought_orders_90d", "bought_spent_90d", "bought_last_90d")
    assert decision.receipt.basis.consents == (("personalize", 1),)


def test_an_event_changes_the_margin_at_the_next_decision(agreed, ask):
    before = ask(agreed).margin
    for _ in range(6):
        assert agreed.observe("view_item", category="boots", price=9900, currency="EUR").accepted
    assert agreed.observe("add_to_cart", category="boots", price=9900, currency="EUR").accepted
    assert ask(agreed).margin > before


def test_an_event_counts_only_for_granted_purposes(client):
    visitor = client.visitor("customer-42")
    visitor.consent({"personalize": True})
    assert visitor.observe("purchase", value=9900, currency="EUR").cause == "consent_missing"
    assert visitor.observe("view_item", price=4900, currency="EUR").accepted
    assert set(visitor.export().data["purposes"]) == {"personalize"}


def test_an_event_nothing_listens_to_is_accepted_and_kept_nowhere(agreed, shop):
    before = agreed.export().data["purposes"]
    assert agreed.observe("share").accepted
    assert agreed.export().data["purposes"] == before


def test_the_same_event_id_counts_once_for_a_day(agreed, shop):
    def views() -> int:
        return agreed.export().data["purposes"]["personalize"]["features"]["visit_views_7d"]

    assert agreed.observe("view_item", id="e-1", price=1, currency="EUR").accepted
    again = agreed.observe("view_item", id="e-1", price=1, currency="EUR")
    assert (again.accepted, again.cause) == (False, "duplicate")
    assert views() == 1
    shop.clock.now += DAY
    assert agreed.observe("view_item", id="e-1", price=1, currency="EUR").accepted
    assert views() == 2


@pytest.mark.parametrize(
    ("event", "place"),
    [
        ({"name": "viewed"}, "event.name"),
        ({"name": "view_item", "price": float("nan"), "currency": "EUR"}, "event.price"),
        ({"name": "view_item", "category": "x" * 10_000}, "event.category"),
        ({"name": "view_item", "time": 1 << 40}, "event.time"),
        ({"name": "view_item", "shade": "red"}, "event: has a field we do not know"),
        ({"name": "view_item", "price": 4900}, "event.currency"),
    ],
)
def test_a_bad_event_says_where_and_holds_up_no_other(agreed, event, place):
    bad, good = agreed.observe_all([event, {"name": "view_item"}])
    assert not bad.accepted
    assert bad.cause == "malformed"
    assert place in bad.message
    assert good.accepted


def test_context_of_a_purpose_that_is_not_granted_is_ignored_and_unknown_context_refused(client, ask):
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    decision = visitor.decide("promotion", "none", {"weather": "rain"})
    assert (decision.value, decision.reason, decision.cause) == ("none", "ERROR", "bad_context")


def test_an_unknown_decision_gets_the_default(agreed):
    decision = agreed.decide("colour", default=7)
    assert (decision.value, decision.reason, decision.cause) == (7, "ERROR", "unknown_decision")


@pytest.mark.parametrize("identifier", ["", None, 42, "x" * 513])
def test_a_bad_identifier_gets_defaults(client, ask, identifier):
    visitor = client.visitor(identifier)
    assert ask(visitor).cause == "bad_identifier"
    assert not visitor.consent(client.example_choices).accepted
    assert not visitor.observe("view_item").accepted
    assert not visitor.erase().accepted


def test_a_payload_is_the_callers_own_copy(agreed, ask):
    first = ask(agreed)
    assert first.payload
    first.payload["headline"] = "changed"
    assert ask(agreed).payload == json.loads(first.payload_json)


def test_the_cap_counts_arms_given_and_frees_with_time(shop, ask):
    read = read_bundle(shop.bundle.read_bytes())
    rule = read.manifest.decisions["promotion"]
    always = {tranche: {"ten_off": 10_000} for tranche in rule.tranches}
    capped = replace(rule, cap=replace(rule.cap, decisions=2, days=2), choice=always)
    _rewrite(shop, read, capped)
    client = shop.open()
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    answers = [ask(visitor) for _ in range(3)]
    assert [answer.cause for answer in answers] == ["", "", "capped"]
    assert answers[2].value == "none"
    client.flush()
    other = shop.open()
    assert ask(other.visitor("customer-42")).cause == "capped"
    shop.clock.now += 2 * DAY
    assert ask(visitor).cause == ""


def test_the_holdout_keeps_the_default_only_for_those_who_granted_measure(shop, ask):
    read = read_bundle(shop.bundle.read_bytes())
    rule = read.manifest.decisions["promotion"]
    _rewrite(shop, read, replace(rule, experiment=replace(rule.experiment, holdout=10_000)))
    client = shop.open()
    measured, unmeasured = client.visitor("a"), client.visitor("b")
    measured.consent({"personalize": True, "measure": True})
    unmeasured.consent({"personalize": True})
    held = ask(measured)
    assert (held.value, held.reason, held.cause) == ("none", "SPLIT", "holdout")
    assert held.tranche
    assert ("measure", 1) in held.receipt.basis.consents
    assert ask(unmeasured).reason == "TARGETING_MATCH"


def test_receipts_are_kept_in_the_profile_the_last_twenty(agreed, client, ask):
    given = [ask(agreed).receipt for _ in range(25)]
    receipts = agreed.export().data["purposes"]["personalize"]["receipts"]
    assert [receipt["id"] for receipt in receipts] == [f"{receipt.id:016x}" for receipt in given[-20:]]
    assert receipts[-1]["bundle"] == "demo_promotions 1"
    assert receipts[-1]["policy"] == 1


def test_an_expired_bundle_serves_the_default(shop, client, agreed, ask):
    assert ask(agreed).reason == "TARGETING_MATCH"
    shop.clock.now += 366 * DAY
    assert agreed.consent(client.example_choices).accepted
    assert ask(agreed).cause == "no_bundle"


def test_consent_expires_to_the_second(shop, client, agreed, ask):
    lifetime = client.policy.purposes["personalize"].lifetime
    shop.clock.now += lifetime - 1
    assert ask(agreed).reason == "TARGETING_MATCH"
    shop.clock.now += 1
    assert ask(agreed).cause == "consent_missing"


def test_export_is_empty_after_erasure(agreed, ask):
    agreed.observe("view_item", price=4900, currency="EUR")
    ask(agreed)
    assert agreed.erase().accepted
    assert agreed.export().data == {}
    assert ask(agreed).cause == "consent_missing"


def test_a_closed_client_answers_defaults(agreed, client, ask):
    client.close()
    client.close()
    assert ask(agreed).reason == "ERROR"
    assert not agreed.observe("view_item").accepted


def test_opening_says_what_is_wrong_and_where(shop, tmp_path):
    with pytest.raises(Unavailable, match=r"metadata/.*"):
        shop.open(source=tmp_path / "nowhere")
    with pytest.raises(Missing, match=r"no-root"):
        shop.open(deployment=replace(shop.deployment, root=tmp_path / "no-root"))
    with pytest.raises(Malformed, match=r"source: is not https"):
        shop.open(source="ftp://shop.example")
    with pytest.raises(Malformed, match=r"keep keys apart"):
        shop.open(keys=tmp_path / "state")
    data = bytearray(shop.bundle.read_bytes())
    at = data.index(read_bundle(bytes(data)).models["promotion"]) + 500
    data[at] ^= 1
    shop.bundle.write_bytes(data)
    with pytest.raises(Unauthentic, match=r"bundles/demo_promotions: models.promotion"):
        shop.open()


def test_a_bundle_the_policy_does_not_permit_never_opens(shop):
    text = shop.policy.read_text().replace('name = "bought_*"', 'name = "sold_*"')
    shop.policy.write_text(text)
    with pytest.raises(Forbidden, match=r"features.bought_last_90d: the policy names no such feature") as refused:
        shop.open()
    assert "have the policy changed" in str(refused.value)


def test_demo_is_the_packaged_shop(ask):
    with Client.demo() as client:
        assert client.policy.tenant == parse_policy(_packaged_policy()).tenant
        assert set(client.example_choices) == {"personalize", "history", "measure", "improve"}


def test_demo_leaves_nothing_behind(ask):
    with Client.demo() as client:
        home = client._engine.custody.store._path.parent.parent
        assert home.exists()
    assert not home.exists()


def _packaged_policy() -> bytes:
    from importlib.resources import files

    return files(demo.__name__).joinpath("policy.toml").read_bytes()


def _rewrite(shop, read, rule) -> None:
    from entrenous.bundle import encode_bundle

    manifest = replace(read.manifest, decisions={"promotion": rule})
    shop.bundle.write_bytes(encode_bundle(manifest, read.models))


def test_config_keeps_its_defaults_honest(tmp_path):
    deployment = Deployment(root=b"", tenant="shop", bundle="offers")
    config = Config(source=tmp_path, deployment=deployment, state=tmp_path, keys=tmp_path)
    assert config.public_keys == deployment.floors == {}
    assert config.key_provider is deployment.max_stale is None
    assert config.refresh_seconds == 300
