"""`entrenous doctor --config` beside a worker that runs: it sees it, and the worker does not notice."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import main
from tests.shop import Clock, Shop
from tests.worker import ADMIN, Running, configure, running

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Shop(tmp_path_factory.mktemp("worker"), Clock())) as started:
        path = started.home / "edge.toml"
        for name, port in (("listen", started.port), ("admin", started.admin_port)):
            path.write_text(path.read_text().replace(f'{name} = "127.0.0.1:0"', f'{name} = "127.0.0.1:{port}"'))
        yield started


def examined(worker: Running, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    code = main(["doctor", "--config", str(worker.home / "edge.toml"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == (1 if told["mend"] else 0)
    return told["findings"]


def entries(worker: Running) -> int:
    store = sqlite3.connect(f"file:{worker.home / 'edge-state' / 'visitors.db'}?mode=ro", uri=True)
    count = store.execute("select count(*) from logs").fetchone()[0]
    store.close()
    return int(count)


def test_it_sees_the_worker_and_changes_nothing_of_its(worker: Running, capsys):
    worker.consent("ada", ALL)
    before = worker.decide("ada")
    worker.ask("POST", "/flush", admin=True)
    noted, log = entries(worker), worker.log()
    folders = ("edge-state", "edge-keys")
    kept = {
        one: one.read_bytes()
        for name in folders
        for one in (worker.home / name).rglob("*")
        if one.is_file() and not one.name.startswith("visitors.db")
    }
    names = {one for name in folders for one in (worker.home / name).rglob("*")}
    found = examined(worker, capsys)
    assert [one for one in found if one["verdict"] == "mend"] == []
    said = {one["check"]: one["what"] for one in found if one["verdict"] == "ok"}
    serves = worker.ask("GET", "/readyz").json["bundle"]
    assert said["listen"] == f"is a worker's that runs: ready, policy 1, bundle {serves}"
    assert said["admin"] == "is a worker's that runs, and this token opens it"
    assert {one: one.read_bytes() for one in kept} == kept
    assert {one for name in folders for one in (worker.home / name).rglob("*")} == names
    assert entries(worker) == noted, "nothing is noted in the audit log"
    assert worker.log() == log
    after = worker.decide("ada")
    assert after | {"receipt": ""} == before | {"receipt": ""}


def test_visitors_go_on_being_served_while_it_looks(worker: Running, capsys):
    """Choices, events, erasures and decisions while it is run again and again: none waits, fails or is put off."""
    worker.consent("ada", ALL)
    done, looked = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            looked.append(main(["doctor", "--config", str(worker.home / "edge.toml")]))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for number in range(60):
            name = f"guest-{number}"
            assert worker.consent(name, ALL).status == 200
            events = [{"name": "view_item", "category": "boots"}]
            taken = worker.ask("POST", "/v1/events", {"visitor": name, "events": events})
            assert taken.json == {"outcomes": [{"accepted": True}]}
            assert worker.decide(name)["reason"] in ("TARGETING_MATCH", "SPLIT")
            assert worker.ask("DELETE", "/v1/visitor", headers=worker.token(name)).status == 200, "not put off"
            if number % 20 == 0:
                assert worker.ask("POST", "/updates", admin=True).status == 200, "the updater's lock is free"
    finally:
        done.set()
        thread.join()
    assert looked
    assert set(looked) == {0}
    capsys.readouterr()


def test_a_newer_bundle_is_seen_before_the_worker_has_it(worker: Running, capsys):
    shop = Shop(worker.home, Clock())
    shop.version = 10
    shop.release(bundle=2)
    said = {one["check"]: one["what"] for one in examined(worker, capsys)}
    assert said["bundle"].startswith("demo_promotions version 2")
    assert worker.ask("GET", "/readyz").json["bundle"] == 1
    assert worker.ask("POST", "/updates", admin=True).json["bundle"] == 2


def test_a_token_that_was_changed_under_a_worker_is_said(worker: Running, capsys):
    token = worker.home / "admin.token"
    token.write_text("another-admin-token-than-before")
    try:
        (found,) = [one for one in examined(worker, capsys) if one["verdict"] == "mend"]
    finally:
        token.write_text(ADMIN)
    assert (found["check"], found["what"]) == ("admin", "does not open with this token")


def test_a_worker_without_a_bundle_is_to_be_mended(tmp_path: Path, capsys):
    shop = Shop(tmp_path, Clock())
    with running(shop) as worker:
        assert worker.ask("POST", "/rollback", admin=True).json == {"accepted": True, "bundle": None}
        path = configure(shop, listen=f"127.0.0.1:{worker.port}", admin=f"127.0.0.1:{worker.admin_port}")
        assert path == worker.home / "edge.toml"
        found = {one["check"]: one for one in examined(worker, capsys) if one["verdict"] == "mend"}
    assert "no bundle may serve" in found["listen"]["what"]
    assert found["bundle"]["what"] == "none may serve"
