"""A shop on one host, for tests: a signed repository, real files, clocks that are set.

`Shop.policy` and `Shop.bundle` are drafts on disk, the packaged demonstration's to begin with. A test changes them as
it likes; `open` and `publish` sign what they hold, under a newer version where those bytes are new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from entrenous import Client, Config, Deployment, demo
from entrenous.bundle import encode_bundle, read_bundle
from entrenous_consent.errors import Refusal
from entrenous_consent.keys import KeyProvider, MemoryKeyProvider

NOON = 1_790_000_000 // 86_400 * 86_400 + 12 * 3600
"""A fixed noon in 2026, UTC."""

DAY = 86_400
POLICY_PATH, BUNDLE_PATH = f"policies/{demo.TENANT}", f"bundles/{demo.BUNDLE}"
_SIGNED_FOR = 3650 * DAY

Targets = tuple[tuple[str, tuple[int, bytes]], ...]


@dataclass
class Clock:
    """A clock that stands where it is put."""

    now: int = NOON

    def __call__(self) -> int:
        return self.now


@cache
def _signers() -> Mapping[str, list[Any]]:
    from securesystemslib.signer import CryptoSigner

    from entrenous.updates.layout import OFFLINE_THRESHOLD, TOP
    from entrenous.updates.verify import DELEGATIONS

    return {
        role: [CryptoSigner.generate_ed25519() for _ in range(OFFLINE_THRESHOLD if role in ("root", "targets") else 1)]
        for role in (*TOP, *DELEGATIONS)
    }


@cache
def signed(targets: Targets, version: int = 1, lasting: int = _SIGNED_FOR) -> dict[str, bytes]:
    """Return a repository's files; `lasting` seconds from NOON."""
    from entrenous.updates.layout import repository_files

    ends = datetime.fromtimestamp(NOON + lasting, UTC)
    root = datetime.fromtimestamp(NOON + _SIGNED_FOR, UTC)
    return repository_files(_signers(), dict(targets), lambda role: root if role == "root" else ends, version=version)


@cache
def _packaged(now: int) -> tuple[bytes, bytes]:
    return demo.policy_bytes(), demo.bundle_bytes(now)


@dataclass
class Shop:
    """One host: a repository, a store, keys, and as many clients as a test wants.

    Attributes:
        clock: of events and decisions. updates_clock: of the updater; it stands still while the other leaps, unless a
            test moves it too.
        lasting: for how many seconds from NOON what is signed next is good.
    """

    home: Path
    clock: Clock
    provider: KeyProvider = field(default_factory=MemoryKeyProvider)
    updates_clock: Clock = field(default_factory=Clock)
    clients: list[Client] = field(default_factory=list)
    lasting: int = _SIGNED_FOR

    def __post_init__(self) -> None:
        self.policy, self.bundle = self.home / "policy.toml", self.home / "bundle.msgpack"
        self.repository = self.home / "repository"
        self.shown: dict[str, tuple[int, bytes]] = {}
        self.version = 0
        self._drafts: dict[str, bytes] = {}
        policy, bundle = _packaged(self.clock())
        self.policy.write_bytes(policy)
        self.bundle.write_bytes(bundle)

    # The publisher

    def publish(self, *, again: bool = False) -> None:
        """Sign and show the drafts, as newer versions where they changed; `again`: though nothing changed."""
        drafts = {POLICY_PATH: self.policy.read_bytes(), BUNDLE_PATH: self.bundle.read_bytes()}
        if drafts == self._drafts and not again:
            return
        for path, draft in drafts.items():
            if draft != self._drafts.get(path):
                self.shown[path] = _above(path, draft, self.shown[path][0] if path in self.shown else 0)
        self._drafts = drafts
        self.show()

    def show(self) -> None:
        """Sign what is listed, one version on, and lay it out."""
        self.version += 1
        files = signed(tuple(sorted(self.shown.items())), self.version, self.lasting)
        (self.home / "root.json").write_bytes(files["metadata/1.root.json"])
        for name, data in sorted(files.items(), key=lambda file: file[0] == "metadata/timestamp.json"):
            path = self.repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.new")
            partial.write_bytes(data)
            partial.replace(path)

    def release(self, *, policy: int = 0, bundle: int = 0, without: str = "") -> None:
        """Show a newer policy or bundle that says what the one before did.

        Args:
            policy, bundle: versions, 0 for none newer. without: a feature rule that the policy loses.
        """
        self.publish()
        if policy:
            text = self.shown[POLICY_PATH][1].decode()
            if without:
                rules = text.split("[[features]]\n")
                text = "[[features]]\n".join(rule for rule in rules if not rule.startswith(f'name = "{without}"'))
            self.shown[POLICY_PATH] = policy, _policy_as(policy, text)
        if bundle:
            read = read_bundle(self.shown[BUNDLE_PATH][1])
            data = encode_bundle(replace(read.manifest, version=bundle), read.models)
            self.shown[BUNDLE_PATH] = bundle, data
        self.show()

    # The runtime

    @property
    def deployment(self) -> Deployment:
        return Deployment(root=(self.home / "root.json").read_bytes(), tenant=demo.TENANT, bundle=demo.BUNDLE)

    def settings(self) -> dict[str, object]:
        return {
            "source": self.repository,
            "deployment": self.deployment,
            "state": self.home / "state",
            "keys": self.home / "keys",
            "key_provider": self.provider,
            "public_keys": demo.PUBLIC_KEYS,
            "clock": self.clock,
            "updates_clock": self.updates_clock,
            "flush_seconds": 0,
            "refresh_seconds": 0,
        }

    def open(self, **changes: object) -> Client:
        """Publish the drafts, and open a client that took them: what is refused, is raised."""
        self.publish()
        client = self.open_as_is(**changes)
        if client.refused is not None:
            raise client.refused
        return client

    def open_as_is(self, **changes: object) -> Client:
        """Open a client on what is shown, and be content with what serves."""
        client = Client.open(Config(**(self.settings() | changes)))  # type: ignore[arg-type]
        self.clients.append(client)
        return client

    def files(self) -> dict[Path, bytes]:
        """Return the bytes of every file of store and keyring."""
        folders = [self.home / "state", self.home / "keys"]
        return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def _above(path: str, draft: bytes, shown: int) -> tuple[int, bytes]:
    """Return a draft with its version, raised above the one that is shown; one that does not read stays as it is."""
    try:
        if path == POLICY_PATH:
            said = re.search(r"^version = (\d+)$", draft.decode(), re.MULTILINE)
            if said is None:
                raise ValueError("a policy without a version")
            raised = max(int(said.group(1)), shown + 1)
            return raised, _policy_as(raised, draft.decode())
        read = read_bundle(draft)
        if shown == 0:
            return read.manifest.version, draft
        version = max(read.manifest.version, shown + 1)
        return version, encode_bundle(replace(read.manifest, version=version), read.models)
    except Refusal:
        return shown + 1, draft


def _policy_as(version: int, text: str) -> bytes:
    return re.sub(r"^version = \d+$", f"version = {version}", text, count=1, flags=re.MULTILINE).encode()
