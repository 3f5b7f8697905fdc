"""Signing keys on disk: one Ed25519 key a file, one directory a role, so that roles can lie on different machines.

::

    <directory>/<role>/<name>.pem   the key (PKCS#8, RFC 5958), readable by its owner only
    <directory>/<role>/<name>.pub   its public half (SubjectPublicKeyInfo, RFC 8410), for whoever names it in metadata

`root`, `targets`, `models` and `privacy` belong offline, each with its own person; `snapshot` and `timestamp` sit with
the machine that publishes. Only public halves travel.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from entrenous.updates.verify import sound_key
from entrenous_consent.errors import Forbidden, Malformed, Missing, Unauthentic, Unavailable
from entrenous_consent.files import reaching, write_whole
from entrenous_consent.parsing import KEY
from entrenous_exporters.roles import ROLES

__all__ = ["ROLES", "find_key", "load_key", "load_keys", "make_key", "own_id", "public_keys", "read_public"]

_KEY_LIMIT = 4096


def make_key(directory: Path, role: str, name: str) -> CryptoSigner:
    """Make a key, write it and its public half under `<directory>/<role>`, and return what signs with it.

    Args:
        directory: where keys are. role: one of `ROLES`. name: a short key: who holds it.

    Raises:
        Malformed: no such role, or not a short key. Forbidden: that key is already there. Unavailable: the disk.
    """
    if role not in ROLES:
        raise Malformed("is not a role", place="role", remedy=f"use one of: {', '.join(ROLES)}")
    if not KEY.fullmatch(name):
        raise Malformed("is not a short key", place="name", remedy="use a-z, 0-9 and _, starting with a letter")
    path = directory / role / f"{name}.pem"
    public = path.with_suffix(".pub")
    with reaching(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for there in (path, public):
            if there.exists():
                remedy = "choose another name; keys are not overwritten"
                raise Forbidden("is already there", place=str(there), remedy=remedy)
        private = Ed25519PrivateKey.generate()
        signer = CryptoSigner(private)
        write_whole(path, signer.private_bytes)
        write_whole(public, private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        public.chmod(0o644)
    return signer


def load_key(path: Path) -> CryptoSigner:
    """Return what signs with the key in a file.

    Raises:
        Missing: it is not there. Unavailable: others may read it. Malformed: it is not an Ed25519 key in PEM.
    """
    with reaching(path), path.open("rb") as file:
        mode, pem = stat.S_IMODE(path.stat().st_mode), file.read(_KEY_LIMIT)
    if mode & 0o077:
        raise Unavailable("others may read it", place=str(path), remedy="chmod 600, revoke it and make another")
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("is not a key in PEM", place=str(path), remedy="restore it from its backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Malformed("is not an Ed25519 key", place=str(path), remedy="make one with make_key")
    return CryptoSigner(key)


def load_keys(directory: Path, role: str) -> tuple[CryptoSigner, ...]:
    """Return the signers of a role, by file name.

    Raises:
        Missing: there is none. Unavailable, Malformed: as `load_key`.
    """
    paths = sorted((directory / role).glob("*.pem"))
    if not paths:
        raise Missing("holds no key", place=str(directory / role), remedy="make one, or bring the medium it lies on")
    return tuple(load_key(path) for path in paths)


def read_public(path: Path) -> Key:
    """Return the public key in a file.

    Raises:
        Missing: it is not there. Malformed: it is not a sound Ed25519 public key in PEM.
    """
    with reaching(path), path.open("rb") as file:
        pem = file.read(_KEY_LIMIT)
    try:
        loaded = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("is not a public key in PEM", place=str(path), remedy="ask its holder for it again") from error
    key = SSlibKey.from_crypto(loaded) if isinstance(loaded, Ed25519PublicKey) else None
    if key is None or sound_key(key) is None:
        raise Malformed("is not a sound Ed25519 key", place=str(path), remedy="ask its holder for it again")
    return key


def public_keys(directory: Path, role: str) -> dict[str, Key]:
    """Return the public keys of a role by holder's name; of a key without a public file, that of the key itself.

    Raises:
        Malformed, Unavailable: as `read_public` and `load_key`. Unauthentic: the two halves do not belong together.
    """
    found: dict[str, Key] = {}
    for path in sorted((directory / role).glob("*.p[eu][mb]")):
        key = read_public(path) if path.suffix == ".pub" else load_key(path).public_key
        if found.setdefault(path.stem, key).keyid != key.keyid:
            remedy = "find out who put it there; restore it from its backup"
            raise Unauthentic("is not the other half of the key beside it", place=str(path), remedy=remedy)
    return found


def find_key(directory: Path | None, role: str, wanted: str) -> str:
    """Return the id of the key that `wanted` names: a holder whose public half lies here, or an id itself.

    Raises:
        Missing: neither. Malformed, Unavailable, Unauthentic: as `public_keys`.
    """
    named = public_keys(directory, role) if directory is not None else {}
    if wanted in named:
        return named[wanted].keyid
    if len(wanted) == 64 and set(wanted) <= set("0123456789abcdef"):
        return wanted
    raise Missing("names no key here", place=f"{role}: {wanted}", remedy="see `entrenous keys list`; a key id will do")


def own_id(key: Key) -> str:
    """Return the id that a key has of itself: metadata could name any key under any id.

    Raises:
        Unauthentic: it is not a sound Ed25519 key.
    """
    public = sound_key(key)
    if public is None:
        raise Unauthentic("is not a sound Ed25519 key", place=key.keyid[:64], remedy="propose another")
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(public)).keyid
