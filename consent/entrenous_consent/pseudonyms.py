"""From an identifier to a handle, from a handle to the names under which things are kept.

All are HMAC-SHA256 (RFC 2104). The identifier is dropped once the handle exists; the handle is never stored.
Pseudonymous is not anonymous: whoever holds the keys and an identifier can find its records.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from entrenous_consent.errors import Malformed

__all__ = ["BUCKETS", "IDENTIFIER_LIMIT", "bucket", "handle_of", "keyed"]

BUCKETS = 10_000
"""Buckets of an experiment: one is a basis point of its visitors."""

IDENTIFIER_LIMIT = 512
"""The most UTF-8 bytes an identifier may have."""

_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))


def keyed(key: bytes) -> Callable[[bytes], bytes]:
    """Return HMAC-SHA256 under `key` as a function, with both hash states prepared once.

    Args:
        key: ours are 32 bytes.
    """
    padded = (sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner, outer = sha256(padded.translate(_IPAD)), sha256(padded.translate(_OPAD))

    def mac(message: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(message)
        second.update(first.digest())
        return second.digest()

    return mac


def handle_of(identifier: object, boundary: Callable[[bytes], bytes]) -> bytes:
    """Return the 32-byte handle of `identifier`.

    Raises:
        Malformed: not text, empty, or too long. The message does not repeat it.
    """
    if not isinstance(identifier, str) or not identifier:
        raise Malformed("expected text", place="identifier", remedy="give the visitor's own identifier")
    data = identifier.encode("utf-8", "surrogatepass")
    if len(data) > IDENTIFIER_LIMIT:
        raise Malformed(f"is longer than {IDENTIFIER_LIMIT} bytes", place="identifier", remedy="hash it first")
    return boundary(data)


def bucket(mac: Callable[[bytes], bytes], handle: bytes) -> int:
    """Return the visitor's bucket in `[0, BUCKETS)` for the experiment whose key `mac` holds.

    The first eight bytes, big-endian, scaled by multiplication: stable for the life of the experiment's key.
    """
    return int.from_bytes(mac(handle)[:8], "big") * BUCKETS >> 64
