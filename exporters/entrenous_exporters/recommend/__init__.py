"""Recommendation: which items follow which, learnt from visits and held to *k* of them, and how well that foretells."""

from __future__ import annotations

from entrenous_exporters.recommend.items import Visits, learn_items
from entrenous_exporters.recommend.measures import Ranking, ranked

__all__ = ["Ranking", "Visits", "learn_items", "ranked"]
