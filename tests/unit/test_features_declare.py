"""A feature's declaration: what it may say, and what is refused with its place and a remedy."""

from __future__ import annotations

import pytest

from entrenous.features import DECAY_SCALE, KINDS, Feature, decay_weights, parse_feature, parse_schema, slot, stamp
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

RULES = {
    "purpose": "personalize",
    "category": "user.behavior.purchase_history",
    "source": "app",
    "retention_days": 90,
}
COUNT = {"name": "purchases", "kind": "count", "event": "purchase", "window": 28, **RULES}
SUM = COUNT | {"kind": "sum", "field": "value"}
DECAYED = SUM | {"kind": "decayed_sum", "half_life": 7}
RATIO = COUNT | {"kind": "ratio", "per": "view_item"}
TOP = COUNT | {"kind": "top", "field": "category", "values": ["shoes", "hats"]}
SHARE = TOP | {"kind": "share", "value": "hats"}
AFFINITY = TOP | {"kind": "affinity", "half_life": 14}
SLOTS = COUNT | {"kind": "distinct", "field": "category", "slots": 60}
LENGTH = COUNT | {"kind": "session_length", "window": 24}
CONTEXT = {"name": "device", "kind": "context", "field": "device", "values": ["phone", "desktop"], **RULES}


def parse(values):
    return parse_feature(Table(values, "features[0]"))


def without(values, key):
    return {kept: value for kept, value in values.items() if kept != key}


@pytest.mark.parametrize(
    "values",
    [
        COUNT,
        COUNT | {"unit": "hour", "window": 336},
        COUNT | {"kind": "days"},
        COUNT | {"kind": "recency"},
        SUM,
        DECAYED,
        TOP,
        TOP | {"kind": "last", "field": "brand"},
        COUNT | {"event": "any"},
        SUM | {"kind": "mean"},
        SUM | {"kind": "min"},
        SUM | {"kind": "max", "unit": "hour"},
        TOP | {"kind": "first"},
        TOP | {"kind": "distinct"},
        SLOTS,
        SHARE,
        AFFINITY,
        AFFINITY | {"rank": 2},
        RATIO,
        RATIO | {"per": "any"},
        COUNT | {"kind": "streak"},
        COUNT | {"kind": "sessions", "event": "any"},
        LENGTH,
        CONTEXT,
        without(CONTEXT, "values"),
        without(CONTEXT, "values") | {"field": "hour"},
        without(CONTEXT, "values") | {"field": "weekday", "retention_days": 0},
    ],
)
def test_a_declaration_written_out_is_read_back_the_same(values):
    feature = parse(values)

    assert isinstance(feature, Feature)
    assert parse(feature.as_table()) == feature


def test_the_unit_is_a_day_unless_said_otherwise():
    assert parse(COUNT).unit == "day"
    assert parse(LENGTH).unit == "hour"


def test_the_declarations_that_stand_in_manifests_keep_their_stamps():
    assert stamp(map(parse, [COUNT, SUM, DECAYED, TOP, CONTEXT])).hex() == "4e2bc4b7c9f7b70f"


def test_values_are_codes_only_where_the_number_is_one():
    assert (parse(TOP).values, parse(TOP).among) == (("shoes", "hats"), ())
    assert (parse(SHARE).values, parse(SHARE).among) == ((), ("shoes", "hats"))
    coded = {"affinity", "first", "funnel", "imported", "last", "moment", "told", "top"}
    assert {name for name, kind in KINDS.items() if kind.coded} == coded


@pytest.mark.parametrize(
    ("values", "settable"),
    [(TOP, True), (AFFINITY, True), (AFFINITY | {"rank": 2}, False), (SHARE, False), (COUNT, False), (CONTEXT, False)],
)
def test_a_category_can_be_set_where_one_is_held(values, settable):
    assert parse(values).settable is settable


def test_a_slot_is_the_same_everywhere():
    assert [slot(value, 60) for value in ("shoes", "hats", "É")] == [10, 54, 9]
    assert {slot(str(i), 7) for i in range(100)} == set(range(7))


