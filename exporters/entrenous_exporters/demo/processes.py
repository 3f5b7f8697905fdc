"""The demonstration's processes: a real worker and a real collector, and a connection to each that stays open."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from entrenous.tokens import make_token
from entrenous_consent.errors import Unavailable
from entrenous_consent.files import write_whole

__all__ = ["Edge", "Line", "collecting", "evaluated", "serving"]

_COMMAND = (sys.executable, "-c", "import sys; from entrenous.cli import main; sys.exit(main())")
_PATIENCE = 60


class Line:
    """One connection to a server on this host, kept open.

    Args:
        headers: sent with every request.
    """

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._port, self._headers = port, {"Content-Type": "application/json", **headers}
        self._connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON answer to a request.

        Raises:
            Unavailable: the server is gone, or refuses the demonstration's own request.
        """
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            self._connection.request(method, path, data, {**self._headers, **(headers or {})})
            response = self._connection.getresponse()
            answer = response.read()
        except OSError as error:
            raise Unavailable(
                f"is gone ({type(error).__name__})", place=path, remedy="see the log beside it"
            ) from error
        if response.status >= 400:
            raise Unavailable(f"answers {response.status}: {answer[:200].decode()}", place=path, remedy="see the log")
        return json.loads(answer)

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()


@dataclass(slots=True)
class Edge:
    """A worker that runs.

    Attributes:
        url: of its public port. admin_url, admin_token: what opens the other.
    """

    url: str
    admin_url: str
    admin_token: str
    _key: str
    _token_key: bytes
    _process: subprocess.Popen[str]
    lines: list[Line] = field(default_factory=list)

    def line(self) -> Line:
        """Return a connection to the public port, with a publishable key."""
        self.lines.append(Line(_port(self.url), {"Authorization": f"Bearer {self._key}"}))
        return self.lines[-1]

    def admin(self) -> Line:
        """Return a connection to the admin port."""
        self.lines.append(Line(_port(self.admin_url), {"Authorization": f"Bearer {self.admin_token}"}))
        return self.lines[-1]

    def signed_in(self, household: str, now: int) -> dict[str, str]:
        """Return the header that the shop's backend would sign for who is signed in."""
        return {"Entrenous-Token": make_token(self._token_key, household, now=now)}

    def wait(self) -> None:
        """Leave it running until it is stopped from outside."""
        self._process.wait()


@contextmanager
def serving(home: Path, *, tenant: str, bundle: str, collector: str) -> Iterator[Edge]:
    """Run a worker on what is published in `home`, its clock set from its admin port, until the block ends.

    Args:
        home: holds `repository`; state, keys, secrets and log go there. collector: the address of one.

    Raises:
        Unavailable: it does not come up.
    """
    admin, publishable, shared = secrets.token_hex(24), f"pk_demo_{secrets.token_hex(12)}", secrets.token_bytes(32)
    write_whole(home / "admin.token", admin.encode())
    write_whole(home / "shop.key", shared)
    settings = {
        "format": 1,
        "source": "repository",
        "root": "repository/metadata/1.root.json",
        "tenant": tenant,
        "bundle": bundle,
        "state": "state",
        "keys": "keys",
        "collector": collector,
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "admin_token_file": "admin.token",
        "token_key_file": "shop.key",
        "publishable_keys": [publishable],
        "clock": "admin",
        "refresh_seconds": 0,
        "release_seconds": 0,
    }
    write_whole(home / "edge.toml", _toml(settings).encode())
    with _running(("serve", "--config", str(home / "edge.toml")), home / "worker.log", "serving on ") as (
        said,
        process,
    ):
        url, _, admin_url = said.partition(", admin on ")
        edge = Edge(url, admin_url, admin, publishable, shared, process)
        try:
            yield edge
        finally:
            for line in edge.lines:
                line.close()


@contextmanager
def collecting(home: Path, *, tenant: str, public_key: str) -> Iterator[str]:
    """Run a collector that knows one sender, until the block ends; yield its address.

    Raises:
        Unavailable: it does not come up.
    """
    sender = {"name": "edge", "tenant": tenant, "public_key": public_key}
    text = _toml({"format": 1, "listen": "127.0.0.1:0", "database": "reports.duckdb"}) + "[[senders]]\n" + _toml(sender)
    write_whole(home / "collect.toml", text.encode())
    command = ("collect", "--config", str(home / "collect.toml"))
    with _running(command, home / "collector.log", "collecting on ") as (said, _):
        yield said


def evaluated(home: Path, *, simulated: str) -> tuple[str, dict[str, Any]]:
    """Run the evaluation on what was collected; return what it prints, and its answer.

    Raises:
        Unavailable: it fails.
    """
    answer, page = home / "answer.json", home / "dashboard.html"
    options = ["--database", str(home / "reports.duckdb"), "--costs", str(home / "costs.toml")]
    options += ["--json", str(answer), "--html", str(page), "--simulated", simulated]
    wide = {**os.environ, "COLUMNS": "180"}
    run = subprocess.run([*_COMMAND, "evaluate", *options], capture_output=True, text=True, env=wide)  # noqa: S603
    if run.returncode:
        raise Unavailable(run.stderr.strip(), place="evaluate", remedy="see what was collected")
    return run.stdout, json.loads(answer.read_text())


@contextmanager
def _running(arguments: Sequence[str], log: Path, begins: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with log.open("a") as kept:
        process = subprocess.Popen([*_COMMAND, *arguments], stdout=subprocess.PIPE, stderr=kept, text=True)  # noqa: S603
    assert process.stdout is not None
    try:
        said = process.stdout.readline().strip()
        if not said.startswith(begins):
            tail = log.read_text()[-300:].strip()
            raise Unavailable(f"does not come up: {tail}", place=arguments[0], remedy=f"see {log.name}")
        yield said.removeprefix(begins), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()


def _toml(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
