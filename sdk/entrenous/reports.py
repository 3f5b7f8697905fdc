"""The report: what leaves. Sums over many visitors, a cell each, with noise, and nothing under the threshold.

The pure half: which cells there are, how much noise each sum gets, what the bytes are. Cells are enumerated by
declaration, never by what visitors did. A visitor is in one cell of one release, and adds to each sum at most its
bound; sum i gets discrete Laplace noise of scale bound_i / epsilon_i, and the epsilon_i add up to the policy's epsilon.
So a release is epsilon-differentially private for adding or removing one visitor, before the threshold hides anything
(Dwork, Roth 2014, theorems 3.6 and 3.16; Ghosh, Roughgarden, Sundararajan 2009 for the discrete mechanism).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import ceil, exp, log

from entrenous.contributions import HOLDOUT, Cell
from entrenous.decisions.form import DecisionRule
from entrenous.noise import discrete_laplace
from entrenous_consent.errors import Forbidden
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table
from entrenous_consent.policy import METRICS, Report
from entrenous_consent.pseudonyms import BUCKETS

__all__ = [
    "REPORT_LIMIT",
    "CrowdReport",
    "Mechanism",
    "bounds",
    "cells_of",
    "check_cells",
    "encode_report",
    "mechanism_of",
    "noised",
    "read_report",
    "segment_of",
    "threshold",
]

REPORT_LIMIT = 1 << 18
"""The most bytes a report may have."""

_FORMAT = 1
_MOST_CELLS = 1024
_LARGEST = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """How the sums were made private.

    Attributes:
        bounds: the most one visitor adds to each metric. scales: of each metric's discrete Laplace noise.
        threshold: a cell shows only if its noisy count of visitors reaches this. quantum: minor units in a step of
            revenue.
    """

    epsilon: float
    delta: float
    cohort: int
    threshold: int
    quantum: int
    bounds: tuple[int, ...]
    scales: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdReport:
    """One release, as sent.

    Attributes:
        id: 16 random bytes. since, until: exposures of no earlier and no later days, Unix seconds at midnight UTC.
        holdout: its buckets of 10,000, and ramp: those that took part beside it.
        cells: by cell, the noisy sums in the order of `metrics`; None where the threshold hides them.
    """

    id: bytes
    tenant: str
    report: str
    experiment: str
    bundle: str
    bundle_version: int
    policy: int
    since: int
    until: int
    window_days: int
    holdout: int
    ramp: int
    currency: str
    metrics: tuple[str, ...]
    mechanism: Mechanism
    cells: Mapping[Cell, tuple[int, ...] | None]


def bounds(report: Report) -> tuple[int, ...]:
    """Return the most that one visitor adds to each of a report's metrics."""
    orders = report.clip.get("orders", 0)
    revenue = report.clip.get("revenue", 0) // report.quantum
    most = {
        "visitors": 1,
        "converters": 1,
        "orders": orders,
        "orders2": orders * orders,
        "revenue": revenue,
        "revenue2": revenue * revenue,
        "revenue_orders": revenue * orders,
    }
    return tuple(most[metric] for metric in report.metrics)


def threshold(cohort: int, epsilon: float, delta: float) -> int:
    """Return T: a cell of fewer than `cohort` visitors reaches it with probability at most `delta`.

    T = c + ceil(ln(1 / ((1 + e^-epsilon) delta)) / epsilon), the tail of the discrete Laplace distribution.

    Args:
        epsilon: of the count alone.
    """
    return cohort + ceil(log(1 / ((1 + exp(-epsilon)) * delta)) / epsilon)


def mechanism_of(report: Report) -> Mechanism:
    """Return the mechanism that a policy's report declares."""
    most = bounds(report)
    weights = [Fraction(repr(report.split.get(metric, 1.0))) for metric in report.metrics]
    epsilons = [Fraction(repr(report.epsilon)) * weight / sum(weights) for weight in weights]
    count = float(epsilons[report.metrics.index("visitors")])
    return Mechanism(
        epsilon=report.epsilon,
        delta=report.delta,
        cohort=report.cohort,
        threshold=threshold(report.cohort, count, report.delta),
        quantum=report.quantum,
        bounds=most,
        scales=tuple(_rounded_up(bound / epsilon) for bound, epsilon in zip(most, epsilons, strict=True)),
    )


