"""Offers: tested until little is left to lose, then run, and never outside the guards."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from entrenous_evaluation.learning.effects import Effects
from entrenous_evaluation.learning.promotions import (
    Bill,
    Couple,
    Guards,
    Trial,
    allowed,
    expected_loss,
    kinship_of,
    plan,
    within_budget,
)

GUARDS = Guards(least_margin=0.1, gross_margin=0.4)
SMALL, LARGE = Couple(threshold=10_000, amount=500), Couple(threshold=10_000, amount=1_500)
ARMS, COUPLES = ("none", "small", "large"), {"small": SMALL, "large": LARGE}


def trial(*gains: float, deviation: float = 0.1, visitors: float = 1_000.0, cost: float = 10.0) -> Trial:
    """A tranche whose arms bring so much more than no offer, each known this well, on a level of 100."""
    return Trial(
        effects=Effects(np.array([0.0, *gains]), deviation**2 / 2 * np.eye(len(gains) + 1)),
        level=100.0,
        bill=Bill(visitors=visitors, costs={"none": 0.0, "small": cost, "large": 3 * cost}),
    )


def planned(trials, guards=GUARDS, floor=0, couples=COUPLES):
    return plan(ARMS, trials, couples, guards, floor)


def test_an_offer_leaves_the_least_margin_of_its_smallest_order_or_is_withheld():
    """40 % of 100 less 15 is 25 of the 85 that are paid; less 34, 6 of 66."""
    assert LARGE.margin(0.4) == pytest.approx(25 / 85)
    greedy = {"kept": LARGE, "lost": Couple(threshold=10_000, amount=3_400), "free": Couple(threshold=100, amount=100)}
    assert allowed(greedy, GUARDS) == ("kept",)


def test_the_loss_that_is_expected_is_that_of_a_normal_lead():
    effects = Effects(np.array([0.0, -1.0]), np.diag([0.5, 0.5]))
    chance = np.random.default_rng(20261128)
    drawn = np.maximum(chance.normal(-1.0, 1.0, 400_000), 0).mean()
    assert expected_loss(effects, 0, (0, 1)) == pytest.approx(drawn, abs=4 * 0.3 / sqrt(400_000))


def test_a_test_goes_on_evenly_while_much_may_be_lost():
    found = planned({"warm": trial(1.0, 2.0, deviation=5.0)})
    assert found.phases == {"warm": "test"}
    assert found.choice["warm"] == {"none": 3_334, "small": 3_333, "large": 3_333}


def test_once_little_may_be_lost_the_best_couple_runs_with_its_interval():
    found = planned({"warm": trial(1.0, 2.0)})
    assert found.phases == {"warm": "run"}
    assert found.choice["warm"] == {"large": 10_000}
    assert found.gains["warm"].value == 2.0
    assert found.gains["warm"].variance == pytest.approx(0.01)


def test_no_offer_runs_where_none_pays():
    assert planned({"hot": trial(-1.0, -2.0)}).choice["hot"] == {"none": 10_000}


def test_a_floor_keeps_every_arm_on_show():
    assert planned({"warm": trial(1.0, 2.0)}, floor=100).choice["warm"] == {
        "none": 100,
        "small": 100,
        "large": 9_800,
    }


def test_what_is_withheld_is_not_even_tested():
    couples = {"small": SMALL, "large": Couple(threshold=10_000, amount=3_400)}
    for deviation in (0.1, 50.0):
        found = planned({"warm": trial(1.0, 9.0, deviation=deviation)}, couples=couples)
        assert found.withheld == ("large",)
        assert "large" not in found.choice["warm"]


def test_generosity_falls_with_the_likelihood_where_the_data_is_not_sure():
    """Hot would take the larger offer by a hair; that hair is not enough, and warm has more to lose."""
    found = planned({"warm": trial(3.0, 2.0), "hot": trial(2.0, 2.05)})
    assert found.best == {"warm": "small", "hot": "small"}
    assert found.released == ()


def test_generosity_rises_where_the_data_says_so():
    found = planned({"warm": trial(3.0, 1.0), "hot": trial(1.0, 3.0)})
    assert found.best == {"warm": "small", "hot": "large"}
    assert found.released == ("hot",)


def test_of_three_tranches_the_whole_ladder_earns_most():
    """One by one, cold would get nothing and bind the others to nothing; together it yields to them."""
    trials = {"cold": trial(-0.05, -0.06), "warm": trial(0.02, 0.06), "hot": trial(0.05, 0.04)}
    found = planned(trials)
    assert found.best == {"cold": "large", "warm": "large", "hot": "small"}


def test_over_budget_the_offers_that_return_least_give_way_first():
    trials = {"cold": trial(1.0, 2.0), "warm": trial(3.0, 5.0)}
    rich, poor = (
        planned(trials, guards=Guards(least_margin=0.1, gross_margin=0.4, budget=b)) for b in (60_000, 40_000)
    )
    assert rich.choice == {"cold": {"large": 10_000}, "warm": {"large": 10_000}}
    assert poor.cheaper == ("cold",)
    assert poor.choice["warm"] == {"large": 10_000}
    assert poor.choice["cold"]["large"] == pytest.approx(3_333, abs=1)
    assert sum(trials[one].bill.total(shares) for one, shares in poor.choice.items()) <= 40_000


def test_without_a_budget_nothing_gives_way():
    bill = {"t": Bill(visitors=1e9, costs={"none": 0.0, "large": 1e9})}
    assert within_budget({"t": {"large": 10_000}}, bill, {"t": 0.0}, "none", None) == ({"t": {"large": 10_000}}, ())
    assert within_budget({"t": {"large": 10_000}}, bill, {"t": 0.0}, "none", 0.0)[0] == {"t": {"none": 10_000}}


def test_offers_are_the_more_alike_the_nearer_they_are():
    kinship = kinship_of(("none", "small", "large", "far"), COUPLES | {"far": Couple(threshold=100_000, amount=500)})
    assert (np.diag(kinship) == 1).all()
    assert not kinship[0, 1:].any()
    assert kinship[1, 2] > kinship[1, 3] >= 0.5
    assert np.linalg.eigvalsh(kinship).min() > 0
