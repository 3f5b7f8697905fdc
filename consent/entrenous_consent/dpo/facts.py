"""What other verbs found on a host, read back from their JSON, so that a report can hold it.

Every verb writes the same closed document; whatever it says is data here, and is escaped as such when it is written.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from entrenous_consent.dpo.rendering import TONES, Block, Document, Facts, Items, Listing, Paragraph, Section, Table
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table as Reading

__all__ = ["FACTS_LIMIT", "known_place", "read_document"]

FACTS_LIMIT = 1 << 22
"""The most bytes of one document."""

_TEXT = 1 << 20
_CELLS = 4096
_DEEP = 2
_KEYS = frozenset(
    {
        *("format", "kind", "language", "title", "data", "lead", "sections", "footer"),
        *("key", "heading", "blocks", "text", "mark", "tone", "items", "facts"),
        *("caption", "headings", "rows", "listing", "picture"),
    }
)


def known_place(place: str, known: Collection[str]) -> str:
    """Return a place as far as its keys are `known`: a key that somebody made up could be anything, a name even."""
    parts = place.split(".")
    last = next((i for i, part in enumerate(parts) if part.partition("[")[0] not in known), len(parts))
    return ".".join(parts[:last]) or "document"


def read_document(data: bytes, *, place: str = "facts") -> Document:
    """Return the document that a verb wrote with `--format json`.

    Raises:
        Malformed: not JSON, not such a document, or larger than `FACTS_LIMIT`.
    """
    if len(data) > FACTS_LIMIT:
        raise Malformed(f"is longer than {FACTS_LIMIT} bytes", place=place, remedy="ask for a shorter period")
    try:
        return _document(Reading(json.loads(data)))
    except Malformed as error:
        remedy = "give what a verb of entrenous privacy wrote with --format json"
        raise Malformed(error.what, place=f"{place}: {known_place(error.place, _KEYS)}", remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        remedy = "give what a verb of entrenous privacy wrote with --format json"
        raise Malformed("is not JSON", place=place, remedy=remedy) from error


def _document(top: Reading) -> Document:
    top.integer("format", least=1, most=1)
    document = Document(
        kind=top.text("kind", longest=64),
        language=top.choice("language", ("en", "fr")),
        title=_text(top, "title"),
        lead=tuple(one for one in map(_block, top.tables("lead")) if isinstance(one, Paragraph)),
        sections=tuple(_section(one, 1) for one in top.tables("sections")),
        footer=tuple(_texts(top, "footer")),
        data=top.mapping("data"),
    )
    top.close()
    return document


def _section(table: Reading, depth: int) -> Section:
    if depth > _DEEP:
        raise table.refuse("sections", "lie too deep", "one section holds others, and those hold none")
    section = Section(
        key=table.text("key", longest=200),
        heading=_text(table, "heading"),
        blocks=tuple(map(_block, table.tables("blocks"))),
        sections=tuple(_section(one, depth + 1) for one in table.tables("sections", ())),
    )
    table.close()
    return section


def _block(table: Reading) -> Block:
    block: Block
    if table.has("text"):
        block = Paragraph(
            text=_text(table, "text"),
            mark=table.text("mark", "", longest=200, empty=True),
            tone=table.choice("tone", [one for one in TONES if one], "") if table.has("mark") else "",
        )
    elif table.has("items"):
        block = Items(items=tuple(_texts(table, "items")))
    elif table.has("facts"):
        block = Facts(facts=tuple((one, other) for one, other in _rows(table, "facts", 2)))
    elif table.has("headings"):
        headings = _texts(table, "headings")
        if not headings:
            raise table.refuse("headings", "are none", "a table has a column or more")
        rows = tuple(map(tuple, _rows(table, "rows", len(headings))))
        block = Table(caption=_text(table, "caption"), headings=tuple(headings), rows=rows)
    elif table.has("listing"):
        block = Listing(text=_text(table, "listing"))
    else:
        block = Paragraph(text=_text(table, "picture"))
    table.close()
    return block


def _text(table: Reading, key: str) -> str:
    return table.text(key, longest=_TEXT, empty=True)


def _texts(table: Reading, key: str) -> list[str]:
    return _strings(table, key, table.array(key, longest=_CELLS))


def _rows(table: Reading, key: str, width: int) -> list[list[str]]:
    rows = []
    for i, row in enumerate(table.array(key, longest=_CELLS * 8)):
        if not isinstance(row, list) or len(row) != width:
            raise table.refuse(f"{key}[{i}]", f"is not an array of {width}")
        rows.append(_strings(table, f"{key}[{i}]", row))
    return rows


def _strings(table: Reading, key: str, values: list[Any]) -> list[str]:
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise table.refuse(f"{key}[{i}]", "expected text")
    return values
