"""docs/operate.md: its first installation is followed command by command, and its incidents are provoked."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from entrenous import Client
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.updates.retained import State
from entrenous_edge.metrics import Metrics
from entrenous_edge.public import MOST_CALLS
from entrenous_edge.serve import _DRAIN_SECONDS, _SLOW_SECONDS, _gauges
from tests.commands import main
from tests.shop import DAY, NOON, Clock, Shop
from tests.unit import test_data_scientist_guide as scientist
from tests.unit.test_app_developer_guide import free_ports
from tests.worker import Running, configure, running

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "operate.md").read_text("utf-8")
ALL = {"personalize": True, "history": True, "measure": True, "improve": True}


def see(words: str) -> str:
    """Return words that the page quotes."""
    assert f"`{words}`" in GUIDE, words
    return words


def messages(worker: Running) -> list[str]:
    """Return what the worker logged, without times."""
    return [json.loads(line)["message"] for line in worker.log().splitlines()]


class Nobody:
    """As much of a client as its gauges ask for."""

    bundle = None
    policy = SimpleNamespace(version=1)

    def stale_in(self) -> int:
        return 0


def sheet(title: str) -> str:
    """Return an incident's sheet."""
    return GUIDE.partition(f"### {title}\n")[2].partition("\n### ")[0]


def blocks(kind: str, text: str = GUIDE) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[tuple[str, str]]:
    """Return a block's commands, each with what it is said to answer."""
    found: list[tuple[str, str]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            found[-1] = (found[-1][0], line)
    return found


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path, Clock(int(time.time())))


