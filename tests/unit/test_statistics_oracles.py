"""Without noise, the statistics are those of statsmodels and tea-tasting, from their own passes over the visitors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from entrenous_evaluation.statistics import Sums, compare, mean, money, order_value, sample_ratio

weightstats = pytest.importorskip("statsmodels.stats.weightstats", reason="statsmodels, of the extra dev, is an oracle")
proportion = pytest.importorskip("statsmodels.stats.proportion", reason="statsmodels, of the extra dev, is an oracle")
tea = pytest.importorskip("tea_tasting", reason="tea-tasting, of the extra dev, is an oracle")

ARMS = {"holdout": (6_000, 0.06), "treated": (9_000, 0.066)}
OURS = {"converters": "converted", "orders": "orders", "revenue": "revenue"}


@pytest.fixture(scope="module")
def visitors() -> dict[str, dict[str, np.ndarray]]:
    """By arm, of each visitor: converted, orders, revenue in minor units."""
    chance = np.random.default_rng(20_261)
    found = {}
    for arm, (n, share) in ARMS.items():
        converted = chance.random(n) < share
        orders = converted * (1 + chance.poisson(0.3, n))
        revenue = np.floor(orders * np.exp(chance.normal(7, 0.8, n)))
        found[arm] = {"converted": converted.astype(float), "orders": orders.astype(float), "revenue": revenue}
    return found


@pytest.fixture(scope="module")
def sums(visitors) -> dict[str, Sums]:
    return {
        arm: Sums(
            visitors=len(rows["orders"]),
            converters=float(rows["converted"].sum()),
            orders=float(rows["orders"].sum()),
            orders2=float((rows["orders"] ** 2).sum()),
            revenue=float(rows["revenue"].sum()),
            revenue2=float((rows["revenue"] ** 2).sum()),
            revenue_orders=float((rows["revenue"] * rows["orders"]).sum()),
        )
        for arm, rows in visitors.items()
    }


@pytest.fixture(scope="module")
def table(visitors) -> Iterator[pa.Table]:
    columns = {
        name: np.concatenate([rows[name] for rows in visitors.values()]) for name in ("converted", "orders", "revenue")
    }
    arms = np.repeat(list(visitors), [len(rows["orders"]) for rows in visitors.values()])
    return pa.table(columns | {"variant": arms})


def _tea(table, metric):
    return tea.Experiment(metric=metric).analyze(table, control="holdout")["metric"]


@pytest.mark.parametrize("metric", OURS)
def test_a_mean_has_the_interval_of_statsmodels(visitors, sums, metric):
    for arm, rows in visitors.items():
        low, high = weightstats.DescrStatsW(rows[OURS[metric]]).zconfint_mean(alpha=0.1)
        found = mean(sums[arm], metric).interval(0.9)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


@pytest.mark.parametrize("metric", OURS)
def test_a_difference_has_the_interval_of_statsmodels(visitors, sums, metric):
    both = [weightstats.DescrStatsW(visitors[arm][OURS[metric]]) for arm in ("treated", "holdout")]
    low, high = weightstats.CompareMeans(*both).zconfint_diff(usevar="unequal")
    found = compare(mean(sums["treated"], metric), mean(sums["holdout"], metric)).difference
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_a_lift_of_conversion_is_the_log_ratio_of_statsmodels(sums):
    """It divides by n where ours divides by n − 1: one part in 12,000 of the standard error."""
    treated, holdout = sums["treated"], sums["holdout"]
    counts = (treated.converters, treated.visitors, holdout.converters, holdout.visitors)
    low, high = proportion.confint_proportions_2indep(*counts, compare="ratio", method="log")
    test = proportion.test_proportions_2indep(*counts, compare="ratio", method="log")
    found = compare(mean(treated, "converters"), mean(holdout, "converters"))
    assert (1 + found.lift.low, 1 + found.lift.high) == pytest.approx((low, high), rel=1e-4)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-3)


@pytest.mark.parametrize("metric", OURS)
def test_a_comparison_of_means_is_that_of_tea_tasting(table, sums, metric):
    theirs = _tea(table, tea.Mean(OURS[metric], use_t=False, equal_var=False))
    _same(theirs, compare(mean(sums["treated"], metric), mean(sums["holdout"], metric)))


def test_a_comparison_of_order_values_is_that_of_tea_tasting(table, sums):
    theirs = _tea(table, tea.RatioOfMeans("revenue", "orders", use_t=False, equal_var=False))
    ours = order_value(sums["treated"]), order_value(sums["holdout"])
    assert [one.value for one in ours] == pytest.approx([theirs.treatment, theirs.control], rel=1e-12)
    _same(theirs, compare(*ours))


def _same(theirs, ours):
    lift, difference = ours.lift, ours.difference
    assert (lift.value, lift.low, lift.high) == pytest.approx(
        (theirs.rel_effect_size, theirs.rel_effect_size_ci_lower, theirs.rel_effect_size_ci_upper), rel=1e-9
    )
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (theirs.effect_size, theirs.effect_size_ci_lower, theirs.effect_size_ci_upper), rel=1e-9
    )


def test_a_sample_ratio_is_that_of_tea_tasting(table, sums):
    theirs = _tea(table, tea.SampleRatio(1.45, method="norm", correction=False))
    ours = sample_ratio([sums["treated"], sums["holdout"]], (1.45 / 2.45, 1 / 2.45))
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)


def test_a_net_is_the_difference_of_what_each_visitor_leaves(visitors, sums):
    """Per visitor, statsmodels sees margin less cost in the arm against margin in the holdout."""
    treated, holdout = visitors["treated"], visitors["holdout"]
    left = 0.4 * treated["revenue"] - 7 - 90 * treated["orders"]
    both = weightstats.DescrStatsW(left), weightstats.DescrStatsW(0.4 * holdout["revenue"])
    low, high = (9_000 * end for end in weightstats.CompareMeans(*both).zconfint_diff(usevar="unequal"))
    ours = money(sums["treated"], sums["holdout"], cost_per_visitor=7, cost_per_order=90, gross_margin=0.4).net
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-9)


def test_a_return_is_a_ratio_of_means(visitors, sums):
    """tea-tasting's ratio of what the arm gained to what it cost, and the error of the holdout's mean on top."""
    treated, exact = visitors["treated"], float(visitors["holdout"]["revenue"].mean())
    rows = {"gain": treated["revenue"] - exact, "cost": 7 + 90 * treated["orders"], "variant": ["a"] * 9_000}
    aggregates = tea.aggr.read_aggregates(
        pa.table(rows),
        "variant",
        has_count=True,
        mean_cols=("gain", "cost"),
        var_cols=("gain", "cost"),
        cov_cols=(("gain", "cost"),),
    )["a"]
    sampling = aggregates.ratio_var("gain", "cost") / 9_000
    holdout = mean(sums["holdout"], "revenue")
    variance = sampling + holdout.variance / rows["cost"].mean() ** 2
    roi = money(sums["treated"], sums["holdout"], cost_per_visitor=7, cost_per_order=90).roi
    assert roi.value == pytest.approx(rows["gain"].mean() / rows["cost"].mean() - 1)
    assert ((roi.high - roi.value) / 1.959963984540054) ** 2 == pytest.approx(variance, rel=1e-9)
