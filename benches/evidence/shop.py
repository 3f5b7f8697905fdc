"""A simulated shop whose truth is known, seen through reports alone: the real cells, noise and threshold of a release.

Situations differ in which arm converts best. Tranches differ in how offers move orders, and in baskets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from entrenous import demo
from entrenous.loop.contributions import HOLDOUT, Cell
from entrenous.loop.reports import mechanism_of, noised
from entrenous_consent.policy import METRICS, Report, parse_policy
from entrenous_evaluation.cells import sums_of
from entrenous_evaluation.learning.metrics import Cells
from entrenous_evaluation.learning.promotions import Couple
from entrenous_evaluation.statistics import Noise

HELD = 0.1
"""Of visitors, in the holdout."""
STEP = 1_000
"""Minor units in a step of revenue."""

Array = NDArray[np.float64]
Below = Callable[[int], int]
Counts = dict[Cell, list[int]]

_PUBLIC = replace(
    parse_policy(demo.policy_bytes()).reports[0], epsilon=1.0, cohort=20, delta=1e-9, split={}, segments=()
)
CONVERSIONS = replace(_PUBLIC, metrics=("visitors", "converters"), clip={}, quantum=1)
"""What the situations' reports declare: two sums, epsilon 1."""
MONEY = replace(_PUBLIC, metrics=METRICS, clip={"orders": 1, "revenue": 30 * STEP}, quantum=STEP)
"""What the promotions' reports declare: all seven sums, epsilon 1."""


# Situations

ARMS = ("plain", "guide", "reassure", "shortcut")
_SITUATIONS = {
    # its share of visitors; who converts under the default arm; what each arm changes of that
    "discovering": (0.26, 0.012, (0.0, 0.20, 0.04, -0.12)),
    "comparing": (0.18, 0.025, (0.0, 0.10, 0.18, -0.05)),
    "returning": (0.14, 0.040, (0.0, -0.05, 0.06, 0.15)),
    "bargain": (0.12, 0.020, (0.0, -0.04, 0.08, 0.16)),
    "deciding": (0.10, 0.080, (0.0, -0.10, 0.05, 0.20)),
    "gift": (0.08, 0.030, (0.0, 0.22, 0.10, 0.00)),
    "support": (0.07, 0.015, (0.0, 0.05, 0.20, -0.10)),
    "loyal": (0.05, 0.100, (0.0, -0.08, -0.06, 0.10)),
}
SITUATIONS = tuple(_SITUATIONS)
PARENTS = {"gift": "discovering", "support": "discovering", "bargain": "comparing", "loyal": "deciding"}
SHARE: Array = np.array([share for share, _, _ in _SITUATIONS.values()])
TRUTH: Array = np.array([[base * (1 + lift) for lift in lifts] for _, base, lifts in _SITUATIONS.values()])
"""Conversion by situation and arm."""


def visited(chance: np.random.Generator, traffic: int, shares: Array) -> Counts:
    """Return the true sums of one round: `traffic` visitors, each situation's arms drawn by `shares` [8, 4]."""
    sums: Counts = {}
    for i, n in enumerate(chance.multinomial(traffic, SHARE)):
        split = chance.multinomial(n, [HELD, *(shares[i] * (1 - HELD))])
        for arm, k, count in zip((HOLDOUT, *ARMS), (0, *range(len(ARMS))), split, strict=True):
            sums[arm, SITUATIONS[i], ""] = [int(count), int(chance.binomial(count, TRUTH[i, k]))]
    return sums


# Promotions

