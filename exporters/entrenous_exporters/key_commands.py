"""What `entrenous keys` and `entrenous publish` do: make keys, propose who may sign, sign what is shown, show it.

`init`, `add`, `rotate` and `revoke` propose; only `sign` signs, for one role, after it has shown what. Nothing shows to
runtimes before `entrenous publish`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from securesystemslib.signer import CryptoSigner, Key

from entrenous.updates.layout import OFFLINE_THRESHOLD
from entrenous.updates.verify import DELEGATIONS
from entrenous_consent.errors import Forbidden, Missing
from entrenous_exporters.ceremony import Pending, delegated_keys
from entrenous_exporters.keys import find_key, load_keys, make_key, public_keys
from entrenous_exporters.publish import Repository
from entrenous_exporters.roles import OFFLINE, ROLES
from entrenous_exporters.showing import date, plain, show_listed
from entrenous_exporters.signing import Shown, sign_role

__all__ = ["Desk", "add", "init", "publish", "revoke", "rotate", "show_list", "sign"]

HOLDERS = ("first_holder", "second_holder")
OWNERS = {"models": "scientist", "privacy": "dpo", "snapshot": "publisher", "timestamp": "publisher"}


def _ask() -> bool:
    if not sys.stdin.isatty():
        raise Forbidden("there is no terminal to ask on", place="sign", remedy="read what is shown, then pass --yes")
    return input("sign? [y/N] ").strip().lower() in ("y", "yes")


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command is given: what it prints on, the time in Unix seconds, and who is asked."""

    console: Console = field(default_factory=lambda: Console(highlight=False, markup=False, emoji=False))
    now: int = field(default_factory=lambda: int(time.time()))
    ask: Callable[[], bool] = _ask

    def say(self, *lines: str) -> None:
        """Print lines as they are: no markup, no wrapping in the middle of an id."""
        for line in lines:
            self.console.print(plain(line), soft_wrap=True)


def init(arguments: argparse.Namespace, desk: Desk) -> int:
    """Make what is missing; propose a repository, and publish it if every key is at hand; return 0."""
    directory: Path = arguments.keys
    made = []
    for role in ROLES:
        for name in _missing(directory, role, arguments.holders):
            make_key(directory, role, name)
            made.append(f"{role}/{name}")
    publics = {role: tuple(public_keys(directory, role).values()) for role in ROLES}
    repository = Repository.begin(arguments.repository, publics, now=desk.now)
    desk.say(*(f"made the key {one}" for one in made))
    for role in OFFLINE:
        if (held := _held(directory, role)) is not None:
            repository.sign_pending(role, held)
    repository.settle()
    waiting = _show_pending(repository, _names_of(directory), desk)
    online = [_held(directory, role) for role in ("snapshot", "timestamp")]
    if waiting or online[0] is None or online[1] is None:
        desk.say("nothing shows yet: when all is signed, run `entrenous publish`")
    else:
        repository.publish(online[0], online[1], now=desk.now)
        desk.say(f"an empty repository is published in {arguments.repository}")
    if repository.shelf.versions("root"):
        desk.say(f"deploy runtimes with {repository.shelf.place('root')}")
    if offline := [role for role in OFFLINE if _held(directory, role)]:
        desk.say(
            f"warning: {directory} holds offline keys ({', '.join(offline)}); move each to a medium of its own, "
            "apart from this machine and from each other"
        )
    return 0


def _missing(directory: Path, role: str, holders: Sequence[str] | None) -> list[str]:
    """Return the names of the keys that `init` has to make for a role."""
    there = public_keys(directory, role)
    if role in OWNERS:
        return [] if there else [OWNERS[role]]
    if holders is None and there and len(there) < OFFLINE_THRESHOLD:
        remedy = "bring the other holder's .pub file, or name both with --holders"
        raise Missing("has one holder, and needs two", place=str(directory / role), remedy=remedy)
    wanted = holders or (() if there else HOLDERS)
    return [name for name in dict.fromkeys(wanted) if name not in there]


def add(arguments: argparse.Namespace, desk: Desk) -> int:
    """Make a key, or take the public half that is there, and propose it for its role; return 0."""
    there = arguments.name in public_keys(arguments.keys, arguments.role)
    if not there or arguments.repository is None:
        make_key(arguments.keys, arguments.role, arguments.name)
        desk.say(f"made the key {arguments.role}/{arguments.name}; its .pub file may travel, its .pem file may not")
    if arguments.repository is None:
        return 0
    return _propose(arguments, desk, add=_new(arguments))


def rotate(arguments: argparse.Namespace, desk: Desk) -> int:
    """Propose a key in place of another; return 0."""
    gone = find_key(arguments.keys, arguments.role, arguments.key)
    if arguments.name not in public_keys(arguments.keys, arguments.role):
        make_key(arguments.keys, arguments.role, arguments.name)
        desk.say(f"made the key {arguments.role}/{arguments.name}")
    return _propose(arguments, desk, add=_new(arguments), revoke=[gone])


def revoke(arguments: argparse.Namespace, desk: Desk) -> int:
    """Propose a role without a key; return 0."""
    return _propose(arguments, desk, revoke=[find_key(arguments.keys, arguments.role, arguments.key)])


