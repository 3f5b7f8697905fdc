"""Where a repository's files come from: a directory, HTTPS, or memory. Everything is bounded, in bytes and in seconds.

A `Source` answers chunks of bytes for a relative name and raises only errors of ours. What comes is not trusted:
`verify` and python-tuf decide.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from entrenous.updates.deployment import Limits
from entrenous_consent.errors import Malformed, Missing, Unavailable
from entrenous_consent.files import reaching

__all__ = ["DirectorySource", "HttpSource", "Limits", "MemorySource", "Source"]

_CHUNK = 1 << 14
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Source(Protocol):
    """Where files come from."""

    def read(self, name: str, seconds: float) -> Iterator[bytes]:
        """Yield the bytes of `name`, a path relative to the repository, within `seconds`.

        Raises:
            Missing: there is no such file. Unavailable: anything else.
        """


class DirectorySource:
    """A repository in a directory: a USB stick, a mounted share, a test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str, seconds: float) -> Iterator[bytes]:
        """Yield the bytes of a file.

        Raises:
            Missing: it is not there. Unavailable: it can't be read, or lies outside the directory.
        """
        path = self._directory / name
        with reaching(path):
            if not path.resolve(strict=True).is_relative_to(self._directory.resolve()):
                raise Unavailable("leads out of the repository", place=name, remedy="ask the publisher")
            if not path.is_file():
                raise Unavailable("is no file", place=name, remedy="ask the publisher")
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk


class MemorySource:
    """A repository in memory, by relative name: the demonstration, a test."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, name: str, seconds: float) -> Iterator[bytes]:
        """Yield the bytes of a file.

        Raises:
            Missing: it is not there.
        """
        if name not in self._files:
            raise Missing("is not there", place=name, remedy="ask the publisher")
        yield self._files[name]


class HttpSource:
    """A repository behind HTTPS. Certificates are verified, nothing is followed, no proxy is asked.

    Args:
        url: the repository's address; `https`, or `http` on this very host.
        context: another trust in certificates than the system's.

    Raises:
        Malformed: the address has another scheme, a user, a query or a fragment.
    """

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if not plain and parts.scheme != "https":
            raise Malformed("is not https", place="source", remedy="serve the repository over TLS")
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Malformed("has no valid port", place="source", remedy="check the address") from error
        if not host or parts.username is not None or parts.query or parts.fragment:
            raise Malformed("holds more than a host and a path", place="source", remedy="leave users and queries out")
        self._host, self._port, self._path = host, port or (80 if plain else 443), parts.path.rstrip("/")
        self._tls = None if plain else context or ssl.create_default_context()

    def read(self, name: str, seconds: float) -> Iterator[bytes]:
        """Yield the body of one GET.

        Raises:
            Missing: 403, 404 or 410. Unavailable: any other answer but 200, a redirect, a broken or cut answer, or
                `seconds` are over, however the server spends them.
        """
        with _Watch(name, seconds) as watch:
            connection = HTTPConnection(self._host, self._port, timeout=seconds)
            try:
                connection.sock = self._connect(seconds, watch)
                path = quote(f"{self._path}/{name}", safe="/%")
                connection.request("GET", path, headers={"Accept-Encoding": "identity", "Connection": "close"})
                with connection.getresponse() as response:
                    _check_status(response.status, name)
                    yield from _body(response, name)
            finally:
                connection.close()

    def _connect(self, seconds: float, watch: _Watch) -> socket.socket:
        opened = socket.create_connection((self._host, self._port), timeout=seconds)
        try:
            watch.over(opened)
            if self._tls is not None:
                opened = self._tls.wrap_socket(opened, server_hostname=self._host, do_handshake_on_connect=False)
                watch.over(opened)
                opened.do_handshake()
        except BaseException:
            opened.close()
            raise
        return opened


class _Watch:
    """Shuts a socket when its time is over: a timeout of its own begins anew with every byte that trickles in."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._over = name, threading.Event()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(max(seconds, 0), self._shut)
        self._timer.daemon = True

    def over(self, watched: socket.socket) -> None:
        """Watch this socket from now on."""
        self._socket = watched
        if self._over.is_set():
            raise TimeoutError

    def _shut(self) -> None:
        self._over.set()
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS's own would take its state away

    def __enter__(self) -> _Watch:
        self._timer.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        late = self._over.is_set() and (error is None or isinstance(error, Exception))  # cut off may look complete
        if late or isinstance(error, TimeoutError):
            raise Unavailable("takes too long", place=self._name, remedy="try again later") from error
        if isinstance(error, (OSError, HTTPException, ValueError)):
            what = f"can't be fetched ({type(error).__name__})"
            raise Unavailable(what, place=self._name, remedy="check the address, the network, the time") from error


def _check_status(status: int, name: str) -> None:
    if status in (403, 404, 410):
        raise Missing("is not there", place=name, remedy="check the repository's address")
    if 300 <= status < 400:
        what = f"is answered with a redirect ({status})"
        raise Unavailable(what, place=name, remedy="configure the address it leads to, if you trust it")
    if status != 200:
        raise Unavailable(f"is answered with status {status}", place=name, remedy="try again later")


def _body(response: HTTPResponse, name: str) -> Iterator[bytes]:
    while chunk := response.read1(_CHUNK):
        yield chunk
    if response.length:
        raise Unavailable("ends early", place=name, remedy="try again later")
