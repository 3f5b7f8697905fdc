"""The creepiness guard: no payload holds a price, an invented urgency or what is known of a visitor."""

from __future__ import annotations

import json

import pytest

from entrenous.decisions.payloads import check_payload, complaints
from entrenous.markers import catalogue
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table


def complained(payload) -> list[str]:
    return [place for place, _, _ in complaints(payload)]


@pytest.mark.parametrize(
    "payload",
    [
        {"price": 4900},
        {"product": {"base_price": 1}},
        {"items": [{"unitPrice": 1}]},
        {"prix": 1},
        {"countdown": 60},
        {"stockLeft": 2},
        {"viewers": 12},
        {"text": "Only 2 left!"},
        {"text": "Plus que 3 en stock"},
        {"text": "12 people are looking at this"},
        {"text": "Because you viewed the red boots"},
        {"text": {"fr": "Vous avez récemment consulté ces bottes"}},
        {"text": "We noticed that you left something"},
        {"text": "Nous avons remarqué votre visite"},
        {"text": "A treat for our high-value customers"},
        {"audience": "churned"},
        {"text": "For you who are pregnant"},
        {"text": "Pour votre diabète"},
        {"text": "Dear {first_name}"},
        {"text": "Your taste: {{ taste }}"},
    ],
    ids=json.dumps,
)
def test_what_no_payload_says_is_refused_with_its_place(payload):
    assert len(complained(payload)) == 1
    with pytest.raises(Malformed) as refused:
        check_payload(payload, Table({}, "arms.a"))
    assert refused.value.place == f"arms.a.payload{complained(payload)[0]}"
    assert refused.value.remedy


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"headline": {"en": "10 off from 100", "fr": "10 de remise dès 100"}, "code": "TEN"},
        {"order": ["guide", "reviews", "size_chart"], "filters": {"size": ["38", "39"]}},
        {"text": "Religion and philosophy, our autumn shelf"},
        {"text": "Price promise: found it cheaper? Talk to us"},
        {"text": {"en": "Free delivery until Sunday", "fr": "Livraison offerte jusqu'à dimanche"}},
        {"text": "Vous cherchez un cadeau ? Notre guide"},
    ],
    ids=json.dumps,
)
def test_what_a_shop_says_to_everyone_passes(payload):
    assert complained(payload) == []


def test_a_payload_is_an_object_of_bounded_depth():
    deep: object = "end"
    for _ in range(10):
        deep = {"in": deep}
    with pytest.raises(Malformed, match="nested deeper"):
        check_payload(deep, Table({}))
    with pytest.raises(Malformed, match="not a JSON object"):
        check_payload([1], Table({}))


def test_no_payload_names_a_marker_of_the_catalogue():
    names = [one.name for one in catalogue()]
    assert len(names) > 200
    for name in names:
        if "_" in name:
            assert list(complaints({"text": f"{name}: 3"}, names)), name
    assert not list(complaints({"text": "Open at this hour, every weekday"}, names))
