"""Parts that several sections of the page are made of."""

from __future__ import annotations

from entrenous_edge.pages.writer import Html, Writer

__all__ = ["form", "hidden", "section", "spaced", "word"]


def section(w: Writer, key: str, *inner: str | None) -> Html:
    """Return a section with its heading, the sentence `<key>.title`."""
    heading = w.tag("h2", w.say(f"{key}.title"), id=f"{key}-title")
    return w.tag("section", heading, *inner, id=key, aria_labelledby=f"{key}-title")


def form(w: Writer, action: str, *inner: str | None, id_: str | None = None) -> Html:
    """Return a form that is sent to one of the page's routes, in its language."""
    return w.tag("form", *inner, method="post", action=f"/preferences/{action}?lang={w.language}", id_=id_)


def hidden(w: Writer, **fields: str) -> list[Html]:
    """Return fields of a form that are not shown."""
    return [w.tag("input", type="hidden", name=name, value=value) for name, value in fields.items()]


def word(w: Writer, table: str, key: str) -> str:
    """Return the words for a field or a value that visitors tell; the shop's own are shown as they are."""
    return w.say(f"{table}.{key}") if w.say.has(f"{table}.{key}") else spaced(key)


def spaced(key: str) -> str:
    """Return a key of the shop's own as a person reads it."""
    return key.replace("_", " ")
