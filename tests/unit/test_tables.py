"""The central engine at its boundary. That it equals the runtime is `tests/property/test_two_engines.py`."""

from __future__ import annotations

from fractions import Fraction

import ibis
import numpy as np
import pyarrow as pa
import pytest

from entrenous.features import DECAY_SCALE, decay_weights, parse_schema, slot
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table
from entrenous_exporters.tables import feature_table, labels, open_backend, value_labels

DAY = 86_400
NOON = 20_000 * DAY + 12 * 3_600


@pytest.fixture(scope="module")
def backend():
    opened = open_backend()
    yield opened
    opened.disconnect()


def schema(*features):
    rules = {"purpose": "personalize", "category": "behaviour", "source": "app", "retention_days": 400}
    return parse_schema(Table({"name": f"f{i}", **rules, **feature}) for i, feature in enumerate(features))


COUNT = {"kind": "count", "event": "purchase", "window": 7}
SUM = {"kind": "sum", "event": "purchase", "window": 7, "field": "value"}


def table(**columns):
    return ibis.memtable(pa.table(columns))


def texts(value, count):
    return pa.array([value] * count, pa.string())


def log(*times, visitor="v", name="purchase", **columns):
    count = len(times)
    return table(visitor=texts(visitor, count), time=pa.array(times, pa.int64()), name=texts(name, count), **columns)


def asked(*times, visitor="v", **columns):
    count = len(times)
    numbers = {"row": pa.array(range(count), pa.int64()), "time": pa.array(times, pa.int64())}
    return table(visitor=texts(visitor, count), **numbers, **columns)


def test_the_backend_keeps_utc_and_fetches_no_extension(backend):
    settings = ("TimeZone", "autoinstall_known_extensions", "autoload_known_extensions", "threads")
    query = ", ".join(f"current_setting('{name}')" for name in settings)

    assert backend.raw_sql(f"select {query}").fetchone() == ("UTC", False, False, 1)


def test_an_event_in_the_very_second_of_the_as_of_counts_and_the_next_does_not(backend):
    central = feature_table(backend, schema(COUNT), log(NOON, NOON + 1), asked(NOON - 1, NOON, NOON + 1))

    assert central.rows.tolist() == [[0], [1], [2]]
    assert central.rows.dtype == np.float32
    assert central.names == ("f0",)


def test_rows_come_by_ascending_number_whatever_the_order_and_the_gaps(backend):
    moments = table(row=[70, -3, 12], visitor=["v", "v", "other"], time=[NOON, NOON - 8 * DAY, NOON])

    central = feature_table(backend, schema(COUNT), log(NOON), moments)

    assert central.rows.tolist() == [[0], [0], [1]]


def test_narrow_integer_columns_are_widened_before_they_are_multiplied(backend):
    values = [f"c{i}" for i in range(4000)]
    events = table(
        visitor=["v"],
        time=pa.array([NOON], pa.int32()),
        name=["purchase"],
        category=[values[-1]],
        value=pa.array([2**31 - 1], pa.int32()),
    )
    last = {"kind": "last", "event": "purchase", "window": 7, "field": "category", "values": values}
    decayed = SUM | {"kind": "decayed_sum", "half_life": 3}

    central = feature_table(backend, schema(last, decayed, SUM), events, asked(NOON))

    assert central.rows.tolist() == [[3999, 2**31, 2**31]]


def test_a_decayed_sum_past_64_bits_stays_exact(backend):
    days = range(200)
    events = log(*(NOON - day * DAY for day in days), value=[10**10 - day for day in days])
    feature = SUM | {"kind": "decayed_sum", "half_life": 300, "window": 200}
    weights = decay_weights(300, 200)
    total = sum((10**10 - day) * weights[day] for day in days)

    central = feature_table(backend, schema(feature), events, asked(NOON))

    assert total > 1 << 63
    assert central.rows[0, 0] == np.float32(float(Fraction(total, DECAY_SCALE)))


