"""JSON out, and the one table of errors: what went wrong, as a status and a code that a program can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from entrenous import Outcome

__all__ = ["STATUS", "Problem", "answer", "only", "outcome_of", "problem", "problem_of"]

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


_CODES = {
    "unavailable": "unavailable",
    "malformed": "malformed",
    "bad_identifier": "malformed",
    "forbidden": "forbidden",
}


def problem_of(outcome: Outcome) -> Problem:
    """Return the refusal that an outcome that was not accepted comes to."""
    return Problem(_CODES.get(outcome.cause, "fault"), outcome.message or outcome.cause)


def only(body: Mapping[str, Any], *known: str) -> None:
    """Refuse a body with a key that is not `known`.

    Raises:
        Problem: `malformed`.
    """
    if not body.keys() <= set(known):
        raise Problem("malformed", f"the body has a key that is not known here; known: {', '.join(known)}")


def outcome_of(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as it is answered, without its data."""
    told: dict[str, Any] = {"accepted": outcome.accepted}
    if outcome.cause:
        told["cause"] = outcome.cause
    if outcome.message:
        told["message"] = outcome.message
    return told
