"""docs/formats.md keeps up with what leaves, with the worker and with the collector: keys, routes, codes, examples."""

from __future__ import annotations

import asyncio
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import msgpack
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from tests.shop import Clock, Shop
from tests.unit.test_docs_formats import (
    SECTIONS,
    Asked,
    _limits,
    asked,
    assert_described,
    assert_shows_everything,
    block,
    rows,
)
from tests.unit.test_reports import made
from tests.worker import ADMIN, TOKEN_KEY, configure

from entrenous import Client
from entrenous.decisions.why import LANGUAGES
from entrenous.loop.contributions import Contribution, pack_contributions
from entrenous.loop.ledger import Account, Ledger
from entrenous.loop.reports import encode_report, read_report
from entrenous.messages.sending import CONTENT_TYPE, SIGNATURE, HttpSink, signed_content
from entrenous_consent.pending import label, labelled
from entrenous_edge.admin import SetClock, admin_app
from entrenous_edge.answers import STATUS
from entrenous_edge.app import Worker
from entrenous_edge.bots import BOT_WORDS
from entrenous_edge.config import EdgeConfig, read_config
from entrenous_edge.deciding import _WANTED, Deciding
from entrenous_edge.identity import COOKIE, REFUSED_COOKIE, TOKEN_HEADER, VISITOR_HEADER, Door
from entrenous_edge.metrics import Metrics
from entrenous_edge.openapi import document
from entrenous_edge.pages import routes
from entrenous_edge.preferences import Preferences
from entrenous_edge.protocol import HEADER_BYTES, HEADER_LINES
from entrenous_edge.public import MOST_CALLS, public_app
from entrenous_edge.taking import Taking
from entrenous_evaluation import collector
from entrenous_evaluation.answer import parse_costs
from entrenous_evaluation.collector import CollectorConfig, collector_app, read_collector_config
from entrenous_evaluation.learning.promotions import Guards
from entrenous_evaluation.learning.settings import parse_learning
from entrenous_evaluation.warehouse import Warehouse

__all__ = ["asked"]

REPORT, ON_ITS_WAY, WORKER, HTTP, COLLECTOR, COSTS, LEARNING = (
    SECTIONS[title]
    for title in (
        "Report",
        "Report on its way",
        "Worker configuration",
        "HTTP of the worker",
        "Collector configuration",
        "Costs",
        "Settings of learning",
    )
)


def keys_of(calls: list[Asked]) -> set[str]:
    return {call.key for call in calls}


def subsection(section: str, head: str) -> dict[str, list[str]]:
    """Return the rows of the one table whose header begins with a line."""
    (table,) = (part for part in re.split(r"\n\n", section) if part.startswith(head))
    return rows(table)


def a_worker(opened: Iterable[str] = ()) -> Worker:
    """A worker without anything behind it: enough for its routes and for its door."""
    nothing: dict[str, Any] = {name: None for name in vars(Client) if not name.startswith("_")}
    client = SimpleNamespace(**nothing | {"policy": SimpleNamespace(version=1)})
    return Worker(cast(Client, client), Door(list(opened), None, (), lambda: 0), Metrics())


def status_of(app: Starlette, method: str, path: str) -> int:
    """Return the status of the answer to a request without headers and body."""
    answers: list[Any] = []
    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        answers.append(message)

    asyncio.run(app(scope, receive, send))
    return int(answers[0]["status"])


def routes_of(app: Starlette) -> set[str]:
    found = set()
    for route in app.routes:
        assert isinstance(route, Route)
        found |= {f"{method} {route.path}" for method in (route.methods or ()) if method != "HEAD"}
    return found


# What waits, and what it has cost


def test_every_position_of_a_contribution_is_described():
    held = {"a": Contribution(decision="d", cell=("x", "y", "z"), consent_version=1, chosen=1, since=1, until=2)}
    ((*entry,),) = msgpack.unpackb(pack_contributions(held))
    described = re.findall(r"^\| ([\d, ]+) \|", SECTIONS["Pending row and contribution"], re.MULTILINE)
    assert [int(one) for row in described for one in row.split(",")] == list(range(len(entry)))
    assert len(entry) == len(fields(Contribution)) + 1


def test_a_pending_row_is_the_array_that_is_described():
    row = label("measure", bytes(32), b"sealed")
    assert msgpack.unpackb(row) == ["measure", bytes(32), b"sealed"]
    assert labelled(row) == ("measure", bytes(32), b"sealed")
    assert "`[purpose, pseudonym, ciphertext]`" in SECTIONS["Pending row and contribution"]


