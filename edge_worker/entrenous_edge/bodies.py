"""JSON in: bounded, a key once, finite numbers, no deeper than we read."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from entrenous_edge.answers import Problem

__all__ = ["MOST_BYTES", "read_json"]

MOST_BYTES = 256 << 10
"""The most bytes a body may have."""


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        Problem: another content type, too many bytes, or not one JSON object with each key once.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem("unsupported_media_type", "send application/json")
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BYTES:
            raise Problem("too_large", f"send at most {MOST_BYTES} bytes")
        parts.append(chunk)
    return parse_json(b"".join(parts))


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises:
        Problem: it is none.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", "the body is not one JSON value in UTF-8 with each key once") from error
    if not isinstance(value, dict):
        raise Problem("malformed", "the body is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _no_constant(_: str) -> None:
    raise ValueError("not a finite number")
