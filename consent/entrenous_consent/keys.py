"""Keys: the small keyring of one tenant.

A `KeyProvider` (module `providers`) hands over one root key. The keyring file, which lies *outside* the store, is
sealed under that root and holds random keys, so that deleting one is final: the boundary key, a key for each purpose
and epoch, the generations that wrap data keys, a key for each running experiment, the audit key.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from entrenous_consent.errors import Unauthentic, Unavailable
from entrenous_consent.files import locked, reaching, write_whole
from entrenous_consent.packing import pack, unpack
from entrenous_consent.providers import (
    KEY_BYTES,
    EnvironmentKeyProvider,
    FileKeyProvider,
    KeyProvider,
    MemoryKeyProvider,
    checked,
)

__all__ = [
    "KEY_BYTES",
    "EnvironmentKeyProvider",
    "FileKeyProvider",
    "KeyProvider",
    "Keyring",
    "MemoryKeyProvider",
]

_KEYRING_LIMIT = 1 << 20
_AAD = b"entrenous keyring 1"


class Keyring:
    """The random keys of one tenant, in one sealed file.

    Several processes may hold it: a key is made under a file lock, after reading what others made.

    Args:
        path: the keyring file; its directory exists and is not the store's.
        provider: the root key.
        public: keys that are fixed rather than random (`boundary`, or an experiment's id), for a demonstration only.

    Raises:
        Unauthentic: the file does not open under this root key. Malformed: the root key is not one. Missing,
            Unavailable: the directory or the file cannot be used; every method that makes, reads again or destroys a
            key may say so too.
    """

    def __init__(self, path: Path, provider: KeyProvider, *, public: Mapping[str, bytes] | None = None) -> None:
        self._path = path.absolute()
        self._thread = threading.Lock()
        self._public = dict(public or {})
        self._seen = (0, 0)
        with self._locked():
            # in turn, too: of two root keys made at once a provider may keep the one that the other has sealed with
            self._root = AESGCM(checked(provider.root(), "root key"))
            if not path.exists():
                self._save({"boundary": _new(), "audit": _new(), "generations": {1: _new()}, "epochs": {}, "tests": {}})
            self._keys = self._load()

    @property
    def boundary(self) -> bytes:
        """The key that turns an identifier into a handle."""
        return self._public.get("boundary") or self._keys["boundary"]

    @property
    def audit(self) -> bytes:
        """The key of the audit log."""
        return self._keys["audit"]  # type: ignore[no-any-return]

    @property
    def signing(self) -> bytes:
        """The 32-byte seed of the Ed25519 key that signs what leaves; made when it is first asked for."""
        key: bytes | None = self._keys.get("signing")
        if key is None:
            with self._locked():
                keys = self._load()
                key = keys.setdefault("signing", _new())
                self._save(keys)
                self._keys = keys
        return key

    @property
    def generation(self) -> int:
        """The generation that wraps new data keys."""
        return int(max(self._keys["generations"]))

    def generation_key(self, generation: int) -> bytes | None:
        """Return a generation's key, or None once it is destroyed."""
        key: bytes | None = self._keys["generations"].get(generation)
        return key if key is not None else self._reload()["generations"].get(generation)

    def generation_made(self) -> int:
        """Return when the newest generation was made, in Unix seconds: 0 for the one a keyring begins with."""
        made: int = self._keys.get("made", 0)
        return made

    @property
    def rotating(self) -> bool:
        """Whether a generation before the newest is still to be destroyed: a rotation is under way, or was left."""
        return len(self._keys["generations"]) > 1

    def next_generation(self, now: int) -> int:
        """Make the generation that data keys are to be wrapped under from `now` on, and return it; where one of before
        is still to be destroyed, that was not finished, and the newest there is serves."""
        with self._locked():
            keys = self._load()
            if len(keys["generations"]) == 1:
                keys["generations"][max(keys["generations"]) + 1] = _new()
                keys["made"] = now
                self._save(keys)
            self._keys = keys
        return self.generation

    def destroy_generations(self, before: int) -> None:
        """Destroy the generations before one: whatever is still wrapped under them, wherever it lies, is gone."""
        with self._locked():
            keys = self._load()
            living = {known: key for known, key in keys["generations"].items() if known >= before}
            if living and len(living) < len(keys["generations"]):
                keys["generations"] = living
                self._save(keys)
            self._keys = keys

    def reseal(self, provider: KeyProvider) -> None:
        """Seal the file under another root key; destroying the one before is its provider's.

        Every process that holds this keyring is to be started again with the new provider.

        Raises:
            Malformed: the new root key is not one. Missing, Unavailable: as its provider says.
        """
        root = AESGCM(checked(provider.root(), "root key"))
        with self._locked():
            self._keys, self._root = self._load(), root
            self._save(self._keys)

    def refresh(self) -> None:
        """Read the file again if another process has replaced it: what it has destroyed is not kept here either."""
        with reaching(self._path):
            found = os.stat(self._path)
        if (found.st_ino, found.st_mtime_ns) != self._seen:
            self._reload()

    def epoch_key(self, purpose: str, epoch: int) -> bytes:
        """Return the key of `purpose` in `epoch`; made when it is first asked for."""
        key: bytes | None = self._keys["epochs"].get(epoch, {}).get(purpose)
        return key or self._make("epochs", epoch, purpose)

    def past_epoch_key(self, purpose: str, epoch: int) -> bytes | None:
        """Return the key of `purpose` in a past `epoch`, None if there never was one or it was destroyed.

        Ask after the key of a later epoch: whoever made that looked at the file then, and no past key is made since.
        """
        key: bytes | None = self._keys["epochs"].get(epoch, {}).get(purpose)
        return key

    def epochs(self) -> dict[int, frozenset[str]]:
        """Return, by epoch, the purposes that have a key, whichever process made it."""
        return {epoch: frozenset(keys) for epoch, keys in self._reload()["epochs"].items()}

    def experiment_key(self, experiment: str) -> bytes:
        """Return the key of a running experiment; made when it is first asked for."""
        key: bytes | None = self._public.get(experiment) or self._keys["tests"].get(0, {}).get(experiment)
        return key or self._make("tests", 0, experiment)

    def recipient_key(self, recipient: str) -> bytes:
        """Return the key of what visitors are called towards one recipient; made when it is first asked for."""
        key: bytes | None = self._keys.get("recipients", {}).get(0, {}).get(recipient)
        return key or self._make("recipients", 0, recipient)

    def epochs_over(self, now: int, seconds: int) -> tuple[int, ...]:
        """Return the epochs whose keys `retire_epochs` would destroy."""
        return _over(self._reload(), now, seconds)

    def retire_epochs(self, now: int, seconds: int) -> tuple[int, ...]:
        """Destroy the keys of every epoch but the current one and the one before it, and return which: what did not
        move is gone. Where epochs have got another length and are counted anew, those of the old count stay as long as
        one before the current would have: until then an erasure still reaches what they name.

        Args:
            now: Unix seconds. seconds: how long an epoch is.
        """
        with self._locked():
            keys = self._load()
            before = keys.get("counted")
            if before != seconds:
                keys["counted"] = seconds
                kept = now + max(before or 0, seconds)
                keys["until"] = {one: kept for one in keys["epochs"] if before and one != now // seconds}
            over = _over(keys, now, seconds)
            for epoch in over:
                del keys["epochs"][epoch]
            if over or before != seconds:
                self._save(keys)
            self._keys = keys
        return over

    def _make(self, family: str, group: int, name: str) -> bytes:
        with self._locked():
            keys = self._load()
            made: bytes = keys.setdefault(family, {}).setdefault(group, {}).setdefault(name, _new())
            self._save(keys)
            self._keys = keys
        return made

    def _reload(self) -> dict[str, Any]:
        with self._locked():
            self._keys = self._load()
        return self._keys

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread, reaching(self._path):
            lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                with locked(lock):
                    yield
            finally:
                os.close(lock)

    def _save(self, keys: Mapping[str, Any]) -> None:
        plain, nonce = pack(keys), os.urandom(12)
        if len(plain) > _KEYRING_LIMIT:
            raise Unavailable("holds too many keys", place=str(self._path), remedy="sweep, and end old experiments")
        for left in self._path.parent.glob(f".{self._path.name}.*.new"):
            left.unlink()  # a writer was killed here: what it left behind may hold a key that is destroyed now
        write_whole(self._path, nonce + self._root.encrypt(nonce, plain, _AAD))

    def _load(self) -> dict[str, Any]:
        with self._path.open("rb") as file:
            found, data = os.fstat(file.fileno()), file.read()
        self._seen = found.st_ino, found.st_mtime_ns
        try:
            plain = self._root.decrypt(data[:12], data[12:], _AAD)
        except (InvalidTag, ValueError) as error:
            raise Unauthentic(
                "does not open under this root key", place=str(self._path), remedy="use the root key it was made with"
            ) from error
        return unpack(plain, place=str(self._path), longest=_KEYRING_LIMIT)  # type: ignore[no-any-return]


def _new() -> bytes:
    return os.urandom(KEY_BYTES)


def _over(keys: Mapping[str, Any], now: int, seconds: int) -> tuple[int, ...]:
    """Return the epochs that are over: none yet where they were counted in another length until now."""
    epoch, until = now // seconds, keys.get("until", {})
    if keys.get("counted", seconds) != seconds:
        return ()
    past = (one for one in sorted(keys["epochs"]) if one not in (epoch - 1, epoch))
    return tuple(one for one in past if (until[one] <= now if one in until else one < epoch))
