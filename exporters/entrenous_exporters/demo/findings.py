"""What the replay found, as figures: nothing here is computed twice, nothing is rounded before it is shown."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from entrenous_exporters.build import score
from entrenous_exporters.card import read_card
from entrenous_exporters.demo.replay import GROUPS, Group, Moment, Replay
from entrenous_exporters.quality import Quality, assess, tranches_of
from entrenous_exporters.train import Rows, Trained

__all__ = ["Findings", "Latency", "find", "quality_of"]

QUESTION = "Will this household shop again within 3 days?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of a decision's time, microseconds, over `count` decisions."""

    count: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Return the percentiles of `seconds`."""
        if not seconds:
            return cls(count=0, p50=float("nan"), p95=float("nan"), p99=float("nan"))
        p50, p95, p99 = np.percentile(np.asarray(seconds) * 1e6, [50, 95, 99])
        return cls(count=len(seconds), p50=float(p50), p95=float(p95), p99=float(p99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The demonstration's figures.

    Attributes:
        households: each one's group. served: quality by consent pattern, of margins the replay itself scored.
        central: the same graph over every household's trips of the quarter; it learnt from four fifths of them, in the
            months before. strangers: the same over the others alone, as the card states it.
        answers: by group, how often each reason and cause was given.
        again: by tranche, how many decisions and the share that came again in time.
        first, further: latency from the store, and with the profile open.
        raw_ids_found: occurrences of any raw identifier in any file of the store and keyring.
    """

    households: Mapping[str, Group]
    trips: int
    served: Mapping[str, Quality]
    central: Mapping[str, Quality]
    strangers: Mapping[str, Quality]
    answers: Mapping[str, Mapping[tuple[str, str], int]]
    again: Mapping[str, tuple[int, float]]
    first: Latency
    further: Latency
    bundle_bytes: int
    bundle_compressed: int
    store_bytes: int
    visitors_kept: int
    raw_ids_found: int
    k: int
    seconds: float

    def show(self, console: Console) -> None:
        """Print the short table."""
        table = Table(title=f"{QUESTION} Last quarter of 2017, real trips", title_justify="left")
        table.add_column("consent pattern", no_wrap=True)
        for heading in ("decisions", "AUC", "calibration\nerror", "AUC, all\nhouseholds", "AUC, never\nlearnt from"):
            table.add_column(heading, justify="right")
        for pattern, quality in self.served.items():
            others = (f"{by[pattern].auc:.3f}" for by in (self.central, self.strangers))
            table.add_row(pattern, f"{quality.rows:,}", f"{quality.auc:.3f}", f"{quality.ece:.3f}", *others)
        console.print(table)
        answers = Table(title="Answers by consent (the mix is ours)", title_justify="left")
        sizes = self.sizes
        causes = sorted({key for counts in self.answers.values() for key in counts})
        answers.add_column("group", no_wrap=True)
        answers.add_column("house-\nholds", justify="right")
        for reason, cause in causes:
            answers.add_column(f"{reason}\n{cause}".replace("_", "_\n").strip(), justify="right")
        for group, counts in self.answers.items():
            cells = (f"{counts[key]:,}" if key in counts else "" for key in causes)
            answers.add_row(group, str(sizes[group]), *cells)
        console.print(answers)
        facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        for name, value in self.facts():
            facts.add_row(name, value)
        console.print(facts)

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many households each group has."""
        return Counter(group.name for group in self.households.values())

    def facts(self) -> list[tuple[str, str]]:
        """Return the remaining figures as name and value."""
        return [
            ("first decision of a visit", _spoken(self.first)),
            ("further decisions", _spoken(self.further)),
            ("bundle", f"{self.bundle_bytes:,} bytes, {self.bundle_compressed:,} compressed (zlib)"),
            ("store", f"{self.store_bytes:,} bytes, {self.store_bytes // max(1, self.visitors_kept):,} a visitor kept"),
            ("raw identifiers found on disk", f"{self.raw_ids_found}"),
            ("visitors under every leaf", f"at least {self.k}"),
            ("whole demonstration", f"{self.seconds:.0f} s"),
        ]


def _spoken(latency: Latency) -> str:
    percentiles = f"{latency.p50:.0f} / {latency.p95:.0f} / {latency.p99:.0f} µs"
    return f"{percentiles} (p50 / p95 / p99 of {latency.count:,})"


def find(
    replay: Replay,
    *,
    trained: Trained,
    central: Mapping[str, Quality],
    warm_seconds: Sequence[float],
    state: Path,
    trips: int,
    seconds: float,
) -> Findings:
    """Return the findings of a finished replay whose client is closed."""
    files = [path for folder in (state, state.with_name("keys")) for path in folder.rglob("*") if path.is_file()]
    return Findings(
        households=replay.groups,
        trips=trips,
        served=_served(replay.moments, trained),
        central=central,
        strangers={_name(pattern): quality for pattern, quality in trained.quality.items()},
        answers=_answers(replay.moments),
        again=_again(replay.moments),
        first=Latency.of([moment.seconds for moment in replay.moments if moment.decision.margin is not None]),
        further=Latency.of(warm_seconds),
        bundle_bytes=len(trained.data),
        bundle_compressed=len(zlib.compress(trained.data, 9)),
        store_bytes=sum(path.stat().st_size for path in state.iterdir() if path.is_file()),
        visitors_kept=_kept(replay),
        raw_ids_found=sum(path.read_bytes().count(one.encode()) for path in files for one in replay.groups),
        k=_least(trained),
        seconds=seconds,
    )


def quality_of(trained: Trained, rows: Rows) -> dict[str, Quality]:
    """Return the quality of the shipped graph on labelled rows, by consent pattern."""
    found = {}
    for pattern in trained.bundle.manifest.decisions["promotion"].patterns:
        margins = score(trained.bundle.models["promotion"], rows.x, singly=False)[:, pattern.column]
        tranches = tranches_of(margins, pattern.cuts)
        found[_name(pattern.purposes)] = assess(margins, rows.y, tranches, count=len(pattern.cuts) + 1)
    return found


def _name(pattern: Sequence[str]) -> str:
    return " + ".join(pattern)


def _served(moments: Sequence[Moment], trained: Trained) -> dict[str, Quality]:
    """Return the quality of what the replay scored, by the pattern it was scored with."""
    manifest = trained.bundle.manifest
    purposes = {feature.purpose for feature in manifest.features}
    scored: dict[tuple[str, ...], list[tuple[float, bool]]] = defaultdict(list)
    for moment in moments:
        decision = moment.decision
        if decision.margin is not None and decision.receipt is not None and moment.again is not None:
            used = tuple(purpose for purpose, _ in decision.receipt.basis.consents if purpose in purposes)
            scored[used].append((decision.margin, moment.again))
    cuts = {pattern.purposes: pattern.cuts for pattern in manifest.decisions["promotion"].patterns}
    found = {}
    for pattern, pairs in sorted(scored.items()):
        margins, again = [margin for margin, _ in pairs], [again for _, again in pairs]
        tranches = tranches_of(margins, cuts[pattern])
        found[_name(pattern)] = assess(margins, again, tranches, count=len(cuts[pattern]) + 1)
    return found


def _answers(moments: Sequence[Moment]) -> dict[str, dict[tuple[str, str], int]]:
    counts: dict[str, Counter[tuple[str, str]]] = {group.name: Counter() for group in GROUPS}
    for moment in moments:
        counts[moment.group][moment.decision.reason, moment.decision.cause] += 1
    return {group: dict(counter) for group, counter in counts.items()}


def _again(moments: Sequence[Moment]) -> dict[str, tuple[int, float]]:
    seen: dict[str, list[bool]] = defaultdict(list)
    for moment in moments:
        if moment.decision.tranche and moment.again is not None:
            seen[moment.decision.tranche].append(moment.again)
    return {
        tranche: (len(seen[tranche]), float(np.mean(seen[tranche])))
        for tranche in ("cold", "warm", "hot")
        if seen[tranche]
    }


def _kept(replay: Replay) -> int:
    return sum(group.granted is not None and group.half_way != "erase" for group in replay.groups.values())


def _least(trained: Trained) -> int:
    facts = read_card(trained.card)
    return int(facts["k"]["least_support"])
