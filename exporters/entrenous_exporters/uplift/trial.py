"""A randomised test as it is learnt from, and whether it was one: nothing about a visitor may foretell the arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from threadpoolctl import threadpool_limits

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import check_float32

__all__ = ["FEWEST", "Imbalance", "Trial", "check_randomised"]

FEWEST = 100
"""The fewest rows of an arm to learn from."""
_FOLDS = 3
_MOST_ROWS = 20_000

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """Who got which arm, and what came of it. Checked when it is made.

    Attributes:
        x: float32 [N, F], the features at the moment of the draw, finite or NaN.
        outcome: float64 [N], in whatever unit the decision is to be taken in: visits, orders, money.
        arm: int64 [N], 0 the control. visitors: int64 [N], whose row it is, numbered from 0.
        shares: [A] the share of visitors that each arm was drawn for; adds up to 1.

    Raises:
        Malformed: arrays that do not fit, an outcome that is not finite or the same everywhere, an arm with fewer than
            `FEWEST` rows, shares that are no shares.
    """

    x: Floats
    outcome: NDArray[np.float64]
    arm: NDArray[np.int64]
    visitors: NDArray[np.int64]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        check_float32(self.x)
        n, arms = len(self.x), len(self.shares)
        if not (self.outcome.shape == self.arm.shape == self.visitors.shape == (n,)):
            raise Malformed("has arrays of unequal length", place="trial", remedy="give one entry a row")
        if arms < 2 or min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            what = "are not two or more positive shares that add up to 1"
            raise Malformed(what, place="trial.shares", remedy="state how the arms were drawn, the control first")
        if not np.isfinite(self.outcome).all() or not n or self.outcome.min() == self.outcome.max():
            what = "is not finite, or the same in every row"
            raise Malformed(what, place="trial.outcome", remedy="check the column and the dates")
        counts = np.bincount(self.arm, minlength=arms) if n and self.arm.min() >= 0 else np.zeros(0, int)
        if len(counts) != arms:
            raise Malformed("names an arm that has no share", place="trial.arm", remedy="number the arms from 0")
        if counts.min() < FEWEST:
            what = f"has {counts.min():,} rows of arm {counts.argmin()}, fewer than {FEWEST}"
            raise Malformed(what, place="trial.arm", remedy="let the test run on, or leave the arm out")

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Trial:
        """Return the rows that `keep` marks or numbers."""
        return Trial(
            x=self.x[keep],
            outcome=self.outcome[keep],
            arm=self.arm[keep],
            visitors=self.visitors[keep],
            shares=self.shares,
        )

    def against_control(self, arm: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which rows are of `arm` or the control, and which of those are of the arm."""
        rows = (self.arm == arm) | (self.arm == 0)
        return rows, self.arm[rows] == arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance:
    """How far the arms can be told from what is known of a visitor.

    Attributes:
        auc: of a model that guesses one arm against the control, on visitors it has not seen; for each arm but the
            control. .5 is a draw. error: its standard error under a draw.
        p_shares: two-sided probability of shares so far from the stated ones.
    """

    auc: tuple[float, ...]
    error: tuple[float, ...]
    p_shares: float


def check_randomised(trial: Trial, *, seed: int, names: Sequence[str] = ()) -> Imbalance:
    """Return how the arms compare with a draw.

    Args:
        trial: the rows. seed: of the models and the sample. names: of the features, for the error.

    Raises:
        Malformed: the arms are not what a draw gives: one can be foretold (its AUC over .5 by 5 standard errors and
            .02), or its share is not the stated one (p under 1e-6). With the figures: learning from such rows would
            take who was chosen for what the action did.
    """
    aucs, errors = [], []
    for arm in range(1, len(trial.shares)):
        auc, error = _foretold(trial, arm, seed)
        aucs.append(auc)
        errors.append(error)
        if auc > 0.5 + max(5 * error, 0.02):
            remedy = "give a test whose arms were drawn at random; " + (_telling(trial, arm, names) if names else "")
            raise Malformed(
                f"can be foretold from the features (AUC {auc:.3f}): this was no random draw",
                place=f"trial.arm: arm {arm}",
                remedy=remedy.rstrip("; "),
            )
    p_shares = _shares(trial)
    if p_shares < 1e-6:
        counts = np.bincount(trial.arm, minlength=len(trial.shares))
        stated = ", ".join(f"{share:.3f}" for share in trial.shares)
        found = ", ".join(f"{count / counts.sum():.3f}" for count in counts)
        remedy = "state the shares that were drawn, or find out what is missing from the rows"
        raise Malformed(f"are {found} of the rows, not {stated}", place="trial.shares", remedy=remedy)
    return Imbalance(auc=tuple(aucs), error=tuple(errors), p_shares=p_shares)


def _foretold(trial: Trial, arm: int, seed: int) -> tuple[float, float]:
    rows, treated = trial.against_control(arm)
    x, visitors = trial.x[rows], trial.visitors[rows]
    if len(x) > _MOST_ROWS:
        chosen = np.random.default_rng(seed).choice(len(x), _MOST_ROWS, replace=False)
        x, treated, visitors = x[chosen], treated[chosen], visitors[chosen]
    guess = np.zeros(len(x))
    with threadpool_limits(1):
        for learn, judge in GroupKFold(_FOLDS).split(x, groups=visitors):
            model = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, random_state=seed)
            guess[judge] = model.fit(x[learn], treated[learn]).predict_proba(x[judge])[:, 1]
    many, few = int(treated.sum()), int((~treated).sum())
    return float(roc_auc_score(treated, guess)), float(np.sqrt((many + few + 1) / (12 * many * few)))


def _telling(trial: Trial, arm: int, names: Sequence[str]) -> str:
    """Name the feature that differs most between the arm and the control."""
    rows, treated = trial.against_control(arm)
    x = trial.x[rows]
    apart = []
    for column in x.T:
        known = np.isfinite(column)
        spread = float(column[known].std()) if known.any() else 0.0
        means = [column[known & (treated == side)] for side in (True, False)]
        told = abs(float(means[0].mean() - means[1].mean())) / spread if spread and all(map(len, means)) else 0.0
        apart.append(max(told, abs(float(known[treated].mean() - known[~treated].mean()))))
    return f"most different: {names[int(np.argmax(apart))]}"


def _shares(trial: Trial) -> float:
    from scipy.stats import chisquare  # noqa: PLC0415 — scipy.stats takes a moment to import

    first = np.unique(trial.visitors, return_index=True)[1]  # a visitor is drawn once
    counts = np.bincount(trial.arm[first], minlength=len(trial.shares))
    return float(chisquare(counts, np.array(trial.shares) * counts.sum()).pvalue)
