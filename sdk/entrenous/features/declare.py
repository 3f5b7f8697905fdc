"""A feature, declared once, for both engines.

The runtime (`state`) keeps it up to date event by event; the central side (`entrenous_exporters.tables`) computes the
same number from an event table. What a feature *means* is written here and nowhere else:

- Buckets are UTC hours or days, numbered `time // seconds`. A window of n holds the current bucket and the n - 1
  before it; events with `time <= as_of` count.
- `count`: events in the window; nothing is 0. `sum`: of an integer field; nothing is 0. `days`: distinct UTC days with
  an event; nothing is 0.
- `recency`: whole buckets since the last event in the window; nothing is NaN.
- `decayed_sum`: each bucket's sum times `decay_weights(...)[age]`, divided by `DECAY_SCALE`. The weights are
  integers, so the sum is exact in any order and the two engines agree to the bit.
- `last`: the code of the latest event whose field holds a listed value; of two in one second, the higher code.
- `top`: the code with most events in the window; of equals, the lower code.
- `context`: handed over with the decision, or derived from its clock (`hour`, `weekday`: UTC, Monday is 0).
- A category's code is its position in `values`; unlisted or absent is NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, NUMBER_FIELDS
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack
from entrenous_consent.parsing import Table

__all__ = [
    "DECAY_SCALE",
    "DERIVED",
    "KINDS",
    "SECONDS",
    "Feature",
    "decay_weights",
    "parse_feature",
    "parse_schema",
    "stamp",
]

KINDS = ("context", "count", "days", "decayed_sum", "last", "recency", "sum", "top")
SECONDS = {"day": 86_400, "hour": 3_600}
DERIVED = ("hour", "weekday")
RESERVED = ("improve", "row", "time", "visitor")
DECAY_SCALE = 1 << 24
_LONGEST_WINDOW = {"day": 400, "hour": 24 * 14}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One declared input of a model.

    Attributes:
        name: its short key, unique in a schema.
        kind: one of `KINDS`.
        event: the event it listens to; empty for `context`.
        field: what it reads of the event, or the context key; empty where the kind reads none.
        unit: `day` or `hour`. window: buckets, the current one included; 0 for `context`.
        half_life: buckets, for `decayed_sum`; 0 otherwise.
        values: a category's values in a meaningful order; empty for numbers.
        purpose, category, source, retention_days: what the policy must permit.
    """

    name: str
    kind: str
    purpose: str
    category: str
    source: str
    retention_days: int
    event: str = ""
    field: str = ""
    unit: str = "day"
    window: int = 0
    half_life: int = 0
    values: tuple[str, ...] = ()

    def as_table(self) -> dict[str, Any]:
        """Return the declaration as plain values: what the manifest holds and `parse_feature` reads."""
        table: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind != "context":
            table |= {"event": self.event, "unit": self.unit, "window": self.window}
        if self.field:
            table["field"] = self.field
        if self.half_life:
            table["half_life"] = self.half_life
        if self.values:
            table["values"] = list(self.values)
        return table | {
            "purpose": self.purpose,
            "category": self.category,
            "source": self.source,
            "retention_days": self.retention_days,
        }


@lru_cache(maxsize=256)
def decay_weights(half_life: int, window: int) -> tuple[int, ...]:
    """Return `floor(DECAY_SCALE * 2^(-age / half_life))` for each age in `[0, window)`."""
    return tuple(int(DECAY_SCALE * 2.0 ** (-age / half_life)) for age in range(window))


def parse_feature(table: Table) -> Feature:
    """Return the feature that `table` declares.

    Raises:
        Malformed: an unknown key or kind, a field that the kind cannot read, a window that the retention or the
            bucket size does not allow.
    """
    kind = table.choice("kind", KINDS)
    event = field = ""
    unit, window, half_life = "day", 0, 0
    values: tuple[str, ...] = ()
    if kind == "context":
        field = table.name("field")
        if field in RESERVED:
            raise table.refuse("field", "is a column of its own in a table of moments", "rename it")
    else:
        event = table.choice("event", EVENT_NAMES)
        unit = table.choice("unit", ("day",) if kind == "days" else SECONDS, "day")
        window = table.integer("window", least=1, most=_LONGEST_WINDOW[unit])
    if kind in ("sum", "decayed_sum"):
        field = table.choice("field", NUMBER_FIELDS)
    if kind in ("last", "top"):
        field = table.choice("field", CATEGORY_FIELDS)
    if kind in ("last", "top") or (kind == "context" and field not in DERIVED):
        values = table.texts("values", ())
        if kind != "context" and not values:
            raise table.refuse("values", "is empty", "list the category's values in a meaningful order")
    if kind == "decayed_sum":
        half_life = table.integer("half_life", least=1, most=_LONGEST_WINDOW[unit])
    feature = Feature(
        name=table.name("name"),
        kind=kind,
        event=event,
        field=field,
        unit=unit,
        window=window,
        half_life=half_life,
        values=values,
        purpose=table.name("purpose"),
        category=table.text("category", longest=200),
        source=table.text("source", longest=64),
        retention_days=table.integer("retention_days", least=0, most=3650),
    )
    if window * SECONDS[unit] > feature.retention_days * 86_400:
        raise table.refuse("window", "is longer than the retention", "shorten it or raise retention_days")
    table.close()
    return feature


def parse_schema(tables: Iterable[Table]) -> tuple[Feature, ...]:
    """Return the features of a schema in their order: the vector's columns.

    Raises:
        Malformed: from `parse_feature`, or a name declared twice.
    """
    seen: set[str] = set()
    schema = []
    for table in tables:
        feature = parse_feature(table)
        if feature.name in seen:
            raise table.refuse("name", "is declared twice", "rename one")
        seen.add(feature.name)
        schema.append(feature)
    if not schema:
        raise Malformed("declares no feature", place="features", remedy="declare at least one")
    return tuple(schema)


def stamp(features: Iterable[Feature]) -> bytes:
    """Return eight bytes that change when any of these declarations, or their order, does."""
    return sha256(pack([feature.as_table() for feature in features])).digest()[:8]
