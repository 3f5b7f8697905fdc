"""docs/app-developer.md and SECURITY.md: every block runs with real processes, and the first report arrives."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.worker import Running

from entrenous.cli import REFUSED, main
from entrenous.decision import CAUSES, REASONS
from entrenous_edge.answers import STATUS
from entrenous_edge.identity import Door
from entrenous_evaluation.statistics.estimates import LEAST_BUYERS
from entrenous_evaluation.warehouse import Warehouse

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "app-developer.md").read_text("utf-8")
TRAINING = (PROJECT / "docs" / "data-scientist.md").read_text("utf-8")
SECURITY = (PROJECT / "SECURITY.md").read_text("utf-8")
PORTS = ("8080", "8081", "8090")
"""Of the page: worker, admin, collector."""
FIRST = ("history", "personalize")
CHOICES = ("history", "measure", "personalize")
"""Purposes of the first policy, and of the one that measures; the banner of this test was told yes to all."""
DAY = 86_400


def blocks(kind: str, page: str = GUIDE) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def inline(word: str) -> list[str]:
    """Return the arguments of the one `entrenous WORD …` that stands in a sentence of the page."""
    (found,) = re.findall(rf"`entrenous ({word} [^`]+)`", GUIDE)
    return shlex.split(found)


def shell(line: str) -> None:
    subprocess.run(["bash", "-ec", line.removeprefix("$ ")], check=True)


def entrenous(line: str) -> list[str]:
    """Return the arguments of a command of the page."""
    assert line.startswith("$ entrenous "), line
    return shlex.split(line)[2:]


@contextmanager
def in_background(home: Path, arguments: list[str]) -> Iterator[str]:
    """Run a command until the block ends; yield what it says first."""
    code = "import sys; from entrenous.cli import main; sys.exit(main())"
    with (home / f"{arguments[0]}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], cwd=home, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (home / f"{arguments[0]}.log").read_text()
        yield line.strip()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def free_ports() -> list[int]:
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        return [one.getsockname()[1] for one in taken]


def publish(lines: str) -> None:
    for line in lines.splitlines():
        assert main(entrenous(line)) == 0, line


def measured(home: Path) -> None:
    """Add to specification and policy what this page adds, and raise both versions."""
    experiment, report = blocks("toml")[1:3]
    spec, policy = (_raised((home / name).read_text("utf-8")) for name in ("spec.toml", "policy.toml"))
    (history,) = re.findall(r"^\[purposes\.history\]\n(?:.+\n)+", policy, re.MULTILINE)
    (home / "spec.toml").write_text(spec.replace("[[features]]", f"{experiment}\n[[features]]", 1), "utf-8")
    measure = history.replace("purposes.history", "purposes.measure")
    (home / "policy.toml").write_text(f"{policy}\n{measure}\n{report}", "utf-8")


def _raised(text: str) -> str:
    changed, count = re.subn(r"^version = 1$", "version = 2", text, count=1, flags=re.MULTILINE)
    assert count == 1
    return changed


def run_python(block: str, room: dict[str, Any]) -> list[Any]:
    """Run a block of the page; return what it printed, as it was handed to `print`."""
    printed: list[Any] = []
    room["print"] = lambda *some: printed.extend(some)
    exec(compile(block, "app-developer.md", "exec"), room)
    return printed


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The page as a reader follows it in one directory; by step, what was printed. The worker goes on running."""
    home = tmp_path_factory.mktemp("app")
    page: dict[str, Any] = {"home": home}
    ports = page["ports"] = free_ports()
    edge, _, _, collect = (ported(block, ports) for block in blocks("toml"))
    own, walk, visits = (ported(block, ports) for block in blocks("python")[2:])
    serve, evaluate = blocks("console")
    secrets, started = serve.splitlines()
    train, sign = blocks("console", TRAINING)[:2]
    with pytest.MonkeyPatch.context() as patch, ExitStack() as running:
        patch.chdir(home)
        exec(compile(blocks("python", TRAINING)[0], "data-scientist.md", "exec"), {})
        for name, text in zip(("spec.toml", "policy.toml"), blocks("toml", TRAINING), strict=True):
            (home / name).write_text(text, "utf-8")
        publish(train + sign)
        page["own"] = run_python(own, {})
        (home / "edge.toml").write_text(edge, "utf-8")
        (home / "banner.json").write_text(json.dumps(dict.fromkeys(FIRST, True)))
        shell(secrets)
        page["said"] = running.enter_context(in_background(home, entrenous(started)))
        page["worker"] = Running(home, None, ports[0], ports[1])  # type: ignore[arg-type]
        room = page["room"] = {}
        page["walk"] = run_python(walk, room)
        measured(home)
        (home / "banner.json").write_text(json.dumps(dict.fromkeys(CHOICES, True)))
        publish(train + "".join(line for line in sign.splitlines(keepends=True) if " init " not in line))
        key = room["admin"]("GET", "/sender")["public_key"]
        (home / "collect.toml").write_text(collect.replace("PUBLIC-KEY", key), "utf-8")
        page["collects"] = running.enter_context(in_background(home, inline("collect")))
        page["visits"] = run_python(visits, room)
        page["answered"] = main(entrenous(evaluate.strip()))
        yield page


