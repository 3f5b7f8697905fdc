"""The kinds that do more than add up, one behaviour each; `tests/property/test_two_engines.py` compares the engines."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from tests.features import DAY, HOUR, NOON, bought, folded

from entrenous.events import Event
from entrenous.features import DECAY_SCALE, decay_weights, derived, slot

MIDNIGHT = NOON - NOON % DAY
LISTED = {"field": "brand", "values": ["a", "b", "c"]}


def at(*times, **fields):
    return [bought(time, **fields) for time in times]


def brands(*pairs):
    return [bought(time, brand=brand) for time, brand in pairs]


def test_the_clock_says_the_utc_hour_and_the_weekday_from_monday():
    for seconds in (0, 3_599, 1_709_164_799, 1_709_164_800, 1_790_000_000):
        clock = datetime.fromtimestamp(seconds, UTC)
        assert (derived("hour", seconds), derived("weekday", seconds)) == (clock.hour, clock.weekday())
    np.testing.assert_array_equal(derived("weekday", np.array([0, 345_600])), [3, 0])


@pytest.mark.parametrize(
    ("feature", "nothing"),
    [
        ({"kind": "mean", "field": "value"}, math.nan),
        ({"kind": "min", "field": "value"}, math.nan),
        ({"kind": "max", "field": "value"}, math.nan),
        ({"kind": "ratio", "per": "view_item"}, math.nan),
        ({"kind": "share", "value": "a", **LISTED}, math.nan),
        ({"kind": "first", **LISTED}, math.nan),
        ({"kind": "affinity", "half_life": 1, **LISTED}, math.nan),
        ({"kind": "distinct", **LISTED}, 0),
        ({"kind": "distinct", "field": "brand", "slots": 8}, 0),
        ({"kind": "streak"}, 0),
        ({"kind": "sessions"}, 0),
        ({"kind": "session_length"}, 0),
    ],
)
def test_nothing_is_zero_for_what_is_counted_and_nan_for_the_rest(feature, nothing):
    np.testing.assert_equal(folded(feature, []), nothing)


# Numbers


def test_a_mean_is_over_the_events_that_have_the_field():
    assert folded(
        {"kind": "mean", "field": "value"}, [*at(NOON, NOON - DAY, value=10), *at(NOON, value=2), bought(NOON)]
    ) == (np.float32(22 / 3))


def test_a_mean_of_zeros_is_zero():
    assert folded({"kind": "mean", "field": "value"}, at(NOON, value=0)) == 0


def test_the_least_and_the_greatest_leave_with_their_bucket():
    events = [bought(NOON, value=5), bought(NOON - DAY, value=9), bought(NOON - DAY, value=1), bought(NOON)]

    assert [folded({"kind": kind, "field": "value"}, events) for kind in ("min", "max")] == [1, 9]
    assert [folded({"kind": kind, "field": "value"}, events, NOON + DAY) for kind in ("min", "max")] == [5, 5]


def test_a_ratio_divides_by_another_event():
    views = [Event(name="view_item", time=NOON) for _ in range(4)]

    assert folded({"kind": "ratio", "per": "view_item"}, [*views, *at(NOON)]) == 0.25
    assert folded({"kind": "ratio", "per": "view_item"}, views) == 0
    assert math.isnan(folded({"kind": "ratio", "per": "view_item"}, at(NOON)))


# Streaks


def test_a_streak_ends_at_the_latest_day_with_an_event():
    days = at(NOON - 2 * DAY, NOON - 3 * DAY, NOON - 3 * DAY + 5, NOON - 5 * DAY)

    assert folded({"kind": "streak", "window": 9}, days) == 2


def test_a_streak_sees_nothing_before_its_window():
    assert folded({"kind": "streak", "window": 3}, at(*(NOON - day * DAY for day in range(9)))) == 3


def test_a_day_is_a_day_whatever_the_clocks_do():
    """25 hours of a Sunday in Paris, 2024-10-27, are two UTC days and no more."""
    first = 1_729_980_000  # midnight in Paris
    hours = at(*(first + hour * HOUR for hour in range(25)))

    assert folded({"kind": "streak", "window": 9}, hours, first + 25 * HOUR) == 2
    assert folded({"kind": "days", "window": 9}, hours, first + 25 * HOUR) == 2


def test_the_leap_day_is_a_day_of_its_own():
    noon = 1_709_208_000  # 2024-02-29

    assert folded({"kind": "streak", "window": 9}, at(noon - DAY, noon, noon + DAY), noon + DAY) == 3


# Categories


def test_first_is_the_earliest_in_the_window_and_moves_on_with_it():
    events = brands((NOON, "c"), (NOON - DAY, "b"), (NOON - DAY - 1, "x"), (NOON - 2 * DAY, "a"))

    assert folded({"kind": "first", **LISTED}, events) == 1
    assert folded({"kind": "first", **LISTED}, events, NOON + DAY) == 2


def test_first_takes_the_lower_code_of_two_in_one_second():
    assert folded({"kind": "first", **LISTED}, brands((NOON, "c"), (NOON, "b"), (NOON + 1, "a")), NOON + 1) == 1


def test_a_share_is_of_the_events_with_a_listed_value():
    events = brands((NOON, "a"), (NOON, "b"), (NOON, "b"), (NOON - DAY, "c"), (NOON, "unlisted"), (NOON, ""))

    assert folded({"kind": "share", "value": "b", **LISTED}, events) == 0.5
    assert folded({"kind": "share", "value": "a", **LISTED}, brands((NOON, "c"))) == 0


def test_affinity_weighs_yesterday_less():
    feature = {"kind": "affinity", "half_life": 1, "window": 9, **LISTED}
    older = brands(*[(NOON - 2 * DAY, "c")] * 3)

    assert folded(feature, [*older, *brands((NOON, "b"))]) == 1
    assert folded(feature | {"kind": "affinity", "half_life": 9}, [*older, *brands((NOON, "b"))]) == 2


def test_affinity_takes_the_lower_code_of_equals():
    feature = {"kind": "affinity", "half_life": 1, **LISTED}
    weights = decay_weights(1, 2)

    assert 2 * weights[1] == weights[0] == DECAY_SCALE
    assert folded(feature, brands((NOON, "b"), (NOON - DAY, "a"), (NOON - DAY, "a"))) == 0


@pytest.mark.parametrize(("rank", "code"), [(1, 2), (2, 0), (3, math.nan)])
def test_a_rank_asks_for_the_next_most_liked(rank, code):
    feature = {"kind": "affinity", "half_life": 1, "rank": rank, **LISTED}

    np.testing.assert_equal(folded(feature, brands((NOON, "a"), (NOON, "c"), (NOON, "c"))), code)


def test_distinct_counts_each_listed_value_once():
    events = brands((NOON, "a"), (NOON, "a"), (NOON - DAY, "c"), (NOON, "unlisted"), (NOON - 2 * DAY, "b"))

    assert folded({"kind": "distinct", **LISTED}, events) == 2


def test_distinct_in_slots_knows_values_that_nobody_listed_and_never_says_more_than_slots():
    names = [f"brand {i}" for i in range(500)]
    few = names[:3]
    slots = {"kind": "distinct", "field": "brand", "slots": 60}

    assert folded(slots, brands(*((NOON, name) for name in few), (NOON, few[0]), (NOON, ""))) == (
        len({slot(name, 60) for name in few})
    )
    assert folded(slots, brands(*((NOON, name) for name in names))) == 60


# Sessions


def test_a_session_is_a_run_of_half_hours_with_an_event():
    day = at(MIDNIGHT, MIDNIGHT + 1_800, MIDNIGHT + 2 * HOUR, MIDNIGHT + 2 * HOUR + 9, MIDNIGHT + 5 * HOUR)

    assert folded({"kind": "sessions"}, day) == 3


@pytest.mark.parametrize(
    ("pause", "sessions"), [(1, {1}), (1_800, {1}), (1_801, {1, 2}), (3_599, {1, 2}), (3_600, {2})]
)
def test_thirty_minutes_never_end_a_session_and_an_hour_always_does(pause, sessions):
    met = {folded({"kind": "sessions"}, at(start, start + pause)) for start in range(MIDNIGHT, MIDNIGHT + HOUR)}

    assert met == sessions


def test_a_session_over_midnight_is_one():
    assert folded({"kind": "sessions"}, at(MIDNIGHT - 1, MIDNIGHT)) == 1
    assert folded({"kind": "sessions"}, at(MIDNIGHT - 1_801, MIDNIGHT)) == 2


def test_a_session_that_began_before_the_window_counts():
    assert folded({"kind": "sessions", "window": 1}, at(MIDNIGHT - 1, MIDNIGHT)) == 1
    assert folded({"kind": "sessions", "window": 1}, at(MIDNIGHT - 1)) == 0


def test_the_open_session_counts_its_events_however_late_they_arrive():
    events = at(NOON, NOON - 1_800, NOON - 3_600, NOON - 3_600 + 5, NOON - 3 * HOUR)
    late = at(NOON - 9_000, NOON - 7_200, NOON - 5_400)

    assert folded({"kind": "session_length", "window": 24}, events) == 4
    assert folded({"kind": "session_length", "window": 24}, [*events, *late]) == 8


def test_a_session_stays_open_for_the_half_hour_after_its_last():
    lengths = [folded({"kind": "session_length"}, at(NOON, NOON + 9), NOON + later) for later in (1_799, 3_599, 3_600)]

    assert lengths == [2, 2, 0]


def test_the_length_of_a_session_is_seen_within_its_window_alone():
    halves = at(*(NOON - 1_800 * half for half in range(9)))

    assert folded({"kind": "session_length", "window": 1}, halves) == 2
    assert folded({"kind": "session_length", "window": 3}, halves) == 6