@pytest.mark.parametrize(
    ("values", "place", "remedy"),
    [
        (COUNT | {"kind": "median"}, "kind", "use one of: abandoned, affinity, age"),
        (without(COUNT, "kind"), "kind", "add it"),
        (COUNT | {"event": "buy"}, "event", "use one of:"),
        (without(COUNT, "event"), "event", "add it"),
        (COUNT | {"window": 91}, "window", "shorten it or raise retention_days"),
        (COUNT | {"window": 2, "retention_days": 1}, "window", "shorten it or raise retention_days"),
        (COUNT | {"window": 0}, "window", ""),
        (COUNT | {"window": True}, "window", ""),
        (COUNT | {"window": 401, "retention_days": 3650}, "window", ""),
        (COUNT | {"unit": "hour", "window": 337}, "window", ""),
        (COUNT | {"unit": "week"}, "unit", "use one of: day, hour"),
        (COUNT | {"kind": "days", "unit": "hour"}, "unit", "use one of: day"),
        (COUNT | {"field": "value"}, "field", "remove it"),
        (COUNT | {"windows": 3}, "windows", "remove it"),
        (COUNT | {"name": "Purchases"}, "name", "use a-z"),
        (COUNT | {"purpose": ""}, "purpose", "fill it in"),
        (without(COUNT, "purpose"), "purpose", "add it"),
        (COUNT | {"retention_days": 10**6}, "retention_days", ""),
        (SUM | {"field": "brand"}, "field", "use one of: price, value, quantity"),
        (SUM | {"half_life": 7}, "half_life", "remove it"),
        (without(DECAYED, "half_life"), "half_life", "add it"),
        (DECAYED | {"half_life": 0}, "half_life", ""),
        (TOP | {"field": "price"}, "field", "use one of: brand, category"),
        (TOP | {"values": []}, "values", "list the category's values"),
        (TOP | {"values": ["hats", "hats"]}, "values", ""),
        (TOP | {"values": ["hats", 7]}, "values[1]", ""),
        (without(TOP, "values") | {"kind": "first"}, "values", "list the category's values"),
        (SHARE | {"value": "gloves"}, "value", "use one of: shoes, hats"),
        (without(SHARE, "value"), "value", "add it"),
        (TOP | {"value": "hats"}, "value", "remove it"),
        (without(AFFINITY, "half_life"), "half_life", "add it"),
        (AFFINITY | {"rank": 0}, "rank", "choose a value within"),
        (AFFINITY | {"rank": 4, "values": ["a", "b", "c", "d"]}, "rank", "choose a value within"),
        (AFFINITY | {"rank": 3}, "rank", "list more, or lower it"),
        (TOP | {"rank": 2}, "rank", "remove it"),
        (without(SLOTS, "slots"), "slots", "add it"),
        (SLOTS | {"slots": 1}, "slots", "choose a value within"),
        (SLOTS | {"slots": 61}, "slots", "choose a value within"),
        (SLOTS | {"values": ["a"]}, "slots", "remove it"),
        (SLOTS | {"field": "price"}, "field", "use one of: brand, category"),
        (SUM | {"kind": "mean", "field": "brand"}, "field", "use one of: price, value, quantity"),
        (without(SUM, "field") | {"kind": "max"}, "field", "add it"),
        (without(RATIO, "per"), "per", "add it"),
        (RATIO | {"per": "purchase"}, "per", "name another event"),
        (RATIO | {"per": "buy"}, "per", "use one of: any, add_payment_info"),
        (COUNT | {"per": "search"}, "per", "remove it"),
        (COUNT | {"kind": "streak", "unit": "hour"}, "unit", "use one of: day"),
        (COUNT | {"kind": "sessions", "unit": "hour"}, "unit", "use one of: day"),
        (LENGTH | {"unit": "day"}, "unit", "use one of: hour"),
        (LENGTH | {"window": 25}, "window", "choose a value within"),
        (LENGTH | {"retention_days": 0}, "window", "shorten it or raise retention_days"),
        (without(AFFINITY, "purpose"), "purpose", "add it"),
        (CONTEXT | {"field": "hour"}, "values", "remove it"),
        (CONTEXT | {"event": "purchase"}, "event", "remove it"),
        (CONTEXT | {"field": "improve"}, "field", "rename it"),
    ],
)
def test_a_bad_declaration_is_refused_with_its_place_and_a_remedy(values, place, remedy):
    with pytest.raises(Malformed) as caught:
        parse(values)

    assert caught.value.place == f"features[0].{place}"
    assert remedy in caught.value.remedy


def test_a_schema_keeps_the_order_of_its_features():
    schema = parse_schema([Table(COUNT), Table(CONTEXT), Table(SUM | {"name": "spent"})])

    assert [feature.name for feature in schema] == ["purchases", "device", "spent"]


def test_a_name_declared_twice_is_refused():
    with pytest.raises(Malformed, match="is declared twice") as caught:
        parse_schema([Table(COUNT, "features[0]"), Table(SUM, "features[1]")])

    assert (caught.value.place, caught.value.remedy) == ("features[1].name", "rename one")


def test_an_empty_schema_is_refused():
    with pytest.raises(Malformed, match="declares no feature") as caught:
        parse_schema([])

    assert (caught.value.place, caught.value.remedy) == ("features", "declare at least one")


def test_decay_weights_are_integers_that_halve_every_half_life():
    weights = decay_weights(2, 5)

    assert weights[::2] == (DECAY_SCALE, DECAY_SCALE // 2, DECAY_SCALE // 4)
    assert weights[1] ** 2 <= DECAY_SCALE**2 // 2 < (weights[1] + 1) ** 2
    assert all(isinstance(weight, int) for weight in weights)


def test_the_stamp_changes_with_any_declaration_and_with_their_order():
    one, other = parse(COUNT), parse(SUM | {"name": "spent"})
    longer = parse(COUNT | {"window": 29})

    stamps = {stamp(features) for features in ([one, other], [other, one], [longer, other], [one])}

    assert len(stamps) == 4
    assert all(len(value) == 8 for value in stamps)
    assert stamp([one, other]) == stamp([parse(COUNT), other])
