"""Learning from sums: what tells arms apart is found under noise, borrowed where it is rare, and told as it is."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy.special import ndtr

from entrenous_consent.errors import Malformed
from entrenous_evaluation.answer import parse_costs
from entrenous_evaluation.learning.effects import evidence_of, infer, order
from entrenous_evaluation.learning.metrics import Measured, Metric, measure
from entrenous_evaluation.learning.posteriors import Memory, learn
from entrenous_evaluation.learning.shares import best_probabilities, shares_of
from entrenous_evaluation.statistics import Estimate, Noise, Sums, Unknown

CONVERSION = Metric(name="conversion", costs=parse_costs({}))
NOTHING = Memory(prior={}, forgetting=1.0)
ARMS = ("a", "b", "c")


def sums(visitors: float, rate: float, *, noise: float = 8.0) -> Sums:
    return Sums(visitors=visitors, converters=visitors * rate, noise=Noise(visitors=noise, converters=noise))


def cells(rates: dict[str, dict[str, float]], visitors: float = 10_000) -> dict[tuple[str, str], Sums]:
    return {(tranche, arm): sums(visitors, rate) for tranche, arms in rates.items() for arm, rate in arms.items()}


def learnt(*rounds, tranches=("t",), arms=ARMS, parents=None, memory=NOTHING, metric=CONVERSION):
    measured = measure(rounds, metric)
    assert isinstance(measured, Measured), measured
    return learn(measured, tranches, arms, parents or {}, memory)


# Metrics


def test_the_noise_of_a_cell_is_in_the_variance_of_its_mean():
    quiet = measure([{("t", "a"): sums(10_000, 0.1, noise=0.0)}], CONVERSION).rounds[0]["t", "a"]
    noisy = measure([{("t", "a"): sums(10_000, 0.1, noise=100.0)}], CONVERSION).rounds[0]["t", "a"]
    assert quiet.variance == pytest.approx(0.1 * 0.9 / 10_000, rel=1e-3)
    assert noisy.variance == pytest.approx(quiet.variance + (100 + 0.01 * 100) / 10_000**2, rel=1e-3)


def test_an_unlucky_cell_is_not_known_better_than_a_lucky_one():
    found = measure([cells({"t": {"a": 0.001, "b": 0.2}}, 500)], CONVERSION).rounds[0]
    assert found["t", "a"].variance == pytest.approx(found["t", "b"].variance, rel=0.01)


def test_a_cell_counts_by_its_visitors_never_by_what_it_sold():
    thin = {("t", "a"): sums(29, 0.5), ("t", "b"): sums(5_000, 0.1), ("t", "c"): sums(5_000, -0.001)}
    assert measure([thin], CONVERSION).rounds[0].keys() == {("t", "b"), ("t", "c")}


def test_a_margin_is_revenue_at_the_gross_margin_less_what_orders_and_visitors_cost():
    costs = parse_costs({"gross_margin": 0.4, "arms": {"b": {"per_order": 500, "per_visitor": 10}}})
    whole = Sums(visitors=1e4, converters=1e3, orders=1e3, orders2=1e3, revenue=5e6, revenue2=3e10, revenue_orders=5e6)
    found = measure([{("t", "a"): whole, ("t", "b"): whole}], Metric(name="margin", costs=costs)).rounds[0]
    assert found["t", "a"].value == pytest.approx(200)
    assert found["t", "b"].value == pytest.approx(200 - 50 - 10)


def test_a_report_that_lacks_a_sum_says_so():
    found = measure([cells({"t": {"a": 0.1}})], Metric(name="revenue_per_visitor", costs=parse_costs({})))
    assert isinstance(found, Unknown)
    assert found.cause == "not_counted"


def test_nothing_is_learnt_while_all_cells_together_are_thin():
    assert isinstance(measure([cells({"t": {"a": 0.1}}, 200)], CONVERSION), Unknown)
    assert isinstance(measure([], CONVERSION), Unknown)


def test_there_is_no_fourth_metric():
    with pytest.raises(Malformed, match="not a metric"):
        Metric(name="clicks", costs=parse_costs({}))


# Effects


def test_the_tree_agrees_with_the_same_model_solved_in_one_piece():
    """Two tranches below a third, one τ at a time: messages against one dense Gaussian, and its evidence."""
    chance = np.random.default_rng(20261128)
    names, parents = ("p", "q", "r"), {"q": "p", "r": "p"}
    means = {
        name: {i: Estimate(float(chance.normal(0, 0.1)), float(chance.uniform(1e-4, 1e-2))) for i in range(3)}
        for name in names
    }
    evidence = {name: evidence_of(means[name], 3) for name in names}
    found = infer(evidence, parents, unit=1.0, kinship=np.eye(3), tops={})
    from entrenous_evaluation.learning import effects

    weights, mixed, squares = [], [], []
    for tau in effects._GRID:
        # everyone, then p about everyone, then q and r about p: a covariance of 12 numbers
        line = {"": {""}, "p": {"", "p"}, "q": {"", "p", "q"}, "r": {"", "p", "r"}}
        size = {"": effects._WIDEST**2} | dict.fromkeys(names, tau**2)
        prior = np.kron([[sum(size[step] for step in line[a] & line[b]) for b in names] for a in names], np.eye(3))
        precision, information = np.zeros((9, 9)), np.zeros(9)
        for i, name in enumerate(names):
            precision[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] = evidence[name].precision
            information[3 * i : 3 * i + 3] = evidence[name].information
        covariance = np.linalg.inv(np.linalg.inv(prior) + precision)
        mean = covariance @ information
        said = 0.5 * information @ mean - 0.5 * np.linalg.slogdet(np.eye(9) + prior @ precision)[1]
        weights.append(said + np.log(tau) - tau**2 / (2 * effects._USUAL**2))
        mixed.append(mean)
        squares.append(covariance + np.outer(mean, mean))
    shares = np.exp(np.array(weights) - max(weights))
    shares /= shares.sum()
    mean = shares @ np.array(mixed)
    covariance = np.einsum("k,kab->ab", shares, np.array(squares)) - np.outer(mean, mean)
    for i, name in enumerate(names):
        assert found[name].mean == pytest.approx(mean[3 * i : 3 * i + 3], abs=1e-9)
        block = covariance[3 * i : 3 * i + 3, 3 * i : 3 * i + 3]
        assert found[name].covariance == pytest.approx(block, abs=1e-9)


def test_a_season_that_moves_all_arms_moves_no_effect():
    """Arm b is shown to few in a good month: merged over months it would look bad, though it is the better one."""
    slow = {("t", "a"): sums(1_000, 0.02), ("t", "b"): sums(90_000, 0.022)}
    good = {("t", "a"): sums(90_000, 0.06), ("t", "b"): sums(1_000, 0.062)}
    merged = {arm: (slow["t", arm] + good["t", arm]) for arm in ("a", "b")}
    assert merged["b"].converters / merged["b"].visitors < merged["a"].converters / merged["a"].visitors
    found = learnt(slow, good, arms=("a", "b")).effects["t"].difference(1, 0)
    assert found.value == pytest.approx(0.002, abs=0.0006)


def test_a_rare_tranche_follows_its_parent_and_not_its_neighbour():
    rates = {"p": {"a": 0.05, "b": 0.07}, "o": {"a": 0.05, "b": 0.03}}
    found = learnt(cells(rates, 50_000), tranches=("rare", "p", "o"), arms=("a", "b"), parents={"rare": "p"})
    assert found.measured == {"rare": 0, "p": 2, "o": 2}
    assert found.effects["rare"].difference(1, 0).value > 0.005
    assert found.effects["rare"].difference(1, 0).variance > found.effects["p"].difference(1, 0).variance
    assert best_probabilities(found.posteriors["rare"])["b"] > 0.7


def test_tranches_that_agree_lend_each_other_more_than_those_that_differ():
    alike = cells({f"t{i}": {"a": 0.05, "b": 0.06} for i in range(6)}, 4_000)
    apart = cells({f"t{i}": {"a": 0.05, "b": 0.06 if i % 2 else 0.04} for i in range(6)}, 4_000)
    tranches = tuple(f"t{i}" for i in range(6))
    together, against = (learnt(one, tranches=tranches, arms=("a", "b")).effects["t1"] for one in (alike, apart))
    assert together.difference(1, 0).variance < against.difference(1, 0).variance
    assert together.difference(1, 0).value == pytest.approx(0.01, abs=0.001)


def test_differences_are_as_far_from_the_truth_as_they_say():
    """400 rounds of a known shop with noise, seeded: the squared error over its variance, near 1 (alpha .001)."""
    chance = np.random.default_rng(20261128)
    ratios = []
    for _ in range(400):
        rate = 0.05 * (1 + chance.normal(0, 0.15, (4, 3)))
        rounds = {}
        for t in range(4):
            for i, arm in enumerate(ARMS):
                n = int(chance.integers(500, 5_000))
                drawn = chance.laplace(0, 2, 2)
                rounds[f"t{t}", arm] = Sums(
                    visitors=n + drawn[0],
                    converters=chance.binomial(n, rate[t, i]) + drawn[1],
                    noise=Noise(visitors=8, converters=8),
                )
        found = learnt(rounds, tranches=("t0", "t1", "t2", "t3"))
        over = found.effects["t0"].difference(1, 0)
        ratios.append((over.value - (rate[0, 1] - rate[0, 0])) ** 2 / over.variance)
    assert abs(np.mean(ratios) - 1) < 3.3 * np.std(ratios) / sqrt(len(ratios))


def test_a_circle_of_parents_is_refused():
    with pytest.raises(ValueError, match="ancestor"):
        order(("a", "b"), {"a": "b", "b": "a"})
    assert order(("a", "b", "c"), {"a": "b", "b": "c"}) == ("c", "b", "a")


# Posteriors


def test_deviations_told_as_independent_give_differences_that_vary_as_they_do():
    found = learnt(cells({"t": {"a": 0.05, "b": 0.06, "c": 0.04}}, 3_000))
    for i, one in enumerate(ARMS):
        for k, other in enumerate(ARMS[:i]):
            told = found.posteriors["t"][one][1] ** 2 + found.posteriors["t"][other][1] ** 2
            assert told == pytest.approx(found.effects["t"].difference(i, k).variance, rel=1e-6)


def test_means_stand_on_the_level_of_their_tranche():
    found = learnt(cells({"t": {"a": 0.05, "b": 0.06, "c": 0.04}}, 200_000)).posteriors["t"]
    assert {arm: round(mean, 3) for arm, (mean, _) in found.items()} == {"a": 0.05, "b": 0.06, "c": 0.04}


def test_a_tranche_without_a_cell_keeps_its_prior_to_the_bit():
    prior = {"t": {"a": (0.05, 0.01), "b": (0.06, 0.02), "c": (0.04, 0.03)}}
    found = learnt(
        cells({"u": {"a": 0.1, "b": 0.1, "c": 0.1}}),
        tranches=("t", "u"),
        memory=Memory(prior=prior, forgetting=0.5),
    )
    assert found.posteriors["t"] == prior["t"]


def test_a_hidden_cell_keeps_what_others_have_over_it_but_for_what_they_learnt():
    prior = {"t": {"a": (0.05, 0.001), "b": (0.06, 0.002), "c": (0.04, 0.003)}}
    visible = cells({"t": {"a": 0.10, "b": 0.11}})
    found = learnt(visible, memory=Memory(prior=prior, forgetting=1.0)).effects["t"]
    assert found.difference(2, 0).value == pytest.approx(-0.01, abs=1e-6)
    assert found.difference(2, 0).variance == pytest.approx(1e-6 + 9e-6, rel=0.1)


def test_a_prior_and_a_round_weigh_as_two_rounds_do():
    first, second = (cells({"t": {"a": 0.05, "b": rate, "c": 0.04}}, 20_000) for rate in (0.06, 0.05))
    alone = learnt(first)
    both = learnt(first, second).effects["t"]
    after = learnt(second, memory=Memory(prior=alone.posteriors, forgetting=1.0)).effects["t"]
    assert after.difference(1, 0).value == pytest.approx(both.difference(1, 0).value, abs=2e-4)
    assert after.difference(1, 0).variance == pytest.approx(both.difference(1, 0).variance, rel=0.1)


def test_what_is_forgotten_weighs_less():
    old, new = cells({"t": {"a": 0.05, "b": 0.07, "c": 0.05}}), cells({"t": {"a": 0.05, "b": 0.05, "c": 0.05}})
    kept, faded = (learnt(old, new, memory=Memory(prior={}, forgetting=one)).effects["t"] for one in (1.0, 0.3))
    assert 0 < faded.difference(1, 0).value < kept.difference(1, 0).value
    assert faded.difference(1, 0).variance > kept.difference(1, 0).variance


def test_a_prior_is_forgotten_where_it_is_measured_again_and_only_there():
    prior = {"t": {"a": (0.05, 0.001), "b": (0.06, 0.001), "c": (0.04, 0.001)}}
    seen = cells({"t": {"a": 0.05, "b": 0.05}})
    kept, faded = (learnt(seen, memory=Memory(prior=prior, forgetting=one)).posteriors["t"] for one in (1.0, 0.1))
    assert faded["b"][1] > 1.5 * kept["b"][1]
    assert faded["b"][0] < kept["b"][0]
    one_arm = learnt(cells({"t": {"a": 0.05}}), memory=Memory(prior=prior, forgetting=0.1)).posteriors["t"]
    assert [deviation for _, deviation in one_arm.values()] == pytest.approx([0.001] * 3, rel=1e-6)


def test_an_arm_that_the_prior_does_not_know_starts_wide_among_the_others():
    prior = {"t": {"a": (0.05, 0.001), "b": (0.06, 0.001)}}
    found = learnt(
        cells({"u": {"a": 0.05, "b": 0.05, "c": 0.05}}), tranches=("t", "u"), memory=Memory(prior=prior, forgetting=1.0)
    )
    told = found.posteriors["t"]
    assert told["c"][0] == pytest.approx(0.055, abs=0.002)
    assert told["c"][1] > 10 * told["a"][1]


# Shares


def test_of_two_arms_the_better_is_the_best_as_the_normal_says():
    found = best_probabilities({"a": (1.0, 0.3), "b": (1.2, 0.4)})
    assert found["b"] == pytest.approx(ndtr(0.2 / 0.5), abs=1e-4)
    assert sum(found.values()) == pytest.approx(1)


def test_a_narrow_posterior_beside_wide_ones_is_resolved():
    """Against the formula for one certain arm among two others: P = Φ(x)², alpha none: no sampling."""
    found = best_probabilities({"sure": (0.5, 1e-7), "b": (0.0, 1.0), "c": (0.0, 1.0)})
    assert found["sure"] == pytest.approx(ndtr(0.5) ** 2, abs=1e-4)
    assert found["b"] == pytest.approx(found["c"], abs=1e-12)


def test_probabilities_are_those_that_sampling_finds():
    """200,000 draws, seeded; four standard errors (alpha 6e-5 an arm)."""
    posteriors = {"a": (0.0, 1.0), "b": (0.4, 0.2), "c": (-0.3, 2.0), "d": (0.5, 0.05)}
    chance = np.random.default_rng(20261128)
    drawn = np.column_stack([chance.normal(*one, 200_000) for one in posteriors.values()])
    counts = np.bincount(drawn.argmax(axis=1), minlength=4) / 200_000
    for share, wanted in zip(best_probabilities(posteriors).values(), counts, strict=True):
        assert share == pytest.approx(wanted, abs=4 * sqrt(0.25 / 200_000))


def test_shares_are_whole_hold_the_floor_and_lose_nothing():
    assert shares_of({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 0) == {"a": 3_334, "b": 3_333, "c": 3_333}
    assert shares_of({"a": 0.98, "b": 0.02, "c": 0.0}, 100) == {"a": 9_702, "b": 198, "c": 100}
    assert shares_of({"a": 1.0, "b": 0.0}, 5_000) == {"a": 5_000, "b": 5_000}


def test_a_floor_that_leaves_no_room_is_refused():
    with pytest.raises(Malformed, match="floor"):
        shares_of({"a": 0.5, "b": 0.5}, 5_001)
