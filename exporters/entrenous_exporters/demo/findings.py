"""What the replay found, as figures: nothing here is computed twice, nothing is rounded before it is shown."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from entrenous.loop.ledger import Ledger
from entrenous.loop.release import LEDGER
from entrenous.loop.reports import read_report
from entrenous_consent.audit import log_name
from entrenous_consent.files import STORE
from entrenous_consent.packing import unpack
from entrenous_consent.sqlite import SQLiteStore
from entrenous_exporters.built import calibrated, score
from entrenous_exporters.card import read_card
from entrenous_exporters.demo.replay import GROUPS, SIMULATED, Group, Moment, Replay
from entrenous_exporters.quality import Quality, assess, tranches_of
from entrenous_exporters.train import Rows, Trained

__all__ = ["Findings", "Latency", "Left", "find", "quality_of"]

QUESTION = "Will this household shop again within 3 days?"
_MONTHS = range(1_483_228_800, 1_516_000_000, 28 * 86_400)
"""A second in every month of the replay, for the names of its audit logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of a decision's time over HTTP, microseconds, over `count` decisions."""

    count: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Return the percentiles of `seconds`."""
        p50, p95, p99 = np.percentile(np.asarray(seconds) * 1e6, [50, 95, 99])
        return cls(count=len(seconds), p50=float(p50), p95=float(p95), p99=float(p99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What left the worker, and what stays for the DPO to read.

    Attributes:
        sizes: bytes of each report. cells, hidden: declared cells, and those under the threshold.
        epsilon: spent, of `lifetime`. audit: entries by kind.
    """

    sizes: tuple[int, ...]
    cells: int
    hidden: int
    epsilon: float
    lifetime: float
    audit: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The demonstration's figures.

    Attributes:
        households: each one's group. served: quality by consent pattern over the trips that were decided under it.
        central: the same graph over every household's trips of the quarter; it learnt from four fifths of them, in the
            months before. strangers: the same over the others alone, as the card states it.
        answers: by group, how often each reason and cause was given.
        agreed: of the decisions that no simulated trip came before, how many fell into the tranche that the central
            engine computes, and of how many.
        again: by tranche, how many decisions and the share that came again in time.
        raw_ids_found: occurrences of any raw identifier in any file of the store, keyring and logs.
    """

    households: Mapping[str, Group]
    trips: int
    loaded: int
    served: Mapping[str, Quality]
    central: Mapping[str, Quality]
    strangers: Mapping[str, Quality]
    answers: Mapping[str, Mapping[tuple[str, str], int]]
    agreed: tuple[int, int]
    again: Mapping[str, tuple[int, float]]
    latency: Latency
    left: Left
    answer: Mapping[str, Any]
    simulated_trips: int
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
        console.print(f"\n[bold]{self.answer['headline']}[/]", highlight=False)
        console.print(SIMULATED, highlight=False)

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many households each group has."""
        return Counter(group.name for group in self.households.values())

    def facts(self) -> list[tuple[str, str]]:
        """Return the remaining figures as name and value."""
        left, latency = self.left, self.latency
        percentiles = f"{latency.p50:.0f} / {latency.p95:.0f} / {latency.p99:.0f} µs"
        sent = f"{len(left.sizes)} reports, {sum(left.sizes):,} bytes, of {self.trips:,} trips"
        return [
            ("decisions over HTTP", f"{percentiles} (p50 / p95 / p99 of {latency.count:,})"),
            ("the same as centrally", f"{self.agreed[0]:,} of {self.agreed[1]:,} tranches"),
            ("bundle", f"{self.bundle_bytes:,} bytes, {self.bundle_compressed:,} compressed (zlib)"),
            ("store", f"{self.store_bytes:,} bytes, {self.store_bytes // max(1, self.visitors_kept):,} a visitor kept"),
            ("what left", sent),
            ("cells", f"{left.cells} sent, {left.hidden} of them hidden by the threshold"),
            ("epsilon", f"{left.epsilon:g} spent of {left.lifetime:g}"),
            ("what the DPO can read", f"every byte that left, and {_spoken(left.audit)} in the audit log"),
            ("raw identifiers found on disk", f"{self.raw_ids_found}"),
            ("visitors under every leaf", f"at least {self.k}"),
            (
                "trips loaded, replayed, simulated",
                f"{self.loaded:,} line items, {self.trips:,}, {self.simulated_trips:,}",
            ),
            ("whole demonstration", f"{self.seconds:.0f} s"),
        ]


def _spoken(audit: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in audit.items())


