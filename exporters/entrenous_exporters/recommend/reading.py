"""From files to numbers: the items of a catalogue, and the visits to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous.recommending.catalogue import LONGEST_ID, MOST_VALUES, UNKNOWN_MARGIN, ItemAttribute
from entrenous.recommending.item_table import MOST_ITEMS
from entrenous_consent.errors import Malformed
from entrenous_exporters.readers import read_consent, read_table
from entrenous_exporters.recommend.spec import VisitSource
from entrenous_exporters.rows import is_file

__all__ = ["Items", "Looks", "read_items", "read_looks"]

_PAUSE = 1800
"""Seconds without a look after which a visit has ended, where no session is named."""
_NAMED = 5

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Items:
    """A catalogue as it was read: ids as text, rising; the rest by item."""

    ids: tuple[str, ...]
    attributes: tuple[ItemAttribute, ...]
    margins: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """What was looked at by visitors who granted `improve`, in the order of each visit, one visit after the other.

    Attributes:
        items, visits, visitors: int64 [N], numbers; visits rise. regions: int64 [N], -1 for none; names: of regions.
        given: rows of the file. without_improve, unknown: rows that never entered: whose visitor did not grant it, and
            looks at items that are not in the catalogue.
    """

    items: Numbers
    visits: Numbers
    visitors: Numbers
    regions: Numbers
    names: tuple[str, ...]
    given: int
    without_improve: int
    unknown: int


def read_items(backend: Any, path: Path, source: VisitSource) -> Items:
    """Return the catalogue in a file.

    Raises:
        Missing: there is no such file. Malformed: a column is missing, an item has no id, too long a one or stands
            twice, a margin is no per cent, or there are too many items or values; with figures.
    """
    sort = "integer" if source.integers else "text"
    columns = {"key": (source.item, sort)} | {f"has_{name}": (name, "text") for name in source.attributes}
    columns |= {"margin": (source.margin, "number")} if source.margin else {}
    held = read_table(backend, path, columns)[0].order_by("row").to_pyarrow()
    given = held["key"].to_pylist()
    keys = ["" if key is None else str(key) for key in given]
    wrong = [i + 1 for i, key in enumerate(keys) if not 0 < len(key.encode()) <= LONGEST_ID]
    place = f"{path.name}: column {source.item[:64]}"
    if wrong:
        raise Malformed(
            f"is empty or longer than {LONGEST_ID} bytes in {_rows(wrong)}", place=place, remedy="mend them"
        )
    first: dict[str, int] = {}
    twice = [i + 1 for i, key in enumerate(keys) if first.setdefault(key, i) != i]
    if twice:
        what = f"names an item that stands there already in {_rows(twice)}"
        raise Malformed(what, place=place, remedy="keep one row for each item")
    if not 0 < len(keys) <= MOST_ITEMS:
        what = f"holds {len(keys):,} items, and a bundle 1 to {MOST_ITEMS:,}"
        raise Malformed(what, place=path.name, remedy="leave out what is sold no more")
    order = sorted(range(len(keys)), key=keys.__getitem__)
    attributes = tuple(
        _attribute(name, [held[f"has_{name}"][i].as_py() for i in order], path) for name in source.attributes
    )
    margins = bytes(_margins(np.asarray(held["margin"])[order], path, source)) if source.margin else b""
    return Items(ids=tuple(keys[i] for i in order), attributes=attributes, margins=margins)


def _rows(rows: list[int]) -> str:
    named = ", ".join(str(row) for row in rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")
    return f"{len(rows):,} row{'s' if len(rows) > 1 else ''} ({named})"


def _attribute(name: str, found: list[str | None], path: Path) -> ItemAttribute:
    values = tuple(sorted({value for value in found if value and value.strip()}))
    if len(values) > MOST_VALUES or any(len(value) > 200 for value in values):
        what = f"has {len(values):,} values, and at most {MOST_VALUES:,} of 200 characters ship"
        raise Malformed(what, place=f"{path.name}: column {name}", remedy="group the rare ones")
    codes = {value: code for code, value in enumerate(values, 1)}
    return ItemAttribute(name=name, values=values, codes=[codes.get(value or "", 0) for value in found])


def _margins(margins: NDArray[Any], path: Path, source: VisitSource) -> NDArray[np.uint8]:
    values = margins.astype(np.float64)
    known = np.isfinite(values)
    wrong = known & ~((values >= 0) & (values <= 100))
    if wrong.any():
        what = f"is not 0 to 100 per cent for {int(wrong.sum()):,} items"
        raise Malformed(what, place=f"{path.name}: column {source.margin[:64]}", remedy="write whole per cent")
    return np.where(known, np.rint(np.where(known, values, 0)), UNKNOWN_MARGIN).astype(np.uint8)


def read_looks(backend: Any, path: Path, source: VisitSource, items: Items) -> Looks:
    """Return the visits in a file.

    Raises:
        Missing: there is no such file. Malformed: a column is missing, too many looks are at items that the catalogue
            does not have, or none is left; with figures.
    """
    columns = {"key": (source.item, "integer" if source.integers else "text"), "time": (source.time, "integer")}
    for name in ("visitor", "session", "region"):
        if column := getattr(source, name):
            columns[name] = (column, "text")
    asks = not source.public_research_data and not is_file(source.improve)
    if asks:
        columns["improve"] = (source.improve, "flag")
    held = read_table(backend, path, columns)[0].order_by("row").to_pyarrow()
    granted = _granted(backend, path, source, held)
    numbers = {key: number for number, key in enumerate(items.ids)}
    found = np.array([numbers.get(str(key), -1) for key in held["key"].to_pylist()], np.int64)
    unknown = int((granted & (found < 0)).sum())
    if unknown > source.most_unknown * max(int(granted.sum()), 1):
        what = f"names items that the catalogue does not have in {unknown:,} of {int(granted.sum()):,} rows"
        remedy = "bring the catalogue of those days, or raise data.most_unknown"
        raise Malformed(what, place=f"{path.name}: column {source.item[:64]}", remedy=remedy)
    kept = np.flatnonzero(granted & (found >= 0))
    if not kept.size:
        remedy = "check data.improve: absent is not granted"
        raise Malformed(f"leaves none of {len(held):,} rows to learn from", place=path.name, remedy=remedy)
    session = _numbered(held["session"], kept) if source.session else np.zeros(kept.size, np.int64)
    visitors = _numbered(held["visitor"], kept) if source.visitor else session
    times, rows = np.asarray(held["time"])[kept], found[kept]
    order = np.lexsort((kept, times, session, visitors))
    begins = _begins(visitors[order], session[order], times[order], by_pause=not source.session)
    regions, names = _regions(held["region"], kept) if source.region else (np.full(kept.size, -1), ())
    return Looks(
        items=rows[order],
        visits=np.cumsum(begins).astype(np.int64),
        visitors=visitors[order],
        regions=regions[order],
        names=names,
        given=len(held),
        without_improve=int((~granted).sum()),
        unknown=unknown,
    )


def _granted(backend: Any, path: Path, source: VisitSource, held: Any) -> NDArray[np.bool_]:
    """Return of which rows the visitor granted `improve`; of rows that disagree about one, the stricter holds."""
    if source.public_research_data:
        return np.ones(len(held), bool)
    visitors = held["visitor"].to_pylist()
    if is_file(source.improve):
        choices = read_consent(backend, path.parent / source.improve).to_pyarrow()
        said = zip(choices["visitor"].to_pylist(), choices["improve"].to_pylist(), strict=True)
    else:
        said = zip(visitors, held["improve"].to_pylist(), strict=True)
    yes, no = set[str](), set[str]()
    for visitor, choice in said:
        (yes if choice else no).add(visitor)
    yes -= no
    return np.array([visitor in yes for visitor in visitors], np.bool_)


def _numbered(column: Any, kept: Numbers) -> Numbers:
    texts = np.asarray(column.fill_null("").to_pylist(), dtype=np.str_)[kept]
    return np.unique(texts, return_inverse=True)[1].astype(np.int64)


def _begins(visitors: Numbers, session: Numbers, times: Numbers, *, by_pause: bool) -> NDArray[np.bool_]:
    begins = np.ones(len(visitors), bool)
    same = (visitors[1:] == visitors[:-1]) & (session[1:] == session[:-1])
    begins[1:] = ~same | (by_pause & (np.diff(times) > _PAUSE))
    return begins


def _regions(column: Any, kept: Numbers) -> tuple[Numbers, tuple[str, ...]]:
    found = [text or "" for text in column.to_pylist()]
    names = tuple(sorted({found[i] for i in kept} - {""}))
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(found[i], -1) for i in kept], np.int64), names
