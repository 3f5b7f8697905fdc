"""`entrenous import`: another system's events, from a file into the store of a host."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from entrenous.documents.holdings import opened
from entrenous.importing.attributes import AttributeMapping
from entrenous.importing.imports import take_in
from entrenous.importing.mapping import packaged_mappings, read_mapping
from entrenous_consent.dpo import host
from entrenous_consent.dpo.output import put, with_output
from entrenous_consent.dpo.rendering import Document, Paragraph, Section, Table
from entrenous_consent.dpo.words import load_words
from entrenous_consent.errors import Malformed
from entrenous_exporters.sources import SUFFIXES, Source, queried, source_of

__all__ = ["import_", "imported_document"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_OURS = (
    "consent_missing",
    "duplicate",
    "known",
    "unasked",
    "unheard",
    "unlisted",
    "unnamed",
    "unreadable",
)
_DESCRIPTION = """Take another system's rows into the store of a host: events, or with a mapping of that kind what is
known of visitors, each under the consent that stands there. That the store was read is noted in the audit log, of a dry
run too."""


def import_(commands: Commands) -> None:
    """Register `entrenous import`."""
    words = "take another system's events, or what it knows of visitors, into the store of a host"
    parser = commands.add_parser("import", help=words, description=_DESCRIPTION)
    parser.add_argument("file", type=Path, nargs="?", help=f"rows: {', '.join(SUFFIXES)}")
    parser.add_argument("--sqlite", type=Path, metavar="FILE", help="rows of a SQLite file, by --query")
    parser.add_argument("--duckdb", type=Path, metavar="FILE", help="rows of a DuckDB file, by --query")
    parser.add_argument("--query", metavar="SQL", help="one query, of a database that is only read")
    known = ", ".join(packaged_mappings())
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--mapping", metavar="NAME", help=f"how rows become events: {known}, or a file")
    how.add_argument("--attributes", type=Path, metavar="FILE", help="which columns are known of visitors: a mapping")
    host.with_keys(host.with_state(with_output(parser)))
    dry = "say what would be kept and what not; of the rows nothing is kept"
    parser.add_argument("--dry-run", action="store_true", help=dry)
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    mapping = read_mapping(arguments.mapping or str(arguments.attributes))
    if arguments.attributes and not isinstance(mapping, AttributeMapping):
        remedy = 'say kind = "attributes" in it, or hand it over as --mapping'
        raise Malformed("is a mapping of events", place=arguments.attributes.name, remedy=remedy)
    source = _source(arguments)
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
        task = progress.add_task(f"{source.name} ({source.size:,} bytes)", total=None)
        told = take_in(
            holdings.engine,
            holdings.handle,
            source.rows(),
            mapping,
            dry=arguments.dry_run,
            progress=lambda count: progress.advance(task, count),
        )
        report = told.as_table(holdings.engine.active, dry=arguments.dry_run)
    put(imported_document(report, arguments.language), arguments)
    return 0


def _source(arguments: argparse.Namespace) -> Source:
    """Return where the rows come from, which is there: nothing is opened or noted for a file that is not."""
    named = [one for one in (arguments.file, arguments.sqlite, arguments.duckdb) if one is not None]
    if len(named) != 1 or (arguments.file is None) != (arguments.query is not None):
        remedy = "name a file of rows, or --sqlite or --duckdb with --query"
        raise Malformed("is none, or more than one", place="source", remedy=remedy)
    if arguments.file is not None:
        return source_of(arguments.file)
    return queried(named[0], arguments.query, kind="sqlite" if arguments.sqlite is not None else "duckdb")


def imported_document(report: Mapping[str, Any], language: str) -> Document:
    """Return what came of the rows.

    Args:
        report: as `entrenous.importing.imports.Imported.as_table` tells it.
    """
    words = load_words(language, "imports")
    table = Table(
        caption="",
        numeric=(1,),
        headings=(words("cause"), words("count"), words("rows")),
        rows=tuple(
            (
                words(f"causes.{cause}") if cause in _OURS else cause,
                f"{one['count']:,}",
                ", ".join(map(str, one["rows"])),
            )
            for cause, one in sorted(report["passed_over"].items(), key=lambda one: (-one[1]["count"], one[0]))
        ),
    )
    passed = report["passed_over"]
    sections = [Section(key="passed_over", heading=words("passed_over"), blocks=(table,))] if passed else []
    if report["lacking"]:
        some = Paragraph(text=", ".join(report["lacking"]))
        sections.append(Section(key="lacking", heading=words("lacking"), blocks=(some,)))
    kind = "attributes" if "attributes" in report else "events"
    counts = {"rows": f"{report['rows']:,}", "found": f"{report[kind]:,}", "kept": f"{report['kept']:,}"}
    return Document(
        kind="import",
        language=language,
        title=words("title"),
        lead=(Paragraph(text=words(f"{kind}.{'dry' if report['dry'] else 'done'}", **counts)),),
        sections=tuple(sections),
        data=dict(report),
    )
