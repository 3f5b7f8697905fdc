"""The central side's commands: `train` and `demo`. Heavy parts are imported when a command runs, not before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

__all__ = ["demo", "train"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def train(commands: Commands) -> None:
    """Register `entrenous train`."""
    parser = commands.add_parser("train", help="train a bundle from a specification")
    parser.add_argument("spec", type=Path, help="the training specification (TOML)")
    parser.add_argument("--policy", type=Path, required=True, help="the privacy policy that must permit it (TOML)")
    parser.add_argument("--out", type=Path, default=Path("bundle.msgpack"), help="where the bundle goes")
    parser.add_argument("--created", type=int, help="the date in the manifest, Unix seconds (now by default)")
    parser.set_defaults(run=_train)


def demo(commands: Commands) -> None:
    """Register `entrenous demo`."""
    parser = commands.add_parser("demo", help="train, open a client and replay real shopping trips under consent")
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where bundle, store and page go")
    parser.add_argument("--households", type=int, default=500, help="how many households are replayed")
    parser.set_defaults(run=_demo)


def _train(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.workshop import train_files  # noqa: PLC0415 — scikit-learn takes a second to import

    console = Console()
    with console.status("reading") as status:
        trained = train_files(
            arguments.spec, arguments.policy, arguments.out, created=arguments.created, progress=status.update
        )
    for pattern, quality in trained.quality.items():
        console.print(
            f"{' + '.join(pattern) or 'no purpose':32} AUC {quality.auc:.4f}  ECE {quality.ece:.4f}  "
            f"tranches {', '.join(f'{share:.0%}' for share in quality.shares)}"
        )
    console.print(f"{arguments.out}: {len(trained.data):,} bytes, card {arguments.out.with_suffix('.card.json').name}")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.demo.story import tell  # noqa: PLC0415 — scikit-learn takes a second to import

    tell(arguments.out, households=arguments.households, console=Console())
    return 0
