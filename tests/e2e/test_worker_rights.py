"""What a visitor may ask of the worker beside decisions, over real HTTP, and what a stranger may not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from entrenous.tokens import make_token
from entrenous_edge.app import Worker
from entrenous_edge.identity import Door
from entrenous_edge.metrics import Metrics
from tests.shop import Clock, Shop
from tests.worker import TOKEN_KEY, Running, running

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}
EVENTS = [{"name": "view_item", "category": "boots"}, {"name": "view_item", "category": "bags"}]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    shop = Shop(tmp_path_factory.mktemp("rights"), Clock())
    with running(shop) as started:
        yield started


def agreed(worker: Running, name: str) -> dict[str, str]:
    """A visitor who agreed to everything and looked at something; return the headers that prove who they are."""
    assert worker.consent(name, ALL).json == {"accepted": True}
    worker.ask("POST", "/v1/events", {"visitor": name, "events": EVENTS})
    return worker.token(name)


def held(worker: Running, proof: dict[str, str]) -> dict[str, object]:
    return worker.ask("GET", "/v1/visitor", headers=proof).json


def test_a_page_learns_what_to_ask_for(worker):
    unknown = worker.ask("GET", "/v1/consent")
    assert unknown.json == {"granted": [], "refused": [], "ask": sorted(ALL)}
    assert unknown.cookies == {}
    refused = worker.ask("GET", "/v1/consent", headers={"Cookie": "entrenous-refused=1; __Host-entrenous-refused=1"})
    assert refused.json == {"granted": [], "refused": sorted(ALL), "ask": []}
    proof = worker.token("asked")
    worker.consent("asked", {"personalize": True})
    told = {"granted": ["personalize"], "refused": ["history", "improve", "measure"], "ask": []}
    assert worker.ask("GET", "/v1/consent", headers=proof).json == told
    assert worker.ask("GET", "/v1/consent", headers={**proof, "Sec-GPC": "1"}).json == {**told, "granted": []}


def test_an_objection_ends_a_purpose_and_one_to_everything_ends_all(worker):
    proof = agreed(worker, "objector")
    assert worker.ask("POST", "/v1/objection", {"purposes": ["history"]}, proof).json == {"accepted": True}
    assert sorted(held(worker, proof)["purposes"]) == ["improve", "measure", "personalize"]
    assert worker.ask("POST", "/v1/objection", {}, proof).json == {"accepted": True}
    assert worker.decide("objector")["cause"] == "consent_missing"
    assert worker.ask("GET", "/v1/consent", headers=proof).json["ask"] == []


def test_a_correction_changes_what_is_held(worker):
    proof = agreed(worker, "corrected")
    told = worker.ask("PATCH", "/v1/visitor", {"corrections": {"visit_taste_30d": "slippers"}}, proof)
    assert told.json == {"accepted": True, "features": ["visit_taste_30d"]}
    features = held(worker, proof)["purposes"]["personalize"]["features"]
    assert (features["visit_taste_30d"], features["visit_views_7d"]) == ("slippers", 2)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/objection", {"purposes": ["profit"]}),
        ("POST", "/v1/objection", {"purposes": "history"}),
        ("POST", "/v1/objection", {"purposes": [1]}),
        ("POST", "/v1/objection", {"reason": "none"}),
        ("PATCH", "/v1/visitor", {}),
        ("PATCH", "/v1/visitor", {"corrections": {}}),
        ("PATCH", "/v1/visitor", {"corrections": {"visit_views_7d": 3}}),
        ("PATCH", "/v1/visitor", {"corrections": {"shoe_size": None}}),
        ("POST", "/v1/decide", {"decisions": ["promotion"], "minor": "yes"}),
        ("POST", "/v1/events", {"events": EVENTS, "minor": 1}),
    ],
)
def test_what_is_not_understood_is_refused_and_changes_nothing(worker, method, path, body):
    proof = agreed(worker, "unchanged")
    before = held(worker, proof)["purposes"]
    told = worker.ask(method, path, body, proof)
    assert (told.status, told.json["error"]["code"]) == (400, "malformed")
    assert held(worker, proof)["purposes"] == before
    worker.ask("DELETE", "/v1/visitor", headers=proof)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/consent", None),
        ("POST", "/v1/objection", {}),
        ("PATCH", "/v1/visitor", {"corrections": {"visit_views_7d": None}}),
    ],
)
def test_a_stranger_who_knows_an_identifier_gets_nothing_and_changes_nothing(worker, method, path, body):
    proof = agreed(worker, "known")
    before = held(worker, proof)["purposes"]
    told = worker.ask(method, path, body, {"Entrenous-Visitor": "known"})
    assert told.status == 403
    assert held(worker, proof)["purposes"] == before


def test_nothing_is_scored_or_kept_of_a_minor_and_what_was_kept_goes_with_proof_alone(worker):
    proof = agreed(worker, "child")
    decide = {"decisions": ["promotion"], "visitor": "child", "minor": True}
    told = worker.ask("POST", "/v1/decide", decide).json["decisions"]["promotion"]
    assert told == {"value": None, "reason": "DEFAULT", "cause": "minor"}
    taken = worker.ask("POST", "/v1/events", {"visitor": "child", "events": EVENTS, "minor": True})
    assert {one["cause"] for one in taken.json["outcomes"]} == {"minor"}
    assert held(worker, proof)["purposes"]["personalize"]["features"]["visit_views_7d"] == 2
    worker.ask("POST", "/v1/decide", {"decisions": ["promotion"], "minor": True}, proof)
    assert held(worker, proof) == {}


def test_a_page_of_another_site_that_calls_a_visitor_a_minor_erases_nothing(worker):
    cookie = worker.ask("POST", "/v1/consent", {"choices": {"personalize": True}}).cookies["__Host-entrenous"]
    proof = {"Cookie": f"__Host-entrenous={cookie}"}
    elsewhere = {**proof, "Origin": "https://elsewhere.example"}
    decide = {"decisions": ["promotion"], "minor": True}
    for path, body in (("/v1/decide", decide), ("/v1/events", {"events": EVENTS, "minor": True})):
        assert worker.ask("POST", path, body, elsewhere).status == 403
    assert held(worker, proof)["consent"]["granted"] == ["personalize"]
    own = {**proof, "Origin": f"http://127.0.0.1:{worker.port}"}
    assert worker.ask("POST", "/v1/decide", decide, own).status == 200
    assert held(worker, proof) == {}


def test_nobody_waits_while_what_was_kept_of_a_minor_is_erased():
    released = threading.Event()

    class Slow:
        def visitor(self, identifier: str, *, minor: bool) -> None:
            assert released.wait(10)

    async def ask() -> str | None:
        token = make_token(TOKEN_KEY, "child", now=0).encode()
        request = Request({"type": "http", "method": "POST", "headers": [(b"entrenous-token", token)]})
        asking = Worker(Slow(), Door((), TOKEN_KEY, (), lambda: 0), Metrics()).asking(request, {"minor": True})
        erasing = asyncio.create_task(asking)
        await asyncio.sleep(0)
        released.set()
        return await erasing

    assert asyncio.run(ask()) is None
