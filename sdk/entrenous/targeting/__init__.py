"""Targeting: rules that say who a decision is for, and who is left out.

::

    pattern    regular expressions that read each character once
    form       the shipped tree: closed, bounded, typed
    supplied   context that rules alone read
    closures   a tree, turned into calls once
    gate       a decision's rules, and what is granted for them

Rules are written in CEL and read centrally (`entrenous_exporters.rules`); the tree ships in the manifest.
`docs/targeting.md` tells what can be written.
"""

from __future__ import annotations

from entrenous.targeting.closures import Rule, compile_rule
from entrenous.targeting.form import (
    FARTHEST_MINUTES,
    LONGEST_RULE,
    NOW,
    Misfit,
    Variable,
    check_tree,
    features_as_variables,
    float32,
    read_tree,
)
from entrenous.targeting.gate import Gate, Narrowed, compile_gate, variables_of
from entrenous.targeting.pattern import LONGEST_SUBJECT, compile_pattern
from entrenous.targeting.supplied import MOST_SUPPLIED, MOST_TEXTS, Supplied, parse_supplied

__all__ = [
    "FARTHEST_MINUTES",
    "LONGEST_RULE",
    "LONGEST_SUBJECT",
    "MOST_SUPPLIED",
    "MOST_TEXTS",
    "NOW",
    "Gate",
    "Misfit",
    "Narrowed",
    "Rule",
    "Supplied",
    "Variable",
    "check_tree",
    "compile_gate",
    "compile_pattern",
    "compile_rule",
    "features_as_variables",
    "float32",
    "parse_supplied",
    "read_tree",
    "variables_of",
]
