"""Markers: ready-made features, so that the signature of a visit is one line.

`catalogue` holds them, `select` declares those that a specification takes, `commands` lists them for people.
"""

from __future__ import annotations

from entrenous.markers.catalogue import Marker, catalogue, groups, words_of
from entrenous.markers.select import Taken, parse_selection

__all__ = ["Marker", "Taken", "catalogue", "groups", "parse_selection", "words_of"]
