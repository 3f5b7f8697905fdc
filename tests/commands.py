"""The command line as `pyproject.toml` declares it, whatever of it was installed when the environment was made."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from unittest.mock import patch

from entrenous import cli

PROJECT = Path(__file__).parents[1]


def declared(*, group: str) -> list[EntryPoint]:
    """The entry points of a group."""
    table = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    return [EntryPoint(name, value, group) for name, value in table.get(group, {}).items()]


def main(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    with patch("entrenous.cli.entry_points", declared), patch("entrenous.doctor.entry_points", declared):
        return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
