"""Uplift: learnt from a draw, shipped as exact trees; measured against what was truly added, where that is known."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, sqrt

import numpy as np
import pytest

from entrenous_consent.errors import Malformed
from entrenous_exporters import trees
from entrenous_exporters.built import score
from entrenous_exporters.spec import BOOSTED, Learner
from entrenous_exporters.uplift import (
    METHODS,
    Trial,
    auuc,
    best_constant,
    check_randomised,
    fit_uplift,
    qini,
    qini_curve,
    uplift_at,
    value_of,
)

N = 4_000
SMALL = Learner(
    kind="hist_gradient_boosting",
    trees=20,
    leaves=4,
    learning_rate=0.1,
    l2=1.0,
    min_rows_leaf=50,
    k=5,
    seed=0,
    calibration="none",
)


def added(x: np.ndarray) -> np.ndarray:
    """What each arm truly adds, [N, 2]: the first helps where x0 is high, the second where x1 is."""
    return np.stack([0.4 * (x[:, 0] > 0.5), 0.6 * (x[:, 1] > 0.5) - 0.3], axis=1)


@pytest.fixture(scope="module")
def trial() -> Trial:
    """A generated test of two arms and a control; the outcome is noisy and differs between visitors anyway."""
    draw = np.random.default_rng(8)
    x = draw.random((N, 3)).astype(np.float32)
    x[draw.random(N) < 0.05, 2] = np.nan
    arm = draw.choice(3, N, p=[0.5, 0.25, 0.25])
    gained = np.concatenate([np.zeros((N, 1)), added(x)], axis=1)[np.arange(N), arm]
    outcome = x[:, 0] + gained + draw.normal(0, 0.3, N)
    return Trial(x=x, outcome=outcome, arm=arm, visitors=np.arange(N), shares=(0.5, 0.25, 0.25))


@pytest.mark.parametrize("kind", BOOSTED)
@pytest.mark.parametrize("method", METHODS)
def test_each_method_finds_what_each_arm_adds_whatever_library_boosts(trial, method, kind):
    fitted = fit_uplift(trial, replace(SMALL, kind=kind), method=method)

    margins = score(trees.to_onnx(fitted.ensemble), trial.x, singly=False)

    apart = np.abs(margins - added(trial.x))
    assert apart.mean(axis=0).max() < 0.07
    assert np.corrcoef(margins[:, 0], added(trial.x)[:, 0])[0, 1] > 0.9
    assert fitted.least_support >= SMALL.k


@pytest.mark.parametrize("kind", BOOSTED)
@pytest.mark.parametrize("method", METHODS)
def test_what_ships_is_the_walk_to_the_bit(trial, method, kind):
    fitted = fit_uplift(trial, replace(SMALL, kind=kind), method=method)

    hostile = trees.adversarial_rows(fitted.ensemble, trial.x, 5_000, 3)

    assert trees.check(trees.to_onnx(fitted.ensemble), fitted.ensemble, hostile, alone=100).differing == 0


def test_columns_that_may_not_be_read_change_nothing(trial):
    fitted = fit_uplift(trial, SMALL, method="dr", positions=[0, 2])
    model = trees.to_onnx(fitted.ensemble)
    scrambled = trial.x.copy()
    scrambled[:, 1] = np.random.default_rng(1).random(N)

    np.testing.assert_array_equal(score(model, trial.x, singly=False), score(model, scrambled, singly=False))


def test_no_leaf_rests_on_fewer_visitors_of_its_arm_than_k(trial):
    """Rows of one visitor count once, and the control's rows hold up no leaf of the arm's."""
    few = replace(trial, visitors=np.arange(N) % 300)

    fitted = fit_uplift(few, replace(SMALL, k=40), method="t")

    assert fitted.least_support >= 40
    with pytest.raises(Malformed, match="rests on fewer than 301"):
        fit_uplift(few, replace(SMALL, k=301), method="t")


def test_a_sum_of_columns_is_its_terms_weighed():
    one = trees.Column(trees=(_stump(1.0),), base=0.5)
    two = trees.Column(trees=(_stump(4.0),), base=-1.0)
    x = np.array([[0.0], [1.0]], np.float32)

    both = trees.weighted([(2.0, one), (-0.5, two)])

    np.testing.assert_allclose(trees.margin_of(both, x), 2 * trees.margin_of(one, x) - trees.margin_of(two, x) / 2)
    with pytest.raises(Malformed, match="finite weights"):
        trees.weighted([(float("nan"), one)])
    with pytest.raises(Malformed, match="needs a column"):
        trees.weighted([])


def _stump(value: float) -> trees.Tree:
    return trees.parse_tree(
        feature=[0, 0, 0],
        threshold=[0.5, 0, 0],
        left=[1, 0, 0],
        right=[2, 0, 0],
        nan_left=[False] * 3,
        is_leaf=[False, True, True],
        value=[0, value, -value],
    )


@pytest.mark.parametrize(
    ("method", "positions", "what"),
    [("s", None, "not a method we know"), ("t", [], "has no feature")],
)
def test_what_can_not_be_learnt_is_refused(trial, method, positions, what):
    with pytest.raises(Malformed, match=what):
        fit_uplift(trial, SMALL, method=method, positions=positions)


def test_a_library_that_regresses_no_numbers_here_is_refused(trial):
    with pytest.raises(Malformed, match="regresses no numbers"):
        fit_uplift(trial, replace(SMALL, kind="random_forest"), method="t")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"outcome": np.zeros(N)}, "the same in every row"),
        ({"outcome": np.full(N, np.nan)}, "not finite"),
        ({"outcome": np.zeros(3)}, "unequal length"),
        ({"shares": (1.0,)}, "two or more positive shares"),
        ({"shares": (0.5, 0.5, 0.5)}, "add up to 1"),
        ({"shares": (0.5, 0.5)}, "names an arm that has no share"),
        ({"shares": (0.5, 0.2, 0.2, 0.1)}, "has 0 rows of arm 3"),
        ({"arm": np.where(np.arange(N) < 10, 1, np.arange(N) % 2 * 2)}, "has 10 rows of arm 1, fewer than 100"),
        ({"arm": np.full(N, -1)}, "names an arm that has no share"),
        ({"x": np.zeros((N, 3))}, "expected float32"),
    ],
)
def test_a_test_that_does_not_fit_is_refused_with_the_figure(trial, changes, what):
    with pytest.raises(Malformed, match=what):
        replace(trial, **changes)


# Was it a draw?


def test_a_draw_passes(trial):
    told = check_randomised(trial, seed=1)

    assert all(abs(auc - 0.5) < 4 * error for auc, error in zip(told.auc, told.error, strict=True))
    assert told.p_shares > 0.001


def test_arms_that_were_chosen_are_refused_with_what_tells_them(trial):
    draw = np.random.default_rng(2)
    chosen = np.where(draw.random(N) < 0.3, np.where(trial.x[:, 1] > 0.6, 2, 0), trial.arm)

    with pytest.raises(Malformed, match=r"AUC 0\.[67]") as caught:
        check_randomised(replace(trial, arm=chosen), seed=1, names=("pages", "basket", "age"))

    assert "most different: basket" in caught.value.remedy


def test_an_arm_that_is_told_by_what_is_absent_is_refused(trial):
    x = trial.x.copy()
    x[(trial.arm == 1) & (np.arange(N) % 2 == 0), 2] = np.nan

    with pytest.raises(Malformed, match="no random draw") as caught:
        check_randomised(replace(trial, x=x), seed=1, names=("pages", "basket", "age"))

    assert "most different: age" in caught.value.remedy


def test_shares_that_were_not_the_stated_ones_are_refused(trial):
    with pytest.raises(Malformed, match=r"of the rows, not 0\.400, 0\.300, 0\.300"):
        check_randomised(replace(trial, shares=(0.4, 0.3, 0.3)), seed=1)


def test_a_large_test_is_looked_at_by_a_sample(trial):
    many = Trial(
        x=np.tile(trial.x, (4, 1)),
        outcome=np.tile(trial.outcome, 4),
        arm=np.random.default_rng(5).choice(3, 4 * N, p=[0.2, 0.4, 0.4]),
        visitors=np.arange(4 * N),
        shares=(0.2, 0.4, 0.4),
    )

    assert max(check_randomised(many, seed=1).auc) < 0.52


# Measures


def test_a_curve_worked_out_by_hand():
    predicted = np.array([3.0, 3.0, 2.0, 1.0])
    outcome, treated = np.array([1.0, 0.0, 1.0, 1.0]), np.array([True, False, True, False])

    taken, brought = qini_curve(predicted, outcome, treated)

    assert taken.tolist() == [0, 2, 3, 4]
    # After three: two treated brought 2, one control 0. After four: as many controls brought 1.
    assert brought.tolist() == [0, 1, 2, 1]
    assert auuc(predicted, outcome, treated) == (1 + 1.5 + 1.5) / 4 / 2


def test_the_best_order_has_a_coefficient_of_one_a_random_one_of_none(trial):
    rows, treated = trial.against_control(2)
    bought = (trial.outcome[rows] > 0.8).astype(float)
    best = np.where(treated, bought, -bought)

    assert qini(best, bought, treated) == 1
    assert qini(np.zeros(len(bought)), bought, treated) == 0
    draw = np.random.default_rng(4)
    random = np.array([qini(draw.random(len(bought)), bought, treated) for _ in range(30)])
    assert abs(random.mean()) < 3 * random.std() / sqrt(30)
    assert qini(added(trial.x[rows])[:, 1], bought, treated) > 0.1
    assert qini(-added(trial.x[rows])[:, 1], bought, treated) < -0.1


def test_uplift_at_a_share_is_what_was_truly_added_there(trial):
    rows, treated = trial.against_control(2)
    truth = added(trial.x[rows])[:, 1]

    top, all_ = (uplift_at(truth, trial.outcome[rows], treated, share) for share in (0.4, 1.0))

    assert abs(top - 0.3) < 0.05
    assert abs(all_ - truth.mean()) < 0.05


@pytest.mark.parametrize(
    ("predicted", "treated", "share", "what"),
    [
        ([1.0, np.nan], [True, False], 1.0, "not finite"),
        ([1.0, 2.0], [True, True], 1.0, "one side alone"),
        ([1.0], [True, False], 1.0, "unequal length"),
        ([1.0, 2.0], [True, False], 0.0, "outside"),
        ([1.0, 2.0], [True, False], 0.5, "leaves one side alone"),
    ],
)
def test_what_can_not_be_measured_is_refused(predicted, treated, share, what):
    with pytest.raises(Malformed, match=what):
        uplift_at(np.array(predicted), np.array([1.0, 0.0]), np.array(treated), share)


# Policies


def test_the_value_of_a_policy_is_what_it_would_have_brought(trial):
    gain = np.concatenate([np.zeros((N, 1)), added(trial.x)], axis=1)
    wanted = gain.argmax(axis=1)
    chosen = np.eye(3)[wanted]
    truth = float((trial.x[:, 0] + gain[np.arange(N), wanted]).mean())
    expected = trial.x[:, [0]].astype(float) + gain
    propensity = np.array(trial.shares)[trial.arm]

    told = value_of(chosen, trial.arm, trial.outcome, propensity, expected=expected)

    for value in told.values():
        low, high = value.interval
        assert low < truth < high
        assert abs(value.value - truth) < 0.03
    assert told["dr"].error < told["snips"].error < told["ips"].error
    best = best_constant(trial.arm, trial.outcome, 3)
    assert best.arm == 1
    assert told["dr"].value > best.value.value


def test_the_estimates_are_their_formulas():
    chosen = np.array([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]])
    arm, outcome = np.array([0, 1, 0]), np.array([2.0, 4.0, 8.0])
    propensity, expected = np.array([0.5, 0.5, 0.25]), np.ones((3, 2))

    told = value_of(chosen, arm, outcome, propensity, expected=expected)

    # Weights 2, 1.5 and 0.
    assert told["ips"].value == (4 + 6) / 3
    assert told["snips"].value == 10 / 3.5
    assert told["snips"].error == pytest.approx(sqrt(4 * (2 - 10 / 3.5) ** 2 + 2.25 * (4 - 10 / 3.5) ** 2) / 3.5)
    assert told["dr"].value == pytest.approx(1 + (2 * 1 + 1.5 * 3) / 3)
    assert "dr" not in value_of(chosen, arm, outcome, propensity)


def test_a_policy_that_was_never_played_has_no_value():
    told = value_of(np.array([[0.0, 1.0]] * 3), np.zeros(3, int), np.arange(3.0), np.full(3, 0.5))

    assert isnan(told["snips"].value)
    assert told["ips"].value == 0


@pytest.mark.parametrize(
    ("chosen", "propensity", "what"),
    [
        ([[0.5, 0.4]], [0.5], "no probabilities"),
        ([[1.5, -0.5]], [0.5], "no probabilities"),
        ([[0.5, 0.5]], [0.0], "no probabilities"),
        ([[0.5, 0.5]], [0.5, 0.5], "unequal length"),
    ],
)
def test_a_policy_that_is_none_is_refused(chosen, propensity, what):
    with pytest.raises(Malformed, match=what):
        value_of(np.array(chosen), np.zeros(1, int), np.ones(1), np.array(propensity))
