"""Other systems' events as ours: the packaged mappings on what those systems write, and rows that are none."""

from __future__ import annotations

import pytest

from entrenous.events import EVENT_NAMES, parse_event
from entrenous.importing.mapping import minor_units, packaged_mappings, parse_mapping, read_mapping
from entrenous_consent.errors import Malformed, Missing

NOW = 1_790_000_000
LINES = [
    {"item_brand": "Sole", "item_category": "boots", "price": 49.99, "quantity": 2},
    {"item_category": "bags", "price": 5},
]
GA4 = {
    "event": "purchase",
    "event_id": "e-1",
    "user_id": "customer-42",
    "client_id": "browser-7",
    "timestamp": "2026-09-20T10:00:00+02:00",
    "ecommerce": {"currency": "EUR", "value": 104.98, "transaction_id": "T-1", "items": LINES},
}
BIGQUERY = {
    "event_name": "view_item",
    "user_pseudo_id": "browser-7",
    "event_timestamp": 1_789_891_200_000_000,
    "currency": "JPY",
    "ecommerce": {},
    "items": [{"item_category": "boots", "price": 4999}],
}
SEGMENT = {
    "type": "track",
    "event": "Order Completed",
    "messageId": "m-1",
    "anonymousId": "browser-7",
    "timestamp": "2026-09-20T08:00:00.250Z",
    "properties": {
        "order_id": "T-1",
        "revenue": 104.98,
        "currency": "EUR",
        "products": [{"brand": "Sole", "category": "boots", "price": "49.99", "quantity": 2}],
    },
}
SNOWPLOW = {
    "event": "unstruct",
    "event_id": "s-1",
    "user_id": None,
    "domain_userid": "browser-7",
    "derived_tstamp": "2026-09-20 08:00:00.000",
    "unstruct_event_com_snowplowanalytics_snowplow_ecommerce_snowplow_ecommerce_action_1": {"type": "product_view"},
    "contexts_com_snowplowanalytics_snowplow_ecommerce_product_1": [
        {"category": "boots", "price": 49.99, "currency": "EUR", "quantity": 1}
    ],
}
OWN = {
    "visitor": "customer-42",
    "name": "view_item",
    "time": 1_789_891_200,
    "price": 4999,
    "currency": "EUR",
    "category": "boots",
}
TIME = 1_789_891_200
"""2026-09-20T08:00:00Z."""


def line(**more: object) -> dict[str, object]:
    return {"time": TIME, **more}


CASES = [
    (
        "ga4",
        GA4,
        "customer-42",
        [
            line(
                name="purchase",
                id="e-1/0",
                transaction_id="T-1",
                price=4999,
                quantity=2,
                brand="Sole",
                category="boots",
                value=9998,
                currency="EUR",
            ),
            line(
                name="purchase", id="e-1/1", transaction_id="T-1", price=500, category="bags", value=500, currency="EUR"
            ),
        ],
    ),
    (
        "ga4_bigquery",
        BIGQUERY,
        "browser-7",
        [line(name="view_item", price=4999, value=4999, category="boots", currency="JPY")],
    ),
    (
        "segment",
        SEGMENT,
        "browser-7",
        [
            line(
                name="purchase",
                id="m-1/0",
                transaction_id="T-1",
                price=4999,
                quantity=2,
                brand="Sole",
                category="boots",
                value=9998,
                currency="EUR",
            )
        ],
    ),
    (
        "snowplow",
        SNOWPLOW,
        "browser-7",
        [line(name="view_item", id="s-1/0", price=4999, quantity=1, category="boots", value=4999, currency="EUR")],
    ),
    ("entrenous", OWN, "customer-42", [line(name="view_item", price=4999, category="boots", currency="EUR")]),
]


@pytest.mark.parametrize(("name", "row", "visitor", "events"), CASES, ids=[one[0] for one in CASES])
def test_a_packaged_mapping_reads_what_that_system_writes(name, row, visitor, events):
    mapped = read_mapping(name).events(row)
    assert mapped.visitor == visitor
    assert list(mapped.events) == events
    for event in mapped.events:
        rest = {key: value for key, value in event.items() if key not in ("name", "time")}
        assert parse_event(event["name"], rest, time=event["time"], now=NOW)


def test_every_packaged_mapping_has_its_case_and_names_events_of_ours_alone():
    assert {one[0] for one in CASES} == set(packaged_mappings())
    for name in packaged_mappings():
        assert set(read_mapping(name).names.values()) <= EVENT_NAMES


