"""Context that rules alone read: what the app says of the page, the screen or the visitor with a decision.

A model's context is a column of numbers and listed values. A rule may read more: free text such as a page's address,
several texts such as segments, true or false. Each key is declared with its type and the one purpose it serves, is
permitted by the policy like a feature, and is used for this one decision: it is never stored, counted or reported.

Raw addresses and scripts are refused whoever asks (`entrenous.raw`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from entrenous.features import Feature
from entrenous.raw import refuse_raw
from entrenous.targeting.form import NOW, TYPES, Variable, float32
from entrenous.targeting.pattern import LONGEST_SUBJECT
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

__all__ = ["MOST_SUPPLIED", "MOST_TEXTS", "Supplied", "parse_supplied"]

MOST_SUPPLIED = 128
"""The most keys that a bundle may declare."""

MOST_TEXTS = 64
"""The most texts that one key may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied:
    """One declared key.

    Attributes:
        type: `boolean`, `number`, `text` or `texts`. purpose, category, source: what the policy must permit.
    """

    name: str
    type: str
    purpose: str
    category: str
    source: str

    @property
    def variable(self) -> Variable:
        """What a rule sees of it."""
        return Variable(type=self.type, purpose=self.purpose)

    def as_table(self) -> dict[str, Any]:
        """Return the declaration as plain values, as `parse_supplied` reads them."""
        return {
            "name": self.name,
            "type": self.type,
            "purpose": self.purpose,
            "category": self.category,
            "source": self.source,
        }

    def read(self, value: Any) -> Any:
        """Return a value of the caller's as rules see it; None where it is too long or no finite float32: absent.

        Raises:
            Malformed: another type.
        """
        if self.type == "text":
            if not isinstance(value, str):
                raise self._expected("text", "hand over one str")
            return value if len(value) <= LONGEST_SUBJECT else None
        if self.type == "boolean":
            if not isinstance(value, bool):
                raise self._expected("true or false", "hand over a bool")
            return value
        if self.type == "number":
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise self._expected("a number", "hand over an int or a float")
            number = float32(value)
            return number if number - number == 0 else None
        return self._texts(value)

    def _texts(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise self._expected("an array of texts", "hand over a list of str, of one if need be")
        if len(value) > MOST_TEXTS:
            return None
        if not all(isinstance(one, str) for one in value):
            raise self._expected("texts alone", "hand over a list of str")
        return value if all(len(one) <= LONGEST_SUBJECT for one in value) else None

    def _expected(self, what: str, remedy: str) -> Malformed:
        return Malformed(f"expected {what}", place=f"context.{self.name}", remedy=remedy)


def parse_supplied(tables: Iterable[Table], schema: Iterable[Feature]) -> tuple[Supplied, ...]:
    """Return the declared keys.

    Args:
        schema: the features beside them, whose names and context keys are taken: one name means one thing.

    Raises:
        Malformed: an unknown key or type, a name that is declared twice or stands for a raw address or a script.
    """
    known = {NOW: "is the name of the clock"}
    for feature in schema:
        for name in (feature.name, feature.field) if feature.kind == "context" else (feature.name,):
            known[name] = "is the name of a feature, or of what one reads"
    declared = []
    for table in tables:
        one = Supplied(
            name=table.name("name"),
            type=table.choice("type", TYPES),
            purpose=table.name("purpose"),
            category=table.text("category", longest=200),
            source=table.text("source", longest=64),
        )
        table.close()
        refuse_raw(table, "name")
        if one.name in known:
            raise table.refuse("name", known[one.name], "choose another name, here and where the app hands it over")
        known[one.name] = "is declared twice"
        declared.append(one)
    return tuple(declared)
