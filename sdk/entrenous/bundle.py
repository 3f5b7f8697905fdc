"""The bundle: what is shipped. A manifest, and the ONNX models it vouches for.

One msgpack map `{format, manifest, models}`. The manifest is msgpack bytes of their own, so that what is signed is
what is read. Everything in it is typed, bounded and closed: `docs/formats.md` describes it. Reading verifies each
model's length and SHA-256 and holds it against the closed ONNX profile before any runtime sees it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np

from entrenous.features import Feature, parse_schema
from entrenous.onnx_dense import check_dense
from entrenous.onnx_profile import check_model
from entrenous.segments import MOST_SEGMENTS, Segment, parse_segments
from entrenous.targeting import MOST_SUPPLIED, Supplied, Variable, parse_supplied, read_tree, variables_of
from entrenous.triggers import MOST_TRIGGERS, Limit, Trigger, parse_limit, parse_triggers
from entrenous_consent.errors import Malformed, Unauthentic
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table
from entrenous_consent.policy import AskedDecision, AskedFeature, AskedTrigger, Request
from entrenous_consent.pseudonyms import BUCKETS

__all__ = [
    "BUNDLE_LIMIT",
    "MOST_PATTERNS",
    "MOST_TOLERANCE",
    "Arm",
    "Bundle",
    "Cap",
    "DecisionRule",
    "Experiment",
    "Manifest",
    "Pattern",
    "encode_bundle",
    "parse_cap",
    "read_bundle",
]

BUNDLE_LIMIT = 4 << 20
"""The most bytes a bundle may have."""

MOST_PATTERNS = 8
MOST_TOLERANCE = 2.0**-10
_FORMAT = 1
_PAYLOAD_LIMIT = 8 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One possible answer.

    Attributes:
        value: what a flag client receives. payload: JSON text of what the page shows, empty for nothing.
    """

    value: str | bool | int | float
    payload: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One combination of granted feature purposes: its margin column, and its own cuts (float32, rising)."""

    purposes: tuple[str, ...]
    column: int
    cuts: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A versioned comparison of arms; `holdout` buckets of `BUCKETS` keep the default.

    Only visitors who granted `purpose` take part; the others get the arm and are not counted.
    """

    id: str
    purpose: str
    holdout: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most `decisions` answers other than the default arm in `days` UTC days, the current one included."""

    decisions: int
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """How one decision is taken.

    Attributes:
        kind: `propensity`. purpose: what must be granted. model: the model's name.
        tolerance: how far margins may lie from the model that was trained, relative to the larger of 1 and the margin:
            0 for trees, which agree to the bit everywhere, more for a dense graph.
        tranches: from low to high; a margin below `cuts[0]` is the first.
        arms: by name. choice: the arm of each tranche. default_arm: the arm of the holdout, and of a visitor who is
            capped or not eligible.
        targeting: the rule for who it is for, None for everyone. exclude: the one for who is left out, None for nobody.
    """

    kind: str
    purpose: str
    model: str
    tolerance: float
    tranches: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    arms: Mapping[str, Arm]
    choice: Mapping[str, str]
    default_arm: str
    experiment: Experiment | None
    cap: Cap | None
    targeting: tuple[Any, ...] | None = None
    exclude: tuple[Any, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        created, expires: Unix seconds. models: by name, (SHA-256, length).
        public_research_data: it was learnt from people who never were a shop's visitors; not to be published.
        card: the SHA-256 of the model card. context: what rules alone read of what the app supplies with a decision.
        segments: named groups. triggers: what falls due some time after an event. trigger_limit: of all of them.
    """

    name: str
    version: int
    created: int
    expires: int
    features: tuple[Feature, ...]
    decisions: Mapping[str, DecisionRule]
    models: Mapping[str, tuple[bytes, int]]
    card: bytes
    public_research_data: bool
    context: tuple[Supplied, ...] = ()
    segments: tuple[Segment, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    trigger_limit: Limit | None = None

    def request(self) -> Request:
        """Return what this bundle asks of a privacy policy."""
        return Request(
            features=tuple(
                AskedFeature(
                    name=feature.name,
                    purpose=feature.purpose,
                    category=feature.category,
                    source=feature.source,
                    retention_days=feature.retention_days,
                )
                for feature in self.features
            )
            + tuple(
                AskedFeature(
                    name=one.name, purpose=one.purpose, category=one.category, source=one.source, retention_days=0
                )
                for one in self.context
            ),
            decisions=tuple(
                AskedDecision(name=place, purpose=purpose)
                for name, rule in self.decisions.items()
                for place, purpose in _purposes_of(name, rule)
            ),
            triggers=tuple(
                AskedTrigger(name=one.name, purpose=one.purpose, message=one.message) for one in self.triggers
            ),
        )


def _purposes_of(name: str, rule: DecisionRule) -> Iterator[tuple[str, str]]:
    yield name, rule.purpose
    if rule.experiment is not None:
        yield f"{name}.experiment", rule.experiment.purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified bundle; `digest` is the SHA-256 of its bytes."""

    manifest: Manifest
    models: Mapping[str, bytes]
    digest: bytes

    def lasting(self, *, created: int, expires: int) -> bytes:
        """Return this bundle's bytes with other dates."""
        return encode_bundle(replace(self.manifest, created=created, expires=expires), self.models)


def encode_bundle(manifest: Manifest, models: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a bundle; `manifest.models` is filled in from `models`."""
    table = {
        "name": manifest.name,
        "version": manifest.version,
        "created": manifest.created,
        "expires": manifest.expires,
        "features": [feature.as_table() for feature in manifest.features],
        "decisions": {name: _decision_table(rule) for name, rule in sorted(manifest.decisions.items())},
        "models": {name: _vouch(data) for name, data in sorted(models.items())},
        "card": manifest.card,
        "public_research_data": manifest.public_research_data,
    }
    if manifest.context:
        table["context"] = [one.as_table() for one in manifest.context]
    if manifest.segments:
        table["segments"] = [one.as_table() for one in manifest.segments]
    if manifest.triggers:
        table["triggers"] = [one.as_table() for one in manifest.triggers]
    if manifest.trigger_limit is not None:
        table["trigger_limit"] = manifest.trigger_limit.as_table()
    return pack({"format": _FORMAT, "manifest": pack(table), "models": dict(sorted(models.items()))})


def _vouch(model: bytes) -> dict[str, Any]:
    return {"sha256": sha256(model).digest(), "length": len(model)}


def _decision_table(rule: DecisionRule) -> dict[str, Any]:
    table: dict[str, Any] = {
        "kind": rule.kind,
        "purpose": rule.purpose,
        "model": rule.model,
        "tolerance": rule.tolerance,
        "tranches": list(rule.tranches),
        "patterns": [
            {"purposes": list(pattern.purposes), "column": pattern.column, "cuts": list(pattern.cuts)}
            for pattern in rule.patterns
        ],
        "arms": {name: {"value": arm.value, "payload": arm.payload} for name, arm in rule.arms.items()},
        "choice": dict(rule.choice),
        "default_arm": rule.default_arm,
    }
    if rule.experiment is not None:
        table["experiment"] = {
            "id": rule.experiment.id,
            "purpose": rule.experiment.purpose,
            "holdout": rule.experiment.holdout,
        }
    if rule.cap is not None:
        table["cap"] = {"decisions": rule.cap.decisions, "days": rule.cap.days}
    for key, tree in (("targeting", rule.targeting), ("exclude", rule.exclude)):
        if tree is not None:
            table[key] = tree
    return table


def read_bundle(data: bytes, *, place: str = "bundle") -> Bundle:
    """Return the bundle that `data` holds, every part verified against the manifest.

    Args:
        data: the bytes as shipped. place: the file's name, for errors.

    Raises:
        Malformed: not a bundle, an unknown key, a value out of bounds, or a model outside the closed profile.
        Unauthentic: a model's bytes are not the ones the manifest vouches for.
    """
    try:
        outer = Table(unpack(data, place="", longest=BUNDLE_LIMIT))
        outer.integer("format", least=_FORMAT, most=_FORMAT)
        inner = outer.blob("manifest", longest=BUNDLE_LIMIT)
        manifest = _manifest(Table(unpack(inner, place="manifest", longest=BUNDLE_LIMIT), "manifest"))
        models_table = outer.table("models")
        models = {name: models_table.blob(name, longest=BUNDLE_LIMIT) for name in manifest.models}
        models_table.close()
        outer.close()
        for name, (digest, length) in manifest.models.items():
            if len(models[name]) != length or sha256(models[name]).digest() != digest:
                raise Unauthentic(
                    "is not the model that the manifest vouches for",
                    place=f"models.{name}",
                    remedy="fetch the bundle again",
                )
        for rule in manifest.decisions.values():
            (check_dense if rule.tolerance else check_model)(
                models[rule.model],
                place=f"models.{rule.model}",
                features=len(manifest.features),
                columns=len(rule.patterns),
                readable=[_readable(manifest.features, pattern) for pattern in rule.patterns],
            )
    except (Malformed, Unauthentic) as error:
        where = f"{place}: {error.place}" if error.place else place
        raise type(error)(error.what, place=where, remedy=error.remedy) from error
    return Bundle(manifest=manifest, models=models, digest=sha256(data).digest())


def _readable(schema: tuple[Feature, ...], pattern: Pattern) -> frozenset[int]:
    """Return the columns of the vector that a pattern's margin may depend on."""
    return frozenset(i for i, feature in enumerate(schema) if feature.purpose in pattern.purposes)


def _manifest(table: Table) -> Manifest:
    models = {}
    for name, entry in table.named_tables("models").items():
        models[name] = (entry.blob("sha256", longest=32), entry.integer("length", least=1, most=BUNDLE_LIMIT))
        entry.close()
    features = parse_schema(table.tables("features", longest=1024))
    purposes = {feature.purpose for feature in features}
    context = parse_supplied(table.tables("context", (), longest=MOST_SUPPLIED), features)
    variables = variables_of(features, context)
    decisions = {
        name: _decision(entry, purposes, frozenset(models), variables)
        for name, entry in table.named_tables("decisions").items()
    }
    manifest = Manifest(
        name=table.name("name"),
        version=table.integer("version", least=1, most=1 << 53),
        created=table.integer("created", least=0, most=1 << 53),
        expires=table.integer("expires", least=0, most=1 << 53),
        features=features,
        decisions=decisions,
        models=models,
        card=table.blob("card", longest=32),
        public_research_data=table.flag("public_research_data"),
        context=context,
        segments=parse_segments(table.tables("segments", (), longest=MOST_SEGMENTS), features),
        triggers=parse_triggers(table.tables("triggers", (), longest=MOST_TRIGGERS), features),
        trigger_limit=parse_limit(table.table("trigger_limit")) if table.has("trigger_limit") else None,
    )
    table.close()
    if len(manifest.card) != 32:
        raise table.refuse("card", "is not a SHA-256")
    if manifest.expires <= manifest.created:
        raise table.refuse("expires", "is not after created")
    if not decisions:
        raise table.refuse("decisions", "is empty", "declare at least one decision")
    for name in models:
        if all(rule.model != name for rule in decisions.values()):
            raise table.refuse(f"models.{name}", "serves no decision", "remove it")
    return manifest


def _decision(
    table: Table, purposes: set[str], models: frozenset[str], variables: Mapping[str, Variable]
) -> DecisionRule:
    tranches = table.names("tranches", longest=100)
    if not tranches:
        raise table.refuse("tranches", "is empty", "name at least one")
    arms = {name: _arm(entry) for name, entry in table.named_tables("arms").items()}
    patterns = tuple(
        _pattern(entry, i, len(tranches), purposes)
        for i, entry in enumerate(table.tables("patterns", longest=MOST_PATTERNS))
    )
    if not patterns or len({pattern.purposes for pattern in patterns}) != len(patterns):
        raise table.refuse("patterns", "is empty or names one twice", f"declare 1 to {MOST_PATTERNS} different ones")
    chosen = table.table("choice")
    choice = {tranche: chosen.choice(tranche, arms) for tranche in tranches}
    chosen.close()
    rule = DecisionRule(
        kind=table.choice("kind", ("propensity",)),
        purpose=table.name("purpose"),
        model=table.choice("model", models),
        tolerance=table.number("tolerance", least=0, most=MOST_TOLERANCE),
        tranches=tranches,
        patterns=patterns,
        arms=arms,
        choice=choice,
        default_arm=table.choice("default_arm", arms),
        experiment=_experiment(table.table("experiment")) if table.has("experiment") else None,
        cap=parse_cap(table.table("cap")) if table.has("cap") else None,
        targeting=_rule(table, "targeting", variables),
        exclude=_rule(table, "exclude", variables),
    )
    table.close()
    return rule


def _rule(table: Table, key: str, variables: Mapping[str, Variable]) -> tuple[Any, ...] | None:
    if not table.has(key):
        return None
    return read_tree(table.array(key), variables, place=f"{table.path}.{key}")


def _arm(table: Table) -> Arm:
    value = table.scalar("value")
    payload = table.text("payload", longest=_PAYLOAD_LIMIT, empty=True)
    if payload:
        try:
            parsed = json.loads(payload, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise table.refuse("payload", "is not JSON") from error
        if not isinstance(parsed, dict):
            raise table.refuse("payload", "is not a JSON object")
    table.close()
    return Arm(value=value, payload=payload)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _pattern(table: Table, column: int, tranches: int, known: set[str]) -> Pattern:
    purposes = table.names("purposes")
    if list(purposes) != sorted(purposes) or not known.issuperset(purposes):
        raise table.refuse("purposes", "is not a sorted list of the features' purposes")
    cuts = table.numbers("cuts")
    if len(cuts) != tranches - 1 or any(a >= b for a, b in pairwise(cuts)):
        raise table.refuse("cuts", f"is not {tranches - 1} rising numbers")
    if any(float(np.float32(cut)) != cut for cut in cuts):
        raise table.refuse("cuts", "is not float32", "round the cuts to float32")
    if table.integer("column", least=0, most=MOST_PATTERNS - 1) != column:
        raise table.refuse("column", "is not the pattern's position")
    table.close()
    return Pattern(purposes=purposes, column=column, cuts=cuts)


def _experiment(table: Table) -> Experiment:
    experiment = Experiment(
        id=table.name("id"),
        purpose=table.name("purpose"),
        holdout=table.integer("holdout", least=0, most=BUCKETS),
    )
    table.close()
    return experiment


def parse_cap(table: Table) -> Cap:
    """Return the frequency cap in `table`; a training specification writes it the same way."""
    cap = Cap(decisions=table.integer("decisions", least=1, most=10_000), days=table.integer("days", least=1, most=366))
    table.close()
    return cap
