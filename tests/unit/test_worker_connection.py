"""A connection of the public port: what drips or says nothing is closed, what is pipelined is never misread, and calls
that wait are bounded, whichever way they are answered."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn

from entrenous import Client
from entrenous_edge.app import Worker
from entrenous_edge.calls import Call, Reply, reply
from entrenous_edge.identity import Door
from entrenous_edge.metrics import Metrics
from entrenous_edge.protocol import Connection, close_slow
from entrenous_edge.public import Public

KEY = "pk_test_0123456789abcdef"
SLOW = 0.4
MOST_UNREAD = 64 << 20


class App:
    """Answers `/now` at once and `/later` when it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()

    def lane(self, path: bytes) -> Callable[[Call], Coroutine[Any, Any, Reply]] | None:
        return {b"/now": self.now, b"/later": self.later}.get(path)

    async def now(self, call: Call) -> Reply:
        return reply({"read": len(await call.read())})

    async def later(self, call: Call) -> Reply:
        await self.let.wait()
        return reply({"read": len(await call.read())})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def served(body: Callable[[App, int], Coroutine[Any, Any, None]]) -> None:
    """Run a test beside a server of its own."""

    async def run() -> None:
        app = App()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            config = uvicorn.Config(app, http=Connection, lifespan="off", log_level="critical", loop="asyncio")
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            closing = asyncio.create_task(close_slow(lambda: server.server_state.connections, SLOW))
            try:
                await asyncio.wait_for(body(app, listening.getsockname()[1]), 20)
            finally:
                closing.cancel()
                app.let.set()
                server.should_exit = True
                await serving

    asyncio.run(run())


def post(path: str, body: bytes = b"{}") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the other side closes."""
    try:
        return await reader.read(-1)
    except ConnectionError:
        return b"reset"


@pytest.mark.parametrize(
    "part",
    [b"", b"POST /now HTTP/1.1\r\nHo", b"POST /elsewhere HTTP/1.1\r\nHo", post("/now", b"x" * 50)[:-9]],
    ids=["nothing", "half a head", "half a head for ASGI", "half a body"],
)
def test_what_drips_and_what_says_nothing_is_closed(part: bytes):
    async def body(_: App, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(part)
        assert await asyncio.wait_for(rest(reader), 10 * SLOW) in (b"", b"reset")
        writer.close()

    served(body)


def test_one_that_waits_for_its_answer_is_not_closed():
    async def body(app: App, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/later"))
        await asyncio.sleep(3 * SLOW)
        app.let.set()
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
        writer.close()

    served(body)


def test_what_is_pipelined_behind_one_that_waits_is_never_half_read():
    """Its head came while the other waited, its body when that was over: the connection ends, and nothing else."""

    async def body(app: App, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        second = post("/now", b"x" * 50)
        writer.write(post("/later") + second[:-9])
        await asyncio.sleep(0.05)
        app.let.set()
        writer.write(second[-9:])
        got = await rest(reader)
        assert got.count(b"HTTP/1.1 ") == 1
        assert got.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in got
        writer.close()

    served(body)


def test_one_that_is_refused_behind_an_answer_of_the_same_turn_holds_up_nobody_else():
    """Its stream is ended before the answers of that turn are written: what can't be written is its own affair."""

    async def body(_: App, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/now") + b"POST /now HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n")
        got = await rest(reader)
        assert re.findall(rb"HTTP/1\.1 (\d+) ", got) == [b"200", b"431"]
        writer.close()
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post("/now"))
            assert (await asyncio.wait_for(reader.readuntil(b"}"), 5)).startswith(b"HTTP/1.1 200 ")
            writer.close()

    served(body)


def test_who_does_not_read_their_answers_is_read_no_more_and_then_closed():
    async def body(_: App, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        sent, call = 0, post("/now") * 100
        with suppress(ConnectionError, TimeoutError):
            while sent < MOST_UNREAD:
                writer.write(call)
                sent += len(call)
                await asyncio.wait_for(writer.drain(), 2 * SLOW)
        assert sent < MOST_UNREAD, "the worker goes on reading"
        for _ in range(100):
            if writer.transport.is_closing():
                break
            await asyncio.sleep(SLOW / 10)
        assert writer.transport.is_closing(), "the worker keeps it"

    served(body)


def test_calls_that_wait_are_bounded_on_both_ways():
    async def run() -> None:
        let = asyncio.Event()
        door = Door([KEY], None, (), lambda: 0)
        client = cast(Client, SimpleNamespace(bundle=None, policy=SimpleNamespace(version=1), stale_in=lambda: 1))
        app = Public(Worker(client, door, Metrics()), most=2)

        async def waits(_: Call) -> Reply:
            await let.wait()
            return reply({})

        lane = app.answering("/v1/events", waits)
        under_way = [asyncio.create_task(lane(Call({"headers": [], "method": "POST"}, body=b""))) for _ in range(2)]
        await asyncio.sleep(0)
        refused = await asyncio.wait_for(lane(Call({"headers": [], "method": "POST"}, body=b"")), 5)
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (503, "unavailable")
        assert (b"retry-after", b"1") in refused.headers
        assert [await status(app, path) for path in ("/v1/consent", "/livez")] == [503, 200]
        let.set()
        assert [one.status for one in await asyncio.gather(*under_way)] == [200, 200]
        assert await status(app, "/v1/consent") == 401, "there is room again"

    asyncio.run(run())


async def status(app: Public, path: str) -> int:
    answers: list[Any] = []
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        answers.append(message)

    await app(scope, receive, send)
    return int(answers[0]["status"])
