"""Where the root key lives: a file, the environment, the operating system's keyring, a key service.

One root key opens the keyring, and with it everything; losing it loses everything.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from entrenous_consent.errors import Malformed, Missing, Refusal, Unavailable
from entrenous_consent.files import ROOT_KEY, reaching, sync_directory, write_whole

__all__ = [
    "KEY_BYTES",
    "EnvironmentKeyProvider",
    "FileKeyProvider",
    "KeyProvider",
    "KeyService",
    "MemoryKeyProvider",
    "MemoryKeyService",
    "ServiceKeyProvider",
    "SystemKeyProvider",
    "checked",
    "provider_of",
]

KEY_BYTES = 32
_WRAPPED_LIMIT = 1 << 16


class KeyProvider(Protocol):
    """Where the root key lives: a file, the environment, an OS keyring, a KMS."""

    def root(self) -> bytes:
        """Return the 32-byte root key.

        Raises:
            Missing: there is none. Unavailable: it may not be used as it lies there.
        """

    def delete(self) -> None:
        """Destroy the root key for good."""


class FileKeyProvider:
    """The root key in a file that only its owner may read (0600); made on first use."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def root(self) -> bytes:
        """Return the key; refuse a file that others may read."""
        with reaching(self._path):
            if not self._path.exists():
                self._make()
            with self._path.open("rb") as file:
                mode, key = os.fstat(file.fileno()).st_mode, file.read(KEY_BYTES + 1)
        if stat.S_IMODE(mode) & 0o077:
            raise Unavailable("others may read it", place=str(self._path), remedy="chmod 600 and consider it seen")
        return checked(key, str(self._path))

    def _make(self) -> None:
        """Put a whole key in place unless another process was first: a name that exists never names half a key."""
        fd, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(os.urandom(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(name, self._path)
        finally:
            os.unlink(name)
        sync_directory(self._path.parent)

    def delete(self) -> None:
        """Overwrite the file, then remove it."""
        with reaching(self._path):
            if self._path.exists():
                with self._path.open("r+b") as file:
                    file.write(bytes(KEY_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
                self._path.unlink()
                sync_directory(self._path.parent)


class EnvironmentKeyProvider:
    """The root key in an environment variable, as 64 hexadecimal digits."""

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def root(self) -> bytes:
        """Return the key."""
        value = os.environ.get(self._variable)
        if value is None:
            raise Missing("is not set", place=self._variable, remedy="set it to 64 hexadecimal digits")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise Malformed("is not 64 hexadecimal digits", place=self._variable, remedy="set it anew")
        return bytes.fromhex(value)

    def delete(self) -> None:
        """Remove it from this process; whoever set it must remove it there."""
        os.environ.pop(self._variable, None)


class MemoryKeyProvider:
    """A root key that lives and dies with this object: demos and tests."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key if key is not None else os.urandom(KEY_BYTES)

    def root(self) -> bytes:
        """Return the key."""
        if not self._key:
            raise Missing("was deleted", place="root key", remedy="what it locked is gone; begin with a new keyring")
        return self._key

    def delete(self) -> None:
        """Forget it."""
        self._key = b""


class SystemKeyProvider:
    """The root key in the operating system's keyring (extra `keyring`): Keychain, Credential Locker, Secret Service.

    Args:
        service: the name it is kept under. account: of whom, where one host serves several.
    """

    def __init__(self, service: str, account: str = "entrenous") -> None:
        self._service, self._account = service, account

    def root(self) -> bytes:
        """Return the key; one is made on first use, and read back before anything is locked with it.

        Raises:
            Missing: the extra is not installed. Unavailable: the system has no keyring, or it is locked.
        """
        value = self._call("get_password")
        if value is None:
            self._call("set_password", os.urandom(KEY_BYTES).hex())
            value = self._call("get_password")
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise Malformed("holds no root key of ours", place=self._place, remedy="name another service")
        return bytes.fromhex(value)

    def delete(self) -> None:
        """Remove it."""
        if self._call("get_password") is not None:
            self._call("delete_password")

    @property
    def _place(self) -> str:
        return f"keyring {self._service}"

    def _call(self, name: str, *more: str) -> Any:
        try:
            keyring = import_module("keyring")
        except ModuleNotFoundError as error:
            remedy = "pip install 'entrenous[keyring]'"
            raise Missing("needs the extra keyring", place=self._place, remedy=remedy) from error
        try:
            return getattr(keyring, name)(self._service, self._account, *more)
        except Exception as error:  # every system's keyring has errors of its own
            what = f"cannot be used ({type(error).__name__})"
            raise Unavailable(what, place=self._place, remedy="unlock it, or keep the key elsewhere") from error


class KeyService(Protocol):
    """What a key management service does for us: it wraps a key under one that never leaves it."""

    def wrap(self, key: bytes) -> bytes:
        """Return `key`, encrypted under the service's own."""

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return what `wrap` was given."""

    def destroy(self) -> None:
        """Destroy the service's key: nothing that it wrapped opens again."""


class ServiceKeyProvider:
    """The root key in a file, wrapped by a key service: whoever has the file alone has nothing.

    Args:
        path: the file; made on first use. service: an adapter of yours to a KMS, in three methods.
    """

    def __init__(self, path: Path, service: KeyService) -> None:
        self._path, self._service = path, service

    def root(self) -> bytes:
        """Return the key.

        Raises:
            Unavailable: the service does not answer, or will not unwrap it. Malformed: what it unwraps is no root key.
        """
        with reaching(self._path):
            if not self._path.exists():
                write_whole(self._path, self._asked("wrap", os.urandom(KEY_BYTES)))
            with self._path.open("rb") as file:
                wrapped = file.read(_WRAPPED_LIMIT)
        return checked(self._asked("unwrap", wrapped), str(self._path))

    def delete(self) -> None:
        """Destroy the service's key, then remove the file."""
        self._asked("destroy")
        with reaching(self._path):
            self._path.unlink(missing_ok=True)
            sync_directory(self._path.parent)

    def _asked(self, name: str, *more: bytes) -> bytes:
        try:
            answer: bytes = getattr(self._service, name)(*more)
        except Refusal:
            raise
        except Exception as error:  # every service has errors of its own
            what = f"its key service does not {name} ({type(error).__name__})"
            raise Unavailable(what, place=str(self._path), remedy="check the service and who may use it") from error
        return answer


class MemoryKeyService:
    """A key service that lives and dies with this object: tests."""

    def __init__(self) -> None:
        self._held: dict[bytes, bytes] = {}

    def wrap(self, key: bytes) -> bytes:
        """Keep the key; return a name for it."""
        name = os.urandom(KEY_BYTES)
        self._held[name] = key
        return name

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the key of that name."""
        return self._held[wrapped]

    def destroy(self) -> None:
        """Forget every key."""
        self._held.clear()


def provider_of(described: str, keys: Path) -> KeyProvider:
    """Return the provider that a configuration describes: `file`, `environment:VARIABLE` or `keyring:SERVICE`.

    Args:
        keys: the directory of the keyring, where the file is.

    Raises:
        Malformed: none of these.
    """
    kind, _, name = described.partition(":")
    if described == "file":
        return FileKeyProvider(keys / ROOT_KEY)
    if kind == "environment" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return EnvironmentKeyProvider(name)
    if kind == "keyring" and name:
        return SystemKeyProvider(name)
    remedy = "write file, environment:VARIABLE or keyring:SERVICE"
    raise Malformed("names no place for a root key", place="root_key", remedy=remedy)


def checked(key: bytes, place: str) -> bytes:
    """Return a root key that has its length; raise Malformed for another."""
    if len(key) != KEY_BYTES:
        raise Malformed(f"is not {KEY_BYTES} bytes", place=place, remedy="restore it from your key backup")
    return key
