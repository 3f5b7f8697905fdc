"""A repository's directory, file by file: metadata, targets, and what waits for signatures.

::

    metadata/<version>.<role>.json   root, targets, models, privacy, snapshot
    metadata/timestamp.json          replaced last
    targets/bundles/<sha256>.<name>  targets/policies/<sha256>.<tenant>
    pending/<version>.<role>.json    proposed and not yet in force; not to be served

Every file is written whole. Nothing here decides whether what it holds is right.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from entrenous.updates.verify import Listed
from entrenous_consent.errors import Forbidden, Malformed, Unauthentic, Unavailable
from entrenous_consent.files import reaching, write_whole

__all__ = ["KINDS", "Shelf"]

_Kind = Root | Targets | Snapshot | Timestamp
_T = TypeVar("_T", Root, Targets, Snapshot, Timestamp)

KINDS: dict[str, type[_Kind]] = {"root": Root, "snapshot": Snapshot, "timestamp": Timestamp}
"""The kind of a role's metadata; `Targets` for the others."""

_BACKUP = "restore the repository from its backup"


class Shelf:
    """The files of one repository."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def versions(self, role: str) -> list[int]:
        """Return the versions of a role that are in place, rising."""
        return _versions(self.directory / "metadata", role)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the repository against every other publisher: two timestamps of one version would contradict.

        Raises:
            Missing: it is not there. Unavailable: another publisher is at work.
        """
        with reaching(self.directory):
            held = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            remedy = "try again when it is done"
            raise Unavailable("another publisher is at work", place=str(self.directory), remedy=remedy) from error
        finally:
            os.close(held)

    def next(self, role: str) -> int:
        """Return the version that comes after the newest one in place."""
        if role != "timestamp":
            return max(self.versions(role), default=0) + 1
        return self.signed("timestamp", Timestamp).version + 1 if self.published else 1

    @property
    def published(self) -> bool:
        """Whether runtimes can be shown anything yet."""
        return (self.directory / "metadata" / "timestamp.json").exists()

    def place(self, role: str) -> Path:
        """Return where the newest metadata of a role is, or would be."""
        versions = self.versions(role)
        return self.directory / "metadata" / (f"{versions[-1]}.{role}.json" if versions else f"{role}.json")

    def read(self, role: str) -> bytes:
        """Return the newest metadata of a role.

        Raises:
            Missing: there is none. Unavailable: it can't be read.
        """
        path = self.place(role)
        with reaching(path):
            return path.read_bytes()

    def metadata(self, role: str) -> Metadata[Any]:
        """Return the newest metadata of a role, parsed. Nothing says yet that it is signed.

        Raises:
            Missing, Unavailable: as `read`. Malformed: it is not this role's metadata.
        """
        return _parse(self.read(role), role)

    def signed(self, role: str, kind: type[_T]) -> _T:
        """Return what the newest metadata of a role says.

        Raises:
            as `metadata`.
        """
        signed = self.metadata(role).signed
        if not isinstance(signed, kind):
            raise Malformed("is metadata of another role", place=role, remedy=_BACKUP)
        return signed

    def put(self, role: str, version: int, data: bytes) -> None:
        """Put metadata in its place, for everybody to read."""
        self._put(f"metadata/{role}.json" if role == "timestamp" else f"metadata/{version}.{role}.json", data)

    def pending(self, role: str) -> Metadata[Any] | None:
        """Return what waits for signatures; None if nothing does.

        Raises:
            Malformed: it is not this role's metadata. Forbidden: another version took its place meanwhile.
        """
        versions = _versions(self.directory / "pending", role)
        if not versions:
            return None
        path = self.directory / "pending" / f"{versions[-1]}.{role}.json"
        if versions != [self.next(role)]:
            remedy = "remove it and propose the change again"
            raise Forbidden("was overtaken by another version", place=str(path), remedy=remedy)
        with reaching(path):
            metadata = _parse(path.read_bytes(), role)
        if metadata.signed.version != versions[-1]:
            raise Malformed("is of another version than its name", place=str(path), remedy="propose it again")
        return metadata

    def put_pending(self, role: str, metadata: Metadata[Any]) -> None:
        """Keep what waits for signatures."""
        self._put(f"pending/{metadata.signed.version}.{role}.json", metadata.to_bytes())

    def drop_pending(self, role: str) -> None:
        """Remove what waited."""
        folder = self.directory / "pending"
        with reaching(folder):
            for path in folder.glob(f"*.{role}.json"):
                path.unlink()

    def put_target(self, name: str, data: bytes) -> None:
        """Keep a target's file under `name`: its digest stands before its own name."""
        self._put(name, data)

    def target(self, listed: Listed) -> bytes:
        """Return the bytes of a target.

        Raises:
            Missing: the file is not there. Unauthentic: it is not what is listed.
        """
        folder, _, name = listed.path.partition("/")
        path = self.directory / "targets" / folder / f"{listed.digest.hex()}.{name}"
        with reaching(path):
            data = path.read_bytes()
        if len(data) != listed.length or sha256(data).digest() != listed.digest:
            raise Unauthentic("is not what its role lists", place=str(path), remedy=_BACKUP)
        return data

    def every_target(self, folder: str, name: str, *, longest: int) -> list[bytes]:
        """Return each version of a target that was ever put here, in no order: what is under `longest` and its digest.

        Raises:
            Unavailable: a file can't be read.
        """
        found = []
        for path in (self.directory / "targets" / folder).glob(f"*.{name}"):
            with reaching(path), path.open("rb") as file:
                data = file.read(longest + 1)
            if len(data) <= longest and path.name == f"{sha256(data).hexdigest()}.{name}":
                found.append(data)
        return found

    def _put(self, name: str, data: bytes) -> None:
        path = self.directory / name
        with reaching(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
            path.chmod(0o644)  # public: a web server of another user serves it


def _versions(folder: Path, role: str) -> list[int]:
    found = (path.name.split(".")[0] for path in folder.glob(f"*.{role}.json"))
    return sorted(int(version) for version in found if version.isascii() and version.isdecimal())


def _parse(data: bytes, role: str) -> Metadata[Any]:
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(data)
    except RepositoryError as error:
        raise Malformed("is not TUF metadata", place=role, remedy=_BACKUP) from error
    if not isinstance(metadata.signed, KINDS.get(role, Targets)):
        raise Malformed("is metadata of another role", place=role, remedy=_BACKUP)
    return metadata
