"""Proposals: what would change and why, in two languages; nothing changes by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from entrenous.loop.contributions import HOLDOUT
from entrenous_consent.errors import Malformed
from entrenous_evaluation.answer import parse_costs
from entrenous_evaluation.learning.metrics import Metric
from entrenous_evaluation.learning.promotions import Couple, Guards
from entrenous_evaluation.learning.proposal import Decision, Settings, propose
from entrenous_evaluation.statistics import Noise, Sums

NOISE = Noise(visitors=8, converters=8, orders=8, orders2=8, revenue=1e6, revenue2=1e12, revenue_orders=1e6)
COUPLES = {"small": Couple(threshold=10_000, amount=500), "large": Couple(threshold=10_000, amount=1_500)}
GUARDS = Guards(least_margin=0.1, gross_margin=0.4)
CONVERSION = Settings(metric=Metric(name="conversion", costs=parse_costs({})), guards=GUARDS)
MARGIN = Settings(
    metric=Metric(name="margin", costs=parse_costs({"gross_margin": 0.4})), guards=GUARDS, floor=0, currency="EUR"
)
LANDING = Decision(
    name="landing",
    tranches=("discovering", "deciding", "rare"),
    arms=("guide", "plain"),
    default_arm="plain",
    choice={tranche: {"plain": 5_000, "guide": 5_000} for tranche in ("discovering", "deciding", "rare")},
    posteriors={},
    parents={"rare": "discovering"},
    couples={},
)
PROMOTION = Decision(
    name="promotion",
    tranches=("warm",),
    arms=("none", "small", "large"),
    default_arm="none",
    choice={"warm": {"none": 10_000}},
    posteriors={},
    parents={},
    couples=COUPLES,
)


def sold(visitors: float, rate: float, basket: float = 12_000) -> Sums:
    orders = visitors * rate
    return Sums(
        visitors=visitors,
        converters=orders,
        orders=orders,
        orders2=orders,
        revenue=orders * basket,
        revenue2=orders * basket**2 * 1.2,
        revenue_orders=orders * basket,
        noise=NOISE,
    )


SEEN = {
    ("discovering", "plain"): sold(20_000, 0.03),
    ("discovering", "guide"): sold(20_000, 0.04),
    ("deciding", "plain"): sold(20_000, 0.08),
    ("deciding", "guide"): sold(20_000, 0.06),
}
OFFERED = {
    ("warm", "none"): sold(4_000_000, 0.05),
    ("warm", "small"): sold(4_000_000, 0.06),
    ("warm", "large"): sold(4_000_000, 0.061),
}


def test_each_situation_gets_the_arm_that_works_there_and_keeps_exploring():
    found = propose(LANDING, [SEEN], CONVERSION)
    assert found.choice["discovering"] == {"plain": 200, "guide": 9_800}
    assert found.choice["deciding"] == {"plain": 9_800, "guide": 200}
    assert found.decision == "landing"
    assert found.plan is None


def test_a_change_says_before_after_and_why_in_both_languages():
    change = propose(LANDING, [SEEN], CONVERSION).changes[0]
    assert (change.tranche, change.before) == ("discovering", {"plain": 5_000, "guide": 5_000})
    assert change.after == {"plain": 200, "guide": 9_800}
    assert change.why["en"].startswith("guide is the best with a probability of 100%; over plain it brings +0.9")
    assert change.why["en"].count("points of conversion") == 1
    assert change.why["fr"].startswith("guide est le meilleur avec une probabilité de 100\u202f% ; par rapport à plain")
    assert "il apporte +0,9" in change.why["fr"]


def test_what_was_not_measured_says_whom_it_follows():
    why = {one.tranche: one.why for one in propose(LANDING, [SEEN], CONVERSION).changes}
    assert "it follows discovering" in why["rare"]["en"]
    assert "on suit discovering" in why["rare"]["fr"]


def test_what_stays_as_it_is_is_no_change():
    settled = replace(LANDING, choice=propose(LANDING, [SEEN], CONVERSION).choice)
    assert propose(settled, [SEEN], CONVERSION).changes == ()


def test_the_holdout_is_of_the_default_arm():
    held = {key: one for key, one in SEEN.items() if key[1] != "plain"} | {
        (tranche, HOLDOUT): SEEN[tranche, "plain"] for tranche in ("discovering", "deciding")
    }
    assert propose(LANDING, [held], CONVERSION) == propose(LANDING, [SEEN], CONVERSION)
    both = propose(LANDING, [SEEN | held], CONVERSION).posteriors["discovering"]
    assert both["plain"][1] < propose(LANDING, [SEEN], CONVERSION).posteriors["discovering"]["plain"][1]


def test_posteriors_are_the_prior_of_the_next_round():
    first = propose(LANDING, [SEEN], CONVERSION)
    second = propose(replace(LANDING, posteriors=first.posteriors), [SEEN], CONVERSION)
    assert second.posteriors["discovering"]["guide"][1] < first.posteriors["discovering"]["guide"][1]


def test_cells_of_other_decisions_are_not_read():
    other = SEEN | {("elsewhere", "guide"): sold(10_000, 0.9), ("deciding", "gone"): sold(10_000, 0.9)}
    assert propose(LANDING, [other], CONVERSION) == propose(LANDING, [SEEN], CONVERSION)


def test_with_nothing_to_learn_from_nothing_changes_and_it_says_why():
    for rounds in ([], [{("deciding", "guide"): sold(100, 0.01)}]):
        found = propose(LANDING, rounds, CONVERSION)
        assert found.choice == LANDING.choice
        assert found.changes == ()
        assert found.notes[0]["en"] == "There is nothing to learn from yet: too few visitors ordered."
        assert found.notes[0]["fr"] == "Il n'y a encore rien à apprendre : trop peu de visiteurs ont commandé."


def test_an_offer_costs_its_amount_for_every_order_unless_the_books_say_less():
    """The larger offer sells a little more and costs three times as much; where few redeem it, it is the better one."""
    dear = propose(PROMOTION, [OFFERED], MARGIN)
    assert dear.plan.best == {"warm": "small"}
    costs = parse_costs({"gross_margin": 0.4, "arms": {"large": {"per_order": 300}}})
    redeemed = propose(PROMOTION, [OFFERED], replace(MARGIN, metric=Metric(name="margin", costs=costs)))
    assert redeemed.plan.best == {"warm": "large"}


def test_an_offer_says_what_it_earns_after_its_cost():
    change = propose(PROMOTION, [OFFERED], MARGIN).changes[0]
    assert change.after == {"small": 10_000}
    assert change.why["en"].startswith("5.00 EUR off from 100.00 EUR earns +0.1")
    assert "EUR of margin a visitor, after costs (+0.1" in change.why["en"]
    assert change.why["fr"].startswith("5,00 EUR de remise dès 100,00 EUR rapporte +0,1")


def test_a_test_and_no_offer_say_so():
    thin = {key: sold(4_000, one.converters / one.visitors) for key, one in OFFERED.items()}
    assert propose(PROMOTION, [thin], MARGIN).changes[0].why["en"].startswith("Still on trial")
    losing = OFFERED | {("warm", "small"): sold(4_000_000, 0.05), ("warm", "large"): sold(4_000_000, 0.05)}
    running = replace(PROMOTION, choice={"warm": {"small": 10_000}})
    assert propose(running, [losing], MARGIN).changes[0].why["en"] == "No offer earns more than none, after its cost."


def test_guards_are_told_in_both_languages():
    tight = replace(MARGIN, guards=replace(GUARDS, least_margin=0.3, budget=1_000.0))
    found = propose(PROMOTION, [OFFERED], tight)
    assert found.notes == (
        {
            "en": "15.00 EUR off from 100.00 EUR is withheld: it would leave less than the least margin.",
            "fr": "15,00 EUR de remise dès 100,00 EUR est écartée : elle laisserait moins que la marge minimale.",
        },
    )
    serving = replace(PROMOTION, choice={"warm": {"small": 10_000}})
    assert "budget pays for fewer" in propose(serving, [OFFERED], tight).changes[0].why["en"]


def test_what_serves_against_the_guards_is_taken_back_though_nothing_was_measured():
    serving = replace(PROMOTION, choice={"warm": {"small": 5_000, "large": 5_000}})
    tight = replace(MARGIN, guards=replace(GUARDS, least_margin=0.3))
    found = propose(serving, [], tight)
    assert found.choice == {"warm": {"none": 5_000, "small": 5_000}}
    assert "taken back" in found.changes[0].why["en"]


def test_offers_are_judged_by_their_margin_alone():
    with pytest.raises(Malformed, match="without their cost"):
        propose(PROMOTION, [OFFERED], replace(CONVERSION, floor=0))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"default_arm": "small"}, "lack the default"),
        ({"default_arm": "other"}, "lack the default"),
        ({"parents": {"warm": "warm"}}, "circle"),
        ({"parents": {"warm": "hot"}}, "no tranche"),
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(change, told):
    with pytest.raises(Malformed, match=told):
        replace(PROMOTION, **change)


def test_forgetting_everything_is_refused():
    with pytest.raises(Malformed, match="forgetting"):
        replace(CONVERSION, forgetting=0.0)
