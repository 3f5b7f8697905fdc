"""Statistics from noised sums: what each formula gives, and where there is no number to give."""

from __future__ import annotations

from dataclasses import fields, replace
from math import expm1, inf, log, nan, sqrt

import numpy as np
import pytest
from scipy.stats import chi2, norm

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import METRICS
from entrenous_evaluation.statistics import (
    CAUSES,
    Comparison,
    Estimate,
    Interval,
    Money,
    Noise,
    SampleRatio,
    Sums,
    Unknown,
    compare,
    mean,
    money,
    order_value,
    sample_ratio,
)

Z = norm.ppf(0.975)
NOISE = Noise(visitors=50, converters=50, orders=450, orders2=4e4, revenue=2e9, revenue2=8e18, revenue_orders=3e11)
HOLDOUT = Sums(
    visitors=10_000,
    converters=300,
    orders=400,
    orders2=700,
    revenue=1_200_000,
    revenue2=7_000_000_000,
    revenue_orders=2_100_000,
)
TREATED = Sums(
    visitors=90_000,
    converters=2_990,
    orders=4_000,
    orders2=7_200,
    revenue=12_500_000,
    revenue2=75_000_000_000,
    revenue_orders=22_000_000,
)


def test_sums_are_those_that_a_report_counts():
    assert tuple(field.name for field in fields(Noise)) == METRICS
    assert tuple(field.name for field in fields(Sums)) == (*METRICS, "noise")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [True, nan, inf, -inf, "7", 1e41, 10**400, np.int64(7), b"7"])
def test_a_sum_that_is_no_number_is_refused(metric, value):
    with pytest.raises(Malformed, match=rf"sums\.{metric}"):
        Sums(**{"visitors": 1.0, metric: value})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [True, None, nan, inf, -1e-9, "7", 1e81])
def test_a_variance_that_is_none_is_refused(metric, value):
    with pytest.raises(Malformed, match=rf"noise\.{metric}"):
        Noise(**{metric: value})


def test_visitors_are_always_counted():
    with pytest.raises(Malformed, match=r"sums\.visitors"):
        Sums(visitors=None)


def test_merging_adds_sums_and_variances():
    both = replace(HOLDOUT, noise=NOISE) + replace(TREATED, noise=NOISE)
    assert both.orders == 4_400
    assert both.noise.orders == 900


def test_what_one_cell_does_not_count_the_whole_does_not():
    both = replace(HOLDOUT, orders=None) + TREATED
    assert both.orders is None
    assert both.converters == 3_290


def test_a_conversion_needs_no_square():
    share, n = 0.03, 10_000
    estimate = mean(Sums(visitors=n, converters=300), "converters")
    assert estimate == Estimate(share, pytest.approx(share * (1 - share) / (n - 1), rel=1e-12))


def test_a_mean_carries_the_noise_of_its_sum_and_of_the_visitors():
    estimate = mean(replace(HOLDOUT, noise=NOISE), "orders")
    spread = (700 / 1e4 - (400**2 - 450) / 1e8) * 1e4 / 9_999
    assert estimate.value == 0.04
    assert estimate.variance == pytest.approx(spread / 1e4 + (450 + 0.04**2 * 50) / 1e8, rel=1e-12)


def test_a_square_lost_in_noise_leaves_the_spread_of_equal_buyers():
    """300 of 10,000 ordered: whatever they ordered, the spread is at least that of 300 equal orders."""
    sums = replace(HOLDOUT, orders2=-5_000.0)
    assert mean(sums, "orders").variance == pytest.approx(0.04**2 * (1 / 0.03 - 1) / 1e4, rel=1e-12)


def test_without_converters_the_orders_lower_that_spread():
    sums = replace(HOLDOUT, orders2=-5_000.0, converters=None)
    assert mean(sums, "orders").variance == pytest.approx(0.04**2 * (1 / 0.04 - 1) / 1e4, rel=1e-12)


def test_more_converters_than_visitors_still_vary():
    assert mean(Sums(visitors=1_000, converters=1_010), "converters").variance > 0


def test_an_order_value_carries_the_noise_of_both_sums():
    sums = replace(HOLDOUT, noise=replace(NOISE, orders=400))
    n, ratio, b = 1e4, 3_000.0, 0.04
    square = (7e9 - 2 * ratio * 2.1e6 + ratio**2 * 700) / n
    noise = 2e9 + ratio**2 * 400
    spread = (square + noise / n**2) * n / (n - 1)
    assert order_value(sums) == Estimate(ratio, pytest.approx(spread / (n * b**2) + noise / (n * b) ** 2, rel=1e-12))


