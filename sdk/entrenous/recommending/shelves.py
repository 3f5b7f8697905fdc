"""A decision that recommends, compiled with its bundle: tables read, names made numbers, conditions made gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entrenous.features import Feature
from entrenous.recommending.catalogue import Catalogue, parse_catalogue
from entrenous.recommending.item_table import parse_item_table
from entrenous.recommending.rank import Shelf, Touch
from entrenous.recommending.strategy import Merchandising, Recommending, Strategy
from entrenous.targeting import Gate, Supplied, compile_gate
from entrenous_consent.errors import Malformed

__all__ = ["Taste", "Wares", "compile_wares"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """A feature that names a value of an attribute.

    Attributes:
        column: of the vector. purpose: the feature's. codes: the attribute's code for each of the feature's codes, 0
            for none.
    """

    column: int
    purpose: str
    attribute: int
    codes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wares:
    """What a decision recommends from, and how, ready to be asked.

    Attributes:
        touches: what the merchandiser adds, each with its gate, None for everyone.
    """

    shelf: Shelf
    strategies: Mapping[str, Strategy]
    tastes: tuple[Taste, ...]
    touches: tuple[tuple[Gate | None, Touch], ...]

    def purposes(self, granted: frozenset[str]) -> frozenset[str]:
        """Return the purposes of what a list may be made of, for a visitor who granted these."""
        gates = [gate.purposes for gate, _ in self.touches if gate is not None and granted >= gate.purposes]
        return frozenset(taste.purpose for taste in self.tastes if taste.purpose in granted).union(*gates)

    def tastes_of(self, head: Sequence[float], supplied: Sequence[tuple[int, float]]) -> list[tuple[int, int]]:
        """Return the tastes of a visitor, attribute and code, each once.

        Args:
            head: the feature vector, NaN where withheld or missing. supplied: columns that this call brings along.
        """
        brought = dict(supplied)
        found: dict[tuple[int, int], None] = {}
        for taste in self.tastes:
            value = brought.get(taste.column, head[taste.column])
            if value == value and (code := taste.codes[int(value)]):
                found[taste.attribute, code] = None
        return list(found)

    def touches_for(
        self,
        granted: frozenset[str],
        head: Sequence[float],
        supplied: list[tuple[int, float]],
        context: Mapping[str, Any] | None,
        now: int,
    ) -> list[Touch]:
        """Return what the merchandiser adds for this visitor, now; see `Narrowed.admits`."""
        return [
            touch
            for gate, touch in self.touches
            if gate is None or gate.within(granted).admits(head, supplied, context, now)
        ]


def compile_wares(
    recommending: Recommending,
    tables: Mapping[str, bytes],
    schema: Sequence[Feature],
    context: Sequence[Supplied],
) -> Wares:
    """Return a decision's wares.

    Raises:
        Malformed: a table that is none, tables of different catalogues, or a name that the catalogue does not have.
    """
    catalogue = parse_catalogue(tables[recommending.catalogue], place=f"tables.{recommending.catalogue}")
    successors = None
    if recommending.successors:
        place = f"tables.{recommending.successors}"
        successors = parse_item_table(tables[recommending.successors], place=place)
        if len(successors) != len(catalogue):
            raise Malformed("is of another catalogue", place=place, remedy="learn both from the same files")
    wares = Wares(
        shelf=Shelf(
            catalogue=catalogue,
            successors=successors,
            spread=_attribute(catalogue, recommending.spread) if recommending.spread else -1,
        ),
        strategies=recommending.strategies,
        tastes=tuple(
            _taste(catalogue, column, feature, recommending.tastes[feature.name])
            for column, feature in enumerate(schema)
            if feature.name in recommending.tastes
        ),
        touches=tuple(
            (compile_gate(one.when, None, schema, context), _touch(catalogue, one))
            for one in recommending.merchandising
        ),
    )
    for taste in wares.tastes:
        catalogue.popular_within(taste.attribute, 0)  # worked out here, before a visitor comes
    return wares


def _attribute(catalogue: Catalogue, name: str) -> int:
    position = catalogue.attribute(name)
    if position < 0:
        known = ", ".join(one.name for one in catalogue.attributes) or "none"
        raise Malformed(f"has no attribute {name}", place="catalogue", remedy=f"known: {known}")
    return position


def _taste(catalogue: Catalogue, column: int, feature: Feature, name: str) -> Taste:
    attribute = _attribute(catalogue, name)
    codes = tuple(catalogue.attributes[attribute].code(value) for value in feature.values)
    return Taste(column=column, purpose=feature.purpose, attribute=attribute, codes=codes)


def _touch(catalogue: Catalogue, rule: Merchandising) -> Touch:
    """Return a rule with numbers. An item or a value that the catalogue does not have any more is touched by nothing:
    a catalogue changes more often than what a merchandiser wrote."""
    if rule.items:
        numbers = tuple(number for item in rule.items if (number := catalogue.number(item)) >= 0)
        return Touch(action=rule.action, items=numbers, factor=rule.factor)
    attribute = _attribute(catalogue, rule.attribute)
    code = catalogue.attributes[attribute].code(rule.value)
    return Touch(action=rule.action, attribute=attribute, code=code, factor=rule.factor)
