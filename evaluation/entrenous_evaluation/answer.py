"""From reports to an answer: each arm against the holdout, in one population and by tranche, with money and warnings.

A *stratum* is one tranche of one segment in one report: its holdout and its arm were told apart by chance alone. It
counts only where both of its cells show: a cell that the threshold hid leaves its counterpart without anyone to be
compared with. Strata are merged; each brings its noise along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from entrenous.contributions import HOLDOUT
from entrenous.noise import variance
from entrenous.reports import CrowdReport
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table
from entrenous_consent.pseudonyms import BUCKETS
from entrenous_evaluation.statistics import (
    Comparison,
    Estimate,
    Interval,
    Money,
    Noise,
    SampleRatio,
    Sums,
    Unknown,
    compare,
    mean,
    money,
    order_value,
    sample_ratio,
)

__all__ = ["ALARM", "FIGURES", "Answer", "Costs", "Line", "Population", "Stratum", "evaluate", "parse_costs"]

FIGURES = ("conversion", "order_value", "revenue_per_visitor")
"""What is compared, in this order."""
ALARM = 0.001
"""The p-value of the sample ratio below which nothing here should be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an arm costs, in minor units: for each visitor it was meant for, and for each of their orders."""

    per_visitor: float = 0.0
    per_order: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What arms cost, and what is left of revenue before that: `gross_margin`, 1 where nobody said."""

    gross_margin: float
    arms: Mapping[str, Cost]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """One tranche of one segment in one report, holdout and arm."""

    segment: str
    tranche: str
    arm: str
    treated: Sums
    holdout: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison.

    Attributes:
        name: `all`, an arm, or a tranche. treated, holdout: noisy visitors on either side.
        levels: by figure, (treated, holdout). lifts: by figure. money: in minor units, Unknown where revenue is.
    """

    kind: str
    name: str
    treated: float
    holdout: float
    levels: Mapping[str, tuple[Interval | Unknown, Interval | Unknown]]
    lifts: Mapping[str, Comparison | Unknown]
    money: Money | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Whom the lines are about: everybody who was measured, or those of some segments."""

    name: str
    lines: tuple[Line, ...]
    ratio: SampleRatio | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an experiment says.

    Attributes:
        cells, hidden: declared cells of all reports, and how many of them the threshold hid. unpaired: cells that show
            and have no counterpart. epsilon: what taking part costs a visitor.
        simulated: what in these figures did not happen, empty for nothing; printed wherever they are.
    """

    tenant: str
    experiment: str
    reports: int
    since: int
    until: int
    window_days: int
    currency: str
    cells: int
    hidden: int
    unpaired: int
    epsilon: float
    populations: tuple[Population, ...]
    simulated: str


def parse_costs(values: object, place: str = "costs") -> Costs:
    """Return the costs that a TOML table writes down: `gross_margin`, and `arms` with `per_visitor` and `per_order`.

    Raises:
        Malformed: an unknown key, or a value out of bounds.
    """
    top = Table(values, place)
    arms = {}
    for name, table in top.named_tables("arms", {}).items():
        arms[name] = Cost(
            per_visitor=_cost(table, "per_visitor"),
            per_order=_cost(table, "per_order"),
        )
        table.close()
    costs = Costs(gross_margin=top.number("gross_margin", 1.0, least=0.001, most=1), arms=arms)
    top.close()
    return costs


def _cost(table: Table, key: str) -> float:
    value = table.number(key, 0.0, least=0, most=1e12)
    if 0 < value < 1e-6:
        raise table.refuse(key, "is next to nothing", "write 0, or at least a millionth of a minor unit")
    return value


def evaluate(
    reports: Sequence[CrowdReport],
    *,
    costs: Costs | None = None,
    confidence: float = 0.95,
    simulated: str = "",
) -> Answer:
    """Return what the reports of one experiment say.

    Args:
        costs: of arms; nothing costs anything where they are left out. simulated: see `Answer`.

    Raises:
        Missing: there is no report. Malformed: they are of several experiments or tenants.
    """
    if not reports:
        raise Missing(
            "there is no report on it", place="reports", remedy="collect some first, or name another experiment"
        )
    first = reports[0]
    if {(one.tenant, one.experiment, one.holdout) for one in reports} != {
        (first.tenant, first.experiment, first.holdout)
    }:
        raise Malformed("are of several experiments", place="reports", remedy="name one with --experiment")
    strata = [stratum for report in reports for stratum in _strata(report)]
    shown = sum(sums is not None for report in reports for sums in report.cells.values())
    cells = sum(len(report.cells) for report in reports)
    priced = costs or Costs(gross_margin=1.0, arms={})
    segments = sorted({stratum.segment for stratum in strata if stratum.segment})
    wanted = {"everyone measured": strata}
    for segment in sorted({purpose for one in segments for purpose in one.split("+")}):
        wanted[f"who granted {segment} too"] = [one for one in strata if segment in one.segment.split("+")]
    return Answer(
        tenant=first.tenant,
        experiment=first.experiment,
        reports=len(reports),
        since=min(one.since for one in reports),
        until=max(one.until for one in reports),
        window_days=first.window_days,
        currency=first.currency,
        cells=cells,
        hidden=cells - shown,
        unpaired=shown - 2 * len(strata),
        epsilon=max(one.mechanism.epsilon for one in reports),
        populations=tuple(
            _population(name, some, first.holdout / BUCKETS, priced, confidence)
            for name, some in wanted.items()
            if some
        ),
        simulated=simulated,
    )


def _strata(report: CrowdReport) -> Iterable[Stratum]:
    """Yield the strata of a report whose two cells both show."""
    for (arm, tranche, segment), sums in report.cells.items():
        held = report.cells.get((HOLDOUT, tranche, segment))
        if arm != HOLDOUT and sums is not None and held is not None:
            yield Stratum(
                segment=segment,
                tranche=tranche,
                arm=arm,
                treated=_sums(report, sums),
                holdout=_sums(report, held),
            )


def _sums(report: CrowdReport, values: Sequence[int]) -> Sums:
    """Return a cell's sums in minor units, with the variance of the noise in each."""
    quantum = report.mechanism.quantum
    powers = {"revenue": 1, "revenue2": 2, "revenue_orders": 1}
    sums, noise = {}, {}
    for metric, value, scale in zip(report.metrics, values, report.mechanism.scales, strict=True):
        unit = float(quantum ** powers.get(metric, 0))
        sums[metric], noise[metric] = value * unit, variance(float(scale)) * unit**2
    return Sums(**sums, noise=Noise(**noise))


