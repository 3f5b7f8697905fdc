"""What the DPO reads of messages: every one that left, in bytes and in words, and what is armed for a visitor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.messages import MAILER, POLICY_TEXT, receiving
from tests.segments import trigger
from tests.shop import Shop

from entrenous.cli import main
from entrenous.documents.egress_documents import egress_document
from entrenous.documents.holdings import ENDLESS, egress
from entrenous.documents.privacy_documents import export_document
from entrenous_consent.dpo.rendering import render
from entrenous_consent.messages import read_message
from entrenous_consent.policy import parse_policy
from entrenous_consent.store import Emit, MemoryStore

QUIET = {"start": 1, "end": 2, "offset": 0}


@pytest.fixture
def told(shop: Shop) -> Shop:
    """A shop that sent one message, has one that waits, and was withdrawn from once."""
    shop.policy.write_text(POLICY_TEXT)
    capped = {"cap": {"times": 2, "days": 7}, "quiet": QUIET}
    trigger(shop, {"name": "cart", "kind": "cart_abandoned", "message": "reminder", **capped})
    with receiving() as receiver:
        webhooks = {"reminder": receiver.url}
        client = shop.open(crowd=True, release_seconds=0, message_seconds=0, webhooks=webhooks)
        visitor = client.visitor("customer-42")
        visitor.consent({"personalize": True, "message": True})
        visitor.tell_offset(120)
        visitor.observe("add_to_cart", value=1, currency="EUR")
        shop.clock.now += 3600
        client.raise_messages()
        client.send_messages()
        assert len(receiver.received) == 1
    visitor.observe("add_to_cart", value=1, currency="EUR")
    other = client.visitor("customer-7")
    other.consent({"message": True})
    other.consent({})
    return shop


def test_every_message_is_told_with_its_recipient_and_whether_it_was_received(told: Shop):
    client = told.clients[0]
    left = egress(client._engine.custody.store, 0, ENDLESS)
    document = egress_document(left, 0, ENDLESS, "en")
    first, second = document.data["messages"]
    assert (first["kind"], first["message"], first["recipient"], first["trigger"]) == (
        "raised",
        "reminder",
        MAILER,
        "cart",
    )
    assert (first["received"], second["received"]) == (told.clock.now, None)
    assert (second["kind"], second["trigger"]) == ("withdrawn", None)
    assert document.data["bytes"] == sum(len(one.data) for one in client.outbox())
    assert document.data["reports"] == []
    text = render(document, "text")
    assert "fell due · cart" in text
    assert "consent ended" in text
    french = render(egress_document(left, 0, ENDLESS, "fr"), "html")
    assert "arrivé à échéance · cart" in french
    assert "destinataire" in french


def test_a_message_that_does_not_read_is_told_as_bytes():
    store = MemoryStore()
    store.transact([Emit(b"x" * 16, b'{"type":"message.', 5)], now=5, durable=True)
    left = egress(store, 0, ENDLESS)
    (one,) = egress_document(left, 0, ENDLESS, "en").data["messages"]
    assert (one["readable"], one["bytes"]) == (False, 17)
    assert "not readable by this version" in render(egress_document(left, 0, ENDLESS, "en"), "text")


def test_the_very_bytes_of_a_message_are_written(told: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    raw = tmp_path / "raw"
    assert main(["privacy", "egress", "--state", str(told.home / "state"), "--raw", str(raw), "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    written = {path.name: path.read_bytes() for path in raw.iterdir()}
    assert {read_message(data).kind for data in written.values()} == {"raised", "withdrawn"}
    assert {f"{one['id']}.message" for one in said["data"]["messages"]} == written.keys()


@pytest.mark.parametrize(("language", "word"), [("en", "What was raised"), ("fr", "Ce qui a été déclenché")])
def test_a_visitors_export_tells_what_is_armed_and_was_raised(told: Shop, language: str, word: str):
    visitor = told.clients[0].visitor("customer-42")
    policy = parse_policy(POLICY_TEXT.encode())
    text = render(export_document(visitor.export().data, policy, language), "text")
    assert word in text
    assert "120" in text
    visitor.consent({"personalize": True})
    assert word not in render(export_document(visitor.export().data, policy, language), "text")
