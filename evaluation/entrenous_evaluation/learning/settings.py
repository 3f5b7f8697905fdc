"""How to learn, as a file says it: TOML, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from entrenous_consent.parsing import Table
from entrenous_consent.pseudonyms import BUCKETS
from entrenous_evaluation.answer import parse_costs
from entrenous_evaluation.learning.metrics import METRICS, Metric
from entrenous_evaluation.learning.promotions import Guards
from entrenous_evaluation.learning.proposal import Settings

__all__ = ["MEMORIES", "Learning", "parse_learning"]

MEMORIES = ("manifest", "reports")
"""What is known from before: the posteriors in the bundle, or every report that was collected."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """A file of settings.

    Attributes:
        memory: one of `MEMORIES`. parents: of the tranches that have one.
    """

    settings: Settings
    memory: str
    parents: Mapping[str, str]


def parse_learning(values: object, place: str = "learning") -> Learning:
    """Return the settings that a TOML table writes down.

    Raises:
        Malformed: an unknown key, or a value out of bounds.
    """
    top = Table(values, place)
    top.integer("format", least=_FORMAT, most=_FORMAT)
    costs = parse_costs(top.mapping("costs") if top.has("costs") else {}, f"{place}.costs")
    settings = Settings(
        metric=Metric(name=top.choice("metric", METRICS), costs=costs),
        guards=Guards(
            least_margin=top.number("least_margin", 0.0, least=0, most=1),
            gross_margin=costs.gross_margin,
            budget=top.number("budget", least=0, most=1e15) if top.has("budget") else None,
            most_orders=top.number("most_orders", 1.0, least=0.001, most=1_000),
            confidence=top.number("confidence", 0.95, least=0.5, most=0.9999),
            tolerance=top.number("tolerance", 0.005, least=0, most=1),
        ),
        forgetting=top.number("forgetting", 1.0, least=0.01, most=1),
        floor=round(top.number("floor", 0.02, least=0, most=0.5) * BUCKETS),
        currency=top.text("currency", "", longest=3),
    )
    memory = top.choice("memory", MEMORIES, "reports")
    above = top.table("parents", {})
    parents = {tranche: above.name(tranche) for tranche in above.keys()}  # noqa: SIM118 — a method of ours
    above.close()
    top.close()
    return Learning(settings=settings, memory=memory, parents=parents)
