"""Situations: visits that are alike in what matters for a goal, found centrally and recognised on the device.

::

    found  = find_situations(x, y, visitors, categories, …)      membership and centroids, k visitors behind each
    linear = found.linear(positions)                             a margin a situation, for one consent pattern
"""

from __future__ import annotations

from entrenous_exporters.situations.find import Found, find_situations

__all__ = ["Found", "find_situations"]
