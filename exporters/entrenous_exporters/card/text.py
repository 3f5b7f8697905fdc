"""The card for a terminal or a mail."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from entrenous_exporters.card.sections import Section, sections, title

__all__ = ["render_text"]

_WIDTH = 100


def render_text(facts: Mapping[str, Any], *, language: str = "en") -> str:
    """Return the card as text of at most 100 columns where its tables allow it.

    Args:
        facts: from `entrenous_exporters.card.read_card`. language: `en` or `fr`.
    """
    parts = [textwrap.fill(title(facts, language), _WIDTH)]
    parts += [_section(section) for section in sections(facts, language)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    lines = [section.heading, "-" * len(section.heading)]
    lines += [textwrap.fill(sentence, _WIDTH) for sentence in section.sentences]
    if section.rows:
        table = [section.headings, *section.rows]
        widths = [max(len(row[i]) for row in table) for i in range(len(section.headings))]
        lines += [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in table
        ]
    return "\n".join(lines)
