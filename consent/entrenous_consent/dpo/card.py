"""What an impact assessment takes from a model card: how good the model is under each consent, and on whom it rests."""

from __future__ import annotations

import json
from dataclasses import dataclass

from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table

__all__ = ["CARD_LIMIT", "CardFacts", "PatternFacts", "read_card_facts"]

CARD_LIMIT = 1 << 20
"""The most bytes a model card may have."""

_MOST = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternFacts:
    """One consent pattern: the purposes granted, its AUC, and how much less that is than with all."""

    purposes: tuple[str, ...]
    auc: float
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What is measured on a model.

    Attributes:
        name, version: of the bundle. learnt, judged: distinct visitors it learnt from and was judged on.
        k: nothing shipped rests on fewer visitors. research: it learnt from public research data.
    """

    name: str
    version: int
    learnt: int
    judged: int
    k: int
    research: bool
    patterns: tuple[PatternFacts, ...]


def read_card_facts(data: bytes, *, place: str = "card") -> CardFacts:
    """Return the facts of a model card's bytes; what else stands in it is left unread.

    Raises:
        Malformed: not a model card of format 1.
    """
    if len(data) > CARD_LIMIT:
        raise Malformed(f"is longer than {CARD_LIMIT} bytes", place=place, remedy="take the card that train wrote")
    try:
        top = Table(json.loads(data))
        top.integer("format", least=1, most=1)
        rows, visitors = top.table("data"), top.table("data").table("visitors")
        return CardFacts(
            name=top.name("name"),
            version=top.integer("version", least=1, most=_MOST),
            learnt=visitors.integer("learnt", least=0, most=_MOST),
            judged=visitors.integer("judged", least=0, most=_MOST),
            k=top.table("k").integer("k", least=1, most=_MOST),
            research=rows.flag("public_research_data"),
            patterns=tuple(map(_pattern, top.tables("patterns", longest=8))),
        )
    except Malformed as error:
        raise Malformed(error.what, place=f"{place}: {error.place}", remedy="take the card that train wrote") from error
    except (ValueError, RecursionError) as error:
        raise Malformed("is not JSON", place=place, remedy="take the .card.json that train wrote") from error


def _pattern(table: Table) -> PatternFacts:
    return PatternFacts(
        purposes=table.names("purposes", longest=64),
        auc=table.table("quality").number("auc", least=0, most=1),
        price=table.number("price", least=-1, most=1),
    )
