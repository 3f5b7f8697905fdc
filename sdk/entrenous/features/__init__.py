"""Features: what is declared (`declare`) of which kinds (`kinds`), and how the runtime keeps it (`state`)."""

from __future__ import annotations

from entrenous.features.declare import Feature, parse_feature, parse_schema, stamp
from entrenous.features.interpret import INTERPRETATIONS
from entrenous.features.kinds import (
    ANY,
    DECAY_SCALE,
    DERIVED,
    HALF_HOUR,
    KINDS,
    LATEST,
    PARTS,
    SECONDS,
    decay_weights,
    derived,
    slot,
)
from entrenous.features.state import Plan, State, compile_plan

__all__ = [
    "ANY",
    "DECAY_SCALE",
    "DERIVED",
    "HALF_HOUR",
    "INTERPRETATIONS",
    "KINDS",
    "LATEST",
    "PARTS",
    "SECONDS",
    "Feature",
    "Plan",
    "State",
    "compile_plan",
    "decay_weights",
    "derived",
    "parse_feature",
    "parse_schema",
    "slot",
    "stamp",
]
