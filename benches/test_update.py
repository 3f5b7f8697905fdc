"""Updates from a web server in a process of its own, against a bare GET of the same bundle, in one run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tests.repository import BUNDLE, TENANT, Publisher
from tests.shop import NOON

from entrenous import Client, Config, Deployment
from entrenous.updates.fetch import HttpSource
from entrenous_exporters.build import build
from entrenous_exporters.generated import demo_inputs, generate_events
from entrenous_exporters.rows import labelled_rows
from entrenous_exporters.splits import learnt
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import make_bundle

BUNDLE_BYTES = 100_000


@dataclass
class Web:
    """A repository behind HTTP. `received` counts what the last source read of bodies."""

    port: int
    root: bytes
    target: str
    received: int = 0

    def config(self, home: Path) -> Config:
        return Config(
            source=Counting(self),
            deployment=Deployment(root=self.root, tenant=TENANT, bundle=BUNDLE),
            state=home / "state",
            keys=home / "keys",
            clock=lambda: NOON,
            updates_clock=lambda: NOON,
            flush_seconds=0,
            refresh_seconds=0,
        )


class Counting(HttpSource):
    """A source that counts the bytes of the bodies it yields."""

    def __init__(self, web: Web) -> None:
        super().__init__(f"http://127.0.0.1:{web.port}/")
        self._web = web

    def read(self, name: str, seconds: float) -> Iterator[bytes]:
        for chunk in super().read(name, seconds):
            self._web.received += len(chunk)
            yield chunk


def _large_bundle() -> bytes:
    """Return a bundle like the demonstration's, with trees enough for `BUNDLE_BYTES`."""
    spec, policy = demo_inputs()
    backend: Any = open_backend()
    events, moments = (
        backend.create_table(name, data, temp=True) for name, data in zip("em", generate_events(), strict=True)
    )
    rows = labelled_rows(backend, spec, events, moments)
    usable = rows.where(rows.known)
    learn = usable.where(learnt(usable, spec)[0])
    spec = replace(spec, learner=replace(spec.learner, trees=280))
    data = make_bundle(
        spec, policy, build(spec, learn, learn.x, rows=100, progress=lambda _: None), card=b"", created=NOON
    )
    assert len(data) >= BUNDLE_BYTES, len(data)
    return data


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home = tmp_path_factory.mktemp("web")
    publisher, data = Publisher(home / "repository"), _large_bundle()
    publisher.policy()
    publisher.repository.add_bundle(data, publisher.keys["models"], tenant=TENANT, now=NOON, research=True)
    publisher.publish()
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        command, cwd=publisher.directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().split(" port ")[1].split()[0])
        yield Web(port, publisher.root, str(publisher.target_file(data).relative_to(publisher.directory)))
        server.terminate()


@pytest.mark.benchmark(group="update")
def test_bare_get_of_the_bundle(benchmark, web: Web):
    def get() -> int:
        connection = HTTPConnection("127.0.0.1", web.port)
        connection.request("GET", f"/{web.target}")
        with connection.getresponse() as response:
            return len(response.read())

    assert benchmark.pedantic(get, rounds=20, warmup_rounds=2) >= BUNDLE_BYTES


@pytest.mark.benchmark(group="update")
def test_cold_refresh_and_activation(benchmark, web: Web, tmp_path: Path):
    """From an empty state: root, timestamp, snapshot, targets, two roles, policy, bundle; store, keys, sessions."""
    taken = []

    def open_cold(home: Path) -> None:
        with Client.open(web.config(home)) as client:
            assert client.refused is None
            assert client.bundle is not None
            taken.append(web.received)

    def fresh():
        shutil.rmtree(tmp_path / "home", ignore_errors=True)
        web.received = 0
        return (tmp_path / "home",), {}

    benchmark.pedantic(open_cold, setup=fresh, rounds=10)
    benchmark.extra_info["body_bytes"] = taken[-1]


@pytest.mark.benchmark(group="update")
def test_warm_poll(benchmark, web: Web, tmp_path: Path):
    with Client.open(web.config(tmp_path)) as client:
        web.received = 0
        assert client.refresh().accepted
        benchmark.extra_info["body_bytes"] = web.received
        outcome = benchmark.pedantic(client.refresh, rounds=20, warmup_rounds=2)
        assert outcome.accepted
        assert not outcome.data["changed"]
