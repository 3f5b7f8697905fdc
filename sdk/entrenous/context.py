"""The context of a decision: what the page or till knows of the moment, as columns of the vector."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from entrenous.active import Active
from entrenous.targeting import float32
from entrenous_consent.errors import Malformed

__all__ = ["columns_of"]


def columns_of(context: Mapping[str, Any], active: Active, granted: frozenset[str]) -> list[tuple[int, float]]:
    """Return the columns that the caller's context fills, for granted purposes only: positions and values.

    Raises:
        Malformed: not a mapping, a key that the bundle does not know, or a value of another type. A key that rules
            alone read is left to them.
    """
    if not isinstance(context, Mapping):
        raise Malformed("expected a mapping", place="context", remedy="hand over a dict of keys and values")
    supplied = []
    for key, value in context.items():
        column = active.supplied.get(key)
        if column is None:
            if key in active.context:
                continue  # for rules, which read it themselves
            known = ", ".join(sorted({*active.supplied, *active.context})) or "none"
            raise Malformed("has a key that this bundle does not know", place="context", remedy=f"known: {known}")
        position, purpose, codes = column
        if purpose not in granted:
            continue
        if codes is not None:
            if not isinstance(value, str):
                raise Malformed("expected text", place=f"context.{key}", remedy="hand over one str")
            code = codes.get(value)
            if code is not None:
                supplied.append((position, float(code)))
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Malformed("expected a number", place=f"context.{key}", remedy="hand over an int or a float")
        else:
            number = float32(value)  # as the central engine holds it
            supplied.append((position, number if isfinite(number) else nan))
    return supplied
