"""`make evidence`: learning from noised reports alone, in a simulated shop whose truth is known.

Writes `docs/evidence/learning.md`, `learning.svg`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from random import Random
from textwrap import fill

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from benches.evidence import shop
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import t as student

from entrenous_evaluation.answer import parse_costs
from entrenous_evaluation.learning.metrics import Cells, Metric
from entrenous_evaluation.learning.promotions import Guards, allowed
from entrenous_evaluation.learning.proposal import Decision, Settings, propose

FOLDER = Path("docs/evidence")
ROUNDS = 30
SEEDS = range(100, 120)
TRAFFICS = (3_000, 10_000, 30_000, 100_000)
WAYS = ("noised", "clear", "manifest")
"""All noised reports since the start; the same without noise and threshold; the last manifest and the last report."""
FLOOR = 100
PROMOTION_SEEDS = range(100, 140)
VISITORS = (300_000, 1_000_000, 3_000_000, 10_000_000)
NEAR = 0.05
GUARDS = Guards(least_margin=0.15, gross_margin=shop.GROSS_MARGIN)

Array = NDArray[np.float64]

_SITUATIONS = Settings(
    metric=Metric(name="conversion", costs=parse_costs({})), guards=Guards(least_margin=0, gross_margin=1), floor=FLOOR
)
_PROMOTIONS = Settings(
    metric=Metric(
        name="margin",
        costs=parse_costs(
            {
                "gross_margin": shop.GROSS_MARGIN,
                "arms": {arm: {"per_order": cost} for arm, cost in shop.PER_ORDER.items()},
            }
        ),
    ),
    guards=GUARDS,
    floor=0,
)


def regrets(traffic: int, seed: int, way: str) -> Array:
    """Return each round's expected regret against the oracle, as a share of what the oracle converts."""
    chance, below = np.random.default_rng([seed, traffic]), Random(seed).randrange
    decision = Decision(
        name="landing",
        tranches=shop.SITUATIONS,
        arms=shop.ARMS,
        default_arm=shop.ARMS[0],
        choice={one: dict.fromkeys(shop.ARMS, 2_500) for one in shop.SITUATIONS},
        posteriors={},
        parents=shop.PARENTS,
        couples={},
    )
    seen: list[Cells] = []
    found = []
    for _ in range(ROUNDS):
        shares = np.array([[decision.choice[one].get(arm, 0) / 10_000 for arm in shop.ARMS] for one in shop.SITUATIONS])
        found.append(float(shop.SHARE @ (shop.TRUTH.max(axis=1) - (shop.TRUTH * shares).sum(axis=1))))
        sums = shop.visited(chance, traffic, shares)
        shown = shop.clear(sums, shop.CONVERSIONS) if way == "clear" else shop.reported(sums, shop.CONVERSIONS, below)
        seen = [shown] if way == "manifest" else [*seen, shown]
        proposal = propose(decision, seen, _SITUATIONS)
        posteriors = proposal.posteriors if way == "manifest" else {}
        decision = replace(decision, choice=proposal.choice, posteriors=posteriors)
    return np.array(found) / oracle()


def _lives(key: tuple[int, str]) -> Array:
    traffic, way = key
    return np.array([regrets(traffic, seed, way) for seed in SEEDS])


def oracle() -> float:
    """Return what knowing the best arm of every situation converts."""
    return float(shop.SHARE @ shop.TRUTH.max(axis=1))


def constants() -> dict[str, float]:
    """Return the regret of giving everyone one arm."""
    return {arm: 1 - float(total) / oracle() for arm, total in zip(shop.ARMS, shop.SHARE @ shop.TRUTH, strict=True)}


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds, and half of its 95 % interval."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Array) -> Interval:
        error = values.std(ddof=1) / np.sqrt(len(values))
        return cls(float(values.mean()), float(student.ppf(0.975, len(values) - 1) * error))

    def __str__(self) -> str:
        return f"{self.mean:.2%} ± {self.half:.2%}"


@dataclass(frozen=True, slots=True)
class Found:
    """What the optimiser found at one number of visitors: over seeds, what is lost, and which tranches run."""

    visitors: int
    losses: Mapping[str, Array]
    running: Mapping[str, float]


