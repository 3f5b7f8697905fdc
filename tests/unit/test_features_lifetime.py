"""What a buyer is still worth: the published example, the models integrated by brute force, and the edges of the box.

The expected number of purchases is held to three others: its own series in sixty digits, the paper's formula on SciPy's
2F1, and the two models integrated by Gauss's rules over rate and probability to leave.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from decimal import Decimal, localcontext
from math import inf, isclose, isfinite, isnan, nan

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import hyp2f1, roots_genlaguerre, roots_jacobi

from entrenous.features.lifetime import (
    Lifetime,
    alive,
    churn,
    expected_purchases,
    expected_value,
    lifetime_value,
    parse_lifetime,
)
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

CDNOW = Lifetime(r=0.243, alpha=4.414, a=0.793, b=2.426, p=6.25, q=3.744, gamma=15.44, unit="week")
"""The parameters as the papers print them."""
MONTH = 365.25 / 12 / 7
HISTORY = (2.0, 30.43, 38.86)
"""The customer of the papers' worksheets: repeat purchases, week of the last, age."""

wide = st.floats(-2, 2.7).map(lambda power: 10.0**power)
far = st.floats(-3, 2.3).map(lambda power: 10.0**power)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def only(shape: float, leave: float, stay: float) -> Lifetime:
    """Return models whose time is counted in alphas."""
    return replace(CDNOW, r=shape, alpha=1.0, a=leave, b=stay)


def test_the_customer_of_the_papers_worksheet_will_buy_1226_times_in_39_weeks():
    assert round(expected_purchases(CDNOW, *HISTORY, 39.0), 3) == 1.226


@pytest.mark.parametrize("history", [(0.0, 0.0, 38.86), (1.0, 1.71, 38.86), HISTORY, (7.0, 29.43, 38.86)])
@pytest.mark.parametrize("horizon", [1.0, 39.0, 200.0])
def test_both_models_integrated_by_brute_force_give_the_same(history, horizon):
    x, last, age = history
    nodes, weights = roots_genlaguerre(80, CDNOW.r + x - 1.0)

    def integrated(exposed: float, number) -> float:
        """Return the mean over rates and probabilities of `number`, likelihoods of `exposed` weeks included."""
        rates, scale = nodes / (CDNOW.alpha + exposed), (CDNOW.alpha + exposed) ** -(CDNOW.r + x)
        odds, shares = roots_jacobi(80, CDNOW.b + x - 1.0, CDNOW.a - 1.0)
        leaves = (1.0 + odds) / 2.0
        return float(weights @ number(rates[:, None], leaves[None, :]) @ shares) * scale

    stayed = integrated(age, lambda rate, leave: np.ones_like(rate * leave))
    left = integrated(last, lambda rate, leave: leave / (1.0 - leave) + 0.0 * rate) if x else 0.0
    bought = integrated(age, lambda rate, leave: -np.expm1(-rate * leave * horizon) / leave)
    assert alive(CDNOW, *history) == pytest.approx(stayed / (stayed + left), rel=1e-6)
    assert expected_purchases(CDNOW, *history, horizon) == pytest.approx(bought / (stayed + left), rel=1e-6)


def in_sixty_digits(shape: float, leave: float, stay: float, ahead: float) -> float:
    with localcontext() as context:
        context.prec = 60
        a, b, c, u = map(Decimal, (shape, stay, leave, ahead))
        z = u / (1 + u)
        weight = total = staying = Decimal(1)
        made = found = Decimal(0)
        k = 0
        while True:
            weight *= z * (a + k) / (k + 1)
            made += staying
            staying *= (b + k) / (b + c + k)
            total, found, k = total + weight, found + weight * made, k + 1
            growth = max(z * (a + k + 1) / (k + 1), z)
            if growth < 1 and weight * made < Decimal("1e-25") * found * (1 - growth):
                return float(found / total)


@given(shape=wide, leave=wide, stay=wide, ahead=far)
@example(shape=2.243, leave=1.0, stay=4.4, ahead=0.9)
@example(shape=0.2, leave=0.01, stay=0.01, ahead=40.0)
@example(shape=40.0, leave=500.0, stay=500.0, ahead=30.0)
@example(shape=100.0, leave=0.01, stay=500.0, ahead=20.0)
@example(shape=2.0, leave=0.8, stay=4.0, ahead=1_000.0)
@example(shape=6.0, leave=3.0, stay=0.2, ahead=300.0)
@settings(max_examples=40, deadline=None)
def test_expected_purchases_are_exact_to_1e_12(shape, leave, stay, ahead):
    ahead = min(ahead, 2_000.0 / shape)
    found = expected_purchases(only(shape, leave, stay), 0.0, 0.0, 0.0, ahead)
    assert found == pytest.approx(in_sixty_digits(shape, leave, stay, ahead), rel=1e-12)


