"""`make evidence`: how a state grows with events, and what a feature table costs as the log grows.

Writes `docs/evidence/features.md` and `features.svg`. Each size of log runs in a process of its own, so that its memory
is its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from rich.progress import track
from tests.features import NOON, busy, forty, schema
from tests.markers import NOW, everything, something

from entrenous.events import Event
from entrenous.features import Feature, compile_plan

LOGS = (1_000_000, 2_500_000, 5_000_000, 10_000_000)
VISITS = (0, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
FOLDER = Path("docs/evidence")

Row = tuple[str, ...]


def grown(features: Iterable[Feature], events: Iterable[Event], now: int) -> list[int]:
    """Return the bytes of one visitor's state after each of `VISITS` events, with the folded columns, encrypted."""
    plan = compile_plan(tuple(features), "personalize")
    sizes: list[int] = []
    state, seen = plan.empty(), 0
    for event in [None, *events]:
        if event is not None:
            plan.apply(state, event)
            seen += 1
        if seen == VISITS[len(sizes)]:
            sizes.append(len(plan.pack(state, now)) + len(plan.fold(state, now)) + 28)
            if len(sizes) == len(VISITS):
                break
    return sizes


def tables() -> list[dict[str, float]]:
    """Return what each size of log costs."""
    found = []
    for events in track(LOGS, description="feature tables"):
        command = [sys.executable, "-m", "benches.evidence.table", str(events)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return found


def main() -> None:
    """Measure, and write both files."""
    chance = random.Random(3)
    acts = [something(chance) for _ in track(range(VISITS[-1]), description="one visitor")]
    forty_sizes = grown(schema(*forty()), busy(VISITS[-1], days=365), NOON)
    every_sizes = grown(everything(), acts, NOW)
    built = tables()
    _draw(forty_sizes, every_sizes, built)
    _tell(forty_sizes, every_sizes, built)


def _tell(forty_sizes: list[int], every_sizes: list[int], built: list[dict[str, float]]) -> None:
    states = [
        (f"{events:,}", f"{few:,}", f"{all_:,}")
        for events, few, all_ in zip(VISITS, forty_sizes, every_sizes, strict=True)
    ]
    costs = [
        (
            f"{one['events']:,}",
            f"{one['moments']:,}",
            f"{one['seconds']:.1f}",
            f"{one['seconds'] / one['events'] * 1e6:.2f}",
            f"{one['peak'] / 2**30:.2f}",
            f"{(one['peak'] - one['generated']) / one['events'] * 1e6 / 2**20:.0f}",
        )
        for one in built
    ]
    rates = [one["seconds"] / one["events"] for one in built]
    text = f"""# Features: how a state grows, and what a table costs
Generated data, two threads; `make evidence` writes this page anew. Seeds stand in `benches/evidence`.

![Bytes of a state by events, and seconds and memory of a feature table by events](features.svg)

## A visitor's state, bytes, encrypted and with the folded columns
One visitor over 365 days. A state holds buckets and no events: it stops growing when every bucket is in use, and then
only integers become longer.

{_table(("events", "40 features", "every marker (232)"), states)}

## A feature table on DuckDB
Forty features, {1_000_000 // 20:,} moments and 10,000 visitors for every million events. Memory is the most that the
whole process held, the generated log included; beside it what the table itself took.

{_table(("events", "moments", "s", "s a million events", "GiB held at most", "MiB a million events"), costs)}

Seconds a million events, at most over at least: {max(rates) / min(rates):.2f}.
"""
    (FOLDER / "features.md").write_text(text)


def _table(headings: Row, rows: Iterable[Row]) -> str:
    lines = [headings, tuple("---:" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _draw(forty_sizes: list[int], every_sizes: list[int], built: list[dict[str, float]]) -> None:
    mpl.rcParams.update({"svg.hashsalt": "entrenous", "svg.fonttype": "none", "font.size": 9})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    left.plot(VISITS[1:], every_sizes[1:], marker="o", label="every marker (232)")
    left.plot(VISITS[1:], forty_sizes[1:], marker="o", label="40 features")
    left.set(xscale="log", xlabel="events of one visitor", ylabel="bytes, encrypted", ylim=(0, None))
    left.axhline(16_000, color="gray", linewidth=0.8, linestyle="--")
    left.legend(frameon=False)
    millions = [one["events"] / 1e6 for one in built]
    middle.plot(millions, [one["seconds"] for one in built], marker="o")
    middle.set(xlabel="million events", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    right.plot(millions, [one["peak"] / 2**30 for one in built], marker="o")
    right.axhline(4, color="gray", linewidth=0.8, linestyle="--")
    right.set(xlabel="million events", ylabel="GiB held at most", xlim=(0, None), ylim=(0, None))
    figure.savefig(FOLDER / "features.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
