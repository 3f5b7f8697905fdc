"""A shop on one host, for tests: the packaged demonstration, real files, a clock that is set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from entrenous import Client, Config, demo
from entrenous_consent.keys import KeyProvider, MemoryKeyProvider

NOON = 1_790_000_000 // 86_400 * 86_400 + 12 * 3600
"""A fixed noon in 2026, UTC."""


@dataclass
class Clock:
    """A clock that stands where it is put."""

    now: int = NOON

    def __call__(self) -> int:
        return self.now


@dataclass
class Shop:
    """One host: a policy, a bundle, a store, keys, and as many clients as a test wants."""

    home: Path
    clock: Clock
    provider: KeyProvider = field(default_factory=MemoryKeyProvider)
    clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy, self.bundle = demo.write_files(self.home, self.clock())

    def open(self, **changes: object) -> Client:
        settings: dict[str, object] = {
            "policy": self.policy,
            "bundle": self.bundle,
            "state": self.home / "state",
            "keys": self.home / "keys",
            "key_provider": self.provider,
            "public_keys": demo.PUBLIC_KEYS,
            "clock": self.clock,
            "flush_seconds": 0,
        }
        client = Client.open(Config(**(settings | changes)))  # type: ignore[arg-type]
        self.clients.append(client)
        return client

    def files(self) -> dict[Path, bytes]:
        """Return the bytes of every file of store and keyring."""
        folders = [self.home / "state", self.home / "keys"]
        return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}
