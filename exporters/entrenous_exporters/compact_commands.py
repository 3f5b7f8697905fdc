"""`entrenous export --compact`: the smallest bundle within a stated loss, found, trained, judged and written."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from entrenous_exporters.compact import Compacted

__all__ = ["export"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def export(commands: Commands) -> None:
    """Register `entrenous export`."""
    parser = commands.add_parser("export", help="train the smallest bundle within a stated loss")
    parser.add_argument("spec", type=Path, help="the training specification (TOML)")
    parser.add_argument("--compact", action="store_true", required=True, help="search for the smallest bundle")
    parser.add_argument("--policy", type=Path, required=True, help="the privacy policy that must permit it (TOML)")
    parser.add_argument("--out", type=Path, default=Path("bundle.msgpack"), help="where the bundle goes")
    parser.add_argument("--loss", type=float, default=0.002, help="of AUC, what any consent pattern may lose (.002)")
    parser.add_argument("--created", type=int, help="the date in the manifest, Unix seconds (now by default)")
    parser.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.compact import zipped  # noqa: PLC0415 — scikit-learn takes a second to import
    from entrenous_exporters.compacting import compact_files  # noqa: PLC0415

    console = Console()
    with console.status("reading") as status:
        trained, found = compact_files(
            arguments.spec,
            arguments.policy,
            arguments.out,
            loss=arguments.loss,
            created=arguments.created,
            progress=status.update,
            tell=lambda report: console.print("\n".join(report.lines()), soft_wrap=True, highlight=False),
        )
    console.print(_shown(found))
    for name in found.left_out:
        console.print(f"left out: {name}, which it does without", soft_wrap=True)
    size, card = zipped(trained.data), arguments.out.with_suffix(".card.html").name
    console.print(f"{arguments.out}: {size:,} bytes compressed, of {found.reference:,}; the card: {card}")
    return 0


def _shown(found: Compacted) -> Table:
    """Return what was judged, on visitors that took no part in choosing: what each consent lost, and was allowed to."""
    from entrenous_exporters.built import spoken  # noqa: PLC0415 — scikit-learn takes a second to import

    patterns = found.spec.decision.patterns
    table = Table("bytes", *(f"loss with {spoken(one)} (part of it allowed)" for one in patterns))
    for one in found.tried:
        lost = (f"{one.losses[pattern]:+.4f} ({one.slacks[pattern]:.0%})" for pattern in patterns)
        table.add_row(f"{one.size:,}", *lost)
    return table
