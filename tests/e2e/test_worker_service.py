"""The worker as a service: recommending, explaining, what it publishes, bots, bounds, draining, several processes."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from entrenous import Client, Config
from entrenous.recommending.strategy import Strategy
from tests.recommending import POPULAR, deciding, stock
from tests.shop import Clock, Shop
from tests.worker import KEY, Running, running

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}
BOT = {"User-Agent": "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example)"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("service"), Clock())


@pytest.fixture(scope="module")
def worker(shop: Shop) -> Iterator[Running]:
    with running(shop, most_per_second=0) as started:
        assert started.consent("ada", ALL).status == 200
        yield started


# Recommending and explaining


def test_items_are_recommended_and_a_list_is_put_into_order(tmp_path: Path):
    shop = Shop(tmp_path, Clock())
    stock(shop, deciding(shop, popular=Strategy(popular=1.0)))
    with running(shop) as worker:
        worker.consent("ada", ALL)
        told = worker.ask("POST", "/v1/recommend", {"decision": "home_list", "visitor": "ada", "count": 3}).json
        assert told["items"] == list(POPULAR[:3])
        assert told["decision"]["receipt"]
        among = {"decision": "home_list", "visitor": "ada", "among": ["hose", "novel"], "stock": ["hose"]}
        assert worker.ask("POST", "/v1/recommend", among).json["items"] == ["hose"]
        stranger = worker.ask("POST", "/v1/recommend", {**among, "visitor": "nobody"}).json
        assert (stranger["items"], stranger["decision"]["cause"]) == (["hose", "novel"], "consent_missing")
        bot = worker.ask("POST", "/v1/recommend", {**among, "count": 1}, BOT).json
        assert (bot["items"], bot["decision"]["cause"]) == (["hose"], "bot")


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"count": True},
        {"items": "atlas"},
        {"items": [1.5]},
        {"among": ["a"] * 1001},
        {"stock": [None]},
        {"within": {"colour": 1}},
        {"within": []},
        {"region": 3},
        {"decision": 3},
        {"context": []},
        {"colour": "red"},
    ],
)
def test_a_wish_that_is_none_is_refused_with_its_place(worker: Running, wrong):
    given = {"decision": "home_list", "visitor": "ada"} | wrong
    answer = worker.ask("POST", "/v1/recommend", given)
    assert (answer.status, answer.code) == (400, "malformed")


def test_why_is_told_to_who_is_proven_in_their_language(worker: Running):
    told = worker.ask("POST", "/v1/why", {"decision": "promotion", "language": "fr"}, worker.token("ada")).json
    assert told["decision"]["receipt"]
    assert any("réponse" in line or "comparer" in line for line in told["lines"])
    assert set(told) == {"decision", "lines", "effects", "withheld"}
    english = worker.ask("POST", "/v1/why", {"decision": "promotion"}, worker.token("ada")).json
    assert english["lines"] != told["lines"]


def test_why_is_told_to_nobody_else(worker: Running):
    body = {"decision": "promotion"}
    assert worker.ask("POST", "/v1/why", body, {"Entrenous-Visitor": "ada"}).status == 403
    assert worker.ask("POST", "/v1/why", body | {"visitor": "ada"}, worker.token("ada")).status == 400
    assert worker.ask("POST", "/v1/why", body | {"language": "de"}, worker.token("ada")).status == 400


# What is published


def test_another_client_takes_and_verifies_what_this_worker_publishes(worker: Running, shop: Shop, tmp_path: Path):
    about = worker.ask("GET", "/v1/bundle", opened=False).json
    assert about["bundle"]["version"] == 1
    config = Config(
        **shop.settings()
        | {
            "source": f"http://127.0.0.1:{worker.port}{about['repository']}",
            "state": tmp_path / "state",
            "keys": tmp_path / "keys",
        }
    )
    with Client.open(config) as client:
        assert client.bundle is not None
        assert client.bundle.version == about["bundle"]["version"]
        assert client.refused is None
        assert client.refresh().accepted


def test_what_is_published_is_the_publishers_own_bytes_and_nothing_else(worker: Running, shop: Shop):
    found = 0
    for path in sorted(shop.repository.rglob("*")):
        if path.is_file():
            answer = worker.ask("GET", f"/v1/bundle/{path.relative_to(shop.repository)}", opened=False)
            assert answer.data == path.read_bytes()
            assert "public" in answer.headers["cache-control"]
            found += 1
    assert found >= 7
    for name in (
        "record",
        "../record",
        "metadata/../record",
        "metadata/2.models.json",
        "metadata/1.timestamp.json",
        "metadata/models.json",
        "targets/bundles/" + "0" * 64 + ".x",
        "metadata/root_history/1.root.json",
        "%2e%2e/record",
    ):
        assert worker.ask("GET", f"/v1/bundle/{name}", opened=False).status == 404


def test_it_describes_itself(worker: Running):
    told = worker.ask("GET", "/openapi.json", opened=False).json
    assert told["openapi"] == "3.1.0"
    assert "/v1/decide" in told["paths"]


# OFREP


def test_all_flags_have_a_tag_that_says_when_nothing_changed(worker: Running):
    body = {"context": {"targetingKey": "ada"}}
    first = worker.ask("POST", "/ofrep/v1/evaluate/flags", body)
    tag = first.headers["etag"]
    again = worker.ask("POST", "/ofrep/v1/evaluate/flags", body, {"If-None-Match": tag})
    assert (again.status, again.data, again.headers["etag"]) == (304, b"", tag)
    other = worker.ask(
        "POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "nobody"}}, {"If-None-Match": tag}
    )
    assert other.status == 200
    assert other.headers["etag"] != tag
    receipts = {flag["metadata"]["receipt"] for flag in first.json["flags"]}
    assert receipts


# Bots, bounds


def test_a_bot_gets_the_default_and_leaves_nothing(worker: Running):
    decision = worker.ask("POST", "/v1/decide", {"decisions": ["promotion"], "visitor": "ada"}, BOT).json
    assert decision["decisions"]["promotion"] == {"value": None, "reason": "DEFAULT", "cause": "bot"}
    events = worker.ask("POST", "/v1/events", {"visitor": "ada", "events": [{"name": "view_item"}]}, BOT).json
    assert events == {"outcomes": [{"accepted": False, "cause": "bot"}]}
    choice = worker.ask("POST", "/v1/consent", {"choices": ALL}, BOT)
    assert choice.status == 403
    assert choice.cookies == {}
    phone = {"User-Agent": "Mozilla/5.0 (Linux; Android 9; CUBOT X19)"}
    assert worker.decide("ada", phone)["reason"] != "DEFAULT"


def test_a_key_has_its_calls_of_a_second_and_no_more(tmp_path: Path):
    other = "pk_other_0123456789abcdef"
    with running(Shop(tmp_path, Clock()), most_per_second=3, publishable_keys=[KEY, other]) as worker:
        answers = [worker.ask("GET", "/v1/consent") for _ in range(12)]
        refused = [answer for answer in answers if answer.status == 429]
        assert refused
        assert refused[0].code == "too_many"
        assert refused[0].headers["retry-after"] == "1"
        assert worker.ask("GET", "/v1/consent", headers={"Authorization": f"Bearer {other}"}).status == 200
        assert worker.ask("GET", "/livez", opened=False).status == 200


def raw(worker: Running, data: bytes, seconds: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", worker.port), timeout=seconds) as connection:
        connection.sendall(data)
        got = b""
        while part := connection.recv(65536):
            got += part
        return got


@pytest.mark.parametrize(
    "headers",
    [b"".join(b"x-%d: y\r\n" % i for i in range(10_000)), b"x: " + b"y" * 40_000 + b"\r\n"],
    ids=["lines", "bytes"],
)
@pytest.mark.parametrize("path", [b"POST /v1/decide", b"GET /livez", b"POST /" + b"a" * 40_000])
def test_more_headers_than_are_taken_end_the_connection_with_a_code(worker: Running, headers: bytes, path: bytes):
    got = raw(worker, path + b" HTTP/1.1\r\nhost: x\r\n" + headers + b"\r\n")
    assert got.startswith(b"HTTP/1.1 431 ")
    assert b"headers_too_large" in got
    assert worker.ask("GET", "/livez").status == 200


def test_a_body_of_a_hundred_megabytes_is_refused_and_not_kept(worker: Running):
    before = resident(worker)
    head = b"POST /v1/decide HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer "
    head += KEY.encode() + b"\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (100 << 20)
    with socket.create_connection(("127.0.0.1", worker.port), timeout=30) as connection:
        connection.sendall(head)
        got = b""
        try:
            for _ in range(100):
                connection.sendall(b"x" * (1 << 20))
        except OSError:
            pass
        while part := connection.recv(65536):
            got += part
    assert got.startswith(b"HTTP/1.1 413 ")
    assert resident(worker) - before < 8 << 20


def test_calls_that_follow_one_another_without_waiting_are_answered_in_order(worker: Running):
    """Pipelined: fast ones, one that waits for a thread, and one of Starlette's."""

    def call(path: str, body: dict) -> bytes:
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {KEY}\r\n"
        return head.encode() + b"content-length: %d\r\n\r\n" % len(data) + data

    decide = call("/v1/decide", {"decisions": ["promotion"], "visitor": "ada"})
    got = raw_until(worker, decide * 3, answers=3)
    assert got.count(b"HTTP/1.1 200") == 3
    # Behind one that waits the connection ends, and whoever sent them sends the rest again: HTTP allows it.
    events = call("/v1/events", {"visitor": "ada", "events": [{"name": "view_item"}]})
    got = raw_until(worker, events + decide, answers=2)
    assert got.startswith(b"HTTP/1.1 200")
    assert b'"outcomes"' in got.partition(b'"decisions"')[0]


