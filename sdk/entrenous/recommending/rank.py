"""From what is known of a visit to a list of items: pure, and the same for the same input.

The score of an item is a sum of four parts, each within 0..1 and weighed by the strategy:

- *sequence*: what the visit's items are followed by (`ItemTable.scores`), of the greatest such score;
- *content*: how far it is like the items of the visit, the latest first, each counting 0.6 of the one after it, of the
  greatest such sum. Cold items are found by it;
- *affinity*: the share of the visitor's tastes that its attributes meet;
- *popular*: 1 / log₂(2 + r) at place r among the popular items of the region, or of all; 0 for a cold item.

A boost multiplies the score, what is buried comes last, what is pinned first. Of equal scores the lower number goes
first. Where the scored items are too few, the popular ones fill the list: so a cold visitor gets what is popular.

A list of the app's own (`among`) keeps its items and is only put into another order: an item's place and its score, of
the greatest, are mixed by the strategy's `rerank`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from math import log2

from entrenous.recommending.catalogue import UNKNOWN_MARGIN, Catalogue
from entrenous.recommending.item_table import MOST_VISITED, ItemTable
from entrenous.recommending.strategy import Strategy

__all__ = ["Asked", "Shelf", "Touch", "rank"]

_CONTENT_FADING = 0.6
_MOST_POPULAR = 50
"""How many popular items are scored; more may fill a list."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shelf:
    """What a decision recommends from.

    Attributes:
        successors: None where nothing is known of what follows what. spread: the position of the attribute whose values
            a list is spread over, -1 for none.
    """

    catalogue: Catalogue
    successors: ItemTable | None
    spread: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Touch:
    """A rule of the merchandiser that holds for this visitor.

    Attributes:
        items: numbers; where empty, all items with `code` of `attribute`.
    """

    action: str
    items: tuple[int, ...] = ()
    attribute: int = -1
    code: int = 0
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What is asked for; items by number.

    Attributes:
        count: at most so many. visited: in the order of the visit. tastes: attribute and code.
        within: attribute and code that every item must have. region: of the catalogue's, or any other text.
        may: whether an item may be named. among: the app's own list, None where there is none; what the catalogue does
            not know stands there as a negative number of its own.
        touches: in the order in which they are applied.
    """

    count: int
    visited: Sequence[int] = ()
    tastes: Sequence[tuple[int, int]] = ()
    within: Sequence[tuple[int, int]] = ()
    region: str = ""
    may: Callable[[int], bool] = lambda _: True
    among: Sequence[int] | None = None
    touches: Sequence[Touch] = ()


def rank(shelf: Shelf, strategy: Strategy, asked: Asked) -> list[int]:
    """Return the list: different items, the best first, at most `asked.count`."""
    popular = _popular(shelf.catalogue, asked)
    scores = _scores(shelf, strategy, asked, popular)
    _boost(shelf.catalogue, asked.touches, scores)
    if asked.among is None:
        fill = popular
        may = _filter(shelf.catalogue, strategy, asked)
    else:
        fill, may = (), asked.may
        scores = _mixed(scores, asked.among, strategy.rerank)
    buried = _buried(shelf.catalogue, asked.touches)
    ordered = [item for _, item in sorted([(-score, item) for item, score in scores.items()])]
    pinned = [item for touch in asked.touches if touch.action == "pin" for item in touch.items]
    if asked.among is not None:
        pinned = [item for item in pinned if item in scores]
    first: Iterable[int] = chain(pinned, ordered, *fill)
    if buried is not None:
        parts = (pinned, ordered, *fill)
        first = chain((one for one in chain(*parts) if not buried(one)), (one for one in chain(*parts) if buried(one)))
    return _spread(shelf, strategy, first, may, asked)


def _scores(shelf: Shelf, strategy: Strategy, asked: Asked, popular: Sequence[Sequence[int]]) -> dict[int, float]:
    """Return the scores of all items that something speaks for."""
    parts: list[tuple[float, dict[int, float]]] = []
    if strategy.sequence and shelf.successors is not None:
        parts.append((strategy.sequence, _of_greatest(shelf.successors.scores(asked.visited))))
    if strategy.content:
        parts.append((strategy.content, _of_greatest(_content(shelf.catalogue, asked.visited))))
    if strategy.popular:
        parts.append((strategy.popular, _popularity(shelf.catalogue, asked, popular)))
    if len(parts) == 1 and asked.among is None and not (strategy.affinity and asked.tastes):
        return parts[0][1]  # one weight for all changes no order
    scores = dict.fromkeys(asked.among or (), 0.0)
    for weight, part in parts:
        for item, value in part.items():
            if asked.among is None or item in scores:
                scores[item] = scores.get(item, 0.0) + weight * value
    if strategy.affinity and asked.tastes:
        if asked.among is None:
            for attribute, code in asked.tastes:
                for item in shelf.catalogue.popular_within(attribute, code)[:_MOST_POPULAR]:
                    scores.setdefault(item, 0.0)
        share = strategy.affinity / len(asked.tastes)
        for attribute, code in asked.tastes:
            codes = shelf.catalogue.attributes[attribute].codes
            for item in scores:
                if item >= 0 and codes[item] == code:
                    scores[item] += share
    return scores


def _of_greatest(scores: Mapping[int, float]) -> dict[int, float]:
    greatest = max(scores.values(), default=0.0)
    return {item: score / greatest for item, score in scores.items()} if greatest > 0 else {}


def _content(catalogue: Catalogue, visited: Sequence[int]) -> dict[int, float]:
    found: dict[int, float] = {}
    fading = 1.0
    for item in reversed(visited[-MOST_VISITED:]):
        if 0 <= item < len(catalogue):
            for other, share in catalogue.alike(item):
                found[other] = found.get(other, 0.0) + fading * share
        fading *= _CONTENT_FADING
    return found


def _popular(catalogue: Catalogue, asked: Asked) -> tuple[Sequence[int], ...]:
    """Return popular items, the most popular first: those of the region, where it has its own, and those of all."""
    everywhere: Sequence[int] = catalogue.popular
    for attribute, code in asked.within[:1]:
        everywhere = catalogue.popular_within(attribute, code)
    there = catalogue.regions.get(asked.region)
    return (everywhere,) if there is None else (there, everywhere)


def _popularity(catalogue: Catalogue, asked: Asked, popular: Sequence[Sequence[int]]) -> dict[int, float]:
    if asked.among is None:
        first = islice(_distinct(chain(*popular)), _MOST_POPULAR)
        return {item: 1 / log2(2 + place) for place, item in enumerate(first)}
    ranks = catalogue.ranks
    return {item: 1 / log2(2 + ranks[item]) for item in asked.among if item in ranks}


def _touched(catalogue: Catalogue, touch: Touch, item: int) -> bool:
    if touch.items:
        return item in touch.items
    return item >= 0 and touch.code > 0 and catalogue.attributes[touch.attribute].codes[item] == touch.code


def _boost(catalogue: Catalogue, touches: Sequence[Touch], scores: dict[int, float]) -> None:
    for touch in touches:
        if touch.action == "boost":
            for item in scores:
                if _touched(catalogue, touch, item):
                    scores[item] *= touch.factor


def _buried(catalogue: Catalogue, touches: Sequence[Touch]) -> Callable[[int], bool] | None:
    burying = [touch for touch in touches if touch.action == "bury"]
    return (lambda item: any(_touched(catalogue, touch, item) for touch in burying)) if burying else None


def _mixed(scores: Mapping[int, float], among: Sequence[int], rerank: float) -> dict[int, float]:
    """Return places and scores, of the greatest, mixed. Numbers keep equal ones apart in another order than places, so
    that places weigh in at least by a hair."""
    greatest = max(scores.values(), default=0.0) or 1.0
    kept = max(1 - rerank, 1e-9)
    many = len(among)
    return {
        item: kept * (1 - place / many) + rerank * scores[item] / greatest
        for place, item in enumerate(dict.fromkeys(among))
    }


def _filter(catalogue: Catalogue, strategy: Strategy, asked: Asked) -> Callable[[int], bool]:
    floor, margins, within = strategy.margin_floor, catalogue.margins, asked.within
    if not within and not (floor and margins):
        return asked.may

    def may(item: int) -> bool:
        if floor and margins and floor > margins[item] != UNKNOWN_MARGIN:
            return False
        return all(catalogue.attributes[at].codes[item] == code for at, code in within) and asked.may(item)

    return may


def _spread(
    shelf: Shelf, strategy: Strategy, items: Iterable[int], may: Callable[[int], bool], asked: Asked
) -> list[int]:
    """Return the first that may be named, at most `strategy.most` of one value. Of a list of the app's own, those
    beyond that come after the others: nothing is lost."""
    if not strategy.most or shelf.spread < 0:
        return list(islice((item for item in _distinct(items) if may(item)), asked.count))
    codes, met = shelf.catalogue.attributes[shelf.spread].codes, dict[int, int]()
    named: dict[int, None] = {}
    beyond: dict[int, None] = {}
    for item in items:
        if len(named) == asked.count:
            break
        if item in named or item in beyond or not may(item):
            continue
        code = codes[item] if item >= 0 else 0
        if code and met.get(code, 0) >= strategy.most:
            beyond[item] = None
            continue
        met[code] = met.get(code, 0) + 1
        named[item] = None
    return [*named, *(beyond if asked.among is not None else ())][: asked.count]


def _distinct(items: Iterable[int]) -> Iterator[int]:
    seen = set[int]()
    for item in items:
        if item not in seen:
            seen.add(item)
            yield item
