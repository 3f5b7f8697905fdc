"""A client that keeps its pace: calls go out when they are due, whether or not the ones before were answered.

How long one took counts from when it was due, so that a server that stalls is seen to (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from time import perf_counter
from typing import cast

import uvloop

__all__ = ["Seen", "call", "pace"]

_TICK = 0.001
_LAST_SECONDS = 0.5
"""For the last answers to come in."""


@dataclass
class Seen:
    """What came of a run: seconds that each answer took, answers by status, and by what they said."""

    took: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def at(self, share: float) -> float:
        """Return the seconds within which this share was answered."""
        ordered = sorted(self.took)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def call(path: str, body: object, key: str) -> bytes:
    """Return the bytes of one POST."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data


def pace(
    port: int,
    calls: Iterable[bytes],
    *,
    rate: float,
    seconds: float,
    connections: int = 32,
    read: Callable[[bytes], str] = lambda _: "",
) -> Seen:
    """Send `calls`, again and again, at `rate` a second; return what was seen.

    Args:
        read: what an answer's body says, to be counted.
    """
    return uvloop.run(_pace(port, cycle(list(calls)), rate, seconds, connections, read))


async def _pace(
    port: int, calls: Iterator[bytes], rate: float, seconds: float, connections: int, read: Callable[[bytes], str]
) -> Seen:
    seen, free, made, loop = Seen(), deque[_Connection](), list[_Connection](), asyncio.get_running_loop()

    async def connect() -> None:
        _, connection = await loop.create_connection(lambda: _Connection(free, seen, read), "127.0.0.1", port)
        made.append(connection)

    await asyncio.gather(*(connect() for _ in range(connections)))
    start, due = perf_counter(), 0
    while (now := perf_counter()) < start + seconds:
        while free and start + due / rate <= now:
            connection = free.popleft()
            if connection.closed:
                await connect()
                continue
            connection.ask(next(calls), start + due / rate)
            due += 1
        await asyncio.sleep(_TICK)
    await asyncio.sleep(_LAST_SECONDS)
    for connection in made:
        connection.close()
    await asyncio.sleep(0)
    return seen


class _Connection(asyncio.Protocol):
    """One connection, with one call under way."""

    def __init__(self, free: deque[_Connection], seen: Seen, read: Callable[[bytes], str]) -> None:
        self._free, self._seen, self._read = free, seen, read
        self._since = 0.0
        self._got = b""
        self._waiting = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be free for a call."""
        self._transport = cast(asyncio.Transport, transport)
        self._free.append(self)

    def ask(self, data: bytes, since: float) -> None:
        """Send a call that was due at `since`."""
        self._since, self._got, self._waiting = since, b"", True
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take an answer's bytes; be free when it is whole."""
        self._got += data
        head, found, body = self._got.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._waiting = False
        self._seen.took.append(perf_counter() - self._since)
        self._seen.statuses[int(head[9:12])] += 1
        if word := self._read(body):
            self._seen.said[word] += 1
        self._free.append(self)

    def close(self) -> None:
        """Close it."""
        self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Count a call that was never answered."""
        self.closed = True
        self._seen.lost += self._waiting
