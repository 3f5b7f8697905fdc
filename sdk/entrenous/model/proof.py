"""Proof: a few made-up vectors whose margins were recorded where a model was made, scored again before it serves.

What another processor, another version of the runtime or a mistake at the publisher's would change shows here, before
any visitor is scored. The vectors follow from the schema alone: no visitor's row is among them.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isfinite
from struct import pack, unpack

from entrenous.model.scorer import Scorer
from entrenous_consent.errors import Malformed

__all__ = ["PROOF_ROWS", "check_proof", "proof_of", "proof_rows"]

PROOF_ROWS = 4
_NUMBERS = (0.0, 1.0, 2.0, 5.0, 12.0, 40.0, 300.0, 2_500.0, 40_000.0, float("nan"))
_STRIDE = 7

Vector = list[float]


def proof_rows(categories: Sequence[int]) -> list[Vector]:
    """Return the vectors: one of nothing but NaN, then others from codes and plain numbers.

    Args:
        categories: for each feature, how many values it has; 0 for a number.
    """
    rows = [[float("nan")] * len(categories)]
    for row in range(1, PROOF_ROWS):
        rows.append(
            [
                float((row + i) % count) if count else _NUMBERS[(row * _STRIDE + i) % len(_NUMBERS)]
                for i, count in enumerate(categories)
            ]
        )
    return rows


def proof_of(scorer: Scorer, categories: Sequence[int], columns: int) -> bytes:
    """Return what a model says of the vectors: float32 [PROOF_ROWS, columns], little-endian, row by row."""
    return pack(f"<{PROOF_ROWS * columns}f", *_margins(scorer, categories, columns))


def check_proof(
    scorer: Scorer, categories: Sequence[int], columns: int, proof: bytes, *, tolerance: float, place: str
) -> None:
    """Refuse a model that scores the vectors otherwise than recorded.

    Args:
        tolerance: how far a margin may lie from it, relative to the larger of 1 and the margin; 0 for not at all.

    Raises:
        Malformed: it does, or the proof has another size.
    """
    if len(proof) != 4 * PROOF_ROWS * columns:
        raise Malformed(f"is not {PROOF_ROWS} rows of {columns} float32", place=place, remedy="export it again")
    recorded = unpack(f"<{PROOF_ROWS * columns}f", proof)
    for i, (here, there) in enumerate(zip(_margins(scorer, categories, columns), recorded, strict=True)):
        if not isfinite(there) or not abs(here - there) <= tolerance * max(1.0, abs(there)):
            what = f"gives {here:g} for vector {i // columns} where {there:g} was recorded"
            raise Malformed(what, place=place, remedy="do not serve it; publish a newer version")


def _margins(scorer: Scorer, categories: Sequence[int], columns: int) -> list[float]:
    return [margin for row in proof_rows(categories) for margin in scorer.margins(array("f", row), [], 0, columns)]
