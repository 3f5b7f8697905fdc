"""One event, checked strictly at the boundary: what is refused says where, and what to do."""

from __future__ import annotations

from hashlib import sha256

import pytest

from entrenous.events import Event, parse_event
from entrenous_consent.errors import Malformed

NOW = 1_700_000_000


def parse(name="view_item", properties=None, *, time=NOW):
    return parse_event(name, properties or {}, time=time, now=NOW)


def test_a_full_event_is_read_into_its_fields():
    event = parse(
        "purchase",
        {
            "price": 4900,
            "value": 9800,
            "quantity": 2,
            "currency": "EUR",
            "brand": "Atelier",
            "category": "slippers",
            "transaction_id": "T-1",
        },
    )

    assert event == Event(
        name="purchase",
        time=NOW,
        transaction=sha256(b"T-1").digest()[:8],
        price=4900,
        value=9800,
        quantity=2,
        brand="Atelier",
        category="slippers",
    )


def test_absent_fields_stay_absent():
    assert parse() == Event(name="view_item", time=NOW)


def test_zero_is_a_valid_amount():
    assert parse(properties={"price": 0, "currency": "EUR"}).price == 0


def test_the_apps_own_id_is_kept_as_eight_bytes_of_its_digest():
    assert parse(properties={"id": "order-7"}).id == sha256(b"order-7").digest()[:8]


def test_an_event_of_this_very_second_is_not_in_the_future():
    assert parse(time=NOW).time == NOW


@pytest.mark.parametrize(
    ("name", "properties", "time", "place", "remedy"),
    [
        ("look_at_item", {}, NOW, "event.name", "use a GA4"),
        (None, {}, NOW, "event.name", "use a GA4"),
        (["purchase"], {}, NOW, "event.name", "use a GA4"),
        ("view_item", {}, NOW + 1, "event.time", "check the clock"),
        ("view_item", {}, -1, "event.time", ""),
        ("view_item", {}, True, "event.time", ""),
        ("view_item", {}, float(NOW), "event.time", ""),
        ("view_item", {}, "now", "event.time", ""),
        ("view_item", {"shade": "red"}, NOW, "event", "remove it; known: brand, category"),
        ("view_item", {7: "red"}, NOW, "event", "remove it; known: brand, category"),
        ("view_item", {"price": 4900}, NOW, "event.currency", "add the ISO 4217 code"),
        ("view_item", {"value": 4900}, NOW, "event.currency", "add the ISO 4217 code"),
        ("view_item", {"price": 49.0, "currency": "EUR"}, NOW, "event.price", "give minor units"),
        ("view_item", {"price": float("nan"), "currency": "EUR"}, NOW, "event.price", "give minor units"),
        ("view_item", {"price": True, "currency": "EUR"}, NOW, "event.price", "give minor units"),
        ("view_item", {"price": None, "currency": "EUR"}, NOW, "event.price", "give minor units"),
        ("view_item", {"price": -1, "currency": "EUR"}, NOW, "event.price", ""),
        ("view_item", {"price": 10**10 + 1, "currency": "EUR"}, NOW, "event.price", ""),
        ("view_item", {"quantity": True}, NOW, "event.quantity", "give whole units"),
        ("view_item", {"quantity": 1.5}, NOW, "event.quantity", "give whole units"),
        ("view_item", {"quantity": 10**6 + 1}, NOW, "event.quantity", ""),
        ("view_item", {"currency": "euro"}, NOW, "event.currency", "give three capitals"),
        ("view_item", {"currency": "EUR\n"}, NOW, "event.currency", "give three capitals"),
        ("view_item", {"currency": 978}, NOW, "event.currency", "give three capitals"),
        ("view_item", {"category": "x" * 129}, NOW, "event.category", "shorten it"),
        ("view_item", {"brand": ""}, NOW, "event.brand", ""),
        ("view_item", {"brand": b"Atelier"}, NOW, "event.brand", ""),
        ("view_item", {"id": "x" * 129}, NOW, "event.id", "shorten it"),
        ("purchase", {"transaction_id": 7}, NOW, "event.transaction_id", ""),
    ],
)
def test_a_bad_event_is_refused_with_its_place_and_a_remedy(name, properties, time, place, remedy):
    with pytest.raises(Malformed) as caught:
        parse(name, properties, time=time)

    assert caught.value.place == place
    assert remedy in caught.value.remedy


def test_a_refusal_never_repeats_the_value():
    with pytest.raises(Malformed) as caught:
        parse(properties={"category": "secret" * 50})

    assert "secret" not in str(caught.value)


def test_an_unknown_key_is_not_repeated_in_the_refusal():
    with pytest.raises(Malformed) as caught:
        parse(properties={"x" * 10_000: 1})

    assert "xx" not in str(caught.value)
