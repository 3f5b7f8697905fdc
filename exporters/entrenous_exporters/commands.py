"""The central side's commands: `train` and `demo`. Heavy parts are imported when a command runs, not before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from rich.console import Console
from rich.table import Table

__all__ = ["demo", "train"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def train(commands: Commands) -> None:
    """Register `entrenous train`."""
    parser = commands.add_parser("train", help="train a bundle from a specification")
    parser.add_argument("spec", type=Path, help="the training specification (TOML)")
    parser.add_argument("--policy", type=Path, required=True, help="the privacy policy that must permit it (TOML)")
    parser.add_argument("--out", type=Path, default=Path("bundle.msgpack"), help="where the bundle goes")
    parser.add_argument("--created", type=int, help="the date in the manifest, Unix seconds (now by default)")
    parser.add_argument(
        "--campaign", type=Path, action="append", default=[], help="a campaign that ships in it; may be given again"
    )
    parser.set_defaults(run=_train)


def demo(commands: Commands) -> None:
    """Register `entrenous demo`."""
    parser = commands.add_parser(
        "demo", help="the whole story on real shopping trips, with a real worker and collector"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where everything goes")
    parser.add_argument("--households", type=int, default=0, help="how many households are replayed (all by default)")
    parser.add_argument("--keep", action="store_true", help="leave the worker running at the end")
    parser.set_defaults(run=_demo)


def _train(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.card import read_card  # noqa: PLC0415 — scikit-learn takes a second to import
    from entrenous_exporters.card.sections import sections, title  # noqa: PLC0415
    from entrenous_exporters.spec import read_either  # noqa: PLC0415
    from entrenous_exporters.workshop import train_files  # noqa: PLC0415

    console = Console()
    with console.status("reading") as status:
        trained = train_files(
            arguments.spec,
            arguments.policy,
            arguments.out,
            created=arguments.created,
            campaigns=arguments.campaign,
            progress=status.update,
            tell=lambda report: (
                console.print("\n".join(report.lines()), soft_wrap=True, highlight=False) if report.lines() else None
            ),
        )
    facts = read_card(trained.card)
    console.print(title(facts, "en"), highlight=False)
    table = sections(facts, "en")[1]
    shown = Table(*table.headings)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    for name, need in read_either(arguments.spec).without.items():
        console.print(f"left out: {name} needs {need}", soft_wrap=True)
    card = arguments.out.with_suffix(".card.html").name
    console.print(f"{arguments.out}: {len(trained.data):,} bytes; the card: {card}", soft_wrap=True)
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.demo.story import tell  # noqa: PLC0415 — scikit-learn takes a second to import

    tell(arguments.out, households=arguments.households, console=Console(), keep=arguments.keep)
    return 0
