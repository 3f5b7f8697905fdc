"""One page of HTML that holds all it needs: no script, no request, readable by keyboard, on a phone and on paper.

A page is built from leaves: a text, or `(tag, attributes, inside)`. Texts and attributes are escaped here and nowhere
else. The tag `raw` holds trusted markup of our own, which is set in as it is. Colours have a contrast of 4.5:1 or more
with what is behind them (WCAG 2.2, 1.4.3), and none says anything that a word does not say too (1.4.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TypeAlias, Union

__all__ = ["COLOURS", "Leaf", "page", "plain", "style"]

Leaf: TypeAlias = Union[str, "tuple[str, Mapping[str, str], str | Sequence[Leaf]]"]
"""A text, or a tag with its attributes and what is inside."""

COLOURS: Mapping[str, str] = {
    "ink": "#1b2430",
    "soft": "#4d5866",
    "paper": "#ffffff",
    "ground": "#f4f2ec",
    "line": "#d5d0c3",
    "accent": "#0b5e53",
    "good": "#1d6b3a",
    "info": "#2a5a8c",
    "warning": "#8a4b00",
    "error": "#a3202c",
    "open": "#6a3d8f",
}
"""The colours of a page, by what they are for."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SKIP: Mapping[str, str] = {"en": "Skip to the text", "fr": "Aller au texte"}

_SPACES = "\u00a0\u202f"


def plain(text: object) -> str:
    """Return one printable line: line ends, colours, and marks that turn the direction of writing are escaped.

    The no-break spaces that French is set with stay.
    """
    return "".join(
        char if char.isprintable() or char in _SPACES else char.encode("unicode_escape").decode("ascii")
        for char in str(text)
    )


def style() -> str:
    """Return the one style of every page, over the variables that `COLOURS` gives their values."""
    return (files("entrenous_consent.dpo") / "catalog" / "page.css").read_text("utf-8")


def page(language: str, title: str, body: Sequence[Leaf]) -> str:
    """Return a whole page: `body` inside `<main>`, in a language, under a policy that forbids all requests."""
    colours = " ".join(f"--{name}: {value};" for name, value in COLOURS.items())
    head: list[Leaf] = [
        ("meta", {"charset": "utf-8"}, ""),
        ("meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY}, ""),
        ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}, ""),
        ("meta", {"name": "referrer", "content": "no-referrer"}, ""),
        ("title", {}, title),
        ("raw", {}, f"<style>:root {{ {colours} }}\n{style()}</style>"),
    ]
    skip: Leaf = ("a", {"class": "skip", "href": "#text"}, _SKIP[language])
    whole: Leaf = (
        "html",
        {"lang": language},
        [("head", {}, head), ("body", {}, [skip, ("main", {"id": "text", "tabindex": "-1"}, body)])],
    )
    return "<!doctype html>\n" + "".join(_written(whole)) + "\n"


def _written(leaf: Leaf) -> Iterator[str]:
    if isinstance(leaf, str):
        yield escape("\n".join(map(plain, leaf.split("\n"))))
        return
    tag, attributes, inside = leaf
    if tag == "raw":
        yield str(inside)
        return
    given = "".join(f' {name}="{escape(plain(value))}"' for name, value in attributes.items() if value)
    yield f"<{tag}{given}>"
    if tag == "meta":
        return
    for one in [inside] if isinstance(inside, str) else inside:
        yield from _written(one)
    yield f"</{tag}>"
