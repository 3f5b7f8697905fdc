"""`entrenous import`: another system's events, from a file into the store of a host."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from entrenous.holdings import opened
from entrenous.imports import Imported, Row, take_in
from entrenous.mapping import packaged_mappings, read_mapping
from entrenous_consent.dpo import host
from entrenous_consent.dpo.output import put, with_output
from entrenous_consent.dpo.rendering import Document, Paragraph, Section, Table
from entrenous_consent.dpo.words import load_words
from entrenous_consent.errors import Malformed, Missing

__all__ = ["import_", "imported_document", "rows_of"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_LONGEST_LINE = 1 << 20
_OURS = ("consent_missing", "duplicate", "unheard", "unnamed", "unreadable")


def import_(commands: Commands) -> None:
    """Register `entrenous import`."""
    words = "take another system's events into the store of a host, under the consent that stands there"
    parser = commands.add_parser("import", help=words, description=words)
    parser.add_argument("file", type=Path, help="rows: .jsonl, .csv (with a header line) or .parquet")
    known = ", ".join(packaged_mappings())
    parser.add_argument("--mapping", required=True, metavar="NAME", help=f"how rows become events: {known}, or a file")
    host.with_keys(host.with_state(with_output(parser)))
    parser.add_argument("--dry-run", action="store_true", help="say what would be kept and what not, and write nothing")
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    mapping = read_mapping(arguments.mapping)
    total = arguments.file.stat().st_size if arguments.file.is_file() else 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} rows"),
        TimeElapsedColumn(),
    )
    with (
        opened(arguments.state, arguments.keys, arguments.root_key, host.system_clock) as holdings,
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        host.noted(holdings.store, "import", holdings.engine.clock())
        task = progress.add_task(f"{arguments.file.name} ({total:,} bytes)", total=None)
        told = take_in(
            holdings.engine,
            holdings.handle,
            rows_of(arguments.file),
            mapping,
            dry=arguments.dry_run,
            progress=lambda count: progress.advance(task, count),
        )
        active = holdings.engine.active
        lacking = [one.name for one in active.features if one.event and one.event not in told.heard]
    put(imported_document(told, lacking, arguments.language, dry=arguments.dry_run), arguments)
    return 0


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a file with their numbers, from 1; one that can't be read is the refusal that says so.

    Raises:
        Missing: there is no such file. Malformed: it is of no kind that is read, or not at all what its name says.
    """
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy="check the path")
    readers = {".jsonl": _json_lines, ".ndjson": _json_lines, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise Malformed("is of no kind that is read", place=path.name, remedy="bring .jsonl, .csv or .parquet")
    yield from enumerate(readers[path.suffix](path), 1)


def _json_lines(path: Path) -> Iterator[object]:
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE + 1):
            if len(line) > _LONGEST_LINE:
                while line and not line.endswith(b"\n"):
                    line = file.readline(_LONGEST_LINE)
                yield Malformed(f"is longer than {_LONGEST_LINE} bytes", place="row")
            elif line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    yield Malformed("is not JSON", place="row")


def _csv(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8", errors="strict", newline="") as file:
        try:
            for row in csv.DictReader(file, restkey="", strict=True):
                if "" in row or None in row.values():
                    yield Malformed("has more or fewer cells than the header", place="row")
                else:
                    yield {key: value for key, value in row.items() if value != ""}
        except (csv.Error, UnicodeDecodeError) as error:
            raise Malformed("is not CSV in UTF-8", place=path.name, remedy="write it anew") from error


def _parquet(path: Path) -> Iterator[Any]:
    import duckdb  # noqa: PLC0415 — a database engine takes a moment to import

    try:
        with duckdb.connect() as engine:
            found = engine.execute("select * from read_parquet(?)", [str(path)])
            names = [column[0] for column in found.description or ()]
            while some := found.fetchmany(1_000):
                for row in some:
                    yield {key: value for key, value in zip(names, row, strict=True) if value is not None}
    except duckdb.Error as error:
        raise Malformed("is not Parquet", place=path.name, remedy="write it anew") from error


def imported_document(told: Imported, lacking: list[str], language: str, *, dry: bool) -> Document:
    """Return what came of the rows.

    Args:
        lacking: features whose event was in no row that was kept. dry: nothing was written.
    """
    words = load_words(language, "imports")
    table = Table(
        caption="",
        numeric=(1,),
        headings=(words("cause"), words("count"), words("rows")),
        rows=tuple(
            (words(f"causes.{cause}") if cause in _OURS else cause, f"{count:,}", ", ".join(map(str, rows)))
            for cause, (count, rows) in sorted(told.causes.items(), key=lambda one: (-one[1][0], one[0]))
        ),
    )
    sections = [Section(key="passed_over", heading=words("passed_over"), blocks=(table,))] if told.causes else []
    if lacking:
        some = Paragraph(text=", ".join(lacking))
        sections.append(Section(key="lacking", heading=words("lacking"), blocks=(some,)))
    counts = {"rows": f"{told.rows:,}", "events": f"{told.events:,}", "kept": f"{told.kept:,}"}
    return Document(
        kind="import",
        language=language,
        title=words("title"),
        lead=(Paragraph(text=words("dry" if dry else "done", **counts)),),
        sections=tuple(sections),
        data={
            "rows": told.rows,
            "events": told.events,
            "kept": told.kept,
            "dry": dry,
            "passed_over": {
                cause: {"count": count, "rows": list(rows)} for cause, (count, rows) in told.causes.items()
            },
            "lacking": lacking,
        },
    )
