"""Decisions as a visitor gets them: flags and tests, ramps and groups, offers that are kept, caps that are shared."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.decisions import EVERYONE, agreeing, always, offer, promotion, rewrite, rule_of
from tests.shop import DAY, Shop

from entrenous.decisions.form import Arm, Cap
from entrenous_consent.errors import Forbidden, Malformed

ARMS = {"none": Arm(value="none"), "plain": Arm(value="A"), "guide": Arm(value="B", payload='{"order": ["guide"]}')}


def flag(shop: Shop, **shares: int):
    return rule_of(ARMS, shares, "none", promotion(shop))


def given(client, name: str = "home", count: int = 300, **choices: bool) -> Counter[tuple[str, str]]:
    answers = (agreeing(client, f"visitor-{i}", **choices).decide(name, "fallback") for i in range(count))
    return Counter((answer.value, answer.cause) for answer in answers)


def test_a_flag_scores_nothing_and_is_answered_under_its_purpose(shop):
    rewrite(shop, home=replace(flag(shop, guide=EVERYONE), experiment=None))
    client = shop.open()
    answer = agreeing(client).decide("home", "fallback")
    assert (answer.value, answer.reason, answer.tranche) == ("B", "TARGETING_MATCH", "everyone")
    assert answer.payload == {"order": ["guide"]}
    assert (answer.margin, answer.likelihood) == (None, None)
    assert dict(answer.receipt.basis.consents) == {"personalize": 1}
    assert client.visitor("stranger").decide("home", "fallback").cause == "consent_missing"


def test_a_test_draws_its_arms_in_their_shares_and_the_same_one_every_time(shop):
    rewrite(shop, home=flag(shop, plain=2_500, guide=7_500))
    client = shop.open()
    found = given(client)
    assert 20 < found["none", "holdout"] < 45
    drawn = {arm: found[arm, ""] for arm in ("A", "B")}
    assert 0.17 < drawn["A"] / sum(drawn.values()) < 0.33
    assert given(client) == found
    answer = next(
        one for i in range(300) if (one := client.visitor(f"visitor-{i}").decide("home", "fallback")).value == "A"
    )
    assert (answer.reason, answer.receipt.basis.share) == ("SPLIT", 2_500)
    assert "measure" in dict(answer.receipt.basis.consents)


def test_who_is_not_measured_gets_the_likeliest_arm_and_is_drawn_for_nothing(shop):
    rewrite(shop, home=flag(shop, plain=2_500, guide=7_500))
    client = shop.open()
    assert given(client, measure=False, count=20) == {("B", ""): 20}
    basis = agreeing(client, measure=False).decide("home", "fallback").receipt.basis
    assert basis.share == EVERYONE
    assert "measure" not in dict(basis.consents)


def test_a_ramp_gives_the_others_the_default_and_says_so(shop):
    rule = flag(shop, guide=EVERYONE)
    rewrite(shop, home=replace(rule, experiment=replace(rule.experiment, ramp=2_000)))
    client = shop.open()
    found = given(client)
    assert 40 < found["B", ""] < 80
    assert found["none", "not_yet"] == 300 - found["B", ""] - found["none", "holdout"]


def test_experiments_of_a_group_never_show_one_visitor_both(shop):
    rule = flag(shop, guide=EVERYONE)

    def part(name: str, low: int, high: int):
        experiment = replace(rule.experiment, id=name, holdout=0, group="spring", slice=(low, high))
        return replace(rule, experiment=experiment)

    rewrite(shop, home=part("home_1", 0, 5_000), basket=part("basket_1", 5_000, EVERYONE))
    client = shop.open()
    for i in range(40):
        visitor = agreeing(client, f"visitor-{i}")
        causes = {visitor.decide(name, "fallback").cause for name in ("home", "basket")}
        assert causes == {"", "elsewhere"}


def test_a_daily_draw_changes_at_midnight(shop):
    rule = flag(shop, plain=5_000, guide=5_000)
    rewrite(shop, home=replace(rule, experiment=replace(rule.experiment, holdout=0, daily=True)))
    client = shop.open()
    visitors = [agreeing(client, f"visitor-{i}") for i in range(40)]
    today = [visitor.decide("home", "fallback").value for visitor in visitors]
    assert [visitor.decide("home", "fallback").value for visitor in visitors] == today
    shop.clock.now += DAY
    tomorrow = [visitor.decide("home", "fallback").value for visitor in visitors]
    assert 8 < sum(one != other for one, other in zip(today, tomorrow, strict=True)) < 32


# Offers


def promoting(shop: Shop, **shares: int):
    arms = {
        "none": Arm(value="none"),
        "ten_off": Arm(value="ten_off", offer=offer()),
        "five_off": Arm(value="five_off", offer=offer(500, 5_000, valid_days=2)),
    }
    rule = replace(always(promotion(shop), **shares), kind="promotion", arms=arms, default_arm="none")
    return replace(rule, experiment=replace(rule.experiment, holdout=0))


def test_an_offer_that_was_shown_is_kept_for_its_validity_whatever_the_next_bundle_says(shop):
    rewrite(shop, promotion=promoting(shop, ten_off=EVERYONE))
    client = shop.open()
    visitor, late = agreeing(client), agreeing(client, "late")
    assert visitor.decide("promotion", "fallback").value == "ten_off"
    client.flush()
    rewrite(shop, promotion=promoting(shop, five_off=EVERYONE))
    shop.publish()
    assert client.refresh().accepted
    kept = visitor.decide("promotion", "fallback")
    assert (kept.value, kept.reason, kept.cause) == ("ten_off", "TARGETING_MATCH", "kept")
    assert late.decide("promotion", "fallback").value == "five_off"
    until = visitor.export().data["purposes"]["personalize"]["offers"]["promotion"]
    assert until == {"arm": "ten_off", "until": shop.clock() + 7 * DAY}
    shop.clock.now += 7 * DAY
    assert visitor.decide("promotion", "fallback").value == "five_off"
    client.flush()
    assert visitor.export().data["purposes"]["personalize"]["offers"]["promotion"]["arm"] == "five_off"


def test_an_offer_is_kept_before_it_has_reached_the_store_and_in_every_process(shop):
    rule = promoting(shop, ten_off=EVERYONE)
    rewrite(shop, promotion=replace(rule, cap=Cap(decisions=1, days=30)))
    client = shop.open()
    visitor = agreeing(client)
    assert [visitor.decide("promotion", "fallback").cause for _ in range(3)] == ["", "kept", "kept"]
    client._engine._open.clear()
    assert visitor.decide("promotion", "fallback").cause == "kept"
    client.flush()
    assert shop.open().visitor("customer-42").decide("promotion", "fallback").cause == "kept"


def test_showing_a_kept_offer_again_makes_it_last_no_longer(shop):
    rewrite(shop, promotion=promoting(shop, five_off=EVERYONE))
    client = shop.open()
    visitor = agreeing(client)
    causes = []
    for _ in range(4):
        causes.append(visitor.decide("promotion", "fallback").cause)
        client.flush()
        shop.clock.now += DAY
    assert causes == ["", "kept", "", "kept"]


def test_an_offer_goes_with_the_consent_that_it_was_shown_under(shop):
    rewrite(shop, promotion=promoting(shop, ten_off=EVERYONE))
    client = shop.open()
    visitor = agreeing(client)
    assert visitor.decide("promotion", "fallback").value == "ten_off"
    client.flush()
    visitor.consent({})
    assert visitor.decide("promotion", "fallback").cause == "consent_missing"
    visitor.consent(client.example_choices)
    assert visitor.decide("promotion", "fallback").cause == ""


def test_an_offer_is_kept_for_the_purpose_it_was_shown_for_and_for_no_other(shop):
    rewrite(shop, promotion=promoting(shop, ten_off=EVERYONE))
    client = shop.open()
    visitor = agreeing(client)
    assert visitor.decide("promotion", "fallback").value == "ten_off"
    client.flush()
    rewrite(shop, promotion=replace(promoting(shop, five_off=EVERYONE), purpose="history"))
    text = shop.policy.read_text("utf-8")
    named = 'name = "promotion"\npurpose = "personalize"'
    assert named in text
    shop.policy.write_text(text.replace(named, 'name = "promotion"\npurpose = "history"'), "utf-8")
    shop.publish()
    assert client.refresh().accepted
    answer = visitor.decide("promotion", "fallback")
    assert (answer.value, answer.cause) == ("five_off", "")


def test_a_kept_offer_names_only_the_purpose_it_is_kept_for(shop):
    rule = promoting(shop, ten_off=EVERYONE)
    rewrite(shop, promotion=replace(rule, targeting=("<", ("var", "bought_orders_90d"), 5.0)))
    client = shop.open()
    visitor = agreeing(client)
    first, again = (visitor.decide("promotion", "fallback") for _ in range(2))
    assert again.cause == "kept"
    assert {purpose for purpose, _ in again.receipt.basis.consents} == {"personalize"}
    assert "history" in {purpose for purpose, _ in first.receipt.basis.consents}


# Caps


@pytest.mark.parametrize("flushed", [False, True])
def test_decisions_that_share_a_cap_are_counted_together(shop, flushed):
    rule = replace(flag(shop, guide=EVERYONE), experiment=None, cap=Cap(decisions=3, days=2, shared="attention"))
    rewrite(shop, home=rule, basket=rule, footer=replace(rule, cap=Cap(decisions=9, days=2)))
    client = shop.open()
    visitor = agreeing(client)
    causes = []
    for name in ("home", "basket", "footer", "home", "basket", "home", "footer"):
        causes.append(visitor.decide(name, "fallback").cause)
        if flushed:
            client.flush()
            client._engine._open.clear()
    assert causes == ["", "", "", "", "capped", "capped", ""]
    client.flush()
    assert visitor.export().data["purposes"]["personalize"]["times_shown"] == {"attention": 3, "footer": 2}


# By hand, and without a choice


def test_an_answer_set_by_hand_is_shown_and_neither_kept_nor_counted(shop):
    rule = replace(flag(shop, plain=EVERYONE), cap=Cap(decisions=1, days=1))
    rewrite(shop, home=replace(rule, experiment=None))
    client = shop.open()
    visitor = agreeing(client)
    checking = visitor.force("home", "guide")
    for _ in range(3):
        answer = checking.decide("home", "fallback")
        assert (answer.value, answer.reason, answer.cause, answer.receipt) == ("B", "STATIC", "forced", None)
        assert answer.payload == {"order": ["guide"]}
    assert client.visitor("stranger").force("home", "guide").decide("home", "fallback").value == "B"
    for name, arm in (("home", "gone"), ("gone", "guide")):
        assert visitor.force(name, arm).decide(name, "fallback").cause == "unknown_decision"
    client.flush()
    assert visitor.export().data["purposes"]["personalize"]["receipts"] == []
    assert visitor.decide("home", "fallback").value == "A", "who was forced is another object"


# Decisions of one bundle


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({}, "is the experiment of home too"),
        ({"id": "another", "group": "spring", "slice": (4_999, EVERYONE)}, "overlaps that of home"),
    ],
)
def test_two_decisions_never_count_in_each_others_place(shop, change, what):
    rule = flag(shop, guide=EVERYONE)
    first = replace(rule.experiment, group="spring", slice=(0, 5_000))
    second = replace(first, **change)
    rewrite(shop, home=replace(rule, experiment=first), other=replace(rule, experiment=second))
    with pytest.raises(Malformed, match=what):
        shop.open()


def test_a_cap_is_not_shared_under_the_name_of_a_decision(shop):
    rule = replace(flag(shop, guide=EVERYONE), experiment=None)
    rewrite(shop, home=replace(rule, cap=Cap(decisions=1, days=1, shared="other")), other=rule)
    with pytest.raises(Malformed, match="is the name of a decision"):
        shop.open()


def test_a_decision_whose_report_could_not_be_read_is_not_taken_on(shop):
    arms = {f"a{i}": Arm(value=i) for i in range(256)}
    shares = {f"a{i}": 39 for i in range(255)} | {"a255": EVERYONE - 255 * 39}
    tranches = tuple(f"t{i}" for i in range(5))
    patterns = tuple(replace(one, cuts=(-2.0, -1.0, 0.0, 1.0)) for one in promotion(shop).patterns)
    scored = replace(promotion(shop), tranches=tranches, patterns=patterns, arms=arms, default_arm="a0", cap=None)
    rewrite(shop, promotion=replace(scored, choice=dict.fromkeys(tranches, shares)))
    with pytest.raises(Forbidden, match=r"reported in 1,.* cells, more than 1,024"):
        shop.open()
