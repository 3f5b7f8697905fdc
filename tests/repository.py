"""A publisher and a runtime, for tests: a signed repository in a directory, and the state that refreshes from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.updates.fetch import DirectorySource, Limits, Source
from entrenous.updates.refresh import Deployment, refresh
from entrenous.updates.retained import Found, State, found, read_state
from entrenous_consent.errors import Refusal
from entrenous_exporters.publish import Repository
from tests.shop import NOON

DAY = 86_400
TENANT, BUNDLE = "demo_shop", "demo_promotions"
POLICY_PATH, BUNDLE_PATH = f"policies/{TENANT}", f"bundles/{BUNDLE}"
KINDS: Mapping[str, type[Signed]] = {"root": Root, "snapshot": Snapshot, "timestamp": Timestamp}
_PACKAGED = files("entrenous.demo")


@cache
def policy_bytes(version: int = 1, *, without: str = "", tenant: str = TENANT) -> bytes:
    """Return the packaged policy under another version; `without` names a feature rule to leave out."""
    text = _PACKAGED.joinpath("policy.toml").read_text("utf-8")
    text = text.replace("\nversion = 1\n", f"\nversion = {version}\n", 1).replace(f'"{TENANT}"', f'"{tenant}"', 1)
    if without:
        blocks = text.split("[[features]]\n")
        text = "[[features]]\n".join(block for block in blocks if not block.startswith(f'name = "{without}"'))
    return text.encode()


@cache
def bundle_bytes(
    version: int = 1, *, name: str = BUNDLE, expires: int = NOON + 300 * DAY, retention: int | None = None
) -> bytes:
    """Return the packaged bundle under another version, name or expiry; `retention` days for every kept feature."""
    shipped = read_bundle(_PACKAGED.joinpath("bundle.msgpack").read_bytes())
    features = shipped.manifest.features
    if retention is not None:
        features = tuple(replace(f, retention_days=retention) if f.retention_days else f for f in features)
    manifest = replace(
        shipped.manifest, version=version, name=name, created=NOON - DAY, expires=expires, features=features
    )
    return encode_bundle(manifest, shipped.models)


@cache
def signers() -> Mapping[str, tuple[CryptoSigner, ...]]:
    """Return fixed holders: two for `root` and `targets`, one for each other role."""
    roles = ("root", "targets", "snapshot", "timestamp", "models", "privacy")
    return {
        role: tuple(CryptoSigner.generate_ed25519() for _ in range(2 if role in ("root", "targets") else 1))
        for role in roles
    }


@dataclass
class Publisher:
    """The central side, with every key at hand: for honest steps, and for what a thief of some keys could do."""

    directory: Path
    now: int = NOON
    keys: dict[str, tuple[Signer, ...]] = field(default_factory=lambda: dict(signers()))
    forged: bool = False

    def __post_init__(self) -> None:
        self.repository = Repository(self.directory)
        if not self.directory.exists():
            self.repository = Repository.create(self.directory, self.keys, now=self.now)
        self.root = self.repository.trusted_root()

    def policy(self, version: int = 1, **kinds: Any) -> None:
        self.repository.add_policy(policy_bytes(version, **kinds), self.keys["privacy"], now=self.now)

    def bundle(self, version: int = 1, **kinds: Any) -> None:
        data = bundle_bytes(version, **kinds)
        self.repository.add_bundle(data, self.keys["models"], tenant=TENANT, now=self.now, research=True)

    def publish(self) -> None:
        """Show what is signed; after a forgery as a thief of the online keys would, who checks nothing."""
        if self.forged:
            return self.show()
        return self.repository.publish(self.keys["snapshot"], self.keys["timestamp"], now=self.now)

    def show(self) -> None:
        """Sign a snapshot and a timestamp over the newest metadata, whatever it is."""
        meta = {}
        for role in ("targets", "models", "privacy"):
            data = self.repository.shelf.read(role)
            meta[f"{role}.json"] = meta_of(data, Metadata[Any].from_bytes(data).signed.version)
        shelf, ends = self.repository.shelf, self.repository.lifetimes.end
        signed = Snapshot(shelf.next("snapshot"), expires=ends("snapshot", self.now), meta=meta)
        self.write("snapshot", signed, self.keys["snapshot"])
        self.stamp()

    def stamp(self) -> None:
        """Sign a timestamp over the newest snapshot, whatever it is."""
        data = self.repository.shelf.read("snapshot")
        meta = meta_of(data, Metadata[Any].from_bytes(data).signed.version)
        shelf, ends = self.repository.shelf, self.repository.lifetimes.end
        stamp = Timestamp(shelf.next("timestamp"), expires=ends("timestamp", self.now), snapshot_meta=meta)
        self.write("timestamp", stamp, self.keys["timestamp"])

    def release(self, version: int) -> None:
        """Sign and show a bundle."""
        self.bundle(version)
        self.publish()

    def signed(self, role: str) -> Any:
        """Return the newest metadata of a role, to be changed."""
        return Metadata.from_bytes(self.repository.shelf.read(role)).signed

    def forge(
        self,
        role: str,
        change: Callable[[Any], None] = lambda signed: None,
        *,
        by: Sequence[Signer] | None = None,
        delta: int = 1,
    ) -> None:
        """Write changed metadata `delta` versions on, unchecked, signed by whoever is given, else by its own role."""
        signed = self.signed(role)
        signed.version += delta
        change(signed)
        self.forged = True
        self.write(role, signed, self.keys[role] if by is None else by)

    def write(self, role: str, signed: Signed, by: Sequence[Signer]) -> None:
        metadata: Metadata[Any] = Metadata(signed)
        for signer in by:
            metadata.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        (self.directory / "metadata" / name).write_bytes(metadata.to_bytes())

    def list_target(self, signed: Targets, path: str, data: bytes, version: Any, *, length: int | None = None) -> None:
        """List a target in metadata at hand, and lay its file out."""
        target = TargetFile.from_data(path, data, ["sha256"])
        target.unrecognized_fields["custom"] = {"version": version}
        target.length = target.length if length is None else length
        signed.targets[path] = target
        for name in target.get_prefixed_paths():
            file = self.directory / "targets" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def target_file(self, data: bytes, path: str = BUNDLE_PATH) -> Path:
        folder, _, name = path.partition("/")
        return self.directory / "targets" / folder / f"{sha256(data).hexdigest()}.{name}"

    def copy(self, to: Path) -> Path:
        """Keep the repository as it is now: what a mirror could show later."""
        return Path(shutil.copytree(self.directory, to))


def meta_of(data: bytes, version: int) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])


@dataclass
class Runtime:
    """The local side: one state directory."""

    directory: Path
    root: bytes
    source: Source
    now: int = NOON
    floors: Mapping[str, int] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    def refresh(self, **changes: Any) -> Found:
        deployment = Deployment(root=self.root, tenant=TENANT, bundle=BUNDLE, floors=self.floors, limits=self.limits)
        return refresh(self.source, self.directory, replace(deployment, **changes), now=self.now)

    def serving(self) -> tuple[int, int | None]:
        """Return the versions of the policy and the bundle that serve."""
        found = read_state(self.directory, now=self.now)
        return found.policy.version, found.bundle.manifest.version if found.bundle else None

    def digests(self) -> tuple[bytes, bytes | None]:
        """Return the SHA-256 of the policy and of the bundle that serve."""
        found = read_state(self.directory, now=self.now)
        assert sha256(found.policy_bytes).digest() == found.policy.digest
        assert found.bundle is None or sha256(found.bundle_bytes).digest() == found.bundle.digest
        return found.policy.digest, found.bundle.digest if found.bundle else None

    def files(self) -> dict[str, bytes]:
        """Return everything in the state directory."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in self.directory.rglob("*")
            if path.is_file()
        }

    def refuses(self, kind: type[Refusal], words: str = "") -> Refusal:
        """Refresh and see it refused as `kind`, with nothing changed.

        A refusal that is raised leaves every file as it was. One that concerns the bundle alone comes beside the pair;
        then what is kept, and what may serve, is as it was.
        """
        before, served = self._settled(), self._served()
        try:
            refusal = self.refresh().refused
            before, after = (
                {name: data for name, data in files.items() if name.startswith("kept")}
                for files in (before, self._settled())
            )
        except Refusal as error:
            refusal, after = error, self._settled()
        assert type(refusal) is kind, refusal
        assert words in str(refusal), refusal
        assert refusal.place
        assert refusal.remedy
        assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == set()
        assert self._served() == served
        return refusal

    def _settled(self) -> dict[str, bytes]:
        """Return what is on disk, without what the record no longer names: the next visit sweeps that."""
        record = State(self.directory).load()
        named = {f"kept/{digest.hex()}" for digest in (record.policy, *record.retained)}
        return {name: data for name, data in self.files().items() if name in named or not name.startswith("kept/")}

    def _served(self) -> object:
        state = State(self.directory)
        record = state.load()
        if not record.policy:
            return None
        now = found(state, record, self.now, {})
        floor = record.floors.get(BUNDLE_PATH)
        return now.policy.digest, now.bundle and now.bundle.digest, record.retained, record.rejected, floor


def pair(home: Path) -> tuple[Publisher, Runtime]:
    """Return a publisher whose policy 1 and bundle 1 are out, and a runtime that took both."""
    for name, data in _pair_files().items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data)
    return _pair(home)


def _pair(home: Path) -> tuple[Publisher, Runtime]:
    publisher = Publisher(home / "repository")
    return publisher, Runtime(home / "state", publisher.root, DirectorySource(publisher.directory))


@cache
def _pair_files() -> dict[str, bytes]:
    with TemporaryDirectory() as name:
        home = Path(name)
        publisher, runtime = _pair(home)
        publisher.policy()
        publisher.release(1)
        assert runtime.refresh().refused is None
        assert runtime.serving() == (1, 1)
        return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