def test_an_order_values_spread_lost_in_noise_leaves_the_noise():
    sums = replace(HOLDOUT, revenue_orders=2.3e6, noise=Noise(revenue=2e9))
    assert order_value(sums).variance == pytest.approx(2e9 / 400**2, rel=1e-12)


def test_orders_of_one_price_have_no_spread():
    same = replace(HOLDOUT, revenue=400 * 4_990.0, revenue2=700 * 4_990.0**2, revenue_orders=700 * 4_990.0)
    estimate = order_value(same)
    assert estimate.value == 4_990
    assert estimate.interval().cause == "no_spread"
    assert compare(estimate, order_value(HOLDOUT)).cause == "no_spread"


def test_an_interval_is_the_normal_one():
    assert Estimate(5.0, 4.0).interval() == Interval(5.0, pytest.approx(5 - 2 * Z), pytest.approx(5 + 2 * Z))
    assert Estimate(5.0, 4.0).interval(0.5).high == pytest.approx(5 + 2 * norm.ppf(0.75))


@pytest.mark.parametrize("confidence", [0, 1, -0.1, 95, nan, True, "0.95", None])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(Malformed, match="confidence"):
        Estimate(5.0, 4.0).interval(confidence)
    with pytest.raises(Malformed, match="confidence"):
        compare(Estimate(5.0, 4.0), Unknown("too_few", ""), confidence=confidence)
    with pytest.raises(Malformed, match="confidence"):
        money(TREATED, HOLDOUT, confidence=confidence)


def test_another_metric_has_no_mean():
    with pytest.raises(Malformed, match="metric"):
        mean(HOLDOUT, "orders2")


@pytest.mark.parametrize(
    ("sums", "metric", "cause", "says"),
    [
        (Sums(visitors=5_000), "converters", "not_counted", "converters"),
        (Sums(visitors=5_000, converters=90, orders=100), "orders", "not_counted", "orders2"),
        (replace(HOLDOUT, revenue2=None), "revenue", "not_counted", "revenue2"),
        (Sums(visitors=5_000, revenue=9e6, revenue2=9e10), "revenue", "not_counted", "converters"),
        (Sums(visitors=99, converters=60), "converters", "too_few", "99 visitors"),
        (Sums(visitors=-4, converters=60), "converters", "too_few", "visitors"),
        (Sums(visitors=5_000, converters=29), "converters", "too_few", "29 visitors ordered"),
        (replace(HOLDOUT, converters=29), "orders", "too_few", "29 visitors ordered"),
        (replace(HOLDOUT, converters=199), "revenue", "too_few", "200 are needed"),
        (Sums(visitors=100, converters=60, noise=Noise(visitors=401)), "converters", "lost_in_noise", "20%"),
    ],
)
def test_a_mean_of_too_little_is_unknown(sums, metric, cause, says):
    answer = mean(sums, metric)
    assert answer.cause == cause
    assert says in answer.message


@pytest.mark.parametrize(
    ("sums", "cause"),
    [
        (replace(HOLDOUT, converters=199), "too_few"),
        (replace(HOLDOUT, converters=None, orders=199.0), "too_few"),
        (replace(HOLDOUT, revenue_orders=None), "not_counted"),
        (replace(HOLDOUT, orders2=None), "not_counted"),
        (replace(HOLDOUT, noise=Noise(orders=3_601)), "lost_in_noise"),
        (replace(HOLDOUT, orders=149.0), "lost_in_noise"),
        (replace(HOLDOUT, orders=-20.0), "lost_in_noise"),
    ],
)
def test_an_order_value_of_too_little_is_unknown(sums, cause):
    assert order_value(sums).cause == cause


def test_a_lift_is_the_ratio_with_its_interval_on_the_logarithm():
    found = compare(Estimate(0.036, 1e-6), Estimate(0.03, 4e-6))
    error = sqrt(1e-6 / 0.036**2 + 4e-6 / 0.03**2)
    ends = [expm1(log(1.2) + sign * Z * error) for sign in (-1, 1)]
    assert found.lift == Interval(pytest.approx(0.2), *map(pytest.approx, ends))
    half = Z * sqrt(5e-6)
    assert found.difference == Interval(pytest.approx(0.006), pytest.approx(0.006 - half), pytest.approx(0.006 + half))
    assert found.p_value == pytest.approx(2 * norm.sf(log(1.2) / error))


def test_a_comparison_names_the_arm_that_is_short():
    known, short = Estimate(0.03, 1e-6), Unknown("too_few", "about 12 visitors")
    assert compare(short, known) == Unknown("too_few", "treated: about 12 visitors")
    assert compare(known, short) == Unknown("too_few", "control: about 12 visitors")


