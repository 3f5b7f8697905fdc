"""`entrenous keys` and `entrenous publish` on the command line. Heavy parts are imported when a command runs.

`init`, `add`, `rotate` and `revoke` propose; only `sign` signs, for one role, after it has shown what. Nothing shows to
runtimes before `publish`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from entrenous_exporters.roles import OFFLINE, ROLES

__all__ = ["keys", "publish"]

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def keys(commands: Commands) -> None:
    """Register `entrenous keys`."""
    parser = commands.add_parser("keys", help="make, add, rotate and revoke signing keys; sign what is shown")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    init = _verb(verbs, "init", "make what is missing and propose an empty repository", repository=True)
    init.add_argument("--holders", nargs="+", metavar="NAME", help="who holds the keys of root and targets")
    add = _verb(verbs, "add", "make a key, and propose it for its role", role=ROLES)
    rotate = _verb(verbs, "rotate", "propose a key in place of another", role=ROLES, repository=True)
    for one in (add, rotate):
        one.add_argument("--name", required=True, help="who holds the new key; a .pub file of that name is taken as is")
    revoke = _verb(verbs, "revoke", "propose a role without a key", role=ROLES, repository=True)
    for one in (rotate, revoke):
        one.add_argument("--key", required=True, metavar="NAME-OR-ID", help="the key that is to go")
    sign = _verb(verbs, "sign", "show what a role signs, then sign it", role=OFFLINE, repository=True)
    sign.add_argument("file", nargs="?", type=Path, help="the bundle (models) or the policy (privacy)")
    sign.add_argument("--tenant", help="whose policy must permit the bundle; not needed where there is only one")
    sign.add_argument("--yes", action="store_true", help="do not ask")
    _verb(verbs, "list", "roles, holders, thresholds, expiry, and whose signatures lack", repository=True)


def publish(commands: Commands) -> None:
    """Register `entrenous publish`."""
    parser = commands.add_parser("publish", help="show what is signed: a new snapshot and a new timestamp")
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR", help="where the repository is")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="where the online keys are")
    parser.add_argument("--refresh", action="store_true", help="renew the timestamp alone")
    parser.set_defaults(run=_run, verb="publish")


def _verb(
    verbs: Commands, name: str, words: str, *, role: Sequence[str] = (), repository: bool = False
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=words, description=words)
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="where keys are")
    parser.add_argument("--repository", type=Path, required=repository, metavar="DIR", help="where the repository is")
    if role:
        parser.add_argument("--role", required=True, choices=role)
    parser.set_defaults(run=_run)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from entrenous_exporters import key_commands as verbs  # noqa: PLC0415 — a TUF client takes a while to import

    run = {
        "init": verbs.init,
        "add": verbs.add,
        "rotate": verbs.rotate,
        "revoke": verbs.revoke,
        "sign": verbs.sign,
        "list": verbs.show_list,
        "publish": verbs.publish,
    }[arguments.verb]
    return run(arguments, verbs.Desk())
