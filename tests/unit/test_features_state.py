"""The runtime engine, kind by kind. That it equals the central one is `tests/property/test_two_engines.py`."""

from __future__ import annotations

import numpy as np
import pytest

from entrenous.events import Event
from entrenous.features import DECAY_SCALE, compile_plan, decay_weights, parse_schema
from entrenous.features.state import STATE_LIMIT
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack
from entrenous_consent.parsing import Table

DAY, HOUR = 86_400, 3_600
NOON = 20_000 * DAY + 12 * HOUR


def schema(*features):
    rules = {"purpose": "personalize", "category": "behaviour", "source": "app", "retention_days": 400}
    return parse_schema(
        Table({"name": f"f{i}", "event": "purchase", "window": 2, **rules, **feature})
        for i, feature in enumerate(features)
    )


def plan(*features):
    return compile_plan(schema(*features), "personalize")


def bought(time, **fields):
    return Event(name="purchase", time=time, **fields)


def fold(plan, events, now=NOON):
    state = plan.empty()
    for event in events:
        plan.apply(state, event)
    return np.frombuffer(plan.fold(state, now), dtype=np.float32).tolist()


def folded(feature, events, now=NOON):
    [value] = fold(plan(feature), events, now)
    return value


def test_nothing_is_zero_for_what_adds_up_and_nan_for_the_rest():
    values = fold(
        plan(
            {"kind": "count"},
            {"kind": "days"},
            {"kind": "sum", "field": "value"},
            {"kind": "decayed_sum", "field": "value", "half_life": 1},
            {"kind": "recency"},
            {"kind": "last", "field": "brand", "values": ["a"]},
            {"kind": "top", "field": "brand", "values": ["a"]},
        ),
        [],
    )

    assert values[:4] == [0, 0, 0, 0]
    assert np.isnan(values[4:]).all()


def test_a_window_holds_the_current_bucket_and_those_before_it():
    yesterday, before = NOON - NOON % DAY - 1, NOON - NOON % DAY - DAY - 1

    assert folded({"kind": "count"}, [bought(NOON), bought(yesterday), bought(before)]) == 2


def test_hours_are_buckets_too():
    assert folded({"kind": "count", "unit": "hour"}, [bought(NOON), bought(NOON - 1), bought(NOON - HOUR - 1)]) == 2


def test_days_counts_each_day_once():
    assert folded({"kind": "days"}, [bought(NOON), bought(NOON - 1), bought(NOON - DAY)]) == 2


def test_recency_counts_whole_buckets_since_the_last_event():
    assert folded({"kind": "recency", "window": 9}, [bought(NOON - 5 * DAY), bought(NOON - 3 * DAY)]) == 3


def test_a_sum_passes_over_events_without_the_field():
    assert folded({"kind": "sum", "field": "price"}, [bought(NOON, price=5), bought(NOON, value=7)]) == 5


def test_a_decayed_sum_weighs_each_bucket_by_its_age():
    feature = {"kind": "decayed_sum", "field": "value", "half_life": 3, "window": 9}
    weights = decay_weights(3, 9)

    value = folded(feature, [bought(NOON, value=100), bought(NOON - 4 * DAY, value=1000)])

    assert value == np.float32((100 * weights[0] + 1000 * weights[4]) / DECAY_SCALE)


def test_last_takes_the_higher_code_of_two_in_one_second():
    feature = {"kind": "last", "field": "brand", "values": ["a", "b"]}

    assert folded(feature, [bought(NOON, brand="b"), bought(NOON, brand="a"), bought(NOON - 1, brand="a")]) == 1


def test_last_passes_over_what_is_not_listed():
    feature = {"kind": "last", "field": "brand", "values": ["a", "b"]}

    assert folded(feature, [bought(NOON - 1, brand="a"), bought(NOON, brand="x"), bought(NOON)]) == 0


def test_top_takes_the_lower_code_of_equals():
    feature = {"kind": "top", "field": "brand", "values": ["a", "b"]}

    assert folded(feature, [bought(NOON, brand="b"), bought(NOON - DAY, brand="a")]) == 0
    assert folded(feature, [bought(NOON, brand="b"), bought(NOON - DAY, brand="b"), bought(NOON, brand="a")]) == 1


def test_another_event_changes_nothing():
    assert folded({"kind": "count"}, [Event(name="search", time=NOON)]) == 0


def test_a_plan_holds_only_its_purposes_stored_features():
    features = schema(
        {"kind": "count"}, {"kind": "count", "purpose": "history"}, {"kind": "sum", "field": "value"}
    ) + parse_schema(
        [
            Table(
                {
                    "name": "h",
                    "kind": "context",
                    "field": "hour",
                    "purpose": "personalize",
                    "category": "c",
                    "source": "app",
                    "retention_days": 0,
                }
            )
        ]
    )

    assert compile_plan(features, "personalize").positions == (0, 2)
    assert compile_plan(features, "history").positions == (1,)
    assert compile_plan(features, "history").events == {"purchase"}
    assert compile_plan(features, "history").stamp != compile_plan(features, "personalize").stamp


def test_a_plan_without_features_folds_to_nothing_and_never_expires():
    empty = compile_plan(schema({"kind": "count"}), "measure")

    assert empty.fold(empty.empty(), NOON) == b""
    assert empty.until(NOON) > 10**15


