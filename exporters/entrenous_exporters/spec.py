"""The training specification: a TOML file that says what is learnt, from what, for whom, and what is done with it.

Parsed once, every unknown key refused; `docs/formats.md` describes it. Paths are relative to the file.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from entrenous.bundle import MOST_PATTERNS, Arm, Cap, Experiment, parse_cap
from entrenous.events import EVENT_NAMES
from entrenous.features import Feature, parse_schema
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table
from entrenous_consent.pseudonyms import BUCKETS

__all__ = ["DecisionSpec", "Label", "Learner", "Source", "TrainingSpec", "parse_spec", "read_spec"]

_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from.

    Attributes:
        events, moments: files (see `entrenous_exporters.readers`); empty where the caller hands over tables.
        public_research_data: the rows are of people who are not the shop's visitors; `improve` is then not asked for.
        train_from: Unix seconds: earlier moments are not learnt from, since their windows are not filled yet.
        train_until: Unix seconds: only moments whose label is known by then are learnt from; later ones judge.
    """

    events: str
    moments: str
    public_research_data: bool
    train_from: int
    train_until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The question: does `event` happen within `within_days` after the moment?"""

    event: str
    within_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """Histogram gradient boosting, one model for each consent pattern; `k` distinct visitors under every leaf."""

    trees: int
    leaves: int
    learning_rate: float
    l2: float
    min_rows_leaf: int
    k: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSpec:
    """What is decided with the score: patterns, tranches with the share of visitors each is to hold, and their arms."""

    name: str
    purpose: str
    patterns: tuple[tuple[str, ...], ...]
    tranches: tuple[str, ...]
    shares: tuple[float, ...]
    arms: Mapping[str, Arm]
    choice: Mapping[str, str]
    default_arm: str
    experiment: Experiment | None
    cap: Cap | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """The parsed specification."""

    name: str
    version: int
    lifetime_days: int
    source: Source
    label: Label
    learner: Learner
    features: tuple[Feature, ...]
    decision: DecisionSpec


def read_spec(path: Path) -> TrainingSpec:
    """Return the specification in the file at `path`.

    Raises:
        Missing: there is no such file. Malformed: as `parse_spec`.
    """
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy="check the path")
    return parse_spec(path.read_bytes(), place=path.name)


def parse_spec(data: bytes, *, place: str = "spec") -> TrainingSpec:
    """Return the specification that `data` (UTF-8 TOML) writes down.

    Raises:
        Malformed: not TOML, an unknown or missing key, a value out of bounds, patterns or shares that do not fit.
    """
    if len(data) > _LIMIT:
        raise Malformed(f"is longer than {_LIMIT} bytes", place=place)
    try:
        top = Table(tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=place, remedy="mend that line") from error
    try:
        return _parse(top)
    except Malformed as error:
        raise Malformed(error.what, place=f"{place}: {error.place}", remedy=error.remedy) from error


def _parse(top: Table) -> TrainingSpec:
    top.integer("format", least=1, most=1)
    features = parse_schema(top.tables("features"))
    spec = TrainingSpec(
        name=top.name("name"),
        version=top.integer("version", least=1, most=1 << 53),
        lifetime_days=top.integer("lifetime_days", least=1, most=3650),
        source=_source(top.table("data")),
        label=_label(top.table("label")),
        learner=_learner(top.table("learner")),
        features=features,
        decision=_decision(top.table("decision"), {feature.purpose for feature in features}),
    )
    top.close()
    return spec


def _source(table: Table) -> Source:
    source = Source(
        events=table.text("events", ""),
        moments=table.text("moments", ""),
        public_research_data=table.flag("public_research_data", False),
        train_from=table.moment("train_from") if table.has("train_from") else 0,
        train_until=table.moment("train_until"),
    )
    table.close()
    return source


def _label(table: Table) -> Label:
    label = Label(event=table.choice("event", EVENT_NAMES), within_days=table.integer("within_days", least=1, most=366))
    table.close()
    return label


def _learner(table: Table) -> Learner:
    learner = Learner(
        trees=table.integer("trees", least=1, most=1000),
        leaves=table.integer("leaves", least=2, most=256),
        learning_rate=table.number("learning_rate", least=1e-4, most=1),
        l2=table.number("l2", 0.0, least=0, most=1e6),
        min_rows_leaf=table.integer("min_rows_leaf", 20, least=1, most=1_000_000),
        k=table.integer("k", 5, least=1, most=1_000_000),
        seed=table.integer("seed", 0, least=0, most=(1 << 31) - 1),
    )
    table.close()
    return learner


def _decision(table: Table, purposes: set[str]) -> DecisionSpec:
    tranches = table.names("tranches", longest=100)
    shares = table.numbers("shares")
    if not tranches:
        raise table.refuse("tranches", "is empty", "name at least one")
    if len(shares) != len(tranches) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise table.refuse("shares", "is not one positive share for each tranche, adding up to 1")
    patterns = tuple(_pattern(table, i, one, purposes) for i, one in enumerate(table.array("patterns")))
    if not 1 <= len(patterns) <= MOST_PATTERNS or len(set(patterns)) != len(patterns):
        raise table.refuse("patterns", f"is not 1 to {MOST_PATTERNS} different lists of purposes")
    arms = {name: _arm(entry, name) for name, entry in table.named_tables("arms").items()}
    chosen = table.table("choice")
    choice = {tranche: chosen.choice(tranche, arms) for tranche in tranches}
    chosen.close()
    spec = DecisionSpec(
        name=table.name("name"),
        purpose=table.name("purpose"),
        patterns=patterns,
        tranches=tranches,
        shares=shares,
        arms=arms,
        choice=choice,
        default_arm=table.choice("default_arm", arms),
        experiment=_experiment(table.table("experiment")) if table.has("experiment") else None,
        cap=parse_cap(table.table("cap")) if table.has("cap") else None,
    )
    table.close()
    return spec


def _pattern(table: Table, index: int, purposes: object, known: set[str]) -> tuple[str, ...]:
    texts = isinstance(purposes, list) and all(isinstance(purpose, str) for purpose in purposes)
    if not isinstance(purposes, list) or not texts or not purposes:
        raise table.refuse(f"patterns[{index}]", "is not a list of purposes")
    if not known.issuperset(purposes) or len(set(purposes)) != len(purposes):
        raise table.refuse(f"patterns[{index}]", "names a purpose twice, or one that no feature has")
    return tuple(sorted(purposes))


def _arm(table: Table, name: str) -> Arm:
    value = table.scalar("value") if table.has("value") else name
    payload = dict(table.mapping("payload")) if table.has("payload") else {}
    table.close()
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, sort_keys=True) if payload else ""
    except (TypeError, ValueError) as error:
        raise table.refuse("payload", "cannot be written as JSON") from error
    return Arm(value=value, payload=text)


def _experiment(table: Table) -> Experiment:
    experiment = Experiment(
        id=table.name("id"),
        purpose=table.name("purpose"),
        holdout=round(table.number("holdout", least=0, most=1) * BUCKETS),
    )
    table.close()
    return experiment