def _population(name: str, strata: Sequence[Stratum], holdout: float, costs: Costs, confidence: float) -> Population:
    lines = [_line("all", "all", strata, costs, confidence)]
    scored = [one for one in strata if one.tranche]
    for kind in ("arm", "tranche"):
        for value in dict.fromkeys(getattr(one, kind) for one in scored):
            some = [one for one in scored if getattr(one, kind) == value]
            lines.append(_line(kind, value, some, costs, confidence))
    both = [_merged(one.treated for one in strata), _merged(one.holdout for one in strata)]
    ratio = (
        sample_ratio(both, [1 - holdout, holdout])
        if 0 < holdout < 1
        else Unknown("too_few", "there is no holdout, or nothing else")
    )
    return Population(name=name, lines=tuple(lines), ratio=ratio)


def _line(kind: str, name: str, strata: Sequence[Stratum], costs: Costs, confidence: float) -> Line:
    treated, holdout = _merged(one.treated for one in strata), _merged(one.holdout for one in strata)
    figures = {figure: (_figure(figure, treated), _figure(figure, holdout)) for figure in FIGURES}
    arms = {one.arm for one in strata}
    cost = costs.arms.get(next(iter(arms)), Cost()) if len(arms) == 1 else None
    return Line(
        kind=kind,
        name=name,
        treated=treated.visitors,
        holdout=holdout.visitors,
        levels={
            figure: (_interval(one, confidence), _interval(other, confidence))
            for figure, (one, other) in figures.items()
        },
        lifts={figure: compare(one, other, confidence=confidence) for figure, (one, other) in figures.items()},
        money=money(
            treated,
            holdout,
            cost_per_visitor=cost.per_visitor,
            cost_per_order=cost.per_order,
            gross_margin=costs.gross_margin,
            confidence=confidence,
        )
        if cost is not None
        else Unknown("no_cost", "several arms, each with a cost of its own: see their lines"),
    )


def _merged(sums: Iterable[Sums]) -> Sums:
    return reduce(add, sums)


def _figure(name: str, sums: Sums) -> Estimate | Unknown:
    if name == "order_value":
        return order_value(sums)
    return mean(sums, "converters" if name == "conversion" else "revenue")


def _interval(estimate: Estimate | Unknown, confidence: float) -> Interval | Unknown:
    return estimate if isinstance(estimate, Unknown) else estimate.interval(confidence)
