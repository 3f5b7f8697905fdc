"""How well a table foretells the next item of visits that it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from entrenous.recommending.item_table import ItemTable
from entrenous_consent.errors import Malformed

__all__ = ["Ranking", "ranked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """What came of asking for the next item.

    Attributes:
        cases: how many were asked. hit_rate: the share whose item was among the answers.
        reciprocal_rank: the mean of 1 / its place, 0 where it was not. error: the hit rate's standard error.
    """

    cases: int
    hit_rate: float
    reciprocal_rank: float

    @property
    def error(self) -> float:
        """Of the hit rate."""
        return sqrt(self.hit_rate * (1 - self.hit_rate) / self.cases)


def ranked(table: ItemTable, cases: Iterable[tuple[Sequence[int], int]], *, count: int = 20) -> Ranking:
    """Return how the table does on visits so far and the item that came next.

    Args:
        cases: items of the visit, and the next one. count: how many answers are asked for.

    Raises:
        Malformed: there is no case.
    """
    asked, hits, inverse = 0, 0, 0.0
    for visited, target in cases:
        asked += 1
        answers = table.top(visited, count)
        if target in answers:
            hits += 1
            inverse += 1 / (answers.index(target) + 1)
    if not asked:
        raise Malformed("hold nothing", place="cases", remedy="give visits and what came next")
    return Ranking(cases=asked, hit_rate=hits / asked, reciprocal_rank=inverse / asked)
