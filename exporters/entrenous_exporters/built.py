"""What building makes, whatever was learnt: a graph, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous.decisions.calibration import Calibration
from entrenous.model.scorer import open_session
from entrenous_consent.errors import Malformed
from entrenous_exporters.spec import TrainingSpec
from entrenous_exporters.trees import Ensemble

__all__ = ["TOLERANCE", "Built", "Progress", "calibrated", "positions_of", "score", "spoken"]

TOLERANCE = 2.0**-16
"""What a dense graph may differ by, relative to the larger of 1 and the margin: float32 sums of some hundred terms."""

Floats = NDArray[np.float32]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A graph, and what is known of it.

    Trees ship as one exact node; a linear model ships as a dense graph within a tolerance.

    Attributes:
        model: ONNX bytes, one margin column for each pattern of the spec. cuts: rising, float32, for each.
        tolerance: as the manifest states it: 0 for trees.
        ensemble: what the graph computes; raw: the same before it was protected. None for a dense graph.
        sigmoids: for each pattern, a and b of what was folded in; 1 and 0 where nothing was. lines: for each, from
            margins to log-odds, None where margins are that; empty for none at all.
        least_support: the fewest distinct visitors found under a leaf; None for a dense graph, whose parts are chosen
            so that `k` stand behind each.
        parity: what the gate compared.
    """

    model: bytes
    cuts: tuple[tuple[float, ...], ...]
    tolerance: float
    ensemble: Ensemble | None
    raw: Ensemble | None
    sigmoids: tuple[tuple[float, float], ...]
    least_support: int | None
    parity: Mapping[str, Any]
    lines: tuple[Calibration | None, ...] = ()

    def log_odds(self, margins: Floats) -> NDArray[np.float64]:
        """Return what margins [N, P] of a likelihood stand for, [N, P]."""
        lines = self.lines or (None,) * margins.shape[1]
        return np.stack([calibrated(margins[:, i], line) for i, line in enumerate(lines)], axis=1)


def score(model: bytes, rows: Floats, *, singly: bool) -> Floats:
    """Return the margins float32 [N, P] of `rows` [N, F] as the runtime answers them.

    Args:
        singly: one row at a time, as a dense graph has to be scored; trees give the same bits either way.
    """
    session = open_session(model)
    if not singly:
        return np.asarray(session.run(["margin"], {"x": np.ascontiguousarray(rows)})[0])
    found = [session.run(["margin"], {"x": rows[i : i + 1]})[0] for i in range(len(rows))]
    return np.concatenate(found) if found else np.empty((0, session.get_outputs()[0].shape[1]), np.float32)


def calibrated(margins: Floats, line: Calibration | None) -> NDArray[np.float64]:
    """Return the log-odds [N] of one pattern's margins [N], as the device would read them."""
    plain = margins.astype(np.float64)
    return plain if line is None else np.array([line.of(margin) for margin in plain.tolist()], np.float64)


def spoken(pattern: tuple[str, ...]) -> str:
    """Return a consent pattern as a person reads it."""
    return " + ".join(pattern) or "no purpose"


def positions_of(spec: TrainingSpec, pattern: tuple[str, ...]) -> list[int]:
    """Return the columns of the vector that a consent pattern reads.

    Raises:
        Malformed: there is none.
    """
    positions = [i for i, feature in enumerate(spec.features) if feature.purpose in pattern]
    if not positions:
        raise Malformed("has no feature to learn from", place="decision.patterns", remedy="leave it out")
    return positions
