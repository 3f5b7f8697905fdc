"""Segments and triggers as they are written: rules in CEL that may name each other, or starters with a shop's own
features.

Whatever a rule says with `segment("name")` is put in its place here; what ships knows of no names within rules.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from string import Formatter
from typing import TYPE_CHECKING, Any

from entrenous.features import Feature
from entrenous.messages.triggers import Trigger, said_of
from entrenous.segments import MOST_SEGMENTS, Segment, check_purpose, kept_variables, words_of
from entrenous.targeting import LONGEST_RULE, Variable
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table

if TYPE_CHECKING:
    from entrenous_exporters.rules import Written

__all__ = ["Segments", "Starter", "load_starters", "parse_starters", "read_rule", "read_triggers"]

_LARGEST = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """A segment that most shops begin with.

    Attributes:
        name: its short key. en, fr: what it is called. rule: CEL, with parts and thresholds in braces.
        thresholds: by name, where the specification sets none.
        parts: by name, the kinds and the events (none: any) of a feature that may play it.
    """

    name: str
    en: str
    fr: str
    rule: str
    thresholds: Mapping[str, float]
    parts: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

    def written(self, table: Table, features: Mapping[str, Feature]) -> str:
        """Return the rule with what a specification puts in its places.

        Args:
            table: names a feature for each part, and a number for any threshold. features: by name.

        Raises:
            Malformed: a part that is left out, a feature that is not declared or can't play it, no number.
        """
        said: dict[str, str] = {}
        for part, (kinds, events) in self.parts.items():
            feature = features.get(table.name(part))
            if feature is None:
                raise table.refuse(part, "names no declared feature", "declare it, or name another")
            if feature.kind not in kinds or (events and feature.event not in events):
                wanted = f"{' or '.join(kinds)}" + (f" of {' or '.join(events)}" if events else "")
                raise table.refuse(part, "names a feature that can't play this part", f"name one of kind {wanted}")
            said[part] = feature.name
        for name, value in self.thresholds.items():
            said[name] = repr(table.number(name, value, least=-_LARGEST, most=_LARGEST))
        table.close()
        return self.rule.format_map(said)


@cache
def load_starters() -> Mapping[str, Starter]:
    """Return the starters that ship with this package, by name."""
    text = (files("entrenous_exporters") / "starters.toml").read_text("utf-8")
    return parse_starters(Table(tomllib.loads(text), "starters.toml"))


def parse_starters(top: Table) -> Mapping[str, Starter]:
    """Return the starters that a document holds.

    Raises:
        Malformed: an unknown key, braces in a rule that name neither a part nor a threshold, a name that stands twice.
    """
    found: dict[str, Starter] = {}
    for table in top.tables("starters", longest=MOST_SEGMENTS):
        name, rule = table.name("name"), table.text("rule")
        en, fr = words_of(table)
        given = table.mapping("thresholds")
        thresholds = {key: float(value) for key, value in given.items() if isfinite(value)}
        parts = {key: _part(part) for key, part in table.named_tables("parts").items()}
        table.close()
        braced = {field for _, field, _, _ in Formatter().parse(rule) if field}
        if name in found or braced != {*parts, *thresholds}:
            raise table.refuse("rule", "names other places than are said, or its name stands twice")
        found[name] = Starter(name=name, en=en, fr=fr, rule=rule, thresholds=thresholds, parts=parts)
    top.close()
    return found


def _part(table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    part = table.names("kinds"), table.names("events")
    table.close()
    return part


class Segments:
    """The segments of a specification, each read once, when it is first named.

    Args:
        tables: as written. features: the schema.
    """

    def __init__(self, tables: Sequence[Table], features: Sequence[Feature]) -> None:
        self._features = {one.name: one for one in features}
        self._variables = kept_variables(features)
        self._tables: dict[str, Table] = {}
        self._read: dict[str, Segment] = {}
        self._open: list[str] = []
        for table in tables:
            name = table.name("name")
            if name in self._tables:
                raise table.refuse("name", "is declared twice", "rename one")
            self._tables[name] = table

    def all(self) -> tuple[Segment, ...]:
        """Return them in the order in which they are written.

        Raises:
            Malformed: one that does not read, or that stands within itself; with the place.
        """
        for name in self._tables:
            self.tree(name)
        return tuple(self._read[name] for name in self._tables)

    def tree(self, name: str) -> tuple[Any, ...]:
        """Return what ships in the place of `segment("name")`.

        Raises:
            Malformed: there is no such segment, or it is being read already.
        """
        if name in self._open:
            circle = " → ".join((*self._open[self._open.index(name) :], name))
            raise Malformed(f"names a segment that stands within itself ({circle})", remedy="break the circle")
        if name not in self._tables:
            known = ", ".join(self._tables) or "none"
            raise Malformed("names a segment that is not declared", remedy=f"declared: {known}")
        if name not in self._read:
            self._open.append(name)
            try:
                self._read[name] = self._segment(name, self._tables[name])
            finally:
                self._open.pop()
        return self._read[name].rule

    def _segment(self, name: str, table: Table) -> Segment:
        purpose, starter = table.name("purpose"), self._starter(table)
        if starter is None:
            text = table.text("rule", longest=LONGEST_RULE)
        else:
            text = starter.written(table.table("with"), self._features)
        en, fr = (starter.en, starter.fr) if starter and not table.has("words") else words_of(table)
        table.close()
        rule = read_rule(text, self._variables, table, "rule", self).tree
        check_purpose(table, purpose, rule, self._variables)
        return Segment(name=name, purpose=purpose, rule=rule, en=en, fr=fr)

    @staticmethod
    def _starter(table: Table) -> Starter | None:
        if not table.has("starter"):
            return None
        return load_starters()[table.choice("starter", load_starters())]


def read_triggers(tables: Sequence[Table], features: Sequence[Feature], segments: Segments) -> tuple[Trigger, ...]:
    """Return the triggers of a specification.

    Raises:
        Malformed: as `entrenous.messages.triggers.said_of`, or a rule that does not read, or a name that stands twice.
    """
    variables, found = kept_variables(features), dict[str, Trigger]()
    for table in tables:
        said = said_of(table)
        text = table.text("exclude", "", longest=LONGEST_RULE)
        table.close()
        if said["name"] in found:
            raise table.refuse("name", "is declared twice", "rename one")
        said["exclude"] = read_rule(text, variables, table, "exclude", segments).tree if text else None
        found[said["name"]] = Trigger(**said)
    return tuple(found.values())


def read_rule(text: str, variables: Mapping[str, Variable], table: Table, key: str, segments: Segments) -> Written:
    """Return the rule that stands under a key of a specification, as `entrenous_exporters.rules.write_rule` reads it.

    Raises:
        Missing: what reads CEL is not installed. Malformed: as `write_rule`.
    """
    try:
        from entrenous_exporters.rules import write_rule  # noqa: PLC0415 — needed by specifications with rules alone
    except ModuleNotFoundError as error:
        remedy = "pip install 'entrenous[train]'"
        raise Missing("needs cel-python", place=f"{table.path}.{key}", remedy=remedy) from error
    return write_rule(text, variables, place=f"{table.path}.{key}", segments=segments.tree)
