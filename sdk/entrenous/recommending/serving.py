"""One visitor's list: the strategy is decided as every arm is, and the list is made of what they granted."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entrenous.context import columns_of
from entrenous.decision import Decision
from entrenous.engine import Engine
from entrenous.recommending.catalogue import Catalogue
from entrenous.recommending.rank import Asked, rank
from entrenous_consent.errors import Malformed

__all__ = ["MOST_ANSWERS", "Recommendation", "Wanted", "recommend", "unchanged"]

MOST_ANSWERS = 1000
_USUAL = 10
Item = str | int


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer to `recommend`.

    Attributes:
        items: ids, the best first; empty, or the app's own list as it was, where nothing is recommended.
        decision: which strategy, and why; its receipt is all that is kept.
    """

    items: tuple[Item, ...]
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an app asks for; see `Visitor.recommend`."""

    count: int | None = None
    items: Sequence[Item] = ()
    among: Sequence[Item] | None = None
    stock: Container[Item] | None = None
    bought: frozenset[Item] = frozenset()
    within: Mapping[str, str] | None = None
    region: str = ""


def unchanged(wanted: Wanted) -> tuple[Item, ...]:
    """Return what an app gets where nothing is recommended: nothing, or its own list as it was."""
    whole = isinstance(wanted.count, int) and wanted.count >= 0
    return tuple(wanted.among or ())[: wanted.count if whole else None]


def recommend(
    engine: Engine,
    handle: bytes,
    name: str,
    wanted: Wanted,
    *,
    context: Mapping[str, Any] | None,
    device: bytes | None,
) -> Recommendation:
    """Return the list of the decision `name` for the visitor.

    Raises:
        Malformed: what is wanted, or the context. Unavailable, Unauthentic: the store.
    """
    _check(wanted)
    decision = engine.decide(handle, name, None, context, device)
    now = engine.clock()
    seen = engine.open(handle, now, device)
    wares = seen.active.wares.get(name)
    if decision.receipt is None or seen.routes.get(name) is None or wares is None:
        return Recommendation(unchanged(wanted), decision)
    strategy = wares.strategies.get(decision.arm)
    if strategy is None:  # another bundle has begun to serve in between
        return Recommendation(unchanged(wanted), decision)
    supplied = columns_of(context, seen.active, seen.granted) if context else []
    catalogue = wares.shelf.catalogue
    among, named = _numbers(catalogue, wanted.among) if wanted.among is not None else (None, {})
    without = frozenset(catalogue.number(item) for item in wanted.bought)
    stock = wanted.stock

    def may(number: int) -> bool:
        if number in without or (number < 0 and named[number] in wanted.bought):
            return False
        return stock is None or (named[number] if number < 0 else catalogue.item(number)) in stock

    asked = Asked(
        count=wanted.count if wanted.count is not None else _USUAL if among is None else len(among),
        visited=[catalogue.number(item) for item in wanted.items],
        tastes=wares.tastes_of(seen.head, supplied) if strategy.affinity else (),
        within=_within(catalogue, wanted.within),
        region=wanted.region,
        may=may,
        among=among,
        touches=wares.touches_for(seen.granted, seen.head, supplied, context, now) if wares.touches else (),
    )
    ranked = rank(wares.shelf, strategy, asked)
    return Recommendation(tuple(named[one] if one < 0 else catalogue.item(one) for one in ranked), decision)


def _check(wanted: Wanted) -> None:
    count = wanted.count
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= MOST_ANSWERS):
        raise Malformed(f"count is not 1 to {MOST_ANSWERS}", place="context", remedy="ask for fewer")
    if not isinstance(wanted.region, str):
        raise Malformed("region is no text", place="context", remedy="name it as the catalogue does")
    if wanted.within is not None and not isinstance(wanted.within, Mapping):
        raise Malformed("within is no mapping", place="context", remedy="hand over attributes and values")


def _numbers(catalogue: Catalogue, items: Sequence[Item]) -> tuple[Sequence[int], dict[int, Item]]:
    """Return the numbers of a list, and by negative ones the items that the catalogue does not know."""
    numbers: list[int] = []
    named: dict[int, Item] = {}
    for i, item in enumerate(dict.fromkeys(items)):
        number = catalogue.number(item)
        if number < 0:
            number = -1 - i
            named[number] = item
        numbers.append(number)
    return numbers, named


def _within(catalogue: Catalogue, within: Mapping[str, str] | None) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for name, value in (within or {}).items():
        attribute = catalogue.attribute(name)
        if attribute < 0:
            raise Malformed("within names no attribute of the catalogue", place="context", remedy="check its name")
        found.append((attribute, catalogue.attributes[attribute].code(value) or -1))
    return found
