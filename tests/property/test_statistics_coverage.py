"""Under the noise of a report, 95 % intervals cover 95 %, and an alarm of 1 in 20 rings 1 time in 20.

Each share is of 2,000 seeded shops, so it strays from its expectation by .005 (one standard deviation). It may stray by
.02: alpha 1e-4 a share. Where the noise is left out of the variance, the same shares are shown to be far from there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from entrenous.loop.noise import variance
from entrenous_consent.policy import METRICS
from entrenous_evaluation.statistics import (
    Comparison,
    Interval,
    Money,
    Noise,
    SampleRatio,
    Sums,
    compare,
    mean,
    money,
    order_value,
    sample_ratio,
)

SHOPS = 2_000
TOLERANCE = 0.02
CONVERSION, LIFT = 0.03, 0.1
MOST_ORDERS, MOST_REVENUE = 5, 100
BOUNDS = np.array([1, 1, MOST_ORDERS, MOST_ORDERS**2, MOST_REVENUE, MOST_REVENUE**2, MOST_REVENUE * MOST_ORDERS])
EVEN = np.ones(len(METRICS))
LITTLE_FOR_SQUARES = np.array([1, 1, 4, 0.2, 4, 0.2, 0.2])

Shops = list[Sums]


def _buyers(chance: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Orders and revenue (steps of the report's quantum) of visitors who ordered: skewed, then clipped."""
    orders = np.minimum(1 + chance.poisson(0.2, count), MOST_ORDERS)
    revenue = np.minimum(np.floor(orders**0.9 * np.exp(chance.normal(3, 0.7, count))), MOST_REVENUE)
    return orders.astype(float), revenue


def _laplace(chance: np.random.Generator, scale: float, shape: tuple[int, ...]) -> np.ndarray:
    """Discrete Laplace draws: the difference of two geometric ones."""
    p = 1 - np.exp(-1 / scale)
    return chance.geometric(p, shape) - chance.geometric(p, shape)


def _arm(chance: np.random.Generator, visitors: int, share: float, epsilon: float, cells: int, split: np.ndarray):
    """One arm of each shop, merged from cells that each drew their own noise."""
    converters = chance.binomial(visitors, share, SHOPS)
    orders, revenue = _buyers(chance, int(converters.sum()))
    starts = np.concatenate([[0], np.cumsum(converters)[:-1]])
    products = (orders, orders**2, revenue, revenue**2, revenue * orders)
    exact = [np.full(SHOPS, visitors), converters, *(np.add.reduceat(product, starts) for product in products)]
    scales = BOUNDS / (epsilon * split / split.sum())
    noisy = [
        sums + _laplace(chance, scale, (cells, SHOPS)).sum(axis=0) for sums, scale in zip(exact, scales, strict=True)
    ]
    noise = Noise(**{metric: cells * variance(scale) for metric, scale in zip(METRICS, scales, strict=True)})
    rows = np.stack(noisy, axis=1).astype(float).tolist()
    return [Sums(**dict(zip(METRICS, row, strict=True)), noise=noise) for row in rows]


def _shops(seed: int, holdout: int, treated: int, epsilon: float, cells: int, split: np.ndarray = EVEN):
    chance = np.random.default_rng(seed)
    return (
        _arm(chance, treated, CONVERSION * (1 + LIFT), epsilon, cells, split),
        _arm(chance, holdout, CONVERSION, epsilon, cells, split),
    )


@pytest.fixture(scope="module")
def buyer() -> tuple[float, float]:
    """What one who ordered makes in the mean: orders, revenue."""
    orders, revenue = _buyers(np.random.default_rng(1), 2_000_000)
    return float(orders.mean()), float(revenue.mean())


@pytest.fixture(scope="module")
def noisy() -> tuple[Shops, Shops]:
    """40,000 against 10,000 visitors, four cells each, epsilon 1 over seven sums."""
    return _shops(2, 10_000, 40_000, 1.0, 4)


def _without(shops: Shops) -> Shops:
    return [replace(sums, noise=Noise()) for sums in shops]


def _share(intervals: list[Interval], truth: float) -> float:
    assert len(intervals) > 0.97 * SHOPS, "so few answers that they choose among the shops"
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


