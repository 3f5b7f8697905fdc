"""The training specification: a TOML file that says what is learnt, from what, for whom, and what is done with it.

Parsed once, every unknown key refused; `docs/formats.md` describes it. Paths are relative to the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from entrenous.events import EVENT_NAMES, LARGEST, NUMBER_FIELDS
from entrenous.features import ANY, DERIVED, LATEST, Feature, parse_schema
from entrenous.markers import parse_selection
from entrenous.messages.triggers import MOST_TRIGGERS, Limit, Trigger, parse_limit
from entrenous.segments import MOST_SEGMENTS, Segment
from entrenous.targeting import MOST_SUPPLIED, Supplied, parse_supplied, variables_of
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import REQUIRED, Table
from entrenous_exporters.deciding import DecisionSpec, Known, parse_deciding
from entrenous_exporters.recommend.spec import RecommendSpec, parse_recommend
from entrenous_exporters.segmenting import Segments, read_triggers

__all__ = [
    "BOOSTED",
    "LEARNERS",
    "METHODS",
    "Label",
    "Learner",
    "Source",
    "Split",
    "TrainingSpec",
    "TrialSpec",
    "parse_spec",
    "read_either",
    "read_spec",
]

Spec = TypeVar("Spec")

LEARNERS = ("centroids", "extra_trees", "hist_gradient_boosting", "lightgbm", "logistic", "random_forest", "xgboost")
"""scikit-learn's, but for lightgbm, xgboost and our centroids, which find situations."""
METHODS = ("dr", "t", "x")
"""How uplift is learnt, see `entrenous_exporters.uplift`."""

BOOSTED = ("hist_gradient_boosting", "lightgbm", "xgboost")
_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from: an event log and moments, or one table that has a row for each moment.

    Attributes:
        events, moments, table: files (see `entrenous_exporters.readers`); empty where the caller hands over tables.
        attributes: the file of what was told or imported; empty where no feature asks for it.
        visitor, time: columns of the table. Without `visitor` each row is a visitor of its own, and the card says so.
        columns: the table's column for a context field, where the two differ.
        improve: who granted that models learn from them: a column of the table or the moments, or a file with the
            columns `visitor` and `improve`. Absent or empty is not granted.
        public_research_data: the rows are of people who are not the shop's visitors; `improve` is then not asked for.
        most_refused: the greatest share of the event log's rows that may be at fault, and are left out.
        time_zone: `UTC` where the log's times without an offset are taken for that. currency: of its money; empty for
            the one that most rows have.
        groups: columns for the card's comparison of groups; they never enter a model.
    """

    events: str
    moments: str
    attributes: str
    table: str
    visitor: str
    time: str
    columns: Mapping[str, str]
    improve: str
    public_research_data: bool
    most_refused: float
    time_zone: str
    currency: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The question: does `event` happen within `within_days` after the moment? Or: what does `column` say?

    Attributes:
        event, within_days: of an event log; empty and 0 otherwise. column: of a table; empty otherwise.
        absent: whether the answer is yes where the event does *not* happen: with `any`, who has left.
        field, at_least: asks whether the events' `field` sums up to so much; empty and 0 otherwise.
    """

    event: str
    within_days: int
    column: str
    absent: bool = False
    field: str = ""
    at_least: int = 0

    @property
    def horizon(self) -> int:
        """How long after a moment its label is known, in seconds."""
        return self.within_days * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which rows are learnt from and which judge. No visitor is ever on both sides.

    Attributes:
        kind: `time`: of the visitors, `judge_share` are set aside; the others are learnt from at moments within
            `start` and `until`, less the label's days; those set aside judge from `until` on. `grouped`: `folds`
            parts of the visitors judge in turn, and the model that ships learns from all.
        start, until: Unix seconds; earlier moments' windows are not filled yet.
    """

    kind: str
    start: int
    until: int
    judge_share: float
    folds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """What learns; one model for each consent pattern, `k` distinct visitors under every leaf.

    Attributes:
        kind: one of `LEARNERS`. trees, leaves, learning_rate, l2, min_rows_leaf: as far as the kind has them, else 0.
        bins: how many values of a feature the boosting tells apart at most; 0 where the kind has none.
        situations: how many centroids find, beside the one for everything else; 0 for the others.
        calibration: `sigmoid`, folded into the margin, `isotonic`, a rising line beside the graph, both fitted on rows
            not learnt from, or `none`.
    """

    kind: str
    trees: int
    leaves: int
    learning_rate: float
    l2: float
    min_rows_leaf: int
    k: int
    seed: int
    calibration: str
    bins: int = 0
    situations: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """The randomised test that uplift is learnt from.

    Attributes:
        arm: the column that says which arm a row got. shares: of each arm, as it was drawn, the control first.
        outcome: the column that says what came of it, in the unit of the costs; empty for the label, 1 or 0.
        method: one of `METHODS`.
    """

    arm: str
    shares: Mapping[str, float]
    outcome: str
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """The parsed specification.

    Attributes:
        without: markers that the specification's patterns cover and that lack something: their names, and what it is.
        context: what rules alone read of what the app supplies with a decision. segments: named groups.
        triggers: what falls due some time after an event. trigger_limit: of all of them.
        trial: the test that uplift is learnt from, None for other kinds.
        learners: by pattern, what learns instead of `learner`; step: of the leaves' grid, None for the usual one.
            Both are what a search for the smallest bundle finds (`entrenous_exporters.compact`).
    """

    name: str
    version: int
    lifetime_days: int
    source: Source
    label: Label
    split: Split
    learner: Learner
    features: tuple[Feature, ...]
    without: Mapping[str, str]
    context: tuple[Supplied, ...]
    segments: tuple[Segment, ...]
    triggers: tuple[Trigger, ...]
    trigger_limit: Limit | None
    decision: DecisionSpec
    trial: TrialSpec | None = None
    learners: Mapping[tuple[str, ...], Learner] = field(default_factory=dict)
    step: float | None = None

    def learner_of(self, pattern: tuple[str, ...]) -> Learner:
        """Return what learns one pattern's margin."""
        return self.learners.get(pattern, self.learner)


