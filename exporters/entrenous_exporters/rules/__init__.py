"""Rules: written in CEL, read here, shipped as the tree of `entrenous.targeting`.

::

    cel         the text in, the type-checked tree out
    criteria    what rules are usually about: names, variables, words, templates
"""

from __future__ import annotations

from entrenous_exporters.rules.cel import Written, write_rule
from entrenous_exporters.rules.criteria import REFUSED, Criterion, criterion, load_criteria

__all__ = ["REFUSED", "Criterion", "Written", "criterion", "load_criteria", "write_rule"]
