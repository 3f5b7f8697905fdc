"""The import route over real HTTP: the same report as the command's, and no identifier anywhere."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from starlette.requests import Request

from entrenous.importing.mapping import read_mapping
from entrenous_edge.importing import MOST_IMPORTED, Importing
from tests.shop import Clock, Shop
from tests.telling import listen
from tests.worker import ADMIN, Answer, Running, running

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}
CANARY = "canary-4711@example.org"
COLUMNS = """
format = 1
kind = "attributes"
visitor = "customer"
time = "since"
time_unit = "seconds"
[fields]
tier = "tier"
spent = "spent"
"""
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    shop = Shop(tmp_path_factory.mktemp("import"), Clock())
    listen(shop)
    (shop.home / "columns.toml").write_text(COLUMNS)
    with running(shop, mappings={"crm": "columns.toml"}) as started:
        yield started


def send(worker: Running, *rows: object, mapping: str = "crm", more: str = "") -> Answer:
    body = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()
    return worker.ask("POST", f"/v1/import?mapping={mapping}{more}", headers=LINES, raw=body, admin=True)


def known(**more: object) -> dict[str, object]:
    return {"customer": CANARY, "since": int(time.time()) - 60, "tier": "gold"} | more


def held(worker: Running, name: str = CANARY) -> dict[str, object]:
    return worker.ask("GET", "/v1/visitor", headers=worker.token(name)).json["purposes"]["personalize"]["features"]


def test_columns_and_events_are_taken_in_and_the_rest_is_told_by_row(worker):
    worker.consent("ada", ALL)
    told = send(
        worker,
        known(customer="ada", spent="7"),
        "{not json",
        known(customer="stranger"),
        known(customer="ada", tier="tin"),
        [CANARY],
    )
    assert told.status == 200
    assert (told.json["rows"], told.json["attributes"], told.json["kept"], told.json["dry"]) == (5, 4, 2, False)
    assert {cause: one["rows"] for cause, one in told.json["passed_over"].items()} == {
        "row: is not JSON": [2],
        "consent_missing": [3],
        "unlisted": [4],
        "row: is no object": [5],
    }
    assert (held(worker, "ada")["visit_tier"], held(worker, "ada")["visit_spent"]) == ("gold", 7)
    again = send(worker, known(customer="ada", spent="7", since=1_700_000_000))
    assert (again.json["kept"], again.json["passed_over"]["known"]["count"]) == (0, 2)
    bought = {"visitor": "ada", "name": "purchase", "time": int(time.time()) - 5, "id": "o-1"}
    for kept in (1, 0):
        assert send(worker, bought, mapping="entrenous").json["kept"] == kept


def test_a_dry_run_keeps_nothing(worker):
    worker.consent("dry", ALL)
    told = send(worker, known(customer="dry"), more="&dry=1")
    assert (told.json["kept"], told.json["dry"], told.json["lacking"]) == (1, True, ["visit_spent"])
    assert held(worker, "dry").get("visit_tier") is None


def test_rows_are_numbered_through_batches(worker):
    rows = [known(customer=f"v-{number}") for number in range(1_700)]
    told = send(worker, *rows, "{", more="&dry=1").json
    assert told["rows"] == 1_701
    assert told["passed_over"]["consent_missing"] == {"count": 1_700, "rows": [1, 2, 3, 4, 5]}
    assert told["passed_over"]["row: is not JSON"]["rows"] == [1_701]


def test_no_identifier_is_in_an_answer_a_log_a_metric_or_the_store(worker):
    worker.consent(CANARY, ALL)
    told = send(worker, known(), known(e_mail=CANARY, tier=CANARY), f'{{"{CANARY}', known(since=CANARY))
    assert CANARY.encode() not in told.data
    assert CANARY not in worker.log()
    assert CANARY.encode() not in worker.ask("GET", "/metrics", admin=True).data
    for path in (worker.home / "edge-state").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


def test_that_the_store_was_read_is_noted(worker):
    def entries() -> int:
        with sqlite3.connect(worker.home / "edge-state" / "visitors.db") as database:
            return database.execute("select count(*) from logs").fetchone()[0]

    before = entries()
    send(worker, known(), more="&dry=1")
    assert entries() == before + 1


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/v1/import", LINES, "malformed"),
        ("/v1/import?mapping=/etc/passwd", LINES, "malformed"),
        ("/v1/import?mapping=columns.toml", LINES, "malformed"),
        ("/v1/import?mapping=crm&dry=yes", LINES, "malformed"),
        ("/v1/import?mapping=crm&visitor=4711", LINES, "malformed"),
        ("/v1/import?mapping=crm", {"Content-Type": "application/json"}, "unsupported_media_type"),
        ("/v1/import?mapping=crm", LINES | {"Authorization": "Bearer pk_test_0123456789abcdef"}, "unauthorized"),
    ],
)
def test_what_is_no_import_is_refused(worker, path, headers, code):
    assert worker.ask("POST", path, headers=headers, raw=b"{}\n", admin=True).code == code


def test_the_public_port_has_no_such_route(worker):
    assert worker.ask("POST", "/v1/import?mapping=crm", headers=LINES, raw=b"{}\n").code == "not_found"


def test_a_body_that_says_it_is_too_large_is_not_read(worker):
    connection = HTTPConnection("127.0.0.1", worker.admin_port, timeout=20)
    connection.putrequest("POST", "/v1/import?mapping=crm")
    for key, value in (LINES | {"Authorization": f"Bearer {ADMIN}"}).items():
        connection.putheader(key, value)
    connection.putheader("Content-Length", str(MOST_IMPORTED + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


class Taking:
    def __init__(self) -> None:
        self.rows: list[object] = []
        self.threads: set[int] = set()

    def take(self, rows: list[object]) -> None:
        self.rows += rows
        self.threads.add(threading.get_ident())

    def report(self) -> dict[str, object]:
        return {"rows": len(self.rows)}


class Taker:
    def __init__(self) -> None:
        self.taking = Taking()

    def importing(self, mapping: object, *, dry: bool) -> Taking:
        return self.taking


def posted(chunks: list[bytes]) -> Request:
    """A request whose body comes in chunks and says nothing of its length."""
    coming = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    coming.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return coming.pop(0)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/import",
        "query_string": b"mapping=entrenous",
        "headers": [(b"content-type", b"application/x-ndjson")],
    }
    return Request(scope, receive)


def test_rows_are_written_off_the_loop_and_cut_wherever_a_chunk_ends():
    client = Taker()
    chunks = [b'{"a": 1}\n{"b"', b": 2", b"}\n\n", b'{"c": 3}\n' * 1_200, b'{"last": 4}']
    given = asyncio.run(Importing(client, {}).take(posted(chunks)))
    assert json.loads(given.body) == {"rows": 1_203}
    assert client.taking.rows[:2] == [{"a": 1}, {"b": 2}]
    assert client.taking.rows[-1] == {"last": 4}
    assert threading.get_ident() not in client.taking.threads


def test_a_body_that_goes_on_and_on_is_cut_off(monkeypatch):
    from entrenous_edge import importing
    from entrenous_edge.answers import Problem

    monkeypatch.setattr(importing, "MOST_IMPORTED", 10_000)
    client = Taker()
    with pytest.raises(Problem) as refused:
        asyncio.run(Importing(client, {}).take(posted([b'{"a": 1}\n' * 600] * 3)))
    assert refused.value.code == "too_large"
    assert len(client.taking.rows) == 500


def test_a_configured_mapping_comes_before_a_packaged_one():
    mapping = read_mapping("segment")
    assert Importing(Taker(), {"entrenous": mapping})._mapping(posted([])) is mapping
