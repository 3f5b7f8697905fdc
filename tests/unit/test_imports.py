"""`entrenous import`: rows of a real file into the store of a real client, and what was not kept told by row."""

from __future__ import annotations

import json
import re
import shlex
import time
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.shop import Clock, Shop
from tests.unit.test_mapping import WHOLE

from entrenous.cli import main
from entrenous.importing.mapping import packaged_mappings
from entrenous_consent import audit
from entrenous_consent.dpo import host

CANARY = "canary-4711@example.org"


@pytest.fixture
def clock() -> Clock:
    return Clock(int(time.time()))


@pytest.fixture
def home(shop: Shop) -> Path:
    with shop.open(key_provider=None, public_keys={}, sweep_seconds=0) as client:
        assert client.visitor(CANARY).consent(client.example_choices).accepted
        assert client.visitor("measured").consent({"measure": True}).accepted
    return shop.home


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]):
    def run(file: Path, *more: str, mapping: str = "entrenous", form: str = "json") -> Any:
        place = ["--state", str(home / "state"), "--keys", str(home / "keys"), "--format", form]
        code = main(["import", str(file), "--mapping", mapping, *place, *more])
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        if code:
            return code, said.err
        return json.loads(said.out)["data"] if form == "json" else said.out

    return run


def features(shop: Shop, purpose: str = "personalize") -> dict[str, Any]:
    with shop.open_as_is(key_provider=None, public_keys={}, sweep_seconds=0) as client:
        return client.visitor(CANARY).export().data["purposes"][purpose]["features"]


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def seen(clock: Clock, **more: object) -> dict[str, object]:
    event = {"visitor": CANARY, "name": "view_item", "time": clock.now - 60, "category": "boots"}
    return event | {"price": 4900, "currency": "EUR"} | more


def test_rows_are_kept_and_the_others_are_told_by_number(shop, run, clock, home, tmp_path):
    file = written(
        tmp_path / "log.jsonl",
        seen(clock, id="a"),
        seen(clock, id="b", category="bags", time=clock.now - 86_400),
        "{not json",
        seen(clock, visitor="stranger"),
        seen(clock, visitor="measured"),
        seen(clock, price=-1),
        seen(clock, category="x" * 10_000),
        seen(clock, name="stare"),
        seen(clock, name="share"),
        seen(clock, id="a"),
        seen(clock, time=clock.now + 9_999),
        [1, 2],
        "[" * 100_000,
    )
    told = run(file)
    assert (told["rows"], told["kept"]) == (13, 2)
    rows = {cause: one["rows"] for cause, one in told["passed_over"].items()}
    assert rows["consent_missing"] == [4, 5]
    assert rows["duplicate"] == [10]
    assert rows["unheard"] == [9]
    assert rows["unnamed"] == [8]
    assert rows["row: is not JSON"] == [3, 13]
    assert rows["row: is no object"] == [12]
    assert [rows[cause] for cause in rows if cause.startswith(("event.price", "event.category", "event.time"))] == [
        [6],
        [7],
        [11],
    ]
    assert sum(one["count"] for one in told["passed_over"].values()) == 11
    assert told["lacking"] == ["visit_carts_7d", "bought_orders_90d", "bought_spent_90d", "bought_last_90d"]
    held = features(shop)
    assert (held["visit_views_7d"], held["visit_value_7d"]) == (2, 9800)


@pytest.mark.parametrize("named", [True, False])
def test_the_same_file_again_changes_nothing(shop, run, clock, tmp_path, named):
    more = [{"id": f"e-{number}"} if named else {"price": 100 + number} for number in range(250)]
    strangers = [seen(clock, visitor=f"v-{number % 50}", **one) for number, one in enumerate(more)]
    file = written(tmp_path / "log.jsonl", *strangers)
    assert run(file)["kept"] == 0
    file = written(tmp_path / "log.jsonl", *(seen(clock, **one) for one in more[:100]))
    assert run(file)["kept"] == 100
    again = run(file)
    assert (again["kept"], again["passed_over"]["duplicate"]["count"]) == (0, 100)
    assert features(shop)["visit_views_7d"] == 100


