"""Segments and triggers in a shop's bundle, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.messages.triggers import parse_limit
from entrenous.segments import Segment
from entrenous_consent.parsing import Table
from entrenous_exporters.segmenting import Segments, read_triggers
from tests.shop import Shop


def read_segments(shop: Shop, **rules: tuple[str, str]) -> tuple[Segment, ...]:
    """Return segments over the shop's features: by name, a purpose and a rule in CEL."""
    schema = read_bundle(shop.bundle.read_bytes()).manifest.features
    tables = [
        Table(
            {"name": name, "purpose": purpose, "rule": rule, "words": {"en": name, "fr": name}},
            f"segments[{i}]",
        )
        for i, (name, (purpose, rule)) in enumerate(rules.items())
    ]
    return Segments(tables, schema).all()


def trigger(
    shop: Shop, *declared: dict[str, object], limit: dict[str, int] | None = None, **rules: tuple[str, str]
) -> None:
    """Write triggers, as a specification declares them, and the segments that they name into the shop's bundle."""
    read = read_bundle(shop.bundle.read_bytes())
    schema = read.manifest.features
    words = {"words": {"en": "Reminder", "fr": "Rappel"}}
    segments = Segments(
        [Table({"name": name, "purpose": purpose, "rule": rule, **words}) for name, (purpose, rule) in rules.items()],
        schema,
    )
    tables = [
        Table({"purpose": "message", "delay_minutes": 60, **words, **one}, f"triggers[{i}]")
        for i, one in enumerate(declared)
    ]
    manifest = replace(
        read.manifest,
        segments=segments.all(),
        triggers=read_triggers(tables, schema, segments),
        trigger_limit=parse_limit(Table(limit)) if limit else None,
    )
    shop.bundle.write_bytes(encode_bundle(manifest, read.models))


def group(shop: Shop, segments: Sequence[Segment]) -> None:
    """Write segments into the shop's bundle."""
    read = read_bundle(shop.bundle.read_bytes())
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, segments=tuple(segments)), read.models))
