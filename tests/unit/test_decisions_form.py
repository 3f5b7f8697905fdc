"""What a manifest may say of a decision, kind by kind, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.decisions import EVERYONE, always, offer, promotion, rule_of
from tests.shop import Clock, Shop

from entrenous.decisions.form import Arm, DecisionRule, Experiment, Parts, parse_decision
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

ARMS = {"none": Arm(value="none"), "plain": Arm(value="A"), "guide": Arm(value="B", payload='{"order": ["guide"]}')}
PARTS = Parts(
    purposes=frozenset({"personalize", "history"}),
    models=frozenset({"promotion"}),
    tables=frozenset(),
    variables={},
)


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> DecisionRule:
    return promotion(Shop(tmp_path_factory.mktemp("shop"), Clock()))


@pytest.fixture
def flag(scored) -> DecisionRule:
    return rule_of(ARMS, {"plain": 4_000, "guide": 6_000}, "none", scored)


def parsed(rule: DecisionRule, **changes) -> DecisionRule:
    table = {key: value for key, value in (rule.as_table() | changes).items() if value is not None}
    return parse_decision(Table(table, "decisions.home"), PARTS)


def promoted(scored: DecisionRule, **offers) -> DecisionRule:
    arms = {name: Arm(value=name, offer=one) for name, one in offers.items()}
    best = next(name for name, one in offers.items() if one)
    return replace(always(scored, **{best: EVERYONE}), kind="promotion", arms={"none": Arm(value="none")} | arms)


def test_every_kind_comes_back_as_written(scored, flag):
    uplift = replace(
        always(scored, none=EVERYONE),
        kind="uplift",
        costs=(0.5, 0.25),
        patterns=uncut(scored),
        tranches=("none", "a", "b"),
    )
    uplift = replace(uplift, choice={tranche: {"none": EVERYONE} for tranche in uplift.tranches})
    situation = replace(
        uplift,
        kind="situation",
        costs=(),
        choice={tranche: {"none": 9_000, "ten_off": 1_000} for tranche in uplift.tranches},
        posteriors={"a": {"none": (0.1, 0.02), "ten_off": (0.2, 0.1)}},
        experiment=replace(scored.experiment, daily=True, ramp=500, group="spring", slice=(0, 5000)),
    )
    offered = promoted(
        scored, ten_off=offer(), five_off=offer(500, 5_000, personalised=False, notice={}, lowest_price=True)
    )
    for rule in (scored, flag, uplift, situation, offered):
        assert parsed(rule) == rule


def uncut(rule: DecisionRule):
    return tuple(replace(pattern, cuts=()) for pattern in rule.patterns)


def test_the_best_arm_of_a_tranche_is_the_likeliest_and_of_equals_the_first(flag):
    assert flag.best("everyone") == "guide"
    assert replace(flag, choice={"everyone": {"guide": 5_000, "plain": 5_000}}).best("everyone") == "guide"


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"choice": {"everyone": {"plain": 4_000, "guide": 5_999}}}, "choice.everyone"),
        ({"choice": {"everyone": {"plain": EVERYONE}}}, "choice.everyone"),
        ({"choice": {"everyone": {"plain": 0, "guide": EVERYONE}}}, "choice.everyone.plain"),
        ({"choice": {"everyone": {"plain": 4_000, "gone": 6_000}}}, "choice.everyone"),
        ({"choice": {"everyone": "gone"}}, "choice.everyone"),
        ({"choice": {"everyone": "plain", "other": "plain"}}, "choice.other"),
        ({"experiment": None}, "choice.everyone"),
        ({"tranches": ["low", "high"]}, "tranches"),
        ({"tranches": []}, "tranches"),
        ({"model": "promotion"}, "model"),
        ({"costs": [0.5]}, "costs"),
        ({"kind": "lottery"}, "kind"),
        ({"arms": {}}, "arms"),
        ({"arms": {"holdout": {"payload": ""}, "none": {"payload": ""}}}, "arms"),
        ({"posteriors": {"everyone": {"plain": [0.1, 0.0]}}}, "posteriors.everyone.plain"),
        ({"posteriors": {"gone": {"plain": [0.1, 0.1]}}}, "posteriors.gone.plain"),
        ({"posteriors": {"everyone": {"plain": [0.1]}}}, "posteriors.everyone.plain"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(flag, changes, place):
    with pytest.raises(Malformed) as refused:
        parsed(flag, **changes)
    assert refused.value.place == f"decisions.home.{place}"


@pytest.mark.parametrize("slice_", [[0], [5000, 5000], [0, 10_001], [-1, 5]])
def test_a_slice_is_two_rising_buckets(flag, slice_):
    experiment = {"id": "a", "purpose": "measure", "holdout": 0, "group": "spring", "slice": slice_}
    with pytest.raises(Malformed, match="slice"):
        parsed(flag, experiment=experiment)


def test_a_slice_without_a_group_is_refused(flag):
    with pytest.raises(Malformed, match="slice"):
        parsed(flag, experiment={"id": "a", "purpose": "measure", "holdout": 0, "slice": [0, 1]})


@pytest.mark.parametrize(
    ("costs", "what"), [([0.5], "not 2 numbers"), ([0.5, 0.1], "not float32"), ([0.5, "a"], "finite number")]
)
def test_costs_of_uplift_are_float32_one_an_action(scored, costs, what):
    rule = replace(
        always(scored, none=EVERYONE),
        kind="uplift",
        patterns=uncut(scored),
        tranches=("none", "a", "b"),
        costs=(0.5, 0.25),
    )
    rule = replace(rule, choice={tranche: {"none": EVERYONE} for tranche in rule.tranches})
    with pytest.raises(Malformed, match=what):
        parsed(rule, costs=costs)


def test_margins_are_as_many_as_the_kind_needs(scored):
    assert [
        replace(scored, kind=kind).width for kind in ("propensity", "promotion", "uplift", "situation", "rule")
    ] == [
        1,
        1,
        2,
        3,
        0,
    ]


def test_only_a_promotion_makes_offers(flag):
    arms = {name: {"payload": ""} for name in ("none", "plain", "guide")}
    arms["plain"]["offer"] = offer().as_table()
    with pytest.raises(Malformed, match="declare it as a promotion"):
        parsed(flag, arms=arms)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"amount": 10_000}, "an order would be free"),
        ({"currency": "eur"}, "ISO 4217"),
        ({"currency": "EURO"}, "longer than 3"),
        ({"valid_days": 0}, "valid_days"),
        ({"valid_days": 91}, "valid_days"),
        ({"notice": {"en": "chosen for you"}}, "notice.fr"),
        ({"notice": {}}, "notice"),
        ({"personalised": False, "notice": {}}, "lowest_price"),
        ({"price": 900}, "price"),
    ],
)
def test_an_offer_says_what_the_law_asks(scored, changes, what):
    table = {key: value for key, value in (offer().as_table() | changes).items() if key != "notice" or value}
    arms = {"none": {"payload": ""}, "ten_off": {"payload": "", "offer": table}}
    with pytest.raises(Malformed, match=what):
        parsed(promoted(scored, ten_off=offer()), arms=arms)


def test_the_default_of_a_promotion_makes_no_offer_and_others_do_in_one_currency(scored):
    good = promoted(scored, ten_off=offer())
    with pytest.raises(Malformed, match="default_arm"):
        parsed(good, default_arm="ten_off")
    with pytest.raises(Malformed, match="several currencies"):
        parsed(promoted(scored, ten_off=offer(), dix=offer(currency="CHF")))
    with pytest.raises(Malformed, match="make no offer"):
        parsed(replace(good, arms={"none": Arm(value="none"), "ten_off": Arm(value="ten_off")}))


def test_who_takes_part_never_overlaps_the_holdout():
    experiment = Experiment(id="a", purpose="measure", holdout=1000)
    assert experiment.taken == 9000
    assert replace(experiment, ramp=500).taken == 500
