"""What a DPO is handed, as a closed model of a document, and the four forms it is written in.

::

    Document   title, lead, sections, footer; `data` is the same in every language, for programs
    Section    heading and blocks: Paragraph, Items, Facts, Table, Listing, Picture; sections inside sections, one deep

`render` writes text for a terminal, JSON for programs, Markdown for a repository, and HTML for people: one page that
holds all it needs and asks nobody for anything. Whatever a text holds, it cannot leave its place: marks that do not
print are written as their escapes, and each form escapes its own markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent, wrap
from typing import Any, TypeAlias

from entrenous_consent.dpo.page import Leaf, page, plain

__all__ = [
    "FORMATS",
    "TONES",
    "Block",
    "Document",
    "Facts",
    "Items",
    "Listing",
    "Paragraph",
    "Picture",
    "Section",
    "Table",
    "plain",
    "render",
]

FORMATS = ("text", "json", "html", "markdown")
"""The forms that a document is written in."""

TONES = ("", "good", "info", "warning", "error", "open")
"""How a mark looks: `open` is a question that only a person can answer."""

_WIDTH = 100
_MARKDOWN = str.maketrans({char: "\\" + char for char in "\\`*_{}[]<>#|~"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """A sentence or a few. `mark` is a word in front of it, and `tone` (of `TONES`) how that looks."""

    text: str
    mark: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list of texts."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and what they are."""

    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table. The first cell of a row is its header; `numeric` numbers the columns that are set to the right.

    `tones` gives a row's first cell the look of a mark, by row; it is empty where there is none.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[int, ...] = ()
    tones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Text set as it is, line by line: a record, a command."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing as trusted SVG without scripts, and the same in words, for whoever does not see it."""

    svg: str
    words: str


Block: TypeAlias = Paragraph | Items | Facts | Table | Listing | Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it. `key` is its short name in links and in JSON."""

    key: str
    heading: str
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document in one language.

    Attributes:
        kind: what it is, a short key. language: `en` or `fr`. lead: sentences under the title.
        contents: the heading of the table of contents; empty for none. footer: what it was made from.
        data: plain values for programs, the same in every language.
    """

    kind: str
    language: str
    title: str
    lead: tuple[Paragraph, ...] = ()
    sections: tuple[Section, ...]
    contents: str = ""
    footer: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def render(document: Document, form: str) -> str:
    """Return a document as text of one of `FORMATS`, ended by a line end; the same document gives the same text."""
    write = {"text": _text, "json": _json, "html": _html, "markdown": _markdown}[form]
    return write(document)


def _text(document: Document) -> str:
    parts = [plain(document.title), "=" * min(len(plain(document.title)), _WIDTH)]
    parts.append("\n\n".join(_text_block(block) for block in document.lead))
    for section in document.sections:
        parts += _text_section(section, "-")
    parts += [f"\n{_wrapped(line)}" for line in document.footer]
    return "\n".join(parts) + "\n"


def _text_section(section: Section, line: str) -> Iterator[str]:
    heading = plain(section.heading)
    yield f"\n{heading}"
    yield line * min(len(heading), _WIDTH)
    if section.blocks:
        yield "\n\n".join(_text_block(block) for block in section.blocks)
    for inner in section.sections:
        yield from _text_section(inner, "·")


def _text_block(block: Block) -> str:
    match block:
        case Paragraph():
            return _wrapped(_marked(block))
        case Items():
            return "\n".join(_wrapped(item, first="- ") for item in block.items)
        case Facts():
            return _text_facts(block.facts)
        case Table():
            return _text_table(block)
        case Listing():
            return indent("\n".join(map(plain, block.text.splitlines())), "    ")
        case _:
            return _wrapped(block.words)


def _marked(block: Paragraph) -> str:
    return f"[{block.mark}] {block.text}" if block.mark else block.text


