"""Rows from files and databases: what is read, what is refused by row, and that nothing is written or reached."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest

from entrenous.importing.imports import Row
from entrenous_consent.errors import Malformed, Missing
from entrenous_exporters.import_commands import _source
from entrenous_exporters.sources import SUFFIXES, queried, source_of
from entrenous_exporters.tables import open_backend


def workbook(path: Path, *rows: list[object]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def read(rows: list[Row]) -> list[Any]:
    return [one.what if isinstance(one, Malformed) else one for _, one in rows]


def test_a_workbook_is_read_row_by_row(tmp_path):
    file = workbook(
        tmp_path / "log.xlsx",
        ["visitor", "time", "spent", "gold"],
        ["v-1", datetime.fromisoformat("2026-11-01T12:30:00"), 12.5, True],
        ["v-2", date(2026, 11, 2), None, None],
        [],
        ["v-3", None, "=1+2", None],
        ["v-4", None, "x" * 4_097, None],
        ["v-5", None, None, None, "more"],
        ["v-6"],
    )
    rows = list(source_of(file).rows())
    assert [number for number, _ in rows] == [1, 2, 3, 4, 5, 6]
    assert read(rows) == [
        {"visitor": "v-1", "time": "2026-11-01T12:30:00", "spent": 12.5, "gold": True},
        {"visitor": "v-2", "time": "2026-11-02T00:00:00"},
        "holds a formula, or an error",
        "holds a cell longer than 4096 characters",
        "has more cells than the header",
        {"visitor": "v-6"},
    ]


@pytest.mark.parametrize(
    "header", [[], ["visitor", None, "time"], ["visitor", "visitor"], ["visitor", 7], [f"c{i}" for i in range(257)]]
)
def test_a_workbook_without_a_header_is_refused(tmp_path, header):
    file = workbook(tmp_path / "log.xlsx", header, ["v-1", 2, 3])
    with pytest.raises(Malformed, match="has no header"):
        list(source_of(file).rows())


def test_what_is_no_workbook_is_refused(tmp_path):
    file = tmp_path / "log.xlsx"
    for data in (b"", b"PK and no more", b"a,b\n"):
        file.write_bytes(data)
        with pytest.raises(Malformed, match="is no workbook"):
            list(source_of(file).rows())
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(Malformed, match="is no workbook"):
        list(source_of(file).rows())


def test_a_workbook_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("entrenous_exporters.sources._MOST_UNPACKED", 1_000)
    file = workbook(tmp_path / "log.xlsx", ["visitor"], ["v-1"])
    with pytest.raises(Malformed, match="unpacked"):
        list(source_of(file).rows())


def test_without_its_package_a_workbook_says_what_to_install(tmp_path, monkeypatch):
    file = workbook(tmp_path / "log.xlsx", ["visitor"], ["v-1"])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(Missing, match=r"entrenous\[excel\]"):
        source_of(file)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as database:
        database.execute("create table orders (customer text, spent real, note text)")
        database.executemany("insert into orders values (?, ?, ?)", [("v-1", 12.5, None), ("v-2", 3.0, "")])
    database.close()
    return path


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as database:
        database.execute("create table orders as select 'v-1' as customer, 12.5 as spent union all select 'v-2', null")
    return path


def test_a_query_of_sqlite_gives_rows(shop):
    query = "with some as (select customer, sum(spent) as spent from orders group by customer) select * from some"
    source = queried(shop, query, kind="sqlite")
    assert read(list(source.rows())) == [{"customer": "v-1", "spent": 12.5}, {"customer": "v-2", "spent": 3.0}]
    assert (source.name, source.size) == ("shop.db", shop.stat().st_size)


@pytest.mark.parametrize(
    "query",
    [
        "delete from orders",
        "drop table orders",
        "insert into orders values ('v-3', 1, '')",
        "attach 'OUT' as other",
        "vacuum into 'OUT'",
        "pragma journal_mode = wal",
        "select 1; delete from orders",
        "select load_extension('OUT')",
        "select * from nowhere",
        "",
        "not sql",
    ],
)
def test_a_statement_that_does_more_than_read_is_refused_by_sqlite(shop, tmp_path, query):
    out, before = tmp_path / "out.db", shop.read_bytes()
    with pytest.raises(Malformed):
        list(queried(shop, query.replace("OUT", str(out)), kind="sqlite").rows())
    assert shop.read_bytes() == before
    assert not out.exists()


def test_a_query_of_duckdb_gives_rows(warehouse):
    rows = queried(warehouse, "select customer, spent from orders order by customer", kind="duckdb").rows()
    first, second = read(list(rows))
    assert (first["customer"], float(first["spent"]), second) == ("v-1", 12.5, {"customer": "v-2"})


@pytest.mark.parametrize(
    "query",
    [
        "delete from orders",
        "copy orders to 'OUT'",
        "attach 'OUT' as other",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "select * from read_csv('SECRET')",
        "select * from 'SECRET'",
        "select 1; select 2",
        "select * from nowhere",
        "",
        "not sql",
    ],
)
def test_a_statement_that_reaches_outside_is_refused_by_duckdb(warehouse, tmp_path, query):
    out, secret = tmp_path / "out.csv", tmp_path / "secret.csv"
    secret.write_text("visitor\nv-9\n")
    before = warehouse.read_bytes()
    with pytest.raises(Malformed):
        list(queried(warehouse, query.replace("OUT", str(out)).replace("SECRET", str(secret)), kind="duckdb").rows())
    assert warehouse.read_bytes() == before
    assert not out.exists()


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_what_is_no_database_is_refused(tmp_path, kind):
    with pytest.raises(Missing):
        queried(tmp_path / "gone.db", "select 1", kind=kind)
    (tmp_path / "no.db").write_text("no database " * 200)
    with pytest.raises(Malformed, match="does not answer"):
        list(queried(tmp_path / "no.db", "select * from orders", kind=kind).rows())


def test_no_backend_of_ours_fetches_extensions(tmp_path, monkeypatch):
    """A file is read by an engine that was told so, and so is every table."""
    asked: list[dict[str, object]] = []
    connect = duckdb.connect

    def seen(*arguments, **more):
        asked.append(dict(more.get("config") or {}))
        return connect(*arguments, **more)

    monkeypatch.setattr(duckdb, "connect", seen)
    file = tmp_path / "log.parquet"
    with connect() as engine:
        engine.execute(f"copy (select 'v-1' as visitor) to '{file}' (format parquet)")
    assert read(list(source_of(file).rows())) == [{"visitor": "v-1"}]
    open_backend().disconnect()
    assert len(asked) == 2
    for config in asked:
        assert not config["autoinstall_known_extensions"]
        assert not config["autoload_known_extensions"]


class Arguments:
    def __init__(self, **given: object) -> None:
        self.file = self.sqlite = self.duckdb = self.query = None
        self.__dict__ |= given


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"query": "select 1"},
        {"file": Path("a.csv"), "query": "select 1"},
        {"file": Path("a.csv"), "sqlite": Path("b.db"), "query": "select 1"},
        {"sqlite": Path("b.db")},
        {"sqlite": Path("b.db"), "duckdb": Path("b.db"), "query": "select 1"},
    ],
)
def test_one_source_is_named_and_a_query_where_it_is_a_database(given):
    with pytest.raises(Malformed, match="none, or more than one"):
        _source(Arguments(**given))


def test_a_database_is_named_with_its_query(shop, warehouse):
    for kind, path in (("sqlite", shop), ("duckdb", warehouse)):
        source = _source(Arguments(**{kind: path}, query="select customer from orders order by 1"))
        assert read(list(source.rows())) == [{"customer": "v-1"}, {"customer": "v-2"}]


def test_every_kind_of_file_is_on_the_page():
    page = (Path(__file__).parents[2] / "docs" / "imports.md").read_text("utf-8")
    assert all(f"`{suffix}`" in page for suffix in SUFFIXES)


def test_a_file_whose_name_holds_what_an_address_would_escape_is_found(shop, tmp_path):
    odd = tmp_path / "a?b#c %41.db"
    shutil.copy(shop, odd)
    assert len(list(queried(odd, "select * from orders", kind="sqlite").rows())) == 2


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    file = tmp_path / "log.csv"
    file.write_bytes(b"\xef\xbb\xbfvisitor,spent\r\nv-1,5\r\n")
    assert read(list(source_of(file).rows())) == [{"visitor": "v-1", "spent": "5"}]


def test_a_column_that_is_named_twice_is_refused_in_a_file(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("visitor,spent,spent\nv-1,5,6\n")
    with pytest.raises(Malformed, match="names a column twice"):
        list(source_of(file).rows())


@pytest.mark.parametrize(("kind", "module"), [("sqlite", sqlite3), ("duckdb", duckdb)])
def test_a_column_that_is_named_twice_is_refused_in_a_query(tmp_path, kind, module):
    module.connect(str(tmp_path / "shop")).close()
    with pytest.raises(Malformed, match="names a column twice"):
        list(queried(tmp_path / "shop", "select 5 as spent, 6 as spent", kind=kind).rows())
