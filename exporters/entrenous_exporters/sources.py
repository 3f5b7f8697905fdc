"""Rows from a file or a database: one at a time, numbered from 1, and only ever read.

One that can't be read is the refusal that says so; the next is read all the same. An empty cell is absent. What is
refused is told by its number and place, never with what it holds.
"""

from __future__ import annotations

import csv
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from entrenous.importing.imports import Row
from entrenous.importing.lines import Lines
from entrenous_consent.errors import Malformed, Missing

__all__ = ["SUFFIXES", "WITHOUT_EXTENSIONS", "Source", "queried", "source_of"]

WITHOUT_EXTENSIONS: Mapping[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""Settings under which DuckDB downloads and loads nothing."""

_READ_AHEAD = 1 << 16
_MOST_COLUMNS = 256
_LONGEST_CELL = 1 << 12
_MOST_UNPACKED = 1 << 30
_SQLITE_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows come from. `name` is its file's, `size` in bytes."""

    name: str
    size: int
    read: Callable[[], Iterator[object]]

    def rows(self) -> Iterator[Row]:
        """Yield the rows with their numbers.

        Raises:
            Malformed: it is not at all what its name says.
        """
        yield from enumerate(self.read(), 1)


def source_of(path: Path) -> Source:
    """Return the rows of a file.

    Raises:
        Missing: there is no such file, or what reads it is not installed. Malformed: it is of no kind that is read.
    """
    size = _size(path)
    if path.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise Malformed("is of no kind that is read", place=path.name, remedy=f"bring one of {known}")
    if path.suffix == ".xlsx":
        _openpyxl()
    return Source(name=path.name, size=size, read=lambda: SUFFIXES[path.suffix](path))


def queried(path: Path, query: str, *, kind: str) -> Source:
    """Return the rows that one query finds in a database file, which is opened to be read.

    Args:
        kind: `sqlite` or `duckdb`.

    Raises:
        Missing: there is no such file.
    """
    read = _sqlite if kind == "sqlite" else _duckdb
    return Source(name=path.name, size=_size(path), read=lambda: read(path, query))


def _size(path: Path) -> int:
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy="check the path")
    return path.stat().st_size


def _json_lines(path: Path) -> Iterator[object]:
    lines = Lines()
    with path.open("rb") as file:
        while data := file.read(_READ_AHEAD):
            yield from lines.feed(data)
    yield from lines.end()