def _rounded_up(scale: Fraction) -> Fraction:
    """Return a scale of few digits, hardly larger: a fraction of a policy's decimals can be too long to be sent."""
    unit = 1 << 20 if scale < 1 << 40 else 1
    return Fraction(ceil(scale * unit), unit)


def segment_of(report: Report, granted: Iterable[str]) -> str:
    """Return the segment of a visitor who granted this."""
    return "+".join(sorted(set(report.segments) & set(granted)))


def cells_of(rule: DecisionRule, report: Report) -> tuple[Cell, ...]:
    """Return every cell that a visitor may be in: by segment, then tranche, the holdout before the arms.

    Where any arm is drawn they are all of them: shares may have been others when a visitor was enrolled.
    """
    found: list[Cell] = []
    purposes = sorted(report.segments)
    drawn = tuple(rule.arms) if any(len(shares) > 1 for shares in rule.choice.values()) else ()
    for size in range(len(purposes) + 1):
        for granted in combinations(purposes, size):
            scored = rule.tranches if rule.purpose not in report.segments or rule.purpose in granted else ()
            unscored = ("",) if rule.purpose not in granted else ()
            for tranche in (*unscored, *scored):
                arms = drawn or tuple(rule.choice[tranche]) if tranche else (rule.default_arm,)
                found += [(one, tranche, "+".join(granted)) for one in (HOLDOUT, *arms)]
    return tuple(found)


def check_cells(name: str, rule: DecisionRule, report: Report) -> None:
    """Refuse a decision whose report could not be read.

    Raises:
        Forbidden: it would have more cells than a report may have.
    """
    cells = len(cells_of(rule, report))
    if cells > _MOST_CELLS:
        what = f"would be reported in {cells:,} cells, more than {_MOST_CELLS:,}"
        remedy = "decide by fewer tranches or arms, or report by fewer segments"
        raise Forbidden(what, place=f"decisions.{name}", remedy=remedy)


def noised(
    sums: Mapping[Cell, list[int]], cells: Iterable[Cell], mechanism: Mechanism, below: Callable[[int], int]
) -> dict[Cell, tuple[int, ...] | None]:
    """Return each cell's noisy sums, None under the threshold.

    Args:
        sums: true sums by cell; a cell that nobody is in may be left out. cells: all that are declared; each draws
            its noise, whoever is in it. below: the operating system's randomness; tests inject a seed.
    """
    found: dict[Cell, tuple[int, ...] | None] = {}
    nothing = [0] * len(mechanism.scales)
    for cell in cells:
        noisy = tuple(
            total + discrete_laplace(scale, below)
            for total, scale in zip(sums.get(cell, nothing), mechanism.scales, strict=True)
        )
        found[cell] = noisy if noisy[0] >= mechanism.threshold else None
    return found


def encode_report(report: CrowdReport) -> bytes:
    """Return the one encoding of a report."""
    mechanism = report.mechanism
    return pack(
        {
            "format": _FORMAT,
            "id": report.id,
            "tenant": report.tenant,
            "report": report.report,
            "experiment": report.experiment,
            "bundle": report.bundle,
            "bundle_version": report.bundle_version,
            "policy": report.policy,
            "since": report.since,
            "until": report.until,
            "window_days": report.window_days,
            "holdout": report.holdout,
            "ramp": report.ramp,
            "currency": report.currency,
            "metrics": list(report.metrics),
            "mechanism": {
                "name": "discrete_laplace",
                "epsilon": mechanism.epsilon,
                "delta": mechanism.delta,
                "cohort": mechanism.cohort,
                "threshold": mechanism.threshold,
                "quantum": mechanism.quantum,
                "bounds": list(mechanism.bounds),
                "scales": [[scale.numerator, scale.denominator] for scale in mechanism.scales],
            },
            "cells": [[*cell, None if sums is None else list(sums)] for cell, sums in report.cells.items()],
        }
    )


