"""Promise 1: without a choice, an answer for the moment alone, where neither policy nor law asks for one; else none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.decisions import EVERYONE, promotion, rewrite, rule_of
from tests.shop import Shop

from entrenous.decisions.form import Arm, Cap, Experiment

ARMS = {"none": Arm(value="none"), "evening": Arm(value="evening")}
PURPOSE = """
[purposes.moment]
data_use = "functional.service"
dpv = "dpv:ServiceProvision"
legal_basis = "{basis}"
interest = "a page that suits the hour"
terminal = "{terminal}"
{ground}
consent_version = 1
lifetime_days = 180
title = {{ en = "Suit the page to the moment", fr = "Adapter la page au moment" }}
description = {{ en = "By the hour, without looking at you.", fr = "Selon l'heure, sans vous regarder." }}
"""


def opened(shop: Shop, basis: str = "legitimate_interests", terminal: str = "none", **changes):
    """A shop whose policy has a purpose of that basis, and a decision under it."""
    rule = rule_of(ARMS, {"evening": EVERYONE}, "none", promotion(shop))
    rewrite(shop, home=replace(rule, purpose="moment", experiment=None) if not changes else replace(rule, **changes))
    text = shop.policy.read_text("utf-8")
    ground = 'terminal_ground = "strictly necessary"' if terminal == "exempt" else ""
    purpose = PURPOSE.format(basis=basis, terminal=terminal, ground=ground)
    if basis == "consent":
        purpose = purpose.replace('interest = "a page that suits the hour"\n', "")
    decision = '\n[[decisions]]\nname = "home"\npurpose = "moment"\neffect = "content"\nalone = false\ninputs = []\n'
    shop.policy.write_text(text + purpose + decision, "utf-8")
    return shop.open()


def kept(shop: Shop) -> dict:
    """What is on disk, but for the index that readers of the store share."""
    return {path: data for path, data in shop.files().items() if path.suffix != ".db-shm"}


def test_who_made_no_choice_is_answered_and_leaves_nothing(shop: Shop):
    client = opened(shop)
    before = kept(shop)
    answer = client.visitor("stranger").decide("home", "fallback")
    assert (answer.value, answer.reason, answer.cause) == ("evening", "TARGETING_MATCH", "contextual")
    assert answer.receipt.basis.consents == ()
    assert "nothing about you was looked at or kept" in answer.why().lines[0]
    client.flush()
    assert client.visitor("stranger").export().data == {}
    assert kept(shop) == before


def test_they_are_drawn_for_nothing_and_counted_for_nothing_even_in_memory(shop: Shop):
    experiment = Experiment(id="evening", purpose="moment", holdout=5_000, daily=True)
    client = opened(shop, purpose="moment", experiment=experiment, cap=Cap(decisions=1, days=30))
    answers = [client.visitor(f"stranger {i}").decide("home", "fallback") for i in range(40) for _ in range(3)]
    assert {(one.value, one.cause) for one in answers} == {("evening", "contextual")}
    assert client._engine.waiting.leave() == {}
    for seen in client._engine._open.values():
        assert (seen.draws, seen.kept, dict(seen.counted)) == ({}, {}, {})


@pytest.mark.parametrize(
    ("basis", "terminal"), [("consent", "none"), ("legitimate_interests", "consent"), ("contract", "exempt")]
)
def test_where_the_terminal_or_the_law_asks_for_consent_there_is_none_without_it(shop: Shop, basis, terminal):
    answer = opened(shop, basis, terminal).visitor("stranger").decide("home", "fallback")
    assert (answer.value, answer.cause) == ("fallback", "consent_missing")


@pytest.mark.parametrize("refuse", ["object", "refuse all", "choose another"])
def test_never_after_an_objection_or_a_choice_that_leaves_it_out(shop: Shop, refuse):
    client = opened(shop)
    visitor = client.visitor("customer-42")
    if refuse == "object":
        assert visitor.object().accepted
    else:
        assert visitor.consent({"measure": refuse == "choose another"}).accepted
    assert visitor.decide("home", "fallback").cause == "consent_missing"


def test_what_is_observed_still_needs_a_choice(shop: Shop):
    client = opened(shop)
    assert client.visitor("stranger").observe("view_item", category="boots").cause == "consent_missing"


def test_a_device_that_chose_nothing_lends_nothing_to_who_signed_in(shop: Shop):
    client = opened(shop)
    account = client.visitor("account")
    account.consent({})
    assert client.visitor("device").link(account).decide("home", "fallback").cause == "consent_missing"