def ported(block: str, ports: list[int]) -> str:
    for named, free in zip(PORTS, ports, strict=True):
        block = block.replace(named, str(free))
    return block


def test_every_block_of_the_page_has_its_place():
    kinds = re.findall(r"^```(\w+)$", GUIDE, re.MULTILINE)
    assert kinds[:7] == ["python", "python", "python", "toml", "console", "python", "toml"]
    assert kinds[7:] == ["toml", "toml", "python", "console"]
    assert not re.search(r"consent\w*\(\{|[\"']\w+[\"']: [Tt]rue", GUIDE), "a choice that nobody made"


def test_the_first_snippet_answers_offline():
    before, value, reason, payload = run_python(blocks("python")[0], {})
    assert (before.value, before.reason, before.cause) == ("none", "DEFAULT", "consent_missing")
    assert (value, reason) == ("ten_off", "TARGETING_MATCH")
    assert payload["headline"]["en"]


def test_a_choice_lives_as_the_page_says():
    room: dict[str, Any] = {}
    exec(blocks("python")[0].splitlines()[0], room)
    ask, taste, corrected, objected, reason, cause = run_python(blocks("python")[1], room)
    assert ask == ["history", "improve", "measure", "personalize"]
    assert (taste, corrected, objected) == ("boots", {"features": ["visit_taste_30d"]}, True)
    assert (reason, cause) == ("TARGETING_MATCH", "minor")


def test_in_its_own_process_it_decides_exports_erases_and_sends_nothing(followed):
    accepted, tranche, payload, granted, erased, left, cause = followed["own"]
    assert accepted is erased is True
    assert tranche == "warm"
    assert payload == {"headline": {"en": "Free delivery", "fr": "Livraison offerte"}}
    assert granted == sorted(FIRST)
    assert left == {}
    assert cause == "one_person"
    assert "prints `one_person`" in GUIDE


def test_over_http_it_consents_observes_decides_exports_and_erases(followed):
    worker, collector = followed["ports"][0], followed["ports"][2]
    assert followed["said"].startswith(f"serving on http://127.0.0.1:{worker}, admin on ")
    assert followed["collects"] == f"collecting on http://127.0.0.1:{collector}/v1/reports"
    consented, told, decided, flag, held, chosen, objected, erased = followed["walk"]
    assert consented == objected == erased == {"accepted": True}
    assert (chosen["granted"], chosen["ask"]) == (sorted(FIRST), [])
    assert told == {"outcomes": [{"accepted": True}]}
    decision = decided["decisions"]["delivery"]
    assert decision["tranche"] == "warm"
    assert (flag["key"], flag["value"], flag["reason"]) == ("delivery", decision["value"], decision["reason"])
    assert held["consent"]["granted"] == sorted(FIRST)


def test_the_first_report_arrives_and_is_answered(followed):
    updated, begun, made, sent = followed["visits"]
    assert updated == {"accepted": True, "policy": 2, "bundle": 2, "changed": True}
    assert begun == {"accepted": True, "reports": []}
    assert sent == {"accepted": True, "sent": 1}
    (report,) = Warehouse(followed["home"] / "reports.duckdb").reports()
    assert made == {"accepted": True, "reports": [report.id.hex()]}
    assert (report.tenant, report.experiment, report.bundle_version) == ("corner_shop", "delivery_1", 2)
    shown = {cell: sums for cell, sums in report.cells.items() if sums is not None}
    assert {(arm, tranche) for arm, tranche, _ in shown} == {("holdout", "warm"), ("free_delivery", "warm")}
    assert sum(sums[0] for sums in shown.values()) == pytest.approx(300, abs=60), "each once, and noise"
    assert followed["answered"] == 0
    answer = (followed["home"] / "answer.html").read_text("utf-8")
    assert "Simulated — delivery_1" in answer
    assert re.search("there is too little to tell|believe no figure", answer), "the other once in a thousand runs"
    assert f"{LEAST_BUYERS} buyers are needed" in GUIDE