def raw_until(worker: Running, data: bytes, *, answers: int) -> bytes:
    got = b""
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        connection.sendall(data)
        connection.settimeout(3)
        while got.count(b"HTTP/1.1 ") < answers or not got.rstrip().endswith(b"}"):
            try:
                part = connection.recv(65536)
            except TimeoutError:
                break
            if not part:
                break
            got += part
    return got


@pytest.mark.parametrize("expect", [True, False])
def test_a_body_in_pieces_is_one_call(worker: Running, expect: bool):
    body = json.dumps({"decisions": ["promotion"], "visitor": "ada"}).encode()
    head = (
        b"POST /v1/decide HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer "
        + KEY.encode()
    )
    head += b"\r\ncontent-length: %d\r\n" % len(body) + (b"expect: 100-continue\r\n" if expect else b"") + b"\r\n"
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        connection.sendall(head[:40])
        time.sleep(0.05)
        connection.sendall(head[40:])
        if expect:
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        for byte in range(0, len(body), 7):
            connection.sendall(body[byte : byte + 7])
            time.sleep(0.005)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def resident(worker: Running) -> int:
    text = worker.ask("GET", "/metrics", admin=True).data.decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("entrenous_resident_bytes "))


# Life


def test_draining_is_said_before_it_ends(tmp_path: Path):
    with running(Shop(tmp_path, Clock()), drain_seconds=1.5) as worker:
        assert worker.ask("GET", "/readyz").status == 200
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        answer = worker.ask("GET", "/readyz")
        assert (answer.status, answer.json["status"]) == (503, "draining")
        assert worker.ask("POST", "/v1/decide", {"decisions": ["promotion"], "visitor": "x"}).status == 200
        assert worker.process.wait(20) == 0


