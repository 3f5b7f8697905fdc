"""JSON out, and the one table of errors: what went wrong, as a status and a code that a program can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

__all__ = ["STATUS", "Problem", "answer", "problem"]

STATUS: Mapping[str, int] = {
    "malformed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_media_type": 415,
    "unavailable": 503,
    "fault": 500,
}
"""Every error's code and HTTP status."""


class Problem(Exception):
    """A request that is refused. The message holds nothing that the caller sent."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer that no cache keeps."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    private = {"Cache-Control": "private, no-store", **(headers or {})}
    return Response(data, status, private, "application/json")


def problem(code: str, message: str) -> Response:
    """Return the answer to a request that is refused."""
    headers = {"Retry-After": "1"} if code == "unavailable" else {}
    return answer({"error": {"code": code, "message": message}}, status=STATUS[code], headers=headers)
