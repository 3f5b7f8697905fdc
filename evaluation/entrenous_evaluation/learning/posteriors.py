"""Posteriors of every (tranche, arm) from the noised sums of reports and from what an earlier manifest knew.

What is learnt is how arms differ within a tranche; `effects` states the model and its sources. Two ways lead there:

- *From all rounds of reports*, each forgotten a little more for every round that came after it. Tranches borrow from
  their parents and from everyone.
- *From an earlier manifest's posteriors* and the rounds since. What tranches lent each other is in those already, and
  borrowing anew would count it twice: a tranche that a manifest knew stands alone from then on, and only one that it
  did not know borrows.

What is told is a mean and a deviation an arm, in the metric's unit, to be read as independent normals. Deviations are
those of independent arms whose differences vary as the true ones do (least squares; exactly for up to three arms), for
differences are all that shares rest on. The means stand on the
tranche's level over the rounds, weighted like them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from entrenous_evaluation.learning.effects import EVERYONE, Effects, Evidence, evidence_of, infer, order
from entrenous_evaluation.learning.metrics import FINEST, Measured
from entrenous_evaluation.learning.shares import Posterior
from entrenous_evaluation.statistics import Estimate

__all__ = ["Learnt", "Memory", "learn"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is known from before.

    Attributes:
        prior: by tranche, then arm, an earlier manifest's posteriors; empty where all rounds are at hand.
        forgetting: what a round, or the prior of an arm that was measured again, keeps of its weight for each round
            that came after it; above 0, 1 for nothing forgotten. kinship: of arms, see `effects`; None for none.
    """

    prior: Mapping[str, Mapping[str, Posterior]]
    forgetting: float
    kinship: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What is known now.

    Attributes:
        posteriors: by tranche, then arm. effects: by tranche, of all arms by place, with the covariance of each pair.
        measured: in how many cells of the last round each tranche's arms were measured.
    """

    posteriors: Mapping[str, Mapping[str, Posterior]]
    effects: Mapping[str, Effects]
    measured: Mapping[str, int]


def learn(
    measured: Measured, tranches: Sequence[str], arms: Sequence[str], parents: Mapping[str, str], memory: Memory
) -> Learnt:
    """Return posteriors of every arm in every tranche.

    A cell that was not measured leaves what its tranche's other arms have over it as it was, but for what is forgotten
    of those that were. A tranche without any measured cell keeps its prior, to the bit.

    Args:
        measured: oldest round first. parents: of the tranches that have one.

    Raises:
        ValueError: a parent is no tranche, or is its own ancestor.
    """
    known = {tranche: _bounded(prior, FINEST * measured.unit) for tranche, prior in memory.prior.items() if prior}
    rounds = {tranche: [_of(cells, tranche, arms) for cells in measured.rounds] for tranche in tranches}
    evidence, tops = {}, {}
    for tranche in order(tranches, parents):
        evidence[tranche] = _evidence(rounds[tranche], len(arms), memory.forgetting)
        if tranche in known:
            evidence[tranche] += _remembered(known[tranche], arms, rounds[tranche], memory.forgetting)
            tops[tranche] = _alone(known[tranche], arms) / measured.unit**2
    kinship = np.eye(len(arms)) if memory.kinship is None else memory.kinship
    effects = infer(evidence, parents, unit=measured.unit, kinship=kinship, tops=tops)
    everyone = [
        [one for tranche in tranches for one in _without(rounds[tranche][i], effects[tranche])]
        for i in range(len(measured.rounds))
    ]
    levels = {EVERYONE: _level(everyone, memory.forgetting)}
    posteriors: dict[str, Mapping[str, Posterior]] = {}
    for tranche in evidence:
        effect, prior = effects[tranche], memory.prior.get(tranche, {})
        if not any(rounds[tranche]) and prior.keys() >= set(arms):
            posteriors[tranche] = {arm: prior[arm] for arm in arms}
            levels[tranche] = float(np.mean([prior[arm][0] for arm in arms]))
            continue
        before = {
            arms.index(arm): Estimate(mean, s**2) for arm, (mean, s) in known.get(tranche, {}).items() if arm in arms
        }
        found = [_without(means, effect) for means in (before, *rounds[tranche])]
        levels[tranche] = _level(found, memory.forgetting) if any(found) else levels[parents.get(tranche, EVERYONE)]
        deviations = _deviations(effect.covariance, FINEST * measured.unit)
        posteriors[tranche] = {
            arm: (levels[tranche] + float(effect.mean[i]), deviations[i]) for i, arm in enumerate(arms)
        }
    return Learnt(
        posteriors={tranche: posteriors[tranche] for tranche in tranches},
        effects={tranche: effects[tranche] for tranche in tranches},
        measured={tranche: len(rounds[tranche][-1]) if rounds[tranche] else 0 for tranche in tranches},
    )


def _bounded(prior: Mapping[str, Posterior], least: float) -> dict[str, Posterior]:
    return {arm: (mean, max(deviation, least)) for arm, (mean, deviation) in prior.items()}


def _evidence(rounds: Sequence[Mapping[int, Estimate]], arms: int, forgetting: float) -> Evidence:
    found = Evidence(np.zeros((arms, arms)), np.zeros(arms))
    for age, means in enumerate(reversed(rounds)):
        found += evidence_of(means, arms, forgetting**age)
    return found


def _alone(prior: Mapping[str, Posterior], arms: Sequence[str]) -> Array:
    """Return the precision of what stands beside a prior: of arms that it does not know, and of the shared level."""
    unknown = np.array([arm not in prior for arm in arms], float)
    return np.diag(unknown) + np.ones((len(arms), len(arms))) / len(arms)


def _of(cells: Mapping[tuple[str, str], Estimate], tranche: str, arms: Sequence[str]) -> dict[int, Estimate]:
    return {i: cells[tranche, arm] for i, arm in enumerate(arms) if (tranche, arm) in cells}


def _remembered(
    prior: Mapping[str, Posterior], arms: Sequence[str], rounds: Sequence[Mapping[int, Estimate]], forgetting: float
) -> Evidence:
    """Return what the prior says of differences; an arm's is forgotten for each round that measured it again."""
    kept = {}
    for i, arm in enumerate(arms):
        if arm in prior:
            again = sum(i in means and len(means) > 1 for means in rounds)
            kept[i] = Estimate(prior[arm][0], prior[arm][1] ** 2 / forgetting**again)
    return evidence_of(kept, len(arms))