def test_context_is_read_from_its_column_or_from_the_clock(backend):
    features = schema(
        {"kind": "context", "field": "hour"},
        {"kind": "context", "field": "weekday"},
        {"kind": "context", "field": "items"},
        {"kind": "context", "field": "device", "values": ["phone", "desktop"]},
    )
    monday = 1_704_067_200
    moments = asked(
        monday,
        monday + DAY - 1,
        monday + 6 * DAY,
        items=[3.0, float("inf"), None],
        device=["desktop", "fridge", None],
    )

    rows = feature_table(backend, features, log(), moments).rows

    assert rows[:, :2].tolist() == [[0, 0], [23, 0], [0, 6]]
    np.testing.assert_array_equal(rows[:, 2:], [[3, 1], [np.nan, np.nan], [np.nan, np.nan]])


def test_a_context_field_may_bear_the_name_of_an_events_field(backend):
    features = schema({"kind": "context", "field": "value"})

    assert feature_table(backend, features, log(), asked(NOON, value=[7])).rows.tolist() == [[7]]


def test_an_id_counts_once_a_visitor_at_its_earliest(backend):
    events = table(
        visitor=["v", "v", "v", "v", "w"],
        id=["a", "a", None, "", "a"],
        time=[NOON, NOON - DAY, NOON, NOON, NOON],
        name=["purchase"] * 5,
        value=[5, 7, 1, 1, 9],
    )
    moments = table(row=[0, 1, 2], visitor=["v", "v", "w"], time=[NOON - DAY, NOON, NOON])

    central = feature_table(backend, schema(COUNT, SUM), events, moments)

    assert central.rows.tolist() == [[1, 7], [3, 9], [1, 9]]


def test_a_repeat_after_the_as_of_takes_nothing_away(backend):
    events = log(NOON, NOON + 1, id=["a", "a"])

    assert feature_table(backend, schema(COUNT), events, asked(NOON, NOON + 1)).rows.tolist() == [[1], [1]]


def test_any_is_every_event_we_know_and_no_other(backend):
    events = table(visitor=["v"] * 3, time=[NOON] * 3, name=["search", "purchase", "telepathy"])
    ratio = {"kind": "ratio", "event": "purchase", "per": "any", "window": 7}

    central = feature_table(backend, schema(COUNT | {"event": "any"}, ratio), events, asked(NOON))

    assert central.rows.tolist() == [[2, 0.5]]


def test_a_mean_of_more_than_a_float_holds_is_rounded_once(backend):
    days = range(100)
    events = log(*(NOON - day * DAY for day in days for _ in range(10_000)), value=[10**10] * 999_999 + [3])
    feature = SUM | {"kind": "mean", "window": 100}

    central = feature_table(backend, schema(feature), events, asked(NOON))

    total = 999_999 * 10**10 + 3
    assert total > 1 << 53
    assert central.rows[0, 0] == np.float32(total / 10**6)


def test_values_that_nobody_listed_are_told_apart_by_slot(backend):
    names = ["é", "b", "", None, "b"]
    events = log(*[NOON] * 5, brand=pa.array(names, pa.string()))
    feature = {"kind": "distinct", "event": "purchase", "window": 7, "field": "brand", "slots": 60}

    assert slot("é", 60) != slot("b", 60)
    assert feature_table(backend, schema(feature), events, asked(NOON)).rows.tolist() == [[2]]


def test_a_session_that_began_before_the_shorter_of_two_windows_counts_in_both(backend):
    midnight = NOON - NOON % DAY
    sessions = {"kind": "sessions", "event": "purchase"}
    features = schema(*(sessions | {"window": window} for window in (1, 2)))

    found = feature_table(backend, features, log(midnight - 1, midnight), asked(midnight - 1, NOON, NOON + DAY))

    assert found.rows.tolist() == [[1, 1], [1, 1], [0, 1]]


def test_no_events_and_no_moments_make_an_empty_table(backend):
    central = feature_table(backend, schema(COUNT, SUM), log(value=pa.array([], pa.int64())), asked())

    assert central.rows.shape == (0, 2)


def test_nothing_is_left_behind_in_the_backend(backend):
    query = "select count(*) from information_schema.tables where table_name like '%entrenous%'"
    moments, events = asked(NOON), log(NOON)

    feature_table(backend, schema(COUNT), events, moments)
    labels(backend, events, moments, event="purchase", within_days=1)

    assert backend.raw_sql(query).fetchone() == (0,)


