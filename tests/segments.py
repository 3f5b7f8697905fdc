"""Segments and triggers in a shop's bundle, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.segments import Segment
from entrenous_consent.parsing import Table
from entrenous_exporters.segmenting import Segments
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


def group(shop: Shop, segments: Sequence[Segment]) -> None:
    """Write segments into the shop's bundle."""
    read = read_bundle(shop.bundle.read_bytes())
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, segments=tuple(segments)), read.models))
