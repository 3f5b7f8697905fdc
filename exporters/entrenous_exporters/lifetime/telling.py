"""What was fitted, in words: for the terminal, and as the lines that a declaration takes over."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table

from entrenous.features.lifetime import UNITS, Lifetime, alive, expected_purchases, expected_value
from entrenous_exporters.lifetime.fitting import Fit
from entrenous_exporters.lifetime.histories import Histories, Spending
from entrenous_exporters.lifetime.holdout import Holdout

__all__ = ["CORRELATED", "Fitted", "as_toml", "told"]

CORRELATED = 0.3
"""From this correlation on, how often and how much are no longer apart, and Gamma-Gamma says so at a price."""

_CAUSES = {
    "improve_missing": "visitors have not granted `improve`: nothing of theirs was read",
    "no_purchase": "visitors who granted it bought nothing",
    "worth_nothing": "buyers have spent nothing: not among the values",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Everything that is told.

    Attributes:
        model: what a device will hold. purchases, values: how it was found. histories, spending: on what.
        holdout: how the later part compared, or why it could not be asked.
        left_out: how many, by cause. last: the day as of which everything counts, days since 1970.
        research: nobody was asked for `improve`, because the log is public research data.
    """

    model: Lifetime
    purchases: Fit
    values: Fit
    histories: Histories
    spending: Spending
    holdout: Holdout | str
    left_out: dict[str, int]
    last: int
    research: bool

    @property
    def until(self) -> str:
        """The day as of which everything counts."""
        return datetime.fromtimestamp(86_400 * self.last, UTC).strftime("%Y-%m-%d")

    def warnings(self) -> Iterator[str]:
        """Yield what whoever uses the numbers has to know first."""
        correlation = self.spending.correlation
        if self.research:
            yield "learnt from public research data, not from visitors of this shop"
        if abs(correlation) > CORRELATED:
            yield (
                f"how often and how much are correlated ({correlation:.2f}): Gamma-Gamma assumes that they are not, "
                "and values of frequent buyers will be off"
            )
        for name, fit in (("BG/NBD", self.purchases), ("Gamma-Gamma", self.values)):
            if fit.at_bound:
                yield f"{name}: {', '.join(fit.at_bound)} ended at the edge of what is tried; no interval is known"
            elif not fit.determined:
                yield f"{name}: the data fix its parameters only together; each alone has no interval"


def told(fitted: Fitted) -> Iterator[str | Table]:
    """Yield what the terminal shows, in order."""
    histories, correlation = fitted.histories, fitted.spending.correlation
    yield (
        f"{histories.buyers:,} buyers until {fitted.until}, {histories.repeating:,} of whom bought again "
        f"({len(histories.counts):,} distinct histories)"
    )
    for cause, count in fitted.left_out.items():
        if count:
            yield f"left out: {count:,} {_CAUSES[cause]}"
    yield _parameters(fitted)
    often, much = fitted.purchases.log_likelihood, fitted.values.log_likelihood
    yield f"log-likelihood: BG/NBD {often:.2f}, Gamma-Gamma {much:.2f}"
    yield f"correlation of how often with how much: {'unknown' if math.isnan(correlation) else f'{correlation:.3f}'}"
    yield _newcomer(fitted.model)
    if isinstance(fitted.holdout, str):
        yield f"not checked on later purchases: {fitted.holdout}"
    else:
        yield from _held(fitted.holdout)
    for warning in fitted.warnings():
        yield f"careful: {warning}"


def _parameters(fitted: Fitted) -> Table:
    shown = Table("parameter", "value", "standard error", "95 % interval")
    for fit in (fitted.purchases, fitted.values):
        for name, one in fit.parameters.items():
            known = one.error is not None
            shown.add_row(
                name,
                f"{one.value:.6g}",
                f"{one.error:.3g}" if known else "–",
                f"{one.low:.4g} to {one.high:.4g}" if known else "–",
            )
    return shown


def _newcomer(model: Lifetime) -> str:
    year = 365.25 / UNITS[model.unit]
    bought = expected_purchases(model, 0.0, 0.0, 0.0, year)
    return (
        f"a new buyer is expected to buy on {bought:.2f} further days within a year, "
        f"for {expected_value(model, 0.0, 0.0):,.0f} minor units each; "
        f"one who bought on two days {year / 12:.0f} {model.unit}s apart and not for a year is active "
        f"with a chance of {alive(model, 1.0, year / 12, 13 * year / 12):.0%}"
    )


def _held(holdout: Holdout) -> Iterator[str | Table]:
    shown = Table("repeat purchases before", "buyers", "predicted", "actual", title=f"the last {holdout.days} days")
    last = holdout.bands[-1].repeats
    for band in holdout.bands:
        more = " or more" if band.repeats == last == 7 else ""
        shown.add_row(f"{band.repeats}{more}", f"{band.buyers:,}", f"{band.predicted:.3f}", f"{band.actual:.3f}")
    yield shown
    off = f" ({holdout.predicted / holdout.actual - 1:+.1%})" if holdout.actual else ""
    yield (
        f"days with a purchase, of {holdout.buyers:,} buyers: "
        f"{holdout.predicted:,.1f} predicted, {holdout.actual:,} actual{off}"
    )


def as_toml(fitted: Fitted) -> str:
    """Return the file: what it rests on as comments, and the line that a feature's declaration takes over."""
    lines = [
        f"# BG/NBD and Gamma-Gamma of {fitted.histories.buyers:,} buyers until {fitted.until}; values in minor units.",
        "# Copy the last line under each feature that needs it: alive, churn, expected_purchases, expected_value and",
        "# lifetime_value.",
    ]
    for fit in (fitted.purchases, fitted.values):
        for name, one in fit.parameters.items():
            said = f"{one.low:.6g} to {one.high:.6g} (95 %)" if one.error is not None else "no interval is known"
            lines.append(f"# {name}: {said}")
    lines += [f"# careful: {warning}" for warning in fitted.warnings()]
    values = (
        f"{key} = {value!r}" if key != "unit" else f'{key} = "{value}"'
        for key, value in fitted.model.as_table().items()
    )
    return "\n".join([*lines, "lifetime = { " + ", ".join(values) + " }", ""])