@pytest.mark.parametrize(
    ("treated", "control", "cause"),
    [
        (Estimate(0.03, 1.1e-4), Estimate(0.03, 1e-6), "lost_in_noise"),
        (Estimate(0.03, 1e-6), Estimate(0.03, 1.1e-4), "lost_in_noise"),
        (Estimate(-0.03, 1e-6), Estimate(-0.03, 1e-6), "not_positive"),
        (Estimate(0.03, 1e-8), Estimate(0.005, 8e-5), "not_positive"),
        (Estimate(0.03, 1e-8), Estimate(-0.001, 8e-5), "not_positive"),
        (Estimate(0.0, 1e-6), Estimate(0.0, 1e-6), "lost_in_noise"),
        (Estimate(0.03, 0.0), Estimate(0.03, 1e-6), "no_spread"),
        (Estimate(0.03, 1e-6), Estimate(0.0, 0.0), "no_spread"),
    ],
)
def test_a_lift_of_too_little_is_unknown(treated, control, cause):
    assert compare(treated, control).cause == cause


def test_a_holdout_does_not_pass_for_its_own_noise():
    """Its mean came out at five errors above 0, but the arms together say that it is nearer to two."""
    assert compare(Estimate(0.03, 1e-8), Estimate(0.075, 0.015**2)).cause == "lost_in_noise"


def test_a_sample_ratio_without_noise_is_pearsons():
    arms = [Sums(visitors=n) for n in (6_100, 2_950, 950)]
    found = sample_ratio(arms, (0.6, 0.3, 0.1))
    pearson = 100**2 / 6_000 + 50**2 / 3_000 + 50**2 / 1_000
    assert found == SampleRatio(
        statistic=pytest.approx(pearson),
        degrees=2,
        p_value=pytest.approx(chi2.sf(pearson, 2)),
        shares=pytest.approx((0.61, 0.295, 0.095)),
    )


def test_noise_excuses_a_mismatch_of_its_own_size():
    shares = (0.9, 0.1)
    exact = sample_ratio([Sums(visitors=8_900), Sums(visitors=1_100)], shares)
    noisy = [Sums(visitors=n, noise=Noise(visitors=2_500)) for n in (8_900, 1_100)]
    assert exact.p_value < 0.001 < 0.05 < sample_ratio(noisy, shares).p_value
    variance = 10_000 * 0.09 + 2_500 * (0.9**2 + 0.1**2)
    assert sample_ratio(noisy, shares).statistic == pytest.approx(100**2 / variance)


def test_the_order_of_the_arms_does_not_matter():
    arms = [Sums(visitors=n, noise=Noise(visitors=v)) for n, v in ((6_100, 90), (2_950, 250), (950, 10))]
    shares = (0.6, 0.3, 0.1)
    found = {
        round(sample_ratio([arms[i] for i in o], [shares[i] for i in o]).statistic, 9)
        for o in ((0, 1, 2), (2, 0, 1), (1, 2, 0))
    }
    assert len(found) == 1


def test_noise_that_float64_can_not_hold_beside_the_draw_leaves_no_answer():
    one, other = Sums(visitors=9e39), Sums(visitors=0, noise=Noise(visitors=8e77))

    found = sample_ratio([one, other, one], (0.5, 0.25, 0.25))

    assert isinstance(found, Unknown)
    assert found.cause == "lost_in_noise"


@pytest.mark.parametrize(
    "shares", [(1.0,), (0.5, 0.5, 0.0), (0.5, 0.4), (0.5, 0.6), (0.5, nan), (True, 0.5), (0.2, 0.3, 0.5), (1.5, -0.5)]
)
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(Malformed, match="shares"):
        sample_ratio([Sums(visitors=500), Sums(visitors=500)], shares)


@pytest.mark.parametrize(
    ("arms", "cause"),
    [
        ((Sums(visitors=900), Sums(visitors=90)), "too_few"),
        ((Sums(visitors=-900), Sums(visitors=-90)), "too_few"),
        ((Sums(visitors=900), Sums(visitors=400, noise=Noise(visitors=680))), "lost_in_noise"),
    ],
)
def test_a_sample_ratio_of_too_little_is_unknown(arms, cause):
    assert sample_ratio(arms, (0.95, 0.05) if cause == "too_few" else (0.9, 0.1)).cause == cause


