"""Messages on their way to a recipient over real HTTP: signed, once, under consent until they arrive."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.messages import (
    CART,
    CONSENT,
    MAILER,
    POLICY_TEXT,
    SECOND,
    audited,
    consenting,
    filled,
    messages,
    opened,
    receiving,
    round_,
)
from tests.segments import trigger
from tests.shop import DAY
from tests.unit.test_updates import Authority

from entrenous.messages.webhooks import (
    KEPT_SECONDS,
    HttpCourier,
    parse_endpoint,
    parse_endpoints,
    send_messages,
    signed_headers,
    verify_webhook,
)
from entrenous_consent.errors import Malformed, Unauthentic, Unavailable
from entrenous_consent.messages import read_message
from entrenous_consent.store import Emit

HOUR = 3600


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


def test_a_store_that_fails_is_told_as_such(mailing, receiver, monkeypatch):
    client = opened(mailing, receiver)

    def broken(*_: object, **__: object):
        raise Unavailable("is on fire", place="store")

    monkeypatch.setattr(client._engine.custody, "owed", broken)
    assert client.raise_messages().cause == "unavailable"
