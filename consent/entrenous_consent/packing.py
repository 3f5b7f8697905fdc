"""msgpack, strictly: one encoding for one value, bounded, nothing left over.

Whatever we sign, seal or hash is packed here, so that equal values have equal bytes.
"""

from __future__ import annotations

from typing import Any

import msgpack

from entrenous_consent.errors import Malformed

__all__ = ["pack", "unpack"]


def pack(value: Any) -> bytes:
    """Return the one msgpack encoding of `value` (keys in the order given)."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def _distinct(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def unpack(data: bytes, *, place: str, longest: int) -> Any:
    """Return the value that `data` encodes.

    Args:
        data: msgpack bytes from anywhere.
        place: what these bytes are, for the error.
        longest: the most bytes that may be read.

    Raises:
        Malformed: too long, cut short, with bytes left over, a key twice, or not in its one encoding.
    """
    if len(data) > longest:
        raise Malformed(f"is longer than {longest} bytes", place=place, remedy="fetch or build it again")
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=_distinct)
        canonical = pack(value) == data
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        msgpack.exceptions.UnpackException,
    ) as error:
        raise Malformed("is not well-formed msgpack", place=place, remedy="fetch or build it again") from error
    if not canonical:
        raise Malformed("is not in its one encoding", place=place, remedy="build it with this version's tools")
    return value
