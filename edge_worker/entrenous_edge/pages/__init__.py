"""The preference page: what a person sees and does about their own data, in their own browser, in English and
French.

`routes` takes requests, `forms` reads what is sent, `seen` asks the client; `sections`, `choices` and `holdings` say it
in the words of `words.toml`, `writer` makes it markup, `style.css` gives it its looks.
"""

from __future__ import annotations

from entrenous_edge.pages.routes import page_routes

__all__ = ["page_routes"]
