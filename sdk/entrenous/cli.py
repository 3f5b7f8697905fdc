"""The command line, put together from entry points, so that no lower layer imports a higher one.

Each package registers its commands under `entrenous.commands`: a function that takes argparse's subparsers and adds
one. A command is a function of the parsed arguments that returns an exit code. What is refused is printed with its
place and remedy, and exits 2.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path

from entrenous_consent.errors import Refusal

__all__ = ["main"]

REFUSED = 2
FAILED = 70
"""A fault of ours, after `EX_SOFTWARE` of sysexits.h."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 2 with one line on standard error when something was refused, or 70 with one that
    says where a fault of ours is."""
    parser = argparse.ArgumentParser(prog="entrenous", description="Personalisation that stays on this side.")
    parser.add_argument("--version", action="version", version=f"entrenous {version('entrenous')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for point in _named(sys.argv[1:] if arguments is None else arguments):
        try:
            register = point.load()
        except ModuleNotFoundError as error:
            _unavailable(commands, point.name, error.name or "a package")
        else:
            register(commands)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except Refusal as error:
        print(f"entrenous {chosen.command}: {error}", file=sys.stderr)
        return REFUSED
    except Exception as error:
        print(f"entrenous {chosen.command}: {_where(error)}", file=sys.stderr)
        return FAILED


def _named(arguments: Sequence[str]) -> list[EntryPoint]:
    """Return the command that is named first, or all where none is: what is not run is not loaded either."""
    points = sorted(entry_points(group="entrenous.commands"), key=lambda one: one.name)
    return [point for point in points if arguments and point.name == arguments[0]] or points


def _where(error: Exception) -> str:
    """Return what failed and where, in our own words: another library's may repeat what it was handed."""
    steps = [f"{Path(step.filename).name}:{step.lineno}" for step in traceback.extract_tb(error.__traceback__)]
    return f"failed with {type(error).__name__} at {' > '.join(steps[-6:])} — this is a fault of ours: report that line"


def _unavailable(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, module: str) -> None:
    """Keep a command whose extra is not installed in the list, with the one line that says so."""
    extras = {"demo": "demo", "serve": "edge", "token": "edge"}
    extras |= dict.fromkeys(("collect", "evaluate", "learn"), "evaluate")
    extra = extras.get(name, "train")
    line = f"entrenous {name}: needs {module}; pip install 'entrenous[{extra}]'"
    command = commands.add_parser(name, help=f"(needs the extra {extra!r})", add_help=False)
    command.set_defaults(run=lambda _: print(line, file=sys.stderr) or REFUSED)