def read_report(data: bytes, *, place: str = "report") -> CrowdReport:
    """Return the report in `data`.

    Raises:
        Malformed: not a report of this format, or one that contradicts itself.
    """
    top = Table(unpack(data, place=place, longest=REPORT_LIMIT), place)
    top.integer("format", least=_FORMAT, most=_FORMAT)
    metrics = top.names("metrics", longest=len(METRICS))
    if not metrics or metrics[0] != "visitors" or not set(metrics) <= set(METRICS):
        raise top.refuse("metrics", "are not metrics that start with visitors", "send it as it was made")
    report = CrowdReport(
        id=top.blob("id", longest=16),
        tenant=top.name("tenant"),
        report=top.name("report"),
        experiment=top.name("experiment"),
        bundle=top.name("bundle"),
        bundle_version=top.integer("bundle_version", least=1, most=1 << 53),
        policy=top.integer("policy", least=1, most=1 << 31),
        since=top.integer("since", least=0, most=1 << 53),
        until=top.integer("until", least=0, most=1 << 53),
        window_days=top.integer("window_days", least=1, most=366),
        holdout=top.integer("holdout", least=0, most=BUCKETS),
        ramp=top.integer("ramp", least=0, most=BUCKETS),
        currency=top.text("currency", longest=3, empty=True),
        metrics=metrics,
        mechanism=_mechanism(top.table("mechanism"), len(metrics)),
        cells=_cells(top, len(metrics)),
    )
    top.close()
    if len(report.id) != 16 or report.since > report.until:
        raise top.refuse("id", "or dates are not as a release makes them", "send it as it was made")
    return report


def _mechanism(table: Table, count: int) -> Mechanism:
    table.choice("name", ("discrete_laplace",))
    scales = table.array("scales")
    pairs = [pair for pair in scales if isinstance(pair, list) and len(pair) == 2]
    sound = len(pairs) == len(scales) == count and all(
        type(part) is int and 0 < part < _LARGEST for pair in pairs for part in pair
    )
    mechanism = Mechanism(
        epsilon=table.number("epsilon", least=1e-6, most=20),
        delta=table.number("delta", least=1e-15, most=1e-3),
        cohort=table.integer("cohort", least=1, most=1_000_000),
        threshold=table.integer("threshold", least=1, most=1 << 53),
        quantum=table.integer("quantum", least=1, most=10**9),
        bounds=table.integers("bounds", least=1, most=_LARGEST),
        scales=tuple(Fraction(*pair) for pair in pairs) if sound else (),
    )
    table.close()
    if not sound or len(mechanism.bounds) != count:
        raise table.refuse("scales", "is not one fraction for each metric", "send it as it was made")
    return mechanism


def _cells(top: Table, count: int) -> dict[Cell, tuple[int, ...] | None]:
    cells: dict[Cell, tuple[int, ...] | None] = {}
    for i, entry in enumerate(top.array("cells", longest=_MOST_CELLS)):
        texts = entry[:3] if isinstance(entry, list) and len(entry) == 4 else [None]
        if not all(isinstance(text, str) and len(text) <= 300 for text in texts):
            raise top.refuse(f"cells[{i}]", "is not [arm, tranche, segment, sums]", "send it as it was made")
        arm, tranche, segment, sums = entry
        whole = sums is None or (
            isinstance(sums, list) and len(sums) == count and all(type(n) is int and abs(n) < _LARGEST for n in sums)
        )
        if not whole or (arm, tranche, segment) in cells:
            raise top.refuse(f"cells[{i}]", "has no sums of its own", "send it as it was made")
        cells[arm, tranche, segment] = None if sums is None else tuple(sums)
    return cells
