"""The full catalogue for tests, of a shop that lists its values, and what its visitors do."""

from __future__ import annotations

import random

from entrenous.events import EVENT_NAMES, Event, parse_event
from entrenous.features import Feature, parse_schema
from entrenous.markers import parse_selection
from entrenous_consent.parsing import Table
from tests.features import DAY, NOON

NOW = NOON + 1_800
LISTED = {
    "brand": ["atelier", "north", "plain"],
    "category": ["shoes", "bags", "belts", "hats"],
    "colour": ["red", "blue", "green"],
    "size": ["s", "m", "l"],
    "country": ["fr", "de"],
    "region": ["idf", "paca"],
    "tier": ["silver", "gold"],
    "segment": ["a", "b"],
}
CDNOW = {"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259, "p": 6.25, "q": 3.744, "gamma": 15.44, "unit": "week"}
EVERYTHING = {"take": ["*"], "purpose": "personalize", "retention_days": 365, "values": LISTED, "lifetime": CDNOW}


def everything() -> tuple[Feature, ...]:
    """The whole catalogue, declared for one purpose."""
    return parse_schema(Table(one) for one in parse_selection(Table(EVERYTHING)).tables)


def something(chance: random.Random, last: int = NOW) -> Event:
    """One thing that a visitor may do, of any name and with every field, within a year before `last`."""
    price = chance.randrange(100, 20_000)
    properties = {
        "price": price,
        "value": price * 2,
        "quantity": 2,
        "currency": "EUR",
        "item": str(chance.randrange(200)),
        **{field: chance.choice([*LISTED[field], "another"]) for field in ("brand", "category", "colour", "size")},
    }
    name = chance.choice(
        sorted(EVENT_NAMES) + ["view_item"] * 10 + ["add_to_cart"] * 4 + ["purchase"] * 3 + ["search"] * 5
    )
    time = last - int(chance.expovariate(1 / (chance.choice((0.02, 1, 40)) * DAY))) % (365 * DAY)
    return parse_event(name, properties, time=time, now=NOW)
