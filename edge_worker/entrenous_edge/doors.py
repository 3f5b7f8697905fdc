"""What an examination says of the ways in and out: ports, who may call, the collector. A worker that runs is asked."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from entrenous_edge.config import Address, EdgeConfig
from entrenous_edge.findings import Finding, Findings, mend, ok, warn

__all__ = ["collector", "head", "openings", "ports"]

_SECONDS = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 — asked about, not bound
_PRINTED = ("pk_live_0123456789abcdef", "pk_test_0123456789abcdef")
"""Keys of our own documents: everybody has them."""


def ports(config: EdgeConfig) -> Findings:
    """Say of each port whether it can be had, or is a worker's that runs, and who can reach it."""
    if config.listen == config.admin and config.listen.port:
        yield mend("admin", "is the public port too", _spoken(config.admin), "choose another port")
        return
    yield _port("listen", config.listen, lambda: _public(config.listen))
    if not config.listen.local:
        remedy = "let nobody reach it but a proxy that speaks TLS (docs/operate.md)"
        yield warn("listen", "speaks plain HTTP beyond this host", _spoken(config.listen), remedy)
    yield _port("admin", config.admin, lambda: _operated(config.admin, config.admin_token))
    if not config.admin.local:
        remedy = "bind it to 127.0.0.1, or let a firewall or network policy admit the operator alone"
        yield warn("admin", "can be reached from beyond this host", _spoken(config.admin), remedy)


def _port(check: str, address: Address, running: Any) -> Finding:
    if address.port == 0:
        return warn(check, "takes any port that is free", _spoken(address), "name one, so that others find it")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as tried:
        try:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address.host, address.port))  # not listened on: a worker that starts meanwhile still gets it
        except PermissionError:
            return mend(check, "needs root", _spoken(address), "choose a port above 1023")
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                found: Finding = running()
                return found
            return mend(check, "can't be listened on", _spoken(address), "name an address of this host")
    return ok(check, "is free", _spoken(address))


def _public(address: Address) -> Finding:
    status, data = _asked(address, "/readyz", {})
    told = _told(data)
    if status == 200:
        what = f"is a worker's that runs: ready, policy {told.get('policy')}, bundle {told.get('bundle')}"
        return ok("listen", what, _spoken(address))
    if status == 503 and told.get("status") == "no_bundle":
        remedy = "see `publisher` and `bundle`; until then decisions answer the default"
        return mend("listen", "is a worker's that runs, and no bundle may serve", _spoken(address), remedy)
    return mend("listen", "is held by something else", _spoken(address), "choose another port, or stop who has it")


def _operated(address: Address, token: str) -> Finding:
    status, data = _asked(address, "/metrics", {})
    if status == 401 and b'"code":"unauthorized"' in data:  # it is a worker, and may see the token
        status, data = _asked(address, "/metrics", {"Authorization": f"Bearer {token}"})
    if status == 200 and b"entrenous_" in data:
        return ok("admin", "is a worker's that runs, and this token opens it", _spoken(address))
    if status == 401:
        remedy = "start the worker again, so that it reads admin_token_file anew"
        return mend("admin", "does not open with this token", _spoken(address), remedy)
    return mend("admin", "is held by something else", _spoken(address), "choose another port, or stop who has it")


def _asked(address: Address, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Return status and body of a GET; 0 and nothing where there is no such answer."""
    connection = HTTPConnection(_ANY.get(address.host, address.host), address.port, timeout=_SECONDS)
    try:
        connection.request("GET", path, headers=dict(headers))
        with connection.getresponse() as response:
            return response.status, response.read(1 << 20)
    except (OSError, HTTPException, ValueError):
        return 0, b""
    finally:
        connection.close()


def _told(data: bytes) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _spoken(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def openings(config: EdgeConfig) -> Findings:
    """Say of keys and origins what makes them none."""
    printed = [key for key in config.publishable_keys if key in _PRINTED]
    if printed:
        remedy = "make one: python3 -c 'import secrets; print(\"pk_live_\" + secrets.token_hex(16))'"
        yield warn("callers", "holds a key that the documents print", "publishable_keys", remedy)
    else:
        yield ok("callers", f"{len(config.publishable_keys)} publishable keys, of 16 characters or more")
    for number, origin in enumerate(config.allow_origins):
        place = f"allow_origins[{number}]"
        if origin != origin.lower() or re.search(r"^http://.*:80$|^https://.*:443$|[*?#@]", origin):
            remedy = "write it as the browser does: in lower case, without the usual port"
            yield mend("callers", "is what no browser sends", place, remedy)
        elif origin.startswith("http://") and not re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])(:|$)", origin):
            yield warn("callers", "is a page without TLS, where no cookie is kept", place, "serve that page by https")
    if config.clock_by_admin:
        remedy = 'leave it out, or write clock = "system", where visitors come'
        yield warn("clock", "stands where the admin port puts it", "clock", remedy)


def collector(config: EdgeConfig) -> Findings:
    """Say whether the collector answers at all."""
    if not config.collector:
        yield ok("collector", "none is configured: reports stay in the outbox")
        return
    answered = head(config.collector, _SECONDS)
    if answered is None:
        remedy = "nothing is lost: reports wait in the outbox; check address, network, certificate"
        yield warn("collector", "does not answer", config.collector, remedy)
    else:
        yield ok("collector", f"answers ({answered[0]})", config.collector)
    if not config.release_seconds:
        yield warn("collector", "is sent nothing by itself", "release_seconds", "set it above 0, or call POST /send")


def head(url: str, seconds: float) -> tuple[int, str] | None:
    """Return the status and the `Date` of a HEAD, None where nothing answers. Nothing is followed."""
    parts = urlsplit(url)
    kind = HTTPConnection if parts.scheme == "http" else HTTPSConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("HEAD", parts.path or "/", headers={"Connection": "close"})
        with connection.getresponse() as response:
            return response.status, response.headers.get("Date", "")
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
