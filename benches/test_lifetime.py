"""What a buyer is still worth, on the visitor's side, against a bare ONNX Runtime identity call in one run."""

from __future__ import annotations

import pytest

from entrenous.features.lifetime import Lifetime, alive, expected_purchases, expected_value, lifetime_value
from test_decision import identity

__all__ = ["identity"]

MODEL = Lifetime(r=0.6, alpha=60.0, a=0.8, b=2.5, p=6.25, q=3.744, gamma=1544.0, unit="day")
HISTORY = (3.0, 100.0, 200.0)


def _steady(benchmark, work, *, iterations: int = 500):
    return benchmark.pedantic(work, rounds=60, iterations=iterations, warmup_rounds=5)


@pytest.mark.benchmark(group="lifetime")
def test_identity_call_beside_lifetime(benchmark, identity):
    _steady(benchmark, identity)


@pytest.mark.benchmark(group="lifetime")
def test_whether_a_buyer_is_active(benchmark):
    assert 0.0 < _steady(benchmark, lambda: alive(MODEL, *HISTORY)) < 1.0


@pytest.mark.benchmark(group="lifetime")
@pytest.mark.parametrize("days", [30, 365])
def test_how_often_they_will_buy(benchmark, days):
    assert _steady(benchmark, lambda: expected_purchases(MODEL, *HISTORY, float(days))) > 0.0


@pytest.mark.benchmark(group="lifetime")
def test_what_a_purchase_is_worth(benchmark):
    assert _steady(benchmark, lambda: expected_value(MODEL, 4.0, 3000.0)) > 0.0


@pytest.mark.benchmark(group="lifetime")
def test_what_a_year_of_theirs_is_worth(benchmark):
    assert _steady(benchmark, lambda: lifetime_value(MODEL, *HISTORY, 3000.0, 365.0, 0.01), iterations=100) > 0.0
