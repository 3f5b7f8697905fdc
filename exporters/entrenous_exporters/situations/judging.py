"""Judging situations on visits they were not found in, through the bytes that would ship."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_exporters.built import Built, score
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import TrainingSpec

__all__ = ["judge_situations"]


def judge_situations(spec: TrainingSpec, parts: Sequence[tuple[Built, Rows]]) -> dict[str, Any]:
    """Return the card's facts, plain values: how common each situation is and how often its visits reach the goal, by
    pattern; and how often a pattern that reads less names the same situation as the fullest.

    Args:
        parts: models, each with rows whose visitors it has not seen.
    """
    width, patterns = len(spec.decision.tranches), spec.decision.patterns
    margins = np.concatenate([score(built.model, held.x, singly=True) for built, held in parts])
    y = np.concatenate([held.y for _, held in parts])
    named = [margins[:, i * width : (i + 1) * width].argmax(axis=1) for i in range(len(patterns))]
    fullest = min(range(len(patterns)), key=lambda i: (-len(patterns[i]), patterns[i]))
    return {
        "names": list(spec.decision.tranches),
        "patterns": [
            {
                "purposes": list(pattern),
                "shares": [float((found == one).mean()) for one in range(width)],
                "reached": [_rate(y[found == one]) for one in range(width)],
                "same_as_fullest": float((found == named[fullest]).mean()),
            }
            for pattern, found in zip(patterns, named, strict=True)
        ],
    }


def _rate(y: NDArray[np.bool_]) -> float | None:
    return float(y.mean()) if len(y) else None
