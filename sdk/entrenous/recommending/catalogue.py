"""The catalogue that recommendations are made from: items, their attributes, and which are popular.

Items are numbered from 0 in the order of their ids, as text. An id is text of at most `LONGEST_ID` bytes of UTF-8, or a
whole number, which ships as its decimal text. Ids are front-coded: what each shares with the one before is left out.

An attribute (category, brand, colour, size, a band of prices …) lists its values; each item has a code of one or two
bytes: 0 for none, else the value's position plus 1. The popular items stand in one order for everyone, and in one for
each coarse region; an item that is in neither is *cold*. Popular within a category is the one order, held to it. A
margin is a whole number of per cent, 255 where it is unknown.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from entrenous.recommending.item_table import MOST_ITEMS
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table

__all__ = [
    "LONGEST_ID",
    "MOST_ATTRIBUTES",
    "MOST_REGIONS",
    "MOST_VALUES",
    "UNKNOWN_MARGIN",
    "Catalogue",
    "ItemAttribute",
    "parse_catalogue",
]

LONGEST_ID = 64
"""Bytes."""
MOST_ATTRIBUTES = 8
MOST_VALUES = 4096
MOST_REGIONS = 256
UNKNOWN_MARGIN = 255
_LONGEST = 4 << 20
_FORMAT = 1
_MOST_ALIKE = 16
_MOST_KNOWN = 4096
"""Items of which it is kept in memory what they are like."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ItemAttribute:
    """One attribute of all items.

    Attributes:
        values: in any order, at most `MOST_VALUES`. codes: [I], 0 for none, else a value's position plus 1.
    """

    name: str
    values: tuple[str, ...]
    codes: Sequence[int]

    def code(self, value: str) -> int:
        """Return the code of a value, 0 where it is none of them."""
        return self.values.index(value) + 1 if value in self.values else 0


class Catalogue:
    """A catalogue, ready to be asked.

    Args:
        ids: as text, rising. integers: whether they stand for whole numbers.
        attributes: at most `MOST_ATTRIBUTES`, no name twice. popular: numbers of items, the most popular first.
        regions: the same by region. margins: [I] per cent, empty where none is known.
    """

    __slots__ = (
        "_alike",
        "_cold",
        "_order",
        "_within",
        "attributes",
        "ids",
        "integers",
        "margins",
        "popular",
        "ranks",
        "regions",
    )

    def __init__(
        self,
        *,
        ids: Sequence[str],
        integers: bool,
        attributes: Iterable[ItemAttribute],
        popular: Sequence[int],
        regions: Mapping[str, Sequence[int]],
        margins: bytes = b"",
    ) -> None:
        self.ids, self.integers = list(ids), integers
        self.attributes = tuple(attributes)
        self.popular, self.regions, self.margins = list(popular), dict(regions), margins
        self.ranks = {item: rank for rank, item in enumerate(self.popular)}
        self._alike: dict[int, tuple[tuple[int, float], ...]] = {}
        self._within: dict[int, dict[int, list[int]]] = {}
        self._order = np.array(self.popular, np.int64)
        cold = np.ones(len(self.ids), bool)
        cold[self._order] = False
        self._cold = np.flatnonzero(cold)

    def __len__(self) -> int:
        return len(self.ids)

    def number(self, item: object) -> int:
        """Return the number of an item by its id, -1 where it is not in the catalogue."""
        if isinstance(item, bool) or not isinstance(item, int if self.integers else str):
            return -1
        text = str(item)
        at = bisect_left(self.ids, text)
        return at if at < len(self.ids) and self.ids[at] == text else -1

    def item(self, number: int) -> str | int:
        """Return the id of an item."""
        return int(self.ids[number]) if self.integers else self.ids[number]

    def attribute(self, name: str) -> int:
        """Return the position of an attribute by its name, -1 where there is none."""
        return next((i for i, one in enumerate(self.attributes) if one.name == name), -1)

    def popular_within(self, attribute: int, code: int) -> list[int]:
        """Return the popular items that have this value, the most popular first."""
        known = self._within.get(attribute)
        if known is None:
            known, codes = {}, self.attributes[attribute].codes
            for item in self.popular:
                known.setdefault(codes[item], []).append(item)
            self._within[attribute] = known
        return known.get(code, [])

    def alike(self, item: int) -> tuple[tuple[int, float], ...]:
        """Return the items that share most attributes with one, each with the share of its attributes that agree.

        At most 16 popular and 16 cold ones: what is new has a chance too. Of equals the more popular, then the lower
        number goes first.
        """
        known = self._alike.get(item)
        if known is None:
            if len(self._alike) >= _MOST_KNOWN:
                self._alike.clear()
            known = self._alike[item] = self._compare(item)
        return known

    def _compare(self, item: int) -> tuple[tuple[int, float], ...]:
        shared, asked = np.zeros(len(self.ids), np.int8), 0
        for attribute in self.attributes:
            code = attribute.codes[item]
            if code:
                asked += 1
                shared += np.asarray(attribute.codes) == code
        shared[item] = 0
        found: list[tuple[int, float]] = []
        for some in (self._order, self._cold):
            ranked = some[np.argsort(-shared[some], kind="stable")[:_MOST_ALIKE]]
            found += [(int(one), float(shared[one] / asked)) for one in ranked if shared[one]]
        return tuple(found)

    def encode(self) -> bytes:
        """Return the catalogue's bytes: equal catalogues give equal bytes."""
        shared, lengths, rest, before = bytearray(), bytearray(), bytearray(), b""
        for text in self.ids:
            raw = text.encode()
            same = _common(before, raw)
            shared.append(same)
            lengths.append(len(raw) - same)
            rest += raw[same:]
            before = raw
        table: dict[str, Any] = {
            "format": _FORMAT,
            "integers": self.integers,
            "shared": bytes(shared),
            "lengths": bytes(lengths),
            "rest": bytes(rest),
            "attributes": [
                {
                    "name": one.name,
                    "values": list(one.values),
                    "codes": np.asarray(one.codes).astype(_kind(len(one.values))).tobytes(),
                }
                for one in self.attributes
            ],
            "popular": np.array(self.popular, "<u4").tobytes(),
            "regions": {name: np.array(self.regions[name], "<u4").tobytes() for name in sorted(self.regions)},
        }
        return pack(table | ({"margins": self.margins} if self.margins else {}))