def _without(means: Mapping[int, Estimate], effects: Effects) -> list[Estimate]:
    return [Estimate(one.value - float(effects.mean[i]), one.variance) for i, one in means.items()]


def _level(rounds: Sequence[Sequence[Estimate]], forgetting: float) -> float:
    """Return the mean of all rounds, weighted by precision and age; 0 for none."""
    weighed = [
        (forgetting**age / one.variance, one.value) for age, found in enumerate(reversed(rounds)) for one in found
    ]
    weight = sum(w for w, _ in weighed)
    return sum(w * value for w, value in weighed) / weight if weight else 0.0


def _deviations(covariance: Array, least: float) -> list[float]:
    """Return deviations of independent arms whose differences vary as those of this covariance do, as nearly as can be.

    Minimises Σ (s_a² + s_b² − D_ab)² over pairs. For three arms or more the solution is
    s_a² = (Σ_b D_ab − Σ_pairs D/(A − 1))/(A − 2); two arms share alike what they have.
    """
    size = len(covariance)
    if size == 1:
        return [max(sqrt(covariance[0, 0]), least)]
    apart = np.add.outer(np.diag(covariance), np.diag(covariance)) - 2 * covariance
    if size == 2:
        return [max(sqrt(max(apart[0, 1], 0.0) / 2), least)] * 2
    total = sum(apart[i, k] for i, k in combinations(range(size), 2))
    squares = (apart.sum(axis=1) - total / (size - 1)) / (size - 2)
    return [sqrt(max(float(one), least**2)) for one in squares]
