"""From visits to an item table: pairs of items that are close in a visit, counted once a visitor for *k*.

Each ordered pair of different items at a distance d of at most `reach` within a visit adds 1/d forward and half of it
backward, also where it repeats; what an item gets is divided by how often it was looked at. A pair that fewer than *k*
distinct visitors made is left out, and of the others each item keeps its strongest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrenous.recommending.item_table import MOST_ITEMS, MOST_SUCCESSORS, ItemTable, Mixing
from entrenous_consent.errors import Malformed

__all__ = ["Visits", "learn_items"]

_BACKWARD = 0.5

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visits:
    """Items looked at, visit by visit. Checked when it is made.

    Attributes:
        items: [N] int64, numbers from 0, in the order of each visit, visits one after the other.
        visits: [N] int64, whose visit each is of, rising. visitors: [N] int64, whose visit it is; where nobody is
            known, each visit counts as a visitor.
        count: how many items the catalogue has.

    Raises:
        Malformed: arrays that do not fit, visits that do not rise, an item outside the catalogue.
    """

    items: Numbers
    visits: Numbers
    visitors: Numbers
    count: int

    def __post_init__(self) -> None:
        if not (self.items.shape == self.visits.shape == self.visitors.shape) or not self.items.size:
            raise Malformed("have arrays that are empty or of unequal length", place="visits", remedy="give one a look")
        if (np.diff(self.visits) < 0).any():
            raise Malformed("do not stand one after the other", place="visits", remedy="sort by visit, then by time")
        if not 0 < self.count <= MOST_ITEMS:
            raise Malformed(f"is not 1 to {MOST_ITEMS:,} items", place="catalogue", remedy="leave rare items out")
        if not 0 <= int(self.items.min()) <= int(self.items.max()) < self.count:
            raise Malformed("name an item outside the catalogue", place="visits", remedy="number items from 0")

    @classmethod
    def of(cls, visits: Iterable[Sequence[int]], count: int) -> Visits:
        """Return visits of nobody in particular: each is a visitor of its own."""
        looked = list(visits)
        numbers = np.repeat(np.arange(len(looked)), [len(one) for one in looked])
        items = np.array([item for one in looked for item in one], dtype=np.int64)
        return cls(items=items, visits=numbers, visitors=numbers, count=count)


def learn_items(
    visits: Visits, *, k: int, strongest: int = 20, reach: int = 10, mixing: Mixing | None = None
) -> ItemTable:
    """Return the table that these visits teach.

    Args:
        visits: of visitors who granted `improve`. k: distinct visitors behind every pair, at least 1.
        strongest: successors an item keeps. reach: the greatest distance of a pair. mixing: how a visit is mixed.

    Raises:
        Malformed: a bound that is none.
    """
    if k < 1 or not 1 <= strongest <= MOST_SUCCESSORS or reach < 1:
        what = "need k and reach of at least 1"
        raise Malformed(what, place="items", remedy=f"and keep 1 to {MOST_SUCCESSORS} successors")
    first, second, weight = _pairs(visits, k, reach)
    weight /= np.bincount(visits.items, minlength=visits.count)[first]
    order = np.lexsort((second, -weight, first))
    first, second, weight = first[order], second[order], weight[order]
    rank = np.arange(len(first)) - np.searchsorted(first, first)
    kept = rank < strongest
    first, second, weight = first[kept], second[kept], weight[kept]
    scale = float(weight.max(initial=0.0)) or 1.0
    coded = np.maximum(np.rint(np.sqrt(weight / scale) * 255.0), 1.0).astype(np.uint8)
    width = np.uint16 if visits.count <= 1 << 16 else np.uint32
    return ItemTable(
        starts=np.searchsorted(first, np.arange(visits.count + 1)),
        successors=memoryview(second.astype(width).tobytes()).cast("H" if width is np.uint16 else "I"),
        weights=coded.tobytes(),
        scale=scale,
        mixing=mixing or Mixing(),
    )


def _pairs(visits: Visits, k: int, reach: int) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
    """Return the pairs that `k` visitors made or more, first and second item, and what each weighs in all."""
    count, who = visits.count, np.unique(visits.visitors, return_inverse=True)[1]
    keys, weights, owners = [], [], []
    for distance in range(1, reach + 1):
        together = visits.visits[:-distance] == visits.visits[distance:]
        early, late = visits.items[:-distance][together], visits.items[distance:][together]
        owner = who[:-distance][together]
        apart = early != late
        early, late, owner = early[apart], late[apart], owner[apart]
        for one, other, share in ((early, late, 1.0), (late, early, _BACKWARD)):
            keys.append(one * count + other)
            weights.append(np.full(len(one), share / distance))
            owners.append(owner)
    key, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.bincount(inverse, np.concatenate(weights), minlength=len(key))
    many = int(who.max()) + 1
    made = np.unique(inverse.astype(np.int64) * many + np.concatenate(owners)) // many
    enough = np.bincount(made, minlength=len(key)) >= k
    kept: Numbers = key[enough]
    return kept // count, kept % count, np.asarray(total[enough], np.float64)