def test_a_dry_run_tells_the_same_and_writes_nothing(shop, run, clock, home, tmp_path):
    file = written(tmp_path / "log.jsonl", seen(clock), seen(clock, visitor="stranger"), seen(clock, name="stare"))
    dry = run(file, "--dry-run")
    assert features(shop)["visit_views_7d"] == 0
    wet = run(file)
    assert (dry.pop("dry"), wet.pop("dry")) == (True, False)
    assert dry == wet
    assert features(shop)["visit_views_7d"] == 1


def entries(home: Path) -> list[audit.Entry]:
    with host.opened_store(home / "state") as store:
        return [audit.read_entry(one) for log in store.logs() for one in store.log(log)]


def test_that_the_store_was_read_is_noted_of_a_dry_run_too_and_nothing_else_is_written(home, run, clock, tmp_path):
    file, before = written(tmp_path / "log.jsonl", seen(clock)), entries(home)
    run(file, "--dry-run")
    (noted,) = entries(home)[len(before) :]
    assert (noted.kind, noted.subject, noted.detail) == ("access", b"", {"verb": "import"})


def test_of_a_file_that_is_not_there_nothing_is_noted(home, run, tmp_path):
    before = entries(home)
    assert run(tmp_path / "gone.jsonl")[0] == 2
    assert entries(home) == before


def test_a_csv_and_a_parquet_file_hold_the_same(shop, run, clock, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    file = tmp_path / "log.csv"
    lines = ["visitor,name,time,category", f"{CANARY},view_item,{clock.now - 60},boots"]
    lines += [f"{CANARY},view_item", "x" + ",y" * 9]
    file.write_text("\n".join([*lines, f'"{CANARY}",view_item,{clock.now - 61},']) + "\n")
    told = run(file)
    assert told["kept"] == 2
    assert told["passed_over"]["row: has more or fewer cells than the header"]["rows"] == [2, 3]
    parquet = tmp_path / "log.parquet"
    duckdb.sql(
        f"copy (select '{CANARY}' as visitor, 'view_item' as name, {clock.now - 5} as \"time\", 'bags' as category) "
        f"to '{parquet}' (format parquet)"
    )
    assert run(parquet)["kept"] == 1
    assert features(shop)["visit_views_7d"] == 3


def test_another_systems_file_in_french(run, clock, tmp_path):
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.now - 60))
    track = {"event": "Product Viewed", "userId": CANARY, "timestamp": moment, "properties": {"category": "boots"}}
    file = written(tmp_path / "log.jsonl", track, track | {"event": CANARY})
    said = run(file, "--language", "fr", mapping="segment", form="text")
    assert "1 ont été conservés" in said
    assert "son nom n'est pas l'un de nos événements" in said


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("gone.jsonl", None, "is not there"),
        ("log.xml", b"<a/>", "is of no kind"),
        ("log.csv", b"visitor,name\n\xff\xfe,x\n", "is not CSV in UTF-8"),
        ("log.parquet", b"no parquet", "is not Parquet"),
    ],
)
def test_a_file_that_is_none_is_refused(run, tmp_path, name, data, what):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    code, said = run(tmp_path / name)
    assert code == 2
    assert what in said


def test_a_line_without_end_is_passed_over_and_the_next_is_read(shop, run, clock, tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'"' + b"x" * (3 << 20) + b'"\n' + json.dumps(seen(clock)).encode() + b"\n")
    told = run(file)
    assert (told["rows"], told["kept"]) == (2, 1)


GUIDE = (Path(__file__).parents[2] / "docs" / "imports.md").read_text("utf-8")


def test_the_page_lists_every_packaged_mapping_and_every_key():
    rows = re.findall(r"^\| (.+?) \|", GUIDE, re.MULTILINE)
    named = {word for cell in rows for word in re.findall(r"`(\w+)`", cell)}
    assert set(packaged_mappings()) <= named
    document = tomllib.loads((files("entrenous.importing.mappings") / "snowplow.toml").read_text("utf-8"))
    assert {*document, *tomllib.loads(WHOLE)} <= named


def test_the_pages_commands_run(home, clock, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(home)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock.now - 60))
    track = {"event": "Product Viewed", "userId": CANARY, "timestamp": moment, "properties": {"category": "boots"}}
    written(home / "events.jsonl", track)
    for command in re.findall(r"^\$ entrenous (.+ --mapping .+)$", GUIDE, re.MULTILINE):
        assert main(shlex.split(command)) == 0
        assert "1 rows" in capsys.readouterr().out
