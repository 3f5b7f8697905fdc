"""What tells arms apart in each tranche, and how much of it is borrowed from tranches above: one Gaussian tree.

In tranche t and round r an arm brings a visitor ``level[t, r] + effect[t, arm]``. The level of every round is its own,
and nothing is assumed of it: a season that moves all arms moves no effect, and an arm that was shown often in a good
month gains nothing by that. So only differences between arms of one tranche and round inform the effects. With w the
inverse variances of the arms' means m there, m̄ their mean weighted by w, and the level integrated out::

    precision  diag(w) − w·w'/Σw        information  w·(m − m̄)

Rounds add up. A tranche's effects lie about its parent's, those of a tranche without a parent about everyone's::

    effect[t] ~ Normal(effect[parent], τ²·K)        everyone's ~ Normal(0, κ²·K)

K is the kinship of arms: the identity, unless arms are known to resemble each other. Messages to the parents and back
are exact on a tree (Pearl 1988; Lauritzen and Spiegelhalter 1988). How far tranches differ, τ, is not chosen but
averaged over a grid by its posterior weight under a half-normal prior (Gelman 2006, "Prior distributions for variance
parameters in hierarchical models"): with little data its likeliest value would be 0, which says that all are alike.
This is the normal-normal hierarchy of Efron and Morris (1973) and Gelman et al., "Bayesian Data Analysis", 5.4-5.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entrenous_evaluation.statistics import Estimate

__all__ = ["EVERYONE", "Effects", "Evidence", "Tops", "evidence_of", "infer", "order"]

EVERYONE = ""
"""The node above all tranches."""

_WIDEST = 0.5
"""κ, of what a visitor brings on average: an arm rarely changes it by more than itself."""
_USUAL = 0.2
"""Of the same: the scale of the half-normal prior of τ."""

Array = NDArray[np.float64]

_GRID: Array = np.geomspace(0.005, 1.0, 12)
"""τ, of the same."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a tranche's own cells say of its arms, up to a level: precision [A, A] and information [A]."""

    precision: Array
    information: Array

    def __add__(self, other: Evidence) -> Evidence:
        """Return what both say, of different visitors."""
        return Evidence(self.precision + other.precision, self.information + other.information)


@dataclass(frozen=True, slots=True)
class Effects:
    """A tranche's effects: their mean [A] and covariance [A, A]; only differences between arms mean anything."""

    mean: Array
    covariance: Array

    def difference(self, one: int, other: int) -> Estimate:
        """Return by how much one arm brings more than another, with its variance."""
        c = self.covariance
        return Estimate(
            float(self.mean[one] - self.mean[other]),
            max(float(c[one, one] + c[other, other] - 2 * c[one, other]), 0.0),
        )


Tops = Mapping[str, Array]
"""Tranches that stand on what is known of them already and borrow nothing: their prior precision beside it, [A, A]."""


def evidence_of(means: Mapping[int, Estimate], arms: int, weight: float = 1.0) -> Evidence:
    """Return what one tranche's means of one round say of its arms.

    Args:
        means: by the arm's place, each with a variance above 0. arms: how many there are. weight: of this round, 1 for
            as it is, less for one that is partly forgotten.
    """
    w, m = np.zeros(arms), np.zeros(arms)
    for arm, estimate in means.items():
        w[arm], m[arm] = weight / estimate.variance, estimate.value
    total = w.sum()
    if np.count_nonzero(w) < 2:
        return Evidence(np.zeros((arms, arms)), np.zeros(arms))
    return Evidence(np.diag(w) - np.outer(w, w) / total, w * (m - w @ m / total))


def order(tranches: Sequence[str], parents: Mapping[str, str]) -> tuple[str, ...]:
    """Return tranches so that every parent stands before its children.

    Args:
        parents: of the tranches that have one.

    Raises:
        ValueError: a parent is no tranche, or is its own ancestor.
    """
    placed: dict[str, None] = {}
    while len(placed) < len(tranches):
        found = [one for one in tranches if one not in placed and (one not in parents or parents[one] in placed)]
        if not found:
            raise ValueError("a parent is no tranche, or is its own ancestor")
        placed.update(dict.fromkeys(found))
    return tuple(placed)


def infer(
    evidence: Mapping[str, Evidence], parents: Mapping[str, str], *, unit: float, kinship: Array, tops: Tops
) -> dict[str, Effects]:
    """Return the effects of each tranche's arms.

    Args:
        evidence: by tranche, parents first (`order`). parents: of the tranches that have one.
        unit: what a visitor brings on average, above 0: the scale that effects are judged on. kinship: K, [A, A].
        tops: see `Tops`.
    """
    spread = (_GRID * unit) ** 2
    g = spread[:, None, None] * kinship
    eye = np.eye(len(kinship))
    nodes = [EVERYONE, *evidence]
    above = {name: parents.get(name, EVERYONE) for name in evidence if name not in tops}
    j = {EVERYONE: np.zeros_like(g)} | {name: one.precision + np.zeros_like(g) for name, one in evidence.items()}
    h = {EVERYONE: np.zeros(g.shape[:2])} | {
        name: one.information + np.zeros(g.shape[:2]) for name, one in evidence.items()
    }
    weight: Array = np.log(_GRID) - _GRID**2 / (2 * _USUAL**2)
    gain: dict[str, Array] = {}
    own: dict[str, Array] = {}
    for name in reversed(nodes):
        if name in above:
            gain[name] = _inverse(eye + g @ j[name])
            own[name] = gain[name] @ g
            weight = weight + _evidence(eye + g @ j[name], own[name], h[name])
            j[above[name]] = j[above[name]] + j[name] @ gain[name]
            h[above[name]] = h[above[name]] + _times(gain[name].transpose(0, 2, 1), h[name])
    found: dict[str, tuple[Array, Array]] = {}
    wide = (_WIDEST * unit) ** 2 * kinship
    for name in nodes:
        if name in above:
            mean, covariance = found[above[name]]
            found[name] = (
                _times(gain[name], mean) + _times(own[name], h[name]),
                own[name] + gain[name] @ covariance @ gain[name].transpose(0, 2, 1),
            )
        elif name in tops:
            alone = _inverse(j[name] + tops[name])
            found[name] = (_times(alone, h[name]), alone)
        else:
            widest = _inverse(eye + wide @ j[name]) @ wide
            weight = weight + _evidence(eye + wide @ j[name], widest, h[name])
            found[name] = (_times(widest, h[name]), widest)
    shares: Array = np.exp(weight - weight.max())
    shares = np.asarray(shares / shares.sum(), dtype=np.float64)
    return {name: _averaged(shares, *found[name]) for name in evidence}


def _inverse(matrices: Array) -> Array:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def _times(matrices: Array, vectors: Array) -> Array:
    return np.asarray(np.einsum("kab,kb->ka", matrices, vectors))


def _evidence(ratio: Array, covariance: Array, information: Array) -> Array:
    """Return the logarithm of what integrating a node out leaves, for each τ."""
    return np.asarray(
        0.5 * np.einsum("ka,kab,kb->k", information, covariance, information) - 0.5 * np.linalg.slogdet(ratio)[1]
    )


def _averaged(shares: Array, mean: Array, covariance: Array) -> Effects:
    """Return the moments of a mixture."""
    middle = shares @ mean
    away = mean - middle
    return Effects(middle, np.einsum("k,kab->ab", shares, covariance + away[:, :, None] * away[:, None, :]))
