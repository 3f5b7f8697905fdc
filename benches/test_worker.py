"""Decisions over HTTP against the same server's plain reply, one connection, in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from tests.shop import Clock, Shop
from tests.worker import KEY, Running, running

CHOICES = {"personalize": True, "history": True, "measure": True, "improve": False}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Shop(tmp_path_factory.mktemp("worker"), Clock())) as started:
        assert started.consent("customer-42", CHOICES).status == 200
        yield started


@pytest.fixture(scope="module")
def connection(worker: Running) -> Iterator[HTTPConnection]:
    opened = HTTPConnection("127.0.0.1", worker.port, timeout=20)
    yield opened
    opened.close()


def _ask(connection: HTTPConnection, method: str, path: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request(method, path, body, headers)
    return connection.getresponse().read()


@pytest.mark.benchmark(group="worker")
def test_plain_reply(benchmark, connection):
    benchmark.pedantic(lambda: _ask(connection, "GET", "/livez"), rounds=40, iterations=25, warmup_rounds=2)


@pytest.mark.benchmark(group="worker")
def test_decision_over_http(benchmark, connection):
    body = json.dumps({"decisions": ["promotion"], "visitor": "customer-42"}).encode()
    told = benchmark.pedantic(
        lambda: _ask(connection, "POST", "/v1/decide", body), rounds=40, iterations=25, warmup_rounds=2
    )
    assert json.loads(told)["decisions"]["promotion"]["tranche"]


@pytest.mark.benchmark(group="worker")
def test_flag_over_ofrep(benchmark, connection):
    body = json.dumps({"context": {"targetingKey": "customer-42"}}).encode()
    path = "/ofrep/v1/evaluate/flags/promotion"
    told = benchmark.pedantic(lambda: _ask(connection, "POST", path, body), rounds=40, iterations=25, warmup_rounds=2)
    assert json.loads(told)["key"] == "promotion"