def read_spec(path: Path) -> TrainingSpec:
    """Return the specification in the file at `path`.

    Raises:
        Missing: there is no such file. Malformed: as `parse_spec`.
    """
    return parse_spec(_bytes(path), place=path.name)


def read_either(path: Path) -> TrainingSpec | RecommendSpec:
    """Return the specification in the file at `path`: of a model, or, where it has `[recommend]`, of lists.

    Raises:
        Missing: there is no such file. Malformed: as `parse_spec`, or `parse_recommend`.
    """
    return _placed(_bytes(path), path.name, lambda top: parse_recommend(top) if top.has("recommend") else _parse(top))


def parse_spec(data: bytes, *, place: str = "spec") -> TrainingSpec:
    """Return the specification that `data` (UTF-8 TOML) writes down.

    Raises:
        Malformed: not TOML, an unknown or missing key, a value out of bounds, patterns or shares that do not fit.
    """
    return _placed(data, place, _parse)


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy="check the path")
    return path.read_bytes()


def _placed(data: bytes, place: str, parse: Callable[[Table], Spec]) -> Spec:
    if len(data) > _LIMIT:
        raise Malformed(f"is longer than {_LIMIT} bytes", place=place)
    try:
        top = Table(tomllib.loads(data.decode()))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=place, remedy="mend that line") from error
    try:
        return parse(top)
    except Malformed as error:
        raise Malformed(error.what, place=f"{place}: {error.place}", remedy=error.remedy) from error


