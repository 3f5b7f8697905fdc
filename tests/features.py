"""Features for tests: short declarations, a plan of them, and a visitor who does a great deal."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from entrenous.events import Event
from entrenous.features import ANY, KINDS, Feature, Plan, compile_plan, parse_schema
from entrenous_consent.parsing import Table

HOUR, DAY = 3_600, 86_400
NOON = 20_000 * DAY + 12 * HOUR
CATEGORIES = ("sandals", "slippers", "boots", "sneakers", "bags", "belts")


def schema(*features: dict[str, Any]) -> tuple[Feature, ...]:
    """Declarations of purchases in two days, where they don't say otherwise."""
    rules = {"purpose": "personalize", "category": "behaviour", "source": "app", "retention_days": 400}
    return parse_schema(
        Table({"name": f"f{i}", "window": 2, **_heard(feature["kind"]), **rules, **feature})
        for i, feature in enumerate(features)
    )


def _heard(kind: str) -> dict[str, str]:
    return {"event": "purchase"} if KINDS[kind].events else {}


def plan(*features: dict[str, Any]) -> Plan:
    return compile_plan(schema(*features), "personalize")


def bought(time: int, **fields: Any) -> Event:
    return Event(name="purchase", time=time, **fields)


def fold(plan: Plan, events: Iterable[Event], now: int = NOON) -> list[float]:
    state = plan.empty()
    for event in events:
        plan.apply(state, event)
    return [float(value) for value in np.frombuffer(plan.fold(state, now), dtype=np.float32)]


def folded(feature: dict[str, Any], events: Iterable[Event], now: int = NOON) -> float:
    [value] = fold(plan(feature), events, now)
    return value


def forty() -> list[dict[str, Any]]:
    """Forty features of every kind that is kept, as a shop might declare them for one purpose."""
    view, buy, cart = ({"event": name} for name in ("view_item", "purchase", "add_to_cart"))
    taste = {"field": "category", "values": list(CATEGORIES), **view}
    liked = {"kind": "affinity", "half_life": 7, "window": 30, **taste}
    return [
        *({"kind": "count", "window": window, **event} for event in (view, buy, cart) for window in (1, 7, 30)),
        *({"kind": "days", "window": 30, **event} for event in (view, buy)),
        *({"kind": "recency", "window": 30, **event} for event in (view, buy, cart)),
        *({"kind": "streak", "window": 30, **event} for event in (view, buy)),
        *({"kind": "sum", "field": "value", "window": window, **buy} for window in (7, 30)),
        {"kind": "decayed_sum", "field": "value", "half_life": 7, "window": 30, **buy},
        *({"kind": kind, "field": "value", "window": 30, **buy} for kind in ("mean", "max")),
        *({"kind": kind, "field": "price", "window": 30, **view} for kind in ("min", "max")),
        *({"kind": "ratio", "per": "view_item", "window": 30, **event} for event in (buy, cart)),
        {"kind": "ratio", "per": "add_to_cart", "window": 30, **buy},
        *(liked | {"rank": rank} for rank in (1, 2, 3)),
        *({"kind": "share", "value": value, "window": 30, **taste} for value in CATEGORIES[:3]),
        {"kind": "distinct", "window": 30, **taste},
        {"kind": "distinct", "field": "brand", "slots": 60, "window": 30, **view},
        {"kind": "top", "window": 30, **taste},
        {"kind": "last", "window": 30, **taste},
        {"kind": "first", "window": 30, **taste},
        {"kind": "sessions", "event": ANY, "window": 30},
        {"kind": "session_length", "event": ANY, "window": 24},
        {"kind": "count", "unit": "hour", "window": 24, **view},
    ]


def busy(events: int, *, days: int = 90, seed: int = 7) -> Iterator[Event]:
    """A visitor who does so many things within so many days before `NOON`, at any hour."""
    chance = random.Random(seed)
    for _ in range(events):
        price = chance.randrange(100, 20_000)
        yield Event(
            name=chance.choices(("view_item", "add_to_cart", "purchase", "search"), (12, 3, 1, 4))[0],
            time=NOON - chance.randrange(days * DAY),
            price=price,
            value=price,
            quantity=1,
            brand=f"brand {chance.randrange(80)}",
            category=chance.choice(CATEGORIES),
        )
