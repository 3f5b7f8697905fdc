"""`entrenous demo`: train on real trips, open a client, replay the last quarter under a mix of consents, show what
came of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from entrenous import Client, Config
from entrenous_consent.keys import write_whole
from entrenous_consent.policy import parse_policy
from entrenous_exporters.demo.findings import Findings, find
from entrenous_exporters.demo.page import render
from entrenous_exporters.demo.replay import OCTOBER, Replay, ScriptedClock, Trip, assign
from entrenous_exporters.readers import complete_journey, trips
from entrenous_exporters.rows import labelled_rows
from entrenous_exporters.spec import parse_spec
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import Rows, Trained, train

__all__ = ["tell"]

_SEED = 2017
_WARM_VISITORS = 100
_WARM_DECISIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    trained: Trained
    trips: list[Trip]
    households: list[str]


def tell(out: Path, *, households: int, console: Console) -> Findings:
    """Run the whole demonstration; leave bundle, policy, store and page in `out`; return what was found.

    Args:
        households: how many are replayed. console: where progress and the closing table go.

    Raises:
        Missing: the data package is not installed.
    """
    started = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    for old in ("state", "keys"):
        shutil.rmtree(out / old, ignore_errors=True)
    columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        prepared = _prepare(out, households, progress)
        clock = ScriptedClock(prepared.trips[0].time)
        config = Config(
            policy=out / "policy.toml",
            bundle=out / "bundle.msgpack",
            state=out / "state",
            keys=out / "keys",
            clock=clock,
        )
        with Client.open(config) as client:
            replay = Replay(client, clock, assign(prepared.households, _SEED))
            task = progress.add_task("replaying 2017, trip by trip", total=len(prepared.trips))
            replay.run(iter(prepared.trips), lambda _: progress.advance(task))
            warm = _warm(client, replay)
        found = find(
            replay,
            trained=prepared.trained,
            warm_seconds=warm,
            state=out / "state",
            trips=sum(trip.time >= OCTOBER for trip in prepared.trips),
            seconds=perf_counter() - started,
        )
    page = out / "demo.html"
    write_whole(page, render(found).encode())
    found.show(console)
    console.print(f"\nThe same as a page, offline: [bold]{page}[/]")
    return found


def _prepare(out: Path, households: int, progress: Progress) -> _Prepared:
    """Train the bundle and lay out the trips of the households that are replayed."""
    task = progress.add_task("reading 1.47 million line items", total=5)

    def step(text: str) -> None:
        progress.update(task, description=text, advance=1)

    packaged = files(__package__)
    policy_text = packaged.joinpath("policy.toml").read_bytes()
    policy = parse_policy(policy_text, place="policy.toml")
    spec = parse_spec(packaged.joinpath("trips.toml").read_bytes(), place="trips.toml")
    backend: Any = open_backend(threads=2)
    events = complete_journey(backend)
    moments = trips(backend, events)
    step("computing the feature table on DuckDB")
    rows = labelled_rows(backend, spec, events, moments)
    trained = train(spec, policy, rows, created=OCTOBER, progress=step)
    write_whole(out / "policy.toml", policy_text)
    write_whole(out / "bundle.msgpack", trained.data)
    write_whole(out / "bundle.card.json", trained.card)
    progress.update(task, completed=5, total=5, description=f"trained: {len(trained.data):,} bytes")
    asked = moments.order_by("row").to_pyarrow()
    everyone = np.asarray(asked["visitor"].to_pylist())
    active = np.unique(everyone[rows.times >= OCTOBER])
    chosen = sorted(np.random.default_rng(_SEED).choice(active, size=min(households, len(active)), replace=False))
    laid = list(_trips(backend, events, chosen, asked, rows))
    return _Prepared(trained=trained, trips=laid, households=[str(one) for one in chosen])


def _trips(backend: Any, events: Any, chosen: Sequence[str], asked: Any, rows: Rows) -> Iterator[Trip]:
    """Yield the chosen households' trips in order of time, with their line items as events."""
    items = events.filter(events.visitor.isin(list(chosen))).order_by(["time", "basket"]).to_pyarrow().to_pylist()
    labels = [bool(again) if known else None for again, known in zip(rows.y, rows.known, strict=True)]
    again = dict(zip(zip(asked["visitor"].to_pylist(), asked["time"].to_pylist(), strict=True), labels, strict=True))
    basket: list[dict[str, Any]] = []
    for i, item in enumerate(items):
        basket.append(item)
        if i + 1 < len(items) and items[i + 1]["basket"] == item["basket"]:
            continue
        household, time = item["visitor"], item["time"]
        yield Trip(
            household=household,
            time=time,
            items=tuple(_event(one) for one in basket),
            value=sum(one["value"] for one in basket),
            again=again[household, time],
        )
        basket = []


def _event(item: dict[str, Any]) -> dict[str, Any]:
    event = {"name": "purchase", "time": item["time"], "value": item["value"], "currency": "USD"}
    event["transaction_id"] = str(item["basket"])
    return event | {key: item[key] for key in ("category", "brand") if item[key]}


def _warm(client: Client, replay: Replay) -> list[float]:
    """Return the seconds of further decisions, profile open, for some households after the replay is over."""
    seconds = []
    for household in list(replay.groups)[:_WARM_VISITORS]:
        visitor = client.visitor(household)
        visitor.decide("promotion", "none")
        for _ in range(_WARM_DECISIONS):
            start = perf_counter()
            decision = visitor.decide("promotion", "none")
            if decision.margin is not None:
                seconds.append(perf_counter() - start)
    return seconds
