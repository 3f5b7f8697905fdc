"""A shop's web server, for tests: the page of `examples/web`, beside a worker or in front of one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.javascript import HOME

__all__ = ["PAGE", "WebServer", "serving"]

PAGE = Path(__file__).parents[1] / "examples" / "web"
_KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
_PASSED_ON = ("Authorization", "Content-Type", "Cookie", "If-None-Match", "Origin", "Host", "Sec-GPC", "User-Agent")
_WEB_PROVIDER = HOME / "node_modules" / "@openfeature" / "ofrep-web-provider"


class WebServer(ThreadingHTTPServer):
    """Serves the page.

    Attributes:
        worker: the worker's port. behind: the worker answers under the page's own address.
    """

    daemon_threads = True
    worker = 0
    behind = False

    @property
    def origin(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving() -> Iterator[WebServer]:
    """Serve the page until the block ends."""
    with WebServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(("/v1/", "/ofrep/")):
            self.do_POST()
            return
        file = _file("index.html" if path == "/" else path[1:])
        if file is None:
            self._answer(404, b"", {})
            return
        data = file.read_bytes()
        if file.name == "index.html" and not self.server.behind:
            data = data.replace(b'data-worker=""', b'data-worker="http://127.0.0.1:%d"' % self.server.worker)
        self._answer(200, data, {"Content-Type": _KINDS[file.suffix]})

    def do_POST(self) -> None:
        """Pass a call on to the worker, as a web server in front of it does."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        sent = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        connection = HTTPConnection("127.0.0.1", self.server.worker, timeout=20)
        try:
            connection.request(self.command, self.path, body or None, sent)
            given = connection.getresponse()
            data = given.read()
            kept = [
                (name, value) for name, value in given.getheaders() if name.lower() not in ("content-length", "date")
            ]
        finally:
            connection.close()
        self.send_response(given.status)
        for name, value in kept:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *given: object) -> None:
        pass


def _file(name: str) -> Path | None:
    """Return the file of that name: the page's own, or of a package, as `npm install` would lay it beside the page."""
    if name.startswith("node_modules/"):
        nested = _WEB_PROVIDER / name  # where the package has a version of its own
        found = nested if nested.is_file() else HOME / name
    else:
        found = PAGE / name
    inside = (found.resolve().is_relative_to(root.resolve()) for root in (PAGE, HOME / "node_modules"))
    return found if any(inside) and found.is_file() and found.suffix in _KINDS else None
