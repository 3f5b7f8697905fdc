"""Signing keys on disk: one Ed25519 key a file, one directory a role, so that roles can lie on different machines.

A key is PEM (PKCS#8, RFC 5958), readable by its owner only. `root`, `targets`, `models` and `privacy` belong offline,
each with its own person; `snapshot` and `timestamp` sit with the machine that publishes.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from entrenous_consent._files import reaching
from entrenous_consent.errors import Forbidden, Malformed, Missing, Unavailable
from entrenous_consent.keys import write_whole
from entrenous_consent.parsing import KEY

__all__ = ["ROLES", "load_key", "load_keys", "make_key"]

ROLES = ("root", "targets", "snapshot", "timestamp", "models", "privacy")
"""Who signs: the four roles of TUF and the two that are delegated."""

_KEY_LIMIT = 4096


def make_key(directory: Path, role: str, name: str) -> CryptoSigner:
    """Make a key, write it to `<directory>/<role>/<name>.pem`, and return what signs with it.

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
    with reaching(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            raise Forbidden("is already there", place=str(path), remedy="choose another name; keys are not overwritten")
        signer = CryptoSigner.generate_ed25519()
        write_whole(path, signer.private_bytes)
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