def test_every_position_of_the_ledger_is_described():
    (account,) = msgpack.unpackb(Ledger().opened("r", "e", 1).pack())
    described = re.findall(r"^\| ([\d, ]+) \|", SECTIONS["Ledger"], re.MULTILINE)
    assert [int(one) for row in described for one in row.split(",")] == list(range(len(account)))
    (named,) = re.findall(r"`\[([a-z, ]+)\]`", SECTIONS["Ledger"])
    assert named.split(", ") == ["report", "experiment", *(one.name for one in fields(Account))]


# What leaves


def test_every_key_of_a_report_is_described(asked: list[Asked]):
    data = encode_report(made())
    read_report(data)
    assert_described(REPORT, asked)
    table = msgpack.unpackb(data)
    assert rows(REPORT).keys() == keys_of(asked) == {*table, *table["mechanism"]}


def test_the_headers_of_a_report_are_those_that_are_sent(monkeypatch: pytest.MonkeyPatch):
    sent: dict[str, Any] = {}

    class Connection:
        def __init__(self, *_: Any, timeout: float) -> None:
            sent["timeout"] = timeout

        def request(self, method: str, path: str, *, body: bytes, headers: dict[str, str]) -> None:
            sent.update(method=method, path=path, headers=headers)
            raise OSError

        def close(self) -> None: ...

    monkeypatch.setattr("entrenous.messages.sending.HTTPConnection", Connection)
    with pytest.raises(Exception, match="can't be reached"):
        HttpSink("http://127.0.0.1").deliver(b"report", "signature")
    assert (
        subsection(ON_ITS_WAY, "| header").keys()
        >= sent["headers"].keys() - {"Connection"}
        == {
            "Content-Type",
            SIGNATURE,
        }
    )
    assert f"`{CONTENT_TYPE}`" in ON_ITS_WAY
    assert sent["method"] == "POST"
    assert f"`{sent['path']}`" in ON_ITS_WAY
    assert f"within {sent['timeout']:g} seconds" in " ".join(ON_ITS_WAY.split())
    assert signed_content(b"") == b"entrenous report 1\0"


def test_every_answer_of_the_collector_is_described():
    source = inspect.getsource(collector)
    given = set(re.findall(r'_Refused\((\d+), "(\w+)"', source))
    assert len(given) == source.count("raise _Refused(")
    given |= {(status, code) for code, status in re.findall(r'"code": "(\w+)".*, (\d{3})\)', source)}
    described = re.findall(r"^\| (\d{3}) \| (?:`(\w+)`|–) \|", ON_ITS_WAY, re.MULTILINE)
    assert {one for one in described if one[1]} == given
    assert {status for status, code in described if not code} == {"200", "201"}


def test_every_route_of_the_collector_is_described(tmp_path: Path):
    app = collector_app(Warehouse(tmp_path / "reports"), (), lambda: 0)
    assert routes_of(app) == {"POST /v1/reports", "GET /livez"}
    assert "`GET /livez`" in ON_ITS_WAY


def test_the_database_has_the_schema_that_is_printed(tmp_path: Path):
    warehouse = Warehouse(tmp_path / "reports.duckdb")
    report = made()
    assert warehouse.add(report, encode_report(report), sender="till", now=1)
    names = "select column_name, data_type, is_nullable from information_schema.columns order by ordinal_position"
    with duckdb.connect(str(warehouse.path), read_only=True) as database:
        kept = database.execute(names).fetchall()
    with duckdb.connect() as database:
        database.execute(block("sql reports"))
        assert database.execute(names).fetchall() == kept


# Configurations


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Path]:
    """The example, beside the secrets that it names."""
    for name, secret in (("admin.token", ADMIN.encode()), ("shop.key", TOKEN_KEY)):
        (tmp_path / name).write_bytes(secret)
        (tmp_path / name).chmod(0o600)
    path = tmp_path / "edge.toml"
    path.write_text(block("toml edge"))
    return path


def test_every_key_of_the_workers_configuration_is_described(edge: Path, asked: list[Asked]):
    config = read_config(edge)
    assert_described(WORKER, asked)
    assert rows(WORKER).keys() == keys_of(asked)
    # A document holds no address, so that the example has none to send reports or messages to, and no other file.
    assert keys_of(asked) - {call.key for call in asked if call.present} == {
        "collector",
        "floors",
        "mappings",
        "otlp",
        "theme",
        "tls",
        "webhooks",
    }
    assert config.token_key == TOKEN_KEY