def test_a_label_looks_past_the_as_of_up_to_its_horizon(backend):
    events = log(NOON, NOON + 3 * DAY)

    found = labels(
        backend, events, asked(NOON - 1, NOON, NOON - 1 + 3 * DAY, NOON + 3 * DAY), event="purchase", within_days=3
    )

    assert found.tolist() == [True, True, True, False]
    assert found.dtype == np.bool_


def test_a_label_minds_the_name_and_the_visitor(backend):
    moments = asked(NOON)

    for events in (log(NOON + 1, name="search"), log(NOON + 1, visitor="other"), log(NOON + 1 + DAY)):
        assert labels(backend, events, moments, event="purchase", within_days=1).tolist() == [False]


def test_who_does_nothing_any_more_has_churned(backend):
    events = log(NOON, NOON + 3 * DAY, name="search")

    stayed = labels(backend, events, asked(NOON - 1, NOON, NOON + 3 * DAY), event="any", within_days=2)

    assert stayed.tolist() == [True, False, False]


def test_a_value_label_sums_what_follows_the_as_of_up_to_its_horizon(backend):
    events = log(NOON, NOON, NOON + DAY, NOON + 3 * DAY, value=[5, 7, 11, None], id=["a", "b", "b", "c"])

    found = value_labels(
        backend, events, asked(NOON - 1, NOON, NOON + DAY), event="purchase", field="value", within_days=3
    )

    assert found.tolist() == [12, 0, 0]
    assert found.dtype == np.int64


def test_a_label_is_the_same_whatever_happened_up_to_its_as_of(backend):
    moments, later = asked(NOON), {"value": [3, 4]}
    plain = log(NOON + 1, NOON + 2, **later)
    eventful = log(NOON + 1, NOON + 2, *[NOON - 9] * 5, NOON, value=[3, 4, *range(6)])

    for events in (plain, eventful):
        assert value_labels(backend, events, moments, event="any", field="value", within_days=1).tolist() == [7]


def test_a_value_label_of_a_category_is_refused(backend):
    with pytest.raises(Malformed, match="no field of numbers") as caught:
        value_labels(backend, log(NOON), asked(NOON), event="purchase", field="brand", within_days=1)

    assert caught.value.place == "label.field"


@pytest.mark.parametrize(
    ("events", "moments", "place", "remedy"),
    [
        (table(time=[1], name=["purchase"]), asked(NOON), "events.visitor", "add the column"),
        (log(NOON), asked(NOON), "events.value", "add the column"),
        (log(NOON, value=[1.5]), asked(NOON), "events.value", "cast"),
        (log(NOON, value=[True]), asked(NOON), "events.value", "cast"),
        (log(NOON, value=[1]), asked(NOON), "moments.items", "add the column"),
        (log(NOON, value=[1]), asked(NOON, items=[True]), "moments.items", "cast"),
        (log(NOON, value=[1]), asked(NOON, items=["3"]), "moments.items", "cast"),
        (
            log(NOON, value=[1]),
            table(row=[1, 1], visitor=["v", "v"], time=[NOON, NOON], items=[1, 1]),
            "moments.row",
            "number the moments",
        ),
        (
            log(NOON, value=[1]),
            table(row=[1], visitor=["v"], time=pa.array([None], pa.int64()), items=[1]),
            "moments.time",
            "fill it in",
        ),
    ],
)
def test_a_bad_table_is_refused_with_its_place_and_a_remedy(backend, events, moments, place, remedy):
    features = schema(SUM, {"kind": "context", "field": "items"})

    with pytest.raises(Malformed) as caught:
        feature_table(backend, features, events, moments)

    assert caught.value.place == place
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("event", "within_days", "place"),
    [("buy", 3, "label.event"), ("purchase", 0, "label.within_days"), ("purchase", True, "label.within_days")],
)
def test_a_bad_label_is_refused(backend, event, within_days, place):
    with pytest.raises(Malformed) as caught:
        labels(backend, log(NOON), asked(NOON), event=event, within_days=within_days)

    assert caught.value.place == place
    assert caught.value.remedy
