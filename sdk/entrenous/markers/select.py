"""From one line of a specification to declarations: which markers it takes, and what the shop adds to them.

::

    [markers]
    take = ["purchases_*", "rhythm", "views_count_7d"]   # names, patterns with *, groups or families
    leave = ["*_365d"]
    purpose = "personalize"
    retention_days = 400
    values = { category = ["shoes", "bags"], told_size = ["s", "m", "l"] }
    lifetime = { r = 0.24, … }

Values are given by field, or for one marker by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from entrenous.markers.catalogue import Marker, catalogue, groups
from entrenous_consent.parsing import Table

__all__ = ["Taken", "parse_selection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a selection comes to.

    Attributes:
        tables: one declaration a marker, as `parse_schema` reads it, in the catalogue's order.
        without: markers that a pattern covers and that were left out, by name, with what they need.
    """

    tables: tuple[Mapping[str, Any], ...]
    without: Mapping[str, str]


def parse_selection(table: Table) -> Taken:
    """Return what a `[markers]` table takes.

    Raises:
        Malformed: a line that takes nothing, a marker taken by name that lacks what it needs, values of nothing.
    """
    taken, named = _chosen(table, "take")
    left, _ = _chosen(table, "leave", ())
    purpose = table.name("purpose")
    source = table.text("source", "app", longest=64)
    retention = table.integer("retention_days", least=0, most=3650)
    values = _values(table)
    lifetime = table.mapping("lifetime") if table.has("lifetime") else None
    table.close()
    tables, without = [], {}
    for marker in catalogue():
        if marker.name not in taken or marker.name in left:
            continue
        given = values.get(marker.name, values.get(marker.declaration.get("field", ""), ()))
        said: dict[str, Any] = {"values": list(given)} if given and _lists(marker) else {}
        if marker.needs == "lifetime" and lifetime is not None:
            said = {"lifetime": lifetime}
        short = marker.needs == "values" and len(given) < max(1, marker.declaration.get("rank", 0))
        if short or (marker.needs and not said):
            if marker.name in named:
                raise table.refuse(marker.needs, f"is missing, and {marker.name} needs it", _REMEDY[marker.needs])
            without[marker.name] = marker.needs
            continue
        if marker.days > retention:
            raise table.refuse("retention_days", f"is shorter than {marker.name} reaches", "raise it, or leave that")
        tables.append(
            {
                "name": marker.name,
                **marker.declaration,
                **said,
                "purpose": purpose,
                "category": marker.category,
                "source": source,
                "retention_days": 0 if marker.declaration["kind"] == "context" else retention,
            }
        )
    if not tables:
        raise table.refuse("take", "takes no marker", "see: entrenous markers")
    return Taken(tables=tuple(tables), without=without)


_REMEDY = {
    "lifetime": "give what `entrenous lifetime fit` wrote as a table `lifetime`",
    "values": "list the field's values, or more of them, in the table `values`",
}


def _lists(marker: Marker) -> bool:
    """Whether it tells values apart that the shop may list."""
    return marker.needs == "values" or "values" in marker.declaration


def _chosen(table: Table, key: str, *default: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the names of the markers that the lines of `key` cover, and those that are named outright."""
    covered: set[str] = set()
    named: set[str] = set()
    for place, line in enumerate(table.texts(key, *default)):
        found = {
            marker.name
            for marker in catalogue()
            if line in (marker.group, marker.family) or fnmatchcase(marker.name, line)
        }
        if not found:
            remedy = "name a marker, a family, a pattern with *, or a group: " + ", ".join(groups())
            raise table.refuse(f"{key}[{place}]", "covers no marker", remedy)
        covered |= found
        named |= {line} & found
    return covered, named


def _values(table: Table) -> dict[str, tuple[str, ...]]:
    given = table.table("values", {})
    known = {marker.name for marker in catalogue()} | {marker.declaration.get("field") for marker in catalogue()}
    found = {}
    for key in given.keys():  # noqa: SIM118
        if key not in known:
            raise given.refuse(key, "is neither a field nor a marker", "see: entrenous markers")
        found[key] = given.texts(key)
    return found
