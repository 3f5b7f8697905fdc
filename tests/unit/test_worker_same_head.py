"""A head that was read before is not read again, and nothing else about a connection changes by that.

Every stream is sent twice: to a connection as it is, and to one that remembers nothing. What they answer is the same,
whatever is sent and however it is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any, TypeVar

import pytest
import uvicorn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from entrenous_edge import protocol
from entrenous_edge.answers import Problem
from entrenous_edge.calls import MOST_BYTES, Call, Reply, refusal, reply
from entrenous_edge.protocol import Connection


class App:
    """Answers `/now` at once, `/later` after a turn of the loop, both with what they read; all else by ASGI."""

    def lane(self, path: bytes) -> Callable[[Call], Coroutine[Any, Any, Reply]] | None:
        return {b"/now": self.now, b"/later": self.later}.get(path)

    async def now(self, call: Call) -> Reply:
        try:
            await call.read()
        except Problem as error:
            return refusal(error)
        said = [call.headers.get("host", ""), call.headers.get("entrenous-visitor", "")]
        return reply({"now": sha256(await call.read()).hexdigest(), "said": said})

    async def later(self, call: Call) -> Reply:
        await asyncio.sleep(0)
        return reply({"later": sha256(await call.read()).hexdigest()})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        told = sha256(body).hexdigest().encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"64")]})
        await send({"type": "http.response.body", "body": told})


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.closed = b"", False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: Any) -> None:
        if not self.closed:
            self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        """Nothing here is ever too much."""

    def resume_reading(self) -> None:
        """Nothing here is ever too much."""


class Parsing(Connection):
    """A connection that counts the calls its parser saw."""

    parsed = 0

    def on_message_begin(self) -> None:
        self.parsed += 1
        super().on_message_begin()


class Forgetting(Parsing):
    """One that remembers no head."""

    def data_received(self, data: bytes) -> None:
        self._known.clear()
        super().data_received(data)


_Connection = TypeVar("_Connection", bound=Connection)


def connected(wire: Wire, kind: type[_Connection] = Connection) -> _Connection:  # type: ignore[assignment]
    """Return a connection over a wire, on the running loop."""
    config = uvicorn.Config(App(), lifespan="off", log_config=None, server_header=False, date_header=False)
    config.load()
    connection = kind(config, ServerState(), {})
    connection.connection_made(wire)
    return connection


def sent(kind: type[Parsing], parts: Sequence[bytes], *, wait: bool = True) -> tuple[bytes, bool, int]:
    """Return what a connection wrote to these parts, whether it closed, and how many calls its parser saw."""

    async def run() -> tuple[bytes, bool, int]:
        wire = Wire()
        connection = connected(wire, kind)
        for part in parts:
            if not wire.closed:
                connection.data_received(part)
            for _ in range(8 if wait else 0):
                await asyncio.sleep(0)
        for _ in range(30):
            await asyncio.sleep(0)
        seen = wire.sent, wire.closed, connection.parsed
        connection.connection_lost(None)
        return seen

    return asyncio.run(run())


def both(parts: Sequence[bytes], *, wait: bool = True) -> tuple[bytes, int]:
    """Return what is answered, and how many calls were parsed; it is what one that forgets answers."""
    answered, closed, parsed = sent(Parsing, parts, wait=wait)
    assert (answered, closed) == sent(Forgetting, parts, wait=wait)[:2]
    return answered, parsed


def post(path: str = "/now", body: bytes = b"{}", *lines: str, length: int | None = None) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", *lines, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def test_the_same_head_is_parsed_once():
    parts = [post(body=b"%d" % number) for number in (1, 2, 3, 10, 11, 4)]
    answered, parsed = both(parts)
    assert parsed == 2, "one for each length"
    for number in (1, 2, 3, 10, 11, 4):
        assert sha256(b"%d" % number).hexdigest().encode() in answered


def test_a_call_that_waits_and_one_by_asgi_in_between_change_nothing():
    parts = [post("/later"), post("/later"), post("/other"), post("/later"), post("/later"), post()]
    answered, parsed = both(parts)
    assert answered.count(b"HTTP/1.1 200 ") == len(parts)
    assert parsed == 3
    both(parts, wait=False)
    both([post(), post("/other"), post()], wait=False)
    both([post("/later"), post("/later"), post("/later")], wait=False)


@pytest.mark.parametrize("line", ["Entrenous-Visitor: b", "Entrenous-visitor: a", "Entrenous-Visitor:\ta"])
def test_a_head_that_differs_in_a_byte_is_read(line: str):
    first, other = post("/now", b"{}", "Entrenous-Visitor: a"), post("/now", b"{}", line)
    answered, parsed = both([first, other, first])
    assert parsed == 3
    assert answered.count(b'"said":["x","%b"]' % line[-1:].encode()) == (1 if line[-1] == "b" else 3)


def test_a_call_in_the_body_of_another_is_a_body():
    known = post()
    hidden = post("/now", known)
    cut = len(hidden) - len(known)
    answered, _ = both([known, hidden[:cut], known, known])
    assert answered.count(b"HTTP/1.1 200 ") == 3
    assert sha256(known).hexdigest().encode() in answered
    both([known, post("/other", b"", length=len(known)), known, known])


@pytest.mark.parametrize(
    "first",
    [
        b"\r\n" + post(),
        b"\r\n\r\n" + post(),
        post() + b"\r\n",
        post() + post(),
        post(body=b"\r\n\r\n" * 3),
        post().replace(b"\r\n", b"\n"),
        post().replace(b"\r\n\r\n", b"\n\n") + b"\r\n\r\n",
        post("/now", b"", "Connection: close"),
        post("/now", b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked").replace(b"Content-Length: 17\r\n", b""),
        post("/now", b"{}", "Content-Length: 2"),
        post("/now", b"{}", "Expect: 100-continue"),
        post("/now", b"{}", "Upgrade: websocket", "Connection: upgrade"),
        post().replace(b"HTTP/1.1", b"HTTP/1.0"),
        post("/now", b"x" * (MOST_BYTES + 1)),
    ],
)
def test_whatever_came_first_is_not_misread_when_it_comes_again(first: bytes):
    tail = post(body=b"tail")
    both([first, first, tail, first, tail])
    both([first, first, tail], wait=False)
    both([tail, first, tail, tail])
    both([tail, first[:1], tail, tail])
    both([tail, first[:-1], tail, tail])
    both([first + first, tail + first, first, tail])
    ends = first.find(b"\r\n\r\n") + 4
    both([first, first[:ends] + b"z" * (len(first) - ends), tail])


def test_what_began_with_the_end_of_another_call_is_no_head():
    half, rest = post(body=b"tail")[:-4], b"tail" + post()
    answered, _ = both([half, rest, rest])
    assert answered.count(b"HTTP/1.1 200 ") == 2
    assert answered.count(b"HTTP/1.1 400 ") == 1


def test_what_is_too_large_is_refused_each_time():
    large = post("/now", b"x" * (MOST_BYTES + 1))
    answered, _ = both([large, large, post()])
    assert answered.count(b"HTTP/1.1 413 ") == 2
    assert answered.count(b"HTTP/1.1 200 ") == 1


def test_a_known_head_ends_the_wait_for_the_next_call():
    """Or the connection would be closed under the call, as one that lies idle."""

    async def run() -> tuple[bool, bool]:
        connection = connected(Wire())
        for part in (post(), post("/other")):
            connection.data_received(part)
            for _ in range(8):
                await asyncio.sleep(0)
        waited = connection.timeout_keep_alive_task is not None
        connection.data_received(post())
        return waited, connection.timeout_keep_alive_task is not None

    assert asyncio.run(run()) == (True, False)


def test_only_so_many_heads_are_remembered():
    parts = [post(body=b"x" * size) for size in range(protocol._MOST_KNOWN + 3)]
    assert both(parts + parts)[1] > len(parts)


def test_a_large_head_is_read_each_time():
    parts = [post("/now", b"{}", f"X: {'x' * size}") for size in (protocol._MOST_KNOWN_BYTES - 200, 3000)]
    assert both([parts[0]] * 4)[1] == 1
    assert both([parts[1]] * 4)[1] == 4


def test_one_that_can_not_be_written_to_costs_no_other_its_answer():
    class Broken(Wire):
        def write(self, data: Any) -> None:
            raise RuntimeError("ended")

    async def run() -> list[bytes]:
        wires = [Broken(), Wire()]
        for wire in wires:
            connected(wire).data_received(post())
        for _ in range(4):
            await asyncio.sleep(0)
        return [wire.sent for wire in wires]

    broken, other = asyncio.run(run())
    assert broken == b""
    assert other.startswith(b"HTTP/1.1 200 ")
    assert protocol._READY == []


def test_who_reads_their_answers_again_is_read_again():
    class Reading(Wire):
        reads = True

        def pause_reading(self) -> None:
            self.reads = False

        def resume_reading(self) -> None:
            self.reads = True

    async def run() -> list[bool]:
        wire = Reading()
        connection = connected(wire)
        seen = []
        for paused in (False, True, False):
            if paused:
                connection.pause_writing()
            connection.data_received(post())
            seen.append(wire.reads)
            if paused:
                connection.resume_writing()
        return seen

    assert asyncio.run(run()) == [True, False, True]


def test_what_was_answered_in_the_turn_of_a_shutdown_is_written():
    async def run() -> bytes:
        wire = Wire()
        connection = connected(wire)
        connection.data_received(post())
        connection.shutdown()
        assert wire.closed
        return wire.sent

    assert asyncio.run(run()).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_ends_answers_what_it_knows_no_more():
    async def run() -> bytes:
        wire = Wire()
        connection = connected(wire)
        connection.data_received(post("/later"))
        for _ in range(5):
            await asyncio.sleep(0)
        connection.data_received(post("/later"))
        connection.shutdown()
        for _ in range(5):
            await asyncio.sleep(0)
        assert wire.closed
        return wire.sent

    answered = asyncio.run(run())
    assert answered.count(b"HTTP/1.1 200 ") == 2
    assert answered.count(b"connection: close") == 1


pieces = st.sampled_from(
    [
        *(post(body=b"%d" % number) for number in range(4)),
        post("/later"),
        post("/other"),
        post("/now", post()),
        post("/now", b"{}", "Connection: close"),
        b"\r\n",
        b"{}",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(pieces=st.lists(pieces, max_size=8), cuts=st.lists(st.integers(0, 600), max_size=6), wait=st.booleans())
@example(pieces=[post(), post("/now", post()), post()], cuts=[64, 64 + 65], wait=True)
def test_however_a_stream_is_made_and_cut(pieces: list[bytes], cuts: list[int], wait: bool):
    stream = b"".join(pieces)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    # The pieces themselves, then the same bytes cut anywhere.
    both([piece for piece in pieces if piece], wait=wait)
    both([stream[a:b] for a, b in pairwise(places)], wait=wait)
