"""The part of a specification that says how lists are made: strategies, tastes, and what a merchandiser adds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from entrenous.recommending.strategy import MOST_RULES, Recommending, parse_recommending
from entrenous.targeting import LONGEST_RULE, Variable
from entrenous_consent.parsing import Table
from entrenous_exporters.segmenting import Segments, read_rule

__all__ = ["CATALOGUE", "SUCCESSORS", "parse_strategies"]

CATALOGUE, SUCCESSORS = "catalogue", "successors"
"""What the tables of a trained bundle are called."""


def parse_strategies(
    table: Table, arms: Collection[str], variables: Mapping[str, Variable], segments: Segments
) -> Recommending:
    """Return what a decision's table says of its lists: as the manifest does, but that conditions are written in CEL.

    Args:
        arms: each needs a strategy. variables: what conditions may read. segments: that they may name.

    Raises:
        Malformed: as `entrenous.recommending.strategy.parse_recommending`, or a condition that does not read.
    """
    said: dict[str, Any] = {"catalogue": CATALOGUE, "successors": SUCCESSORS, "strategies": table.mapping("strategies")}
    if table.has("spread"):
        said["spread"] = table.name("spread")
    if table.has("tastes"):
        said["tastes"] = table.mapping("tastes")
    rules = []
    written = table.array("merchandising", (), longest=MOST_RULES)
    for entry, raw in zip(table.tables("merchandising", (), longest=MOST_RULES), written, strict=True):
        text = entry.text("when", "", longest=LONGEST_RULE)
        when = {"when": read_rule(text, variables, entry, "when", segments).tree} if text else {}
        rules.append({**raw, **when})
    if rules:
        said["merchandising"] = rules
    return parse_recommending(Table(said, table.path), arms, (CATALOGUE, SUCCESSORS), variables)
