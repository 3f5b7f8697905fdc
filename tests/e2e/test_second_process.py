"""What one process does holds in another at its very next call."""

from __future__ import annotations


def test_withdrawal_holds_at_the_next_decision_of_a_second_process(client, agreed, peer, ask):
    assert peer.ask("customer-42", "decide") == ["TARGETING_MATCH", ""]
    assert peer.ask("customer-42", "decide") == ["TARGETING_MATCH", ""]
    assert agreed.consent({"history": True}).accepted
    assert peer.ask("customer-42", "decide") == ["DEFAULT", "consent_missing"]
    assert peer.ask("customer-42", "observe", "view_item") == ["consent_missing"]


def test_and_the_other_way_round(client, agreed, peer, ask):
    assert ask(agreed).reason == "TARGETING_MATCH"
    assert peer.ask("customer-42", "consent", {}) == [True]
    assert ask(agreed).cause == "consent_missing"


def test_a_grant_is_seen_at_once_too(client, agreed, peer, ask):
    assert peer.ask("customer-43", "decide") == ["DEFAULT", "consent_missing"]
    assert client.visitor("customer-43").consent(client.example_choices).accepted
    assert peer.ask("customer-43", "decide") == ["TARGETING_MATCH", ""]


def test_an_erasure_holds_at_the_next_decision_of_a_second_process(client, agreed, peer):
    assert peer.ask("customer-42", "decide") == ["TARGETING_MATCH", ""]
    assert agreed.erase().cause == ""
    assert peer.ask("customer-42", "decide") == ["DEFAULT", "consent_missing"]


def test_an_event_taken_in_by_one_moves_the_decision_of_the_other(client, agreed, peer, ask):
    before = ask(agreed).margin
    for _ in range(6):
        assert peer.ask("customer-42", "observe", "view_item") == [""]
    assert peer.ask("customer-42", "observe", "add_to_cart") == [""]
    assert ask(agreed).margin > before
