"""JSON in, of a request of Starlette's: as `Call.json`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from entrenous_edge.calls import Call

__all__ = ["read_json"]


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in a request's body.

    Raises:
        Problem: another content type, too many bytes, or not one JSON object with each key once.
    """
    return await Call(request.scope, request.receive).json()