def _new(arguments: argparse.Namespace) -> list[Key]:
    return [public_keys(arguments.keys, arguments.role)[arguments.name]]


def _propose(arguments: argparse.Namespace, desk: Desk, *, add: Sequence[Key] = (), revoke: Sequence[str] = ()) -> int:
    repository = Repository(arguments.repository)
    pending = repository.propose(arguments.role, now=desk.now, add=add, revoke=revoke)
    names = _names_of(arguments.keys)
    desk.say(*Shown.of(repository, pending, names).lines)
    _show_pending(repository, names, desk)
    if arguments.role in DELEGATIONS and revoke:
        desk.say(f"then have {arguments.role} signed anew: what a revoked key signed counts no longer")
    return 0


def sign(arguments: argparse.Namespace, desk: Desk) -> int:
    """Show what a role signs and sign it; return 0, or 1 when the answer was no."""
    repository, role = Repository(arguments.repository), arguments.role
    signers, names = load_keys(arguments.keys, role), _names_of(arguments.keys)
    done = sign_role(
        repository,
        role,
        signers,
        file=arguments.file,
        tenant=arguments.tenant,
        names=names,
        now=desk.now,
        show=desk.say,
        agreed=(lambda: True) if arguments.yes else desk.ask,
    )
    if not done:
        desk.say("nothing was signed")
        return 1
    repository.settle()
    _show_pending(repository, names, desk)
    desk.say("signed; it shows at the next `entrenous publish`")
    return 0


def show_list(arguments: argparse.Namespace, desk: Desk) -> int:
    """Print roles, holders, thresholds, expiry, and whose signatures lack; return 0."""
    repository, names = Repository(arguments.repository), _names_of(arguments.keys)
    delegated = {}
    for role in ("root", "targets"):
        if repository.shelf.versions(role):
            delegated.update(delegated_keys(repository.shelf.metadata(role).signed))
    status = {one.role: one for one in repository.status(desk.now)}
    table = Table(box=None, pad_edge=False)
    for column in ("role", "version", "expires", "must sign"):
        table.add_column(column, no_wrap=True)
    for role in ROLES:
        one, (threshold, held) = status.get(role), delegated.get(role, (0, {}))
        expires = "" if one is None else date(one.expires) + (" (soon)" if one.soon else "")
        table.add_row(role, str(one.version) if one else "none", expires, f"{threshold} of {len(held)}" if held else "")
    desk.console.print(table)
    for role, (_, held) in delegated.items():
        desk.say(*(f"{role}: {_named(keyid, names)}" for keyid in held))
    for one in status.values():
        if not one.verified:
            desk.say(f"{one.role}: was signed by keys that no longer count; entrenous keys sign --role {one.role}")
    _show_pending(repository, names, desk)
    return 0


def publish(arguments: argparse.Namespace, desk: Desk) -> int:
    """Show what is signed, on the machine that holds the online keys alone; return 0."""
    repository = Repository(arguments.repository)
    stamping = load_keys(arguments.keys, "timestamp")
    if arguments.refresh:
        repository.refresh_timestamp(stamping, now=desk.now)
    else:
        repository.publish(load_keys(arguments.keys, "snapshot"), stamping, now=desk.now)
    table = Table(box=None, pad_edge=False)
    for column in ("role", "version", "expires"):
        table.add_column(column, no_wrap=True)
    status = repository.status(desk.now)
    for one in status:
        table.add_row(one.role, str(one.version), date(one.expires))
    desk.console.print(table)
    if not arguments.refresh:
        desk.say(*(show_listed(one) for role in ("privacy", "models") for one in repository.listings(role)))
    for one in status:
        if one.soon:
            desk.say(
                f"warning: {one.role} expires {date(one.expires)}, under a quarter of its life is left; sign it anew"
            )
    _show_pending(repository, _names_of(arguments.keys), desk)
    return 0


def _held(directory: Path, role: str) -> tuple[CryptoSigner, ...] | None:
    """Return the signers whose keys lie here; None if none does."""
    return load_keys(directory, role) if any((directory / role).glob("*.pem")) else None


def _names_of(directory: Path) -> dict[str, str]:
    """Return the holders whose public halves lie here, by key id."""
    return {key.keyid: name for role in ROLES for name, key in public_keys(directory, role).items()}


def _show_pending(repository: Repository, names: dict[str, str], desk: Desk) -> list[Pending]:
    """Print what waits and whose signatures lack; return it."""
    waiting = [one for one in map(repository.pending, OFFLINE) if one is not None]
    for one in waiting:
        signed = ", ".join(_named(keyid, names) for keyid in one.signed) or "nobody"
        desk.say(f"pending: {one.role} version {one.version}, signed by {signed}")
        for missing, keyids in one.lacking:
            desk.say(f"  lacks {missing} of: {', '.join(_named(keyid, names) for keyid in keyids)}")
        if one.ready:
            desk.say("  waits for `entrenous publish`" if one.role == "root" else "  waits for what it depends on")
        else:
            desk.say(f"  each with their own key: entrenous keys sign --role {one.role}")
    return waiting


def _named(keyid: str, names: dict[str, str]) -> str:
    return f"{names[keyid]} ({keyid[:12]})" if keyid in names else keyid
