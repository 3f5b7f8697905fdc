"""The files of one host as the DPO's verbs open them: the store, and where it is needed the keyring.

Nothing is made here that is not there already: a verb that is pointed at the wrong folder says so, and leaves it as it
is. Whoever reads the store leaves an entry `access` in its audit log: which verb, and when.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from entrenous_consent import audit
from entrenous_consent.errors import Missing
from entrenous_consent.files import KEYRING, ROOT_KEY, STORE
from entrenous_consent.keys import Keyring
from entrenous_consent.providers import provider_of
from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.store import Append, Store

__all__ = ["held_logs", "keyring_of", "noted", "opened_store", "system_clock", "with_keys", "with_state"]


def system_clock() -> int:
    """Return the system's time in Unix seconds."""
    return int(time.time())


def with_state(parser: argparse.ArgumentParser, *, required: bool = True) -> argparse.ArgumentParser:
    """Add `--state`, the directory that a client or worker is configured with."""
    parser.add_argument(
        "--state", type=Path, required=required, metavar="DIR", help="the directory of the store, as the client has it"
    )
    return parser


def with_keys(parser: argparse.ArgumentParser, *, required: bool = True) -> argparse.ArgumentParser:
    """Add `--keys` and `--root-key`: where the keyring is, and where its root key is if not beside it."""
    parser.add_argument(
        "--keys", type=Path, required=required, metavar="DIR", help="the directory of the keyring, as the client has it"
    )
    parser.add_argument(
        "--root-key",
        default="file",
        metavar="WHERE",
        help="where the root key is: file (KEYS/root.key, the default), environment:VARIABLE or keyring:SERVICE",
    )
    return parser


@contextmanager
def opened_store(state: Path) -> Iterator[SQLiteStore]:
    """Open the store in a client's state directory.

    Raises:
        Missing: there is none. Malformed, Unavailable: it can't be used.
    """
    path = state / STORE
    if not path.is_file():
        raise Missing("holds no store", place=str(state), remedy="name the state directory of a client that ran")
    store = SQLiteStore(path)
    try:
        yield store
    finally:
        store.close()


def keyring_of(keys: Path, root_key: str = "file") -> Keyring:
    """Return the keyring in a client's key directory.

    Args:
        root_key: as `entrenous_consent.providers.provider_of` reads it.

    Raises:
        Missing: it, or its root key, is not there. Unauthentic: it does not open under that root key.
    """
    path = keys / KEYRING
    for needed in (path, keys / ROOT_KEY) if root_key == "file" else (path,):
        if not needed.is_file():
            remedy = "name the key directory of a client that ran, and --root-key if its root key is elsewhere"
            raise Missing("is not there", place=str(needed), remedy=remedy)
    return Keyring(path, provider_of(root_key, keys))


def noted(store: Store, verb: str, now: int) -> None:
    """Leave the entry that a verb read the store."""
    entry = audit.entry("access", time=now, subject=b"", detail={"verb": verb})
    store.transact([Append(audit.log_name(now), entry)], now=now, durable=True)


def held_logs(store: Store) -> dict[str, list[bytes]]:
    """Return the entries of every month that is held."""
    return {log: store.log(log) for log in store.logs()}
