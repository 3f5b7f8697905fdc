"""Publishing: a TUF repository of static files, to be served by any directory, web server or CDN.

::

    metadata/<version>.<role>.json   root, targets, models, privacy, snapshot
    metadata/timestamp.json          replaced last
    targets/bundles/<sha256>.<name>  targets/policies/<sha256>.<tenant>

Each person signs only what is theirs: the data scientist `models`, the DPO `privacy`, two of the offline holders `root`
and `targets`, the publishing machine `snapshot` and `timestamp`. Nothing that was added shows before `publish`. Time is
a parameter everywhere. TUF specification 1.0, sections 3 and 4; `entrenous.updates.verify` for what we demand beyond.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from entrenous.bundle import BUNDLE_LIMIT, read_bundle
from entrenous.updates.verify import DELEGATIONS, check_delegated, check_roles, listed
from entrenous_consent._files import reaching, write_whole
from entrenous_consent.errors import Forbidden, Malformed, Missing
from entrenous_consent.policy import POLICY_LIMIT, PrivacyPolicy, parse_policy

__all__ = ["OFFLINE_THRESHOLD", "Lifetimes", "Repository"]

OFFLINE_THRESHOLD = 2
"""How many holders must sign `root`, and `targets`."""

_DAY = 86_400
_TOP = ("root", "targets", "snapshot", "timestamp")

Signers = Sequence[Signer]
_T = TypeVar("_T", Root, Targets, Snapshot, Timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long a signature lasts, in seconds. A freeze is noticed after `timestamp` at the latest."""

    root: int = 365 * _DAY
    targets: int = 365 * _DAY
    models: int = 365 * _DAY
    privacy: int = 365 * _DAY
    snapshot: int = 7 * _DAY
    timestamp: int = _DAY

    def end(self, role: str, now: int) -> datetime:
        """Return when what `role` signs at `now` (Unix seconds) expires."""
        return datetime.fromtimestamp(now + int(getattr(self, role)), UTC)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in a directory, at the publisher's. One publisher at a time."""

    directory: Path
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    @classmethod
    def create(
        cls, directory: Path, signers: Mapping[str, Signers], *, now: int, lifetimes: Lifetimes | None = None
    ) -> Repository:
        """Make an empty repository and publish it; `trusted_root` is what runtimes must be deployed with.

        Args:
            directory: where it goes; must not hold one yet.
            signers: by role, at least two for `root` and `targets`, keys shared by no two people's roles.
            now: Unix seconds.

        Raises:
            Forbidden: there is one already, or too few signers. Unauthentic: keys are shared or unsound.
        """
        self = cls(directory, lifetimes or Lifetimes())
        if self._versions("root"):
            raise Forbidden("holds a repository already", place=str(directory), remedy="choose another directory")
        for role in (*_TOP, *DELEGATIONS):
            if not signers.get(role):
                raise Missing("has no signer", place=role, remedy="make a key for it")
        root = Root(expires=self.lifetimes.end("root", now), consistent_snapshot=True)
        for role in _TOP:
            for signer in signers[role]:
                root.add_key(signer.public_key, role)
            root.roles[role].threshold = OFFLINE_THRESHOLD if role in ("root", "targets") else 1
        targets = Targets(expires=self.lifetimes.end("targets", now))
        targets.delegations = Delegations(
            keys={},
            roles={role: DelegatedRole(role, [], 1, True, paths=[f"{DELEGATIONS[role]}*"]) for role in DELEGATIONS},
        )
        for role in DELEGATIONS:
            for signer in signers[role]:
                targets.add_key(signer.public_key, role)
        check_roles(root, targets)
        self._write("root", root, signers["root"], root)
        self._write("targets", targets, signers["targets"], root)
        for role in DELEGATIONS:
            self._write(role, Targets(expires=self.lifetimes.end(role, now)), signers[role], targets)
        self.publish(signers["snapshot"], signers["timestamp"], now=now)
        return self

    def trusted_root(self) -> bytes:
        """Return the newest root metadata: what a runtime is deployed with."""
        return self._read("root")

    def add_policy(self, data: bytes, signers: Signers, *, now: int) -> int:
        """Sign a policy into `privacy`; return its version. It shows at the next `publish`.

        Args:
            data: the policy's bytes. signers: the DPO's. now: Unix seconds.

        Raises:
            Malformed: it does not parse. Forbidden: not newer than the one before, or not these signers' to sign.
        """
        policy = parse_policy(data)
        self._add("privacy", policy.tenant, policy.version, data, signers, POLICY_LIMIT, now)
        return policy.version

    def add_bundle(self, data: bytes, signers: Signers, *, tenant: str, now: int) -> int:
        """Sign a bundle into `models`; return its version. It shows at the next `publish`.

        Args:
            data: the bundle's bytes. signers: the data scientist's. tenant: whose policy must permit it.
            now: Unix seconds.

        Raises:
            Malformed, Unauthentic: it does not read. Missing: there is no policy yet. Forbidden: the policy does not
                permit it, it has expired, is not newer than the one before, or is not these signers' to sign.
        """
        bundle = read_bundle(data)
        place = f"bundles/{bundle.manifest.name}"
        refusals = self.policy(tenant).permits(bundle.manifest.request())
        if refusals:
            raise Forbidden("; ".join(refusals[:3]), place=place, remedy="train without it, or have the policy changed")
        if bundle.manifest.expires <= now:
            raise Forbidden("has expired", place=place, remedy="build it with a later date")
        self._add("models", bundle.manifest.name, bundle.manifest.version, data, signers, BUNDLE_LIMIT, now)
        return bundle.manifest.version

    def policy(self, tenant: str) -> PrivacyPolicy:
        """Return the newest signed policy of a tenant.

        Raises:
            Missing: there is none.
        """
        path = f"{DELEGATIONS['privacy']}{tenant}"
        target = listed("privacy", self._signed("privacy", Targets), path, longest=POLICY_LIMIT)
        file = self.directory / "targets" / DELEGATIONS["privacy"] / f"{target.digest.hex()}.{tenant}"
        with reaching(file):
            return parse_policy(file.read_bytes(), place=path)

    def publish(self, snapshot: Signers, timestamp: Signers, *, now: int) -> None:
        """Show everything that was added: a new snapshot, then a new timestamp.

        Raises:
            Forbidden: these signers are not the online ones.
        """
        root = self._signed("root", Root)
        meta = {}
        for role in ("targets", *DELEGATIONS):
            data = self._read(role)
            version = Metadata[Targets].from_bytes(data).signed.version
            meta[f"{role}.json"] = MetaFile.from_data(version, data, ["sha256"])
        signed = Snapshot(self._next("snapshot"), expires=self.lifetimes.end("snapshot", now), meta=meta)
        self._write("snapshot", signed, snapshot, root)
        self.refresh_timestamp(timestamp, now=now)

    def refresh_timestamp(self, signers: Signers, *, now: int) -> None:
        """Say that the newest snapshot still holds at `now` (Unix seconds): to be done well within its lifetime.

        Raises:
            Forbidden: these signers are not the online ones.
        """
        data = self._read("snapshot")
        version = Metadata[Snapshot].from_bytes(data).signed.version
        signed = Timestamp(
            self._next("timestamp"),
            expires=self.lifetimes.end("timestamp", now),
            snapshot_meta=MetaFile.from_data(version, data, ["sha256"]),
        )
        self._write("timestamp", signed, signers, self._signed("root", Root))

    def rotate(
        self, role: str, signers: Signers, *, now: int, add: Collection[Key] = (), revoke: Collection[str] = ()
    ) -> None:
        """Add keys to a role and revoke others: a new `root`, or a new `targets` for a delegated role.

        What a revoked key signed counts no longer: sign that role's metadata anew, then `publish`.

        Args:
            role: whose keys change. signers: of `root` (old and new ones, if they change), or of `targets`.
            add: public keys. revoke: key ids.

        Raises:
            Forbidden: too few of the right signers, or a key that the role does not have. Unauthentic: the new layout
                is one that runtimes refuse.
        """
        root, targets = self._signed("root", Root), self._signed("targets", Targets)
        changed: Root | Targets = targets if role in DELEGATIONS else root
        try:
            for key in add:
                changed.add_key(key, role)
            for keyid in revoke:
                changed.revoke_key(keyid, role)
        except ValueError as error:
            raise Forbidden(
                "does not have that key, or is no role", place=role, remedy="look at the keys it has"
            ) from error
        check_roles(root, targets)
        name = changed.type
        changed.version, changed.expires = self._next(name), self.lifetimes.end(name, now)
        if isinstance(changed, Root):
            self._write(name, changed, signers, self._signed("root", Root), changed)
        else:
            self._write(name, changed, signers, root)

    def sign_again(self, role: str, signers: Signers, *, now: int) -> None:
        """Sign the newest metadata of `targets`, `models` or `privacy` anew: after a rotation, or before it expires.

        Raises:
            Forbidden: these signers may not.
        """
        signed = self._signed(role, Targets)
        signed.version, signed.expires = self._next(role), self.lifetimes.end(role, now)
        self._write(role, signed, signers, self._delegator(role))

    def _add(self, role: str, name: str, version: int, data: bytes, signers: Signers, longest: int, now: int) -> None:
        path = f"{DELEGATIONS[role]}{name}"
        if len(data) > longest:
            raise Malformed(f"is longer than {longest} bytes", place=path, remedy="make it smaller")
        signed = self._signed(role, Targets)
        if path in signed.targets:
            before = listed(role, signed, path, longest=longest).version
            if version <= before:
                remedy = f"raise its version above {before}"
                raise Forbidden(f"is version {version}, and {before} is signed already", place=path, remedy=remedy)
        target = TargetFile.from_data(path, data, ["sha256"])
        target.unrecognized_fields["custom"] = {"version": version}
        signed.targets[path] = target
        check_delegated(role, signed)
        signed.version, signed.expires = self._next(role), self.lifetimes.end(role, now)
        metadata = self._sign(role, signed, signers, self._delegator(role))
        for prefixed in target.get_prefixed_paths():
            self._put(f"targets/{prefixed}", data)
        self._put(f"metadata/{signed.version}.{role}.json", metadata)

    def _delegator(self, role: str) -> Root | Targets:
        return self._signed("targets", Targets) if role in DELEGATIONS else self._signed("root", Root)

    def _write(
        self,
        role: str,
        signed: _T,
        signers: Signers,
        *delegators: Root | Targets,
    ) -> None:
        data = self._sign(role, signed, signers, *delegators)
        self._put(f"metadata/{role}.json" if role == "timestamp" else f"metadata/{signed.version}.{role}.json", data)

    def _sign(
        self,
        role: str,
        signed: _T,
        signers: Signers,
        *delegators: Root | Targets,
    ) -> bytes:
        """Return signed metadata that each delegator accepts: nothing is written that runtimes would refuse."""
        metadata = Metadata[_T](signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        for delegator in delegators:
            try:
                delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
            except RepositoryError as error:
                what = "these keys may not sign it, or are too few"
                raise Forbidden(what, place=role, remedy="bring the keys of that role") from error
        return metadata.to_bytes()

    def _put(self, name: str, data: bytes) -> None:
        path = self.directory / name
        with reaching(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
            path.chmod(0o644)  # public: a web server of another user serves it

    def _versions(self, role: str) -> list[int]:
        return sorted(int(path.name.split(".")[0]) for path in self.directory.glob(f"metadata/*.{role}.json"))

    def _next(self, role: str) -> int:
        if role != "timestamp":
            return max(self._versions(role), default=0) + 1
        there = (self.directory / "metadata" / "timestamp.json").exists()
        return self._signed("timestamp", Timestamp).version + 1 if there else 1

    def _read(self, role: str) -> bytes:
        versions = self._versions(role)
        name = f"{versions[-1]}.{role}.json" if versions else f"{role}.json"
        path = self.directory / "metadata" / name
        with reaching(path):
            return path.read_bytes()

    def _signed(self, role: str, kind: type[_T]) -> _T:
        try:
            signed = Metadata[_T].from_bytes(self._read(role)).signed
        except RepositoryError as error:
            raise Malformed(
                "is not TUF metadata", place=role, remedy="restore the repository from its backup"
            ) from error
        if not isinstance(signed, kind):
            raise Malformed("is metadata of another role", place=role, remedy="restore the repository from its backup")
        return signed