@given(shape=st.floats(0.05, 30.0), leave=st.floats(0.05, 20.0), stay=st.floats(1.0, 30.0), ahead=st.floats(1e-3, 9.0))
@settings(max_examples=200, deadline=None)
def test_expected_purchases_are_those_of_the_papers_formula(shape, leave, stay, ahead):
    # What the formula subtracts cancels near leave = 1: it is held to its own terms' size.
    z = ahead / (1.0 + ahead)
    factor = (leave + stay - 1.0) / (leave - 1.0) if leave != 1.0 else inf
    grown = (1.0 - z) ** shape * hyp2f1(shape, stay, leave + stay - 1.0, z)
    found = expected_purchases(only(shape, leave, stay), 0.0, 0.0, 0.0, ahead)
    if isfinite(factor):
        assert abs(found - factor * (1.0 - grown)) <= 1e-12 * (abs(factor) * (1.0 + grown) + found)


def test_nobody_leaves_before_a_repeat_purchase():
    assert alive(CDNOW, 0.0, 0.0, 500.0) == 1.0
    assert churn(CDNOW, 0.0, 0.0, 500.0) == 0.0


def test_who_stays_away_for_long_is_less_likely_to_be_active_and_sooner_so_if_they_bought_often():
    chances = [alive(CDNOW, 2.0, 30.0, age) for age in (30.0, 40.0, 80.0, 400.0)]
    assert chances == sorted(chances, reverse=True)
    assert alive(CDNOW, 20.0, 30.0, 60.0) < alive(CDNOW, 2.0, 30.0, 60.0)


def test_churn_is_the_rest():
    assert alive(CDNOW, *HISTORY) + churn(CDNOW, *HISTORY) == 1.0


def test_a_million_purchases_overflow_nothing():
    assert alive(CDNOW, 1e6, 10.0, 1e4) == 0.0
    assert alive(CDNOW, 1e6, 1e4, 1e4) == pytest.approx(1.0, abs=1e-6)
    assert 0.0 < expected_purchases(CDNOW, 1e6, 1e4, 1e4, 52.0) < 1e6 * 52.0 / 1e4


def test_nothing_is_bought_in_no_time():
    assert expected_purchases(CDNOW, *HISTORY, 0.0) == 0.0
    assert lifetime_value(CDNOW, *HISTORY, 22.35, 0.0, 0.01) == 0.0


@given(ahead=st.floats(0.0, 1e4), more=st.floats(1e-6, 1e4))
def test_a_longer_time_brings_no_fewer_purchases(ahead, more):
    sooner, later = (expected_purchases(CDNOW, *HISTORY, horizon) for horizon in (ahead, ahead + more))
    assert sooner <= later * (1 + 1e-12)


def test_a_value_lies_between_the_buyers_own_mean_and_everybodys():
    everybody = 6.25 * 15.44 / 2.744
    assert expected_value(CDNOW, 0.0, 99.0) == everybody
    assert expected_value(CDNOW, 0.0, nan) == everybody
    few, many = (expected_value(CDNOW, n, 100.0) for n in (1.0, 50.0))
    assert everybody < few < many < 100.0
    # (gamma + n · mean) · p / (p · n + q - 1), as the paper writes it
    assert few == pytest.approx((15.44 + 100.0) * 6.25 / (6.25 + 2.744), rel=1e-14)


def test_a_lifetime_without_discount_is_purchases_times_value():
    worth = lifetime_value(CDNOW, *HISTORY, 22.35, 52.0, 0.0)
    assert worth == expected_purchases(CDNOW, *HISTORY, 52.0) * expected_value(CDNOW, 3.0, 22.35)


def test_what_is_bought_in_a_month_counts_as_of_its_end():
    value, discount = expected_value(CDNOW, 3.0, 22.35), 0.02
    one, two = (expected_purchases(CDNOW, *HISTORY, months * MONTH) for months in (1.0, 1.5))
    worth = value * (one / 1.02 + (two - one) / 1.02**1.5)
    assert lifetime_value(CDNOW, *HISTORY, 22.35, 1.5 * MONTH, discount) == pytest.approx(worth, rel=1e-13)


def test_after_a_hundred_years_the_rest_counts_as_one():
    century = lifetime_value(CDNOW, *HISTORY, 22.35, 1_200 * MONTH, 0.01)
    assert century <= lifetime_value(CDNOW, *HISTORY, 22.35, 1e9, 0.01) < century * 1.001


def test_weeks_and_days_say_the_same():
    days = replace(CDNOW, alpha=CDNOW.alpha * 7.0, unit="day")
    x, last, age = HISTORY
    for discount in (0.0, 0.01):
        weekly = lifetime_value(CDNOW, *HISTORY, 22.35, 52.0, discount)
        daily = lifetime_value(days, x, 7.0 * last, 7.0 * age, 22.35, 364.0, discount)
        assert isclose(weekly, daily, rel_tol=1e-12)


