"""What an event costs a state of forty features, and of every marker, against an ORT identity call in the same run."""

from __future__ import annotations

import random
from itertools import cycle

import pytest
from tests.features import NOON, busy, forty, plan
from tests.markers import NOW, everything, something

from entrenous.events import Event
from entrenous.features import Plan, State, compile_plan
from entrenous.profile import Hot
from test_decision import identity

__all__ = ["identity"]

GROWTH = (0, 100, 1_000, 10_000, 100_000)


def _steady(benchmark, work, *, iterations: int = 1_000):
    return benchmark.pedantic(work, rounds=60, iterations=iterations, warmup_rounds=5)


@pytest.fixture(scope="module")
def forty_features() -> Plan:
    return plan(*forty())


@pytest.fixture(scope="module")
def state(forty_features: Plan) -> State:
    """Of a visitor with 10,000 events."""
    state = forty_features.empty()
    for event in busy(10_000):
        forty_features.apply(state, event)
    return forty_features.unpack(forty_features.pack(state, NOON))


@pytest.mark.benchmark(group="features")
def test_identity_call_beside_features(benchmark, identity):
    _steady(benchmark, identity)


@pytest.mark.benchmark(group="features")
def test_event_into_the_state_of_forty_features(benchmark, forty_features, state):
    events = cycle(list(busy(1_000)))
    apply = forty_features.apply
    benchmark.extra_info["features"], benchmark.extra_info["series"] = len(forty()), len(state)
    _steady(benchmark, lambda: apply(state, next(events)))


@pytest.mark.benchmark(group="features")
def test_event_into_the_series_of_one_name(benchmark, forty_features, state):
    """The event that most series listen to."""
    event = next(event for event in busy(1_000) if event.name == "view_item")
    _steady(benchmark, lambda: forty_features.apply(state, event))


@pytest.fixture(scope="module")
def catalogue() -> Plan:
    """Every marker that is kept."""
    return compile_plan(everything(), "personalize")


@pytest.fixture(scope="module")
def acts() -> list[Event]:
    chance = random.Random(3)
    return [something(chance) for _ in range(10_000)]


@pytest.mark.benchmark(group="features")
def test_event_into_the_state_of_the_full_catalogue(benchmark, catalogue, acts):
    """After the 10,000 events of a year."""
    state = catalogue.empty()
    for event in acts:
        catalogue.apply(state, event)
    state = catalogue.unpack(catalogue.pack(state, NOW))
    events, apply = cycle(acts), catalogue.apply
    benchmark.extra_info["markers"], benchmark.extra_info["series"] = len(catalogue.positions), len(state)
    _steady(benchmark, lambda: apply(state, next(events)))


@pytest.mark.benchmark(group="features")
def test_stored_state_of_the_full_catalogue_folded(benchmark, catalogue, acts):
    """Of a usual visitor: a hundred events."""
    state = catalogue.empty()
    for event in acts[:100]:
        catalogue.apply(state, event)
    packed = catalogue.pack(state, NOW)
    assert _steady(benchmark, lambda: catalogue.fold(catalogue.unpack(packed), NOW), iterations=5)


@pytest.mark.benchmark(group="features")
def test_stored_state_read_changed_folded_and_written(benchmark, forty_features, state):
    hot = Hot(state=forty_features.pack(state, NOON))
    events = cycle(list(busy(1_000)))

    def take() -> bytes:
        read = forty_features.unpack(hot.state)
        forty_features.apply(read, next(events))
        hot.refold(forty_features, read, NOON)
        return hot.pack()

    for number in GROWTH:
        grown = forty_features.empty()
        for event in busy(number):
            forty_features.apply(grown, event)
        benchmark.extra_info[f"bytes after {number:,} events"] = len(forty_features.pack(grown, NOON))
    assert _steady(benchmark, take, iterations=20)
