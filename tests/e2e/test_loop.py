"""The circle, with real processes: a worker releases, a collector receives, an evaluation answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from entrenous.cli import main
from entrenous.loop.reports import read_report
from entrenous.messages.sending import CONTENT_TYPE, SIGNATURE, signed_content
from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.store import Emitted
from entrenous_evaluation.warehouse import Warehouse
from tests.shop import DAY, NOON, Clock, Shop
from tests.worker import Running, running

HOST = Ed25519PrivateKey.from_private_bytes(b"h" * 32)
MEASURED = {"personalize": True, "measure": True}


def public(key: Ed25519PrivateKey) -> str:
    return b64encode(key.public_key().public_bytes_raw()).decode()


@contextmanager
def collecting(
    home: Path, senders: dict[str, tuple[str, str]], port: int = 0
) -> Iterator[tuple[int, subprocess.Popen]]:
    """Run a collector; `senders` by name: tenant and public key."""
    lines = ["format = 1", f'listen = "127.0.0.1:{port}"', 'database = "reports.duckdb"']
    for name, (tenant, key) in senders.items():
        lines += ["[[senders]]", f'name = "{name}"', f'tenant = "{tenant}"', f'public_key = "{key}"']
    (home / "collect.toml").write_text("\n".join(lines) + "\n")
    code = "import sys; from entrenous.cli import main; sys.exit(main())"
    with (home / "collector.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "collect", "--config", str(home / "collect.toml")],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=dict(os.environ),
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("collecting on "), (home / "collector.log").read_text()
        yield int(line.rpartition(":")[2].partition("/")[0]), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        process.stdout.close()


def post(port: int, data: bytes, key: Ed25519PrivateKey = HOST, **changes: str) -> tuple[int, dict]:
    signature = b64encode(key.sign(signed_content(data))).decode()
    headers = {"Content-Type": CONTENT_TYPE, SIGNATURE: signature} | changes
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/v1/reports", data, headers)
        with connection.getresponse() as response:
            return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a report that a client made."""
    shop = Shop(tmp_path_factory.mktemp("made"), Clock())
    client = shop.open(crowd=True, release_seconds=0)
    client.release()
    shop.clock.now += 60 * DAY
    client.release()
    (made,) = client.outbox()
    client.close()
    return made.data


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Warehouse]]:
    home = tmp_path_factory.mktemp("collector")
    other = public(Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    with collecting(home, {"edge": ("demo_shop", public(HOST)), "elsewhere": ("other_shop", other)}) as (port, _):
        yield port, Warehouse(home / "reports.duckdb")


def test_a_report_is_taken_once_however_often_it_is_sent(collector, report):
    port, warehouse = collector
    fresh = msgpack.packb(msgpack.unpackb(report) | {"id": os.urandom(16)})
    before = warehouse.reports() if warehouse.path.exists() else []
    assert post(port, fresh) == (201, {"accepted": True, "new": True})
    assert post(port, fresh) == (200, {"accepted": True, "new": False})
    assert warehouse.reports() == [*before, read_report(fresh)]


def test_a_report_cut_altered_or_of_another_tenant_is_refused_and_nothing_is_kept(collector, report):
    port, warehouse = collector
    post(port, report)
    before = warehouse.reports()
    table = msgpack.unpackb(report)
    fresh = msgpack.packb(table | {"id": os.urandom(16)})
    altered = msgpack.packb(table | {"holdout": 9_999})
    foreign = msgpack.packb(table | {"id": os.urandom(16), "tenant": "other_shop"})
    stranger = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
    signature = b64encode(HOST.sign(signed_content(report))).decode()
    refused = {
        "cut short": post(port, fresh[:-1]),
        "altered on the way": post(port, altered, **{SIGNATURE: signature}),
        "another report under its id": post(port, altered),
        "of another tenant": post(port, foreign),
        "of a stranger": post(port, fresh, stranger),
        "unsigned": post(port, fresh, **{SIGNATURE: ""}),
        "no signature at all": post(port, fresh, **{SIGNATURE: "€".encode().hex()}),
        "another type": post(port, fresh, **{"Content-Type": "application/json"}),
        "too large": post(port, bytes(300_000)),
    }
    assert {name: (status, body["error"]["code"]) for name, (status, body) in refused.items()} == {
        "cut short": (400, "malformed"),
        "altered on the way": (401, "unauthorized"),
        "another report under its id": (409, "conflict"),
        "of another tenant": (403, "forbidden"),
        "of a stranger": (401, "unauthorized"),
        "unsigned": (401, "unauthorized"),
        "no signature at all": (401, "unauthorized"),
        "another type": (415, "unsupported_media_type"),
        "too large": (413, "too_large"),
    }
    assert warehouse.reports() == before


def _expose(worker: Running, count: int) -> None:
    for i in range(count):
        token = worker.token(f"visitor-{i}", now=NOON)
        assert worker.ask("POST", "/v1/consent", {"choices": MEASURED}, token).status == 200
        worker.decide(f"visitor-{i}")
        if i % 2:
            event = {"name": "purchase", "value": 5000, "currency": "EUR"}
            worker.ask("POST", "/v1/events", {"visitor": f"visitor-{i}", "events": [event]})


def test_from_a_visit_to_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shop = Shop(tmp_path, Clock())
    with running(shop, clock="admin") as worker:
        worker.ask("POST", "/clock", {"now": NOON}, admin=True)
        worker.ask("POST", "/release", admin=True)
        _expose(worker, 400)
        key = worker.ask("GET", "/sender", admin=True).json["public_key"]
        worker.stop()
    senders = {"edge": ("demo_shop", key)}
    with collecting(tmp_path, senders) as (port, _):
        pass  # it is down again, and its address is known
    with running(shop, clock="admin", collector=f"http://127.0.0.1:{port}/v1/reports") as worker:
        worker.ask("POST", "/clock", {"now": NOON + 60 * DAY}, admin=True)
        (made,) = worker.ask("POST", "/release", admin=True).json["reports"]
        waits = worker.ask("POST", "/send", admin=True)
        assert (waits.status, waits.json["cause"]) == (409, "unavailable")
        with collecting(tmp_path, senders, port):
            assert worker.ask("POST", "/send", admin=True).json == {"accepted": True, "sent": 1}
            assert worker.ask("POST", "/send", admin=True).json == {"accepted": True, "sent": 0}
    store = SQLiteStore(tmp_path / "edge-state" / "visitors.db")
    (left,) = store.outbox()
    store.close()
    (received,) = Warehouse(tmp_path / "reports.duckdb").reports()
    assert received == read_report(left.data)
    assert received.id.hex() == made
    capsys.readouterr()
    files = {"--json": tmp_path / "answer.json", "--html": tmp_path / "answer.html"}
    given = [text for flag, path in files.items() for text in (flag, str(path))]
    assert main(["evaluate", "--database", str(tmp_path / "reports.duckdb"), *given]) == 0
    said = capsys.readouterr().out
    assert said.startswith("promotion_1: ")
    assert "epsilon 4" in said
    told = json.loads(files["--json"].read_text())
    assert told["cells"] == 8
    assert told["headline"] in files["--html"].read_text()


def test_a_collector_that_is_down_for_weeks_gets_everything_once_in_order(tmp_path: Path):
    """Visitors, releases and tries to send for months; what waits are reports alone, a few kB each."""
    shop, each = Shop(tmp_path, Clock()), 25
    with running(shop, clock="admin") as worker:
        key = worker.ask("GET", "/sender", admin=True).json["public_key"]
        worker.stop()
    senders = {"edge": ("demo_shop", key)}
    with collecting(tmp_path, senders) as (port, _):
        pass
    made: list[str] = []
    with running(shop, clock="admin", collector=f"http://127.0.0.1:{port}/v1/reports") as worker:
        for day in range(0, 120, 5):
            now = NOON + day * DAY
            worker.ask("POST", "/clock", {"now": now}, admin=True)
            made += worker.ask("POST", "/release", admin=True).json["reports"]
            assert worker.ask("POST", "/send", admin=True).status == (409 if made else 200)
            for i in range(each if day < 60 else 0):
                name = f"day-{day}-{i}"
                worker.ask("POST", "/v1/consent", {"choices": MEASURED}, worker.token(name, now=now))
                worker.decide(name)
        assert len(made) >= 2
        waiting = _outbox(tmp_path)
        assert [one.data for one in waiting] == [one.data for one in _outbox(tmp_path)], "the same bytes each time"
        assert sum(len(one.data) for one in waiting) <= 8_000 * len(made)
        with collecting(tmp_path, senders, port):
            assert worker.ask("POST", "/send", admin=True).json == {"accepted": True, "sent": len(made)}
            assert worker.ask("POST", "/send", admin=True).json == {"accepted": True, "sent": 0}
    received = Warehouse(tmp_path / "reports.duckdb").reports()
    assert sorted(one.id.hex() for one in received) == sorted(made)
    assert [read_report(one.data) for one in waiting] == sorted(received, key=lambda one: made.index(one.id.hex()))


def _outbox(home: Path) -> list[Emitted]:
    store = SQLiteStore(home / "edge-state" / "visitors.db")
    try:
        return store.outbox()
    finally:
        store.close()


def test_an_evaluation_of_nothing_says_what_to_do(tmp_path: Path, capsys):
    assert main(["evaluate", "--database", str(tmp_path / "none.duckdb")]) == 2
    assert "none.duckdb: is not there — collect reports first" in capsys.readouterr().err
    (tmp_path / "text.duckdb").write_text("this is not a database" * 100)
    assert main(["evaluate", "--database", str(tmp_path / "text.duckdb")]) == 2
    assert "text.duckdb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('listen = "8090"', "collect.toml: listen: is not host:port"),
        ("colour = 1", "collect.toml: colour: is not a known key"),
        ('[[senders]]\nname = "a"\ntenant = "b"\npublic_key = "short"', "senders[0].public_key: is not an Ed25519 key"),
    ],
)
def test_a_collector_that_can_not_be_is_refused_with_its_place(tmp_path: Path, capsys, text, says):
    path = tmp_path / "collect.toml"
    head = ["format = 1", 'database = "r.duckdb"'] + ([] if "listen" in text else ['listen = "127.0.0.1:0"'])
    senders = [] if "senders" in text else ["senders = []"]
    path.write_text("\n".join([*head, *senders, text]) + "\n")
    assert main(["collect", "--config", str(path)]) == 2
    assert says in capsys.readouterr().err
