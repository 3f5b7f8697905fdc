"""Where a model's training columns stand in the full vector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed

__all__ = ["places"]


def places(positions: Sequence[int], trained_on: int, features: int) -> NDArray[np.int64]:
    """Return `positions` as int64 [trained_on].

    Args:
        positions: for each of the model's training columns, its column in the full vector; distinct.
        trained_on: how many columns the model was trained on.
        features: F, the width of the full vector.

    Raises:
        Malformed: another number of positions, one that repeats, or one outside the vector.
    """
    where = np.asarray(positions, dtype=np.int64)
    if where.shape != (trained_on,) or np.unique(where).size != where.size:
        what = f"expected {trained_on} distinct positions"
        raise Malformed(what, place="positions", remedy="name the vector's column of each training column")
    if where.size and (where.min() < 0 or where.max() >= features):
        raise Malformed(f"are outside 0..{features - 1}", place="positions", remedy="check the schema")
    return where
