"""Promise 1, nothing without consent: nor through what a visitor tells, nor through what another system knows."""

from __future__ import annotations

import pytest
from tests.shop import Shop
from tests.telling import listen

from entrenous import Client


@pytest.fixture
def client(shop: Shop) -> Client:
    listen(shop)
    return shop.open()


def test_a_stranger_who_tells_leaves_no_byte(shop, client):
    client.visitor("another stranger").preferences()
    before = shop.files()
    visitor = client.visitor("stranger")
    assert visitor.tell("size", "m").cause == "consent_missing"
    assert visitor.undo("size").data == {"undone": False}
    assert visitor.preferences().data == {"preferences": {}}
    assert shop.files() == before


@pytest.mark.parametrize("choices", [{}, {"measure": True}, {"history": False, "personalize": False}])
def test_who_granted_no_purpose_that_listens_is_not_listened_to(client, choices):
    visitor = client.visitor("ada")
    visitor.consent(choices)
    assert visitor.tell("size", "m").cause == "consent_missing"
    visitor.consent({"personalize": True, "history": True})
    assert visitor.preferences().data["preferences"]["size"]["holds"] == []


def test_a_word_stays_within_the_purposes_that_are_granted(client):
    visitor = client.visitor("ada")
    visitor.consent({"personalize": True})
    assert visitor.tell("size", "m").accepted
    assert visitor.tell("less", "bags").cause == "consent_missing"
    visitor.consent({"personalize": True, "history": True})
    assert visitor.export().data["purposes"]["history"]["features"]["bought_size"] is None
    assert visitor.preferences().data["preferences"]["less"]["holds"] == []


def test_a_withdrawal_takes_what_was_told_with_it(client):
    visitor = client.visitor("ada")
    visitor.consent({"personalize": True})
    visitor.tell("size", "m")
    visitor.consent({})
    assert visitor.preferences().data == {"preferences": {}}
    visitor.consent({"personalize": True})
    assert visitor.preferences().data["preferences"]["size"]["holds"] == []


def test_a_withdrawal_while_a_word_is_kept_wins(client, monkeypatch):
    """The consent moves on between the reading and the writing: the store drops the word."""
    visitor = client.visitor("ada")
    visitor.consent({"personalize": True})
    custody, saved = client._engine.custody, client._engine.custody.save

    def after_a_withdrawal(*arguments, **more):
        monkeypatch.setattr(custody, "save", saved)
        client.visitor("ada").consent({})
        return saved(*arguments, **more)

    monkeypatch.setattr(custody, "save", after_a_withdrawal)
    assert visitor.tell("size", "m").cause == "consent_missing"
    visitor.consent({"personalize": True})
    assert visitor.preferences().data["preferences"]["size"]["holds"] == []


def test_an_erasure_leaves_nothing_of_it(client):
    visitor = client.visitor("ada")
    visitor.consent({"personalize": True})
    visitor.tell("size", "m")
    assert visitor.erase().accepted
    assert visitor.export().data == {}
    assert visitor.preferences().data == {"preferences": {}}
