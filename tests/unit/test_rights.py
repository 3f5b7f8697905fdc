"""What a visitor may ask for beside a decision: objection, correction, one profile after signing in; and a minor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.shop import Shop

from entrenous import Client, Visitor
from entrenous_consent.audit import read_entry

DAY = 86_400
ALL = {"personalize": True, "history": True, "measure": True, "improve": True}


def saw(visitor: Visitor, *categories: str) -> None:
    for category in categories:
        assert visitor.observe("view_item", category=category, price=100, currency="EUR").accepted


def written(shop: Shop) -> dict[object, bytes]:
    """Return the files of store and keyring, but for the one that holds a reader's locks."""
    return {path: data for path, data in shop.files().items() if path.name != "visitors.db-shm"}


def features(visitor: Visitor, purpose: str = "personalize") -> dict[str, object]:
    return visitor.export().data["purposes"][purpose]["features"]


def audited(client: Client) -> list[str]:
    store = client._engine.custody.store
    return [read_entry(data).kind for log in store.logs() for data in store.log(log)]


@pytest.fixture
def account(client: Client) -> Visitor:
    account = client.visitor("account-7")
    assert account.consent(ALL).accepted
    return account


# Objecting


def test_an_objection_ends_one_purpose_and_its_data(client, agreed, ask):
    agreed.observe("purchase", value=4900, currency="EUR")
    assert agreed.object(["history"]).accepted
    decision = ask(agreed)
    assert decision.reason == "TARGETING_MATCH"
    assert "bought_orders_90d" in decision.receipt.basis.withheld
    assert "history" not in agreed.export().data["purposes"]
    assert "objection" in audited(client)


def test_an_objection_frees_no_cap_and_loses_no_receipt_of_what_stays(client, agreed):
    for _ in range(3):
        agreed.decide("promotion", "none")
    assert agreed.object(["history"]).accepted
    held = agreed.export().data["purposes"]["personalize"]
    assert (held["times_shown"], len(held["receipts"])) == ({"promotion": 3}, 3)


def test_an_objection_to_everything_leaves_nothing_to_ask_for(client, agreed, ask):
    assert agreed.object().accepted
    assert ask(agreed).cause == "consent_missing"
    assert agreed.choices().data["ask"] == []
    assert agreed.choices().data["refused"] == sorted(client.policy.purposes)


def test_an_objection_to_what_is_no_purpose_changes_nothing(agreed, ask):
    outcome = agreed.object(["profit"])
    assert (outcome.accepted, outcome.cause) == (False, "malformed")
    assert "profit" not in outcome.message
    assert ask(agreed).reason == "TARGETING_MATCH"


# What is asked for


def test_who_is_unknown_is_asked_for_everything(client):
    told = client.visitor("customer-9").choices().data
    assert told == {"granted": [], "refused": [], "ask": sorted(client.policy.purposes)}


def test_who_chose_is_asked_for_nothing_until_it_ends(shop, client):
    visitor = client.visitor("customer-9")
    visitor.consent({"personalize": True})
    told = visitor.choices().data
    assert (told["granted"], told["ask"]) == (["personalize"], [])
    assert (told["source"], told["expires"] - told["time"]) == ("app", 180 * DAY)
    shop.clock.now = told["expires"]
    assert visitor.choices().data["ask"] == sorted(client.policy.purposes)


# Correcting


def test_a_category_can_be_put_right(client, agreed):
    saw(agreed, "boots", "boots", "bags")
    assert features(agreed)["visit_taste_30d"] == "boots"
    assert agreed.correct({"visit_taste_30d": "slippers"}).data == {"features": ["visit_taste_30d"]}
    assert features(agreed)["visit_taste_30d"] == "slippers"
    assert features(agreed)["visit_views_7d"] == 3
    assert audited(client).count("correction") == 1


def test_a_count_can_be_forgotten_and_what_reads_the_same_series_with_it(agreed, ask):
    agreed.observe("purchase", value=4900, currency="EUR")
    before = ask(agreed).margin
    assert agreed.correct({"bought_orders_90d": None}).data == {"features": ["bought_last_90d", "bought_orders_90d"]}
    held = features(agreed, "history")
    assert (held["bought_orders_90d"], held["bought_last_90d"]) == (0, None)
    assert held["bought_spent_90d"] > 0
    assert ask(agreed).margin != before