GROSS_MARGIN = 0.45
TRANCHES = {
    # orders without an offer; how much an offer moves them; the usual basket, minor units
    "cold": (0.01, 1.5, 6_500),
    "warm": (0.05, 1.0, 7_000),
    "hot": (0.20, 0.06, 7_500),
}
COUPLES = {
    f"off_{amount}_from_{threshold}": Couple(threshold=threshold * 100, amount=amount * 100)
    for threshold in (40, 60, 80, 120)
    for amount in (5, 10, 15, 20)
}
OFFERS = ("none", *COUPLES)
_BASKETS: Array = np.arange(1.0, 31.0) * STEP
_REACHED = 0.35
"""Of baskets up to two steps under a threshold, those that grow to it."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What visitors of a tranche do under an offer: who orders, how baskets are spread, what an order costs."""

    orders: float
    baskets: Array
    cost: float

    @property
    def margin(self) -> float:
        """Expected of a visitor, minor units."""
        return float(self.orders * (GROSS_MARGIN * (self.baskets @ _BASKETS) - self.cost))


def _behaviour(tranche: str, arm: str) -> Behaviour:
    base, eager, usual = TRANCHES[tranche]
    spread = np.exp(-0.5 * (np.log(_BASKETS / usual) / 0.6) ** 2)
    baskets = spread / spread.sum()
    if arm == "none":
        return Behaviour(base, baskets, 0.0)
    couple = COUPLES[arm]
    near = (couple.threshold > _BASKETS) & (couple.threshold - _BASKETS <= 2 * STEP)
    grown = _REACHED * baskets * near
    baskets = baskets - grown
    baskets[couple.threshold // STEP - 1] += grown.sum()
    noticed = couple.amount**2 / (couple.amount**2 + 900.0**2)
    within_reach = np.exp(-0.5 * (couple.threshold / (1.1 * usual)) ** 2)
    redeemed = baskets[couple.threshold <= _BASKETS].sum()
    return Behaviour(base * (1 + eager * noticed * within_reach), baskets, float(couple.amount * redeemed))


BEHAVIOUR = {(tranche, arm): _behaviour(tranche, arm) for tranche in TRANCHES for arm in OFFERS}
PER_ORDER = {
    arm: sum(BEHAVIOUR[one, arm].orders * BEHAVIOUR[one, arm].cost for one in TRANCHES)
    / sum(BEHAVIOUR[one, arm].orders for one in TRANCHES)
    for arm in COUPLES
}
"""What an order of each arm costs on average over the shop: its books know who redeemed, not in which tranche."""


def gain(tranche: str, arm: str) -> float:
    """Return the true incremental margin of an offer, after its cost."""
    return BEHAVIOUR[tranche, arm].margin - BEHAVIOUR[tranche, "none"].margin


def promoted(chance: np.random.Generator, visitors: int, arms: Sequence[str]) -> Counts:
    """Return the true sums of a test of `visitors` in each tranche, evenly over `arms` beside the holdout."""
    sums: Counts = {}
    for tranche in TRANCHES:
        held = round(visitors * HELD)
        for arm, count in ((HOLDOUT, held), *((arm, (visitors - held) // len(arms)) for arm in arms)):
            behaviour = BEHAVIOUR[tranche, "none" if arm == HOLDOUT else arm]
            orders = int(chance.binomial(count, behaviour.orders))
            baskets = chance.multinomial(orders, behaviour.baskets)
            steps = np.arange(1, 31)
            revenue, squares = int(baskets @ steps), int(baskets @ steps**2)
            sums[arm, tranche, ""] = [count, orders, orders, orders, revenue, squares, revenue]
    return sums


# Reports


def reported(sums: Counts, report: Report, below: Below) -> Cells:
    """Return what a release shows of true sums: noised, nothing under the threshold."""
    mechanism = mechanism_of(report)
    shown = noised(sums, sums, mechanism, below)
    return {
        (tranche, arm): sums_of(report.metrics, mechanism, values)
        for (arm, tranche, _), values in shown.items()
        if values is not None
    }


def clear(sums: Counts, report: Report) -> Cells:
    """Return true sums as no release shows them, for comparison."""
    mechanism = mechanism_of(report)
    return {
        (tranche, arm): replace(sums_of(report.metrics, mechanism, values), noise=Noise())
        for (arm, tranche, _), values in sums.items()
    }
