"""`entrenous serve` and `entrenous token` on the command line. Heavy parts are imported when a command runs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TypeAlias

__all__ = ["serve", "token"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def serve(commands: Commands) -> None:
    """Register `entrenous serve`."""
    parser = commands.add_parser("serve", help="run the edge worker")
    parser.add_argument("--config", type=Path, required=True, help="the worker's configuration (TOML)")
    parser.set_defaults(run=_serve)


def token(commands: Commands) -> None:
    """Register `entrenous token`."""
    parser = commands.add_parser("token", help="sign a visitor's token as the shop's backend would, to try things out")
    parser.add_argument("--key", type=Path, required=True, help="the file that holds the shared key")
    parser.add_argument("--seconds", type=int, default=600, help="how long it lasts (at most 3600)")
    parser.add_argument("identifier", help="the visitor's own identifier")
    parser.set_defaults(run=_token)


def _serve(arguments: argparse.Namespace) -> int:
    from entrenous_edge.config import read_config  # noqa: PLC0415 — a web server takes a while to import
    from entrenous_edge.logs import start_logging  # noqa: PLC0415
    from entrenous_edge.serve import serve as run  # noqa: PLC0415

    start_logging()
    run(read_config(arguments.config), lambda text: print(text, flush=True))
    return 0


def _token(arguments: argparse.Namespace) -> int:
    from entrenous.tokens import make_token  # noqa: PLC0415
    from entrenous_consent.files import reaching  # noqa: PLC0415

    with reaching(arguments.key):
        key = arguments.key.read_bytes()
    print(make_token(key, arguments.identifier, now=int(time.time()), seconds=arguments.seconds))
    return 0
