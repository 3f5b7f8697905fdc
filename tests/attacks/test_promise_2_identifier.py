"""Promise 2, no raw identifier: a canary goes in everywhere, and comes out nowhere."""

from __future__ import annotations

import logging
import traceback

import pytest

CANARY = "canary-7f3a9d@example.org"


def _everything(client, said: list[object]) -> None:
    visitor = client.visitor(CANARY)
    said += [visitor, repr(visitor)]
    said.append(visitor.consent({CANARY: True}))
    said.append(visitor.consent(CANARY))
    said.append(visitor.consent(client.example_choices))
    said.append(visitor.observe(CANARY))
    said.append(visitor.observe("view_item", **{CANARY: 1}))
    said.append(visitor.observe("purchase", transaction_id=CANARY, id=CANARY, value=1, currency="EUR"))
    said.append(visitor.observe("view_item", price=CANARY, currency=CANARY))
    said.append(visitor.decide(CANARY, "none"))
    said.append(visitor.decide("promotion", "none", {CANARY: CANARY}))
    said.append(visitor.decide("promotion", "none"))
    client.flush()
    said.append(visitor.export())


def test_a_canary_is_found_in_no_file_log_or_answer(shop, client, caplog):
    caplog.set_level(logging.DEBUG)
    said: list[object] = []
    _everything(client, said)
    assert not any(CANARY.encode() in data for data in shop.files().values())
    assert CANARY not in caplog.text
    spoken = [str(one) for one in said]
    assert [one for one in spoken if CANARY in one] == []


def test_an_identifier_used_as_a_key_is_not_repeated(client):
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    message = visitor.observe("view_item", **{CANARY: 1}).message
    assert "has a field we do not know" in message
    assert CANARY[:8] not in message


def test_a_failing_store_leaks_nothing_into_logs_or_answers(shop, client, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)

    def explode(*_: object, **__: object) -> None:
        raise ValueError(f"low-level fault about {CANARY}")

    visitor = client.visitor(CANARY)
    visitor.consent(client.example_choices)
    monkeypatch.setattr(client._engine.custody.store, "transact", explode)
    outcomes = [visitor.observe("view_item"), visitor.erase(), visitor.consent({})]
    visitor.decide("promotion", "none")
    client.flush()
    assert {outcome.cause for outcome in outcomes} == {"fault"}
    assert CANARY not in caplog.text
    assert not any(CANARY in str(outcome) for outcome in outcomes)
    monkeypatch.undo()


@pytest.mark.parametrize("identifier", [CANARY + "x" * 600, ["canary-7f3a9d"], b"canary-7f3a9d"])
def test_a_bad_identifier_is_not_repeated(client, identifier):
    outcome = client.visitor(identifier).consent({})
    assert outcome.cause == "bad_identifier"
    assert "canary-7f3a9d" not in outcome.message


def test_an_exception_through_the_engine_names_no_one(client):
    visitor = client.visitor(CANARY)
    visitor.consent(client.example_choices)
    with pytest.raises(Exception, match="context: has a key that this bundle does not know") as raised:
        client._engine.decide(visitor._handle, "promotion", "none", {CANARY: CANARY})
    assert CANARY not in "".join(traceback.format_exception(raised.value))


def test_a_handle_is_never_stored(shop, client):
    visitor = client.visitor(CANARY)
    visitor.consent(client.example_choices)
    visitor.observe("view_item")
    assert not any(visitor._handle in data or visitor._handle[:8] in data for data in shop.files().values())


def test_an_identifier_or_event_id_with_a_lone_surrogate_is_one_like_any_other(client, caplog):
    visitor = client.visitor("customer-\ud800")
    assert visitor.consent(client.example_choices).accepted
    assert visitor.observe("view_item", id="\udfff", category="\ud800", brand="\udc00").accepted
    assert visitor.observe("view_item", id="\udfff").cause == "duplicate"
    assert visitor.decide("promotion", "none").receipt is not None
    assert client.visitor("customer-\ud801").decide("promotion", "none").cause == "consent_missing"
    assert caplog.text == ""
