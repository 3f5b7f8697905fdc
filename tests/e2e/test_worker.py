"""The worker as a process, over real HTTP: what it answers, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrenous.cli import main
from entrenous.loop.reports import read_report
from entrenous.tokens import make_token
from entrenous_consent.sqlite import SQLiteStore
from tests.shop import DAY, NOON, Clock, Shop
from tests.worker import KEY, TOKEN_KEY, Running, configure, running

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}
CANARY = "canary-ada.lovelace@example.org"


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    shop = Shop(tmp_path_factory.mktemp("worker"), Clock())
    with running(shop, allow_origins=["https://shop.example"]) as started:
        yield started


def bytes_of(worker: Running, *folders: str) -> bytes:
    """Return every byte of the worker's state, keys and log."""
    some = [path for name in folders for path in (worker.home / name).rglob("*") if path.is_file()]
    return b"\0".join(path.read_bytes() for path in [*some, worker.home / "worker.log"])


# Decisions, events, consent


def test_a_visitor_who_agreed_gets_a_decision_and_a_stranger_the_default(worker):
    assert worker.consent("ada", ALL).json == {"accepted": True}
    decision = worker.decide("ada")
    assert decision["reason"] in ("TARGETING_MATCH", "SPLIT")
    assert set(decision) >= {"value", "tranche", "receipt"}
    unknown, refused = worker.decide("nobody"), None
    worker.consent("grace", {})
    refused = worker.decide("grace")
    assert unknown == refused == {"value": None, "reason": "DEFAULT", "cause": "consent_missing"}


def test_the_same_answer_whether_unknown_or_refused_to_the_byte(worker):
    worker.consent("refuser", {})
    answers = [
        worker.ask("POST", "/v1/decide", {"decisions": ["promotion"], "visitor": name}) for name in ("refuser", "who")
    ]
    assert answers[0].data == answers[1].data
    assert answers[0].headers == answers[1].headers


def test_events_change_what_is_decided_and_are_kept(worker):
    worker.consent("buyer", ALL)
    events = [{"name": "view_item", "category": "boots", "price": 9900, "currency": "EUR"}] * 3
    assert worker.ask("POST", "/v1/events", {"visitor": "buyer", "events": events}).json == {
        "outcomes": [{"accepted": True}] * 3
    }
    held = worker.ask("GET", "/v1/visitor", headers=worker.token("buyer")).json
    assert held["purposes"]["personalize"]["features"]["visit_views_7d"] == 3


def test_batches_are_of_several_visitors_and_one_refusal_holds_up_no_other(worker):
    worker.consent("first", ALL)
    body = {
        "batches": [
            {"visitor": "first", "events": [{"name": "view_item"}, {"name": "stare"}]},
            {"visitor": "stranger", "events": [{"name": "view_item"}]},
        ]
    }
    outcomes = worker.ask("POST", "/v1/events", body).json["outcomes"]
    assert [[one["accepted"] for one in some] for some in outcomes] == [[True, False], [False]]
    assert outcomes[1][0]["cause"] == "consent_missing"


def test_gpc_refuses_without_looking(worker):
    worker.consent("objector", ALL)
    gpc = {"Sec-GPC": "1"}
    assert worker.decide("objector", gpc)["cause"] == "consent_missing"
    body = {"visitor": "objector", "events": [{"name": "view_item"}]}
    assert worker.ask("POST", "/v1/events", body, gpc).json["outcomes"][0]["cause"] == "consent_missing"
    assert worker.decide("objector", {"Sec-GPC": "0"})["reason"] != "DEFAULT"
    choice = worker.ask("POST", "/v1/consent", {"choices": ALL}, {**gpc, **worker.token("objector")})
    assert choice.json["accepted"]
    assert worker.decide("objector")["cause"] == "consent_missing"