def _coverage(shops: tuple[Shops, Shops], estimator, base: float, lift: float = LIFT) -> tuple[float, float]:
    """Of the lift and of the difference."""
    found = [compare(estimator(treated), estimator(holdout)) for treated, holdout in zip(*shops, strict=True)]
    known = [one for one in found if isinstance(one, Comparison)]
    return _share([one.lift for one in known], lift), _share([one.difference for one in known], lift * base)


def _mean_of(metric):
    return lambda sums: mean(sums, metric)


@pytest.mark.parametrize(("metric", "without"), [("converters", 0.88), ("revenue", 0.6)])
def test_intervals_of_means_cover_and_would_not_without_the_noise(noisy, buyer, metric, without):
    base = CONVERSION * {"converters": 1.0, "revenue": buyer[1]}[metric]
    assert _coverage(noisy, _mean_of(metric), base) == pytest.approx((0.95, 0.95), abs=TOLERANCE)
    bare = tuple(_without(shops) for shops in noisy)
    assert max(_coverage(bare, _mean_of(metric), base)) < without


def test_intervals_of_the_order_value_cover(buyer):
    shops = _shops(3, 20_000, 40_000, 4.0, 1)
    value = buyer[1] / buyer[0]
    assert _coverage(shops, order_value, value, lift=0.0) == pytest.approx((0.95, 0.95), abs=TOLERANCE)


@pytest.mark.parametrize("metric", ["orders", "revenue"])
def test_squares_drowned_in_noise_make_intervals_wider_rather_than_wrong(buyer, metric):
    shops = _shops(4, 10_000, 20_000, 4.0, 2, LITTLE_FOR_SQUARES)
    base = CONVERSION * buyer[("orders", "revenue").index(metric)]
    assert min(_coverage(shops, _mean_of(metric), base)) > 0.95 - TOLERANCE


def test_intervals_of_money_cover(noisy, buyer):
    per_visitor, per_order, margin = 0.002, 0.3, 0.4
    revenue = 40_000 * CONVERSION * LIFT * buyer[1]
    cost = 40_000 * (per_visitor + per_order * CONVERSION * (1 + LIFT) * buyer[0])
    found = [
        money(treated, holdout, cost_per_visitor=per_visitor, cost_per_order=per_order, gross_margin=margin)
        for treated, holdout in zip(*noisy, strict=True)
    ]
    found = [one for one in found if isinstance(one, Money)]
    shares = (
        _share([one.revenue for one in found], revenue),
        _share([one.net for one in found], margin * revenue - cost),
        _share([one.roi for one in found if isinstance(one.roi, Interval)], margin * revenue / cost - 1),
    )
    assert shares == pytest.approx((0.95, 0.95, 0.95), abs=TOLERANCE)


def _alarms(seed: int, visitors: int, shares: tuple[float, ...], given: tuple[float, ...], *, alpha: float, told=True):
    """The share of 2,000 shops whose arms, of `given` shares and noise of scale 7 in four cells, set off an alarm."""
    chance = np.random.default_rng(seed)
    counts = chance.multinomial(visitors, given, SHOPS) + _laplace(chance, 7.0, (4, SHOPS, len(shares))).sum(axis=0)
    noise = Noise(visitors=4 * variance(7.0) if told else 0.0)
    found = [sample_ratio([Sums(visitors=n, noise=noise) for n in row], shares) for row in counts.tolist()]
    assert all(isinstance(one, SampleRatio) for one in found)
    return float(np.mean([one.p_value < alpha for one in found]))


@pytest.mark.parametrize(("visitors", "shares"), [(5_000, (0.9, 0.1)), (8_000, (0.6, 0.3, 0.1))])
def test_a_sample_ratio_rings_as_often_as_it_says_and_would_not_without_the_noise(visitors, shares):
    assert _alarms(5, visitors, shares, shares, alpha=0.05) == pytest.approx(0.05, abs=TOLERANCE)
    assert _alarms(5, visitors, shares, shares, alpha=0.05, told=False) > 0.08


def test_a_sample_ratio_finds_a_real_mismatch():
    """A holdout of 10.5 % instead of 10 % among 100,000 visitors: five standard deviations."""
    assert _alarms(6, 100_000, (0.9, 0.1), (0.895, 0.105), alpha=0.001) > 0.9
