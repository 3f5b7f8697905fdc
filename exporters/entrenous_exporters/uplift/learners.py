"""T-, X- and DR-learners out of regression trees: each gives one margin an arm, what it adds over the control.

The outcome is regressed as it is, a visit as 0 or 1. A difference of regressions is then a sum of trees, and so are the
weighted ones of the X-learner (Künzel et al., PNAS 2019) and the single one of the DR-learner (Kennedy, 2023): whatever
was learnt ships as one exact tree node, in the outcome's own unit, and a cost can be subtracted from it.

Each tree is held to *k* distinct visitors among the rows that it was grown on, the arm's own for the T-learner, before
anything is added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from entrenous_consent.errors import Malformed
from entrenous_exporters.learners import fit_regression
from entrenous_exporters.spec import METHODS, Learner
from entrenous_exporters.trees import (
    Column,
    Ensemble,
    adversarial_rows,
    assemble,
    check_library,
    extract,
    finest_step,
    least_support,
    library_margins,
    on_grid,
    protect,
    weighted,
)
from entrenous_exporters.trees.reference import margin_of
from entrenous_exporters.uplift.trial import Trial

__all__ = ["METHODS", "Uplift", "fit_uplift"]

_PARTS = 5
_COMPARED = 1_000

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Uplift:
    """What was learnt.

    Attributes:
        ensemble: on its grid, one column for each arm but the control: what the arm adds, in the outcome's unit.
        least_support: the fewest distinct visitors under any leaf.
        library_rows: how many rows each regression was compared on with the library's own answer, before anything was
            changed on purpose; library_distance: the largest distance found.
    """

    ensemble: Ensemble
    least_support: int
    library_rows: int
    library_distance: float


def fit_uplift(trial: Trial, learner: Learner, *, method: str, positions: Sequence[int] | None = None) -> Uplift:
    """Return what each arm adds over the control, by `method`.

    Args:
        trial: a randomised test (see `check_randomised`). method: one of `METHODS`.
        learner: one that boosts; its seed also draws the parts that the DR-learner is fitted in.
        positions: the columns that may be read; all by default. The others are as if they were not there.

    Raises:
        Malformed: an unknown method, no column, or fewer than `k` visitors in an arm.
    """
    if method not in METHODS:
        raise Malformed("is not a method we know", place="method", remedy="use one of: " + ", ".join(METHODS))
    grown = _Grown(trial, learner, list(range(trial.x.shape[1])) if positions is None else list(positions))
    if not grown.positions:
        raise Malformed("has no feature to learn from", place="positions", remedy="name at least one")
    fit = {"dr": grown.doubly_robust, "t": grown.two_models, "x": grown.crossed}[method]
    columns = [fit(arm) for arm in range(1, len(trial.shares))]
    return Uplift(
        ensemble=on_grid(assemble(columns, trial.x.shape[1])),
        least_support=min(grown.supports),
        library_rows=_COMPARED,
        library_distance=max(grown.distances),
    )


class _Grown:
    """Grows protected regressions over one trial, and remembers the least support met."""

    def __init__(self, trial: Trial, learner: Learner, positions: list[int]) -> None:
        self.trial, self.learner, self.positions = trial, learner, positions
        self.supports: list[int] = []
        self.distances: list[float] = []
        self._means: dict[int, Column] = {}

    def regression(self, rows: NDArray[np.bool_] | NDArray[np.int64], target: Values) -> Column:
        """Return a column that foretells `target` [n], grown on and held to the visitors of these rows."""
        x = self.trial.x[rows]
        model = fit_regression(self.learner, x[:, self.positions], target)
        width, visitors = self.trial.x.shape[1], self.trial.visitors[rows]
        plain = assemble([extract(model, self.positions, width)], width)
        hostile = adversarial_rows(plain, x, _COMPARED, self.learner.seed, infinite=False)
        own = library_margins(model, hostile, self.positions)[:, None]
        self.distances.append(check_library(on_grid(plain, finest_step(plain)), hostile, own))
        safe = protect(plain, x, visitors, self.learner.k)
        self.supports.append(least_support(safe, x, visitors))
        return safe.columns[0]

    def mean(self, arm: int) -> Column:
        """Return what is to be expected of an arm, grown on its rows alone."""
        if arm not in self._means:
            mine = self.trial.arm == arm
            self._means[arm] = self.regression(mine, self.trial.outcome[mine])
        return self._means[arm]

    def two_models(self, arm: int) -> Column:
        return weighted([(1.0, self.mean(arm)), (-1.0, self.mean(0))])

    def crossed(self, arm: int) -> Column:
        """What the arm's rows show against the control's model, and the control's against the arm's."""
        trial = self.trial
        treated, control = trial.arm == arm, trial.arm == 0
        gained = trial.outcome[treated] - margin_of(self.mean(0), trial.x[treated])
        missed = margin_of(self.mean(arm), trial.x[control]) - trial.outcome[control]
        share = trial.shares[arm] / (trial.shares[arm] + trial.shares[0])
        return weighted([(1 - share, self.regression(treated, gained)), (share, self.regression(control, missed))])

    def doubly_robust(self, arm: int) -> Column:
        """One regression on what each row says of the difference, the means fitted without the row's visitor."""
        trial = self.trial
        rows, treated = trial.against_control(arm)
        outcome, visitors = trial.outcome[rows], trial.visitors[rows]
        numbers, share = np.flatnonzero(rows), trial.shares[arm] / (trial.shares[arm] + trial.shares[0])
        said = np.zeros(len(outcome))
        parts = GroupKFold(_PARTS, shuffle=True, random_state=self.learner.seed)
        for learn, judge in parts.split(numbers, groups=visitors):
            own = _Grown(trial, self.learner, self.positions)
            sides = [
                margin_of(own.regression(numbers[learn][side], outcome[learn][side]), trial.x[numbers[judge]])
                for side in (treated[learn], ~treated[learn])
            ]
            with_, without = sides
            took = treated[judge]
            said[judge] = (
                with_
                - without
                + np.where(took, (outcome[judge] - with_) / share, (without - outcome[judge]) / (1 - share))
            )
        return self.regression(rows, said)
