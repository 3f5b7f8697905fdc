"""The catalogue: families of markers, each over a grid of events, windows and fields, as `catalogue.toml` lays out.

A marker is a declaration (`entrenous.features.declare`) without what only a shop can say: the purpose it serves, how
long it is kept, the values of a category, fitted models. Its name says what it is about, then how it is counted, of
what, and over how long: `purchases_mean_value_90d`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import product
from types import MappingProxyType
from typing import Any

from entrenous.features import KINDS, Feature

__all__ = ["LANGUAGES", "Marker", "catalogue", "groups", "words_of"]

LANGUAGES = ("en", "fr")
_UNITS = {"d": "day", "h": "hour"}
_UNIT_WORDS = {"en": {"d": "days", "h": "hours"}, "fr": {"d": "jours", "h": "heures"}}
_UNIT_WORD = {"en": {"d": "day", "h": "hour"}, "fr": {"d": "jour", "h": "heure"}}
_COUNTED = ("event", "field", "half_life", "horizon", "kind", "per", "rank", "slots", "unit", "value", "window")
_PREFIX = {"asked": "asked", "imported": "known", "told": "told"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One ready-made feature.

    Attributes:
        name: unique, a short key. family: its kind, or the context key. group: a key of `groups`.
        words: what it says, by language.
        category: the fideslang data category.
        declaration: what `parse_feature` reads, but for `purpose`, `source`, `retention_days` and what it needs.
        needs: `values`, `lifetime`, or empty: what the shop has to bring.
    """

    name: str
    family: str
    group: str
    words: Mapping[str, str]
    category: str
    declaration: Mapping[str, Any]
    needs: str = ""

    @property
    def days(self) -> int:
        """How many days it reaches back, rounded up; 0 for context."""
        window: int = self.declaration.get("window", 0)
        return window if self.declaration.get("unit") == "day" else -(-window // 24)


@lru_cache(maxsize=1)
def _document() -> Mapping[str, Any]:
    return tomllib.loads((files("entrenous.markers") / "catalogue.toml").read_text("utf-8"))


def groups() -> Mapping[str, Mapping[str, str]]:
    """Return the groups of the catalogue, in order, with their words by language."""
    found: Mapping[str, Mapping[str, str]] = _document()["groups"]
    return MappingProxyType(found)


@lru_cache(maxsize=1)
def catalogue() -> tuple[Marker, ...]:
    """Return every marker, in the catalogue's order."""
    document = _document()
    found = [
        *(marker for family in document["family"] for marker in _family(document, family)),
        *(_context(one) for one in document["context"]),
        *(marker for family in document["said"] for marker in _said(family)),
    ]
    return tuple(found)


@lru_cache(maxsize=1)
def _by_declaration() -> Mapping[tuple[tuple[str, Any], ...], Marker]:
    return {_told(one.declaration): one for one in catalogue()}


def _told(declaration: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return what a declaration counts, without what each shop says for itself."""
    return tuple(sorted((key, value) for key, value in declaration.items() if key in _COUNTED and value))


def words_of(feature: Feature, language: str) -> str:
    """Return what a feature says, in words: those of the marker that counts the same, else its own name.

    Args:
        language: one of `LANGUAGES`.
    """
    marker = _by_declaration().get(_told(feature.as_table()))
    return marker.words[language] if marker else feature.name.replace("_", " ")


def _family(document: Mapping[str, Any], family: Mapping[str, Any]) -> Iterator[Marker]:
    events, fields = document["events"], document["fields"]
    for grid in family["grids"]:
        axes = (
            grid.get("events", [""]),
            grid.get("fields", [""]),
            grid["windows"],
            grid.get("ranks", [0]),
            grid.get("horizons", [0]),
        )
        for event, field, window, rank, horizon in product(*axes):
            per = grid.get("per", "")
            declaration = {
                "kind": family["name"],
                "event": event,
                "per": per,
                "field": field,
                "unit": _UNITS[window[-1]],
                "window": int(window[:-1]),
                "rank": rank,
                "horizon": horizon,
                **{key: grid[key] for key in ("half_life", "slots", "cuts", "discount") if key in grid},
            }
            about = events[event]["name"] if event else family["prefix"]
            # A share or a relation says against what; a rank beyond the first and a horizon stand last.
            parts = [about, family["name"], field, events[per]["name"] if per else "", window]
            parts += [f"n{rank}"] if rank > 1 else []
            parts += [f"next_{horizon}d"] if horizon else []
            yield Marker(
                name="_".join(part for part in parts if part),
                family=family["name"],
                group=family["group"],
                words={
                    language: _capital(
                        family[language].format(
                            event=events[event][language] if event else "",
                            per=events[per][language] if per else "",
                            field=fields[field][language] if field else "",
                            window=_window(window, language),
                            rank=rank,
                            horizon=horizon,
                        )
                    )
                    for language in LANGUAGES
                },
                category=events[event]["category"] if event else family["category"],
                declaration={key: value for key, value in declaration.items() if value},
                needs=_needs(declaration),
            )


def _needs(declaration: Mapping[str, Any]) -> str:
    rules = KINDS[declaration["kind"]]
    if "lifetime" in rules.needs:
        return "lifetime"
    return "values" if "values" in rules.needs and "slots" not in declaration else ""


def _window(window: str, language: str) -> str:
    number, unit = int(window[:-1]), window[-1]
    words = (_UNIT_WORD if number == 1 else _UNIT_WORDS)[language]
    return f"{number} {words[unit]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _context(one: Mapping[str, Any]) -> Marker:
    declaration = {"kind": "context", "field": one["name"]}
    return Marker(
        name=f"context_{one['name']}",
        family=one["name"],
        group="context",
        words={language: one[language] for language in LANGUAGES},
        category=one["category"],
        declaration=declaration | ({"values": one["values"]} if "values" in one else {}),
        needs=one.get("needs", ""),
    )


def _said(family: Mapping[str, Any]) -> Iterator[Marker]:
    kind = family["name"]
    for window, field in product(family["windows"], family["fields"]):
        given = {key: field[key] for key in ("values", "value") if key in field}
        yield Marker(
            name=f"{_PREFIX[kind]}_{field['name']}",
            family=kind,
            group=family["group"],
            words={language: family[language].format(field=field[language]) for language in LANGUAGES},
            category=family["category"],
            declaration={"kind": kind, "field": field["name"], "unit": "day", "window": int(window[:-1]), **given},
            needs="" if given else field.get("needs", "values" if kind != "imported" else ""),
        )
