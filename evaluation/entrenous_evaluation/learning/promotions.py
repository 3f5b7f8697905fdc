"""Offers: for each tranche the couple (threshold, amount) that earns most after its cost, or none; tested, then run.

*Test*: the offers that the guards allow, and no offer, evenly. *Run*: the best of them. A tranche changes from one to
the other once the loss that is still expected from taking the best now is small (the value of going on, as in Raiffa
and Schlaifer 1961); it is bounded from above by adding up every rival's expected lead::

    loss ≤ Σ E[max(θ_arm − θ_best, 0)] = Σ s·(φ(d/s) + d/s·Φ(d/s))      d, s: mean and deviation of the difference

Guards bind whatever the sums say:

- An offer must leave the least margin on the smallest order that it applies to.
- What offers may cost while the proposal stands, at the upper end of what is known of orders, stays within the budget:
  the tranches where it returns least give way first.
- Generosity (amount over threshold) does not rise with the likelihood, from one tranche to the next: who would buy
  anyway is not paid for it. It does where the data says so with the stated confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from entrenous_consent.pseudonyms import BUCKETS
from entrenous_evaluation.learning.effects import Effects
from entrenous_evaluation.learning.shares import shares_of
from entrenous_evaluation.statistics import Estimate
from entrenous_evaluation.statistics.quantiles import critical

__all__ = [
    "PHASES",
    "Bill",
    "Couple",
    "Guards",
    "Plan",
    "Trial",
    "allowed",
    "expected_loss",
    "kinship_of",
    "plan",
    "within_budget",
]

PHASES = ("test", "run")

_ALIKE = 0.5
"""How much of what offers do all of them do alike; the rest fades with their distance."""
_FAR = 0.7
"""A distance: the logarithm of a factor of two in threshold or amount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Couple:
    """An offer: `amount` off an order of at least `threshold`, minor units, both above 0."""

    threshold: int
    amount: int

    @property
    def generosity(self) -> float:
        """What part of the smallest order it takes off."""
        return self.amount / self.threshold

    def margin(self, gross_margin: float) -> float:
        """Return what is left of the smallest order, as a part of what is paid; minus infinity where nothing is."""
        paid = self.threshold - self.amount
        return (gross_margin * self.threshold - self.amount) / paid if paid > 0 else -float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What no learning overrides.

    Attributes:
        least_margin: of what is paid for an order. gross_margin: of an order before the offer. budget: minor units that
            offers may cost while the proposal stands, None for no bound. most_orders: that one visitor is granted an
            offer for. confidence: for what the data says otherwise.
        tolerance: the loss at which a test ends, as a part of what a visitor of the tranche brings.
    """

    least_margin: float
    gross_margin: float
    budget: float | None = None
    most_orders: float = 1.0
    confidence: float = 0.95
    tolerance: float = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a tranche may cost.

    Attributes:
        visitors: how many are expected while the proposal stands. costs: by arm, the most that each of its visitors is
            expected to cost.
    """

    visitors: float
    costs: Mapping[str, float]

    def total(self, shares: Mapping[str, int]) -> float:
        """Return what so many of each arm may cost, minor units."""
        return self.visitors * sum(share / BUCKETS * self.costs[arm] for arm, share in shares.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One tranche on trial: the effects of all arms by place, what a visitor without an offer brings, and the bill."""

    effects: Effects
    level: float
    bill: Bill


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is proposed for a promotion.

    Attributes:
        choice: by tranche, the share of each arm. phases: by tranche. best: by tranche, the arm that earns most within
            the guards. gains: by tranche, what it earns a visitor over no offer. withheld: offers that would leave too
            little. cheaper: tranches whose offers the budget made fewer. released: tranches that are more generous than
            the one before because the data says so.
    """

    choice: Mapping[str, Mapping[str, int]]
    phases: Mapping[str, str]
    best: Mapping[str, str]
    gains: Mapping[str, Estimate]
    withheld: tuple[str, ...]
    cheaper: tuple[str, ...]
    released: tuple[str, ...]


def allowed(couples: Mapping[str, Couple], guards: Guards) -> tuple[str, ...]:
    """Return the offers that leave the least margin."""
    return tuple(arm for arm, couple in couples.items() if couple.margin(guards.gross_margin) >= guards.least_margin)


def kinship_of(arms: Sequence[str], couples: Mapping[str, Couple]) -> NDArray[np.float64]:
    """Return how alike arms are expected to do: offers the more, the nearer their thresholds and amounts."""
    places = [(log(couples[arm].threshold), log(couples[arm].amount)) if arm in couples else None for arm in arms]
    kinship = np.eye(len(arms))
    for (i, one), (k, other) in product(enumerate(places), repeat=2):
        if one is not None and other is not None:
            square = sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
            kinship[i, k] = _ALIKE + (1 - _ALIKE) * np.exp(-square / (2 * _FAR**2))
    return kinship


def expected_loss(effects: Effects, best: int, rivals: Sequence[int]) -> float:
    """Return a bound of what taking `best` now is expected to lose against knowing the truth."""
    total = 0.0
    for rival in rivals:
        lead = effects.difference(rival, best)
        if rival != best and lead.variance > 0:
            deviation = sqrt(lead.variance)
            z = lead.value / deviation
            total += deviation * float(np.exp(-z * z / 2) / np.sqrt(2 * np.pi) + z * ndtr(z))
    return total


def plan(
    arms: Sequence[str], trials: Mapping[str, Trial], couples: Mapping[str, Couple], guards: Guards, floor: int
) -> Plan:
    """Return what each tranche should get.

    Args:
        arms: in the order of the effects, no offer first. trials: by tranche, from the least likely to buy to the most.
        couples: of the arms that make an offer. floor: the least share of an arm that may be shown, of 10,000; the
            budget goes before it.
    """
    none = arms[0]
    fit = allowed(couples, guards)
    usable = tuple(arm for arm in arms if arm in fit or arm not in couples)
    places = [arms.index(arm) for arm in usable]
    generosity = {arm: couples[arm].generosity if arm in couples else 0.0 for arm in usable}
    first = {tranche: usable[int(np.argmax(trial.effects.mean[places]))] for tranche, trial in trials.items()}
    phases = {
        tranche: "run"
        if expected_loss(trial.effects, arms.index(first[tranche]), places) <= guards.tolerance * max(trial.level, 0.0)
        else "test"
        for tranche, trial in trials.items()
    }
    running = [tranche for tranche in trials if phases[tranche] == "run"]
    ladder = _Ladder(trials, tuple(arms), generosity, guards.confidence)
    released = tuple(upper for lower, upper in pairwise(running) if ladder.released(lower, upper))
    best = first | ladder.climb(running, released)
    choice = {}
    for tranche in trials:
        if phases[tranche] == "test":
            wanted = dict.fromkeys(usable, 1 / len(usable))
        else:
            wanted = {arm: float(arm == best[tranche]) for arm in usable}
        choice[tranche] = {arm: share for arm, share in shares_of(wanted, floor).items() if share}
    gains = {
        tranche: trial.effects.difference(arms.index(best[tranche]), arms.index(none))
        for tranche, trial in trials.items()
    }
    bills = {tranche: trial.bill for tranche, trial in trials.items()}
    earned = {tranche: bills[tranche].visitors * gain.value for tranche, gain in gains.items()}
    within, cheaper = within_budget(choice, bills, earned, none, guards.budget)
    return Plan(
        choice=within,
        phases=phases,
        best=best,
        gains=gains,
        withheld=tuple(arm for arm in couples if arm not in usable),
        cheaper=cheaper,
        released=released,
    )


@dataclass(frozen=True, slots=True)
class _Ladder:
    """Tranches in a row, and how generous each may be."""

    trials: Mapping[str, Trial]
    arms: tuple[str, ...]
    generosity: Mapping[str, float]
    confidence: float

    def released(self, lower: str, upper: str) -> bool:
        """Say whether the data tells, with confidence, that the likelier tranche deserves the more generous offer."""
        free = self.climb([lower, upper], (upper,))
        held = self.climb([lower, upper], ())
        value = variance = 0.0
        for tranche in (lower, upper):
            trial = self.trials[tranche]
            lead = trial.effects.difference(self.arms.index(free[tranche]), self.arms.index(held[tranche]))
            value += trial.bill.visitors * lead.value
            variance += trial.bill.visitors**2 * lead.variance
        return value > 0 and value >= critical(self.confidence) * sqrt(variance)

    def climb(self, tranches: Sequence[str], released: Sequence[str]) -> dict[str, str]:
        """Return the arms that earn most together, generosity falling but where it is released; by dynamic programming.

        Of equals, the least generous.
        """
        order = sorted(self.generosity, key=lambda arm: self.generosity[arm])
        paths: dict[str, tuple[float, tuple[str, ...]]] = {}
        for tranche in tranches:
            trial = self.trials[tranche]
            following = {}
            for arm in order:
                free = tranche in released or not paths
                before = [path for last, path in paths.items() if free or self.generosity[last] >= self.generosity[arm]]
                total, path = max(before, key=lambda one: one[0], default=(0.0, ()))
                gain = trial.bill.visitors * float(trial.effects.mean[self.arms.index(arm)])
                following[arm] = (total + gain, (*path, arm))
            paths = following
        best = max(paths.values(), key=lambda one: one[0], default=(0.0, ()))[1]
        return dict(zip(tranches, best, strict=True))


def within_budget(
    choice: Mapping[str, Mapping[str, int]],
    bills: Mapping[str, Bill],
    earned: Mapping[str, float],
    none: str,
    budget: float | None,
) -> tuple[dict[str, Mapping[str, int]], tuple[str, ...]]:
    """Return the choice with as many offers as the budget pays for, and which tranches gave way.

    Args:
        earned: by tranche, what its offers bring: where they return least they give way first. none: the arm without an
            offer, which costs nothing. budget: minor units, None for no bound.
    """
    found = dict(choice)
    if budget is None:
        return found, ()
    spent = {tranche: bills[tranche].total(shares) for tranche, shares in choice.items()}
    over, cheaper = sum(spent.values()) - budget, []
    for tranche in sorted((one for one in spent if spent[one] > 0), key=lambda one: earned[one] / spent[one]):
        if over <= 0:
            break
        kept = max(0.0, 1 - over / spent[tranche])
        fewer = {arm: int(share * kept) for arm, share in choice[tranche].items() if arm != none}
        shares = {none: BUCKETS - sum(fewer.values())} | fewer
        found[tranche] = {arm: share for arm, share in shares.items() if share}
        over -= spent[tranche] - bills[tranche].total(found[tranche])
        cheaper.append(tranche)
    return found, tuple(cheaper)
