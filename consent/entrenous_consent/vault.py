"""The vault: a data key for each visitor and purpose, wrapped by the current generation; AES-256-GCM throughout.

A record's associated data binds tenant, purpose, pseudonym and form, a wrapped key's the tenant and the name of its
row: what is moved to another place does not open. Deleting a wrapped key shreds whatever it locked; destroying a
generation shreds every copy of a key that was wrapped under it, wherever it lies. The keys that live on are wrapped
anew before that, for which the names of their rows suffice.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from entrenous_consent.errors import Unauthentic
from entrenous_consent.keys import KEY_BYTES, Keyring

__all__ = ["WRAPPED_BYTES", "Box", "Vault", "fresh_nonces"]

WRAPPED_BYTES = 64
"""Generation (4, big-endian), nonce (12), wrapped key and tag (48)."""

_NONCE = 12


def fresh_nonces(batch: int = 256) -> Callable[[], bytes]:
    """Return a source of random 96-bit nonces, drawn from the operating system `batch` at a time.

    A forked child starts with an empty pool, so that it never repeats its parent's.
    """
    pool: list[bytes] = []
    os.register_at_fork(after_in_child=pool.clear)

    def draw() -> bytes:
        try:
            return pool.pop()
        except IndexError:
            block = os.urandom(_NONCE * batch)
            pool.extend(block[i : i + _NONCE] for i in range(_NONCE, len(block), _NONCE))
            return block[:_NONCE]

    return draw


class Box:
    """One data key in use: seals and opens what one visitor's purpose holds."""

    __slots__ = ("_aad", "_aes", "_nonces")

    def __init__(self, key: bytes, aad: bytes, nonces: Callable[[], bytes]) -> None:
        self._aes, self._aad, self._nonces = AESGCM(key), aad, nonces

    def seal(self, form: bytes, plain: bytes) -> bytes:
        """Return nonce and ciphertext of `plain` as this `form` (`hot`, `cold`, `consent`)."""
        nonce = self._nonces()
        return nonce + self._aes.encrypt(nonce, plain, self._aad + form)

    def open(self, form: bytes, sealed: bytes) -> bytes:
        """Return the plaintext.

        Raises:
            Unauthentic: changed, moved, of another form, or another visitor's under the same row key.
        """
        try:
            return self._aes.decrypt(sealed[:_NONCE], sealed[_NONCE:], self._aad + form)
        except (InvalidTag, ValueError) as error:
            raise _unauthentic("does not open under this visitor's key") from error


class Vault:
    """Makes and unwraps data keys of one tenant."""

    def __init__(self, keyring: Keyring, tenant: str) -> None:
        self._keyring = keyring
        self._tenant = b"entrenous 1\0" + tenant.encode() + b"\0"
        self._nonces = fresh_nonces()
        self._wrappers: dict[int, tuple[bytes, AESGCM]] = {}

    def create(self, purpose: str, pseudonym: bytes) -> tuple[Box, bytes]:
        """Return a box with a new data key, and that key wrapped (`WRAPPED_BYTES`)."""
        key = os.urandom(KEY_BYTES)
        wrapped = self._wrap(key, self._keyring.generation, pseudonym[:8])
        return Box(key, self._bind(purpose, pseudonym), self._nonces), wrapped

    def unlock(self, wrapped: bytes, purpose: str, pseudonym: bytes) -> Box:
        """Return the box whose key `wrapped` holds.

        Raises:
            Unauthentic: the key was shredded, its generation destroyed, or it belongs elsewhere.
        """
        return Box(self._unwrap(wrapped, pseudonym[:8]), self._bind(purpose, pseudonym), self._nonces)

    def rewrap(self, wrapped: bytes, name: bytes, generation: int) -> bytes:
        """Return the same data key, wrapped under another generation.

        Args:
            name: of the row it lies under, eight bytes.

        Raises:
            Unauthentic: as `unlock` does.
        """
        return self._wrap(self._unwrap(wrapped, name), generation, name)

    def _wrap(self, key: bytes, generation: int, name: bytes) -> bytes:
        nonce = self._nonces()
        sealed = self._wrapper(generation).encrypt(nonce, key, self._tenant + b"wrap\0" + name)
        return generation.to_bytes(4, "big") + nonce + sealed

    def _unwrap(self, wrapped: bytes, name: bytes) -> bytes:
        try:
            wrapper = self._wrapper(int.from_bytes(wrapped[:4], "big"))
            return wrapper.decrypt(wrapped[4:16], wrapped[16:], self._tenant + b"wrap\0" + name)
        except (InvalidTag, ValueError) as error:
            raise _unauthentic("its key does not unwrap") from error

    def _bind(self, purpose: str, pseudonym: bytes) -> bytes:
        return self._tenant + purpose.encode() + b"\0" + pseudonym

    def _wrapper(self, generation: int) -> AESGCM:
        key = self._keyring.generation_key(generation)
        if key is None:
            self._wrappers.pop(generation, None)
            raise _unauthentic("its generation was destroyed")
        held = self._wrappers.get(generation)
        if held is None or held[0] is not key:
            held = self._wrappers[generation] = key, AESGCM(key)
        return held[1]


def _unauthentic(what: str) -> Unauthentic:
    return Unauthentic(what, place="stored record", remedy="erase it, or let it expire")
