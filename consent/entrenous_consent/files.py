"""Files as every package needs them: their names, the system's errors told as ours, a lock, writes that are whole."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from entrenous_consent.errors import Missing, Unavailable

__all__ = ["KEYRING", "ROOT_KEY", "STORE", "locked", "reaching", "read_up_to", "sync_directory", "write_whole"]

STORE = "visitors.db"
"""The store, in a client's state directory."""

KEYRING, ROOT_KEY = "keyring", "root.key"
"""The keyring and the root key it is sealed under, in a client's key directory."""


@contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Tell what the system says about `path` as `Missing` or `Unavailable`."""
    try:
        yield
    except FileNotFoundError as error:
        raise Missing("is not there", place=str(path), remedy="restore it, or check the configured path") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free space; nothing acknowledged was lost"
            raise Unavailable("the disk is full", place=str(path), remedy=remedy) from error
        what = f"cannot be used ({type(error).__name__})"
        raise Unavailable(what, place=str(path), remedy="check its owner, its mode and the disk") from error


@contextmanager
def locked(fd: int) -> Iterator[None]:
    """Hold the lock of an open file or directory against every other opening of it, in this process or another."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def read_up_to(path: Path, most: int) -> bytes:
    """Return a file's bytes: one more than `most` at the most, so that its parser refuses what is too long.

    Raises:
        Missing, Unavailable: it is not there, or cannot be read.
    """
    with reaching(path), path.open("rb") as file:
        return file.read(most + 1)


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` so that a crash leaves either the old file or the new one, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive power loss."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
