"""docs/app-developer.md and SECURITY.md: every block runs, and the first report arrives."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tests.shop import DAY, NOON, Clock, Shop
from tests.worker import ADMIN, KEY, TOKEN_KEY

from entrenous.cli import main
from entrenous.tokens import make_token
from entrenous_edge.answers import STATUS
from entrenous_edge.app import public_app
from entrenous_evaluation.warehouse import Warehouse

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "app-developer.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def command(word: str) -> list[str]:
    """Return the guide's one command that begins with `entrenous WORD`, without the program."""
    lines = [shlex.split(line)[2:] for block in blocks("console") for line in block.splitlines()]
    (found,) = [line for line in lines if line[0] == word]
    return found


@contextmanager
def running(arguments: list[str]) -> Iterator[list[int]]:
    """Run a command of the guide in the background; yield the ports that it says it listens on."""
    code = "import sys; from entrenous.cli import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", process.stdout.readline())]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0 or arguments[0] == "collect"
        process.stdout.close()


def ask(port: int, method: str, path: str, body: Any = None, token: str = "", key: str = KEY) -> Any:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    headers |= {"Entrenous-Token": token} if token else {}
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        with connection.getresponse() as response:
            return json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the published repository that the guide speaks of, and the operator's two secrets."""
    Shop(tmp_path, Clock()).publish()
    for name, secret in (("admin.token", ADMIN.encode()), ("shop.key", TOKEN_KEY)):
        (tmp_path / name).write_bytes(secret)
        (tmp_path / name).chmod(0o600)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_snippets_say_what_the_page_says(desk: Path, capsys: pytest.CaptureFixture[str]):
    first, own, token = blocks("python")
    exec(first, {})
    said = capsys.readouterr().out.splitlines()
    assert "cause=consent_missing" in said[0]
    assert said[1].startswith("ten_off TARGETING_MATCH {")
    exec(own, {})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "True TARGETING_MATCH"
    assert "'granted': ['personalize']" in said[1]
    exec(token, {})
    assert capsys.readouterr().out == "True\n"


def test_the_walk_over_http_ends_with_a_report_and_an_answer(desk: Path, capsys: pytest.CaptureFixture[str]):
    edge, collect = blocks("toml")
    (desk / "edge.toml").write_text(edge)
    assert main(command("token")) == 0
    assert capsys.readouterr().out.startswith("v1.")
    with running(command("serve")) as (port, admin):
        ask(admin, "POST", "/clock", {"now": NOON}, key=ADMIN)
        ask(admin, "POST", "/release", key=ADMIN)
        token = make_token(TOKEN_KEY, "customer-42", now=NOON)
        assert ask(port, "POST", "/v1/consent", {"choices": {"personalize": True, "measure": True}}, token)["accepted"]
        asked = {"decisions": ["promotion"], "visitor": "customer-42"}
        assert ask(port, "POST", "/v1/decide", asked)["decisions"]["promotion"]["tranche"]
        events = {"visitor": "customer-42", "events": [{"name": "view_item"}]}
        assert ask(port, "POST", "/v1/events", events)["outcomes"] == [{"accepted": True}]
        assert ask(port, "GET", "/v1/visitor", token=token)["consent"]["granted"] == ["measure", "personalize"]
        public = ask(admin, "GET", "/sender", key=ADMIN)["public_key"]
    (desk / "collect.toml").write_text(collect.replace("PUBLIC-KEY", public))
    with running(command("collect")) as (receiving,):
        line = f'collector = "http://127.0.0.1:{receiving}/v1/reports"\n'
        (desk / "edge.toml").write_text(edge + line)
        with running(command("serve")) as (_, admin):
            ask(admin, "POST", "/clock", {"now": NOON + 60 * DAY}, key=ADMIN)
            assert len(ask(admin, "POST", "/release", key=ADMIN)["reports"]) == 1
            assert ask(admin, "POST", "/send", key=ADMIN)["sent"] == 1
    assert len(Warehouse(desk / "reports.duckdb").reports()) == 1
    assert main(command("evaluate")) == 0
    assert "nothing shows yet" in capsys.readouterr().out
    assert "<h1>" in (desk / "answer.html").read_text()


def test_routes_and_codes_of_the_page_are_those_of_the_worker():
    class Nothing:
        def __getattr__(self, name: str) -> Any:
            return Nothing()

        def __iter__(self) -> Iterator[str]:
            return iter(())

        def __bool__(self) -> bool:
            return False

    routes = {route.path for route in public_app(Nothing()).routes}  # type: ignore[arg-type, attr-defined]
    named = re.findall(r"`(?:GET|POST|DELETE) (/(?:v1|ofrep)[^`]*)`", GUIDE)
    assert len(named) == 6
    assert {re.sub(r"/flags/\w+", "/flags/{key}", path) for path in named} <= routes
    codes = dict(re.findall(r"`(\w+)` (\d{3})", GUIDE))
    assert codes
    assert all(STATUS[code] == int(status) for code, status in codes.items())


def test_every_link_of_the_security_page_leads_somewhere():
    text = (PROJECT / "SECURITY.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    assert len(links) >= 3
    assert all((PROJECT / link).exists() for link in links)
    assert '"A key is lost or stolen"' in text
    assert "## A key is lost or stolen" in (PROJECT / "docs" / "operating-keys.md").read_text("utf-8")
    assert os.path.exists(PROJECT / "docs" / "threat-model.md")
