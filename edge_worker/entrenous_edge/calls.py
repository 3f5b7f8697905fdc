"""One HTTP call as its handler reads it: headers found once, a bounded body, JSON out. No framework on this path.

Decisions and events are answered from here; everything else reads the same way through `Call(scope, receive)`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from starlette.requests import ClientDisconnect, Request, cookie_parser

from entrenous_edge.answers import ENCODE, PRIVATE, Problem, problem_table
from entrenous_edge.heads import Asked, Said, Scope, read_head

__all__ = ["MOST_BYTES", "Call", "Reply", "parse_json", "read_json", "refusal", "reply", "said_of"]

MOST_BYTES = 256 << 10
"""The most bytes a body may have."""

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Header: TypeAlias = tuple[bytes, bytes]


class Reply(NamedTuple):
    """An answer: status, headers beside its length, and bytes."""

    status: int
    headers: Sequence[Header]
    body: bytes


class Headers:
    """A call's headers, each name looked up once."""

    __slots__ = ("_first", "_raw")

    def __init__(self, raw: Sequence[Header]) -> None:
        self._raw, self._first = raw, dict(reversed(raw))

    def get(self, name: str, default: Any = None) -> Any:
        """Return the first header of that name, in Latin-1 as HTTP has it; `default` where there is none."""
        value = self._first.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __contains__(self, name: str) -> bool:
        return name.encode("latin-1") in self._first

    def getlist(self, name: str) -> list[str]:
        """Return all headers of that name."""
        key = name.encode("latin-1")
        if key not in self._first:
            return []
        return [value.decode("latin-1") for found, value in self._raw if found == key]


class Call:
    """One call.

    Args:
        scope: of ASGI. receive: ASGI's, where the body has yet to come. body: where it is here; None and without
            `receive`: it was larger than is taken. like: a call with the same head, which is not read again.
    """

    __slots__ = ("_body", "_receive", "_said", "headers", "scope")

    def __init__(
        self,
        scope: Scope,
        receive: Receive | None = None,
        *,
        body: bytes | None = None,
        like: Call | None = None,
    ) -> None:
        self.scope, self._receive, self._body = scope, receive, body
        self._said: Said | None = None
        if like is None:
            self.headers = Headers(scope["headers"])
        else:
            self.headers, self._said = like.headers, like.said

    def again(self, body: bytes) -> Call:
        """Return a call with the same head and another body."""
        return Call(self.scope, body=body, like=self)

    @property
    def said(self) -> Said:
        """What the head says of who sends it."""
        if self._said is None:
            self._said = read_head(self)
        return self._said

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies, empty for none."""
        sent = self.headers.getlist("cookie")
        return cookie_parser("; ".join(sent)) if sent else {}

    async def read(self, most: int = MOST_BYTES) -> bytes:
        """Return the body.

        Raises:
            Problem: it has more than `most` bytes; nothing beyond was read. ClientDisconnect: the client left.
        """
        if self._body is not None and len(self._body) <= most:
            return self._body
        stated = self.headers.get("content-length", "")
        if self._receive is None or (stated.isdecimal() and int(stated) > most):
            raise Problem("too_large", f"send at most {most} bytes")
        parts, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise Problem("too_large", f"send at most {most} bytes")
            parts.append(part)
            more = message.get("more_body", False)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def json(self) -> dict[str, Any]:
        """Return the JSON object in the body.

        Raises:
            Problem: another content type, too many bytes, or not one JSON object with each key once.
        """
        if not self.said.json:
            raise Problem("unsupported_media_type", "send application/json")
        return parse_json(await self.read())


def said_of(asked: Asked) -> Said:
    """Return what the head of a call says, read once where it can be."""
    return asked.said if isinstance(asked, Call) else read_head(asked)


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of a request of Starlette's; see `Call.json`."""
    return await Call(request.scope, request.receive).json()


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the JSON object in `data`.

    Raises:
        Problem: it is none.
    """
    try:
        text = data.decode("utf-8").strip(_SPACE)
        value, ends = _DECODE(text)
        if ends != len(text):
            raise ValueError("more than one value")
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", "the body is not one JSON value in UTF-8 with each key once") from error
    if not isinstance(value, dict):
        raise Problem("malformed", "the body is not a JSON object")
    return value


def reply(value: Any, *, status: int = 200, more: Sequence[Header] = ()) -> Reply:
    """Return a JSON answer that no cache keeps."""
    return Reply(status, (*PRIVATE, *more) if more else PRIVATE, ENCODE(value).encode())


def refusal(problem: Problem) -> Reply:
    """Return the answer to a call that is refused."""
    more = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    return reply(problem_table(problem), status=problem.status, more=more)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _no_constant(_: str) -> None:
    raise ValueError("not a finite number")


_DECODE = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant).raw_decode
_SPACE = " \t\n\r"
"""What may stand around a value (RFC 8259, section 2)."""