def test_a_new_browser_gets_a_cookie_with_its_consent_and_none_before(worker):
    before = worker.ask("POST", "/v1/decide", {"decisions": ["promotion"]})
    assert before.cookies == {}
    given = worker.ask("POST", "/v1/consent", {"choices": ALL})
    value = given.cookies["__Host-entrenous"]
    assert len(value) == 64
    line = given.headers["set-cookie"].lower()
    jar = {"Cookie": f"__Host-entrenous={value}"}
    for flag in ("secure", "httponly", "samesite=lax", "path=/"):
        assert flag in line or "entrenous-refused" in line
    decision = worker.ask("POST", "/v1/decide", {"decisions": ["promotion"]}, jar).json["decisions"]["promotion"]
    assert decision["reason"] in ("TARGETING_MATCH", "SPLIT")
    own = {**jar, "Origin": f"http://127.0.0.1:{worker.port}", "Host": f"127.0.0.1:{worker.port}"}
    assert worker.ask("GET", "/v1/visitor", headers=own).json["consent"]["granted"]
    assert worker.ask("DELETE", "/v1/visitor", headers=own).status == 200
    assert worker.ask("GET", "/v1/visitor", headers=own).json == {}


def test_a_refusal_by_a_new_browser_is_a_cookie_without_an_identifier(worker):
    rows = _rows(worker)
    given = worker.ask("POST", "/v1/consent", {"choices": dict.fromkeys(ALL, False)})
    assert given.cookies == {"__Host-entrenous-refused": "1"}
    assert _rows(worker) == rows


def _rows(worker: Running) -> int:
    store = sqlite3.connect(f"file:{worker.home / 'edge-state' / 'visitors.db'}?mode=ro", uri=True)
    count = store.execute("select count(*) from records").fetchone()[0]
    store.close()
    return count


# Who may do what


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/visitor", None),
        ("DELETE", "/v1/visitor", None),
        ("POST", "/v1/consent", {"choices": {}}),
    ],
)
@pytest.mark.parametrize("headers", [{"Entrenous-Visitor": "victim"}, {"Cookie": "__Host-entrenous=victim"}])
def test_a_stranger_with_a_known_identifier_gets_403_and_nothing_changes(worker, method, path, body, headers):
    worker.consent("victim", ALL)
    worker.ask("POST", "/v1/events", {"visitor": "victim", "events": [{"name": "view_item"}]})
    before = worker.ask("GET", "/v1/visitor", headers=worker.token("victim")).json
    answer = worker.ask(method, path, body, headers)
    if path == "/v1/consent" and "Cookie" in headers:
        assert answer.cookies.keys() == {"__Host-entrenous-refused"}, "it is a new browser, and chose for itself"
    else:
        assert (answer.status, answer.code) == (403, "forbidden")
    assert worker.ask("GET", "/v1/visitor", headers=worker.token("victim")).json == before


def test_a_stated_identifier_can_not_reach_who_has_a_cookie(worker):
    value = worker.ask("POST", "/v1/consent", {"choices": ALL}).cookies["__Host-entrenous"]
    body = {"decisions": ["promotion"], "visitor": f"cookie:{value}"}
    assert worker.ask("POST", "/v1/decide", body).status == 400
    token = {"Entrenous-Token": make_token(TOKEN_KEY, f"cookie:{value}", now=int(time.time()))}
    assert worker.ask("GET", "/v1/visitor", headers=token).status == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_a_page_of_another_site_can_not_write_with_the_cookie(worker, origin):
    value = worker.ask("POST", "/v1/consent", {"choices": ALL}).cookies["__Host-entrenous"]
    jar = {"Cookie": f"__Host-entrenous={value}", "Origin": origin}
    assert worker.ask("DELETE", "/v1/visitor", headers=jar).status == 403
    assert worker.ask("POST", "/v1/consent", {"choices": {}}, jar).status == 403
    assert worker.ask("GET", "/v1/visitor", headers=jar).json["consent"]["granted"]
    allowed = {**jar, "Origin": "https://shop.example"}
    assert worker.ask("DELETE", "/v1/visitor", headers=allowed).status == 200


def _forged(token: str) -> list[str]:
    version, payload, mac = token.split(".")
    other = make_token(b"x" * 32, "ada", now=int(time.time()))
    expired = make_token(TOKEN_KEY, "ada", now=int(time.time()) - 4000, seconds=3600)
    early = make_token(TOKEN_KEY, "ada", now=int(time.time()) + 4000)
    return [other, expired, early, "", "v1", f"{version}.{payload}.", f"{version}.{payload}x.{mac}", "v2" + token[2:]]