def test_what_is_none_of_our_events_comes_to_none():
    assert read_mapping("ga4").events(GA4 | {"event": "gtm.click"}).events == ()
    assert read_mapping("ga4").events({"user_id": "x", "event": 7}).events == ()


@pytest.mark.parametrize(
    ("row", "place", "what"),
    [
        ([], "row", "no object"),
        (None, "row", "no object"),
        ({"event": "purchase"}, "visitor", "names no visitor"),
        (GA4 | {"user_id": 7, "client_id": None}, "visitor", "names no visitor"),
        (GA4 | {"timestamp": "2026-09-20T10:00:00"}, "time", "no time zone"),
        (GA4 | {"timestamp": "yesterday"}, "time", "no date"),
        (GA4 | {"timestamp": None}, "time", "no date"),
        (GA4 | {"ecommerce": {"value": 3, "currency": None}}, "value", "no currency"),
        (GA4 | {"ecommerce": {"value": -3, "currency": "EUR"}}, "value", "outside"),
        (GA4 | {"ecommerce": {"value": "3,50", "currency": "EUR"}}, "value", "no amount"),
        (GA4 | {"ecommerce": {"value": True, "currency": "EUR"}}, "value", "no amount"),
        (GA4 | {"ecommerce": {"value": float("nan"), "currency": "EUR"}}, "value", "outside"),
        (GA4 | {"ecommerce": {"value": "1e999999", "currency": "EUR"}}, "value", "outside"),
        (GA4 | {"ecommerce": {"value": 1e300, "currency": "EUR"}}, "value", "outside"),
        (GA4 | {"ecommerce": {"items": [{"quantity": 1.5}]}}, "quantity", "no whole number"),
        (GA4 | {"ecommerce": {"items": [{}] * 1001}}, "items", "more than"),
    ],
)
def test_a_row_that_is_none_says_where_and_repeats_nothing(row, place, what):
    with pytest.raises(Malformed, match=what) as caught:
        read_mapping("ga4").events(row)
    assert caught.value.place == place
    assert "customer-42" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        ("49.99", "EUR", 4999),
        (49.99, "EUR", 4999),
        (0.1 + 0.2, "EUR", 30),
        (4999, "JPY", 4999),
        ("1.2345", "KWD", 1235),
        ("0.005", "EUR", 1),
        ("1e2", "EUR", 10000),
        (0, "EUR", 0),
    ],
)
def test_decimals_become_minor_units_rounded_half_up(value, currency, minor):
    assert minor_units(value, currency, place="value") == minor


WHOLE = """
format = 1
name = "n"
visitor = "v"
time = "t"
time_unit = "seconds"
money = "minor"
fixed_currency = "EUR"
[fields]
value = "a.0.b"
"""


def test_a_mapping_of_ones_own_may_fix_the_currency_and_count_into_arrays():
    mapped = parse_mapping(WHOLE.encode()).events({"n": "purchase", "v": "x", "t": "17", "a": [{"b": 5}]})
    assert mapped.events == ({"name": "purchase", "time": 17, "value": 5, "currency": "EUR"},)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("format = 1", "format = 2", "format"),
        ('name = "n"', "", "name"),
        ('time_unit = "seconds"', 'time_unit = "days"', "time_unit"),
        ('money = "minor"', 'money = "coins"', "money"),
        ('value = "a.0.b"', 'worth = "a"', "fields.worth"),
        ("[fields]", "[names]\nx = 'sell'\n[fields]", "names.x"),
        ('name = "n"', 'name = "n"\ncolour = 1', "colour"),
        ('name = "n"', "name = 7", "name"),
        ("format", "=", "mapping"),
    ],
)
def test_a_mapping_that_is_none_says_where(old, new, place):
    with pytest.raises(Malformed) as caught:
        parse_mapping(WHOLE.replace(old, new, 1).encode())
    assert place in caught.value.place


def test_a_mapping_is_named_or_a_file(tmp_path):
    (tmp_path / "own.toml").write_text(WHOLE)
    assert read_mapping(str(tmp_path / "own.toml")).fixed_currency == "EUR"
    with pytest.raises(Missing, match="ga4"):
        read_mapping("ga5")
    with pytest.raises(Malformed, match="longer"):
        parse_mapping(b"#" * 70_000)
