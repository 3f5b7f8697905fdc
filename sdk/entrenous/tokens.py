"""Visitor tokens: the shop's backend says, for a few minutes, who is signed in.

`v1.<payload>.<mac>`: payload is base64url of `{"sub": identifier, "exp": Unix seconds}`, mac is base64url of
HMAC-SHA256 under a key that the shop and the worker share, over everything before it. It travels in a header.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from entrenous_consent.errors import Malformed, Unauthentic

__all__ = ["LONGEST_SECONDS", "check_token", "make_token"]

LONGEST_SECONDS = 3600
"""The most seconds a token may last."""

_LIMIT = 2048
_VERSION = "v1"


def make_token(key: bytes, identifier: str, *, now: int, seconds: int = 600) -> str:
    """Return a token for `identifier` that lasts `seconds` from `now` (Unix seconds).

    Raises:
        Malformed: it would last longer than `LONGEST_SECONDS`, or the key has fewer than 32 bytes.
    """
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise Malformed(f"lasts 1..{LONGEST_SECONDS} seconds", place="token", remedy="ask for less")
    payload = _encode(json.dumps({"sub": identifier, "exp": now + seconds}).encode())
    return f"{_VERSION}.{payload}.{_mac(key, payload)}"


def check_token(key: bytes, token: str, *, now: int) -> str:
    """Return the identifier that a token stands for.

    Raises:
        Unauthentic: not a token of this key, or expired. The message does not repeat it.
    """
    parts = token.split(".") if len(token) <= _LIMIT else []
    if (
        len(parts) != 3
        or parts[0] != _VERSION
        or not hmac.compare_digest(_mac(key, parts[1]).encode(), parts[2].encode("utf-8", "replace"))
    ):
        raise _refused("is not signed by this shop")
    try:
        payload = json.loads(_decode(parts[1]))
        identifier, expires = payload["sub"], payload["exp"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refused("is not a token") from error
    if not isinstance(identifier, str) or type(expires) is not int:
        raise _refused("is not a token")
    if not now < expires <= now + LONGEST_SECONDS:
        raise _refused("has expired, or lasts too long")
    return identifier


def _mac(key: bytes, payload: str) -> str:
    if len(key) < 32:
        raise Malformed("has fewer than 32 bytes", place="token key", remedy="make one with 32 random bytes")
    return _encode(hmac.digest(key, f"{_VERSION}.{payload}".encode("utf-8", "replace"), sha256))


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _refused(what: str) -> Unauthentic:
    return Unauthentic(what, place="token", remedy="have the shop's backend sign a new one")