def _common(one: bytes, other: bytes) -> int:
    most = min(len(one), len(other))
    return next((i for i in range(most) if one[i] != other[i]), most)


def _kind(values: int) -> str:
    return "u1" if values <= 255 else "<u2"


def parse_catalogue(data: bytes, *, place: str = "catalogue") -> Catalogue:
    """Return the catalogue that `data` holds.

    Raises:
        Malformed: another form, size or bound; ids that do not rise; a code, a popular item or a margin that is none.
    """
    table = Table(unpack(data, place=place, longest=_LONGEST), place)
    table.integer("format", least=_FORMAT, most=_FORMAT)
    integers = table.flag("integers")
    ids = _ids(table, integers=integers)
    entries = table.tables("attributes", longest=MOST_ATTRIBUTES)
    attributes = tuple(_attribute(entry, len(ids)) for entry in entries)
    if len({one.name for one in attributes}) != len(attributes):
        raise table.refuse("attributes", "names one twice", "write the catalogue anew")
    regions = table.table("regions")
    names = regions.keys()
    if len(names) > MOST_REGIONS or list(names) != sorted(names) or not all(0 < len(name) <= 64 for name in names):
        raise table.refuse("regions", f"are not at most {MOST_REGIONS} sorted names of 1 to 64 characters")
    margins = table.blob("margins", longest=MOST_ITEMS) if table.has("margins") else b""
    if margins and (len(margins) != len(ids) or any(100 < one != UNKNOWN_MARGIN for one in margins)):
        raise table.refuse("margins", "are not one of 0..100, or 255, for each item", "write the catalogue anew")
    catalogue = Catalogue(
        ids=ids,
        integers=integers,
        attributes=attributes,
        popular=_order(table, "popular", len(ids)),
        regions={name: _order(regions, name, len(ids)) for name in names},
        margins=margins,
    )
    table.close()
    return catalogue


def _ids(table: Table, *, integers: bool) -> list[str]:
    shared, lengths = (table.blob(key, longest=MOST_ITEMS) for key in ("shared", "lengths"))
    rest = table.blob("rest", longest=_LONGEST)
    if not shared or len(shared) != len(lengths) or len(rest) != sum(lengths):
        raise table.refuse("lengths", "do not fit the ids", "write the catalogue anew")
    ids: list[str] = []
    before, at = b"", 0
    for same, length in zip(shared, lengths, strict=True):
        raw = before[:same] + rest[at : at + length]
        whole = same <= len(before) and 0 < len(raw) <= LONGEST_ID and _common(before, raw) == same
        if not whole or raw <= before:
            raise table.refuse("rest", f"holds an id that is not 1 to {LONGEST_ID} bytes, or does not rise")
        ids.append(_text(table, raw, integers=integers))
        before, at = raw, at + length
    return ids


def _text(table: Table, raw: bytes, *, integers: bool) -> str:
    try:
        text = raw.decode()
        if integers and (not text.lstrip("-").isascii() or len(text) > 20 or str(int(text)) != text):
            raise ValueError
    except ValueError as error:
        raise table.refuse("rest", "holds an id that is no text, or no whole number where they are") from error
    return text


def _attribute(table: Table, count: int) -> ItemAttribute:
    name, values = table.name("name"), table.texts("values", longest=MOST_VALUES)
    raw = table.blob("codes", longest=_LONGEST)
    table.close()
    width = np.dtype(_kind(len(values))).itemsize
    if len(raw) != count * width:
        raise table.refuse("codes", "are not one for each item", "write the catalogue anew")
    codes = np.frombuffer(raw, _kind(len(values)))
    if int(codes.max()) > len(values):
        raise table.refuse("codes", "name a value that is not listed", "write the catalogue anew")
    return ItemAttribute(name=name, values=values, codes=memoryview(raw).cast("B" if width == 1 else "H"))


def _order(table: Table, key: str, count: int) -> list[int]:
    raw = table.blob(key, longest=MOST_ITEMS * 4)
    if len(raw) % 4:
        raise table.refuse(key, "is no list of items", "write the catalogue anew")
    numbers = np.frombuffer(raw, "<u4")
    if numbers.size and (int(numbers.max()) >= count or np.unique(numbers).size != numbers.size):
        raise table.refuse(key, "names an item that is not there, or one twice", "write the catalogue anew")
    order: list[int] = numbers.tolist()
    return order