def test_money_is_scaled_to_the_treated_visitors():
    found = money(TREATED, HOLDOUT, cost_per_visitor=2, cost_per_order=50, gross_margin=0.4)
    assert found.revenue.value == pytest.approx(12_500_000 - 90_000 * 120)
    assert found.cost == pytest.approx(2 * 90_000 + 50 * 4_000)
    assert found.net.value == pytest.approx(0.4 * 1_700_000 - 380_000)
    assert found.roi.value == pytest.approx(300_000 / 380_000)


def test_incremental_revenue_has_the_interval_of_the_difference_of_means():
    treated, holdout = replace(TREATED, noise=NOISE), replace(HOLDOUT, noise=NOISE)
    t, c = mean(treated, "revenue"), mean(holdout, "revenue")
    # At the holdout's mean, not the arm's: the visitors' noise scales the holdout, and moves no revenue of the arm.
    variance = 90_000**2 * (t.variance + c.variance) + (c.value**2 - t.value**2) * 50
    found = money(treated, holdout).revenue
    assert found.high - found.value == pytest.approx(Z * sqrt(variance), rel=1e-12)


def test_net_carries_the_noise_of_orders_and_visitors():
    kwargs = {"cost_per_visitor": 2, "cost_per_order": 50, "gross_margin": 0.4}
    exact, base = money(TREATED, HOLDOUT, **kwargs).net, (0.4 * 120 + 2) ** 2
    for noise, extra in ((Noise(orders=450), 50**2 * 450 * (1 + 1 / 89_999)), (Noise(visitors=50), base * 50)):
        noisy = money(replace(TREATED, noise=noise), HOLDOUT, **kwargs).net
        grown = ((noisy.high - noisy.value) / Z) ** 2 - ((exact.high - exact.value) / Z) ** 2
        assert grown == pytest.approx(extra, rel=1e-6)


def test_a_return_on_a_fixed_cost_is_the_net_over_it():
    found = money(TREATED, HOLDOUT, cost_per_visitor=2)
    shrunk = [end / found.cost for end in (found.revenue.value, found.revenue.low, found.revenue.high)]
    assert found.roi == Interval(*(pytest.approx(end - 1) for end in shrunk))


def test_nothing_spent_has_no_return():
    found = money(TREATED, HOLDOUT)
    assert found.cost == 0
    assert found.roi.cause == "no_cost"
    assert found.net == found.revenue


def test_a_cost_lost_in_noise_has_no_return():
    noisy = replace(TREATED, noise=Noise(orders=810**2))
    assert money(noisy, HOLDOUT, cost_per_order=50).roi.cause == "lost_in_noise"
    assert money(replace(TREATED, orders=0.0), HOLDOUT, cost_per_order=50).roi.cause == "lost_in_noise"


@pytest.mark.parametrize(
    ("treated", "holdout", "cost", "cause", "arm"),
    [
        (replace(TREATED, converters=150), HOLDOUT, 0.0, "too_few", "treated"),
        (TREATED, replace(HOLDOUT, converters=150), 0.0, "too_few", "holdout"),
        (TREATED, replace(HOLDOUT, revenue=None), 0.0, "not_counted", "holdout"),
        (replace(TREATED, orders2=None), HOLDOUT, 50.0, "not_counted", "treated"),
    ],
)
def test_money_of_too_little_is_unknown(treated, holdout, cost, cause, arm):
    answer = money(treated, holdout, cost_per_order=cost)
    assert answer.cause == cause
    assert answer.message.startswith(arm)


def test_money_without_a_cost_of_orders_needs_no_orders():
    bare = {"orders": None, "orders2": None, "revenue_orders": None}
    assert isinstance(money(replace(TREATED, **bare), replace(HOLDOUT, **bare), cost_per_visitor=2), Money)


@pytest.mark.parametrize("name", ["cost_per_visitor", "cost_per_order", "gross_margin"])
@pytest.mark.parametrize("value", [-1, nan, inf, True, "2", None, 1e-9, 1e13])
def test_costs_and_margins_that_are_none_are_refused(name, value):
    with pytest.raises(Malformed, match=name):
        money(TREATED, HOLDOUT, **{name: value})


def test_every_unknown_names_a_known_cause():
    assert len(set(CAUSES)) == len(CAUSES)
    answers = (mean(Sums(visitors=1), "converters"), order_value(Sums(visitors=1)), money(HOLDOUT, HOLDOUT).roi)
    assert {answer.cause for answer in answers} <= set(CAUSES)


def test_a_comparison_reads_as_one():
    found = compare(mean(TREATED, "converters"), mean(HOLDOUT, "converters"))
    assert isinstance(found, Comparison)
    assert found.lift.value == pytest.approx(2_990 / 90_000 / 0.03 - 1)
