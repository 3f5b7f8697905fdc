"""The words of the DPO's documents: catalogs in TOML, English and French side by side.

A catalog `catalog/<name>.toml` holds tables that end in `en` and `fr`; a sentence's key is its path, as
`rights.none_given`. A sentence may hold `{name}`, filled in when it is said: what is filled in is never read as a
pattern itself.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

__all__ = ["LANGUAGES", "Words", "load_words", "read_catalog"]

LANGUAGES = ("en", "fr")
"""The languages that every sentence is kept in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The sentences of some catalogs in one language.

    Attributes:
        language: `en` or `fr`. sentences: by key.
    """

    language: str
    sentences: Mapping[str, str]

    def __call__(self, key: str, /, **values: object) -> str:
        """Return a sentence with `values` filled in."""
        return self.sentences[key].format_map(values)

    def has(self, key: str) -> bool:
        """Say whether there is a sentence under `key`."""
        return key in self.sentences

    def count(self, number: int, key: str, /) -> str:
        """Return `number` with the word for one or for several: `<key>.one`, `<key>.many`."""
        alone = abs(number) < 2 if self.language == "fr" else abs(number) == 1
        return self(f"{key}.one" if alone else f"{key}.many", n=number)

    def days(self, number: int) -> str:
        """Return a number of days in words."""
        return self.count(number, "days")

    def truth(self, value: bool) -> str:
        """Return yes or no."""
        return self("yes" if value else "no")


def load_words(language: str, *catalogs: str) -> Words:
    """Return the words that every document shares, and those of `catalogs`, in one language."""
    folder = files("entrenous_consent.dpo") / "catalog"
    sentences: dict[str, str] = {}
    for name in ("shared", *catalogs):
        found = read_catalog((folder / f"{name}.toml").read_text("utf-8"))
        sentences |= {key: said[language] for key, said in found.items()}
    return Words(language=language, sentences=sentences)


def read_catalog(text: str) -> dict[str, dict[str, str]]:
    """Return the sentences of a catalog by key, each by language."""
    return dict(_leaves("", tomllib.loads(text)))


def _leaves(path: str, table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    if set(table) == set(LANGUAGES):
        yield path, dict(table)
        return
    for key, inner in table.items():
        yield from _leaves(f"{path}.{key}" if path else key, inner)