IMPOSSIBLE = [
    (nan, 1.0, 2.0),
    (1.0, nan, 2.0),
    (1.0, 1.0, nan),
    (-1.0, 1.0, 2.0),
    (0.5, 1.0, 2.0),
    (1.0, -1.0, 2.0),
    (1.0, 3.0, 2.0),
    (inf, 1.0, 2.0),
    (1.0, 1.0, inf),
]


@pytest.mark.parametrize("history", IMPOSSIBLE)
def test_a_history_that_cannot_be_answers_nan(history):
    assert isnan(alive(CDNOW, *history))
    assert isnan(churn(CDNOW, *history))
    assert isnan(expected_purchases(CDNOW, *history, 52.0))
    assert isnan(lifetime_value(CDNOW, *history, 22.35, 52.0, 0.01))


@pytest.mark.parametrize("wrong", [nan, -1.0, inf])
def test_a_horizon_a_discount_and_a_mean_that_cannot_be_answer_nan(wrong):
    assert isnan(expected_purchases(CDNOW, *HISTORY, wrong))
    assert isnan(lifetime_value(CDNOW, *HISTORY, 22.35, wrong, 0.01))
    assert isnan(lifetime_value(CDNOW, *HISTORY, 22.35, 52.0, wrong))
    assert isnan(lifetime_value(CDNOW, *HISTORY, wrong, 52.0, 0.01))
    assert isnan(expected_value(CDNOW, 1.0, wrong))
    assert isnan(expected_value(CDNOW, wrong, 22.35))


power = st.floats(-6.0, 6.0).map(lambda power: 10.0**power)
lifetimes = st.builds(
    Lifetime,
    r=power,
    alpha=st.floats(-6.0, 12.0).map(lambda power: 10.0**power),
    a=power,
    b=power,
    p=power,
    q=power.map(lambda above: 1.0 + above),
    gamma=st.floats(-6.0, 12.0).map(lambda power: 10.0**power),
    unit=st.sampled_from(["day", "week"]),
)


@given(lifetimes, numbers, numbers, numbers, numbers, numbers, numbers)
@settings(deadline=None)
def test_no_finite_input_raises(model, x, last, age, mean, horizon, discount):
    for answer in (alive(model, x, last, age), churn(model, x, last, age)):
        assert isnan(answer) or 0.0 <= answer <= 1.0
    for answer in (expected_purchases(model, x, last, age, horizon), expected_value(model, x, mean)):
        assert isnan(answer) or answer >= 0.0
    worth = lifetime_value(model, x, last, age, mean, min(horizon, 400.0), discount)
    assert isnan(worth) or worth >= 0.0


@given(
    lifetimes,
    st.integers(0, 10**9).map(float),
    st.floats(0.0, 1.0),
    st.floats(-3.0, 12.0),
    st.floats(-6.0, 12.0),
)
@settings(deadline=None)
def test_every_possible_history_has_an_answer_no_one_above_who_cannot_leave(model, x, part, age, horizon):
    age, horizon = 10.0**age, 10.0**horizon
    chance = alive(model, x, part * age, age)
    found = expected_purchases(model, x, part * age, age, horizon)
    assert 0.0 <= chance <= 1.0
    assert 0.0 <= found <= chance * (model.r + x) * horizon / (model.alpha + age) * (1.0 + 1e-9)


def test_models_survive_their_table():
    assert parse_lifetime(Table(CDNOW.as_table(), "features[0].lifetime")) == CDNOW


BAD = [
    ("r = 0.0", "r", "is outside"),
    ("alpha = -1", "alpha", "is outside"),
    ("a = nan", "a", "is outside"),
    ("b = inf", "b", "is outside"),
    ("p = true", "p", "expected a number"),
    ("q = 1.0", "q", "is not above 1"),
    ('gamma = "15"', "gamma", "expected a number"),
    ('unit = "month"', "unit", "is not a known value"),
    ("s = 1.0", "s", "is not a known key"),
]


@pytest.mark.parametrize(("line", "key", "what"), BAD)
def test_a_wrong_number_is_refused_with_its_place(line, key, what):
    table = CDNOW.as_table() | tomllib.loads(line)
    with pytest.raises(Malformed, match=what) as refusal:
        parse_lifetime(Table(table, "features[3].lifetime"))
    assert refusal.value.place == f"features[3].lifetime.{key}"


@pytest.mark.parametrize("key", CDNOW.as_table())
def test_no_number_may_be_left_out(key):
    table = CDNOW.as_table()
    del table[key]
    with pytest.raises(Malformed, match="is missing"):
        parse_lifetime(Table(table))
