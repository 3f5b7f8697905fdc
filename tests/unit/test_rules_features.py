"""Criteria that rest on features, from what visitors did to what they are answered: a bundle, consent, the engine.

One bundle declares what all of them rest on, and has two decisions for each: one for whom it matches, one that leaves
them out. The features are of `history`, the decisions of `personalize`, so that the features can be withheld alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.shop import NOON, Clock, Shop

from entrenous import Client, Visitor
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.decisions.form import Pattern
from entrenous.features import KINDS, parse_schema
from entrenous.targeting import features_as_variables
from entrenous_consent.parsing import Table
from entrenous_exporters.rules import Criterion, load_criteria, write_rule
from entrenous_exporters.trees import Column, assemble, on_grid, parse_tree, to_onnx

HOUR, DAY = 3_600, 86_400
ABOUT = {"purpose": "history", "category": "user.behavior", "source": "first_party", "retention_days": 400}
LISTED = {
    "brand": ["Corner", "Other"],
    "category": ["bags", "boots"],
    "colour": ["black", "red"],
    "size": ["38", "39", "40"],
}
FEATURED = tuple(one for one in load_criteria() if one.source == "feature")
each = pytest.mark.parametrize("one", FEATURED, ids=lambda one: one.name)


def did(name: str, ago: int, **said: object) -> dict[str, object]:
    return {"name": name, "time": NOON - ago, **said}


def page(ago: int) -> dict[str, object]:
    return did("page_view", ago)


def bought(ago: int, value: int = 4_900) -> dict[str, object]:
    return did("purchase", ago, value=value, currency="EUR")


def looked(**said: object) -> dict[str, object]:
    return did("view_item", HOUR, price=4_900, currency="EUR", **said)


BOOTS = looked(category="boots", brand="Corner", colour="red", size="39")
BAGS = looked(category="bags", brand="Other", colour="black", size="38")
CART, SEARCH = did("add_to_cart", 3 * HOUR), did("search", 3 * HOUR)

SAMPLES = {
    "new_visitor": ({}, [page(0)], [page(3 * DAY), page(0)]),
    "returning_visitor": ({}, [page(3 * DAY), page(0)], [page(0)]),
    "first_visit": ({"days": 7}, [page(7 * DAY), page(0)], [page(8 * DAY), page(0)]),
    "last_visit": ({"days": 7}, [page(20 * DAY), page(7 * DAY)], [page(8 * DAY)]),
    "visits": ({"count": 2}, [page(5 * HOUR), page(0)], [page(600), page(0)]),
    "same_day_visits": ({"count": 2}, [page(5 * HOUR), page(0)], [page(30 * HOUR), page(0)]),
    "session_active": ({}, [page(60)], [page(5 * HOUR)]),
    "pages_viewed": ({"count": 2}, [page(2 * DAY), page(0)], [page(0)]),
    "conversion": ({}, [did("sign_up", DAY)], [page(DAY)]),
    "conversion_count": ({"count": 2}, [bought(DAY), bought(2 * DAY)], [bought(DAY)]),
    "conversion_value": ({"minor_units": 9_000}, [bought(DAY), bought(2 * DAY, 4_100)], [bought(DAY, 8_999)]),
    "conversion_recency": ({"days": 3}, [bought(9 * DAY), bought(3 * DAY)], [bought(4 * DAY)]),
    "cart_age": ({"hours": 2}, [CART], [CART, did("add_to_cart", HOUR)]),
    "cart_abandoned": ({"hours": 2}, [bought(5 * HOUR), CART], [CART, bought(HOUR)]),
    "search_abandoned": ({"hours": 2}, [SEARCH], [SEARCH, BOOTS]),
    "browse_abandoned": ({"hours": 1}, [CART, BOOTS], [BOOTS, did("add_to_cart", 60)]),
    "interest": ({"categories": ["boots"]}, [BOOTS, BOOTS, BAGS], [BOOTS, BAGS, BAGS]),
    "affinity": ({"brands": ["Corner"]}, [BOOTS, BOOTS, BAGS], [BOOTS, BAGS, BAGS]),
    "affinity_category": ({"categories": ["boots"]}, [BOOTS, BOOTS, BAGS], [BOOTS, BAGS, BAGS]),
    "affinity_colour": ({"colours": ["red"]}, [BOOTS, BOOTS, BAGS], [BOOTS, BAGS, BAGS]),
    "affinity_size": ({"sizes": ["39", "40"]}, [BOOTS, BOOTS, BAGS], [BOOTS, BAGS, BAGS]),
}
"""By criterion: the values of its template, what somebody whom it means did, and what somebody else did."""


def declared() -> list[dict[str, object]]:
    """Return what all of these criteria rest on, as a specification declares it."""
    features: dict[str, dict[str, object]] = {}
    for one in FEATURED:
        for name, said in one.features.items():
            window = said.get(
                "window", min(200 if said.get("unit") == "hour" else 30, KINDS[str(said["kind"])].longest)
            )
            features[name] = {"name": name, **said, "window": window, **ABOUT}
            if said["kind"] in ("top", "affinity"):
                features[name]["values"] = LISTED[str(said["field"])]
            if said["kind"] == "affinity":
                features[name]["half_life"] = 7
    return list(features.values())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    shop = Shop(tmp_path_factory.mktemp("criteria"), Clock())
    schema = parse_schema(Table(feature) for feature in declared())
    variables = features_as_variables(schema)
    leaf = parse_tree(feature=[0], threshold=[0], left=[0], right=[0], nan_left=[0], is_leaf=[1], value=[0.5])
    read = read_bundle(shop.bundle.read_bytes())
    asked = replace(
        read.manifest.decisions["promotion"], patterns=(Pattern(purposes=(), column=0, cuts=(-1.0, 1.0)),), cap=None
    )
    decisions = {}
    for one in FEATURED:
        tree = write_rule(one.rule(**SAMPLES[one.name][0]), variables).tree
        for key, rule in (("targeting", {"targeting": tree}), ("exclude", {"exclude": tree})):
            decisions[f"{key}_{one.name}"] = replace(asked, model="leaf", experiment=None, **rule)
    model = to_onnx(on_grid(assemble([Column(trees=(leaf,), base=0.0)], len(schema))))
    manifest = replace(read.manifest, features=schema, decisions=decisions, context=())
    shop.bundle.write_bytes(encode_bundle(manifest, {"leaf": model}))
    policy = shop.policy.read_text()
    for feature in schema:
        policy += f'\n[[features]]\nname = "{feature.name}"\npurpose = "history"\ncategory = "user.behavior"\n'
        policy += 'source = "first_party"\nretention_days = 400\n'
    shop.policy.write_text(policy)
    with shop.open() as client:
        yield client


def visitor_who(client: Client, *events: dict[str, object]) -> Visitor:
    visitor = client.visitor("customer-42")
    assert visitor.erase().accepted
    assert visitor.consent(client.example_choices).accepted
    assert all(outcome.accepted for outcome in visitor.observe_all(events))
    return visitor


def let_in(visitor: Visitor, one: Criterion) -> tuple[bool, bool]:
    """Say whether the decision for those whom it matches lets the visitor in, and whether the one without them does."""
    answers = [visitor.decide(f"{key}_{one.name}", "elsewhere") for key in ("targeting", "exclude")]
    assert all(answer.reason in ("TARGETING_MATCH", "DEFAULT") for answer in answers)
    return tuple(answer.cause != "ineligible" for answer in answers)


@each
def test_a_criterion_on_features_matches_who_did_what_it_means(client, one):
    _, matching, _ = SAMPLES[one.name]
    assert let_in(visitor_who(client, *matching), one) == (True, False)


@each
def test_a_criterion_on_features_matches_nobody_who_did_something_else(client, one):
    _, _, other = SAMPLES[one.name]
    assert let_in(visitor_who(client, *other), one) == (False, True)


@each
def test_a_criterion_on_features_that_are_withheld_neither_matches_nor_lets_past(client, one):
    _, matching, other = SAMPLES[one.name]
    for events in (matching, other):
        visitor = visitor_who(client, *events)
        assert visitor.consent(dict(client.example_choices) | {"history": False}).accepted
        assert let_in(visitor, one) == (False, False)


@each
def test_who_did_nothing_is_unknown_except_where_nothing_means_something(client, one):
    """Nothing counts as none of it, and who was never here is new; the rest is not known."""
    counted = all(KINDS[str(said["kind"])].zero for said in one.features.values())
    meant = {"new_visitor": (True, False), "returning_visitor": (False, True)}
    assert let_in(visitor_who(client), one) == meant.get(one.name, (False, counted))


def test_every_criterion_on_features_has_its_sample():
    assert [one.name for one in FEATURED] == list(SAMPLES)