def find(
    replay: Replay,
    *,
    trained: Trained,
    rows: Rows,
    central: Mapping[str, Quality],
    answer: Mapping[str, Any],
    home: Path,
    lifetime: float,
    seconds: float,
) -> Findings:
    """Return the findings of a finished replay.

    Args:
        rows: of the table that the model was judged on; each trip knows its own. home: the demonstration's folder.
        lifetime: the policy's budget of the report, in epsilon.
    """
    state = home / "state"
    kept = [path for name in ("state", "keys") for path in (home / name).rglob("*") if path.is_file()]
    kept += [home / "worker.log", home / "collector.log"]
    purposes = {group.name: frozenset(group.granted or ()) for group in GROUPS}
    scored = [moment for moment in replay.moments if moment.tranche]
    patterns = {moment.group: _pattern(trained, purposes[moment.group]) for moment in scored}
    margins = score(trained.bundle.models["promotion"], rows.x, singly=False)
    return Findings(
        households=replay.groups,
        trips=len(replay.moments),
        loaded=replay.loaded,
        served=_served(scored, patterns, trained, margins, rows),
        central=central,
        strangers={_name(pattern): quality for pattern, quality in trained.quality.items()},
        answers=_answers(replay.moments),
        agreed=_agreed(scored, patterns, trained, margins),
        again=_again(scored, rows),
        latency=Latency.of([moment.seconds for moment in replay.moments]),
        left=_left(state, lifetime),
        answer=answer,
        simulated_trips=replay.response.made,
        bundle_bytes=len(trained.data),
        bundle_compressed=len(zlib.compress(trained.data, 9)),
        store_bytes=sum(path.stat().st_size for path in state.iterdir() if path.is_file()),
        visitors_kept=sum(group.granted is not None and group.half_way != "erase" for group in replay.groups.values()),
        raw_ids_found=sum(path.read_bytes().count(one.encode()) for path in kept for one in replay.groups),
        k=int(read_card(trained.card)["k"]["least_support"]),
        seconds=seconds,
    )


def quality_of(trained: Trained, rows: Rows) -> dict[str, Quality]:
    """Return the quality of the shipped graph on labelled rows, by consent pattern."""
    found = {}
    for pattern in trained.bundle.manifest.decisions["promotion"].patterns:
        margins = score(trained.bundle.models["promotion"], rows.x, singly=False)[:, pattern.column]
        tranches = tranches_of(margins, pattern.cuts)
        log_odds = calibrated(margins, pattern.calibration)
        found[_name(pattern.purposes)] = assess(log_odds, rows.y, tranches, count=len(pattern.cuts) + 1)
    return found


def _pattern(trained: Trained, granted: frozenset[str]) -> int:
    """Return which of the decision's patterns a visitor who granted this is scored under."""
    patterns = trained.bundle.manifest.decisions["promotion"].patterns
    fitting = [i for i, pattern in enumerate(patterns) if granted.issuperset(pattern.purposes)]
    return min(fitting, key=lambda i: (-len(patterns[i].purposes), patterns[i].purposes))


def _name(pattern: Sequence[str]) -> str:
    return " + ".join(pattern)


def _served(
    scored: Sequence[Moment], patterns: Mapping[str, int], trained: Trained, margins: NDArray[np.float32], rows: Rows
) -> dict[str, Quality]:
    """Return the quality over the trips that were decided, by the pattern they were decided under, on real rows."""
    found = {}
    for i, pattern in enumerate(trained.bundle.manifest.decisions["promotion"].patterns):
        here = np.array([one.row for one in scored if patterns[one.group] == i and rows.known[one.row]], int)
        if not here.size:
            continue
        margin = margins[here, pattern.column]
        tranches = tranches_of(margin, pattern.cuts)
        log_odds = calibrated(margin, pattern.calibration)
        found[_name(pattern.purposes)] = assess(log_odds, rows.y[here], tranches, count=len(pattern.cuts) + 1)
    return found


def _agreed(
    scored: Sequence[Moment], patterns: Mapping[str, int], trained: Trained, margins: NDArray[np.float32]
) -> tuple[int, int]:
    rule = trained.bundle.manifest.decisions["promotion"]
    told = [one for one in scored if not one.touched]
    same = 0
    for one in told:
        pattern = rule.patterns[patterns[one.group]]
        at = int(tranches_of([margins[one.row, pattern.column]], pattern.cuts)[0])
        same += rule.tranches[at] == one.tranche
    return same, len(told)


def _answers(moments: Sequence[Moment]) -> dict[str, dict[tuple[str, str], int]]:
    counts: dict[str, Counter[tuple[str, str]]] = {group.name: Counter() for group in GROUPS}
    for moment in moments:
        counts[moment.group][moment.reason, moment.cause] += 1
    return {group: dict(counter) for group, counter in counts.items()}


def _again(scored: Sequence[Moment], rows: Rows) -> dict[str, tuple[int, float]]:
    seen: dict[str, list[bool]] = defaultdict(list)
    for moment in scored:
        if rows.known[moment.row]:
            seen[moment.tranche].append(bool(rows.y[moment.row]))
    return {
        tranche: (len(seen[tranche]), float(np.mean(seen[tranche])))
        for tranche in ("cold", "warm", "hot")
        if seen[tranche]
    }


def _left(state: Path, lifetime: float) -> Left:
    """Read the outbox, the ledger and the audit log as a DPO would."""
    store = SQLiteStore(state / STORE)
    try:
        sent = [one.data for one in store.outbox() if one.sent]
        row = store.read(LEDGER, 0)
        kinds = Counter(
            kind for month in dict.fromkeys(map(log_name, _MONTHS)) for kind in map(_kind, store.log(month))
        )
    finally:
        store.close()
    reports = [read_report(data) for data in sent]
    cells = [sums for report in reports for sums in report.cells.values()]
    return Left(
        sizes=tuple(map(len, sent)),
        cells=len(cells),
        hidden=sum(sums is None for sums in cells),
        epsilon=Ledger.unpack(row.value if row else None).spent("promotion"),
        lifetime=lifetime,
        audit=dict(sorted(kinds.items())),
    )


def _kind(entry: bytes) -> str:
    return str(unpack(entry, place="audit entry", longest=1 << 16)[2])