def _csv(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
        try:
            rows = csv.DictReader(file, restkey="", strict=True)
            _check_names(rows.fieldnames or (), path.name)
            for row in rows:
                if "" in row or None in row.values():
                    yield Malformed("has more or fewer cells than the header", place="row")
                else:
                    yield {key: value for key, value in row.items() if value != ""}
        except (csv.Error, UnicodeDecodeError) as error:
            raise Malformed("is not CSV in UTF-8", place=path.name, remedy="write it anew") from error


def _parquet(path: Path) -> Iterator[object]:
    import duckdb  # noqa: PLC0415 — a database engine takes a moment to import

    try:
        with duckdb.connect(config=dict(WITHOUT_EXTENSIONS)) as engine:
            yield from _fetched(engine.execute("select * from read_parquet(?)", [str(path)]))
    except duckdb.Error as error:
        raise Malformed("is not Parquet", place=path.name, remedy="write it anew") from error


def _duckdb(path: Path, query: str) -> Iterator[object]:
    import duckdb  # noqa: PLC0415 — as above

    closed = {"enable_external_access": False, **WITHOUT_EXTENSIONS}
    try:
        with duckdb.connect(str(path), read_only=True, config=closed) as engine:
            statements = engine.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise _no_query()
            yield from _fetched(engine.execute(statements[0]))
    except duckdb.Error as error:
        raise _no_answer(path) from error


def _sqlite(path: Path, query: str) -> Iterator[object]:
    def reads(action: int, *_: str | None) -> int:
        return sqlite3.SQLITE_OK if action in _SQLITE_READS else sqlite3.SQLITE_DENY

    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as engine:
            engine.set_authorizer(reads)
            found = engine.execute(query)
            if found.description is None:
                raise _no_query()
            yield from _fetched(found)
    except sqlite3.Error as error:
        raise _no_answer(path) from error


def _fetched(found: Any) -> Iterator[object]:
    names = [column[0] for column in found.description or ()]
    _check_names(names, "columns")
    while some := found.fetchmany(1_000):
        for row in some:
            yield _row(names, row)


def _check_names(names: Sequence[str], place: str) -> None:
    """Refuse columns of one name: which of them was meant can't be known."""
    if len(set(names)) != len(names):
        raise Malformed("names a column twice", place=place, remedy="name each column once")


def _row(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    return {key: cell for key, cell in zip(names, cells, strict=True) if cell is not None and cell != ""}


def _no_query() -> Malformed:
    return Malformed("is not one query that reads", place="--query", remedy="write one select")


def _no_answer(path: Path) -> Malformed:
    remedy = "check the query, and that nobody is writing to the file: it may only read what is in it"
    return Malformed("does not answer the query", place=path.name, remedy=remedy)


def _openpyxl() -> Any:
    try:
        import openpyxl  # noqa: PLC0415 — an extra
    except ImportError as error:
        raise Missing("is not installed", place="openpyxl", remedy="pip install 'entrenous[excel]'") from error
    return openpyxl


def _excel(path: Path) -> Iterator[object]:
    """Yield the rows of a workbook's first sheet, whose first row is its header. A formula is not computed: its row is
    refused."""
    openpyxl, remedy = _openpyxl(), "save it as .xlsx again"
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(part.file_size for part in packed.infolist()) > _MOST_UNPACKED:
                raise Malformed(f"is more than {_MOST_UNPACKED:,} bytes unpacked", place=path.name, remedy="split it")
        with closing(openpyxl.load_workbook(path, read_only=True, data_only=False, keep_links=False)) as book:
            lines = book.worksheets[0].iter_rows(max_col=_MOST_COLUMNS + 1)
            names = _header(next(lines, ()), path)
            for cells in lines:
                if any(cell.value is not None for cell in cells):
                    yield _cells(names, cells)
    except Malformed:
        raise
    except Exception as error:  # of a file that is none, its reader raises whatever its parts raise
        raise Malformed("is no workbook that can be read", place=path.name, remedy=remedy) from error


def _header(cells: Sequence[Any], path: Path) -> list[str]:
    names = [cell.value for cell in cells]
    while names and names[-1] is None:
        names.pop()
    texts = [name for name in names if isinstance(name, str) and name]
    if not texts or len(texts) != len(names) or len(set(texts)) != len(texts) or len(texts) > _MOST_COLUMNS:
        remedy = f"name each of at most {_MOST_COLUMNS} columns once, in the first row of the first sheet"
        raise Malformed("has no header", place=path.name, remedy=remedy)
    return texts


def _cells(names: Sequence[str], cells: Sequence[Any]) -> object:
    held = list(cells[: len(names)])
    if any(cell.value is not None for cell in cells[len(names) :]):
        return Malformed("has more cells than the header", place="row")
    if any(cell.data_type in ("e", "f") for cell in held):
        return Malformed("holds a formula, or an error", place="row", remedy="paste its values")
    if any(isinstance(cell.value, str) and len(cell.value) > _LONGEST_CELL for cell in held):
        return Malformed(f"holds a cell longer than {_LONGEST_CELL} characters", place="row")
    values = [_dated(cell.value) for cell in held] + [None] * (len(names) - len(held))
    return _row(names, values)


def _dated(value: Any) -> Any:
    """Return a date as text after ISO 8601: a workbook's has no time zone, the mapping says what it is taken for."""
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value


SUFFIXES: Mapping[str, Callable[[Path], Iterator[object]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
    ".xlsx": _excel,
}
"""The kinds of files that are read, by how their names end."""