@pytest.mark.parametrize(
    "corrections",
    [
        {},
        [],
        None,
        {"visit_views_7d": 3},
        {"visit_views_7d": "3"},
        {"visit_taste_30d": "secret-word"},
        {"secret-word": None},
        {"hour": None},
        {7: None},
    ],
)
def test_a_correction_that_is_not_understood_changes_nothing(client, agreed, corrections):
    saw(agreed, "boots")
    before = features(agreed)
    outcome = agreed.correct(corrections)
    assert (outcome.accepted, outcome.cause) == (False, "malformed")
    assert "secret" not in outcome.message
    assert features(agreed) == before
    assert "correction" not in audited(client)


def test_nothing_is_corrected_where_nothing_is_kept_or_granted(client):
    visitor = client.visitor("customer-9")
    assert visitor.correct({"visit_views_7d": None}).data == {"features": []}
    visitor.consent({"history": True})
    assert visitor.correct({"visit_views_7d": None, "bought_orders_90d": None}).data == {"features": []}
    assert "correction" not in audited(client)


# A known minor


def test_nothing_is_scored_or_stored_of_a_minor(shop, client, ask):
    before = written(shop)
    child = client.visitor("customer-9", minor=True)
    decision = ask(child)
    assert (decision.value, decision.reason, decision.cause) == ("none", "DEFAULT", "minor")
    for outcome in (child.consent(ALL), child.observe("view_item"), child.export(), child.object(), child.erase()):
        assert (outcome.accepted, outcome.cause) == (False, "minor")
    assert written(shop) == before


def test_what_was_kept_before_the_age_was_known_goes(client, agreed):
    saw(agreed, "boots")
    client.visitor("customer-42", minor=True)
    assert agreed.export().data == {}
    assert "erasure" in audited(client)


def test_a_store_that_fails_lets_nothing_through_for_a_minor(client, agreed, ask, monkeypatch):
    monkeypatch.setattr(client._engine.custody.store, "read_all", lambda *_: 1 / 0)
    assert ask(client.visitor("customer-42", minor=True)).cause == "minor"


# Signing in and out


@pytest.fixture
def device(client: Client) -> Iterator[Visitor]:
    device = client.visitor("cookie-1")
    assert device.consent(ALL).accepted
    return device


def test_signing_in_moves_the_devices_profile_into_the_accounts_once(client, device, account):
    saw(device, "boots", "boots")
    device.decide("promotion", "none")
    saw(account, "bags")
    linked = device.link(account)
    for _ in range(2):
        assert features(account)["visit_views_7d"] == 3
        assert features(account)["visit_taste_30d"] == "boots"
        assert features(device)["visit_views_7d"] == 0
        linked = linked.link(account)
    held = {name: visitor.export().data["purposes"]["personalize"] for name, visitor in (("a", account), ("d", device))}
    assert [len(held[name]["receipts"]) for name in "ad"] == [1, 0]
    assert [held[name]["times_shown"] for name in "ad"] == [{"promotion": 1}, {}]


@pytest.mark.parametrize(
    ("here", "there"), [(ALL, {}), ({}, ALL), (ALL | {"personalize": False}, ALL), (ALL, ALL | {"personalize": False})]
)
def test_nothing_moves_for_a_purpose_that_one_of_both_does_not_grant(client, here, there):
    device, account = client.visitor("cookie-1"), client.visitor("account-7")
    device.consent(here)
    account.consent(there)
    if here.get("personalize"):
        saw(device, "boots")
    linked = device.link(account)
    decision = linked.decide("promotion", "none")
    assert decision.cause == "consent_missing"
    assert linked.observe("view_item").cause == "consent_missing"
    if here.get("personalize"):
        assert features(device)["visit_views_7d"] == 1
    if there.get("personalize"):
        assert features(account)["visit_views_7d"] == 0


def test_the_stricter_choice_holds_purpose_by_purpose(client, device, account):
    account.observe("purchase", value=4900, currency="EUR")
    device.consent(ALL | {"history": False})
    linked = device.link(account)
    withheld = linked.decide("promotion", "none").receipt.basis.withheld
    assert {"bought_orders_90d", "bought_spent_90d", "bought_last_90d"} <= set(withheld)
    assert not account.decide("promotion", "none").receipt.basis.withheld
    assert linked.observe("purchase", value=1, currency="EUR").cause == "consent_missing"
    assert features(account, "history")["bought_orders_90d"] == 1