def optimised(visitors: int) -> Found:
    """Return how near the best couple of each tranche the optimiser comes.

    A loss is a part of the optimal incremental margin, or of the margin itself where no offer is optimal.
    """
    fit = ("none", *allowed(shop.COUPLES, GUARDS))
    best = {tranche: max(shop.gain(tranche, arm) for arm in fit) for tranche in shop.TRANCHES}
    losses: dict[str, list[float]] = {tranche: [] for tranche in shop.TRANCHES}
    running = dict.fromkeys(shop.TRANCHES, 0.0)
    decision = Decision(
        name="promotion",
        tranches=tuple(shop.TRANCHES),
        arms=shop.OFFERS,
        default_arm="none",
        choice={},
        posteriors={},
        parents={},
        couples=shop.COUPLES,
    )
    for seed in PROMOTION_SEEDS:
        sums = shop.promoted(np.random.default_rng([seed, visitors]), visitors, fit)
        found = propose(decision, [shop.reported(sums, shop.MONEY, Random(seed).randrange)], _PROMOTIONS).plan
        assert found is not None
        for tranche in shop.TRANCHES:
            whole = best[tranche] or shop.BEHAVIOUR[tranche, "none"].margin
            losses[tranche].append((best[tranche] - shop.gain(tranche, found.best[tranche])) / whole)
            running[tranche] += (found.phases[tranche] == "run") / len(PROMOTION_SEEDS)
    return Found(visitors, {tranche: np.array(one) for tranche, one in losses.items()}, running)


def main() -> None:
    """Measure, and write the page."""
    keys = list(product(TRAFFICS, WAYS))
    with ProcessPoolExecutor() as pool:
        lives = dict(zip(keys, track(pool.map(_lives, keys), "situations", len(keys)), strict=True))
        found = list(track(pool.map(optimised, VISITORS), "promotions", len(VISITORS)))
    flat = constants()
    best = min(flat, key=lambda arm: flat[arm])
    _draw(lives, flat[best])
    whole = {key: Interval.of(values.mean(axis=1)) for key, values in lives.items()}
    withheld = len(shop.COUPLES) - len(allowed(shop.COUPLES, GUARDS))
    intro = """Every figure here is simulated: a shop whose truth is known, intervals of 95 % over seeds.
        `make evidence` writes this page anew."""
    situations = f"""{len(shop.SITUATIONS)} situations, {len(shop.ARMS)} arms, {ROUNDS} rounds, {len(SEEDS)} seeds
        ({SEEDS[0]} to {SEEDS[-1]}); {shop.HELD:.0%} held out; every arm is shown to at least {FLOOR / 10_000:.0%} of a
        situation. What is learnt from is what a release shows, and nothing else: visitors and converters of each cell
        with the discrete Laplace noise of epsilon {shop.CONVERSIONS.epsilon:g} in all, nothing under the threshold of a
        cohort of {shop.CONVERSIONS.cohort}. Regret is against an oracle that knows the best arm of every situation, as
        a share of what the oracle converts ({oracle():.2%}), over all rounds, the first, blind one included."""
    one_arm = f"Everyone given one arm: {', '.join(f'{arm} {one:.2%}' for arm, one in flat.items())}."
    promotions = f"""{len(shop.COUPLES)} couples of threshold and amount; {withheld} are withheld, since they would
        leave less than {GUARDS.least_margin:.0%} of what is paid; the others, and no offer, are shown evenly in three
        tranches beside a holdout of {shop.HELD:.0%}, {len(PROMOTION_SEEDS)} seeds ({PROMOTION_SEEDS[0]} to
        {PROMOTION_SEEDS[-1]}). All seven sums are noised, epsilon {shop.MONEY.epsilon:g} in all. What an order of an
        arm costs is the shop's average over tranches, as its books know it; in truth it differs by tranche. The optima
        are {_optimal()}. Lost is a part of the optimal incremental margin; where no offer is optimal, of the margin
        itself."""
    (FOLDER / "learning.md").write_text(f"""# Learning from noised reports, in a simulated shop
{_filled(intro)}

## Situations
{_filled(situations)}

{_filled(one_arm)}

| visitors a round | noised reports | without noise | last manifest and last report | beats {best} |
|---:|---:|---:|---:|---|
{chr(10).join(_line(traffic, whole, flat[best]) for traffic in TRAFFICS)}

In the last ten rounds alone:

| visitors a round | noised reports | without noise | last manifest and last report |
|---:|---:|---:|---:|
{chr(10).join(_last(traffic, lives) for traffic in TRAFFICS)}

{_filled(_said(whole, flat[best], best))}

![Regret by round, for each traffic](learning.svg)

## Promotions
{_filled(promotions)}

| visitors a tranche | tranche | lost, mean | within {NEAR:.0%} of the optimum | test over |
|---:|---|---:|---:|---:|
{chr(10).join(_rows(found))}

{_filled(_near(found))}
""")