def _parse(top: Table) -> TrainingSpec:
    top.integer("format", least=1, most=1)
    taken = parse_selection(top.table("markers")) if top.has("markers") else None
    declared = top.tables("features", REQUIRED if taken is None else ())
    ready = [Table(one, f"markers.{one['name']}") for one in taken.tables] if taken else []
    features = parse_schema([*declared, *ready])
    context = parse_supplied(top.tables("context", (), longest=MOST_SUPPLIED), features)
    segments = Segments(top.tables("segments", (), longest=MOST_SEGMENTS), features)
    learner = _learner(top.table("learner"))
    trial = _trial(top.table("trial")) if top.has("trial") else None
    tranches = tuple(trial.shares) if trial else ("elsewhere", *(f"s{i}" for i in range(1, learner.situations + 1)))
    spec = TrainingSpec(
        name=top.name("name"),
        version=top.integer("version", least=1, most=1 << 53),
        lifetime_days=top.integer("lifetime_days", least=1, most=3650),
        source=_source(top.table("data"), features),
        label=_label(top.table("label"), flat=top.table("data").has("table")),
        split=_split(top.table("split"), timed=not top.table("data").has("table") or top.table("data").has("time")),
        learner=learner,
        features=features,
        without=taken.without if taken else {},
        context=context,
        segments=segments.all(),
        triggers=read_triggers(top.tables("triggers", (), longest=MOST_TRIGGERS), features, segments),
        trigger_limit=parse_limit(top.table("trigger_limit")) if top.has("trigger_limit") else None,
        decision=parse_deciding(
            top.table("decision"),
            Known(
                purposes=frozenset(feature.purpose for feature in features),
                variables=variables_of(features, context),
                segments=segments,
                tranches=tranches,
            ),
        ),
        trial=trial,
    )
    top.close()
    _check_kind(spec, top)
    return spec


def _check_kind(spec: TrainingSpec, top: Table) -> None:
    kind, learner = spec.decision.kind, spec.learner.kind
    if kind == "rule":
        raise top.refuse("decision.kind", "is learnt from nothing", "write it as a campaign, and leave the score out")
    if kind == "recommend":
        raise top.refuse("decision.kind", "is learnt from visits", "add [recommend], and leave out learner and label")
    if (kind == "situation") != (learner == "centroids"):
        raise top.refuse("learner.kind", f"is {learner} for {kind}", "only situations are found by centroids")
    if (kind == "uplift") != (spec.trial is not None):
        raise top.refuse("trial", f"does not go with {kind}", "only uplift is learnt from a randomised test")
    if spec.trial is None:
        return
    if learner not in BOOSTED or spec.learner.calibration != "none":
        remedy = f"use {', '.join(BOOSTED)}, without calibration"
        raise top.refuse("learner.kind", "regresses no numbers here", remedy)
    control, arms = next(iter(spec.trial.shares)), spec.decision.arms.keys()
    if control != spec.decision.default_arm or not spec.trial.shares.keys() <= arms:
        remedy = "name the decision's arms, and the default arm first: it is the control"
        raise top.refuse("trial.shares", "are not shares of the decision's arms", remedy)


def _trial(table: Table) -> TrialSpec:
    shares = table.table("shares")
    found = {arm: shares.number(arm, least=0.001, most=0.999) for arm in shares.keys()}  # noqa: SIM118
    trial = TrialSpec(
        arm=table.text("arm"),
        shares=found,
        outcome=table.text("outcome", ""),
        method=table.choice("method", METHODS, "t"),
    )
    table.close()
    if len(found) < 2 or abs(sum(found.values()) - 1) > 1e-6:
        raise table.refuse("shares", "are not of two arms or more, adding up to 1", "state how the arms were drawn")
    return trial


