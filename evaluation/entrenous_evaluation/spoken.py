"""The answer in words: one sentence, tables for a terminal, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from entrenous_evaluation.answer import ALARM, FIGURES, Answer, Line, Population
from entrenous_evaluation.statistics import Comparison, Interval, Money, SampleRatio, Unknown

__all__ = ["NAMES", "amount", "as_json", "facts", "headline", "level", "lift", "ratio", "show", "spent"]

NAMES = {"conversion": "conversion", "order_value": "order value", "revenue_per_visitor": "revenue per visitor"}


def headline(answer: Answer) -> str:
    """Return the answer in one sentence."""
    everyone = answer.populations[0] if answer.populations else None
    if everyone is None:
        said = "nothing shows yet: every cell is under its threshold"
    elif isinstance(everyone.ratio, SampleRatio) and everyone.ratio.p_value < ALARM:
        said = "the arms did not get the visitors they should have: believe no figure before that is explained"
    else:
        found = everyone.lines[0].lifts["revenue_per_visitor"]
        if isinstance(found, Unknown):
            said = f"there is too little to tell what the offers changed ({found.message})"
        elif found.lift.low > 0:
            said = f"the offers raised revenue per visitor by {_range(found.lift)}"
        elif found.lift.high < 0:
            said = f"the offers lowered revenue per visitor, by {_range(found.lift)}"
        else:
            said = f"the offers changed revenue per visitor by {_range(found.lift)}: it may be nothing"
    start = f"{answer.experiment}: " if not answer.simulated else f"Simulated — {answer.experiment}: "
    return start + said + "."


def _range(interval: Interval) -> str:
    return f"{interval.value:+.1%} (95 % interval {interval.low:+.1%} to {interval.high:+.1%})"


def lift(found: Comparison | Unknown) -> str:
    """Return a lift with its interval, or why there is none."""
    return (
        found.cause.replace("_", " ")
        if isinstance(found, Unknown)
        else _range(found.lift).replace("95 % interval ", "")
    )


def level(figure: str, found: Interval | Unknown, currency: str) -> str:
    """Return a figure on one side."""
    if isinstance(found, Unknown):
        return "–"
    return f"{found.value:.1%}" if figure == "conversion" else amount(found.value, currency)


def amount(minor: float, currency: str) -> str:
    """Return minor units as money with two decimals; the currency as it was declared."""
    return f"{minor / 100:,.2f} {currency}".strip()


def spent(money: Money | Unknown, currency: str) -> tuple[str, str, str]:
    """Return incremental revenue, cost and return on it."""
    if isinstance(money, Unknown):
        return "–", "–", "–"
    revenue = (
        f"{amount(money.revenue.value, currency)} ({amount(money.revenue.low, '')} to {amount(money.revenue.high, '')})"
    )
    roi = (
        "–"
        if isinstance(money.roi, Unknown)
        else f"{money.roi.value:+.0%} ({money.roi.low:+.0%} to {money.roi.high:+.0%})"
    )
    return revenue, amount(money.cost, currency), roi


def ratio(population: Population) -> str:
    """Return what the sample ratio says."""
    found = population.ratio
    if isinstance(found, Unknown):
        return f"sample ratio: not tested ({found.message})"
    verdict = "MISMATCH: believe no figure here" if found.p_value < ALARM else "as it should be"
    return f"sample ratio: {found.shares[1]:.1%} held out, {verdict} (p = {found.p_value:.3f})"


def facts(answer: Answer) -> Iterator[tuple[str, str]]:
    """Yield what the figures rest on, name and value."""
    yield "reports", f"{answer.reports}, of exposures from {_day(answer.since)} to {_day(answer.until)}"
    yield "outcomes counted for", f"{answer.window_days} days"
    yield (
        "cells",
        f"{answer.cells} sent, {answer.hidden} of them hidden by the threshold, {answer.unpaired} without counterpart",
    )
    yield "privacy", f"epsilon {answer.epsilon:g} for whoever took part; noise is in every interval"
    if answer.simulated:
        yield "simulated", answer.simulated


def _day(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).date().isoformat()


def show(answer: Answer, console: Console) -> None:
    """Print the answer: the sentence, a table for each population, and what it rests on."""
    console.print(headline(answer), highlight=False, soft_wrap=True)
    for population in answer.populations:
        table = Table(title=f"{population.name}: over the holdout", title_justify="left")
        for heading in ("", "visitors", "held out", *NAMES.values(), "incremental revenue", "cost", "return"):
            table.add_column(heading)
        for line in population.lines:
            lifts = (lift(line.lifts[figure]) for figure in FIGURES)
            name = line.name if line.kind == "all" else f"{line.kind} {line.name}"
            money = spent(line.money, answer.currency)
            table.add_row(name, f"{line.treated:,.0f}", f"{line.holdout:,.0f}", *lifts, *money)
        console.print(table)
        console.print(ratio(population), highlight=False)
    for name, value in facts(answer):
        console.print(f"{name}: {value}", highlight=False, soft_wrap=True)


def as_json(answer: Answer) -> str:
    """Return the answer as JSON; what is not known is an object with its cause."""
    return json.dumps(
        {"headline": headline(answer), **asdict(answer), "lines": _lines(answer)}, indent=1, ensure_ascii=False
    )


def _lines(answer: Answer) -> list[dict[str, Any]]:
    """Return every comparison flat, for whoever only wants the lifts."""

    def flat(population: Population, line: Line) -> dict[str, Any]:
        told: dict[str, Any] = {"population": population.name, "kind": line.kind, "name": line.name}
        for figure in FIGURES:
            found = line.lifts[figure]
            told[figure] = {"cause": found.cause} if isinstance(found, Unknown) else asdict(found.lift)
        return told

    return [flat(population, line) for population in answer.populations for line in population.lines]
