"""HTTP/1.1 as uvicorn speaks it, with what an open port needs: a bound on headers, and a time for each call to arrive.

Calls that the application answers by itself (`Lane`) skip ASGI: no task is made and woken, and the answer is written at
once. That halves what a decision costs. Everything else goes uvicorn's way.

A client that stays sends the same head again and again. Byte for byte the same, at the same place, it means the same:
it is read once for a connection, and whatever differs in one byte goes to the parser.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from entrenous_edge.answers import PRIVATE, Problem
from entrenous_edge.calls import MOST_BYTES, Call, Reply, refusal

__all__ = ["HEADER_BYTES", "HEADER_LINES", "Connection", "Lane", "close_slow"]

HEADER_BYTES = 32 << 10
"""The most bytes of a request's line and headers."""
HEADER_LINES = 100
"""The most headers."""

_PER_HEADER = 4
_LINGER_SECONDS = 1.0
_MOST_KNOWN, _MOST_KNOWN_BYTES = 8, 2048
"""How many heads a connection remembers, and of what size."""
_HEAD_ENDS = b"\r\n\r\n"
_ELSEWHERE = {b"expect", b"origin", b"transfer-encoding", b"upgrade"}
"""Headers of calls that go uvicorn's way."""

Answer: TypeAlias = Callable[[Call], Coroutine[Any, Any, Reply]]


class Lane(Protocol):
    """An application that answers some calls by itself."""

    def lane(self, path: bytes) -> Answer | None:
        """Return what answers a POST to this path, None for ASGI. It never raises but for what ends the process."""


