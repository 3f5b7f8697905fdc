"""Two servers in one process: the public port and the admin port, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from starlette.applications import Starlette

from entrenous import Client
from entrenous.config import system_clock
from entrenous_consent.errors import Unavailable
from entrenous_edge.admin import SetClock, admin_app
from entrenous_edge.app import Worker, public_app
from entrenous_edge.config import Address, EdgeConfig
from entrenous_edge.identity import Door
from entrenous_edge.metrics import Metrics

__all__ = ["serve"]

_DRAIN_SECONDS = 5
_SWITCH_SECONDS = 0.0005
"""How long a thread that writes may keep the interpreter from the one that answers, a tenth of Python's own."""


def serve(config: EdgeConfig, say: Callable[[str], None]) -> None:
    """Serve until the process is told to end; what is under way is finished, and what waits is written.

    Args:
        say: told where it listens, once it does.

    Raises:
        Refusal: the client can't be opened, or a port is taken.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    clock = SetClock() if config.clock_by_admin else None
    with (
        _bound(config.listen) as public,
        _bound(config.admin) as admin,
        Client.open(config.client(clock)) as client,
    ):
        door = Door(config.publishable_keys, config.token_key, config.allow_origins, clock or system_clock)
        worker = Worker(client, door, Metrics(), clock_by_admin=clock is not None)
        say(f"serving on {_spoken(public)}, admin on {_spoken(admin)}")
        operated = admin_app(worker, config.admin_token, clock, config.mappings)
        uvloop.run(_run([(public_app(worker, config.theme), public), (operated, admin)]))


def _bound(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Its protocol is named, so that Nagle's algorithm is turned off on what it accepts: 40 ms an answer otherwise.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address.host, address.port))
        opened.listen(256)
    except OSError as error:
        opened.close()
        place = f"{address.host}:{address.port}"
        raise Unavailable(
            "can't be listened on", place=place, remedy="choose another port, or stop who has it"
        ) from error
    return opened


def _spoken(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{host}:{port}"


async def _run(apps: list[tuple[Starlette, socket.socket]]) -> None:
    servers = [_Server(_settings(app)) for app, _ in apps]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(
        *(server.serve(sockets=[listening]) for server, (_, listening) in zip(servers, apps, strict=True))
    )


class _Server(uvicorn.Server):
    """Leaves signals to us: there are two of them in this process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


def _settings(app: Starlette) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        access_log=False,  # a path or an address in a log is a path or an address kept
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        h11_max_incomplete_event_size=32 << 10,
        limit_concurrency=512,
        lifespan="off",
    )
