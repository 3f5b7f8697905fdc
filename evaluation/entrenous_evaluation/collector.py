"""The collector: takes reports over HTTP from hosts whose keys it knows, each once, each for its own tenant alone."""

from __future__ import annotations

import json
import logging
import time
import tomllib
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from entrenous.loop.reports import REPORT_LIMIT, read_report
from entrenous.messages.sending import CONTENT_TYPE, SIGNATURE, signed_content
from entrenous_consent.errors import Forbidden, Malformed, Missing, Refusal
from entrenous_consent.parsing import Table
from entrenous_evaluation.warehouse import Warehouse

__all__ = ["CollectorConfig", "Sender", "collect", "collector_app", "read_collector_config"]

_LOG = logging.getLogger("entrenous.collector")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A host that may send: its name here, whose reports, and its public key."""

    name: str
    tenant: str
    key: Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorConfig:
    """Where to listen, where reports go, and who may send."""

    host: str
    port: int
    database: Path
    senders: tuple[Sender, ...]


def read_collector_config(path: Path) -> CollectorConfig:
    """Return the configuration in the TOML file at `path`; paths are relative to it.

    Raises:
        Missing: there is no such file. Malformed: an unknown or missing key, or a value that can't be.
    """
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy="check --config")
    try:
        top = Table(tomllib.loads(path.read_text("utf-8")))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=path.name, remedy="mend that line") from error
    try:
        top.integer("format", least=1, most=1)
        host, _, port = top.text("listen").rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65_535:
            raise top.refuse("listen", "is not host:port", 'write it as "127.0.0.1:8090"')
        config = CollectorConfig(
            host=host,
            port=int(port),
            database=path.parent / top.text("database"),
            senders=tuple(_sender(table) for table in top.tables("senders")),
        )
        top.close()
    except Malformed as error:
        raise Malformed(error.what, place=f"{path.name}: {error.place}", remedy=error.remedy) from error
    return config


def _sender(table: Table) -> Sender:
    try:
        key = Ed25519PublicKey.from_public_bytes(b64decode(table.text("public_key"), validate=True))
    except (NotBase64, ValueError) as error:
        raise table.refuse("public_key", "is not an Ed25519 key in base64", "ask the worker: GET /sender") from error
    sender = Sender(name=table.name("name"), tenant=table.name("tenant"), key=key)
    table.close()
    return sender


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def collector_app(warehouse: Warehouse, senders: tuple[Sender, ...], clock: Callable[[], int]) -> Starlette:
    """Return the collector's application.

    Args:
        senders: who may send. clock: Unix seconds, for the time of reception.
    """

    async def receive(request: Request) -> Response:
        try:
            new = await _receive(request)
        except _Refused as error:
            return _answer({"error": {"code": error.code, "message": error.message}}, error.status)
        except Refusal as error:
            _LOG.error("a report could not be kept: %s", error.what)
            return _answer({"error": {"code": "unavailable", "message": "send it again"}}, 503)
        return _answer({"accepted": True, "new": new}, 201 if new else 200)

    async def _receive(request: Request) -> bool:
        if request.headers.get("content-type") != CONTENT_TYPE:
            raise _Refused(415, "unsupported_media_type", f"send {CONTENT_TYPE}")
        data = await _body(request)
        signers = [one for one in senders if _signed(one, data, request.headers.get(SIGNATURE.lower(), ""))]
        if not signers:
            raise _Refused(401, "unauthorized", "no known host signed these bytes")
        try:
            report = read_report(data)
        except Malformed as error:
            raise _Refused(400, "malformed", f"{error.place}: {error.what}") from error
        sender = next((one for one in signers if one.tenant == report.tenant), None)
        if sender is None:
            raise _Refused(403, "forbidden", "this host may not speak for that tenant")
        try:
            return await run_in_threadpool(lambda: warehouse.add(report, data, sender=sender.name, now=clock()))
        except Forbidden as error:
            raise _Refused(409, "conflict", error.what) from error

    async def alive(_: Request) -> Response:
        return _answer({"status": "alive"}, 200)

    return Starlette(routes=[Route("/v1/reports", receive, methods=["POST"]), Route("/livez", alive)])


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > REPORT_LIMIT:
            raise _Refused(413, "too_large", f"a report has at most {REPORT_LIMIT} bytes")
        parts.append(chunk)
    return b"".join(parts)


def _signed(sender: Sender, data: bytes, signature: str) -> bool:
    try:
        sender.key.verify(b64decode(signature, validate=True), signed_content(data))
    except (InvalidSignature, NotBase64, ValueError):
        return False
    return True


def _answer(value: Mapping[str, Any], status: int) -> Response:
    return Response(json.dumps(value), status, {"Cache-Control": "no-store"}, "application/json")


def collect(config: CollectorConfig, say: Callable[[str], None]) -> None:
    """Serve until the process is told to end.

    Args:
        say: told where it listens, once it does.

    Raises:
        Unavailable: the port is taken.
    """
    app = collector_app(Warehouse(config.database), config.senders, lambda: int(time.time()))
    settings = uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        access_log=False,
        log_level="warning",
        server_header=False,
        lifespan="off",
        limit_concurrency=128,
    )
    listening = settings.bind_socket()
    listening.listen(settings.backlog)  # who hears that it collects may connect at once
    say(f"collecting on http://{config.host}:{listening.getsockname()[1]}/v1/reports")
    uvicorn.Server(settings).run(sockets=[listening])
