"""Triggers on real visitors: what is armed, for whom and when, and what the app is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.messages import (
    CART,
    MAILER,
    TIP,
    consenting,
    filled,
    messages,
    opened,
    round_,
)
from tests.segments import trigger
from tests.shop import DAY

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.messages.raising import arm
from entrenous_consent.errors import Forbidden, Malformed

HOUR = 3600


def test_a_purchase_before_it_falls_due_disarms_it(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    assert visitor.observe("purchase", value=100, currency="EUR").accepted
    mailing.clock.now += HOUR
    assert round_(client) == 0
    assert messages(client) == []


def test_an_event_that_triggers_alone_listen_to_is_taken_in(mailing, receiver):
    client = opened(mailing, receiver, CART | {"after": "search", "unless": []})
    visitor = consenting(client)
    assert visitor.observe("search").accepted
    assert consenting(client, "customer-7", message=False).observe("search").accepted
    mailing.clock.now += HOUR
    assert round_(client) == 1
    assert receiver.told()[0].recipient_id == visitor.recipient_id(MAILER).data["recipient_id"]


# Consent


def test_without_the_purpose_nothing_is_kept_and_nothing_raised(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client, message=False)
    before = client._engine.custody.store.census(mailing.clock.now).rows
    filled(visitor)
    mailing.clock.now += HOUR
    assert round_(client) == 0
    assert client._engine.custody.store.census(mailing.clock.now).rows == before
    assert "triggers" not in json.dumps(visitor.export().data)
    assert visitor.recipient_id(MAILER).cause == "consent_missing"


def test_a_grant_of_another_version_than_the_policys_raises_nothing(mailing, receiver):
    client = opened(mailing, receiver)
    filled(consenting(client))
    text = mailing.policy.read_text()
    head, purpose = text.split("[purposes.message]")
    mailing.policy.write_text(
        head + "[purposes.message]" + purpose.replace("consent_version = 1", "consent_version = 2", 1)
    )
    mailing.publish()
    assert client.refresh().accepted
    mailing.clock.now += HOUR
    assert round_(client) == 0


def test_a_grant_that_has_ended_raises_nothing(mailing, receiver):
    client = opened(mailing, receiver, CART | {"delay_minutes": 60 * 24 * 200})
    filled(consenting(client))
    mailing.clock.now += 200 * DAY
    assert round_(client) == 0


def test_where_the_policy_names_another_recipient_nobody_is_named_to_it_by_the_name_of_before(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    filled(consenting(client, "customer-7"))
    mailing.clock.now += HOUR
    assert len(client.raise_messages().data["messages"]) == 2
    filled(visitor)
    mailing.policy.write_text(mailing.policy.read_text().replace(MAILER, "Another (fictional)"))
    mailing.publish()
    assert client.refresh().accepted
    mailing.clock.now += HOUR
    assert round_(client) == 0
    assert receiver.received == []
    assert messages(client) == [], "what waited for the one before was taken back"
    filled(visitor)
    mailing.clock.now += HOUR
    assert round_(client) == 1, "at the next event the visitor has a name for this one"


def test_what_is_armed_is_gone_when_nothing_can_come_of_it_any_more(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client, personalize=False)

    def rows() -> int:
        return client._engine.custody.store.census(mailing.clock.now).rows

    before = rows()
    filled(visitor)
    assert rows() == before + 1
    mailing.clock.now += HOUR + 72 * HOUR
    assert rows() == before + 1
    mailing.clock.now += 1
    assert rows() == before


def test_an_event_that_a_withdrawal_overtook_was_not_taken_in(mailing, receiver, monkeypatch):
    client = opened(mailing, receiver)
    visitor = consenting(client, personalize=False)
    assert visitor.observe("add_to_cart").accepted
    monkeypatch.setattr(client._engine.custody, "save", lambda *_, **__: "dropped")
    assert visitor.observe("add_to_cart").cause == "consent_missing"


# Whom, when, how often


def test_who_is_left_out_gets_nothing_and_what_is_absent_leaves_out(mailing, receiver):
    rules = {"buyers": ("history", "bought_orders_90d >= 1.0")}
    client = opened(mailing, receiver, CART | {"exclude": "segment('buyers')", "unless": []}, **rules)
    plain, buyer = consenting(client, "customer-1"), consenting(client, "customer-2")
    silent = consenting(client, "customer-3", history=False)
    buyer.observe("purchase", value=100, currency="EUR")
    for visitor in (plain, buyer, silent):
        filled(visitor)
    mailing.clock.now += HOUR
    assert round_(client) == 1
    assert [one.recipient_id for one in receiver.told()] == [plain.recipient_id(MAILER).data["recipient_id"]]


def test_who_is_left_out_is_judged_again_at_the_next_event_that_the_rule_reads(mailing, receiver):
    client = opened(mailing, receiver, CART | {"exclude": "bought_orders_90d >= 1.0", "unless": []})
    visitor = consenting(client)
    filled(visitor)
    visitor.observe("purchase", value=100, currency="EUR")
    mailing.clock.now += HOUR
    assert round_(client) == 0


def test_quiet_hours_follow_the_offset_that_the_app_told(mailing, receiver):
    """The shop's clock stands at noon, UTC."""
    quiet = CART | {"quiet": {"start": 12 * 60, "end": 14 * 60, "offset": 0}}
    client = opened(mailing, receiver, quiet)
    here, west = consenting(client, "customer-1"), consenting(client, "customer-2")
    assert west.tell_offset(-600).accepted
    assert consenting(client, "customer-3", message=False).tell_offset(-600).cause == "consent_missing"
    for visitor in (here, west):
        filled(visitor)
    mailing.clock.now += HOUR
    assert round_(client) == 1
    mailing.clock.now += HOUR
    assert round_(client) == 1
    assert receiver.told()[0].recipient_id == west.recipient_id(MAILER).data["recipient_id"]


