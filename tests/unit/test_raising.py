"""Triggers on real visitors: under consent, for the app or as messages to a recipient over real HTTP."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.messages import MAILER, POLICY_TEXT, SECOND, Receiver, receiving
from tests.segments import trigger
from tests.shop import DAY, Shop
from tests.unit.test_updates import Authority

from entrenous import Client, Visitor
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.raising import arm
from entrenous.webhooks import (
    KEPT_SECONDS,
    HttpCourier,
    parse_endpoint,
    parse_endpoints,
    send_messages,
    signed_headers,
    verify_webhook,
)
from entrenous_consent.audit import read_entry
from entrenous_consent.errors import Forbidden, Malformed, Unauthentic, Unavailable
from entrenous_consent.messages import is_message, read_message
from entrenous_consent.store import Emit

HOUR = 3600
CART = {"name": "cart", "kind": "cart_abandoned", "message": "reminder"}
TIP = {"name": "tip", "kind": "browse_abandoned", "purpose": "personalize", "delay_minutes": 10}
CONSENT = {"personalize": True, "history": True, "measure": True, "improve": True, "message": True}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def mailing(shop: Shop, receiver: Receiver) -> Shop:
    """A shop whose policy names a message to a recipient."""
    shop.policy.write_text(POLICY_TEXT)
    return shop


def opened(shop: Shop, receiver: Receiver, *declared: dict, **more) -> Client:
    said = [{key: value for key, value in one.items() if value is not None} for one in declared or (CART,)]
    trigger(shop, *said, **more)
    return shop.open(crowd=True, release_seconds=0, message_seconds=0, webhooks={"reminder": receiver.url})


def consenting(client: Client, identifier: str = "customer-42", **without: bool) -> Visitor:
    visitor = client.visitor(identifier)
    assert visitor.consent(CONSENT | without).accepted
    return visitor


def filled(visitor: Visitor, **more) -> None:
    assert visitor.observe("add_to_cart", value=100, currency="EUR", **more).accepted


def round_(client: Client) -> int:
    """Raise and send; return how many were received."""
    made, sent = client.raise_messages(), client.send_messages()
    assert made.accepted, made
    assert sent.accepted, sent
    return sent.data["sent"]


def messages(client: Client) -> list[bytes]:
    return [one.data for one in client.outbox() if is_message(one.data)]


def audited(client: Client, kind: str) -> list:
    store = client._engine.custody.store
    return [one for log in store.logs() for one in map(read_entry, store.log(log)) if one.kind == kind]


# Messages


def test_what_falls_due_is_sent_once_and_says_nothing_of_a_profile(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    assert round_(client) == 0
    mailing.clock.now += HOUR
    assert round_(client) == 1
    assert round_(client) == 0
    [(path, headers, body)] = receiver.received
    assert (path, headers["content-type"]) == ("/hook", "application/json")
    said = json.loads(body)
    assert said["type"] == "message.raised"
    assert said["data"].keys() == {
        "id",
        "message",
        "trigger",
        "recipient",
        "recipient_id",
        "policy",
        "until",
        "consent",
    }
    assert said["data"]["recipient_id"] == visitor.recipient_id(MAILER).data["recipient_id"]
    [entry] = audited(client, "message")
    assert entry.detail == {"message": "reminder", "purpose": "message", "policy": client.policy.version}
    [granted] = audited(client, "consent.granted")
    assert entry.subject == granted.subject


def test_the_bytes_that_were_sent_are_those_in_the_outbox(mailing, receiver):
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    round_(client)
    assert [body for _, _, body in receiver.received] == messages(client)
    assert all(one.sent == mailing.clock.now for one in client.outbox())


def test_the_recipient_verifies_it_and_refuses_what_was_forged_or_replayed(mailing, receiver):
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    round_(client)
    [(_, headers, body)] = receiver.received
    key, now, keyring = client.webhook_keys["reminder"], mailing.clock.now, client._keyring
    assert verify_webhook(key, headers, body, now + 299).trigger == "cart"
    public = Ed25519PublicKey.from_public_bytes(b64decode(key.removeprefix("whpk_")))
    version, _, signature = headers["webhook-signature"].partition(",")
    joined = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    public.verify(b64decode(signature), joined)  # as Standard Webhooks says, without our help
    assert version == "v1a"
    forged = {
        "later": (key, headers, body, now + 301),
        "earlier": (key, headers, body, now - 301),
        "another body": (key, headers, body.replace(b"cart", b"trac"), now),
        "another time": (key, headers | {"webhook-timestamp": str(now + 1)}, body, now),
        "another id": (key, headers | {"webhook-id": "msg_" + "0" * 32}, body, now),
        "an id with a dot": (key, headers | {"webhook-id": headers["webhook-id"] + "." + str(now)}, body, now),
        "an id that is not the message's": (key, signed_headers(keyring, MAILER, b"z" * 16, body, now), body, now),
        "no signature": (key, headers | {"webhook-signature": ""}, body, now),
        "a signature of another kind": (key, headers | {"webhook-signature": "v1,AAAA"}, body, now),
        "no base64": (key, headers | {"webhook-signature": "v1a,?"}, body, now),
        "a time that is none": (key, headers | {"webhook-timestamp": "soon"}, body, now),
        "another host's key": ("whpk_" + "A" * 43 + "=", headers, body, now),
        "no key": ("whpk_?", headers, body, now),
        "half a key": (key[:29], headers, body, now),
        "a key that is no text of base64": ("whpk_é", headers, body, now),
        "a signature that is none": (key, headers | {"webhook-signature": "v1a,é"}, body, now),
    }
    for why, given in forged.items():
        with pytest.raises(Unauthentic):
            pytest.fail(f"{why}: {verify_webhook(*given)}")
    signatures = {"webhook-signature": "v1,AAAA " + headers["webhook-signature"]}
    assert verify_webhook(key, headers | signatures, body, now).message == "reminder"


def test_what_one_recipient_was_sent_convinces_no_other(mailing, receiver):
    mailing.policy.write_text(POLICY_TEXT + SECOND)
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    round_(client)
    [(_, headers, body)] = receiver.received
    assert len(set(client.webhook_keys.values())) == 2
    with pytest.raises(Unauthentic):
        verify_webhook(client.webhook_keys["delivery"], headers, body, mailing.clock.now)


def test_no_message_goes_to_the_collector_and_no_report_to_a_recipient(mailing, receiver):
    taken: list[bytes] = []

    class Sink:
        def deliver(self, report: bytes, signature: str) -> None:
            taken.append(report)

    trigger(mailing, CART)
    webhooks = {"reminder": receiver.url}
    client = mailing.open(crowd=True, collector=Sink(), release_seconds=0, message_seconds=0, webhooks=webhooks)
    filled(consenting(client))
    mailing.clock.now += HOUR
    client.raise_messages()
    emitted = [Emit(b"r" * 16, b"\x80", 1), Emit(b"m" * 16, b'{"type":"message.', 1)]
    client._engine.custody.store.transact(emitted, now=mailing.clock.now, durable=True)
    assert client.send().data == {"sent": 1}
    assert taken == [b"\x80"]
    emitted = [Emit(b"s" * 16, b"\x80", 1)]
    client._engine.custody.store.transact(emitted, now=mailing.clock.now, durable=True)
    assert client.send_messages().data == {"sent": 1}, "what does not read stays"
    assert [one.trigger for one in receiver.told()] == ["cart"]


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


def test_what_is_refused_or_out_of_reach_is_tried_again_under_its_id(mailing, receiver):
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    receiver.statuses = [503, 429, 404, 302]
    client.raise_messages()
    assert [client.send_messages().cause for _ in range(4)] == ["unavailable", "unavailable", "malformed", "malformed"]
    assert client.send_messages().data == {"sent": 1}
    assert len({headers["webhook-id"] for _, headers, _ in receiver.received}) == 1
    assert {path for path, _, _ in receiver.received} == {"/hook"}, "no redirect was followed"


def test_a_recipient_that_is_down_holds_up_no_other_and_is_asked_once_a_round(mailing, receiver):
    mailing.policy.write_text(POLICY_TEXT + SECOND.replace("hooks.parcels.example", "127.0.0.1"))
    with receiving() as other:
        trigger(mailing, CART, CART | {"name": "parcel", "message": "delivery", "delay_minutes": 90})
        webhooks = {"reminder": receiver.url, "delivery": other.url}
        client = mailing.open(crowd=True, release_seconds=0, message_seconds=0, webhooks=webhooks)
        for i in range(2):
            filled(consenting(client, f"customer-{i}"))
        mailing.clock.now += 2 * HOUR
        client.raise_messages()
        receiver.statuses = [500]
        assert client.send_messages().cause == "unavailable"
        assert (len(receiver.received), len(other.received)) == (1, 2)
        assert client.send_messages().data == {"sent": 2}
        names = {one.recipient_id for one in (*receiver.told(), *other.told())}
        assert len(names) == 4, "a visitor has another name for each recipient"


def test_a_message_is_let_go_when_it_could_not_be_sent_for_three_days(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    mailing.clock.now += HOUR
    client.raise_messages()
    visitor.consent({})
    filled(consenting(client, "customer-7"))
    mailing.clock.now += HOUR
    client.raise_messages()
    mailing.clock.now += KEPT_SECONDS + 1
    assert client.send_messages().data == {"sent": 1}
    assert [one.kind for one in receiver.told()] == ["withdrawn"], "an end is told however late"


def test_a_message_is_let_go_once_its_grant_has_run_out(mailing, receiver):
    mailing.policy.write_text(POLICY_TEXT.replace("lifetime_days = 180", "lifetime_days = 2"))
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    assert len(client.raise_messages().data["messages"]) == 1
    mailing.clock.now += 2 * DAY - HOUR
    assert client.send_messages().data == {"sent": 0}
    assert messages(client) == []


def test_a_message_is_let_go_once_its_purpose_was_widened(mailing, receiver):
    """Who granted what the purpose was, granted nothing of what it is."""
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    assert len(client.raise_messages().data["messages"]) == 1
    purposes = client.policy.purposes
    wider = replace(purposes["message"], consent_version=purposes["message"].consent_version + 1)
    policy = replace(client.policy, purposes={**purposes, "message": wider})
    endpoints = parse_endpoints({"reminder": receiver.url})
    told = send_messages(client._engine.custody, policy, endpoints, HttpCourier(), mailing.clock.now)
    assert told == (0, None)
    assert receiver.told() == messages(client) == []


def test_what_was_received_is_kept_as_long_as_the_audit_log_and_no_longer(mailing, receiver):
    mailing.policy.write_text(POLICY_TEXT.replace("audit_retention_days = 1830", "audit_retention_days = 5"))
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    assert round_(client) == 1
    mailing.clock.now += 5 * DAY - 1
    client.sweep()
    assert len(messages(client)) == 1
    mailing.clock.now += 1
    client.sweep()
    assert messages(client) == []


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


def test_a_withdrawal_between_due_and_sent_sends_nothing_but_the_notice(mailing, receiver):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    mailing.clock.now += HOUR
    assert len(client.raise_messages().data["messages"]) == 1
    visitor.consent(CONSENT | {"message": False})
    assert client.raise_messages().data["messages"] == []
    assert client.send_messages().data == {"sent": 1}
    assert [(one.kind, one.trigger) for one in receiver.told()] == [("withdrawn", "")]
    visitor.consent(CONSENT)
    mailing.clock.now += HOUR
    assert round_(client) == 0, "what was armed went with the withdrawal"


def test_a_withdrawal_while_a_round_is_under_way_stops_what_it_has_not_reached(mailing, receiver):
    client = opened(mailing, receiver)
    first, second = (consenting(client, f"customer-{i}") for i in range(2))
    filled(first)
    mailing.clock.now += 1
    filled(second)
    mailing.clock.now += HOUR
    client.raise_messages()
    real = client._courier

    class Withdrawing:
        def deliver(self, endpoint, body, headers):
            for visitor in (first, second):
                if read_message(body).recipient_id != visitor.recipient_id(MAILER).data.get("recipient_id", ""):
                    visitor.consent({})
            real.deliver(endpoint, body, headers)

    client._courier = Withdrawing()
    assert client.send_messages().accepted
    client._courier = real
    client.send_messages()
    assert sorted(one.kind for one in receiver.told()) == ["raised", "withdrawn"]


@pytest.mark.parametrize("how", ["erase", "minor", "object"])
def test_erasure_and_objection_are_told_too(mailing, receiver, how):
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    named = visitor.recipient_id(MAILER).data["recipient_id"]
    if how == "erase":
        assert visitor.erase().accepted
    elif how == "object":
        assert visitor.object(["message"]).accepted
    else:
        client.visitor("customer-42", minor=True)
    mailing.clock.now += HOUR
    round_(client)
    expected = "withdrawn" if how == "object" else "erased"
    assert [(one.kind, one.recipient_id) for one in receiver.told()] == [(expected, named)]


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


def test_a_message_that_the_policy_names_no_more_is_not_sent(mailing, receiver):
    client = opened(mailing, receiver)
    filled(consenting(client))
    mailing.clock.now += HOUR
    client.raise_messages()
    mailing.policy.write_text(mailing.policy.read_text().replace('host = "127.0.0.1"\n', ""))
    mailing.publish()
    client.refresh()
    assert client.send_messages().data == {"sent": 0}
    assert messages(client) == []


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


def test_a_device_of_one_person_sends_no_message(mailing, receiver):
    trigger(mailing, CART)
    client = mailing.open(webhooks={"reminder": receiver.url})
    assert client.raise_messages().cause == "one_person"
    assert client.send_messages().cause == "one_person"


def test_a_message_that_this_host_has_no_address_for_waits(mailing, receiver):
    trigger(mailing, CART)
    client = mailing.open(crowd=True, release_seconds=0)
    filled(consenting(client))
    mailing.clock.now += HOUR
    assert round_(client) == 0
    assert messages(client) == []


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
    "url",
    [
        "http://hooks.mailer.example/x",
        "ftp://127.0.0.1/x",
        "https://user@hooks.mailer.example/x",
        "https://hooks.mailer.example/x?customer=7",
        "https://hooks.mailer.example/x#top",
        "https://hooks.mailer.example:99999/x",
        "https:///x",
    ],
)
def test_an_address_that_is_more_than_a_host_and_a_path_is_refused(mailing, url):
    with pytest.raises(Malformed, match="webhooks") as refused:
        mailing.open(crowd=True, webhooks={"reminder": url})
    assert "customer" not in str(refused.value)


def test_an_address_over_tls_is_taken():
    assert parse_endpoint("https://hooks.mailer.example", place="x").tls
    assert parse_endpoint("https://hooks.mailer.example:8443/in", place="x").port == 8443


def test_a_recipient_behind_tls_is_sent_to_where_its_certificate_holds(mailing, tmp_path):
    authority = Authority.make(tmp_path)
    trigger(mailing, CART)
    with receiving(authority.serve("127.0.0.1")) as receiver:
        settings = {"crowd": True, "release_seconds": 0, "message_seconds": 0, "webhooks": {"reminder": receiver.url}}
        client = mailing.open(**settings, courier=HttpCourier(authority.context()))
        filled(consenting(client))
        mailing.clock.now += HOUR
        client.raise_messages()
        client._courier = HttpCourier()
        assert client.send_messages().cause == "unavailable", "an authority that nobody named"
        assert receiver.received == []
        client._courier = HttpCourier(authority.context())
        assert client.send_messages().data == {"sent": 1}
        assert [one.trigger for one in receiver.told()] == ["cart"]


def test_an_address_on_another_host_than_the_policy_names_is_not_sent_to(mailing, receiver):
    mailing.policy.write_text(POLICY_TEXT.replace('host = "127.0.0.1"', 'host = "hooks.mailer.example"'))
    client = opened(mailing, receiver)
    visitor = consenting(client)
    filled(visitor)
    mailing.clock.now += HOUR
    client.raise_messages()
    assert client.send_messages().data == {"sent": 0}
    assert len(messages(client)) == 1, "another process may have the right address"
    visitor.consent({})
    assert client.send_messages().data == {"sent": 0}
    assert receiver.received == []


def test_who_can_not_be_reached_is_tried_again(mailing, receiver):
    trigger(mailing, CART)
    with receiving() as gone:
        url = gone.url
    client = mailing.open(crowd=True, release_seconds=0, message_seconds=0, webhooks={"reminder": url})
    filled(consenting(client))
    mailing.clock.now += HOUR
    client.raise_messages()
    assert client.send_messages().cause == "unavailable"
    assert client.outbox()[0].sent == 0


def test_one_process_of_a_host_sends_at_a_time(mailing, receiver):
    client = opened(mailing, receiver)
    other = mailing.open_as_is(crowd=True, release_seconds=0, message_seconds=0, webhooks={"reminder": receiver.url})
    filled(consenting(client))
    mailing.clock.now += HOUR
    client.raise_messages()
    real, told = client._courier, []

    class Asking:
        def deliver(self, endpoint, body, headers):
            told.append(other.send_messages().cause)
            told.append(other._message())
            real.deliver(endpoint, body, headers)

    client._courier = Asking()
    assert client.send_messages().data == {"sent": 1}
    assert told == ["busy", True], "what another sends is no failure"
    assert other.send_messages().data == {"sent": 0}
    assert len(receiver.received) == 1


def test_the_workers_own_round_raises_and_sends(mailing, receiver):
    import time

    trigger(mailing, CART)
    client = mailing.open(crowd=True, release_seconds=0, message_seconds=0.02, webhooks={"reminder": receiver.url})
    filled(consenting(client))
    mailing.clock.now += HOUR
    deadline = time.monotonic() + 10
    while not receiver.received and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [one.trigger for one in receiver.told()] == ["cart"]


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


def test_a_store_that_fails_is_told_as_such(mailing, receiver, monkeypatch):
    client = opened(mailing, receiver)

    def broken(*_: object, **__: object):
        raise Unavailable("is on fire", place="store")

    monkeypatch.setattr(client._engine.custody, "owed", broken)
    assert client.raise_messages().cause == "unavailable"
