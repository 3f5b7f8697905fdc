"""Real processes on one shop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrenous_consent.keys import FileKeyProvider
from tests.shop import Clock, Shop


class Peer:
    """Another process, asked over its pipes."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-m", "tests.e2e.peer", str(home)]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
        assert self._read() == "ready"

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, *request: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        assert self._process.wait(30) == 0


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A shop whose root key lies in a file, so that other processes can open it too."""
    clock = Clock()
    (tmp_path / "clock").write_text(str(clock()))
    shop = Shop(tmp_path, clock, provider=FileKeyProvider(tmp_path / "root.key"))
    shop.publish()
    yield shop
    for client in shop.clients:
        client.close()


@pytest.fixture
def peer(shop: Shop, client: object) -> Iterator[Peer]:
    peer = Peer(shop.home)
    yield peer
    peer.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes, where a worker of these tests keeps its state."""
    disk = tmp_path / "edge-state"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
