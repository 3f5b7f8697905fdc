"""Judging uplift on visitors it did not learn from, through the bytes that would ship."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_exporters.built import Built, score
from entrenous_exporters.rows import Rows, joined
from entrenous_exporters.spec import TrainingSpec
from entrenous_exporters.uplift.measures import auuc, qini, uplift_at
from entrenous_exporters.uplift.policies import Value, best_constant, value_of
from entrenous_exporters.uplift.shipping import trial_of
from entrenous_exporters.uplift.trial import Trial

__all__ = ["TOP", "Gains", "judge_uplift"]

TOP = 0.3
"""The share of visitors with the highest predictions that `uplift_at` speaks of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gains:
    """What models foretold of rows that they had not learnt from.

    Attributes:
        margins: float32 [M, P·A]. rows: the rows themselves.
    """

    margins: NDArray[np.float32]
    rows: Rows

    def facts(self, spec: TrainingSpec) -> dict[str, Any]:
        """Return the card's facts, plain values: how each action's gains rank, and what acting on them is worth."""
        trial, arms = trial_of(spec, self.rows), list(spec.trial.shares if spec.trial else ())
        costs = np.array([0.0, *spec.decision.costs])
        net = trial.outcome - costs[trial.arm]
        constant = best_constant(trial.arm, net, len(arms))
        width, patterns = len(arms) - 1, []
        for i, pattern in enumerate(spec.decision.patterns):
            gains = self.margins[:, i * width : (i + 1) * width].astype(np.float64)
            patterns.append(
                {
                    "purposes": list(pattern),
                    "actions": [{"arm": arm} | _ranked(trial, j + 1, gains[:, j]) for j, arm in enumerate(arms[1:])],
                    "policy": _worth(trial, net, gains - costs[1:]),
                }
            )
        return {
            "control": arms[0],
            "costs": {arm: float(cost) for arm, cost in zip(arms[1:], costs[1:], strict=True)},
            "best_constant": {"arm": arms[constant.arm]} | _value(constant.value),
            "patterns": patterns,
            "top": TOP,
        }


def judge_uplift(parts: Sequence[tuple[Built, Rows]]) -> Gains:
    """Return what each model foretells of the rows beside it, whose visitors it has not seen."""
    return Gains(
        margins=np.concatenate([score(built.model, held.x, singly=False) for built, held in parts]),
        rows=joined([held for _, held in parts]),
    )


def _ranked(trial: Trial, arm: int, gain: NDArray[np.float64]) -> dict[str, float]:
    rows, treated = trial.against_control(arm)
    given = gain[rows], trial.outcome[rows], treated
    return {"qini": qini(*given), "auuc": auuc(*given), "uplift_at_top": uplift_at(*given, TOP)}


def _worth(trial: Trial, net: NDArray[np.float64], worth: NDArray[np.float64]) -> dict[str, Any]:
    """Return the value of taking the action that is worth most, where any is worth something."""
    best = np.where(worth.max(axis=1) > 0, worth.argmax(axis=1) + 1, 0)
    chosen = np.eye(len(trial.shares))[best]
    found = value_of(chosen, trial.arm, net, np.array(trial.shares)[trial.arm])
    shares = np.bincount(best, minlength=len(trial.shares)) / len(best)
    return {name: _value(one) for name, one in found.items()} | {"shares": [float(share) for share in shares]}


def _value(value: Value) -> dict[str, float]:
    low, high = value.interval
    return {"value": value.value, "low": low, "high": high}
