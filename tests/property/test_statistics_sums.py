"""Whatever the sums: cells merge to their union, an arm and its mirror agree, and there is never half a number."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrenous_consent.policy import METRICS
from entrenous_evaluation.statistics import (
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

ESTIMATORS = [lambda sums, metric=metric: mean(sums, metric) for metric in ("converters", "orders", "revenue")]
ESTIMATORS.append(order_value)

variances = st.sampled_from([0.0, 0.5, 50.0, 1e6, 1e80]) | st.floats(0, 1e80)
amounts = (
    st.sampled_from([0, -1, 1e-300, 100, 300, 9e3, 1e40]) | st.integers(-(10**40), 10**40) | st.floats(-1e40, 1e40)
)
noises = st.builds(Noise, **dict.fromkeys(METRICS, variances)) | st.just(Noise())
anything = st.builds(Sums, **dict.fromkeys(METRICS, st.none() | amounts) | {"visitors": amounts, "noise": noises})
plausible = st.builds(
    Sums,
    visitors=st.floats(1e3, 1e6),
    converters=st.floats(200, 1e6),
    orders=st.floats(100, 1e6),
    orders2=st.floats(-1e4, 1e7),
    revenue=st.floats(-1e5, 1e9),
    revenue2=st.floats(-1e9, 1e14),
    revenue_orders=st.floats(-1e6, 1e10),
    noise=st.builds(Noise, **dict.fromkeys(METRICS, st.floats(0, 1e5))),
)
estimates = st.builds(Estimate, st.floats(1e-3, 1e3), st.floats(1e-9, 1e3))
costs = st.sampled_from([0, 1e-6, 3, 1e12])


def sums_of(orders: np.ndarray, revenue: np.ndarray) -> Sums:
    products = (orders > 0, orders, orders**2, revenue, revenue**2, revenue * orders)
    return Sums(visitors=len(orders), **dict(zip(METRICS[1:], (int(x.sum()) for x in products), strict=True)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 10**6), st.integers(0, 2)), min_size=1, max_size=60))
def test_merged_cells_are_the_union_of_their_visitors(rows):
    orders, revenue, cell = np.array(rows, np.int64).T
    whole = sums_of(orders, revenue)
    parts = [sums_of(orders[cell == i], revenue[cell == i]) for i in range(3)]
    assert parts[0] + parts[1] + parts[2] == whole == parts[2] + (parts[0] + parts[1])


@given(st.lists(st.builds(Noise, **dict.fromkeys(METRICS, st.floats(0, 1e9))), min_size=2, max_size=4))
def test_merged_cells_add_their_variances(drawn):
    merged = Sums(visitors=1, noise=drawn[0])
    for noise in drawn[1:]:
        merged += Sums(visitors=1, noise=noise)
    for metric in METRICS:
        assert getattr(merged.noise, metric) == pytest.approx(sum(getattr(noise, metric) for noise in drawn))


@given(estimates, estimates)
def test_an_arm_and_its_mirror_agree(one, other):
    there, back = compare(one, other), compare(other, one)
    if isinstance(there, Unknown):
        assert there.cause == back.cause or {there.cause, back.cause} <= {"lost_in_noise", "not_positive"}
        return
    assert 1 + there.lift.value == pytest.approx(1 / (1 + back.lift.value))
    assert 1 + there.lift.low == pytest.approx(1 / (1 + back.lift.high))
    assert there.p_value == pytest.approx(back.p_value)
    assert there.difference.low == pytest.approx(-back.difference.high)


@given(estimates, estimates, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_p_value_says_what_the_interval_says(one, other, confidence):
    found = compare(one, other, confidence=confidence)
    if isinstance(found, Comparison) and abs(found.p_value - (1 - confidence)) > 1e-9:
        assert (found.p_value < 1 - confidence) == (not found.lift.low <= 0 <= found.lift.high)


@given(plausible | anything, plausible | anything, costs, costs, st.floats(0.001, 1), st.floats(0.001, 0.999))
def test_there_is_a_whole_answer_or_none(treated, control, per_visitor, per_order, margin, confidence):
    answers = []
    for estimate in ESTIMATORS:
        both = estimate(treated), estimate(control)
        answers += [*both, compare(*both, confidence=confidence)]
        answers += [one.interval(confidence) for one in both if isinstance(one, Estimate)]
    answers.append(
        money(
            treated,
            control,
            cost_per_visitor=per_visitor,
            cost_per_order=per_order,
            gross_margin=margin,
            confidence=confidence,
        )
    )
    answers.append(sample_ratio((treated, control, treated), (0.5, 0.25, 0.25)))
    for answer in answers:
        _whole(answer)


def _whole(answer):
    match answer:
        case Unknown():
            assert answer.message
        case float():
            assert isfinite(answer)
        case Estimate():
            assert isfinite(answer.value)
            assert 0 <= answer.variance < float("inf")
        case Interval():
            assert isfinite(answer.low)
            assert isfinite(answer.high)
            assert answer.low <= answer.value <= answer.high
        case Comparison():
            _whole(answer.lift)
            _whole(answer.difference)
            assert answer.lift.low > -1
            assert 0 <= answer.p_value <= 1
        case Money():
            for part in (answer.revenue, answer.cost, answer.net, answer.roi):
                _whole(part)
        case SampleRatio():
            assert 0 <= answer.statistic < float("inf")
            assert 0 <= answer.p_value <= 1
        case _:
            raise AssertionError(f"{answer!r} is no answer")
