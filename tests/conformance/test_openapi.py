"""The worker against its own description: schemathesis makes up calls from `/openapi.json`, and judges every answer.

`make fuzz-http` runs it for longer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fuzz.openapi import ALL, CALLERS, VISITOR, answered, faults, headers_of, run
from tests.shop import Clock, Shop
from tests.worker import Running, running

needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="needs schemathesis: pip install 'entrenous[dev]'"
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE")


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Shop(tmp_path_factory.mktemp("openapi"), Clock())) as started:
        assert started.consent(VISITOR, ALL).status == 200
        yield started


def operations(worker: Running) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = worker.ask("GET", "/openapi.json", opened=False).json["paths"]
    return paths


@needs_schemathesis
@pytest.mark.parametrize("caller", CALLERS)
def test_every_answer_is_one_that_the_description_names(worker: Running, tmp_path: Path, caller: str):
    before = answered(worker).get("2xx", 0)
    ended, said = run(worker.port, headers_of(worker, caller), tmp_path, examples=5)
    assert ended == 0, said[-6000:]
    assert "Tested: 21" in said
    assert faults(worker) == []
    if caller == "visitor":
        assert answered(worker)["2xx"] - before > 100  # not refusals alone


@needs_schemathesis
def test_an_answer_that_is_not_described_is_noticed(worker: Running, tmp_path: Path):
    """The test above can fail."""
    document = worker.ask("GET", "/openapi.json", opened=False).data
    wrong = tmp_path / "wrong.json"
    wrong.write_bytes(document.replace(b'"status":{"type":"string"}', b'"status":{"type":"integer"}'))
    assert wrong.read_bytes() != document
    ended, said = run(worker.port, {}, tmp_path, examples=2, document=str(wrong), only="/livez")
    assert ended == 1
    assert "/livez" in said


def test_another_method_is_refused_with_those_that_are_taken(worker: Running):
    for path, described in operations(worker).items():
        taken = {method.upper() for method in described if method != "parameters"}
        for method in METHODS:
            if method in taken:
                continue
            answer = worker.ask(method, path.format(key="promotion", name="x"))
            assert (answer.status, answer.code) == (405, "method_not_allowed"), (method, path)
            assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == taken, (method, path)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/decide/", "/V1/decide", "/ofrep/v1/evaluate/flags/a/b", "/docs"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_described_is_not_there(worker: Running, method: str, path: str):
    answer = worker.ask(method, path, {} if method == "POST" else None)
    assert (answer.status, answer.code) == (404, "not_found")