def test_a_withdrawal_on_the_device_holds_at_the_next_decision_of_who_signed_in(shop, client, device, account):
    linked, elsewhere = device.link(account), shop.open().visitor("cookie-1")
    assert linked.decide("promotion", "none").reason == "TARGETING_MATCH"
    elsewhere.consent({})
    assert linked.decide("promotion", "none").cause == "consent_missing"
    assert account.decide("promotion", "none").reason == "TARGETING_MATCH"


def test_a_grant_on_the_device_holds_a_second_later(shop, client, device, account):
    device.consent({})
    linked = device.link(account)
    assert linked.decide("promotion", "none").cause == "consent_missing"
    device.consent(ALL)
    shop.clock.now += 1
    assert linked.decide("promotion", "none").reason == "TARGETING_MATCH"


def test_on_a_device_that_never_answered_nothing_is_used(client, account):
    linked = client.visitor("cookie-2").link(account)
    assert linked.decide("promotion", "none").cause == "consent_missing"
    assert linked.choices().data["ask"] == sorted(client.policy.purposes)


def test_signing_out_leaves_the_device_alone(client, device, account):
    saw(device, "boots")
    linked = device.link(account)
    saw(linked, "bags")
    left = linked.unlink()
    assert features(left)["visit_views_7d"] == 0
    assert features(account)["visit_views_7d"] == 2
    assert device.unlink() is device


def test_a_choice_and_an_erasure_of_who_signed_in_are_the_accounts_and_the_devices(client, device, account):
    linked = device.link(account)
    assert linked.consent({"personalize": True}).accepted
    assert [one.choices().data["granted"] for one in (linked, device, account)] == [["personalize"]] * 3
    assert linked.object(["personalize"]).accepted
    assert [one.choices().data["granted"] for one in (linked, device, account)] == [[]] * 3
    assert linked.erase().accepted
    assert [one.export().data for one in (device, account)] == [{}, {}]


def test_caps_count_what_both_were_shown(client, device, account):
    linked = device.link(account)
    for visitor in (account, linked, account, linked):
        visitor.decide("promotion", "none")
    client.flush()
    assert account.export().data["purposes"]["personalize"]["times_shown"] == {"promotion": 4}


def test_who_has_no_handle_links_to_nobody(client, device):
    nobody = client.visitor("")
    for linked in (device.link(nobody), nobody.link(device)):
        assert linked.decide("promotion", "none").cause == "bad_identifier"


def test_an_idle_link_is_let_go_of(shop, client, device, account):
    device.link(account).decide("promotion", "none")
    engine = client._engine
    assert any(len(key) == 64 for key in engine._open)
    shop.clock.now += 5
    client.flush()
    assert engine._open == {}


def test_a_move_that_is_interrupted_moves_nothing(client, device, account, monkeypatch):
    saw(device, "boots")
    monkeypatch.setattr(client._engine.custody, "join", lambda *_: 1 / 0)
    device.link(account)
    monkeypatch.undo()
    assert (features(device)["visit_views_7d"], features(account)["visit_views_7d"]) == (1, 0)


def test_a_move_that_another_writer_was_in_the_way_of_is_tried_again(client, device, account, monkeypatch):
    saw(device, "boots")
    custody, tries = client._engine.custody, []
    real = custody.join
    monkeypatch.setattr(custody, "join", lambda *a: tries.append(1) or ("conflict" if len(tries) == 1 else real(*a)))
    device.link(account)
    assert (len(tries), features(account)["visit_views_7d"]) == (2, 1)
    monkeypatch.setattr(custody, "join", lambda *_: "conflict")
    saw(device, "boots")
    assert device.link(account).decide("promotion", "none").reason == "TARGETING_MATCH"


def test_a_correction_that_another_writer_was_in_the_way_of_is_tried_again(client, agreed, monkeypatch):
    saw(agreed, "boots")
    monkeypatch.setattr(client._engine.custody, "correct", lambda *_: "conflict")
    assert agreed.correct({"visit_views_7d": None}).cause == "unavailable"


def test_a_merged_vector_is_that_of_one_visitor_who_did_it_all(shop: Shop, client, device, account):
    whole = client.visitor("whole")
    whole.consent(ALL)
    happened = [(device, "boots"), (account, "bags"), (device, "bags"), (device, "boots")]
    for day, (visitor, category) in enumerate(happened):
        shop.clock.now += day * DAY
        for one in (visitor, whole):
            saw(one, category)
            assert one.observe("purchase", value=100 + day, currency="EUR").accepted
    device.link(account)
    margins = [one.decide("promotion", "none").margin for one in (account, whole)]
    assert margins[0] == margins[1]
    assert not np.isnan(margins[0])