def serve(home: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run `entrenous serve` where it is expected to end by itself."""
    code = f"import sys, time; {before}\nfrom entrenous.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", "--config", str(home / "edge.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def doctor(home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the lines of `doctor` that there is something to mend in."""
    main(["doctor", "--config", str(home / "edge.toml")])
    return "\n".join(line for line in capsys.readouterr().out.splitlines() if line.startswith("mend"))


# From nothing to a first decision


@contextmanager
def shell(home: Path, ports: list[int]) -> Iterator[Any]:
    """Yield what runs a line in one shell that goes on, as a person's does; it answers what was printed."""
    programs = home / "bin"
    programs.mkdir()
    entrenous = programs / "entrenous"
    entrenous.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.commands "$@"\n')
    entrenous.chmod(0o755)
    settings = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", PYTHONPATH=os.pathsep.join(sys.path))
    process = subprocess.Popen(
        ["bash", "--norc"], cwd=home, env=settings, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("shopt -s expand_aliases\n")

    def run(line: str) -> tuple[int, str]:
        for said, free in zip(("8080", "8081"), ports, strict=True):
            line = line.replace(said, str(free))
        process.stdin.write(f'{line}\ncode=$?; echo; echo "=done= $code"\n')
        process.stdin.flush()
        printed = []
        for answered in process.stdout:
            if answered.startswith("=done= "):
                return int(answered.split()[1]), "".join(printed).strip()
            printed.append(answered)
        raise AssertionError("the shell ended")

    try:
        yield run
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page as it is followed; by command, its exit code and what it printed."""
    home, ports = tmp_path_factory.mktemp("operate"), free_ports()[:2]
    walk = GUIDE.partition("## From nothing to a first decision")[2].partition("### With systemd")[0]
    first, visitor, admin = blocks("console", walk)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        exec(compile(scientist.blocks("python")[0], "data-scientist.md", "exec"), {})
        for name, text in zip(("spec.toml", "policy.toml"), scientist.blocks("toml"), strict=True):
            (home / name).write_text(text, "utf-8")
        for block in scientist.blocks("console")[:2]:
            for line in block.splitlines():
                assert main(shlex.split(line)[2:]) == 0, line
    (config,) = blocks("toml", walk)
    for said, free in zip(("8080", "8081"), ports, strict=True):
        config = config.replace(said, str(free))
    (home / "edge.toml").write_text(config, "utf-8")
    told: dict[str, Any] = {"home": home, "walk": [], "ports": ports}
    with shell(home, ports) as run:
        for line, said in commands(first)[:-1]:
            told["walk"].append((line, said, *run(line)))
        (line, said) = commands(first)[-1]
        run(f"{line} > serving 2> log & worker=$!")
        for _ in range(200):
            if (home / "serving").exists() and (home / "serving").read_text():
                break
            time.sleep(0.1)
        for here, free in zip(("8080", "8081"), ports, strict=True):
            said = said.replace(here, str(free))
        told["walk"].append((line, said, 0, (home / "serving").read_text().strip()))
        try:
            for line, said in (*commands(visitor), *commands(admin)):
                told["walk"].append((line, said, *run(line)))
            (home / "visitor.txt").write_text("me")
            for line, said in commands(blocks("console", sheet("An erasure must be proven"))[0]):
                told["walk"].append((line, said, *run(line)))
        finally:
            told["ended"] = run("kill -TERM $worker; wait $worker")
    told["log"] = (home / "log").read_text()
    return told


def test_every_command_of_the_walk_answers_as_the_page_says(followed: dict[str, Any]):
    assert len(followed["walk"]) == 21
    for line, said, code, printed in followed["walk"]:
        assert code == 0, (line, printed)
        assert not said or said in printed, (line, printed)
    assert followed["ended"][0] == 0
    assert followed["log"] == ""


def test_nothing_is_to_be_mended_before_and_while_it_runs(followed: dict[str, Any]):
    looked = [printed for line, _, _, printed in followed["walk"] if line.startswith("entrenous doctor")]
    assert len(looked) == 2
    assert not any(line.startswith("mend") for text in looked for line in text.splitlines())
    assert "is free" in looked[0]
    assert "is a worker's that runs: ready, policy 1, bundle 1" in looked[1]


def test_an_erasure_leaves_nothing_and_an_entry(followed: dict[str, Any]):
    told = {line: printed for line, _, _, printed in followed["walk"] if line.startswith("entrenous privacy")}
    shown = next(printed for line, printed in told.items() if "audit show" in line)
    assert "erased" in shown.lower() or "erasure" in shown.lower()
    assert (followed["home"] / "erased.note").is_file()
    assert "me" not in (followed["home"] / "erased.note").read_text().split()


# Incidents


def test_the_publisher_serves_garbage(shop: Shop):
    text = sheet("The publisher serves garbage")
    with running(shop) as worker:
        worker.consent("ada", ALL)
        (shop.repository / "metadata" / "timestamp.json").write_text("<html>it works</html>")
        answers = [worker.ask("POST", "/updates", admin=True) for _ in range(2)]
        assert {(one.status, one.json["cause"]) for one in answers} == {(409, "malformed")}
        assert messages(worker) == [see("an update was refused: repository: is not TUF metadata")], "once"
        assert worker.ask("GET", "/readyz").status == 200
        assert worker.decide("ada")["reason"] in ("TARGETING_MATCH", "SPLIT")
        shutil.rmtree(shop.repository)
        assert worker.ask("POST", "/updates", admin=True).json["cause"] == "unavailable"
        shop.show()
        assert worker.ask("POST", "/updates", admin=True).json["accepted"]
    assert "409 with `cause` `malformed`, `unauthentic` or `unavailable`" in text


def test_the_bundle_expired(shop: Shop, capsys):
    bundle = read_bundle(shop.bundle.read_bytes())
    ends = int(time.time()) + 4
    shop.bundle.write_bytes(encode_bundle(replace(bundle.manifest, expires=ends), bundle.models))
    with running(shop) as worker:
        worker.consent("ada", ALL)
        while worker.ask("GET", "/readyz").status == 200:
            assert time.time() < ends + 20
            time.sleep(0.2)
        ready = worker.ask("GET", "/readyz")
        assert ready.data.decode() == see('{"status":"no_bundle","policy":1,"bundle":null}')
        assert worker.decide("ada") == {"value": None, "reason": "DEFAULT", "cause": see("no_bundle")}
        flag = worker.ask("POST", "/ofrep/v1/evaluate/flags/promotion", {"context": {"targetingKey": "ada"}})
        assert (flag.status, flag.json["metadata"]) == (200, {"cause": "no_bundle"})
        assert "value" not in flag.json, "the caller's own default holds"
        refused = worker.ask("POST", "/updates", admin=True)
        said = see("an update was refused: bundles/demo_promotions: has expired")
        assert refused.status == 409
        assert refused.json["message"].startswith(said.removeprefix("an update was refused: "))
        assert said in worker.log()
        assert "has expired" in doctor(worker.home, capsys)
        assert worker.ask("GET", "/v1/visitor", headers=worker.token("ada")).json["consent"]["granted"]
        assert worker.ask("DELETE", "/v1/visitor", headers=worker.token("ada")).status == 200, "erasures go on"
        shop.bundle.write_bytes(encode_bundle(bundle.manifest, bundle.models))
        shop.publish()
        assert worker.ask("POST", "/updates", admin=True).json["accepted"]
        assert worker.ask("GET", "/readyz").status == 200


def test_decisions_are_stale(shop: Shop, capsys):
    with running(shop) as worker:
        worker.consent("ada", ALL)
    state = State(shop.home / "edge-state" / "updates")
    state.save(replace(state.load(), clock=int(time.time()) - 20 * DAY))
    away = shop.home / "away"
    shop.repository.rename(away)
    shop.publish = lambda **_: None  # type: ignore[method-assign]
    with running(shop) as worker:
        shown = worker.ask("POST", "/v1/decide", {"decisions": ["promotion"], "visitor": "ada"}).data.decode()
        assert see('{"value":null,"reason":"STALE","cause":"stale"}') in shown
        told = worker.ask("GET", "/metrics", admin=True).data.decode()
        assert re.search(rf"^{see('entrenous_stale_in_seconds')} (-\d+|0)$", told, re.MULTILINE)
        ready = worker.ask("GET", "/readyz")
        assert (ready.status, ready.json["status"]) == (503, see("stale"))
        assert "publisher" in doctor(worker.home, capsys)
        away.rename(shop.repository)
        assert worker.ask("POST", "/updates", admin=True).json["accepted"]
        assert worker.decide("ada")["reason"] in ("TARGETING_MATCH", "SPLIT")


def test_the_disk_is_full(shop: Shop, small_disk: Path, capsys):
    with running(shop) as worker:
        worker.consent("ada", ALL)
        assert worker.decide("ada")["reason"] in ("TARGETING_MATCH", "SPLIT")
        ballast = small_disk / "ballast"
        file = os.open(ballast, os.O_CREAT | os.O_WRONLY)
        with suppress(OSError):
            while True:
                os.write(file, bytes(4096))
        os.close(file)
        refused = worker.consent("bob", ALL)
        number = 0
        while refused.status == 200:  # what was set aside for the journal is used first
            number += 1
            refused = worker.consent(f"bob-{number}", ALL)
        assert refused.status == 503
        assert see("the disk is full — free space; nothing acknowledged was lost") in refused.json["error"]["message"]
        events = [{"name": "view_item", "id": f"view-{number}"} for number in range(900)]
        taken = worker.ask("POST", "/v1/events", {"visitor": "ada", "events": events})
        assert taken.status == 503
        assert taken.json["error"]["message"] == see("the store can't be written now: send these events again")
        assert worker.decide("ada")["reason"] in ("TARGETING_MATCH", "SPLIT", "DEFAULT")
        assert "room" in doctor(worker.home, capsys)
        ballast.unlink()
        assert worker.consent("bob", ALL).status == 200, "without a restart"
        assert worker.ask("GET", "/v1/visitor", headers=worker.token("ada")).json["consent"]["granted"]


def test_the_store_is_locked(shop: Shop):
    with running(shop) as worker:
        worker.consent("ada", ALL)
        other = sqlite3.connect(worker.home / "edge-state" / "visitors.db", isolation_level=None)
        other.execute("begin immediate")
        refused = worker.consent("bob", ALL)
        assert refused.status == 503
        assert see("another process holds it — try again") in refused.json["error"]["message"]
        assert worker.decide("ada")["reason"] in ("TARGETING_MATCH", "SPLIT")
        other.execute("rollback")
        other.close()
        assert worker.consent("bob", ALL).status == 200


def test_the_store_is_damaged(shop: Shop, capsys):
    with running(shop) as worker:
        worker.consent("ada", ALL)
    (shop.home / "edge-state" / "visitors.db").write_bytes(b"somebody wrote here" * 999)
    ended = serve(shop.home)
    assert ended.returncode == 2
    assert see("visitors.db: is damaged or not a store — restore it, or move it away") in ended.stderr
    assert ended.stderr.startswith("entrenous serve: ")
    assert "is damaged or not a store" in doctor(shop.home, capsys)
    for path in (shop.home / "edge-state").glob("visitors.db*"):
        path.rename(shop.home / path.name)
    with running(shop) as worker:
        assert worker.decide("ada")["cause"] == "consent_missing", "everybody is asked again"


def test_the_clock_jumped_ahead(tmp_path: Path):
    shop = Shop(tmp_path, Clock(), lasting=365 * DAY)
    configure(shop)
    ended = serve(tmp_path, f"real = time.time; time.time = lambda: real() + {600 * DAY}")
    assert ended.returncode == 2
    words = "repository: has expired (timestamp.json is expired) — ask the publisher to sign it anew; check this clock"
    assert see(words) in ended.stderr


def test_the_clock_jumped_back(shop: Shop, capsys):
    with running(shop) as worker:
        worker.consent("ada", ALL)
    state = State(shop.home / "edge-state" / "updates")
    state.save(replace(state.load(), clock=int(time.time()) + 3 * 3600))
    assert see("before the last visit to the publisher") in doctor(shop.home, capsys)


def test_the_collector_is_down(shop: Shop):
    with running(shop, clock="admin", collector="http://127.0.0.1:9/v1/reports") as worker:
        worker.ask("POST", "/clock", {"now": NOON}, admin=True)
        worker.ask("POST", "/v1/consent", {"choices": ALL}, worker.token("ada", now=NOON))
        worker.decide("ada")
        worker.ask("POST", "/release", admin=True)
        worker.ask("POST", "/clock", {"now": NOON + 60 * DAY}, admin=True)
        assert len(worker.ask("POST", "/release", admin=True).json["reports"]) == 1
        held = worker.ask("POST", "/send", admin=True)
        assert (held.status, held.json["cause"]) == (409, "unavailable")
        line = see("what is to leave was held up: collector: can't be reached (ConnectionRefusedError)")
        assert messages(worker) == [line]
    store = sqlite3.connect(shop.home / "edge-state" / "visitors.db")
    ((size, sent),) = store.execute("select length(data), sent from outbox").fetchall()
    store.close()
    assert sent == 0
    assert size < 10_000


def test_a_bad_bundle_went_out(shop: Shop):
    with running(shop) as worker:
        shop.release(bundle=2)
        assert worker.ask("POST", "/updates", admin=True).json["bundle"] == 2
        assert worker.ask("POST", "/rollback", admin=True).data.decode() == see('{"accepted":true,"bundle":1}')
        again = worker.ask("POST", "/updates", admin=True)
        assert again.status == 409
        assert see("was rejected here — publish a newer version") in again.json["message"]
        assert worker.ask("GET", "/readyz").json["bundle"] == 1
        shop.release(bundle=3)
        assert worker.ask("POST", "/updates", admin=True).json["bundle"] == 3


# What else the page says


def test_a_withdrawal_in_one_process_holds_in_the_other(shop: Shop):
    with running(shop) as one, running(shop) as other:
        one.consent("ada", ALL)
        assert other.decide("ada")["reason"] in ("TARGETING_MATCH", "SPLIT")
        one.consent("ada", {})
        assert other.decide("ada")["cause"] == "consent_missing"


def test_a_copy_of_the_store_opens_no_more_once_its_generation_is_destroyed(shop: Shop, capsys):
    with running(shop, clock="admin") as worker:
        worker.ask("POST", "/clock", {"now": NOON}, admin=True)
        worker.ask("POST", "/v1/consent", {"choices": ALL}, worker.token("ada", now=NOON))
        worker.ask("POST", "/sweep", admin=True)
    shutil.copytree(shop.home / "edge-state", shop.home / "copy")
    with running(shop, clock="admin") as worker:
        worker.ask("POST", "/clock", {"now": NOON + 2 * DAY}, admin=True)
        assert worker.ask("POST", "/sweep", admin=True).json["accepted"]
    shutil.rmtree(shop.home / "edge-state")
    (shop.home / "copy").rename(shop.home / "edge-state")
    assert "opens under this keyring and tenant" in doctor(shop.home, capsys)
    with running(shop, clock="admin") as worker:
        worker.ask("POST", "/clock", {"now": NOON + 2 * DAY}, admin=True)
        assert worker.decide("ada").get("value") is None


def test_every_line_of_the_log_stands_in_the_code_and_the_other_way_round():
    rooms = (PROJECT / "sdk" / "entrenous", PROJECT / "edge_worker" / "entrenous_edge")
    code = "\n".join(path.read_text("utf-8") for room in rooms for path in sorted(room.rglob("*.py")))
    logged = set(re.findall(r'_LOG\.(?:error|warning)\(\s*"([^"%]+): %s', code))
    table = GUIDE.partition("| line | means |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`([^`]+): …`", table))
    assert logged == told


def test_the_metrics_are_those_that_the_page_names():
    metrics = Metrics(gauges=lambda: _gauges(cast(Client, Nobody())))
    metrics.request("/v1/decide", 200, 0.001)
    table = GUIDE.partition("| counter | labels |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(entrenous_\w+)`", table)) == set(
        re.findall(r"^# TYPE (entrenous_\w+)", metrics.text(), re.MULTILINE)
    )


def test_figures_and_links_of_the_page_are_those_of_the_code():
    assert f"finished within {_DRAIN_SECONDS} seconds" in GUIDE
    assert f"has {MOST_CALLS} requests that wait at a time" in GUIDE
    assert f"has {_SLOW_SECONDS:g} seconds to arrive" in GUIDE
    from entrenous.engine import _MOST_OPEN
    from entrenous.updates.retained import RETAINED

    assert GUIDE.count(f"{_MOST_OPEN:,} visitors") >= 2
    assert RETAINED == 4
    assert "newest of the three before it" in GUIDE
    anchors = {
        re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in re.findall(r"^#+ (.+)$", GUIDE, re.MULTILINE)
    }
    for anchor in re.findall(r"\]\(#([\w-]+)\)", GUIDE):
        assert anchor in anchors, anchor


def test_every_sheet_says_what_to_see_to_do_and_not_to_do():
    incidents = GUIDE.partition("## Incidents")[2]
    titles = re.findall(r"^### (.+)$", incidents, re.MULTILINE)
    assert len(titles) >= 12
    for title in titles:
        text = sheet(title)
        assert "*Do" in text or "| do |" in text, title
        assert "*Don't*" in text, title
        assert len(text) < 2200, f"{title} is longer than a screen"
