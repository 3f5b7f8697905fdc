"""Markup in one language: whatever is no markup of ours is escaped on its way in, and set as the language sets it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files

from entrenous_consent.dpo.page import plain
from entrenous_consent.dpo.words import LANGUAGES, Words, read_catalog

__all__ = ["LANGUAGES", "Html", "Writer", "language_of", "typeset"]

_VOID = frozenset({"input", "link", "meta", "br"})
_WIDE, _NARROW = "\u00a0", "\u202f"
_MONTHS: Mapping[str, tuple[str, ...]] = {
    "en": (
        *("January", "February", "March", "April", "May", "June"),
        *("July", "August", "September", "October", "November", "December"),
    ),
    "fr": (
        *("janvier", "février", "mars", "avril", "mai", "juin"),
        *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
    ),
}


class Html(str):
    """Markup that was made here. Any other text is escaped before it becomes some."""

    __slots__ = ()


@cache
def sentences() -> Mapping[str, Mapping[str, str]]:
    """Return every sentence of the page by key, each by language."""
    return read_catalog((files("entrenous_edge.pages") / "words.toml").read_text("utf-8"))


def _words(language: str) -> Words:
    return Words(language=language, sentences={key: said[language] for key, said in sentences().items()})


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes in one language.

    Attributes:
        language: one of `LANGUAGES`. say: its sentences.
    """

    language: str
    say: Words = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "say", _words(self.language))

    def tag(self, name: str, /, *inner: str | None, **attributes: str | bool | int | None) -> Html:
        """Return an element around `inner`; None is left out, and so is an attribute that is None or False.

        Attributes are named as in Python: `class_`, `aria_label`.
        """
        parts = [f"<{name}"]
        for key, value in attributes.items():
            called = key.rstrip("_").replace("_", "-")
            if value is True:
                parts.append(f" {called}")
            elif value is not None and value is not False:
                parts.append(f' {called}="{escape(plain(value))}"')
        parts.append(">")
        if name not in _VOID:
            parts += [self.text(one) for one in inner if one is not None]
            parts.append(f"</{name}>")
        return Html("".join(parts))

    def text(self, text: str) -> Html:
        """Return text as markup; what is markup already stays."""
        return text if isinstance(text, Html) else Html(escape(typeset(plain(text), self.language), quote=False))

    def joined(self, parts: Iterable[str]) -> Html:
        """Return the parts one after the other."""
        return Html("".join(self.text(one) for one in parts))

    def p(self, key: str, /, **values: object) -> Html:
        """Return a sentence as a paragraph."""
        return self.tag("p", self.say(key, **values))

    def day(self, moment: int) -> str:
        """Return the day of a Unix second, UTC."""
        at = datetime.fromtimestamp(moment, UTC)
        number = "1er" if at.day == 1 and self.language == "fr" else str(at.day)
        return _WIDE.join((number, _MONTHS[self.language][at.month - 1], str(at.year)))

    def moment(self, moment: int) -> str:
        """Return a Unix second with its day, UTC."""
        at = datetime.fromtimestamp(moment, UTC)
        clock = (
            f"{at.hour}{_WIDE}h{_WIDE}{at.minute:02d}" if self.language == "fr" else f"{at.hour:02d}:{at.minute:02d}"
        )
        return self.say("when", day=self.day(moment), clock=clock)

    def number(self, value: float) -> str:
        """Return a number: whole, or to two digits."""
        whole = float(value).is_integer()
        text = f"{int(value):,}" if whole else f"{value:,.2f}"
        return text.translate({44: _NARROW, 46: ","}) if self.language == "fr" else text

    def listed(self, some: Iterable[str]) -> str:
        """Return several in one line: a, b and c."""
        parts = list(some)
        return f" {self.say('and')} ".join(one for one in (", ".join(parts[:-1]), *parts[-1:]) if one)


def typeset(text: str, language: str) -> str:
    """Return text with the apostrophes and spaces that its language is set with: French has no-break ones before and
    within punctuation."""
    text = re.sub(r"(?<=\w)'(?=\w)", "’", text)
    if language != "fr":
        return text
    text = re.sub(" (?=[:»])|(?<=«) ", _WIDE, text)
    return re.sub(" (?=[;?!%])", _NARROW, text)


def language_of(asked: str, accepted: str) -> str:
    """Return the language to speak: the one that is asked for, else the best of `Accept-Language`, else English."""
    if asked in LANGUAGES:
        return asked
    best, weight = LANGUAGES[0], 0.0
    for one in accepted[:1000].split(","):
        name, _, rest = one.strip().partition(";")
        said = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", rest) if rest else None
        given = 1.0 if not rest else float(said.group(1)) if said else 0.0
        primary = name.strip().lower().partition("-")[0]
        if primary in LANGUAGES and given > weight:
            best, weight = primary, given
    return best
