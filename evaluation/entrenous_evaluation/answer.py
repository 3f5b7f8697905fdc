"""From reports to an answer: each arm against the holdout, in one population and by tranche, with money and warnings.

A *stratum* is one tranche of one segment in one report: its holdout and its arms were told apart by chance alone. It
counts only where its holdout and an arm show: a cell that the threshold hid leaves its counterpart without anyone to be
compared with. Strata are merged; each brings its noise along. Where several arms were drawn in a tranche, an arm is
told of by tranche: merged over tranches in which its share differs, it would be compared with other people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from entrenous.loop.contributions import HOLDOUT
from entrenous.loop.reports import CrowdReport
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table
from entrenous_evaluation.cells import sums_of
from entrenous_evaluation.statistics import (
    Comparison,
    Estimate,
    Interval,
    Money,
    SampleRatio,
    Sums,
    Unknown,
    compare,
    mean,
    money,
    order_value,
    sample_ratio,
)

__all__ = ["ALARM", "FIGURES", "Answer", "Cost", "Costs", "Line", "Population", "Stratum", "evaluate", "parse_costs"]

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
    """One tranche of one segment in one report, holdout and arms by name."""

    segment: str
    tranche: str
    arms: Mapping[str, Sums]
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
        set_aside: reports under another ramp than the last one's: their shares of holdout and arms are others.
        cells, hidden: declared cells of all reports, and how many of them the threshold hid. unpaired: cells that show
            and have no counterpart. epsilon: what taking part costs a visitor.
        simulated: what in these figures did not happen, empty for nothing; printed wherever they are.
    """

    tenant: str
    experiment: str
    reports: int
    set_aside: int
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
    last = max(reports, key=lambda one: (one.until, one.bundle_version))
    given, reports = len(reports), [one for one in reports if one.ramp == last.ramp]
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
        set_aside=given - len(reports),
        since=min(one.since for one in reports),
        until=max(one.until for one in reports),
        window_days=first.window_days,
        currency=first.currency,
        cells=cells,
        hidden=cells - shown,
        unpaired=shown - sum(1 + len(one.arms) for one in strata),
        epsilon=max(one.mechanism.epsilon for one in reports),
        populations=tuple(
            _population(name, some, _held(last), priced, confidence) for name, some in wanted.items() if some
        ),
        simulated=simulated,
    )


def _strata(report: CrowdReport) -> Iterable[Stratum]:
    """Yield the strata of a report whose holdout shows, and an arm beside it."""
    for tranche, segment in dict.fromkeys(cell[1:] for cell in report.cells):
        shown = {
            arm: sums_of(report.metrics, report.mechanism, sums)
            for (arm, *where), sums in report.cells.items()
            if where == [tranche, segment] and sums is not None
        }
        held = shown.pop(HOLDOUT, None)
        if held is not None and shown:
            yield Stratum(segment=segment, tranche=tranche, arms=shown, holdout=held)


def _held(report: CrowdReport) -> float:
    """Return which share of those who took part was held out."""
    return report.holdout / max(report.holdout + report.ramp, 1)


def _population(name: str, strata: Sequence[Stratum], holdout: float, costs: Costs, confidence: float) -> Population:
    lines = [_line("all", "all", strata, costs, confidence)]
    scored = [one for one in strata if one.tranche]
    for arm, where in _arms(scored):
        some = [
            replace(one, arms={arm: one.arms[arm]}) for one in scored if arm in one.arms and where in ("", one.tranche)
        ]
        lines.append(_line("arm", f"{arm} ({where})" if where else arm, some, costs, confidence))
    for tranche in dict.fromkeys(one.tranche for one in scored):
        some = [one for one in scored if one.tranche == tranche]
        lines.append(_line("tranche", tranche, some, costs, confidence))
    both = [_treated(strata), _merged(one.holdout for one in strata)]
    ratio = (
        sample_ratio(both, [1 - holdout, holdout])
        if 0 < holdout < 1
        else Unknown("too_few", "there is no holdout, or nothing else")
    )
    return Population(name=name, lines=tuple(lines), ratio=ratio)


def _arms(strata: Sequence[Stratum]) -> list[tuple[str, str]]:
    """Return which arms get a line, and of which tranche; an empty one for all."""
    drawn = any(len(one.arms) > 1 for one in strata)
    return list(dict.fromkeys((arm, one.tranche if drawn else "") for one in strata for arm in one.arms))


def _treated(strata: Iterable[Stratum]) -> Sums:
    return _merged(sums for one in strata for sums in one.arms.values())


def _line(kind: str, name: str, strata: Sequence[Stratum], costs: Costs, confidence: float) -> Line:
    treated, holdout = _treated(strata), _merged(one.holdout for one in strata)
    figures = {figure: (_figure(figure, treated), _figure(figure, holdout)) for figure in FIGURES}
    arms = {arm for one in strata for arm in one.arms}
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