def test_what_opens_what_is_as_the_page_says(followed):
    worker, room = followed["worker"], followed["room"]
    ask, later = room["ask"], room["start"] + 40 * DAY
    port = worker.port
    token = {"Entrenous-Token": room["make_token"]((worker.home / "shop.key").read_bytes(), "bob", now=later)}
    objects = {"Sec-GPC": "1"}
    asked = {"decisions": ["delivery"], "visitor": "bob", "context": room["moment"]}

    def decided(**more: str) -> Any:
        return ask(port, "POST", "/v1/decide", asked, **more)["decisions"]["delivery"]

    stranger = decided()
    assert stranger == {"value": None, "reason": "DEFAULT", "cause": "consent_missing"}
    assert ask(port, "POST", "/v1/consent", {"choices": dict.fromkeys(CHOICES, False)}, **token)["accepted"]
    assert decided() == stranger, "who refused and who is unknown"
    assert ask(port, "POST", "/v1/consent", {"choices": dict.fromkeys(CHOICES, True)}, **token)["accepted"]
    assert decided()["tranche"] == "warm", "for any identifier that is named"
    assert decided(**objects) == stranger
    for method, path, body in (
        ("GET", "/v1/visitor", None),
        ("DELETE", "/v1/visitor", None),
        ("POST", "/v1/consent", {"choices": {}}),
    ):
        refused = ask(port, method, path, body, **{"Entrenous-Visitor": "bob"})
        assert refused["error"]["code"] == "forbidden", path
    assert ask(port, "POST", "/v1/consent", {"choices": dict.fromkeys(CHOICES, True)}, **token, **objects)["accepted"]
    assert decided() == stranger, "the objection took the grants back"


def test_a_browser_is_given_a_cookie_that_names_it(followed):
    worker = followed["worker"]
    given = worker.ask("POST", "/v1/consent", {"choices": dict.fromkeys(CHOICES, True)})
    cookie = given.headers["set-cookie"]
    assert "secure" in cookie.lower()
    jar = {"Cookie": f"__Host-entrenous={given.cookies['__Host-entrenous']}"}
    decided = worker.ask("POST", "/v1/decide", {"decisions": ["delivery"]}, jar)
    assert decided.json["decisions"]["delivery"]["tranche"]
    refused = worker.ask("POST", "/v1/consent", {"choices": dict.fromkeys(CHOICES, False)})
    assert refused.cookies == {"__Host-entrenous-refused": "1"}


def test_the_token_command_opens_what_the_backend_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shell(blocks("console")[0].splitlines()[0])
    assert main(inline("token")) == 0
    token = capsys.readouterr().out.strip()
    door = Door(["k" * 16], (tmp_path / "shop.key").read_bytes(), [], lambda: int(time.time()))
    assert door._by_token(token) == "customer-42"
    assert (tmp_path / "shop.key").stat().st_mode & 0o077 == 0


def test_codes_and_routes_of_the_page_are_those_of_the_worker(followed):
    paragraph = GUIDE.partition("An error is `")[2].partition("\n\n")[0]
    assert {code: int(status) for code, status in re.findall(r"`(\w+)` (\d{3})", paragraph)} == STATUS
    port, ask = followed["ports"][0], followed["room"]["ask"]
    flags = "/ofrep/v1/evaluate/flags/"
    assert ask(port, "POST", f"{flags}colour", {"context": {"targetingKey": "bob"}})["errorCode"] == "FLAG_NOT_FOUND"
    assert ask(port, "POST", f"{flags}delivery", {"context": {}})["errorCode"] == "TARGETING_KEY_MISSING"
    assert ask(port, "GET", "/v1/decide")["error"]["code"] == "method_not_allowed"


# SECURITY.md


def test_every_link_of_the_security_page_leads_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", SECURITY)
    assert len(links) >= 4
    for link in links:
        path, _, anchor = link.partition("#")
        assert (PROJECT / path).is_file(), link
        headings = re.findall(r"^#+ (.+)$", (PROJECT / path).read_text("utf-8"), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, link
    assert SECURITY.count("\n") <= 60


def test_every_command_of_the_security_page_parses(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = "".join(blocks("console", SECURITY)).splitlines()
    assert len(lines) >= 3
    for line in lines:
        if line.startswith("$ entrenous --version"):
            with pytest.raises(SystemExit, match="0"):
                main(entrenous(line))
        elif line.startswith("$ entrenous "):
            assert main(entrenous(line)) == REFUSED, "there is no repository here; what does not parse exits"
        else:
            shell(line)
    assert (tmp_path / "shop.key").stat().st_size == 32
    assert "entrenous " in capsys.readouterr().out


def test_routes_and_settings_of_the_security_page_exist(followed):
    worker = followed["worker"]
    admin = (worker.home / "admin.token").read_text().strip()
    for method, path in re.findall(r"`(GET|POST) (/[a-z]+)` on the admin port", SECURITY):
        answer = worker.ask("PUT", path, headers={"Authorization": f"Bearer {admin}"}, admin=True)
        assert (answer.status, answer.headers.get("allow", method)) == (405, method)
    named = set(re.findall(r"`(\w+)`", SECURITY))
    assert {"publishable_keys", "token_key_file", "admin_token_file"} <= named
    for key in ("publishable_keys", "token_key_file", "admin_token_file"):
        assert key in (worker.home / "edge.toml").read_text()


def test_the_causes_that_the_page_names_are_those_there_are():
    table = GUIDE.partition("| reason | cause |")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`(\w+)`", row[1])}
    assert named <= set(CAUSES)
    assert set(CAUSES) - named == {"", "unknown_decision", "bad_identifier", "fault"}
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row[0])} == set(REASONS) - {"DISABLED"}
