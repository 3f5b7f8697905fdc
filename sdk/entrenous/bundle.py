"""The bundle: what is shipped. A manifest, and the ONNX models and tables it vouches for.

One msgpack map `{format, manifest, models}`, with `tables` where there are any. The manifest is msgpack bytes of their
own, so that what is signed is what is read. Everything in it is typed, bounded and closed: `docs/formats.md` describes
it. Reading verifies each model's and table's length and SHA-256, and holds a model against the closed ONNX profile
before any runtime sees it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from entrenous.decisions.form import DecisionRule, Parts, Pattern, check_together, parse_decision
from entrenous.features import Feature, parse_schema
from entrenous.messages.triggers import MOST_TRIGGERS, Limit, Trigger, parse_limit, parse_triggers
from entrenous.model.onnx_dense import check_dense
from entrenous.model.onnx_profile import check_model
from entrenous.recommending.shelves import compile_wares
from entrenous.segments import MOST_SEGMENTS, Segment, parse_segments
from entrenous.targeting import MOST_SUPPLIED, Supplied, parse_supplied, variables_of
from entrenous_consent.errors import Malformed, Unauthentic
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table
from entrenous_consent.policy import AskedDecision, AskedFeature, AskedTrigger, Request

__all__ = ["BUNDLE_LIMIT", "Bundle", "Manifest", "encode_bundle", "read_bundle"]

BUNDLE_LIMIT = 4 << 20
"""The most bytes a bundle may have."""

_FORMAT = 1
_LONGEST_PROOF = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        created, expires: Unix seconds. models, tables: by name, (SHA-256, length).
        public_research_data: it was learnt from people who never were a shop's visitors; not to be published.
        card: the SHA-256 of the model card. context: what rules alone read of what the app supplies with a decision.
        segments: named groups. triggers: what falls due some time after an event. trigger_limit: of all of them.
        proofs: by model, what it is to say of a few made-up vectors (`entrenous.model.proof`).
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
    tables: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)
    proofs: Mapping[str, bytes] = field(default_factory=dict)

    def columns_of(self, model: str) -> int:
        """Return how many margins a model gives."""
        return next(len(rule.patterns) * rule.width for rule in self.decisions.values() if rule.model == model)

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
    tables: Mapping[str, bytes] = field(default_factory=dict)

    def lasting(self, *, created: int, expires: int) -> bytes:
        """Return this bundle's bytes with other dates."""
        return encode_bundle(replace(self.manifest, created=created, expires=expires), self.models, self.tables)


def encode_bundle(manifest: Manifest, models: Mapping[str, bytes], tables: Mapping[str, bytes] | None = None) -> bytes:
    """Return the bytes of a bundle; `manifest.models` and `manifest.tables` are filled in from `models`, `tables`."""
    table = {
        "name": manifest.name,
        "version": manifest.version,
        "created": manifest.created,
        "expires": manifest.expires,
        "features": [feature.as_table() for feature in manifest.features],
        "decisions": {name: rule.as_table() for name, rule in sorted(manifest.decisions.items())},
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
    if proofs := {name: manifest.proofs[name] for name in sorted(models) if name in manifest.proofs}:
        table["proofs"] = proofs
    outer: dict[str, Any] = {"format": _FORMAT, "manifest": b"", "models": dict(sorted(models.items()))}
    if tables:
        table["tables"] = {name: _vouch(one) for name, one in sorted(tables.items())}
        outer["tables"] = dict(sorted(tables.items()))
    return pack(outer | {"manifest": pack(table)})


def _vouch(model: bytes) -> dict[str, Any]:
    return {"sha256": sha256(model).digest(), "length": len(model)}


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
        models = _vouched(outer, "models", manifest.models)
        tables = _vouched(outer, "tables", manifest.tables) if manifest.tables else {}
        outer.close()
        for rule in manifest.decisions.values():
            if rule.width:
                (check_dense if rule.tolerance else check_model)(
                    models[rule.model],
                    place=f"models.{rule.model}",
                    features=len(manifest.features),
                    columns=len(rule.patterns) * rule.width,
                    readable=[_readable(manifest.features, one) for one in rule.patterns for _ in range(rule.width)],
                )
            if rule.recommending is not None:
                compile_wares(rule.recommending, tables, manifest.features, manifest.context)
    except (Malformed, Unauthentic) as error:
        where = f"{place}: {error.place}" if error.place else place
        raise type(error)(error.what, place=where, remedy=error.remedy) from error
    return Bundle(manifest=manifest, models=models, digest=sha256(data).digest(), tables=tables)


def _vouched(outer: Table, key: str, vouched: Mapping[str, tuple[bytes, int]]) -> dict[str, bytes]:
    """Return the parts under `key`: exactly those that the manifest vouches for."""
    parts = outer.table(key)
    found = {name: parts.blob(name, longest=BUNDLE_LIMIT) for name in vouched}
    parts.close()
    for name, (digest, length) in vouched.items():
        if len(found[name]) != length or sha256(found[name]).digest() != digest:
            what = f"is not the {key.removesuffix('s')} that the manifest vouches for"
            raise Unauthentic(what, place=f"{key}.{name}", remedy="fetch the bundle again")
    return found


def _readable(schema: tuple[Feature, ...], pattern: Pattern) -> frozenset[int]:
    """Return the columns of the vector that a pattern's margin may depend on."""
    return frozenset(i for i, feature in enumerate(schema) if feature.purpose in pattern.purposes)


def _manifest(table: Table) -> Manifest:
    models, tables = _entries(table.named_tables("models")), _entries(table.named_tables("tables", {}))
    features = parse_schema(table.tables("features", longest=1024))
    context = parse_supplied(table.tables("context", (), longest=MOST_SUPPLIED), features)
    parts = Parts(
        purposes=frozenset(feature.purpose for feature in features),
        models=frozenset(models),
        tables=frozenset(tables),
        variables=variables_of(features, context),
    )
    decisions = {name: parse_decision(entry, parts) for name, entry in table.named_tables("decisions").items()}
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
        tables=tables,
        proofs=_proofs(table.table("proofs", {}), models),
    )
    table.close()
    if len(manifest.card) != 32:
        raise table.refuse("card", "is not a SHA-256")
    if manifest.expires <= manifest.created:
        raise table.refuse("expires", "is not after created")
    if not decisions:
        raise table.refuse("decisions", "is empty", "declare at least one decision")
    check_together(decisions, table)
    for name in models:
        if all(rule.model != name for rule in decisions.values()):
            raise table.refuse(f"models.{name}", "serves no decision", "remove it")
    for name in tables:
        if all(rule.recommending is None or name not in rule.recommending.tables for rule in decisions.values()):
            raise table.refuse(f"tables.{name}", "serves no decision", "remove it")
    return manifest


def _proofs(table: Table, models: Collection[str]) -> dict[str, bytes]:
    found = {name: table.blob(name, longest=_LONGEST_PROOF) for name in models if table.has(name)}
    table.close()
    return found


def _entries(tables: Mapping[str, Table]) -> dict[str, tuple[bytes, int]]:
    found = {}
    for name, entry in tables.items():
        found[name] = (entry.blob("sha256", longest=32), entry.integer("length", least=1, most=BUNDLE_LIMIT))
        entry.close()
    return found
