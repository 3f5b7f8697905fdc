"""Promise 3, one door out: what a message may say, to whom, and that nothing leaves without the visitor's grant."""

from __future__ import annotations

import json
import logging
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Iterator

import pytest
from tests.messages import MAILER, PARCELS, POLICY_TEXT, SECOND, Receiver, receiving
from tests.segments import trigger
from tests.shop import Shop
from tests.worker import running

from entrenous.messages.webhooks import verify_webhook
from entrenous_consent.errors import Unauthentic
from entrenous_consent.pseudonyms import keyed

HOUR = 3600
CANARY = "canary-7f3a9d@example.org"
CART = {"name": "cart", "kind": "cart_abandoned", "message": "reminder"}
PARCEL = {"name": "parcel", "kind": "post_purchase", "message": "delivery", "after": "add_to_cart"}
ALL = {"personalize": True, "history": True, "measure": True, "improve": True, "message": True}


@pytest.fixture
def receivers() -> Iterator[tuple[Receiver, Receiver]]:
    with receiving() as one, receiving() as other:
        yield one, other


def opened(shop: Shop, receivers: tuple[Receiver, Receiver]):
    shop.policy.write_text(POLICY_TEXT + SECOND.replace("hooks.parcels.example", "127.0.0.1"))
    trigger(shop, CART, PARCEL)
    webhooks = {"reminder": receivers[0].url, "delivery": receivers[1].url}
    return shop.open(crowd=True, release_seconds=0, message_seconds=0, webhooks=webhooks)


def test_a_canary_is_in_no_webhook_file_log_or_document(shop, receivers, caplog):
    caplog.set_level(logging.DEBUG)
    client = opened(shop, receivers)
    visitor = client.visitor(CANARY)
    visitor.consent(ALL)
    visitor.observe("add_to_cart", category="boots", id=CANARY, value=4711, currency="EUR")
    shop.clock.now += HOUR
    said = [client.raise_messages(), client.send_messages(), client.webhook_keys, visitor.triggers()]
    said += [visitor.recipient_id(CANARY), visitor.tell_offset(CANARY), visitor.erase()]
    client.send_messages()
    left = [json.dumps([path, headers]) + body.decode() for one in receivers for path, headers, body in one.received]
    assert len(left) == 4
    for text in (*left, *map(repr, said), caplog.text):
        assert CANARY not in text
        assert "4711" not in text.replace(CANARY, "")
        assert "boots" not in text
    assert not any(CANARY.encode() in data for data in shop.files().values())


def test_what_a_recipient_knows_is_nothing_that_is_kept_and_nothing_another_knows(shop, receivers):
    client = opened(shop, receivers)
    visitor = client.visitor("customer-42")
    visitor.consent(ALL)
    visitor.observe("add_to_cart", value=1, currency="EUR")
    shop.clock.now += HOUR
    client.raise_messages()
    client.send_messages()
    (mailer,), (parcels,) = (one.told() for one in receivers)
    assert mailer.recipient_id != parcels.recipient_id
    keyring, epoch = client._engine.custody.keyring, shop.clock.now // client.policy.epoch
    pseudonyms = [keyed(keyring.epoch_key(purpose, epoch))(visitor._handle).hex() for purpose in client.policy.purposes]
    with sqlite3.connect(shop.home / "state" / "visitors.db") as store:
        names = [name.to_bytes(8, "big", signed=True).hex() for (name,) in store.execute("select name from records")]
        values = [value.hex() for (value,) in store.execute("select value from records")]
    store.close()
    for told in (mailer, parcels):
        parts = {told.recipient_id[i : i + 16] for i in range(17)}
        assert not parts & set(names)
        assert not any(told.recipient_id in one or one[:16] in told.recipient_id for one in pseudonyms)
        assert not any(told.recipient_id in value for value in values), "it lies there sealed alone"


def test_without_the_grant_the_store_holds_the_same_as_if_there_were_no_triggers(shop, receivers):
    client = opened(shop, receivers)
    refusing, silent = client.visitor("customer-1"), client.visitor("customer-2")
    refusing.consent(ALL | {"message": False})
    for visitor in (refusing, silent):
        visitor.observe("add_to_cart", value=1, currency="EUR")
    shop.clock.now += HOUR
    before = shop.files()
    assert refusing.triggers().data == silent.triggers().data == {"triggers": []}
    assert refusing.tell_offset(60).cause == silent.tell_offset(60).cause == "consent_missing"
    assert refusing.recipient_id(MAILER).cause == silent.recipient_id(PARCELS).cause == "consent_missing"
    assert client.raise_messages().data == {"messages": []}
    after = shop.files()
    same = [path.name for path in before if path.name not in ("visitors.db-shm",) and before[path] != after[path]]
    assert same == []
    assert client.outbox() == []


