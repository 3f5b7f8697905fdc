"""How a card speaks: its sections, and numbers as English and French readers write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LANGUAGES", "Section", "count", "figure", "percent", "purposes", "say", "spelt"]

LANGUAGES = ("en", "fr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One heading, what it says, and its table.

    Attributes:
        key: the same in every language. headings, rows: the table; empty for none.
    """

    key: str
    heading: str
    sentences: tuple[str, ...]
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def purposes(pattern: Mapping[str, Any]) -> str:
    """Return a pattern's purposes as a person reads them."""
    return " + ".join(pattern["purposes"])


def percent(share: float, language: str) -> str:
    """Return a share as a percentage, to a tenth."""
    return f"{share * 100:.1f}\u202f%".replace(".", ",") if language == "fr" else f"{share:.1%}"


def say(language: str, english: str, french: str) -> str:
    """Return the text in one of `LANGUAGES`."""
    return french if language == "fr" else english


def count(number: int, language: str) -> str:
    """Return a whole number with its thousands apart."""
    text = f"{number:,}"
    return text.replace(",", "\u202f") if language == "fr" else text


def figure(value: float | None, language: str, digits: int = 4) -> str:
    """Return a number to so many digits, a dash for none."""
    text = "–" if value is None else f"{value:.{digits}f}"
    return text.replace(".", ",") if language == "fr" else text


def spelt(table: Mapping[str, Any]) -> str:
    """Return names and values in one line."""
    return ", ".join(f"{key} {value}" for key, value in table.items())
