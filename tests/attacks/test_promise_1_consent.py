"""Promise 1, nothing without consent: a purpose that is not granted is not read, written, scored with or counted."""

from __future__ import annotations

import pytest

from entrenous.decisions.draws import Draw, Drawing
from entrenous.loop.contributions import HOLDOUT


@pytest.fixture
def named(client, monkeypatch) -> set[str]:
    """Every purpose whose pseudonym is computed from here on."""
    seen: set[str] = set()
    custody = client._engine.custody
    original = custody._pseudonym

    def spy(handle: bytes, purpose: str, epoch: int) -> bytes:
        seen.add(purpose)
        return original(handle, purpose, epoch)

    monkeypatch.setattr(custody, "_pseudonym", spy)
    return seen


def test_a_refused_purpose_is_not_even_named(client, named, ask):
    visitor = client.visitor("customer-42")
    visitor.consent({"personalize": True})
    named.clear()
    visitor.observe_all([{"name": "view_item"}, {"name": "purchase", "value": 4900, "currency": "EUR"}])
    assert ask(visitor).reason == "TARGETING_MATCH"
    client.flush()
    visitor.export()
    assert named == {"consent", "personalize"}


def test_an_unknown_visitor_leaves_no_byte(shop, client, ask):
    visitor = client.visitor("stranger")
    ask(client.visitor("another stranger"))  # the first read after a write leaves its mark in SQLite's shared memory
    before = shop.files()
    assert visitor.observe("view_item").cause == "consent_missing"
    assert ask(visitor).cause == "consent_missing"
    client.flush()
    assert shop.files() == before


def test_a_refusal_leaves_its_one_record(client, ask):
    run = client._engine.custody.store._writer.execute

    def counted() -> tuple[int, int]:
        return tuple(run(f"select count(*) from {table}").fetchall()[0][0] for table in ("records", "logs"))

    records, entries = counted()
    visitor = client.visitor("customer-42")
    visitor.consent({})
    visitor.observe("view_item")
    ask(visitor)
    client.flush()
    assert counted() == (records + 1, entries)


def test_withheld_history_cannot_move_the_margin(shop, client, ask):
    spender, newcomer = client.visitor("spender"), client.visitor("newcomer")
    for visitor in (spender, newcomer):
        visitor.consent(client.example_choices)
    for _ in range(5):
        spender.observe("purchase", value=9900, currency="EUR")
    assert ask(spender).margin != ask(newcomer).margin
    for visitor in (spender, newcomer):
        visitor.consent({"personalize": True})
    assert ask(spender).margin == ask(newcomer).margin


def test_a_write_that_a_withdrawal_overtook_is_dropped(shop, client, agreed, monkeypatch):
    other = shop.open()
    custody = client._engine.custody
    original = custody.save

    def overtaken(*arguments, **more):
        assert other.visitor("customer-42").consent({}).accepted
        monkeypatch.setattr(custody, "save", original)
        return original(*arguments, **more)

    monkeypatch.setattr(custody, "save", overtaken)
    assert agreed.observe("view_item").cause == "consent_missing"
    assert agreed.export().data["purposes"] == {}


def test_receipts_of_a_withdrawn_consent_never_reach_the_store(client, agreed, ask):
    ask(agreed)
    agreed.consent({})
    agreed.consent(client.example_choices)
    client.flush()
    held = agreed.export().data["purposes"]["personalize"]
    assert held["receipts"] == []
    assert held["times_shown"] == {}


def test_withdrawal_erases_what_the_purpose_stored(client, agreed):
    agreed.observe("purchase", value=4900, currency="EUR")
    assert agreed.export().data["purposes"]["history"]["features"]["bought_orders_90d"] == 1
    agreed.consent({"personalize": True})
    agreed.consent(client.example_choices)
    assert agreed.export().data["purposes"]["history"]["features"]["bought_orders_90d"] == 0