def test_several_processes_share_the_port_and_one_consent(tmp_path: Path):
    shop = Shop(tmp_path, Clock())
    admin = two_ports()
    with running(shop, processes=2, admin=f"127.0.0.1:{admin}") as worker:
        worker.consent("ada", ALL)
        values = {worker.decide("ada")["value"] for _ in range(40)}
        assert len(values) == 1
        served = []
        for port in (admin, admin + 1):
            worker.admin_port = port
            text = worker.ask("GET", "/metrics", admin=True).data.decode()
            served.append(next(int(line.split()[1]) for line in text.splitlines() if 'class="2xx"' in line))
        assert sum(served) >= 41
        worker.consent("ada", {})
        assert {worker.decide("ada").get("cause") for _ in range(20)} == {"consent_missing"}
        assert worker.stop() == 0


def two_ports() -> int:
    """Return a free port whose next is free too."""
    while True:
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            with suppress(OSError):
                next_one.bind(("127.0.0.1", port + 1))
                return port


def test_the_public_port_speaks_tls(tmp_path: Path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    asked = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    named = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run(["openssl", *asked.split(), *named], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("needs openssl: apt-get install openssl")
    key.chmod(0o600)
    with running(Shop(tmp_path, Clock()), tls={"certificate": "cert.pem", "key": "key.pem"}) as worker:
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", worker.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
