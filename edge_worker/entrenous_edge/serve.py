"""Two servers in one process: the public port and the admin port, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from entrenous import Client
from entrenous.config import system_clock
from entrenous_consent.errors import Refusal, Unavailable
from entrenous_edge.admin import SetClock, admin_app
from entrenous_edge.app import Worker
from entrenous_edge.config import Address, EdgeConfig
from entrenous_edge.identity import Door
from entrenous_edge.metrics import Metrics
from entrenous_edge.otlp import tell
from entrenous_edge.protocol import Connection, close_slow
from entrenous_edge.public import MOST_CALLS, public_app

__all__ = ["serve"]

_DRAIN_SECONDS = 5
_ENDING = (signal.SIGTERM, signal.SIGINT)
_SLOW_SECONDS = 20.0
"""How long a call may take to arrive."""
_SWITCH_SECONDS = 0.0005
"""How long a thread that writes may keep the interpreter from the one that answers, a tenth of Python's own."""


def serve(config: EdgeConfig, say: Callable[[str], None]) -> None:
    """Serve until the process is told to end; what is under way is finished, and what waits is written.

    Args:
        say: told where it listens, once it does.

    Raises:
        Refusal: the client can't be opened, or a port is taken.
    """
    with ExitStack() as opened:
        public = opened.enter_context(_bound(config.listen))
        admins = [
            opened.enter_context(_bound(replace(config.admin, port=config.admin.port and config.admin.port + i)))
            for i in range(config.processes)
        ]
        if config.processes == 1:
            _serve_one(config, public, admins[0], say)
        else:
            _serve_several(config, public, admins, say)


def _serve_one(config: EdgeConfig, public: socket.socket, admin: socket.socket, say: Callable[[str], None]) -> None:
    sys.setswitchinterval(_SWITCH_SECONDS)
    clock = SetClock() if config.clock_by_admin else None
    with Client.open(config.client(clock)) as client:
        door = Door(
            config.publishable_keys,
            config.token_key,
            config.allow_origins,
            clock or system_clock,
            most_per_second=config.most_per_second,
        )
        worker = Worker(client, door, Metrics(gauges=lambda: _gauges(client)), clock_by_admin=clock is not None)
        operated = admin_app(worker, config.admin_token, clock, config.mappings)
        gc.collect()
        gc.freeze()  # what serves from here on lives as long as the process: no collection has to walk it
        with ExitStack() as telling:
            if config.otlp:
                telling.callback(tell(worker.metrics, config.otlp, _spoken(admin)))
            say(f"serving on {_spoken(public, config)}, admin on {_spoken(admin)}")
            uvloop.run(_run(worker, config, [(public_app(worker, config.theme), public), (operated, admin)]))


def _serve_several(
    config: EdgeConfig, public: socket.socket, admins: list[socket.socket], say: Callable[[str], None]
) -> None:
    """Serve by processes that share the public port, and none of them the interpreter. One that ends ends them all:
    whoever runs this starts it again.

    Raises:
        Unavailable: one ended by itself.
    """
    context = multiprocessing.get_context("fork")
    ready = context.Queue()
    children = [
        context.Process(target=_serve_child, args=(config, public, admin, ready), name=f"worker {i}")
        for i, admin in enumerate(admins)
    ]
    told = threading.Event()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # one that comes before there is somebody to pass it on waits
    for child in children:
        child.start()
    for number in _ENDING:
        signal.signal(number, lambda *_: told.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    waiting = len(children)
    while not told.is_set() and all(child.is_alive() for child in children):
        if waiting:
            with suppress(queue.Empty):
                ready.get(timeout=0.1)
                waiting -= 1
                if not waiting:
                    listed = ", ".join(_spoken(admin) for admin in admins)
                    say(f"serving on {_spoken(public, config)}, admin on {listed}")
        else:
            told.wait(0.5)
    ended = [child.name for child in children if not child.is_alive()]
    for child in children:
        if child.is_alive() and child.pid is not None:
            os.kill(child.pid, signal.SIGTERM)
    for child in children:
        child.join()
    if ended and not told.is_set():
        raise Unavailable("ended by itself", place=", ".join(ended), remedy="see what it logged; start it again")


def _serve_child(config: EdgeConfig, public: socket.socket, admin: socket.socket, ready: Any) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    try:
        _serve_one(config, public, admin, ready.put)
    except Refusal as error:
        print(f"entrenous serve: {error}", file=sys.stderr)
        sys.exit(2)


def _gauges(client: Client) -> dict[str, float]:
    """Return what an operator watches of a client: versions, and how long it may go on without its publisher."""
    bundle = client.bundle
    return {
        "bundle_version": bundle.version if bundle else 0,
        "bundle_expires_timestamp_seconds": bundle.expires if bundle else 0,
        "policy_version": client.policy.version,
        "stale_in_seconds": client.stale_in(),
    }


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


def _spoken(listening: socket.socket, config: EdgeConfig | None = None) -> str:
    host, port = listening.getsockname()[:2]
    return f"{'https' if config and config.tls else 'http'}://{host}:{port}"


async def _run(worker: Worker, config: EdgeConfig, apps: list[tuple[Any, socket.socket]]) -> None:
    (public, _), *_ = apps
    servers = [_Server(_settings(app, config.tls if app is public else None)) for app, _ in apps]
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1, "writing"))

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    def drain() -> None:
        worker.draining = True
        loop.call_later(config.drain_seconds, stop)

    for number in _ENDING:
        loop.add_signal_handler(number, drain)
    connections = [server.server_state.connections for server in servers]
    slow = asyncio.create_task(close_slow(lambda: set().union(*connections), _SLOW_SECONDS))
    await asyncio.gather(
        *(server.serve(sockets=[listening]) for server, (_, listening) in zip(servers, apps, strict=True))
    )
    slow.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to us: there are two of them in this process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


def _settings(app: Any, tls: tuple[Path, Path] | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        access_log=False,  # a path or an address in a log is a path or an address kept
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        limit_concurrency=2 * MOST_CALLS,
        lifespan="off",
        log_config=None,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