def test_a_token_that_does_not_hold_opens_nothing(worker):
    for token in _forged(worker.token("ada")["Entrenous-Token"]):
        answer = worker.ask("GET", "/v1/visitor", headers={"Entrenous-Token": token})
        assert (answer.status, answer.code) == (401, "unauthorized"), token
        assert not token or token not in answer.data.decode()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": KEY[:-1]}])
@pytest.mark.parametrize("path", ["/v1/decide", "/v1/events", "/v1/consent", "/ofrep/v1/evaluate/flags/promotion"])
def test_without_a_publishable_key_nothing_opens(worker, path, headers):
    answer = worker.ask("POST", path, {}, headers, opened=False)
    assert (answer.status, answer.code) == (401, "unauthorized")


def test_the_admin_port_needs_its_token(worker):
    for path, method in (("/metrics", "GET"), ("/release", "POST"), ("/updates", "POST"), ("/clock", "POST")):
        assert worker.ask(method, path, headers={"Authorization": f"Bearer {KEY}"}, admin=True).status == 401
    assert worker.ask("GET", "/metrics").status == 404, "not on the public port"


def test_an_ordinary_workers_clock_is_the_systems(worker):
    assert worker.ask("POST", "/clock", {"now": NOON}, admin=True).status == 403


# Bad input


@pytest.mark.parametrize(
    ("raw", "headers", "status", "code"),
    [
        (b"{", {}, 400, "malformed"),
        (b"[]", {}, 400, "malformed"),
        (b'{"decisions": ["promotion"], "decisions": []}', {}, 400, "malformed"),
        (b'{"decisions": ["promotion"], "colour": 1}', {}, 400, "malformed"),
        (b'{"decisions": []}', {}, 400, "malformed"),
        (b'{"decisions": ["promotion"], "context": {"hour": NaN}}', {}, 400, "malformed"),
        (b'{"decisions": ["\xff"]}', {}, 400, "malformed"),
        (b"[" * 100_000, {}, 400, "malformed"),
        (b'{"decisions": ["promotion"], "visitor": 7}', {}, 400, "malformed"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b" " * (257 << 10), {}, 413, "too_large"),
    ],
)
def test_bodies_that_are_none_get_a_code_and_lose_nothing(worker, raw, headers, status, code):
    answer = worker.ask("POST", "/v1/decide", headers=headers, raw=raw)
    assert (answer.status, answer.code) == (status, code)
    assert worker.ask("GET", "/livez").status == 200


def test_what_is_no_purpose_is_no_choice(worker):
    worker.consent("chooser", ALL)
    for choices in ({"colour": True}, {"personalize": 1}, {"personalize": "yes"}):
        assert worker.consent("chooser", choices).status == 400
    assert worker.ask("POST", "/v1/consent", {"choices": {"colour": False}}).status == 400
    assert worker.decide("chooser")["reason"] != "DEFAULT"


def test_a_body_cut_off_half_way_is_dropped(worker):
    with socket.create_connection(("127.0.0.1", worker.port)) as cut:
        lines = [b"POST /v1/decide HTTP/1.1", b"Host: x", b"Content-Type: application/json", b"Content-Length: 99"]
        cut.sendall(b"\r\n".join([*lines, b"", b"{"]))
    assert worker.ask("GET", "/livez").status == 200


# What is left behind


