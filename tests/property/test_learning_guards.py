"""Whatever the sums, the manifest and the settings: shares are whole and hold the floor, and no guard gives way."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from entrenous.loop.contributions import HOLDOUT
from entrenous_consent.policy import METRICS as SUMS
from entrenous_evaluation.answer import parse_costs
from entrenous_evaluation.learning.effects import Effects
from entrenous_evaluation.learning.metrics import METRICS, Metric, measure
from entrenous_evaluation.learning.promotions import Bill, Couple, Guards, Trial, allowed, plan
from entrenous_evaluation.learning.proposal import Decision, Proposal, Settings, bills_of, propose
from entrenous_evaluation.learning.shares import best_probabilities, shares_of
from entrenous_evaluation.statistics import Noise, Sums, Unknown

TRANCHES = ("cold", "warm", "hot", "rare")
PLAIN = ("none", "content")
OFFERED = ("low", "mid", "high")

variances = st.sampled_from([0.0, 8.0, 500.0]) | st.floats(0, 1e6)
plausible = st.builds(
    lambda n, rate, basket, noise: Sums(
        visitors=n,
        converters=n * rate,
        orders=n * rate,
        orders2=n * rate,
        revenue=n * rate * basket,
        revenue2=n * rate * basket**2,
        revenue_orders=n * rate * basket,
        noise=noise,
    ),
    st.integers(30, 1_000_000),
    st.floats(0.001, 0.9),
    st.floats(100, 50_000),
    st.builds(Noise, **dict.fromkeys(SUMS, variances)),
)
amounts = st.sampled_from([0, -1, 30, 1e6]) | st.floats(-1e12, 1e12)
hostile = st.builds(
    Sums,
    **dict.fromkeys(SUMS, amounts) | {"visitors": st.floats(-1e3, 1e9)},
    noise=st.builds(Noise, **dict.fromkeys(SUMS, variances)),
)
rounds = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from((*TRANCHES, "gone")), st.sampled_from((*PLAIN, *OFFERED, HOLDOUT))),
        plausible | hostile,
        min_size=2,
        max_size=12,
    ),
    max_size=3,
)
couples = st.dictionaries(
    st.sampled_from(OFFERED),
    st.builds(Couple, threshold=st.integers(100, 30_000), amount=st.integers(1, 6_000)),
    min_size=1,
)
guards = st.builds(
    Guards,
    least_margin=st.floats(0, 0.5),
    gross_margin=st.floats(0.05, 1),
    budget=st.none() | st.floats(0, 1e9),
    most_orders=st.sampled_from([1.0, 3.0]),
    confidence=st.sampled_from([0.5, 0.95, 0.999]),
    tolerance=st.sampled_from([0.0, 0.005, 10.0]),
)
parents = st.sampled_from([{}, {"rare": "warm"}, {"rare": "hot", "hot": "warm"}])


@st.composite
def shares(draw, arms):
    found = shares_of(dict.fromkeys(arms, 1 / len(arms)), draw(st.integers(0, 10_000 // len(arms))))
    return {arm: share for arm, share in found.items() if share}


@st.composite
def decisions(draw, offers):
    arms = (*PLAIN, *offers)
    posterior = st.tuples(st.floats(-1e3, 1e3), st.floats(1e-9, 1e3))
    known = st.dictionaries(st.sampled_from(arms), posterior, min_size=1)
    return Decision(
        name="any",
        tranches=TRANCHES,
        arms=arms,
        default_arm="none",
        choice={tranche: draw(shares(arms)) for tranche in TRANCHES if draw(st.booleans())},
        posteriors=draw(st.just({}) | st.dictionaries(st.sampled_from(TRANCHES), known)),
        parents=draw(parents),
        couples=offers,
    )


def whole(found: Proposal, decision: Decision) -> None:
    assert found.choice.keys() == set(TRANCHES)
    for shares in found.choice.values():
        assert sum(shares.values()) == 10_000
        assert all(type(share) is int and share > 0 for share in shares.values())
        assert shares.keys() <= set(decision.arms)
    for arms in found.posteriors.values():
        for mean, deviation in arms.values():
            assert isfinite(mean)
            assert 0 < deviation < float("inf")
    for change in found.changes:
        assert change.why["en"]
        assert change.why["fr"]
        assert change.before != change.after


@settings(max_examples=60, deadline=None)
@given(decisions(offers={}), rounds, st.sampled_from(METRICS), st.integers(0, 5_000), st.sampled_from([0.3, 1.0]))
def test_arms_without_offers_are_always_shown_at_least_as_often_as_the_floor(decision, seen, metric, floor, forgetting):
    judged = Settings(
        metric=Metric(name=metric, costs=parse_costs({"gross_margin": 0.4})),
        guards=Guards(least_margin=0, gross_margin=1),
        floor=floor,
        forgetting=forgetting,
    )
    found = propose(decision, seen, judged)
    whole(found, decision)
    if not found.notes:
        assert all(shares.get(arm, 0) >= floor for shares in found.choice.values() for arm in decision.arms)


@settings(max_examples=100, deadline=None)
@given(st.data(), couples, guards, rounds, st.integers(0, 2_000))
def test_no_guard_gives_way(data, offers, bounds, seen, floor):
    decision = data.draw(decisions(offers=offers))
    costs = parse_costs({"gross_margin": bounds.gross_margin})
    judged = Settings(metric=Metric(name="margin", costs=costs), guards=bounds, floor=floor)
    found = propose(decision, seen, judged)
    whole(found, decision)
    for shares in found.choice.values():
        for arm in shares.keys() & offers.keys():
            couple = offers[arm]
            left = bounds.gross_margin * couple.threshold - couple.amount
            assert couple.threshold > couple.amount
            assert left >= bounds.least_margin * (couple.threshold - couple.amount) - 1e-6
    if bounds.budget is not None:
        bills = bills_of(decision, seen, judged)
        spent = sum(bills[tranche].total(shares) for tranche, shares in found.choice.items())
        assert spent <= bounds.budget * (1 + 1e-9) + 1e-6


@st.composite
def trials(draw, arms):
    found = {}
    for tranche in TRANCHES:
        gains = np.array([draw(st.floats(-5, 5)) for _ in arms])
        deviation = draw(st.sampled_from([0.01, 1.0, 100.0]))
        costs = {arm: draw(st.floats(0, 100)) if arm in OFFERED else 0.0 for arm in arms}
        found[tranche] = Trial(
            effects=Effects(gains, deviation**2 * np.eye(len(arms))),
            level=draw(st.floats(-1, 100)),
            bill=Bill(visitors=draw(st.floats(1, 1e6)), costs=costs),
        )
    return found


@given(st.data(), couples, guards, st.integers(0, 2_000))
def test_a_plan_falls_in_generosity_or_says_that_the_data_releases_it(data, offers, bounds, floor):
    arms = (*PLAIN, *offers)
    tried = data.draw(trials(arms))
    found = plan(arms, tried, offers, bounds, floor)
    fit = {*PLAIN, *allowed(offers, bounds)}
    generosity = {arm: couple.generosity for arm, couple in offers.items()} | dict.fromkeys(PLAIN, 0.0)
    running = [one for one in TRANCHES if found.phases[one] == "run"]
    for lower, upper in pairwise(running):
        assert generosity[found.best[lower]] >= generosity[found.best[upper]] or upper in found.released
    for tranche, shares in found.choice.items():
        assert shares.keys() <= fit
        assert sum(shares.values()) == 10_000
        assert found.best[tranche] in fit
    if bounds.budget is not None:
        spent = sum(tried[one].bill.total(shares) for one, shares in found.choice.items())
        assert spent <= bounds.budget * (1 + 1e-9) + 1e-6
    else:
        assert not found.cheaper


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.tuples(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6)),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 1_250),
)
def test_shares_add_up_and_hold_the_floor_for_any_posteriors(posteriors, floor):
    likely = best_probabilities(posteriors)
    assert all(0 <= one <= 1 + 1e-12 for one in likely.values())
    found = shares_of(likely, floor)
    assert sum(found.values()) == 10_000
    assert all(share >= floor for share in found.values())


@settings(max_examples=20, deadline=None)
@given(rounds, st.sampled_from(METRICS))
def test_a_cell_has_a_finite_mean_and_a_variance_above_nothing(seen, metric):
    found = measure(seen, Metric(name=metric, costs=parse_costs({})))
    assume(not isinstance(found, Unknown))
    assert found.unit > 0
    for one in found.rounds:
        for estimate in one.values():
            assert isfinite(estimate.value)
            assert 0 < estimate.variance < float("inf")
