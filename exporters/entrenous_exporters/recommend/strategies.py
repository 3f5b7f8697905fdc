"""The part of a specification that says how lists are made: strategies, tastes, and what a merchandiser adds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from entrenous.recommending.strategy import Recommending, parse_lists
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
        Malformed: as `entrenous.recommending.strategy.parse_lists`, or a condition that does not read.
    """

    def when(entry: Table) -> tuple[Any, ...] | None:
        text = entry.text("when", "", longest=LONGEST_RULE)
        return read_rule(text, variables, entry, "when", segments).tree if text else None

    return parse_lists(table, (CATALOGUE, SUCCESSORS), arms, variables, when)