@pytest.mark.parametrize("minutes", [True, "60", 841, -841, 1.5])
def test_an_offset_that_is_none_is_refused(mailing, receiver, minutes):
    client = opened(mailing, receiver)
    outcome = consenting(client).tell_offset(minutes)
    assert (outcome.accepted, outcome.cause) == (False, "malformed")


def test_an_offset_that_nothing_has_a_use_for_is_not_kept(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    assert visitor.tell_offset(60).cause == "consent_missing"
    assert "triggers" not in json.dumps(visitor.export().data)


def test_one_limit_holds_for_all_messages_of_a_purpose(mailing, receiver):
    two = (CART, CART | {"name": "later", "delay_minutes": 120})
    client = opened(mailing, receiver, *two, limit={"times": 1, "days": 1})
    filled(consenting(client))
    mailing.clock.now += 3 * HOUR
    assert round_(client) == 1
    assert [one.trigger for one in receiver.told()] == ["cart"]
    mailing.clock.now += DAY
    assert round_(client) == 1


# For the app


def test_the_app_is_told_once_what_is_its_own_to_act_on(mailing, receiver):
    client = opened(mailing, receiver, CART | {"unless": []}, TIP)
    visitor = consenting(client)
    visitor.observe("view_item", category="boots")
    assert visitor.triggers().data == {"triggers": []}
    mailing.clock.now += 600
    assert visitor.triggers().data == {"triggers": [{"name": "tip", "kind": "browse_abandoned"}]}
    assert visitor.triggers().data == {"triggers": []}
    assert round_(client) == 0
    assert messages(client) == [], "what the app is told leaves nowhere"


def test_of_one_purpose_the_app_is_told_what_has_no_message_and_the_recipient_the_rest(mailing, receiver):
    client = opened(mailing, receiver, CART, CART | {"name": "mine", "message": None})
    visitor = consenting(client)
    filled(visitor)
    mailing.clock.now += HOUR
    assert visitor.triggers().data == {"triggers": [{"name": "mine", "kind": "cart_abandoned"}]}
    assert round_(client) == 1
    assert [one.trigger for one in receiver.told()] == ["cart"]


def test_without_consent_the_app_is_told_nothing(mailing, receiver):
    client = opened(mailing, receiver, TIP)
    visitor = consenting(client, personalize=False)
    visitor.observe("view_item", category="boots")
    mailing.clock.now += 600
    assert visitor.triggers().data == {"triggers": []}
    assert client.visitor("unknown").triggers().data == {"triggers": []}
    assert not client.visitor("").triggers().accepted


def test_who_is_left_out_is_judged_when_the_app_asks(mailing, receiver):
    client = opened(mailing, receiver, TIP | {"exclude": "visit_views_7d > 1.0"})
    visitor = consenting(client)
    visitor.observe("view_item", category="boots")
    visitor.observe("view_item", category="boots")
    mailing.clock.now += 600
    assert visitor.triggers().data == {"triggers": []}
    assert visitor.export().data["purposes"]["personalize"]["triggers"]["armed"]["tip"]["excluded"] is True


def test_what_is_armed_is_in_the_visitors_own_export(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    held = visitor.export().data["purposes"]["message"]["triggers"]
    assert held == {
        "armed": {"cart": {"since": 0, "events": 1, "excluded": False}},
        "raised": [],
        "utc_offset": None,
    }


def test_who_signed_in_is_followed_for_what_the_device_granted_too(mailing, receiver):
    client = opened(mailing, receiver)
    account, device = consenting(client, "account-7"), consenting(client, "device-1", message=False)
    linked = device.link(account)
    filled(linked)
    mailing.clock.now += HOUR
    assert round_(client) == 0
    assert linked.recipient_id(MAILER).cause == "consent_missing"


def test_it_moves_to_the_next_epoch_with_the_visitor(mailing, receiver):
    client = opened(mailing, receiver)
    epoch = client.policy.epoch
    mailing.clock.now = (mailing.clock.now // epoch + 1) * epoch - 1800
    mailing.updates_clock.now = mailing.clock.now
    text = read_bundle(mailing.bundle.read_bytes())
    mailing.bundle.write_bytes(text.lasting(created=mailing.clock.now - 1, expires=mailing.clock.now + 90 * DAY))
    mailing.publish()
    assert client.refresh().accepted
    visitor = consenting(client)
    filled(visitor)
    mailing.clock.now += HOUR
    visitor.decide("promotion", "none")
    assert visitor.observe("view_item", category="boots").accepted
    assert round_(client) == 1


# Where it can't be


def test_an_unknown_recipient_is_refused(mailing, receiver):
    outcome = consenting(opened(mailing, receiver)).recipient_id("A broker")
    assert (outcome.accepted, outcome.cause) == (False, "malformed")
    assert MAILER in outcome.message


def test_nothing_is_raised_without_a_bundle_in_force_or_when_it_is_stale(mailing, receiver):
    client = opened(mailing, receiver, CART | {"lasting_hours": 8000}, TIP | {"lasting_hours": 8000})
    visitor = consenting(client)
    filled(visitor)
    visitor.observe("view_item", category="boots")
    mailing.updates_clock.now += client.policy.max_stale + 1
    mailing.clock.now += HOUR
    assert client.raise_messages().cause == "stale"
    assert visitor.triggers().data == {"triggers": []}
    client._engine.watch = type("Never", (), {"remaining": lambda _: 1, "glance": lambda _: None})()
    mailing.clock.now = client.bundle.expires
    assert client.raise_messages().data == {"messages": []}
    assert visitor.triggers().data == {"triggers": []}
    assert arm(client._engine, visitor._handle, [], mailing.clock.now, None) == set()


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"message": "advert"}, "triggers.cart.message: the policy names no such message"),
        ({"purpose": "personalize"}, "triggers.cart.purpose: asks 'personalize', the policy says 'message'"),
        ({"purpose": "profit", "message": ""}, "triggers.cart.purpose: the policy has no purpose 'profit'"),
    ],
)
def test_a_bundle_whose_trigger_the_policy_does_not_bind_never_serves(mailing, receiver, changes, refused):
    with pytest.raises(Forbidden) as error:
        opened(mailing, receiver, {key: value for key, value in (CART | changes).items() if value})
    assert refused in str(error.value)


