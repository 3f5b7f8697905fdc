"""The runtime engine, kind by kind. That it equals the central one is `tests/property/test_two_engines.py`."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from tests.features import DAY, HOUR, NOON, bought, busy, fold, folded, forty, plan, schema

from entrenous.events import EVENT_NAMES, Event
from entrenous.features import ANY, DECAY_SCALE, KINDS, LATEST, compile_plan, decay_weights, parse_schema
from entrenous.features.state import STATE_LIMIT
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack
from entrenous_consent.parsing import Table


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
    ("feature", "stored"),
    [
        ({"kind": "count"}, [[1]]),
        ({"kind": "count"}, [7]),
        ({"kind": "last", "field": "brand", "values": ["a"]}, [[1]]),
        ({"kind": "last", "field": "brand", "values": ["a"]}, [20_000, [1]]),
        ({"kind": "top", "field": "brand", "values": ["a"]}, [[1, [0]]]),
        ({"kind": "top", "field": "brand", "values": ["a"]}, [[1, 7]]),
        ({"kind": "count"}, [20_000, 7]),
        ({"kind": "count"}, [20_000, ["7"]]),
        ({"kind": "count"}, ["20000", [7]]),
        ({"kind": "count"}, [20_000, [7], 7]),
    ],
)
def test_a_series_of_the_wrong_shape_is_refused(feature, stored):
    one = plan(feature)

    with pytest.raises(Malformed) as caught:
        one.unpack(pack([[one._keys[0], *stored]]))

    assert caught.value.place == "profile state"


def test_a_state_in_the_older_form_is_still_read():
    """As it was written when a series was `[series, [bucket, value, ...]]`."""
    values = {"field": "brand", "values": ["a", "b"]}
    one = plan(
        {"kind": "count"}, {"kind": "sum", "field": "value"}, {"kind": "last", **values}, {"kind": "top", **values}
    )
    old = [
        [one._keys[0], [19_999, 2, 20_000, 1]],
        [one._keys[1], [20_000, 4900]],
        [one._keys[2], [NOON - 5, 1]],
        [one._keys[3], [19_999, [0, 1, 1, 3], 20_000, [0, 1]]],
    ]

    state = one.unpack(pack(old))

    assert np.frombuffer(one.fold(state, NOON), np.float32).tolist() == [3, 4900, 1, 1]
    assert [bytes(key).hex() for key in one._keys] == ["2434c8e5452c", "6fc7a126cc45", "f77a21370fc9", "cbbd538b252d"]
    assert one.unpack(one.pack(state, NOON)) == state


EVERY_KIND = (
    {"kind": "count"},
    {"kind": "days"},
    {"kind": "sum", "field": "value"},
    {"kind": "decayed_sum", "field": "value", "half_life": 1},
    {"kind": "recency"},
    {"kind": "last", "field": "brand", "values": ["a", "b"]},
    {"kind": "top", "field": "brand", "values": ["a", "b"]},
    {"kind": "first", "field": "brand", "values": ["a", "b"]},
    {"kind": "affinity", "field": "brand", "values": ["b", "a"], "half_life": 1},
    {"kind": "affinity", "field": "brand", "values": ["b", "a"], "half_life": 1, "rank": 2},
    {"kind": "share", "field": "brand", "values": ["a", "b"], "value": "b"},
    {"kind": "distinct", "field": "category", "values": ["a", "b"]},
    {"kind": "distinct", "field": "category", "slots": 60},
    {"kind": "mean", "field": "price"},
    {"kind": "min", "field": "price"},
    {"kind": "max", "field": "price"},
    {"kind": "ratio", "per": "search"},
    {"kind": "streak"},
    {"kind": "sessions", "event": ANY},
    {"kind": "session_length", "event": ANY},
    {"kind": "age"},
    {"kind": "pause"},
    {"kind": "peak"},
)


def happened():
    """Events in two days, of two names, with and without each field."""
    return [
        bought(NOON, value=5, price=7, brand="a", category="a"),
        bought(NOON - DAY, value=7, brand="b", category="unlisted"),
        bought(NOON - 1, price=3, brand="b", category="a"),
        bought(NOON - DAY - 5, value=1, price=9, brand="b", category="b"),
        bought(NOON - 1801, value=2, brand="a"),
        Event(name="search", time=NOON - 2),
    ]


def test_every_kind_that_is_kept_is_among_those_that_are_merged_and_corrected():
    kept = {name for name, kind in KINDS.items() if not kind.made} - {"context", *LATEST}
    assert {feature["kind"] for feature in EVERY_KIND} == kept | {"mean", "ratio", "share"}


@pytest.mark.parametrize("split", range(7))
def test_two_states_merged_are_one_visitors_who_did_both(split):
    one = plan(*EVERY_KIND)
    parts = [one.empty(), one.empty(), one.empty()]
    for i, event in enumerate(happened()):
        one.apply(parts[i >= split], event)
        one.apply(parts[2], event)

    one.merge(parts[0], parts[1])

    assert one.pack(parts[0], NOON) == one.pack(parts[2], NOON)


@pytest.mark.parametrize("seed", range(5))
def test_events_out_of_order_leave_the_same_state(seed):
    one, events = plan(*forty()), list(busy(60))
    state, shuffled = one.empty(), one.empty()
    for event in events:
        one.apply(state, event)
    random.Random(seed).shuffle(events)
    for event in events:
        one.apply(shuffled, event)

    assert state == shuffled
    assert one.pack(state, NOON) == one.pack(shuffled, NOON)


def test_a_late_event_counts_in_the_bucket_of_its_own_time():
    one = plan(*EVERY_KIND)
    late, state = bought(NOON - DAY, value=5, price=7, brand="a", category="a"), one.empty()
    one.apply(state, bought(NOON, price=3, brand="b"))
    state = one.unpack(one.pack(state, NOON))
    one.apply(state, late)

    prompt = one.empty()
    for event in (late, bought(NOON, price=3, brand="b")):
        one.apply(prompt, event)
    assert one.fold(state, NOON) == one.fold(prompt, NOON)


def test_an_event_later_than_every_window_changes_nothing():
    one = plan(*EVERY_KIND)
    state = one.empty()
    one.apply(state, bought(NOON - 2 * DAY, value=5, price=7, brand="a", category="a"))

    assert one.fold(state, NOON) == one.fold(one.empty(), NOON)
    assert one.pack(state, NOON) == pack([])


def test_a_bucket_after_the_current_one_is_not_read_until_it_comes():
    one = plan(*EVERY_KIND)
    state = one.empty()
    one.apply(state, bought(NOON, value=5, price=7, brand="a", category="a"))

    assert one.fold(state, NOON - DAY) == one.fold(one.empty(), NOON - DAY)
    assert one.unpack(one.pack(state, NOON - DAY)) == state


def test_any_is_whatever_the_visitor_does():
    one = plan({"kind": "count", "event": ANY})

    assert one.events == EVENT_NAMES
    assert fold(one, [Event(name=name, time=NOON) for name in sorted(EVENT_NAMES)]) == [len(EVENT_NAMES)]


@pytest.mark.parametrize(
    ("column", "also"),
    [
        (2, {2, 3}),
        (5, {5}),
        (6, {6, 10}),
        (7, {7}),
        (8, {8, 9}),
        (11, {11}),
        (12, {12}),
        (13, {13}),
        (14, {14}),
        (15, {15}),
        (16, {0, 1, 4, 16, 17, 20, 21, 22}),
        (18, {18}),
        (19, {19}),
    ],
)
def test_a_series_is_forgotten_with_every_column_that_reads_it(column, also):
    one = plan(*(feature if feature["kind"] != "count" else {"kind": "count", "window": 1} for feature in EVERY_KIND))
    state = one.empty()
    for event in happened():
        one.apply(state, event)
    before = np.frombuffer(one.fold(state, NOON), np.float32).copy()

    changed = one.correct(state, column, None, NOON)

    assert changed == also
    empty = np.frombuffer(one.fold(one.empty(), NOON), np.float32)
    after = np.frombuffer(one.fold(state, NOON), np.float32)
    rows = range(len(EVERY_KIND))
    np.testing.assert_array_equal(after, [(empty if i in changed else before)[i] for i in rows])


def test_a_ratio_changes_with_what_is_forgotten_of_either_event():
    one = plan({"kind": "count"}, {"kind": "ratio", "per": "search"}, {"kind": "count", "event": "search"})
    searched = Event(name="search", time=NOON)
    for column, left in ((0, [0, 0, 1]), (1, [0, math.nan, 0]), (2, [1, math.nan, 0])):
        state = one.empty()
        for event in (searched, bought(NOON)):
            one.apply(state, event)

        assert one.correct(state, column, None, NOON) >= {column, 1}
        np.testing.assert_array_equal(np.frombuffer(one.fold(state, NOON), np.float32), left)


@pytest.mark.parametrize("column", [5, 6, 7, 8])
@pytest.mark.parametrize("code", [0, 1])
def test_a_category_is_put_right(column, code):
    one = plan(*EVERY_KIND)
    state = one.empty()
    for event in happened():
        one.apply(state, event)

    changed = one.correct(state, column, code, NOON)

    assert column in changed
    assert np.frombuffer(one.fold(one.unpack(one.pack(state, NOON)), NOON), np.float32)[column] == code


def test_forty_features_of_a_visitor_with_ten_thousand_events_stay_within_two_kilobytes():
    one, state = plan(*forty()), None
    kept = {name for name, kind in KINDS.items() if not kind.made} - {"context", "age", "pause", "peak", *LATEST}
    assert {feature["kind"] for feature in forty()} == kept | {"mean", "ratio", "share"}
    assert len(forty()) == 40

    sizes = []
    for number in (10_000, 100_000):
        state = one.empty()
        for event in busy(number):
            one.apply(state, event)
        sizes.append(len(one.pack(state, NOON)))

    assert sizes[0] <= 2_000
    # Ten times the events make some integers longer; there are no more buckets than before.
    assert sizes[1] - sizes[0] <= 200


def test_a_state_holds_no_more_integers_than_its_windows_have_buckets():
    one = plan(*forty())
    state = one.empty()
    for event in busy(5_000, days=400):
        one.apply(state, event)

    kept = one.unpack(one.pack(state, NOON))

    for series, buckets in zip(one._series, kept, strict=True):
        assert len(buckets) <= series.keep * max(len(series.values), 1)