def _source(table: Table, features: tuple[Feature, ...]) -> Source:
    flat = table.has("table")
    columns = table.table("columns", {})
    source = Source(
        events="" if flat else table.text("events", ""),
        moments="" if flat else table.text("moments", ""),
        attributes="" if flat else table.text("attributes", ""),
        table=table.text("table", ""),
        visitor=table.text("visitor", "") if flat else "",
        time=table.text("time", "") if flat else "",
        columns={field: columns.text(field) for field in columns.keys()} if flat else {},  # noqa: SIM118
        improve=table.text("improve", "improve"),
        public_research_data=table.flag("public_research_data", False),
        most_refused=0.0 if flat else table.number("most_refused", 0.01, least=0, most=1),
        time_zone="" if flat else table.choice("time_zone", ("UTC",), ""),
        currency="" if flat else table.text("currency", "", longest=3),
        groups=table.names("groups", (), longest=8),
    )
    table.close()
    fields = {feature.field for feature in features if feature.kind == "context"}
    for feature in features:
        if feature.kind in LATEST and not flat and not source.attributes:
            raise table.refuse("attributes", f"is missing, and {feature.name} is read from it", "name the file")
        if flat and feature.kind != "context":
            raise table.refuse("table", f"has no events for {feature.name}", "declare it as context, or give events")
        if flat and not source.time and feature.field in DERIVED:
            raise table.refuse("time", f"is missing, and {feature.name} is derived from it", "name the column")
    for column in source.columns:
        if column not in fields:
            raise table.refuse(f"columns.{column}", "is no feature's field", "remove it, or declare the feature")
    for group in source.groups:
        if group in fields:
            raise table.refuse("groups", f"names {group}, a field of the model", "copy it into a column of its own")
    return source


def _label(table: Table, *, flat: bool) -> Label:
    if flat:
        label = Label(event="", within_days=0, column=table.text("column"))
    else:
        absent, summed = table.flag("absent", False), table.choice("field", NUMBER_FIELDS, "")
        label = Label(
            event=table.choice("event", (ANY, *sorted(EVENT_NAMES))),
            within_days=table.integer("within_days", least=1, most=366),
            column="",
            absent=absent,
            field=summed,
            at_least=table.integer("at_least", least=1, most=LARGEST["value"]) if summed else 0,
        )
        if absent and summed:
            raise table.refuse("absent", "asks for nothing, and field for a sum", "leave one of them out")
    table.close()
    return label


def _split(table: Table, *, timed: bool) -> Split:
    kind = table.choice("kind", ("grouped", "time"))
    if kind == "time" and not timed:
        raise table.refuse("kind", "needs a time", "name data.time, or split by visitors: grouped")
    split = Split(
        kind=kind,
        start=table.moment("start") if kind == "time" and table.has("start") else 0,
        until=table.moment("until") if kind == "time" else 0,
        judge_share=table.number("judge_share", 0.2, least=0.05, most=0.5) if kind == "time" else 0.0,
        folds=table.integer("folds", 5, least=2, most=20) if kind == "grouped" else 0,
    )
    table.close()
    return split


def _learner(table: Table) -> Learner:
    kind = table.choice("kind", LEARNERS)
    boosted, linear, grown = kind in BOOSTED, kind == "logistic", kind not in ("centroids", "logistic")
    learner = Learner(
        kind=kind,
        trees=table.integer("trees", least=1, most=1000) if grown else 0,
        leaves=table.integer("leaves", least=2, most=256) if grown else 0,
        learning_rate=table.number("learning_rate", least=1e-4, most=1) if boosted else 0.0,
        l2=table.number("l2", 1.0 if linear else 0.0, least=1e-6 if linear else 0, most=1e6)
        if boosted or linear
        else 0.0,
        min_rows_leaf=table.integer("min_rows_leaf", 20, least=1, most=1_000_000) if grown else 0,
        k=table.integer("k", 5, least=1, most=1_000_000),
        seed=table.integer("seed", 0, least=0, most=(1 << 31) - 1),
        calibration="none"
        if kind == "centroids"
        else table.choice("calibration", ("isotonic", "none", "sigmoid"), "none" if boosted or linear else "sigmoid"),
        bins=table.integer("bins", 255, least=2, most=255) if kind == "hist_gradient_boosting" else 0,
        situations=table.integer("situations", least=2, most=99) if kind == "centroids" else 0,
    )
    if grown and not boosted and learner.calibration == "none":
        remedy = "use sigmoid or isotonic: a forest's margin is a mean probability, not log-odds"
        raise table.refuse("calibration", f"is none for {kind}", remedy)
    table.close()
    return learner