def _wrapped(text: str, *, first: str = "") -> str:
    lines = wrap(plain(text), _WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
    return "\n".join(lines)


def _text_facts(facts: Sequence[tuple[str, str]]) -> str:
    width = min(max((len(plain(name)) for name, _ in facts), default=0), 44)
    return "\n".join(_wrapped(value, first=f"{plain(name):{width}}  ") for name, value in facts)


def _text_table(table: Table) -> str:
    rows = [[plain(cell) for cell in row] for row in (table.headings, *table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.headings))]
    lines = [_wrapped(table.caption)] if table.caption else []
    if sum(widths) + 2 * (len(widths) - 1) > _WIDTH:
        for row in rows[1:]:
            lines += ["", _text_facts(tuple(zip(rows[0], row, strict=True)))]
        return "\n".join(lines)
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        cells = [f"{row[i]:>{width}}" if i in table.numeric else f"{row[i]:{width}}" for i, width in enumerate(widths)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _json(document: Document) -> str:
    said = {
        "format": 1,
        "kind": document.kind,
        "language": document.language,
        "title": document.title,
        "data": document.data,
        "lead": [_plain_block(block) for block in document.lead],
        "sections": [_plain_section(section) for section in document.sections],
        "footer": list(document.footer),
    }
    return json.dumps(said, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _plain_section(section: Section) -> dict[str, Any]:
    said: dict[str, Any] = {"key": section.key, "heading": section.heading}
    said["blocks"] = [_plain_block(block) for block in section.blocks]
    if section.sections:
        said["sections"] = [_plain_section(inner) for inner in section.sections]
    return said


def _plain_block(block: Block) -> dict[str, Any]:
    match block:
        case Paragraph():
            said = {"text": block.text}
            return said | {"mark": block.mark, "tone": block.tone} if block.mark else said
        case Items():
            return {"items": list(block.items)}
        case Facts():
            return {"facts": [list(pair) for pair in block.facts]}
        case Table():
            said_table = {"headings": list(block.headings), "rows": [list(row) for row in block.rows]}
            return {"caption": block.caption, **said_table}
        case Listing():
            return {"listing": block.text}
        case _:
            return {"picture": block.words}


def _markdown(document: Document) -> str:
    parts = [f"# {_escaped(document.title)}", *(_markdown_block(block) for block in document.lead)]
    for section in document.sections:
        parts += _markdown_section(section, 2)
    parts += [f"*{_escaped(line)}*" for line in document.footer]
    return "\n\n".join(parts) + "\n"


def _markdown_section(section: Section, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_escaped(section.heading)}"
    for block in section.blocks:
        yield _markdown_block(block)
    for inner in section.sections:
        yield from _markdown_section(inner, level + 1)


def _escaped(text: str) -> str:
    return plain(text).translate(_MARKDOWN)


def _markdown_block(block: Block) -> str:
    match block:
        case Paragraph():
            mark = f"**{_escaped(block.mark)}** " if block.mark else ""
            return mark + _guarded(_escaped(block.text))
        case Items():
            return "\n".join(f"- {_guarded(_escaped(item))}" for item in block.items)
        case Facts():
            return "\n".join(f"- **{_escaped(name)}**: {_escaped(value)}" for name, value in block.facts)
        case Table():
            rule = ["---:" if i in block.numeric else "---" for i in range(len(block.headings))]
            rows = [map(_escaped, block.headings), rule, *(map(_escaped, row) for row in block.rows)]
            table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
            return f"{_escaped(block.caption)}\n\n{table}" if block.caption else table
        case Listing():
            return indent("\n".join(map(plain, block.text.splitlines())), "    ")
        case _:
            return f"*{_escaped(block.words)}*"


def _guarded(text: str) -> str:
    """Return text whose beginning is no list, heading or rule of Markdown's."""
    head = text.lstrip()
    numbered = head.partition(".")[0].isdigit() or head.partition(")")[0].isdigit()
    return f"\\{head}" if head[:1] in ("-", "+", "=") else (head.replace(".", "\\.", 1) if numbered else head)


def _html(document: Document) -> str:
    body: list[Leaf] = [("h1", {}, document.title)]
    body += [_html_block(block) for block in document.lead]
    if document.contents:
        links: list[Leaf] = [
            ("li", {}, [("a", {"href": f"#{section.key}"}, section.heading)]) for section in document.sections
        ]
        label = {"aria-label": document.contents}
        body.append(("nav", label, [("h2", {}, document.contents), ("ol", {}, links)]))
    body += [_html_section(section, 2) for section in document.sections]
    if document.footer:
        body.append(("footer", {}, [("p", {}, line) for line in document.footer]))
    return page(document.language, document.title, body)


def _html_section(section: Section, level: int) -> Leaf:
    inside: list[Leaf] = [(f"h{level}", {"id": section.key}, section.heading)]
    inside += [_html_block(block) for block in section.blocks]
    inside += [_html_section(inner, level + 1) for inner in section.sections]
    return ("section", {"aria-labelledby": section.key}, inside)


def _html_block(block: Block) -> Leaf:
    match block:
        case Paragraph():
            mark: list[Leaf] = [("strong", {"class": f"mark {block.tone}"}, block.mark), " "] if block.mark else []
            return ("p", {"class": block.tone}, [*mark, block.text])
        case Items():
            return ("ul", {}, [("li", {}, item) for item in block.items])
        case Facts():
            pairs: list[Leaf] = [("div", {}, [("dt", {}, name), ("dd", {}, value)]) for name, value in block.facts]
            return ("dl", {}, pairs)
        case Table():
            return _html_table(block)
        case Listing():
            return ("pre", {"tabindex": "0"}, [("code", {}, block.text)])
        case _:
            return ("figure", {"role": "img", "aria-label": block.words, "tabindex": "0"}, [("raw", {}, block.svg)])


def _html_table(table: Table) -> Leaf:
    def look(i: int) -> dict[str, str]:
        return {"class": "number"} if i in table.numeric else {}

    head: list[Leaf] = [
        ("th", {"scope": "col", "role": "columnheader", **look(i)}, heading) for i, heading in enumerate(table.headings)
    ]
    rows: list[Leaf] = []
    for number, row in enumerate(table.rows):
        tone = table.tones[number] if table.tones else ""
        first: Leaf = ("span", {"class": f"mark {tone}"}, row[0]) if tone else row[0]
        cells: list[Leaf] = [("th", {"scope": "row", "role": "rowheader", "data-label": table.headings[0]}, [first])]
        cells += [
            ("td", {"role": "cell", "data-label": table.headings[i], **look(i)}, cell)
            for i, cell in enumerate(row)
            if i
        ]
        rows.append(("tr", {"role": "row"}, cells))
    caption: list[Leaf] = [("caption", {}, table.caption)] if table.caption else []
    parts: list[Leaf] = [
        ("thead", {"role": "rowgroup"}, [("tr", {"role": "row"}, head)]),
        ("tbody", {"role": "rowgroup"}, rows),
    ]
    return ("table", {"role": "table"}, [*caption, *parts])