def test_a_canary_fed_to_every_input_is_nowhere(worker):
    """In bodies, headers, paths, queries, cookies, contexts, events, choices; asked for in answers, logs, files."""
    worker.consent(CANARY, ALL)
    event = {"name": "purchase", "value": 1, "currency": "EUR", "id": CANARY, "transaction_id": CANARY}
    answers = [
        worker.ask("POST", "/v1/events", {"visitor": CANARY, "events": [event, {"name": CANARY}, {CANARY: 1}]}),
        worker.ask("POST", "/v1/decide", {"decisions": [CANARY], "visitor": CANARY}),
        worker.ask("POST", "/v1/decide", {"decisions": ["promotion"], "visitor": CANARY, "context": {CANARY: 1}}),
        worker.ask("POST", "/v1/decide", {CANARY: 1}),
        worker.ask("POST", "/v1/consent", {"choices": {CANARY: True}}, worker.token(CANARY)),
        worker.ask("POST", f"/ofrep/v1/evaluate/flags/{CANARY}", {"context": {"targetingKey": CANARY}}),
        worker.ask("GET", f"/v1/visitor?who={CANARY}", headers={"Entrenous-Visitor": CANARY}),
        worker.ask("GET", f"/{CANARY}"),
        worker.ask("GET", "/v1/visitor", headers={"Entrenous-Token": CANARY, "Cookie": f"__Host-entrenous={CANARY}"}),
        worker.ask("GET", "/v1/visitor", headers=worker.token(CANARY)),
        worker.ask("DELETE", "/v1/visitor", headers={"Entrenous-Visitor": CANARY}),
        worker.ask(
            "POST", "/v1/recommend", {"decision": CANARY, "visitor": CANARY, "items": [CANARY], "region": CANARY}
        ),
        worker.ask("POST", "/v1/why", {"decision": CANARY, "context": {CANARY: CANARY}}, worker.token(CANARY)),
        worker.ask("POST", "/v1/why", {"decision": "promotion", "language": CANARY}, worker.token(CANARY)),
        worker.ask("GET", f"/v1/bundle/{CANARY}"),
        worker.ask("GET", f"/preferences?lang={CANARY}", headers={"Cookie": f"__Host-entrenous={CANARY}"}),
        worker.ask(
            "POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": CANARY}}, {"If-None-Match": CANARY}
        ),
        worker.ask(
            "POST", "/v1/decide", {"decisions": ["promotion"], "visitor": CANARY}, {"User-Agent": f"bot {CANARY}"}
        ),
        worker.ask("POST", "/v1/decide", raw=b"{" + CANARY.encode()),
        worker.ask("POST", "/v1/decide", {"decisions": ["promotion"]}, {"Authorization": f"Bearer {CANARY}"}),
        worker.ask("GET", "/metrics", admin=True),
        worker.ask("POST", "/v1/import", raw=CANARY.encode(), admin=True),
    ]
    for answer in answers:
        assert CANARY not in str(answer.headers)
        # The one thing that comes back is a flag's own key, and a decision's own name, to whoever asked for it.
        told = answer.data.decode()
        if told.startswith("{"):
            told = json.dumps({key: value for key, value in answer.json.items() if key not in ("key", "decisions")})
        assert CANARY not in told
    worker.ask("POST", "/flush", admin=True)
    assert CANARY.encode() not in bytes_of(worker, "edge-state", "edge-keys")