def test_a_withdrawal_is_told_and_nothing_else_from_then_on(shop, receivers):
    client = opened(shop, receivers)
    visitor = client.visitor("customer-42")
    visitor.consent(ALL)
    visitor.observe("add_to_cart", value=1, currency="EUR")
    shop.clock.now += HOUR
    client.raise_messages()
    visitor.consent(ALL | {"message": False})
    visitor.observe("add_to_cart", value=1, currency="EUR")
    for _ in range(3):
        shop.clock.now += HOUR
        client.raise_messages()
        client.send_messages()
    assert [[one.kind for one in receiver.told()] for receiver in receivers] == [["withdrawn"], ["withdrawn"]]


def test_a_small_order_key_verifies_nothing():
    """Under a point of small order anybody can sign (RFC 8032, 5.1)."""
    small = b"\x01" + bytes(31)
    signature = "v1a," + b64encode(small + bytes(32)).decode()
    headers = {"webhook-id": "msg_" + "0" * 32, "webhook-timestamp": "1", "webhook-signature": signature}
    with pytest.raises(Unauthentic):
        verify_webhook("whpk_" + b64encode(small).decode(), headers, b"{}", 1)


def test_a_real_worker_sends_signed_messages_and_nothing_of_whom_it_does_not_know(shop, receivers):
    """Public port, admin port and a recipient, each over real HTTP; the clock is the admin's."""
    shop.policy.write_text(POLICY_TEXT)
    trigger(shop, CART, {"name": "tip", "kind": "browse_abandoned", "purpose": "personalize", "unless": ["purchase"]})
    settings = {"message_seconds": 0, "clock": "admin", "webhooks": {"reminder": receivers[0].url}}
    with running(shop, **settings) as worker:
        now = shop.clock.now
        assert worker.ask("POST", "/clock", {"now": now}, admin=True).status == 200
        proof = worker.token(CANARY, now)
        assert worker.ask("POST", "/v1/consent", {"choices": ALL}, proof).json["accepted"]
        events = [{"name": "add_to_cart", "value": 4711, "currency": "EUR"}, {"name": "view_item"}]
        worker.ask("POST", "/v1/events", {"visitor": CANARY, "events": events})
        known = worker.ask("POST", "/v1/recipient", {"recipient": MAILER}, proof).json["recipient_id"]
        assert worker.ask("POST", "/v1/recipient", {"recipient": MAILER}, {"Entrenous-Visitor": CANARY}).status == 403
        worker.ask("POST", "/clock", {"now": now + HOUR}, admin=True)
        proof = worker.token(CANARY, now + HOUR)
        due = worker.ask("POST", "/v1/triggers", {"utc_offset": 60}, proof).json
        assert due == {"triggers": [{"name": "tip", "kind": "browse_abandoned"}]}
        assert worker.ask("POST", "/v1/triggers", {"utc_offset": "x"}, proof).status == 400
        assert worker.ask("POST", "/v1/triggers", {}, proof | {"Sec-GPC": "1"}).json == {"triggers": []}
        assert worker.ask("GET", "/v1/segments", headers=proof).json == {"segments": []}
        assert worker.ask("GET", "/v1/segments", headers=proof | {"Sec-GPC": "1"}).json == {"segments": []}
        objecting = worker.ask("POST", "/v1/recipient", {"recipient": MAILER}, proof | {"Sec-GPC": "1"}).json
        assert objecting == {"accepted": False, "cause": "consent_missing"}
        assert len(worker.ask("POST", "/raise-messages", admin=True).json["messages"]) == 1
        assert worker.ask("POST", "/send-messages", admin=True).json["sent"] == 1
        key = worker.ask("GET", "/webhook-keys", admin=True).json["webhook_keys"]["reminder"]
        [(_, headers, body)] = receivers[0].received
        told = verify_webhook(key, headers, body, now + HOUR)
        assert (told.trigger, told.recipient_id) == ("cart", known)
        assert len(b64decode(key.removeprefix("whpk_"))) == 32
        assert worker.ask("DELETE", "/v1/visitor", headers=proof).json["accepted"]
        assert worker.ask("POST", "/send-messages", admin=True).json["sent"] == 1
        assert [one.kind for one in receivers[0].told()] == ["raised", "erased"]
        assert CANARY not in worker.log() + worker.ask("GET", "/metrics", admin=True).data.decode()
