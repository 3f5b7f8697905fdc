"""`entrenous lifetime fit`: from an event log to the numbers that a declared feature carries."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from entrenous.features.lifetime import UNITS
from entrenous_consent.errors import Malformed, Missing
from entrenous_exporters.lifetime.holdout import Holdout, check_holdout
from entrenous_exporters.lifetime.models import as_lifetime, fit_purchases, fit_values
from entrenous_exporters.lifetime.orders import Orders, read_orders
from entrenous_exporters.lifetime.telling import Fitted, as_toml, told
from entrenous_exporters.readers import read_consent, read_events
from entrenous_exporters.tables import open_backend

__all__ = ["lifetime"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Told: TypeAlias = Callable[[str, int, int], None]

_HELD_OUT = 3
"""One part in so many of the time is held out, unless it is said."""


def lifetime(commands: Commands) -> None:
    """Register `entrenous lifetime`."""
    words = "fit what a buyer is still worth"
    verbs = commands.add_parser("lifetime", help=words, description=words).add_subparsers(metavar="VERB", required=True)
    fitting = "fit BG/NBD and Gamma-Gamma on an event log"
    parser = verbs.add_parser("fit", help=fitting, description=fitting)
    parser.add_argument("events", type=Path, help="the log (.parquet or .csv): visitor, time, name, value")
    parser.add_argument("--out", type=Path, default=Path("lifetime.toml"), help="where the numbers go")
    granted = parser.add_mutually_exclusive_group(required=True)
    granted.add_argument("--consent", type=Path, metavar="FILE", help="who granted `improve`: visitor, improve")
    granted.add_argument("--public-research-data", action="store_true", help="the log is of no visitors of this shop")
    parser.add_argument("--unit", choices=tuple(UNITS), default="day", help="in which the models count (day)")
    parser.add_argument("--until", type=_day, metavar="DATE", help="the last day that counts (the last of the log)")
    parser.add_argument("--holdout", type=int, metavar="DAYS", help="how long a part is held out (a third of the time)")
    parser.set_defaults(run=_fit)


def _day(text: str) -> int:
    """Return a date in days since 1970."""
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError as error:
        raise argparse.ArgumentTypeError("expected a date, as 2026-11-22") from error


def _fit(arguments: argparse.Namespace) -> int:
    if not arguments.out.parent.is_dir():
        raise Missing("is not there", place=str(arguments.out.parent), remedy="make the folder first")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def step(what: str, done: int, of: int) -> None:
            progress.update(task, description=what, completed=done, total=of or None)

        backend = open_backend(threads=os.cpu_count() or 1)
        events = read_events(backend, arguments.events)
        choices = read_consent(backend, arguments.consent) if arguments.consent else None
        fitted = _fitted(read_orders(backend, events, choices, until=arguments.until), arguments, step)
    _written(arguments.out, as_toml(fitted))
    console = Console()
    for part in told(fitted):
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    console.print(f"{arguments.out}: copy its last line into the features that need it", soft_wrap=True)
    return 0


def _fitted(orders: Orders, arguments: argparse.Namespace, step: Told) -> Fitted:
    buyers = orders.buyers(orders.last)
    histories, spending = buyers.histories(arguments.unit), buyers.spending()
    step("fitting how often", 0, 0)
    purchases = fit_purchases(histories)
    step("fitting how much", 0, 0)
    values = fit_values(spending)
    return Fitted(
        model=as_lifetime(purchases, values, arguments.unit),
        purchases=purchases,
        values=values,
        histories=histories,
        spending=spending,
        holdout=_holdout(orders, arguments, step),
        left_out={**orders.left_out, "worth_nothing": buyers.worth_nothing},
        last=orders.last,
        research=bool(arguments.public_research_data),
    )


def _holdout(orders: Orders, arguments: argparse.Namespace, step: Told) -> Holdout | str:
    """Return the check; where nobody asked for one and the orders are too few for it, why there is none."""
    days = arguments.holdout if arguments.holdout is not None else max(1, orders.days // _HELD_OUT)
    try:
        return check_holdout(
            orders, days, arguments.unit, progress=lambda done, of: step("checking on later purchases", done, of)
        )
    except Malformed as error:
        if arguments.holdout is not None:
            raise
        return str(error)


def _written(path: Path, text: str) -> None:
    """Write whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
