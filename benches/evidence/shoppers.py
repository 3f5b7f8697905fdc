"""`make evidence`: real shop sessions through the bundle that ships, by consent. Writes `docs/evidence/shoppers.md`.

Needs the folder that `ENTRENOUS_DATA` names, with `online_shoppers` (UCI 468: 12,330 sessions of a real shop).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import t

from entrenous.bundle import read_bundle
from entrenous_consent.policy import PrivacyPolicy, parse_policy
from entrenous_exporters.build import build
from entrenous_exporters.built import score, spoken
from entrenous_exporters.quality import Quality, assess, tranches_of
from entrenous_exporters.rows import Rows, table_rows
from entrenous_exporters.spec import TrainingSpec, read_spec
from entrenous_exporters.splits import folds
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import make_bundle

FOLDER = Path("docs/evidence")
EXAMPLE = Path("examples/online_shoppers")
DATA = Path(os.environ.get("ENTRENOUS_DATA", "../shared/data"))
TABLE = DATA / "online_shoppers" / "online_shoppers_intention.csv.gz"
SEEDS = range(1, 7)
LIBRARIES = ("hist_gradient_boosting", "lightgbm", "xgboost")
ALL, NO_VALUES, CONTEXT = ("browsing", "session", "value"), ("browsing", "session"), ("session",)
WANTED = {ALL: (0.934, 0.010), NO_VALUES: (0.782, 0.015), CONTEXT: (0.693, 0.015)}
"""The AUC to reach and the calibration error to stay within, by what was granted."""


def shop() -> tuple[TrainingSpec, PrivacyPolicy, Rows]:
    """Return the example's specification with a fourth consent, its policy, and the sessions."""
    spec = read_spec(EXAMPLE / "spec.toml")
    patterns = (*spec.decision.patterns, ("session", "value"))
    spec = replace(spec, decision=replace(spec.decision, patterns=patterns))
    policy = parse_policy((EXAMPLE / "policy.toml").read_bytes(), place="policy.toml")
    return spec, policy, table_rows(open_backend(threads=1), spec, TABLE)


def judged(spec: TrainingSpec, policy: PrivacyPolicy, rows: Rows, seed: int) -> list[Quality]:
    """Return each pattern's quality over five folds: every session scored once, by a bundle of the others."""
    spec = replace(spec, learner=replace(spec.learner, seed=seed))
    width, tranches = len(spec.decision.patterns), len(spec.decision.tranches)
    margins, found = np.empty((len(rows.x), width)), np.empty((len(rows.x), width), np.int64)
    fold = np.empty(len(rows.x), np.int64)
    for i, (taught, judging) in enumerate(folds(rows, spec)):
        learn = rows.where(taught)
        built = build(spec, learn, rows.x[judging], rows=2_000, progress=lambda _: None)
        bundle = read_bundle(make_bundle(spec, policy, built, card=b"", created=0))
        said = score(bundle.models[spec.decision.name], rows.x[judging], singly=False)
        margins[judging], fold[judging] = built.log_odds(said), i
        for pattern in bundle.manifest.decisions[spec.decision.name].patterns:
            found[judging, pattern.column] = tranches_of(said[:, pattern.column], pattern.cuts)
    return [assess(margins[:, i], rows.y, found[:, i], count=tranches, folds=fold) for i in range(width)]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean and a 95 % interval of it, Student's over the seeds."""
    known = np.asarray(values, np.float64)
    half = t.ppf(0.975, known.size - 1) * known.std(ddof=1) / np.sqrt(known.size)
    return float(known.mean()), float(known.mean() - half), float(known.mean() + half)


def spelt(values: Sequence[float], digits: int = 4) -> str:
    """Return a mean with its interval."""
    mean, low, high = interval(values)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def verdict(pattern: tuple[str, ...], by_seed: Sequence[Quality]) -> str:
    """Say what was wanted, and whether the mean and every seed reach it."""
    if pattern not in WANTED:
        return "–"
    auc, ece = WANTED[pattern]
    reached = [np.mean([one.auc for one in by_seed]) >= auc, np.mean([one.ece for one in by_seed]) <= ece]
    seeds = sum(one.auc >= auc and one.ece <= ece for one in by_seed)
    said = "reached" if all(reached) else "missed"
    return f"AUC ≥ {auc:.3f}, error ≤ {ece:.3f}: {said} on average, both in {seeds} of {len(by_seed)} seeds"