def test_two_writers_of_one_row_lose_nothing_and_say_when_they_never_meet(mailing, receiver, monkeypatch):
    client = opened(mailing, receiver, CART | {"quiet": {"start": 0, "end": 1, "offset": 0}}, TIP)
    visitor = consenting(client)
    custody = client._engine.custody
    monkeypatch.setattr(
        custody, "save", lambda *_, pending=(), **__: "conflict" if pending and pending[0].slot.start == 24 else "done"
    )
    assert visitor.observe("add_to_cart", value=1, currency="EUR").cause == "unavailable"
    assert visitor.tell_offset(60).cause == "unavailable"
    monkeypatch.undo()
    visitor.observe("view_item", category="boots")
    mailing.clock.now += 600
    monkeypatch.setattr(custody, "save", lambda *_, **__: "conflict")
    assert visitor.triggers().cause == "unavailable"
    monkeypatch.setattr(custody, "save", lambda *_, **__: "dropped")
    assert visitor.triggers().data == {"triggers": []}, "a withdrawal came in between"


def test_what_does_not_read_is_passed_over_and_holds_up_nobody(mailing, receiver):
    client = opened(mailing, receiver)
    broken, visitor = consenting(client, "customer-1"), consenting(client, "customer-2")
    from entrenous_consent.pending import TRIGGERS

    custody, now = client._engine.custody, mailing.clock.now
    standing = custody.standing(broken._handle, client.policy, now)
    pending = custody.pending(broken._handle, standing, "message", now, TRIGGERS)
    pending.value, pending.due = b"?", now
    assert custody.save(broken._handle, standing, [], now, pending=[pending]) == "done"
    filled(visitor)
    mailing.clock.now += HOUR
    assert round_(client) == 1
    assert broken.observe("add_to_cart").cause == "unreadable"
    assert broken.erase().accepted


def test_a_manifest_says_what_was_declared(mailing):
    trigger(
        mailing,
        CART
        | {
            "exclude": "visit_views_7d > 9.0",
            "cap": {"times": 2, "days": 7},
            "at_least": 2,
            "within_hours": 5,
            "category": "boots",
            "quiet": {"start": 1300, "end": 480, "offset": 60},
        },
        limit={"times": 3, "days": 30},
    )
    manifest = read_bundle(mailing.bundle.read_bytes()).manifest
    again = read_bundle(encode_bundle(manifest, read_bundle(mailing.bundle.read_bytes()).models)).manifest
    assert (again.triggers, again.trigger_limit) == (manifest.triggers, manifest.trigger_limit)
    assert manifest.triggers[0].exclude == (">", ("var", "visit_views_7d"), 9.0)
    twice = replace(manifest, triggers=manifest.triggers * 2)
    with pytest.raises(Malformed, match="twice"):
        read_bundle(encode_bundle(twice, read_bundle(mailing.bundle.read_bytes()).models))
    with pytest.raises(Malformed, match="twice"):
        trigger(mailing, CART, CART)