@pytest.mark.parametrize(
    "signal",
    [
        {"personalize": True, "everything": True},
        {"personalize": "granted"},
        {"personalize": 1},
        {"personalize": True, "history": []},
        {True: True},
        [("personalize", True)],
        "personalize",
    ],
)
def test_a_malformed_signal_grants_nothing_and_changes_nothing(shop, client, ask, signal):
    visitor = client.visitor("customer-42")
    before = shop.files()
    assert not visitor.consent(signal).accepted
    assert shop.files() == before
    assert ask(visitor).cause == "consent_missing"


def test_a_raised_consent_version_must_be_asked_for_again(shop, client, agreed, ask):
    assert ask(agreed).reason == "TARGETING_MATCH"
    text = shop.policy.read_text()
    shop.policy.write_text(text.replace("consent_version = 1", "consent_version = 2", 1))
    later = shop.open()
    visitor = later.visitor("customer-42")
    assert ask(visitor).cause == "consent_missing"
    assert visitor.observe("view_item").cause == "consent_missing"
    visitor.consent(later.example_choices)
    assert ask(visitor).reason == "TARGETING_MATCH"


def test_receipts_that_another_process_held_through_a_withdrawal_never_reach_the_store(shop, client, agreed, ask):
    other = shop.open()
    ask(other.visitor("customer-42"))
    agreed.consent({})
    agreed.consent(client.example_choices)
    other.flush()
    held = agreed.export().data["purposes"]["personalize"]
    assert held["receipts"] == []
    assert held["times_shown"] == {}


def test_a_withdrawal_leaves_nothing_open_and_nothing_waiting(client, agreed, ask):
    ask(agreed)
    agreed.consent({"history": True})
    engine = client._engine
    assert agreed._handle not in engine._open
    assert engine.waiting.leave() == {}


def test_no_bucket_is_computed_for_who_refused_to_be_measured(client, ask, monkeypatch):
    drawn: list[bytes] = []
    monkeypatch.setattr(Drawing, "draw", lambda drawing, handle, now: drawn.append(handle) or Draw(HOLDOUT, 0))
    measured, unmeasured = client.visitor("a"), client.visitor("b")
    unmeasured.consent(client.example_choices | {"measure": False})
    assert ask(unmeasured).reason == "TARGETING_MATCH"
    assert drawn == []
    measured.consent(client.example_choices)
    assert ask(measured).cause == "holdout"
    assert drawn == [measured._handle]


def test_a_choice_that_an_erasure_and_a_new_choice_overtook_is_made_again(shop, client, agreed, ask, monkeypatch):
    """The new row has the old one's version and another key: only its generation tells them apart."""
    other, custody = shop.open(), client._engine.custody
    original = custody.store.transact

    def overtaken(*arguments, **named):
        monkeypatch.setattr(custody.store, "transact", original)
        visitor = other.visitor("customer-42")
        assert visitor.erase().accepted
        assert visitor.consent({"measure": True}).accepted
        return original(*arguments, **named)

    monkeypatch.setattr(custody.store, "transact", overtaken)
    assert agreed.consent({"personalize": True}).accepted
    assert ask(agreed).reason == "TARGETING_MATCH"
    assert agreed.export().data["consent"]["granted"] == ["personalize"]


def test_a_policy_that_shortens_a_choice_holds_for_those_that_stand(shop, client, agreed, ask):
    other = shop.open()
    text = shop.policy.read_text()
    assert text.count("lifetime_days = 180") == 4
    shop.policy.write_text(text.replace("lifetime_days = 180", "lifetime_days = 5"))
    shop.publish()
    assert client.refresh().accepted
    for one in (client, other):
        assert one.visitor("customer-42").decide("promotion", "none").reason == "TARGETING_MATCH"
    shop.clock.now += 5 * 86_400
    for one in (client, other):
        assert one.visitor("customer-42").decide("promotion", "none").cause == "consent_missing"
        assert one.visitor("customer-42").observe("view_item").cause == "consent_missing"
        held = one.visitor("customer-42").export().data
        assert (held["consent"]["granted"], held["purposes"]) == ([], {})