def page(spec: TrainingSpec, by_library: dict[str, list[list[Quality]]]) -> str:
    """Return the page of what was measured: by library, seed and pattern."""
    own, patterns = by_library[LIBRARIES[0]], spec.decision.patterns
    full = patterns.index(ALL)
    quality, tranches = [], []
    for i, pattern in enumerate(patterns):
        seeds = [one[i] for one in own]
        price = [one[full].auc - one[i].auc for one in own]
        quality.append(
            f"| {spoken(pattern)} | {spelt([one.auc for one in seeds])} | "
            f"{'–' if i == full else spelt(price)} | {spelt([one.ece for one in seeds])} | {verdict(pattern, seeds)} |"
        )
        shares = " | ".join(
            spelt([100 * one.shares[j] for one in seeds], 1) for j in range(len(spec.decision.tranches))
        )
        tranches.append(f"| {spoken(pattern)} | {shares} |")
    others = [
        f"| {name} | " + " | ".join(spelt([seed[i].auc for seed in found]) for i in range(len(patterns))) + " |"
        for name, found in by_library.items()
    ]
    learner = spec.learner
    wanted = " | ".join(f"{100 * share:.0f}" for share in spec.decision.shares)
    return f"""# Will this session buy? By consent, on a real shop
Online Shoppers (UCI 468, Sakar and Kastro 2018): {own[0][full].rows:,} sessions of a real shop. Five folds, each
session scored by the bundle that the other four taught, with its own graph and cuts; leaves held to
k = {learner.k} sessions. {learner.trees} trees of {learner.leaves} leaves; intervals are 95 % of the mean over the
split seeds {SEEDS[0]} to {SEEDS[-1]}, so they tell of splits and not of other shops.
`python -m benches.evidence.shoppers` writes this page anew. `value` holds PageValues, which is computed from
transactions: in effect a near-leak, so all three are told.

![Quality by consent, and calibration](shoppers.svg)

## Quality, and the price of refusing
| granted | AUC | price of the refusal | calibration error | wanted |
|---|---|---|---|---|
{chr(10).join(quality)}

## Tranches, per cent of the sessions
By the cuts that ship, of each consent's own margins.

| granted | {" | ".join(spec.decision.tranches)} |
|---|{"---|" * len(spec.decision.tranches)}
| wanted | {wanted} |
{chr(10).join(tranches)}

## The same shape by other libraries
AUC through the same exact graph.

| library | {" | ".join(spoken(pattern) for pattern in patterns)} |
|---|{"---|" * len(patterns)}
{chr(10).join(others)}

`python -m benches.evidence.compact` looks for the smallest bundle that keeps this quality.
"""


def draw(spec: TrainingSpec, own: list[list[Quality]]) -> None:
    """Plot AUC by pattern and seed, and the calibration curves of the first seed."""
    mpl.rcParams.update({"svg.hashsalt": "entrenous", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for i, pattern in enumerate(spec.decision.patterns):
        values: list[float] = [one[i].auc for one in own]
        left.plot(values, [i] * len(values), "o", alpha=0.6)
        curve: NDArray[np.float64] = np.asarray(own[0][i].curve)
        right.plot(curve[:, 0], curve[:, 1], marker=".", label=spoken(pattern))
    left.set(xlabel="AUC, a dot for each seed", yticks=range(len(spec.decision.patterns)))
    left.set_yticklabels([spoken(pattern) for pattern in spec.decision.patterns])
    right.plot([0, 1], [0, 1], color="gray", linewidth=0.8, linestyle="--")
    right.set(xlabel="said", ylabel="bought", xlim=(0, 0.8), ylim=(0, 0.8))
    right.legend(frameon=False)
    figure.savefig(FOLDER / "shoppers.svg", metadata={"Date": None})


def main() -> None:
    """Measure, and write the page and its plot."""
    spec, policy, rows = shop()
    by_library: dict[str, list[list[Quality]]] = {}
    for name in LIBRARIES:
        learner = replace(spec.learner, kind=name, bins=0)
        by_library[name] = [
            judged(replace(spec, learner=learner), policy, rows, seed) for seed in track(SEEDS, description=name)
        ]
    draw(spec, by_library[LIBRARIES[0]])
    (FOLDER / "shoppers.md").write_text(page(spec, by_library))


if __name__ == "__main__":
    main()
