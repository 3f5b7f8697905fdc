"""Features: what is declared (`declare`) and how the runtime keeps it (`state`)."""

from __future__ import annotations

from entrenous.features.declare import (
    DECAY_SCALE,
    DERIVED,
    SECONDS,
    Feature,
    decay_weights,
    parse_feature,
    parse_schema,
    stamp,
)
from entrenous.features.state import Plan, State, compile_plan

__all__ = [
    "DECAY_SCALE",
    "DERIVED",
    "SECONDS",
    "Feature",
    "Plan",
    "State",
    "compile_plan",
    "decay_weights",
    "parse_feature",
    "parse_schema",
    "stamp",
]
