"""Promise 6, the visitor's path never fails: whatever breaks under it, it answers the default with a reason."""

from __future__ import annotations

import sqlite3

import pytest


def _answers_defaults(visitor) -> str:
    """Ask everything a page asks; nothing may raise. Return the decision's cause."""
    decision = visitor.decide("promotion", default="fallback")
    assert decision.value == "fallback"
    assert decision.reason == "ERROR"
    assert not visitor.observe("view_item").accepted
    assert not visitor.export().accepted
    return decision.cause


def test_a_damaged_store(shop, client, agreed):
    path = shop.home / "state" / "visitors.db"
    client.close()
    shop.clients.clear()
    data = bytearray(path.read_bytes())
    fresh = shop.open()
    path.write_bytes(bytes(100) + bytes(byte ^ 0x5A for byte in data[100:]))
    assert _answers_defaults(fresh.visitor("customer-42")) in ("unreadable", "unavailable")


def test_records_that_do_not_open(client, agreed):
    with sqlite3.connect(client._engine.custody.store._path) as other:
        other.execute("update records set value = randomblob(length(value))")
    other.close()
    client._engine._open.clear()
    assert _answers_defaults(agreed) == "unreadable"


def test_keys_that_were_shredded_under_it(client, agreed):
    with sqlite3.connect(client._engine.custody.store._path) as other:
        other.execute("update slots set wrapped = zeroblob(64)")
    other.close()
    client._engine._open.clear()
    assert _answers_defaults(agreed) == "unreadable"


def test_another_process_that_holds_the_store(client, agreed, ask, monkeypatch):
    """A decision never waits for a writer; an event says that it could not be taken in, and is taken in afterwards."""
    monkeypatch.setattr("entrenous_consent.sqlite._WRITE_WAIT", 0.01)
    client._engine.custody.store._writer.execute("pragma busy_timeout=10").fetchall()
    other = sqlite3.connect(client._engine.custody.store._path, isolation_level=None)
    other.execute("begin exclusive")
    client._engine._open.clear()
    assert ask(agreed).reason == "TARGETING_MATCH"
    assert agreed.observe("view_item").cause == "unavailable"
    other.execute("rollback")
    other.close()
    assert agreed.observe("view_item").accepted


def test_a_reader_waits_five_milliseconds_at_most(client):
    assert client._engine.custody.store._idle[0].execute("pragma busy_timeout").fetchall() == [(5,)]


@pytest.mark.parametrize("broken", ["standing", "drawers"])
def test_a_fault_of_ours(client, agreed, monkeypatch, broken):
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(client._engine.custody, broken, explode)
    client._engine._open.clear()
    assert agreed.decide("promotion", "fallback")[:3] == ("fallback", "ERROR", "fault")


def test_a_model_that_fails(client, agreed, monkeypatch):
    def explode(*_: object) -> None:
        raise RuntimeError("the session is gone")

    for scorer in client._engine.active.scorers.values():
        monkeypatch.setattr(scorer, "margin", explode)
    assert agreed.decide("promotion", "fallback")[:3] == ("fallback", "ERROR", "fault")


def test_a_clock_that_runs_backwards(shop, client, agreed, ask):
    agreed.observe("view_item")
    shop.clock.now -= 10 * 86_400
    assert ask(agreed).reason in ("TARGETING_MATCH", "DEFAULT")
    shop.clock.now += 10 * 86_400
    assert ask(agreed).reason == "TARGETING_MATCH"


def test_a_full_store_refuses_the_event_and_loses_nothing(shop):
    client = shop.open(most_store_bytes=96 << 10)
    taken, outcome = 0, None
    for number in range(2000):
        visitor = client.visitor(f"customer-{number}")
        outcome = visitor.consent(client.example_choices)
        if not outcome.accepted:
            break
        taken += 1
    assert outcome is not None
    assert outcome.cause == "unavailable"
    assert "the disk is full" in outcome.message
    assert taken > 10
    kept = [client.visitor(f"customer-{number}").decide("promotion", "x").cause for number in range(taken)]
    assert "consent_missing" not in kept
