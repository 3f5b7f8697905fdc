"""What rules are usually about: each criterion with a name, words in two languages, what it reads and a template.

A criterion is no mechanism of its own: its template is CEL like any other, and what it reads is declared like any other
variable. It rests on one of three things:

- **context** that the app supplies with the decision, because only the page, the screen or the shop's systems know it;
- **features** of the bundle, kept from events: the kind, the event and whatever else makes them what is meant;
- the decision's **clock**, which is nothing about the visitor.

They stand in `criteria.toml`, beside this module.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from string import Formatter

from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, NUMBER_FIELDS
from entrenous.features import ANY, KINDS, SECONDS
from entrenous.features.kinds import LONGEST_WINDOW
from entrenous.targeting import Variable, float32
from entrenous.targeting.form import TYPES
from entrenous_consent.errors import Forbidden, Malformed, Missing
from entrenous_consent.parsing import Table

__all__ = ["REFUSED", "Criterion", "criterion", "load_criteria", "parse_criteria"]

Value = str | float | bool | Sequence[str]

REFUSED: Mapping[str, str] = {
    "ip_address": "a raw address singles out a household or a device: supply a country, a region or a flag instead",
    "javascript": "a script is code that nobody signed as such: supply what it would find out as a declared key",
}
"""Criteria that other systems have and this one refuses, and why."""

_KINDS = tuple(kind for kind in KINDS if kind != "context")
_EVENTS = (ANY, *sorted(EVENT_NAMES))
_OPTIONAL = {"per": _EVENTS, "field": (*NUMBER_FIELDS, *CATEGORY_FIELDS), "unit": tuple(SECONDS)}
_CONTROL = re.compile(r"[\x00-\x1f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that a rule may be about.

    Attributes:
        name: a short key. en, fr: what it says, in a few words.
        template: CEL, with the names of values in braces. values: the type of each of them, in order.
        context: what it reads of what the app supplies, by name, with its type.
        features: what it reads of the bundle, by name, with the part of a declaration that the criterion rests on.
    """

    name: str
    en: str
    fr: str
    template: str
    values: Mapping[str, str]
    context: Mapping[str, str]
    features: Mapping[str, Mapping[str, str | int]]

    @property
    def source(self) -> str:
        """What it rests on: `clock`, `context` or `feature`."""
        return "feature" if self.features else "context" if self.context else "clock"

    @property
    def reads(self) -> Mapping[str, str]:
        """Its variables with their types: those of rules, where a category is text."""
        return self.context or {
            name: "text" if KINDS[str(said["kind"])].coded else "number" for name, said in self.features.items()
        }

    @property
    def rests_on(self) -> str:
        """The features behind it in words; empty for context and the clock."""
        return "; ".join(
            ", ".join(f"{key} `{value}`" if isinstance(value, str) else f"{key} {value}" for key, value in said.items())
            for said in self.features.values()
        )

    def variables(self, purpose: str) -> dict[str, Variable]:
        """Return what has to be declared for it, all under one purpose."""
        return {name: Variable(type=type_, purpose=purpose) for name, type_ in self.reads.items()}

    def rule(self, **values: Value) -> str:
        """Return the template with these values written into it, as CEL.

        Raises:
            Malformed: a value that the template takes is not given, one that it does not take is, or one is of another
                type; the error says which, and never what was given.
        """
        taken = ", ".join(f"{name} ({type_})" for name, type_ in self.values.items()) or "none"
        for name in (*values, *self.values):
            if name not in self.values:
                raise self._refuse(name, "is no value of this criterion", f"it takes: {taken}")
            if name not in values:
                raise self._refuse(name, "is not given", f"it takes: {taken}")
        for name, type_ in self.values.items():
            if not _fits(values[name], type_):
                raise self._refuse(name, f"is not {_SPOKEN[type_]}", _REMEDIES[type_])
        return self.template.format_map({name: _literal(value) for name, value in values.items()})

    def _refuse(self, name: str, what: str, remedy: str) -> Malformed:
        return Malformed(what, place=f"criterion {self.name}.{name[:64]}", remedy=remedy)