def test_the_worker_of_these_tests_is_configured_by_what_is_described(tmp_path: Path, asked: list[Asked]):
    path = configure(Shop(tmp_path, Clock()))
    asked.clear()
    read_config(path)
    assert_described(WORKER, asked)
    assert keys_of(asked) == rows(WORKER).keys()


def test_the_defaults_of_the_workers_configuration_are_those_of_the_code(edge: Path, asked: list[Asked]):
    read_config(edge)
    defaults = {call.key: call.default for call in asked if call.getter in ("number", "choice")}
    assert defaults.keys() == {"clock", "refresh_seconds", "release_seconds", "message_seconds", "drain_seconds"}
    for key, default in defaults.items():
        said = f"`{default}`" if isinstance(default, str) else f"{default:g}"
        assert any(f"optional, {said} by default" in line for line in rows(WORKER)[key])
    text = "\n".join(line for line in block("toml edge").splitlines() if line.partition(" ")[0] not in defaults)
    edge.write_text(text)
    config = read_config(edge)
    assert [config.refresh_seconds, config.release_seconds, config.message_seconds] == [300, 600, 60]
    assert not config.clock_by_admin


def test_every_key_of_the_configuration_reaches_the_worker():
    parsed = {one.name for one in fields(EdgeConfig)}
    renamed = {"admin_token_file": "admin_token", "token_key_file": "token_key", "clock": "clock_by_admin"}
    shown = {renamed.get(key, key) for key in tomllib.loads(block("toml edge"))} - {"format"}
    assert shown == parsed - {"collector", "floors", "mappings", "otlp", "theme", "tls", "webhooks"}


def test_every_key_of_the_collectors_configuration_is_described(tmp_path: Path, asked: list[Asked]):
    path = tmp_path / "collect.toml"
    path.write_text(block("toml collect"))
    config = read_collector_config(path)
    assert_described(COLLECTOR, asked)
    assert_shows_everything(asked)
    assert rows(COLLECTOR).keys() == keys_of(asked)
    assert keys_of(asked) - {"format", "listen", "name", "tenant", "public_key"} == {
        one.name for one in fields(CollectorConfig)
    } - {"host", "port"}
    assert [sender.name for sender in config.senders] == ["till"]


def test_every_key_of_costs_is_described(asked: list[Asked]):
    costs = parse_costs(tomllib.loads(block("toml costs")))
    assert_described(COSTS, asked)
    assert_shows_everything(asked)
    assert rows(COSTS).keys() - {"arms.<name>"} == keys_of(asked)
    assert costs.arms.keys() == {"ten_off"}
    free = parse_costs({"arms": {"ten_off": {}}})
    assert (free.gross_margin, free.arms["ten_off"].per_visitor, free.arms["ten_off"].per_order) == (1, 0, 0)


def test_every_key_of_the_settings_of_learning_is_described(asked: list[Asked]):
    learning = parse_learning(tomllib.loads(block("toml learning")))
    own = [call for call in asked if call.path == "learning"]
    assert_described(LEARNING, own)
    assert rows(LEARNING).keys() == keys_of(own)
    assert learning.settings.metric.costs.arms.keys() == {"ten_off"}
    assert learning.parents == {"hot": "warm"}
    least = parse_learning({"format": 1, "metric": "conversion"})
    assert (least.memory, least.settings.forgetting, least.settings.floor, least.settings.currency) == (
        "reports",
        1,
        200,
        "",
    )
    assert least.settings.guards == Guards(least_margin=0, gross_margin=1)
    assert least.parents == {}


# The worker


def test_every_route_of_the_worker_is_described():
    described = subsection(HTTP, "| route | body")
    assert routes_of(public_app(a_worker())) == {
        key for key in described if key.startswith(("GET ", "POST ", "PATCH ", "DELETE "))
    }


@pytest.mark.parametrize("clock", [None, SetClock()])
def test_every_route_of_the_admin_port_is_described(clock: SetClock | None):
    described = subsection(HTTP, "| route | what it does")
    assert routes_of(admin_app(a_worker(), ADMIN, clock)) == {
        key for key in described if key.startswith(("GET ", "POST "))
    }


def test_every_error_code_is_described_with_its_status():
    described = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", HTTP, re.MULTILINE)
    assert {code: int(status) for code, status in described} == STATUS