def test_what_a_crash_leaves_on_standard_error_names_nobody():
    """An error of ours, and one of another library's whose text quotes what it was handed, handled by nobody: in the
    main thread, in another, in what is being let go."""
    code = (
        "import logging; from entrenous_edge.logs import start_logging; start_logging()\n"
        f"try: int({CANARY!r})\n"
        "except ValueError: logging.getLogger('uvicorn.error').exception('Exception in ASGI application')\n"
        f"def fails(*_): raise KeyError({CANARY!r})\n"
        "import threading; one = threading.Thread(target=fails); one.start(); one.join()\n"
        "type('Left', (), {'__del__': fails})()\n"
        f"raise RuntimeError({CANARY!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert run.returncode == 1
    assert [line["error"] for line in lines] == ["ValueError", "KeyError", "KeyError", "RuntimeError"]
    assert all(line["at"] for line in lines)
    assert CANARY not in run.stderr


def test_metrics_name_no_arm_and_move_consents_in_twenties(worker):
    for i in range(3):
        worker.consent(f"counted-{i}", ALL)
    worker.decide("nobody")
    text = worker.ask("GET", "/metrics", admin=True).data.decode()
    for word in ("ten_off", "cold", "promotion", "ada"):
        assert word not in text
    assert "entrenous_choices_total 0" in text
    assert "entrenous_decisions_total{" not in text, "what a visitor did is told by the minute, in twenties"
    assert 'entrenous_answers_total{class="2xx"}' in text
    assert "entrenous_bundle_version 1" in text


def test_personalised_answers_are_kept_by_no_cache(worker):
    for answer in (worker.ask("POST", "/v1/decide", {"decisions": ["promotion"]}), worker.ask("GET", "/livez")):
        assert answer.headers["cache-control"] == "private, no-store"


# Life of the process


def test_sigterm_ends_it_and_what_was_acknowledged_is_there(tmp_path: Path):
    shop = Shop(tmp_path, Clock())
    with running(shop) as worker:
        worker.consent("ada", ALL)
        worker.ask("POST", "/v1/events", {"visitor": "ada", "events": [{"name": "view_item"}]})
        receipt = worker.decide("ada")["receipt"]
        assert worker.stop() == 0
    with running(shop) as worker:
        held = worker.ask("GET", "/v1/visitor", headers=worker.token("ada")).json["purposes"]["personalize"]
        assert held["features"]["visit_views_7d"] == 1
        assert [one["id"] for one in held["receipts"]] == [receipt]


def test_a_replays_clock_is_set_from_the_admin_port_and_shown(tmp_path: Path):
    shop = Shop(tmp_path, Clock())
    with running(shop, clock="admin") as worker:
        assert worker.ask("GET", "/readyz").json["clock"] == "admin"
        assert worker.ask("POST", "/clock", {"now": NOON}, admin=True).json == {"now": NOON}
        assert worker.ask("POST", "/clock", {"now": NOON - 1}, admin=True).status == 400
        token = worker.token("ada", now=NOON)
        assert worker.ask("POST", "/v1/consent", {"choices": ALL}, token).status == 200
        worker.decide("ada")
        assert worker.ask("POST", "/release", admin=True).json["reports"] == []
        worker.ask("POST", "/clock", {"now": NOON + 60 * DAY}, admin=True)
        assert len(worker.ask("POST", "/release", admin=True).json["reports"]) == 1
        assert worker.ask("POST", "/send", admin=True).json["cause"] == "no_collector"
        worker.stop()
    store = SQLiteStore(tmp_path / "edge-state" / "visitors.db")
    (left,) = store.outbox()
    store.close()
    assert set(read_report(left.data).cells.values()) == {None}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clock": "admin", "listen": "0.0.0.0:0"}, "bind both to 127.0.0.1"),
        ({"publishable_keys": ["short"]}, "publishable_keys"),
        ({"listen": "8080"}, "listen: is not host:port"),
        ({"colour": "red"}, "colour: is not a known key"),
        ({"root": "gone.json"}, "gone.json: is not there"),
        ({"collector": "http://collector.example"}, "collector: is not https"),
    ],
)
def test_a_configuration_that_can_not_be_is_refused_with_its_place(tmp_path: Path, capsys, changes, says):
    path = configure(Shop(tmp_path, Clock()), **changes)
    assert main(["serve", "--config", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, capsys):
    path = configure(Shop(tmp_path, Clock()))
    (tmp_path / "admin.token").chmod(0o644)
    assert main(["serve", "--config", str(path)]) == 2
    assert "admin.token: others may read it" in capsys.readouterr().err


def test_a_port_that_is_taken_is_said(tmp_path: Path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = configure(Shop(tmp_path, Clock()), listen=f"127.0.0.1:{taken.getsockname()[1]}")
        assert main(["serve", "--config", str(path)]) == 2
    assert "can't be listened on" in capsys.readouterr().err


def test_the_token_command_signs_what_the_worker_takes(tmp_path: Path, worker, capsys):
    (tmp_path / "shop.key").write_bytes(TOKEN_KEY)
    assert main(["token", "--key", str(tmp_path / "shop.key"), "nobody-else"]) == 0
    token = capsys.readouterr().out.strip()
    assert worker.ask("GET", "/v1/visitor", headers={"Entrenous-Token": token}).json == {}
