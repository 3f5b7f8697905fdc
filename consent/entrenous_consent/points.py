"""Ed25519 public keys that may be trusted at all: canonical points of the curve whose order is not small.

Libraries verify under any 32 bytes. Under a point of small order anybody can sign (RFC 8032, section 5.1).
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["sound_point"]

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_Y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})
"""The y of all points whose order divides 8."""


@lru_cache(maxsize=256)
def sound_point(public: bytes) -> bool:
    """Say whether 32 bytes are a canonical encoding of a point on the curve that is not of small order (RFC 8032,
    5.1.3). A poll sees the same few keys again."""
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    if y >= _P or y in _SMALL:
        return False
    squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return pow(squared, (_P - 1) // 2, _P) == 1
