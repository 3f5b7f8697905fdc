"""Preferences over real HTTP: told as events are, read back only by who is proven."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shop import Clock, Shop
from tests.telling import listen
from tests.worker import Running, running

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    shop = Shop(tmp_path_factory.mktemp("preferences"), Clock())
    listen(shop)
    with running(shop) as started:
        yield started


def tell(worker: Running, headers: dict[str, str] | None = None, **body: object):
    return worker.ask("POST", "/v1/preferences", body, headers)


def holds(worker: Running, proof: dict[str, str], field: str = "size") -> list[str]:
    return worker.ask("GET", "/v1/preferences", headers=proof).json["preferences"][field]["holds"]


def test_a_word_is_told_read_back_and_undone(worker):
    worker.consent("ada", ALL)
    proof = worker.token("ada")
    assert tell(worker, visitor="ada", field="size", value="m").json == {"accepted": True}
    assert tell(worker, proof, field="size", value="l").json == {"accepted": True}
    told = worker.ask("GET", "/v1/preferences", headers=proof)
    assert told.json["preferences"]["size"] == {"values": ["s", "m", "l", "xl"], "holds": ["l"]}
    assert told.headers["cache-control"] == "private, no-store"
    assert tell(worker, proof, undo="size").json == {"accepted": True, "undone": True}
    assert holds(worker, proof) == ["m"]
    assert tell(worker, proof, field="size", value="m", holds=False).json == {"accepted": True}
    assert holds(worker, proof) == []


def test_an_identifier_alone_reads_nothing_back(worker):
    worker.consent("known", ALL)
    tell(worker, visitor="known", field="size", value="m")
    given = worker.ask("GET", "/v1/preferences", headers={"Entrenous-Visitor": "known"})
    assert (given.status, given.code) == (403, "forbidden")


def test_who_granted_nothing_or_objects_is_not_listened_to(worker):
    refused = {"accepted": False, "cause": "consent_missing"}
    assert tell(worker, visitor="stranger", field="size", value="m").json == refused
    assert tell(worker, field="size", value="m").json == refused
    worker.consent("objector", ALL)
    proof = worker.token("objector")
    assert tell(worker, {**proof, "Sec-GPC": "1"}, field="size", value="m").json == refused
    assert worker.ask("GET", "/v1/preferences", headers={**proof, "Sec-GPC": "1"}).json == {"preferences": {}}
    assert holds(worker, proof) == []
    assert tell(worker, visitor="kim", minor=True, field="size", value="m").json["cause"] == "minor"


def test_a_page_of_another_site_tells_nothing_with_a_cookie(worker):
    cookie = worker.ask("POST", "/v1/consent", {"choices": ALL}).cookies["__Host-entrenous"]
    jar = {"Cookie": f"__Host-entrenous={cookie}"}
    elsewhere = tell(worker, {**jar, "Origin": "https://evil.example"}, field="size", value="m")
    assert (elsewhere.status, elsewhere.code) == (403, "forbidden")
    own = {**jar, "Origin": f"http://127.0.0.1:{worker.port}"}
    assert tell(worker, own, field="size", value="m").json == {"accepted": True}
    assert holds(worker, jar) == ["m"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"field": "size"},
        {"field": "size", "value": "huge-4711"},
        {"field": "shoe-4711", "value": "m"},
        {"field": "size", "value": 4711},
        {"field": "size", "value": "m", "holds": "4711"},
        {"field": "size", "value": "m", "undo": "size"},
        {"undo": ["4711"]},
        {"undo": "size", "more": 4711},
    ],
)
def test_a_body_that_tells_nothing_is_refused_and_not_repeated(worker, body):
    worker.consent("bob", ALL)
    given = worker.ask("POST", "/v1/preferences", {"visitor": "bob", **body})
    assert (given.status, given.code) == (400, "malformed")
    assert b"4711" not in given.data
    assert "4711" not in worker.log()


def test_without_a_publishable_key_nothing_opens(worker):
    for method in ("GET", "POST"):
        assert worker.ask(method, "/v1/preferences", {}, opened=False).status == 401
