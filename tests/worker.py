"""A real worker in a process of its own, for tests, and a client that speaks HTTP to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from entrenous import demo
from entrenous.tokens import make_token
from tests.shop import Shop

KEY = "pk_test_0123456789abcdef"
ADMIN = "admin-token-of-this-test"
TOKEN_KEY = b"k" * 32


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    data: bytes
    cookies: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Running:
    """A worker that runs: its ports, its process and what it wrote."""

    home: Path
    process: subprocess.Popen[str]
    port: int
    admin_port: int
    keys: Mapping[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {KEY}"})

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
        admin: bool = False,
        opened: bool = True,
    ) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.admin_port if admin else self.port, timeout=20)
        given = {"Authorization": f"Bearer {ADMIN}"} if admin else dict(self.keys) if opened else {}
        if body is not None or raw is not None:
            given["Content-Type"] = "application/json"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {**given, **(headers or {})})
            with connection.getresponse() as response:
                cookies = {}
                for name, value in response.getheaders():
                    if name.lower() == "set-cookie":
                        key, _, rest = value.partition("=")
                        cookies[key] = rest.partition(";")[0].strip('"')
                return Answer(response.status, dict(response.getheaders()), response.read(), cookies)
        finally:
            connection.close()

    def decide(self, visitor: str, headers: Mapping[str, str] | None = None, **context: Any) -> Any:
        body = {"decisions": ["promotion"], "visitor": visitor, "context": context}
        return self.ask("POST", "/v1/decide", body, headers).json["decisions"]["promotion"]

    def consent(self, visitor: str, choices: Mapping[str, bool]) -> Answer:
        return self.ask("POST", "/v1/consent", {"choices": choices}, self.token(visitor))

    def token(self, visitor: str, now: int | None = None) -> dict[str, str]:
        return token_of(visitor, now)

    def log(self) -> str:
        return (self.home / "worker.log").read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def token_of(visitor: str, now: int | None = None) -> dict[str, str]:
    """Return the header by which the shop's backend says who asks."""
    return {"Entrenous-Token": make_token(TOKEN_KEY, visitor, now=int(time.time()) if now is None else now)}


def configure(shop: Shop, **changes: Any) -> Path:
    """Publish the shop's drafts and write a worker's configuration; return its path."""
    shop.publish()
    home = shop.home
    for name, secret in (("admin.token", ADMIN.encode()), ("shop.key", TOKEN_KEY)):
        (home / name).write_bytes(secret)
        (home / name).chmod(0o600)
    settings: dict[str, Any] = {
        "format": 1,
        "source": "repository",
        "root": "root.json",
        "tenant": demo.TENANT,
        "bundle": demo.BUNDLE,
        "state": "edge-state",
        "keys": "edge-keys",
        "listen": "127.0.0.1:0",
        "admin": "127.0.0.1:0",
        "admin_token_file": "admin.token",
        "token_key_file": "shop.key",
        "publishable_keys": [KEY],
        "refresh_seconds": 0,
        "release_seconds": 0,
    }
    lines = [f"{key} = {_toml(value)}" for key, value in (settings | changes).items() if value is not None]
    path = home / "edge.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: Any) -> str:
    """Return a setting as TOML writes it: as JSON does, but for tables."""
    if not isinstance(value, Mapping):
        return json.dumps(value)
    return "{ " + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + " }"


@contextmanager
def running(shop: Shop, **changes: Any) -> Iterator[Running]:
    """Run a worker on a shop until the block ends."""
    path = configure(shop, **changes)
    command = [sys.executable, "-c", "import sys; from entrenous.cli import main; sys.exit(main())", "serve"]
    with started([*command, "--config", str(path)], shop.home) as worker:
        yield worker


@contextmanager
def started(command: Sequence[str], home: Path) -> Iterator[Running]:
    """Run a command that serves until the block ends; what it logs is in `worker.log`."""
    log_path = home / "worker.log"
    with log_path.open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=dict(os.environ))
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on "), log_path.read_text()
        public, admin = line.removeprefix("serving on ").strip().split(", admin on ")
        yield Running(home, process, int(public.rpartition(":")[2]), int(admin.rpartition(":")[2]))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
