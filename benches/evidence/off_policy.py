"""`make evidence`: what one policy would have brought, told from the draws of another, on the Open Bandit sample.

Writes `docs/evidence/off_policy.md`. Reads the CSV files that `pip install --no-deps obp==0.4.1` brings, and imports
nothing of that package.
"""

from __future__ import annotations

import math
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from entrenous_exporters.uplift import Value, value_of

FOLDER = Path("docs/evidence")

Floats = NDArray[np.float64]


def draws(policy: str) -> pd.DataFrame:
    """Return the sample of one policy over all campaigns: position, item_id, click and propensity_score."""
    wanted = f"obp/dataset/obd/{policy}/all/all.csv"
    try:
        found = [file for file in files("obp") or () if file.as_posix() == wanted]
    except PackageNotFoundError:
        raise SystemExit("needs the Open Bandit sample: pip install --no-deps obp==0.4.1") from None
    return pd.read_csv(found[0].locate())


def shown_share(rows: pd.DataFrame, items: int) -> Floats:
    """Return how often a policy shows each item at each position, [3, items]: the policy, as its own draws tell it."""
    counts = np.ones((3, items)) / items
    np.add.at(counts, (rows.position.to_numpy() - 1, rows.item_id.to_numpy()), 1.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def clicked_share(rows: pd.DataFrame, items: int) -> Floats:
    """Return the share of clicks for each item at each position, drawn to the mean of all."""
    seen, clicked = np.full((3, items), 20.0), np.full((3, items), 20.0 * rows.click.mean())
    at = rows.position.to_numpy() - 1, rows.item_id.to_numpy()
    np.add.at(seen, at, 1.0)
    np.add.at(clicked, at, rows.click.to_numpy(np.float64))
    return np.asarray(clicked / seen)


def plainly(chosen: Floats, arm: list[int], won: list[float], chance: list[float], said: Floats) -> dict[str, Value]:
    """Return the same three estimates, row by row and with exact sums: what `value_of` has to agree with."""
    weights = [float(chosen[i, a]) / p for i, (a, p) in enumerate(zip(arm, chance, strict=True))]
    weighed = [w * r for w, r in zip(weights, won, strict=True)]
    ratio = math.fsum(weighed) / math.fsum(weights)
    squares = math.fsum(w * w * (r - ratio) ** 2 for w, r in zip(weights, won, strict=True))
    robust = [
        math.fsum(float(p) * float(q) for p, q in zip(chosen[i], said[i], strict=True)) + w * (r - float(said[i, a]))
        for i, (a, w, r) in enumerate(zip(arm, weights, won, strict=True))
    ]
    return {
        "ips": _plain_mean(weighed),
        "snips": Value(value=ratio, error=math.sqrt(squares) / math.fsum(weights)),
        "dr": _plain_mean(robust),
    }


def _plain_mean(values: list[float]) -> Value:
    n, mean = len(values), math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Value(value=mean, error=math.sqrt(variance / n))


def main() -> None:
    """Measure, and write the page."""
    logged, other = draws("random"), draws("bts")
    items = int(max(logged.item_id.max(), other.item_id.max())) + 1
    position = logged.position.to_numpy() - 1
    chosen = shown_share(other, items)[position]
    half = np.arange(len(logged)) % 2 == 0
    said = np.empty_like(chosen)
    for learn, judge in ((half, ~half), (~half, half)):
        said[judge] = clicked_share(logged[learn], items)[position[judge]]
    arm, won = logged.item_id.to_numpy(np.int64), logged.click.to_numpy(np.float64)
    chance = logged.propensity_score.to_numpy(np.float64)
    ours = value_of(chosen, arm, won, chance, expected=said)
    plain = plainly(chosen, arm.tolist(), won.tolist(), chance.tolist(), said)
    apart = max(
        max(abs(ours[name].value - plain[name].value), abs(ours[name].error - plain[name].error)) for name in ours
    )
    own = other.click.mean()
    error = math.sqrt(own * (1 - own) / len(other))
    rows = "\n".join(
        f"| {name.upper()} | {value.value:.5f} | {value.interval[0]:.5f} to {value.interval[1]:.5f} |"
        for name, value in ours.items()
    )
    (FOLDER / "off_policy.md").write_text(f"""# What another policy would have brought
Open Bandit sample (ZOZO, `obp==0.4.1`): {len(logged):,} draws at random among {items} items, with their true
propensities, judge the Thompson sampling policy, as its own {len(other):,} draws show it. `make evidence` writes this
page anew.

| estimate | clicks a view | 95 % interval |
|---|---:|---:|
{rows}
| the policy's own clicks | {own:.5f} | {own - 1.96 * error:.5f} to {own + 1.96 * error:.5f} |

A straightforward computation, row by row with exact sums, gives the same to {apart:.1e}.
""")


if __name__ == "__main__":
    main()
