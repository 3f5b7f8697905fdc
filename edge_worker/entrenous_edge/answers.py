"""JSON out, and the one table of errors: what went wrong, as a status and a code that a program can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from entrenous import Outcome

__all__ = [
    "ENCODE",
    "PRIVATE",
    "STATUS",
    "Problem",
    "answer",
    "only",
    "outcome_of",
    "problem",
    "problem_of",
    "problem_table",
]

STATUS: Mapping[str, int] = {
    "malformed": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_media_type": 415,
    "too_many": 429,
    "headers_too_large": 431,
    "unavailable": 503,
    "fault": 500,
}
"""Every error's code and HTTP status."""

ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
PRIVATE = ((b"cache-control", b"private, no-store"), (b"content-type", b"application/json"))
"""Headers of every answer but a bundle's."""


class Problem(Exception):
    """A request that is refused. The message holds nothing that the caller sent.

    Args:
        code: one of `STATUS`. wait: seconds after which the same again makes sense; 0 says nothing of that.
    """

    def __init__(self, code: str, message: str, *, wait: int = 0) -> None:
        super().__init__(message)
        self.code, self.message, self.wait = code, message, wait or (code == "unavailable")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        return {"Retry-After": str(int(self.wait))} if self.wait else {}


def answer(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer that no cache keeps."""
    private = {"Cache-Control": "private, no-store", **(headers or {})}
    return Response(ENCODE(value).encode(), status, private, "application/json")


def problem(error: Problem) -> Response:
    """Return the answer to a request that is refused."""
    return answer(problem_table(error), status=error.status, headers=error.headers)


def problem_table(error: Problem) -> dict[str, Any]:
    """Return what a refusal says."""
    return {"error": {"code": error.code, "message": error.message}}


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