def _filled(text: str) -> str:
    return fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def _line(traffic: int, whole: Mapping[tuple[int, str], Interval], flat: float) -> str:
    noised = whole[traffic, "noised"]
    verdict = "yes" if _beats(noised, flat) else "no" if noised.mean - noised.half > flat else "not clearly"
    return f"| {traffic:,} | {' | '.join(str(whole[traffic, way]) for way in WAYS)} | {verdict} |"


def _last(traffic: int, lives: Mapping[tuple[int, str], Array]) -> str:
    cells = (str(Interval.of(lives[traffic, way][:, -10:].mean(axis=1))) for way in WAYS)
    return f"| {traffic:,} | {' | '.join(cells)} |"


def _said(whole: Mapping[tuple[int, str], Interval], flat: float, best: str) -> str:
    told = {}
    for way in WAYS:
        traffic = next((one for one in TRAFFICS if all(_beats(whole[more, way], flat) for more in _from(one))), None)
        told[way] = f"from {traffic:,} visitors a round on" if traffic else "at none of these traffics"
    return (
        f"Over {ROUNDS} rounds, learning from noised reports beats {best} given to everyone {told['noised']}; without "
        f"noise it does {told['clear']}; from the last manifest and the last report, {told['manifest']}. That {best} "
        "is the best constant arm nobody knows beforehand: here it is told for free."
    )


def _from(traffic: int) -> Iterable[int]:
    return (one for one in TRAFFICS if one >= traffic)


def _beats(regret: Interval, flat: float) -> bool:
    return regret.mean + regret.half < flat


def _optimal() -> str:
    fit = ("none", *allowed(shop.COUPLES, GUARDS))
    told = []
    for tranche in shop.TRANCHES:
        best = max(fit, key=lambda arm: shop.gain(tranche, arm))
        told.append(f"{best} for {tranche} ({shop.gain(tranche, best) / shop.BEHAVIOUR[tranche, 'none'].margin:+.1%})")
    return ", ".join(told)


def _rows(found: Iterable[Found]) -> Iterable[str]:
    for one in found:
        for tranche, losses in one.losses.items():
            yield (
                f"| {one.visitors:,} | {tranche} | {Interval.of(losses)} "
                f"| {np.mean(losses <= NEAR):.0%} | {one.running[tranche]:.0%} |"
            )


def _near(found: Iterable[Found]) -> str:
    for one in found:
        if all(Interval.of(losses).mean + Interval.of(losses).half <= NEAR for losses in one.losses.values()):
            least = min(float(np.mean(losses <= NEAR)) for losses in one.losses.values())
            return (
                f"From {one.visitors:,} visitors a tranche on, what is lost in each tranche is within {NEAR:.0%} of "
                f"the optimal incremental margin on average, interval included; a single test is so in {least:.0%} of "
                "seeds or more."
            )
    return f"At none of these numbers is the loss within {NEAR:.0%} in each tranche."


def _draw(lives: Mapping[tuple[int, str], Array], flat: float) -> None:
    mpl.rcParams.update({"svg.hashsalt": "entrenous", "svg.fonttype": "none", "font.size": 9})
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
    rounds = np.arange(1, ROUNDS + 1)
    for axes, way, title in zip(panels, WAYS, ("noised reports", "without noise"), strict=False):
        for traffic in TRAFFICS:
            axes.plot(rounds, 100 * lives[traffic, way].mean(axis=0), label=f"{traffic:,} a round")
        axes.axhline(100 * flat, color="black", linestyle="--", linewidth=1, label="best constant arm")
        axes.set(xlabel="round", title=f"simulated, {title}", ylim=(0, None))
    panels[0].set_ylabel("regret, % of the oracle's conversions")
    figure.legend(
        *panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8
    )
    figure.savefig(FOLDER / "learning.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