def test_a_folded_vector_is_good_until_the_next_bucket_of_any_unit():
    assert plan({"kind": "count"}).until(NOON) == NOON + 12 * HOUR
    assert plan({"kind": "count"}, {"kind": "count", "unit": "hour"}).until(NOON) == NOON + HOUR


def test_packing_drops_what_no_window_reaches_any_more():
    both = plan({"kind": "count", "window": 2}, {"kind": "last", "field": "brand", "values": ["a"], "window": 2})
    state = both.empty()
    both.apply(state, bought(NOON - 2 * DAY, brand="a"))

    assert both.pack(state, NOON) == pack([])
    assert both.unpack(both.pack(state, NOON - DAY)) == state


def test_features_of_one_series_share_its_buckets_for_the_longest_window():
    shared = plan({"kind": "count", "window": 1}, {"kind": "recency", "window": 30}, {"kind": "days", "window": 7})
    state = shared.empty()
    shared.apply(state, bought(NOON - 20 * DAY))
    restored = shared.unpack(shared.pack(state, NOON))

    assert len(state) == 1
    assert np.frombuffer(shared.fold(restored, NOON), dtype=np.float32).tolist() == [0, 20, 0]


def test_a_state_survives_a_schema_that_adds_and_removes_features():
    old = plan({"kind": "count"}, {"kind": "sum", "field": "price"})
    new = plan({"kind": "top", "field": "brand", "values": ["a"]}, {"kind": "count"})
    state = old.empty()
    old.apply(state, bought(NOON, price=9, brand="a"))

    [top, count] = np.frombuffer(new.fold(new.unpack(old.pack(state, NOON)), NOON), dtype=np.float32).tolist()

    assert np.isnan(top)
    assert count == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        pack([]) + b"\x00",
        pack(7),
        pack([7]),
        pack([[b"short"]]),
        b"\x00" * (STATE_LIMIT + 1),
    ],
    ids=["empty", "not msgpack", "bytes left over", "a number", "numbers", "no series", "too long"],
)
def test_bytes_that_are_not_a_state_are_refused(data):
    one = plan({"kind": "count"})

    with pytest.raises(Malformed) as caught:
        one.unpack(data)

    assert caught.value.place == "profile state"


@pytest.mark.parametrize(
    ("feature", "flat"),
    [
        ({"kind": "count"}, [1]),
        ({"kind": "count"}, 7),
        ({"kind": "last", "field": "brand", "values": ["a"]}, [1]),
        ({"kind": "top", "field": "brand", "values": ["a"]}, [1, [0]]),
        ({"kind": "top", "field": "brand", "values": ["a"]}, [1, 7]),
    ],
)
def test_a_series_of_the_wrong_shape_is_refused(feature, flat):
    one = plan(feature)

    with pytest.raises(Malformed) as caught:
        one.unpack(pack([[one._keys[0], flat]]))

    assert caught.value.place == "profile state"


EVERY_KIND = (
    {"kind": "count"},
    {"kind": "days"},
    {"kind": "sum", "field": "value"},
    {"kind": "decayed_sum", "field": "value", "half_life": 1},
    {"kind": "recency"},
    {"kind": "last", "field": "brand", "values": ["a", "b"]},
    {"kind": "top", "field": "brand", "values": ["a", "b"]},
)


@pytest.mark.parametrize("split", range(5))
def test_two_states_merged_are_one_visitors_who_did_both(split):
    events = [bought(NOON, value=5, brand="a"), bought(NOON - DAY, value=7, brand="b"), bought(NOON - 1, brand="b")]
    events += [bought(NOON - DAY - 5, value=1, brand="b")]
    one = plan(*EVERY_KIND)
    parts = [one.empty(), one.empty(), one.empty()]
    for i, event in enumerate(events):
        one.apply(parts[i >= split], event)
        one.apply(parts[2], event)
    one.merge(parts[0], parts[1])
    assert one.pack(parts[0], NOON) == one.pack(parts[2], NOON)


@pytest.mark.parametrize(("column", "also"), [(0, {0, 4}), (1, {1}), (2, {2, 3}), (5, {5}), (6, {6})])
def test_a_series_is_forgotten_with_every_column_that_reads_it(column, also):
    one = plan(*EVERY_KIND)
    state = one.empty()
    one.apply(state, bought(NOON, value=5, brand="b"))
    before = np.frombuffer(one.fold(state, NOON), np.float32).copy()
    changed = one.correct(state, column, None, NOON)
    assert changed >= also
    empty = np.frombuffer(one.fold(one.empty(), NOON), np.float32)
    after = np.frombuffer(one.fold(state, NOON), np.float32)
    rows = range(len(EVERY_KIND))
    np.testing.assert_array_equal(after, [(empty if i in changed else before)[i] for i in rows])


@pytest.mark.parametrize("column", [5, 6])
def test_a_category_is_put_right(column):
    one = plan(*EVERY_KIND)
    state = one.empty()
    for _ in range(3):
        one.apply(state, bought(NOON - 1, value=5, brand="b"))
    assert one.correct(state, column, 0, NOON) == {column}
    assert np.frombuffer(one.fold(one.unpack(one.pack(state, NOON)), NOON), np.float32)[column] == 0