def test_only_health_and_the_persons_own_page_open_without_a_key():
    app = public_app(a_worker(["pk_test_0123456789abcdef"]))
    asked = [route.split(" ") for route in routes_of(app)]
    opened = {path for method, path in asked if status_of(app, method, path) != 401}
    (line,) = (line for line in HTTP.splitlines() if "are open." in line)
    assert opened == set(re.findall(r"`(/[^`]+)`", line.partition("are open.")[0]))
    published = {"/livez", "/readyz", "/openapi.json", "/v1/bundle", "/v1/bundle/{name:path}"}
    assert {path for path in opened if not path.startswith("/preferences")} == published


def test_the_rule_for_bots_and_the_bounds_of_a_call_are_stated():
    said = next(part for part in HTTP.split("\n\n") if part.startswith("**Bots.**"))
    assert set(re.findall(r"`(\w+)`", said)) - {"cubot"} == {*BOT_WORDS}
    assert f"more than {HEADER_LINES} headers, or {HEADER_BYTES:,} bytes" in HTTP
    assert f"At most {MOST_CALLS} calls wait" in HTTP


def test_the_description_for_programs_names_every_route():
    described = {
        f"{method.upper()} {path}" for path, operations in document()["paths"].items() for method in operations
    }
    served = {one.replace("{name:path}", "{name}") for one in routes_of(public_app(a_worker()))}
    pages = {one for one in served if one.partition(" ")[2].startswith("/preferences")}
    assert described == served - pages, "pages are for people"


def test_the_headers_and_cookies_of_the_worker_are_named():
    for header in (TOKEN_HEADER, VISITOR_HEADER):
        assert f"`{header.title()}`" in HTTP
    for cookie in (COOKIE, REFUSED_COOKIE):
        assert f"`{cookie}`" in HTTP


_ROUTES = {"tell": "preferences"}


@pytest.mark.parametrize(
    "handler",
    [Deciding.decide, Deciding.recommend, Deciding.why, Taking.events, Worker.consent, Preferences.tell],
)
def test_every_key_of_a_body_is_described(handler: Callable[..., Any]):
    known = {
        key
        for call in re.findall(r"\bonly\(\w+, ([^)]*)\)", inspect.getsource(handler))
        for key in (re.findall(r'"(\w+)"', call) + (list(_WANTED) if "_WANTED" in call else []))
    }
    (row,) = subsection(HTTP, "| route | body")[f"POST /v1/{_ROUTES.get(handler.__name__, handler.__name__)}"]
    assert known == set(re.findall(r"`(\w+)`", row.split(" | ")[1])) - {*LANGUAGES}
    assert known - {"batches"} <= subsection(HTTP, "| key | type").keys()


def test_every_field_of_a_form_is_described():
    source = inspect.getsource(routes)
    described = subsection(HTTP, "| route | body")
    for path, handler in (("choice", "choose"), ("taste", "taste"), ("objection", "object"), ("erasure", "erase")):
        (body,) = re.findall(rf"async def {handler}\(.*?self\._form\(request, (.*?)\)\n", source, re.DOTALL)
        (row,) = described[f"POST /preferences/{path}"]
        told = set(re.findall(r"`(\w+)`", row.split(" | ")[1])) - {"accept", "refuse", "save", "yes"}
        assert told == set(re.findall(r'"(\w+)"', body))


def test_the_limits_of_the_loop_are_stated():
    assert {param.values[2] for param in _limits()} >= {
        "LONGEST_SECONDS",
        "MOST_BYTES",
        "REPORT_LIMIT",
        "_MOST_CELLS",
        "MOST_DECISIONS",
        "MOST_EVENTS",
        "_MOST_LINES",
        "_MOST_ORDERS",
    }
    values = {param.values[2]: f"{param.values[0]:,}" for param in _limits()}
    assert f"at most {values['MOST_BYTES']} bytes" in HTTP
    assert f"array of 1 to {values['MOST_DECISIONS']} texts" in HTTP
    assert f"at most {values['MOST_EVENTS']} in all" in HTTP
    assert f"{values['COOKIE_DAYS']} days" in HTTP
    assert f"at most {values['MOST_FORM_BYTES']} bytes and {values['MOST_FORM_FIELDS']} fields" in HTTP
    assert f"at most {values['_MOST_THEME_BYTES']} bytes" in WORKER
    assert f"at most {values['REPORT_LIMIT']} bytes" in REPORT
    assert f"more than {values['REPORT_LIMIT']} bytes" in ON_ITS_WAY
    assert f"at most {values['LONGEST_SECONDS']} seconds" in SECTIONS["Visitor token"]
