"""`entrenous privacy` on the command line, put together from the entry points of `entrenous.privacy`.

Each names a function that takes argparse's subparsers and adds verbs, as `entrenous.commands` does one floor up: a verb
that needs a profile is the sdk's, one that needs a signing key the exporters', and this package knows of neither.
"""

from __future__ import annotations

import argparse
from importlib.metadata import entry_points
from typing import TypeAlias

__all__ = ["Commands", "privacy"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def privacy(commands: Commands) -> None:
    """Register `entrenous privacy` and its verbs."""
    parser = commands.add_parser("privacy", help="read, check, sign and prove what is done with visitors' data")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for point in sorted(entry_points(group="entrenous.privacy"), key=lambda one: one.name):
        point.load()(verbs)
