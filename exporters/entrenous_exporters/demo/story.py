"""`entrenous demo`: train on real trips, sign and publish, open a client through the updater, replay the last quarter
under a mix of consents, show what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from entrenous import Client, Config, Deployment
from entrenous.client import system_clock
from entrenous.updates.layout import OFFLINE_THRESHOLD
from entrenous_consent.keys import write_whole
from entrenous_consent.policy import parse_policy
from entrenous_exporters.demo.findings import Findings, find, quality_of
from entrenous_exporters.demo.page import render
from entrenous_exporters.demo.replay import OCTOBER, Replay, ScriptedClock, Trip, assign
from entrenous_exporters.keys import ROLES, make_key
from entrenous_exporters.publish import Repository
from entrenous_exporters.quality import Quality
from entrenous_exporters.readers import complete_journey, trips
from entrenous_exporters.rows import labelled_rows
from entrenous_exporters.spec import parse_spec
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import Rows, Trained, train
from entrenous_exporters.workshop import write_trained

__all__ = ["tell"]

_SEED = 2017
_WARM_VISITORS = 100
_WARM_DECISIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    trained: Trained
    trips: list[Trip]
    households: list[str]
    deployment: Deployment
    central: Mapping[str, Quality]


def tell(out: Path, *, households: int, console: Console, clock: Callable[[], int] = system_clock) -> Findings:
    """Run the whole demonstration; leave the signed repository, store and page in `out`; return what was found.

    Args:
        households: how many are replayed. console: where progress and the closing table go.
        clock: of whoever signs and updates, Unix seconds: the replay's own stands in 2017.

    Raises:
        Missing: the data package is not installed.
    """
    started = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    for old in ("state", "keys", "signers", "repository"):
        shutil.rmtree(out / old, ignore_errors=True)
    columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        prepared = _prepare(out, households, progress, clock())
        scripted = ScriptedClock(prepared.trips[0].time)
        config = Config(
            source=out / "repository",
            deployment=prepared.deployment,
            state=out / "state",
            keys=out / "keys",
            clock=scripted,
            updates_clock=clock,
        )
        with Client.open(config) as client:
            replay = Replay(client, scripted, assign(prepared.households, _SEED))
            task = progress.add_task("replaying 2017, trip by trip", total=len(prepared.trips))
            replay.run(iter(prepared.trips), lambda _: progress.advance(task))
            warm = _warm(client, replay)
        found = find(
            replay,
            trained=prepared.trained,
            central=prepared.central,
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


def _prepare(out: Path, households: int, progress: Progress, now: int) -> _Prepared:
    """Train the bundle, publish it, and lay out the trips of the households that are replayed."""
    task = progress.add_task("reading 1.47 million line items", total=6)

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
    trained = train(spec, policy, rows, created=now, progress=step)
    write_whole(out / "policy.toml", policy_text)
    write_trained(out / "bundle.msgpack", trained)
    step("signing policy and bundle, each by its own")
    deployment = _publish(out, policy_text, trained, tenant=policy.tenant, bundle=spec.name, now=now)
    progress.update(task, completed=6, total=6, description=f"trained and published: {len(trained.data):,} bytes")
    asked = moments.order_by("row").to_pyarrow()
    everyone = np.asarray(asked["visitor"].to_pylist())
    active = np.unique(everyone[rows.times >= OCTOBER])
    chosen = sorted(np.random.default_rng(_SEED).choice(active, size=min(households, len(active)), replace=False))
    laid = list(_trips(backend, events, chosen, asked, rows))
    names = [str(one) for one in chosen]
    return _Prepared(
        trained=trained,
        trips=laid,
        households=names,
        deployment=deployment,
        central=quality_of(trained, rows.where(rows.known & (rows.times >= OCTOBER))),
    )


def _publish(out: Path, policy: bytes, trained: Trained, *, tenant: str, bundle: str, now: int) -> Deployment:
    """Make a key for each role, sign the policy and the bundle, publish both; return what a runtime is given."""
    signers = {
        role: [
            make_key(out / "signers", role, f"holder_{number}")
            for number in range(1, 1 + (OFFLINE_THRESHOLD if role in ("root", "targets") else 1))
        ]
        for role in ROLES
    }
    repository = Repository.create(out / "repository", signers, now=now)
    repository.add_policy(policy, signers["privacy"], now=now)
    repository.add_bundle(trained.data, signers["models"], tenant=tenant, now=now, research=True)
    repository.publish(signers["snapshot"], signers["timestamp"], now=now)
    return Deployment(root=repository.trusted_root(), tenant=tenant, bundle=bundle)


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
