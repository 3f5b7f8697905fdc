"""The model card: what a bundle was learnt from, how good it is under each consent, and what it left out.

::

    facts     plain values, in JSON: what the manifest's hash stands for
    sections  the same as headings, sentences and tables, in English or French
    text      sections for a terminal          page     sections for a browser, with charts, in one offline file
"""

from __future__ import annotations

from entrenous_exporters.card.facts import Counts, encode_card, facts_of, read_card, scored_facts
from entrenous_exporters.card.page import render_page
from entrenous_exporters.card.text import render_text

__all__ = ["Counts", "encode_card", "facts_of", "read_card", "render_page", "render_text", "scored_facts"]