def criterion(name: str) -> Criterion:
    """Return the criterion of this name.

    Raises:
        Forbidden: one of `REFUSED`. Missing: there is none.
    """
    if name in REFUSED:
        raise Forbidden("is refused, whoever asks", place=f"criterion {name}", remedy=REFUSED[name])
    for one in load_criteria():
        if one.name == name:
            return one
    known = ", ".join(one.name for one in load_criteria())
    raise Missing("is no criterion", place="criterion", remedy=f"known: {known}")


@cache
def load_criteria() -> tuple[Criterion, ...]:
    """Return all of them, by subject, as they ship with this package."""
    text = (files("entrenous_exporters.rules") / "criteria.toml").read_text("utf-8")
    return parse_criteria(Table(tomllib.loads(text), "criteria.toml").tables("criteria"))


def parse_criteria(tables: Iterable[Table]) -> tuple[Criterion, ...]:
    """Return the criteria that these tables hold.

    Raises:
        Malformed: an unknown key or type, a name that is there twice, a template whose braces hold other names than
            `values`, a variable that two criteria declare differently.
    """
    found: dict[str, Criterion] = {}
    declared: dict[str, object] = {}
    for table in tables:
        one = _parse(table)
        if one.name in found:
            raise table.refuse("name", "is there twice", "rename one")
        for name, said in (*one.context.items(), *one.features.items()):
            if declared.setdefault(name, said) != said:
                raise table.refuse(name, "is declared in another way by another criterion", "rename one")
        found[one.name] = one
    return tuple(found.values())


def _parse(table: Table) -> Criterion:
    context, features = table.table("context", {}), table.named_tables("features", {})
    values = table.table("values", {})
    one = Criterion(
        name=table.name("name"),
        en=table.text("en"),
        fr=table.text("fr"),
        template=table.text("template"),
        values={name: values.choice(name, TYPES) for name in values.keys()},  # noqa: SIM118
        context={name: context.choice(name, TYPES) for name in context.keys()},  # noqa: SIM118
        features={name: _feature(inner) for name, inner in features.items()},
    )
    table.close()
    if one.context and one.features:
        raise table.refuse("features", "stand beside context", "rest the criterion on one of them")
    if _braces(table, one.template) != one.values.keys():
        raise table.refuse("template", "holds other names in braces than values", "name the same in both")
    return one


def _braces(table: Table, template: str) -> set[str]:
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise table.refuse("template", "is no template", "close each brace; write names alone in them") from error
    if any(spelled or converted for _, spelled, converted in parts):
        raise table.refuse("template", "is no template", "write names alone in braces")
    return {name for name, _, _ in parts if name is not None}


def _feature(table: Table) -> dict[str, str | int]:
    """Return the part of a declaration that is given, in the order of formats.md."""
    said: dict[str, str | int] = {"kind": table.choice("kind", _KINDS), "event": table.choice("event", _EVENTS)}
    for key, options in _OPTIONAL.items():
        if table.has(key):
            said[key] = table.choice(key, options)
    if table.has("window"):
        said["window"] = table.integer("window", least=1, most=max(LONGEST_WINDOW.values()))
    table.close()
    return said


def _fits(value: object, type_: str) -> bool:
    if type_ == "texts":
        return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, str) for one in value)
    if type_ == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(float32(value))
    return isinstance(value, bool if type_ == "boolean" else str)


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return "'" + _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted) + "'"
    if isinstance(value, (int, float)):
        return repr(value)
    return "[" + ", ".join(map(_literal, value)) + "]"


_SPOKEN = {"boolean": "true or false", "number": "a finite number", "text": "text", "texts": "one text or more"}
_REMEDIES = {
    "boolean": "give True or False",
    "number": "give an int or a float",
    "text": "give one str",
    "texts": "give a list of str, of one if need be",
}
