"""What an OpenTelemetry collector is sent is what `/metrics` says, and nothing that is one visitor's."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from entrenous_consent.errors import Malformed, Missing
from entrenous_edge.config import read_config
from entrenous_edge.metrics import STEP, Metrics
from entrenous_edge.otlp import tell
from entrenous_edge.serve import serve
from tests.shop import Clock, Shop
from tests.worker import configure, running

pytest.importorskip("opentelemetry.sdk", reason="needs OpenTelemetry: pip install 'entrenous[otel]'")


class Timer:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Run a collector; yield its address, and what it was sent: path, body."""
    sent: list[tuple[str, bytes]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", sent
        finally:
            server.shutdown()
            thread.join()


def read(body: bytes) -> tuple[dict[str, str], dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    """Return what stands over a message, and each number by name and labels."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    about = {one.key: one.value.string_value for one in resource.resource.attributes}
    numbers = {}
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in (metric.gauge if metric.HasField("gauge") else metric.sum).data_points:
                assert not point.exemplars
                labels = frozenset((one.key, one.value.string_value) for one in point.attributes)
                numbers[metric.name, labels] = point.as_int if point.HasField("as_int") else point.as_double
    return about, numbers


def scraped(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what `/metrics` says, in the same form."""
    found = {}
    for line in metrics.text().splitlines():
        if not line.startswith("#"):
            name, _, number = line.rpartition(" ")
            name, _, labels = name.rstrip("}").partition("{")
            pairs = [label.split("=", 1) for label in labels.split(",") if label]
            found[name, frozenset((key, value.strip('"')) for key, value in pairs)] = float(number)
    return found


def test_a_collector_is_sent_what_metrics_says_by_the_minute_and_in_twenties():
    timer = Timer()
    metrics = Metrics(timer, lambda: {"bundle_version": 7})
    for _ in range(2 * STEP + 3):
        metrics.decision("SPLIT")
        metrics.request("/v1/decide", 200, 0.002)
    timer.now = 60.0
    metrics.text()
    metrics.decision("SPLIT")  # within the minute
    metrics.request("/v1/visitor", 503, 0.002)
    with collector() as (url, sent):
        tell(metrics, url, "127.0.0.1:8081")()
    (path, body), *more = sent
    assert path == "/v1/metrics"
    about, numbers = read(body)
    assert about == {"service.name": "entrenous", "service.instance.id": "127.0.0.1:8081"}
    changing = {"entrenous_resident_bytes", "entrenous_open_files"}
    assert {key: value for key, value in numbers.items() if key[0] not in changing} == {
        key: pytest.approx(value) for key, value in scraped(metrics).items() if key[0] not in changing
    }
    assert numbers["entrenous_decisions_total", frozenset({("reason", "SPLIT")})] == 2 * STEP
    assert not [key for key in numbers if ("route", "/v1/visitor") in key[1] and "requests" in key[0]]
    assert not more


def test_without_opentelemetry_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    with pytest.raises(Missing, match=r"entrenous\[otel\]"):
        tell(Metrics(), "http://127.0.0.1:1", "one")


def test_a_collector_out_of_reach_is_told_by_opentelemetry_alone_and_nothing_is_raised(caplog):
    tell(Metrics(), "http://127.0.0.1:9", "one", seconds=3600)()
    assert {record.name.partition(".")[0] for record in caplog.records} == {"opentelemetry"}


def test_a_worker_that_is_told_of_a_collector_sends_to_it_before_it_ends(tmp_path):
    with collector() as (url, sent):
        with running(Shop(tmp_path, Clock()), otlp=url) as worker:
            worker.decide("customer-42")
            canary = worker.ask("GET", "/metrics", admin=True).data
            assert worker.stop() == 0
            assert worker.log() == ""
        about, numbers = read(sent[-1][1])
    assert about["service.instance.id"] == f"http://127.0.0.1:{worker.admin_port}"
    assert numbers["entrenous_answers_total", frozenset({("class", "2xx")})] == 2, (
        "a decision and a reading of /metrics"
    )
    assert b"entrenous_answers_total" in canary
    assert not any(b"customer-42" in body for _, body in sent)


@pytest.mark.parametrize("address", ["https://otel.example", "https://otel.example:4318/in", "http://[::1]:4318"])
def test_metrics_may_go_to_this_host_or_behind_https(tmp_path, address):
    assert read_config(configure(Shop(tmp_path, Clock()), otlp=address)).otlp == address


def test_a_worker_that_lacks_opentelemetry_says_so_and_never_that_it_serves(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    said: list[str] = []
    with pytest.raises(Missing, match=r"entrenous\[otel\]"):
        serve(read_config(configure(Shop(tmp_path, Clock()), otlp="http://127.0.0.1:9")), said.append)
    assert said == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:4318",
        "ftp://127.0.0.1",
        "http://127.0.0.1:4318?key=1",
        "http://",
        "http://otel.example:4318",
        "http://127.0.0.1.otel.example",
        "http://127.0.0.1@otel.example",
        "https://user:secret@otel.example",
    ],
)
def test_what_is_no_address_of_a_collector_is_refused(tmp_path, address):
    with pytest.raises(Malformed, match=r"edge\.toml: otlp.*write it as http://"):
        read_config(configure(Shop(tmp_path, Clock()), otlp=address))
