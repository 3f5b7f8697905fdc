"""What is looked at after what: a table of items and their strongest successors, and the next items of a visit.

A table ships as msgpack, no graph: a lookup needs none. Items are numbered from 0, in the catalogue's order. Each has
at most `MOST_SUCCESSORS` successors; a weight is a byte w and counts (w / 255)² · scale, so that weak ones keep their
differences.

The score of an item, for a visit so far (its items, the latest first, age 0, 1, …):

::

    Σ  fading^age · weight(item at that age → this one)        and, where the visit holds the item itself,
    +  own · own_fading^age

Of equal scores the lower number goes first. Successors may be held to *k* distinct visitors when the table is learnt
(`entrenous_exporters.recommend`); nothing in a table is one visitor's visit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table

__all__ = ["LONGEST_TABLE", "MOST_ITEMS", "MOST_SUCCESSORS", "MOST_VISITED", "ItemTable", "Mixing", "parse_item_table"]

LONGEST_TABLE = 4 << 20
"""Bytes."""
MOST_ITEMS = 100_000
MOST_SUCCESSORS = 64
MOST_VISITED = 20
"""The latest items of a visit that are looked at."""
_FORMAT = 1
_WIDTHS: Mapping[int, tuple[str, Literal["H", "I"]]] = {2: ("<u2", "H"), 4: ("<u4", "I")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """How a visit's items are mixed.

    Attributes:
        fading: of what follows an item, by its age. own, own_fading: of the items of the visit themselves; own 0 leaves
            them out.
    """

    fading: float = 0.6
    own: float = 0.8
    own_fading: float = 0.8


class ItemTable:
    """A parsed table, ready to be asked.

    Args:
        starts: [I + 1], where each item's successors begin. successors: their numbers. weights: as bytes.
        scale: what a weight of 255 counts. mixing: how a visit's items are mixed.
    """

    __slots__ = ("_starts", "_successors", "_values", "_weights", "mixing", "scale")

    def __init__(self, *, starts: Any, successors: Any, weights: bytes, scale: float, mixing: Mixing) -> None:
        self._starts: list[int] = starts.tolist()
        self._successors = successors
        self._weights = weights
        self._values = [(weight / 255.0) ** 2 * scale for weight in range(256)]
        self.scale, self.mixing = scale, mixing

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def pairs(self) -> int:
        """How many successors there are in all."""
        return self._starts[-1]

    def scores(self, visited: Sequence[int]) -> dict[int, float]:
        """Return the score of every item that the visit speaks for.

        Args:
            visited: numbers of items, in the order of the visit; the last `MOST_VISITED` count. One that the table does
                not know says nothing.
        """
        mixing, values, starts = self.mixing, self._values, self._starts
        found: dict[int, float] = {}
        fading, own = 1.0, mixing.own
        for item in reversed(visited[-MOST_VISITED:]):
            if 0 <= item < len(starts) - 1:
                low, high = starts[item], starts[item + 1]
                for successor, weight in zip(self._successors[low:high], self._weights[low:high], strict=True):
                    found[successor] = found.get(successor, 0.0) + fading * values[weight]
                if own:
                    found[item] = found.get(item, 0.0) + own
            fading *= mixing.fading
            own *= mixing.own_fading
        return found

    def top(self, visited: Sequence[int], count: int, *, without: Collection[int] = ()) -> list[int]:
        """Return the `count` items with the greatest scores, the greatest first; fewer where the visit names fewer.

        Args:
            without: items that may not be named: out of stock, bought already, excluded.
        """
        scores = self.scores(visited)
        for item in without:
            scores.pop(item, None)
        return [item for _, item in sorted([(-score, item) for item, score in scores.items()])[:count]]

    def encode(self) -> bytes:
        """Return the table's bytes: equal tables give equal bytes."""
        width = self._successors.itemsize
        return pack(
            {
                "format": _FORMAT,
                "counts": bytes(high - low for low, high in zip(self._starts, self._starts[1:], strict=False)),
                "successors": self._successors.tobytes(),
                "width": width,
                "weights": bytes(self._weights),
                "scale": self.scale,
                "mixing": [self.mixing.fading, self.mixing.own, self.mixing.own_fading],
            }
        )


def parse_item_table(data: bytes, *, place: str = "item table") -> ItemTable:
    """Return the table that `data` holds.

    Raises:
        Malformed: another form, size or bound; a successor that is no item, or an item named twice as one.
    """
    table = Table(unpack(data, place=place, longest=LONGEST_TABLE), place)
    table.integer("format", least=_FORMAT, most=_FORMAT)
    counts = np.frombuffer(table.blob("counts", longest=MOST_ITEMS), np.uint8)
    width = table.integer("width", least=2, most=4)
    if width not in _WIDTHS:
        raise table.refuse("width", "is neither 2 nor 4", "write the table anew")
    starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    raw = table.blob("successors", longest=LONGEST_TABLE)
    weights = table.blob("weights", longest=LONGEST_TABLE)
    mixing = table.numbers("mixing")
    scale = table.number("scale", least=1e-9, most=1e9)
    table.close()
    if len(counts) == 0 or counts.max() > MOST_SUCCESSORS:
        raise table.refuse("counts", f"name no item, or more than {MOST_SUCCESSORS} successors of one")
    if len(raw) != starts[-1] * width or len(weights) != starts[-1]:
        raise table.refuse("successors", "are not as many as counted", "write the table anew")
    order, native = _WIDTHS[width]
    successors = np.frombuffer(raw, order)
    items = np.repeat(np.arange(len(counts)), counts)
    if successors.size and int(successors.max()) >= len(counts):
        raise table.refuse("successors", "name an item that is not there", "write the table anew")
    if np.unique(items * len(counts) + successors).size != successors.size:
        raise table.refuse("successors", "name an item twice after one", "write the table anew")
    if len(mixing) != 3 or not all(0 <= each <= 1 for each in mixing):
        raise table.refuse("mixing", "is not three numbers in 0..1", "write the table anew")
    return ItemTable(
        starts=starts,
        successors=memoryview(raw).cast(native),
        weights=weights,
        scale=scale,
        mixing=Mixing(fading=mixing[0], own=mixing[1], own_fading=mixing[2]),
    )
