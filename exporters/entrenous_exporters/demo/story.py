"""`entrenous demo`: the whole story on real trips. Train, sign, publish; start a real worker and a real collector; load
January to September, replay October to December over HTTP under a mix of consents; release, collect, evaluate."""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from entrenous.client import system_clock
from entrenous.messages.sending import public_key
from entrenous.updates.layout import OFFLINE_THRESHOLD
from entrenous_consent.files import KEYRING, ROOT_KEY, write_whole
from entrenous_consent.keys import FileKeyProvider, Keyring
from entrenous_consent.policy import parse_policy
from entrenous_exporters.demo.findings import Findings, find, quality_of
from entrenous_exporters.demo.page import render
from entrenous_exporters.demo.processes import Edge, collecting, evaluated, serving
from entrenous_exporters.demo.replay import OCTOBER, SIMULATED, Replay, Response, Trip, assign
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
_END = 1_514_800_000
"""The first hours of 2018: the data is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    trained: Trained
    rows: Rows
    trips: list[Trip]
    households: list[str]
    tenant: str
    lifetime: float
    central: Mapping[str, Quality]


def tell(
    out: Path, *, households: int, console: Console, clock: Callable[[], int] = system_clock, keep: bool = False
) -> Findings:
    """Run the whole demonstration; leave repository, store, reports and pages in `out`; return what was found.

    Args:
        households: how many are replayed, 0 for all. console: where progress and the closing table go.
        clock: of whoever signs, Unix seconds: the replay's own stands in 2017. keep: leave the worker running at the
            end, until it is interrupted.

    Raises:
        Missing: the data package is not installed. Unavailable: a process does not come up.
    """
    started = perf_counter()
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in ("state", "keys", "signers", "repository"):
        shutil.rmtree(out / old, ignore_errors=True)
    for old in ("reports.duckdb", "worker.log", "collector.log"):
        (out / old).unlink(missing_ok=True)
    columns = (TextColumn("[progress.description]{task.description}"), BarColumn(), MofNCompleteColumn())
    with ExitStack() as running:
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            prepared = _prepare(out, households, progress, clock())
            key = sender_key(out / "keys")
            collector = running.enter_context(collecting(out, tenant=prepared.tenant, public_key=key))
            edge = running.enter_context(
                serving(out, tenant=prepared.tenant, bundle=prepared.trained.bundle.manifest.name, collector=collector)
            )
            replay = _replay(edge, prepared, progress)
        printed, answer = evaluated(out, simulated=SIMULATED)
        found = find(
            replay,
            trained=prepared.trained,
            rows=prepared.rows,
            central=prepared.central,
            answer=answer,
            home=out,
            lifetime=prepared.lifetime,
            seconds=perf_counter() - started,
        )
        write_whole(out / "demo.html", render(found).encode())
        console.print(printed, markup=False, highlight=False, soft_wrap=True)
        found.show(console)
        console.print("\nOffline pages to look at:", f"[bold]{out / 'dashboard.html'}[/] (what the offers changed),")
        console.print(
            f"[bold]{out / 'demo.html'}[/] (what each consent led to), {out / 'bundle.card.html'} (the model)"
        )
        if keep:
            console.print(
                f"\nThe worker still runs: {edge.url}/readyz; its key is in {out / 'edge.toml'}. Ctrl-C ends it."
            )
            with suppress(KeyboardInterrupt):
                edge.wait()
    return found


def _replay(edge: Edge, prepared: _Prepared, progress: Progress) -> Replay:
    before = [trip for trip in prepared.trips if trip.time < OCTOBER]
    after = [trip for trip in prepared.trips if trip.time >= OCTOBER]
    totals: dict[str, list[int]] = defaultdict(list)
    for trip in prepared.trips:
        totals[trip.household].append(trip.value)
    averages = {household: sum(values) // len(values) for household, values in totals.items()}
    replay = Replay(edge, assign(prepared.households, _SEED), Response(_SEED, averages))
    task = progress.add_task("loading January to September", total=len({trip.household for trip in before}))
    replay.load(before, lambda count: progress.advance(task, count))
    task = progress.add_task("replaying October to December, hour by hour", total=len(after))
    replay.run(after, lambda count: progress.advance(task, count))
    replay.finish(_END)
    return replay


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
    for name in ("policy.toml", "costs.toml"):
        write_whole(out / name, packaged.joinpath(name).read_bytes())
    write_trained(out / "bundle.msgpack", trained)
    step("signing policy and bundle, each by its own")
    _publish(out, policy_text, trained, tenant=policy.tenant, now=now)
    progress.update(task, completed=6, total=6, description=f"trained and published: {len(trained.data):,} bytes")
    asked = moments.order_by("row").to_pyarrow()
    everyone = np.asarray(asked["visitor"].to_pylist())
    active = np.unique(everyone[rows.times >= OCTOBER])
    wanted = min(households or len(active), len(active))
    chosen = sorted(np.random.default_rng(_SEED).choice(active, size=wanted, replace=False))
    return _Prepared(
        trained=trained,
        rows=rows,
        trips=list(_trips(backend, events, chosen, asked)),
        households=[str(one) for one in chosen],
        tenant=policy.tenant,
        lifetime=policy.reports[0].lifetime_epsilon,
        central=quality_of(trained, rows.where(rows.known & (rows.times >= OCTOBER))),
    )


def _publish(out: Path, policy: bytes, trained: Trained, *, tenant: str, now: int) -> None:
    """Make a key for each role, sign the policy and the bundle, publish both."""
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


def sender_key(keys: Path) -> str:
    """Make the worker's keyring before it starts, and return the public key of its reports, in base64."""
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    keyring = Keyring(keys / KEYRING, FileKeyProvider(keys / ROOT_KEY))
    return b64encode(public_key(keyring)).decode()


def _trips(backend: Any, events: Any, chosen: Sequence[str], asked: Any) -> Iterator[Trip]:
    """Yield the chosen households' trips in order of time, with their line items as events."""
    items = events.filter(events.visitor.isin(list(chosen))).order_by(["time", "basket"]).to_pyarrow().to_pylist()
    rows: dict[tuple[str, int], deque[int]] = defaultdict(deque)
    for row, key in enumerate(zip(asked["visitor"].to_pylist(), asked["time"].to_pylist(), strict=True)):
        rows[key].append(row)
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
            row=rows[household, time].popleft(),
        )
        basket = []


def _event(item: dict[str, Any]) -> dict[str, Any]:
    event = {"name": "purchase", "time": item["time"], "value": item["value"], "currency": "USD"}
    event["transaction_id"] = str(item["basket"])
    return event | {key: item[key] for key in ("category", "brand") if item[key]}
