"""What each interpretation says of a small history, worked out by hand."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
from tests.features import DAY, HOUR, NOON, bought, fold, folded, plan, schema

from entrenous.events import Event, parse_attribute
from entrenous.features import ANY, INTERPRETATIONS, KINDS, lifetime
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

CDNOW = {"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259, "p": 6.25, "q": 3.744, "gamma": 15.44, "unit": "week"}
LISTED = {"field": "brand", "values": ["a", "b", "c"]}


def on(*ages: int, **fields: object) -> list[Event]:
    """Purchases so many days ago."""
    return [bought(NOON - age * DAY, **fields) for age in ages]


def seen(*ages: int, name: str = "view_item", **fields: object) -> list[Event]:
    return [Event(name=name, time=NOON - age * DAY, **fields) for age in ages]


def hours(name: str, *ages: int, **fields: object) -> list[Event]:
    return [Event(name=name, time=NOON - age * HOUR, **fields) for age in ages]


ABC = [bought(NOON - i, brand=brand) for i, brand in enumerate("cbba")]
"""Latest first: the first brand is a, the latest c, and b the most frequent."""
PRICES = [*on(0, price=300, value=300), *on(9, price=100, value=100)]
LEFT = {"kind": "abandoned", "event": "add_to_cart", "per": "purchase"}
OPEN = LEFT | {"kind": "outstanding"}
WHERE = {"kind": "moment", "unit": "hour", "window": 336}
MODEL = {"kind": "alive", "window": 200, "lifetime": CDNOW}

CASES = [
    ({"kind": "age", "window": 30}, on(2, 9), 9),
    ({"kind": "peak", "window": 30}, on(2, 2, 9), 2),
    ({"kind": "pause", "window": 30}, on(2, 5, 12), 7),
    ({"kind": "pause", "window": 30}, on(2), math.nan),
    ({"kind": "pause", "window": 12}, on(2, 5, 12), 3),
    ({"kind": "gap", "window": 30}, on(2, 5, 12), 5),
    ({"kind": "gap", "window": 30}, on(2, 2), math.nan),
    ({"kind": "regularity", "window": 30}, on(2, 5, 12), 5 / 7),
    ({"kind": "regularity", "window": 30}, on(0, 10, 20), 1),
    ({"kind": "due", "window": 30}, on(8, 12, 16), 2),
    ({"kind": "trend", "window": 28}, on(0, 1, 20, 21), 2),
    ({"kind": "trend", "window": 28}, [], math.nan),
    ({"kind": "momentum", "window": 10}, on(0, 1, 2, 7), 0.5),
    ({"kind": "momentum", "window": 3}, on(0, 2), (2 - 1) / (2 + 1)),
    ({"kind": "momentum", "window": 10}, [], math.nan),
    ({"kind": "drift", "window": 40, "field": "price"}, PRICES + on(30, price=200), 1),
    ({"kind": "drift", "window": 40, "field": "price"}, on(0, price=300) + on(30, price=100) + on(3), 1.5),
    ({"kind": "intensity", "window": 30}, on(2, 2, 2, 9), 2),
    ({"kind": "burst", "window": 30}, on(2, 2, 2, 9), 0.75),
    ({"kind": "loyalty", "window": 30}, on(1, 3), 0.5),
    ({"kind": "presence", "window": 8}, on(1, 3), 0.25),
    ({"kind": "presence", "window": 8}, [], 0),
    # Day 20,000 of Unix time was a Thursday.
    ({"kind": "weekend", "window": 8}, on(0, 4, 5, 6), 0.5),
    ({"kind": "weekend", "window": 8}, [], math.nan),
    ({"kind": "newcomer", "event": ANY, "window": 8}, on(1), 1),
    ({"kind": "newcomer", "event": ANY, "window": 8}, on(1, 2), 0),
    ({"kind": "newcomer", "event": ANY, "window": 8}, [], 1),
    ({"kind": "exploration", "field": "brand", "slots": 60}, ABC, 0.75),
    ({"kind": "exploration", "field": "brand", "slots": 60}, on(0, 1), math.nan),
    ({"kind": "coverage", **LISTED}, ABC[:2], 2 / 3),
    ({"kind": "coverage", **LISTED}, [], 0),
    ({"kind": "focus", **LISTED}, ABC, (1 + 4 + 1) / 16),
    ({"kind": "focus", **LISTED}, on(0, brand="z"), math.nan),
    ({"kind": "strayed", **LISTED}, ABC, 1),
    ({"kind": "strayed", **LISTED}, ABC[1:], 0),
    ({"kind": "strayed", **LISTED}, [], math.nan),
    ({"kind": "settled", **LISTED}, ABC, 0),
    ({"kind": "settled", **LISTED}, ABC[:1], 1),
    ({"kind": "spread", "field": "price", "window": 30}, PRICES, 2 / 3),
    ({"kind": "spread", "field": "price", "window": 30}, on(1, price=0), math.nan),
    ({"kind": "price_gap", "field": "price", "per": "view_item"}, on(0, price=300) + seen(0, 1, price=100), 3),
    ({"kind": "worth", "field": "value", "per": "view_item"}, on(0, value=300) + seen(0, 1, 1), 100),
    ({"kind": "given_back", "field": "value", "per": "refund"}, on(0, value=4) + seen(0, name="refund", value=1), 0.25),
    ({"kind": "given_back", "field": "value", "per": "refund"}, on(0, value=4) + seen(0, name="refund", value=9), 1),
    ({"kind": "given_back", "field": "value", "per": "refund"}, seen(0, name="refund", value=9), math.nan),
    (LEFT, seen(0, 1, 1, 1, name="add_to_cart") + on(0), 0.75),
    (LEFT, seen(0, name="add_to_cart") + on(0, 1), 0),
    (LEFT, on(0), math.nan),
    (OPEN, seen(0, name="add_to_cart") + on(1), 1),
    (OPEN, seen(1, name="add_to_cart") + on(1), 0),
    (OPEN, seen(1, name="add_to_cart"), 1),
    (OPEN, on(1), 0),
    ({"kind": "lag", "event": "view_item", "per": "purchase", "window": 30}, seen(2) + on(9), 7),
    ({"kind": "lag", "event": "view_item", "per": "purchase", "window": 30}, seen(9) + on(2), -7),
    ({"kind": "lag", "event": "view_item", "per": "purchase", "window": 30}, on(2), math.nan),
    ({"kind": "per_session", "window": 30}, on(2, 2, 9) + seen(20, 21), 0.75),
    ({"kind": "engagement", "event": ANY, "window": 30}, on(0, 0, 9), 2 / 1.5),
    ({"kind": "recency_score", "window": 30, "cuts": [3, 9]}, on(2), 3),
    ({"kind": "recency_score", "window": 30, "cuts": [3, 9]}, on(3), 2),
    ({"kind": "recency_score", "window": 30, "cuts": [3, 9]}, on(20), 1),
    ({"kind": "recency_score", "window": 30, "cuts": [3, 9]}, [], 0),
    ({"kind": "frequency_score", "window": 30, "cuts": [2, 4]}, on(1, 2), 2),
    ({"kind": "frequency_score", "window": 30, "cuts": [2, 4]}, [], 0),
    ({"kind": "monetary_score", "window": 30, "field": "value", "cuts": [300, 500]}, PRICES, 2),
    ({"kind": "rfm_score", "window": 30, "field": "value", "cuts": [3, 9, 2, 4, 300, 500]}, PRICES, 322),
    (MODEL, on(14, 28), lifetime.alive(lifetime.parse_lifetime(Table(CDNOW)), 1, 2, 4)),
    (MODEL, [], math.nan),
    (MODEL | {"kind": "churn"}, on(14, 28), 1 - lifetime.alive(lifetime.parse_lifetime(Table(CDNOW)), 1, 2, 4)),
    ({"kind": "funnel", "window": 2}, seen(0) + seen(1, name="begin_checkout"), 3),
    ({"kind": "funnel", "window": 2}, seen(0, name="search"), 0),
    (WHERE, [], math.nan),
    (WHERE, hours("view_item", 1, 2, category="a"), 0),
    (WHERE, hours("view_item", 1, 2, 3, category="a"), 1),
    (WHERE, hours("view_item", 1, 2, 3), 0),
    (WHERE, hours("view_item", 1) + hours("add_to_cart", 47), 2),
    (WHERE, hours("view_item", 1) + hours("begin_checkout", 48), 0),
    (WHERE, hours("add_to_cart", 5) + hours("purchase", 4), 3),
    (WHERE, hours("add_to_cart", 4) + hours("purchase", 5), 2),
    (WHERE, hours("view_item", 1) + hours("purchase", 300), 3),
]  # fmt: skip


@pytest.mark.parametrize(("feature", "events", "expected"), CASES)
def test_an_interpretation_says_what_its_line_says(feature, events, expected):
    value = folded(feature, events)

    np.testing.assert_equal(np.float32(value), np.float32(expected))


def test_every_interpretation_is_declared_and_the_other_way_round():
    assert INTERPRETATIONS.keys() == {name for name, kind in KINDS.items() if kind.made}


def test_the_value_of_a_customer_is_that_of_the_days_they_bought_on():
    model = lifetime.parse_lifetime(Table(CDNOW))
    common = {"window": 200, "lifetime": CDNOW}
    value = common | {"field": "value"}
    events = [*on(14, 14, value=1000), *on(28, value=4000)]

    buys, worth, ahead = fold(
        plan(
            common | {"kind": "expected_purchases", "horizon": 90},
            value | {"kind": "expected_value"},
            value | {"kind": "lifetime_value", "horizon": 90, "discount": 0.01},
        ),
        events,
    )

    assert buys == np.float32(lifetime.expected_purchases(model, 1, 2, 4, 90 / 7))
    assert worth == np.float32(lifetime.expected_value(model, 2, 3000))
    assert ahead == np.float32(lifetime.lifetime_value(model, 1, 2, 4, 3000, 90 / 7, 0.01))


def test_features_share_what_they_are_made_of():
    alone = plan({"kind": "days", "window": 30})
    together = plan(*({"kind": kind, "window": 30} for kind in ("days", "gap", "due", "loyalty", "presence", "pause")))

    assert len(together.empty()) == len(alone.empty()) == 1


def test_what_is_made_of_others_can_be_forgotten_and_not_set():
    one = plan({"kind": "focus", **LISTED}, {"kind": "coverage", **LISTED}, {"kind": "funnel"})
    state = one.empty()
    for event in ABC:
        one.apply(state, event)

    assert one.correct(state, 0, None, NOON) == {0, 1}
    assert not any(feature.settable for feature in schema({"kind": "focus", **LISTED}, {"kind": "funnel"}))


# What was said


def said(name: str, value: object, *, age: int = 0, holds: bool = True):
    return parse_attribute(name, value, time=NOON - age, now=NOON, holds=holds)


SIZE = {"kind": "told", "field": "size", "values": ["s", "m", "l"], "window": 30}
LESS = {"kind": "asked", "field": "less_of", "values": ["bags", "belts"], "window": 30}
TIER = {"kind": "imported", "field": "tier", "values": ["silver", "gold"], "window": 30}
SPENT = {"kind": "imported", "field": "spent", "window": 30}


@pytest.mark.parametrize(
    ("feature", "sayings", "expected"),
    [
        (SIZE, [], math.nan),
        (SIZE, [said("told:size", "m", age=9), said("told:size", "l")], 2),
        (SIZE, [said("told:size", "m", age=9), said("told:size", "xl")], 1),
        (SIZE, [said("told:size", "m", age=9), said("told:size", "m", holds=False)], math.nan),
        (SIZE, [said("told:size", "m", age=30 * DAY)], math.nan),
        (LESS | {"value": "bags"}, [said("told:less_of", "bags", age=9), said("told:less_of", "belts")], 1),
        (LESS | {"value": "bags"}, [said("told:less_of", "bags", age=9), said("told:less_of", "bags", holds=False)], 0),
        (LESS | {"value": "bags"}, [said("told:less_of", "belts")], math.nan),
        (TIER, [said("imported:tier", "gold", age=9), said("imported:tier", "silver", age=99)], 1),
        (TIER, [said("imported:tier", 7)], math.nan),
        (SPENT, [said("imported:spent", 12.5, age=9), said("imported:spent", -3, age=99)], 12.5),
        (SPENT, [said("imported:spent", -3)], -3),
        (SPENT, [said("imported:spent", "much")], math.nan),
        (SPENT, [said("told:spent", 7)], math.nan),
    ],
)
def test_what_was_said_last_is_what_holds(feature, sayings, expected):
    one = plan(feature)
    state = one.empty()
    for each in reversed(sayings):
        one.apply(state, each)
    state = one.unpack(one.pack(state, NOON))

    np.testing.assert_equal(np.frombuffer(one.fold(state, NOON), np.float32)[0], np.float32(expected))


def test_what_was_told_can_be_taken_back_word_by_word():
    one = plan(SIZE, LESS | {"value": "bags"})
    state = one.empty()
    for each in (said("told:size", "m", age=9), said("told:size", "l", age=5), said("told:less_of", "bags")):
        one.apply(state, each)

    told = []
    while one.undo(state, "size"):
        told.append(np.frombuffer(one.fold(state, NOON), np.float32).tolist())

    np.testing.assert_equal(told, [[1, 1], [math.nan, 1]])
    assert not one.undo(state, "size")


def test_two_features_of_one_matter_take_back_the_same_word():
    one = plan(SIZE, SIZE | {"values": ["xl", "m"]})
    state = one.empty()
    for each in (said("told:size", "m", age=9), said("told:size", "xl", age=5)):
        one.apply(state, each)

    assert one.undo(state, "size")

    assert np.frombuffer(one.fold(state, NOON), np.float32).tolist() == [1, 1]


def test_words_are_remembered_up_to_a_bound():
    one = plan(SIZE)
    state = one.empty()
    for age in range(100):
        one.apply(state, said("told:size", "m", age=100 - age))

    undone = sum(1 for _ in iter(lambda: one.undo(state, "size"), False))

    assert undone == 32


def test_what_was_told_on_two_devices_is_merged():
    one = plan(SIZE, TIER, SPENT)
    here, there, both = one.empty(), one.empty(), one.empty()
    sayings = (
        [said("told:size", "m", age=i) for i in range(20)],
        [said("told:size", "l", age=40 - i) for i in range(20)],
    )
    sayings[0].append(said("imported:tier", "gold"))
    sayings[1].append(said("imported:spent", 3))
    for state, some in ((here, sayings[0]), (there, sayings[1]), (both, chain(*sayings))):
        for each in some:
            one.apply(state, each)

    one.merge(here, there)

    assert one.pack(here, NOON) == one.pack(both, NOON)


@pytest.mark.parametrize(
    ("value", "time", "place"),
    [
        (True, NOON, "event.value"),
        (None, NOON, "event.value"),
        (math.nan, NOON, "event.value"),
        (math.inf, NOON, "event.value"),
        (1e39, NOON, "event.value"),
        ("", NOON, "event.value"),
        ("x" * 129, NOON, "event.value"),
        ("x", NOON + 1, "event.time"),
        ("x", "now", "event.time"),
    ],
)
def test_what_nobody_can_have_said_is_refused(value, time, place):
    with pytest.raises(Malformed) as caught:
        parse_attribute("told:size", value, time=time, now=NOON)

    assert caught.value.place == place