class _Known(NamedTuple):
    """A head that the parser took, what answers its calls, and one of them."""

    head: bytes
    answer: Answer
    call: Call


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._lane: Callable[[bytes], Answer | None] = getattr(self.config.app, "lane", _none)
        self._since = self.loop.time()  # when the call that is arriving began, or the last one ended
        self._arriving = False
        self._bytes, self._elsewhere = 0, False
        self._answer: Answer | None = None
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._busy = self._closing = self._ended = False
        self._whole: bytes | None = None  # what arrived, if it began where a call begins
        self._known: dict[int, _Known] = {}  # by the bytes of the call, head and body

    # Arriving

    def on_message_begin(self) -> None:
        """Begin a call."""
        super().on_message_begin()
        self._since, self._arriving, self._bytes, self._elsewhere = self.loop.time(), True, 0, False

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value) + _PER_HEADER)
        name = name.lower()
        self._elsewhere = self._elsewhere or name in _ELSEWHERE
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > HEADER_BYTES or len(self.headers) > HEADER_LINES:
            raise _TooLarge  # the parser gives up, and `send_400_response` is called

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or has more headers than are taken."""
        _write_ready()  # what came before it in this turn is answered before it
        if self._bytes <= HEADER_BYTES and len(self.headers or ()) <= HEADER_LINES:
            super().send_400_response(msg)
            return
        most = f"send at most {HEADER_LINES} headers, {HEADER_BYTES} bytes in all"
        self.transport.write(_written(refusal(Problem("headers_too_large", most)), last=True))
        # What is still on its way is read and dropped for a while: closed at once, the answer would be lost with it.
        self._ended = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        if self._ended:
            return
        known = self._known.get(len(data))
        if known is None or not data.startswith(known.head) or self._arriving or not self._free():
            self._whole = None if self._arriving else data
            super().data_received(data)
            self._whole = None
        else:
            self._unset_keepalive_if_required()
            self._run(known.answer, known.call.again(data[len(known.head) :]))

    def _free(self) -> bool:
        """Say whether every call before was answered."""
        return not (self._busy or self.pipeline) and (self.cycle is None or self.cycle.response_complete)

    def on_headers_complete(self) -> None:
        """Choose the way of a call."""
        if self._busy:  # pipelined behind one that waits: answered on another connection
            self._closing = True
            self._answer = _nothing
            return
        if (
            self._free()
            and not self._elsewhere
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
        ):
            self._answer = self._lane(self.url)
        if self._answer is None:
            super().on_headers_complete()
        else:
            self.scope["method"] = "POST"
            self._parts, self._body_bytes = [], 0

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._answer is None:
            super().on_body(body)
            return
        self._body_bytes += len(body)
        if self._body_bytes <= MOST_BYTES:
            self._parts.append(body)
        else:
            self._parts.clear()  # what is beyond is not kept; the call is refused once it is there

    def on_message_complete(self) -> None:
        """End a call's arrival, and answer what is answered here."""
        self._arriving = False
        answer, self._answer = self._answer, None
        if answer is None:
            super().on_message_complete()
        elif answer is not _nothing:
            body = None if self._body_bytes > MOST_BYTES else b"".join(self._parts)
            call = Call(cast("dict[str, Any]", self.scope), body=body)
            if self._whole is not None and body is not None:
                self._remember(self._whole, answer, call, len(body))
            self._run(answer, call)

    def _remember(self, whole: bytes, answer: Answer, call: Call, size: int) -> None:
        """Remember the head of a call that arrived by itself and in one piece."""
        ends = whole.find(_HEAD_ENDS) + len(_HEAD_ENDS)
        if ends + size == len(whole) and ends <= _MOST_KNOWN_BYTES:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[len(whole)] = _Known(whole[:ends], answer, call.again(b""))

    # Answering

    def _run(self, answer: Answer, call: Call) -> None:
        running = answer(call)
        try:
            waiting = running.send(None)
        except StopIteration as ended:
            self._write(ended.value)
            return
        self._busy = True
        task = self.loop.create_task(self._finish(running, waiting))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    async def _finish(self, running: Coroutine[Any, Any, Reply], waiting: Any) -> None:
        given = await _Rest(running, waiting)
        self._busy = False
        self._write(given)

    def _write(self, given: Reply) -> None:
        if self._ended or self.transport.is_closing():
            return
        self.server_state.total_requests += 1
        last = self._closing or not self.parser.should_keep_alive()
        self._since = self.loop.time()
        if not _READY:
            self.loop.call_soon(_write_ready)
        _READY.append((self.transport, _written(given, last=last), last))
        if self.flow.write_paused:  # who does not read answers is read no more; `close_slow` ends it if that lasts
            self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Go on: what was answered is read."""
        super().resume_writing()
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """End when the call under way, or on its way, is answered."""
        _write_ready()
        if self._busy or (self._arriving and self._answer is not None):
            self._closing = True
        else:
            super().shutdown()

    def overdue(self, arriving: float, idle: float) -> bool:
        """Say whether a call has been arriving, or none has come, since before these times of the loop."""
        if self._arriving:
            return self._since < arriving
        waits = self._busy or (self.cycle is not None and not self.cycle.response_complete)
        return not waits and self._since < idle


_READY: list[tuple[asyncio.Transport, bytes, bool]] = []
"""Answers of this turn of the loop. They are written at its end, together: to wake a reader for each costs more than to
make it."""


def _write_ready() -> None:
    answers = _READY.copy()
    _READY.clear()
    for transport, data, last in answers:
        with suppress(Exception):  # one that can't be written to is its own affair
            if not transport.is_closing():
                transport.write(data)
                if last:
                    transport.close()


class _TooLarge(Exception):
    """More headers than are taken."""


class _Rest:
    """What is left of a coroutine that was begun outside a task: what it waits for, then itself."""

    def __init__(self, running: Coroutine[Any, Any, Reply], waiting: Any) -> None:
        self._running, self._waiting = running, waiting

    def __await__(self) -> Generator[Any, Any, Reply]:
        waiting = self._waiting
        while True:
            step: Callable[[Any], Any] = self._running.send
            try:
                given = yield waiting
            except BaseException as error:
                step, given = self._running.throw, error
            try:
                waiting = step(given)
            except StopIteration as ended:
                return ended.value  # type: ignore[no-any-return]


def _none(_: bytes) -> None:
    return None


async def _nothing(_: Call) -> Reply:
    raise AssertionError("never run: its connection is closing")


_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


_PRIVATE = b"".join(b"%b: %b\r\n" % header for header in PRIVATE)


def _written(given: Reply, *, last: bool) -> bytes:
    status, headers, body = given
    lines = _PRIVATE if headers is PRIVATE else b"".join([b"%b: %b\r\n" % header for header in headers])
    ends = b"connection: close\r\n\r\n" if last else b"\r\n"
    return b"%b%bcontent-length: %d\r\n%b%b" % (_LINES[status], lines, len(body), ends, body)


async def close_slow(connections: Callable[[], set[Any]], seconds: float) -> None:
    """Close, again and again, connections whose call has been arriving for `seconds`, a head or a body that drips; and
    those where none has come for as long."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(seconds / 4)
        before = loop.time() - seconds
        for one in list(connections()):
            if isinstance(one, Connection) and one.overdue(before, before):
                with suppress(RuntimeError):
                    one.transport.abort()
