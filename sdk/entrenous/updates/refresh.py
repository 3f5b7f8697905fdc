"""One visit to a repository: fetch, verify, keep; the policy first.

The TUF client works on a copy of its metadata. What it verified is taken over only when our own rules hold as well, so
a refused repository leaves nothing behind but new roots, each signed by the one before: a revoked key stays revoked.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig

from entrenous.bundle import BUNDLE_LIMIT, Bundle
from entrenous.updates.bounded import Bounded
from entrenous.updates.deployment import Deployment
from entrenous.updates.fetch import Source
from entrenous.updates.retained import RETAINED, Found, Record, Settled, State, check_owner, found
from entrenous.updates.verify import (
    Listed,
    check_bundle,
    check_delegated,
    check_floor,
    check_roles,
    check_versions,
    listed,
)
from entrenous_consent.errors import Forbidden, Malformed, Refusal, Unauthentic, Unavailable
from entrenous_consent.files import reaching, write_whole
from entrenous_consent.policy import POLICY_LIMIT, PrivacyPolicy

__all__ = ["Deployment", "refresh", "visit"]


def refresh(source: Source, state_directory: Path, deployment: Deployment, *, now: int) -> Found:
    """Visit the repository once; return the pair that serves from now on.

    A newer policy takes effect even when no bundle can be taken: then `refused` says why, and the newest retained
    bundle that the policy permits serves, else none.

    Args:
        source: where the repository's files are. state_directory: this updater's own. now: the system's time in Unix
            seconds; the latest time of a successful refresh counts instead if that is later.

    Raises:
        Unauthentic: the repository or its policy is not what it claims to be, is older than what was seen, or expired.
        Unavailable: it can't be reached, takes too long, or another updater is at work.
        Malformed, Missing: the metadata or the policy is broken or not there.
        In each case what served before still serves.
    """
    return visit(source, State(state_directory), deployment, now=now)


def visit(source: Source, state: State, deployment: Deployment, *, now: int) -> Found:
    """Do what `refresh` does on a state that its caller keeps: what was read once is not read again.

    Raises:
        as `refresh`.
    """
    with state.updating() as staging:
        visit = _Visit(source, state, deployment, staging, now)
        with closing(visit.fetcher):
            return visit.run()


class _Visit:
    """One refresh, under the lock."""

    def __init__(self, source: Source, state: State, deployment: Deployment, staging: Path, now: int) -> None:
        self._state, self._deployment, self._staging = state, deployment, staging
        self._record = state.load()
        check_owner(self._record, deployment.tenant, deployment.bundle, str(state.directory))
        self._now = max(now, self._record.clock)
        self.fetcher = Bounded(source, deployment.limits)
        self._ends: list[int] = []

    def run(self) -> Found:
        with reaching(self._state.directory):
            shutil.copytree(self._state.metadata, self._staging, dirs_exist_ok=True)
        try:
            with _told("repository"):
                updater = self._updater()
                updater.refresh()
        finally:
            self._take_over("root_history/*.root.json")
        refused = None
        settled = self._state.settled
        if settled is not None and settled.of == self._seen() and self._now < settled.until:
            self._commit(replace(self._record, clock=self._now), "timestamp")
        else:
            refused = self._walk(updater)
        return found(self._state, self._record, self._now, self._deployment.floors, refused)

    def _seen(self) -> object:
        """Return all that a judgement rests on but the time: what is shown, what is recorded, what is built in."""
        shown = self._read("root.json"), self._read("snapshot.json")
        return shown, replace(self._record, clock=0), dict(self._deployment.floors)

    def _walk(self, updater: Updater) -> Refusal | None:
        """Judge all that is shown; remember in memory that nothing was refused, so that a poll that sees the very same
        need not judge it again before something of it expires."""
        self._ends.clear()
        policy = self._policy(updater, self._check_top())
        try:
            self._bundle(updater, policy)
        except Refusal as error:
            self._state.settled = None
            return error
        self._state.settled = Settled(of=self._seen(), until=min(self._ends))
        return None

    def _updater(self) -> Updater:
        limits = self._deployment.limits
        updater = Updater(
            str(self._staging),
            "metadata/",
            target_base_url="targets/",
            fetcher=self.fetcher,
            config=UpdaterConfig(
                max_root_rotations=limits.rotations,
                max_delegations=2,
                root_max_length=limits.root,
                timestamp_max_length=limits.timestamp,
                snapshot_max_length=limits.snapshot,
                targets_max_length=limits.targets,
            ),
            bootstrap=self._deployment.trusted_root(),
        )
        # The client reads the clock in its constructor, uses the time only later, and offers no other way to set it;
        # pyproject.toml bounds its version, and the test with an expired timestamp notices if this stops working.
        updater._trusted_set.reference_time = datetime.fromtimestamp(self._now, UTC)
        return updater

    def _check_top(self) -> dict[str, int]:
        """Read the verified metadata again, and hold it against the rules that TUF leaves to us; return new floors."""
        with _told("repository"):
            root = Metadata[Root].from_bytes(self._read("root.json")).signed
            targets = Metadata[Targets].from_bytes(self._read("targets.json")).signed
            online = {
                role: Metadata.from_bytes(self._read(f"{role}.json")).signed.version
                for role in ("snapshot", "timestamp")
            }
        check_roles(root, targets)
        offline = {"root": root.version, "targets": targets.version}
        for role, version in {**offline, **online}.items():
            self._check_floor(role, version)
        return offline  # TUF itself keeps a floor of the online roles, and rotating their keys has to reset that

    def _check_floor(self, place: str, version: int) -> None:
        check_floor(place, version, self._deployment.floors)
        check_floor(place, version, self._record.floors)

    def _listed(self, updater: Updater, role: str, path: str, longest: int) -> tuple[Listed, int]:
        """Return what `role` lists under `path`, and its version: from its own metadata, verified and read again."""
        with _told(role):
            updater.get_targetinfo(path)
            metadata = Metadata[Targets].from_bytes(self._read(f"{role}.json")).signed
        self._ends.append(int(metadata.expires.timestamp()))
        check_delegated(role, metadata)
        self._check_floor(role, metadata.version)
        return listed(role, metadata, path, longest=longest), metadata.version

    def _data(self, updater: Updater, target: Listed) -> bytes:
        kept = self._state.kept(target.digest)
        if kept is not None:
            return kept
        place = self._staging / "target"
        with _told(target.path):
            info = updater.get_targetinfo(target.path)
            if info is not None:
                updater.download_target(info, str(place))
        data = self._read(place.name)
        if len(data) != target.length or sha256(data).digest() != target.digest:
            raise Unauthentic("is not what its role lists", place=target.path, remedy="fetch it again")
        return data

    def _check_versions(self, target: Listed, stated: int) -> None:
        check_versions(target, stated, self._deployment.floors, {})
        check_versions(target, stated, self._record.floors, self._record.marks)

    def _policy(self, updater: Updater, floors: Mapping[str, int]) -> PrivacyPolicy:
        path = f"policies/{self._deployment.tenant}"
        target, version = self._listed(updater, "privacy", path, POLICY_LIMIT)
        data = self._data(updater, target)
        policy = self._state.policy(target.digest, data, place=path)
        if policy.tenant != self._deployment.tenant:
            raise Unauthentic("is the policy of another tenant", place=path, remedy="ask the publisher")
        self._check_versions(target, policy.version)
        record = replace(
            self._record,
            tenant=self._deployment.tenant,
            bundle=self._deployment.bundle,
            clock=self._now,
            policy=self._state.keep(data),
        ).raised({**floors, "privacy": version, path: target.version}, {path: target.digest})
        self._commit(record, "timestamp", "snapshot", "targets", "privacy")
        return policy

    def _bundle(self, updater: Updater, policy: PrivacyPolicy) -> None:
        path = f"bundles/{self._deployment.bundle}"
        target, version = self._listed(updater, "models", path, BUNDLE_LIMIT)
        if target.digest in self._record.rejected:
            raise Forbidden("was rejected here", place=path, remedy="publish a newer version")
        data = self._data(updater, target)
        bundle = self._state.bundle(target.digest, data, place=path)
        if bundle.manifest.name != self._deployment.bundle:
            raise Unauthentic("is the bundle of another name", place=path, remedy="ask the publisher")
        self._check_versions(target, bundle.manifest.version)
        check_bundle(bundle, policy, self._now, self._record.rejected)
        self._ends.append(bundle.manifest.expires)
        self._state.keep(data)
        record = replace(self._record, retained=self._retaining(bundle))
        self._commit(record.raised({"models": version, path: target.version}, {path: target.digest}), "models")

    def _retaining(self, newest: Bundle) -> tuple[bytes, ...]:
        """Return the digests to retain: the newest versions."""
        known = [bundle for bundle, _ in self._state.bundles(self._record) if bundle.digest != newest.digest]
        known = sorted((*known, newest), key=lambda bundle: bundle.manifest.version, reverse=True)
        return tuple(bundle.digest for bundle in known[:RETAINED])

    def _commit(self, record: Record, *roles: str) -> None:
        for role in roles:
            self._take_over(f"{role}.json")
        if record != self._record:
            self._state.save(record)
            self._record = record

    def _take_over(self, pattern: str) -> None:
        with reaching(self._state.metadata):
            for path in self._staging.glob(pattern):
                target = self._state.metadata / path.relative_to(self._staging)
                data = path.read_bytes()
                if not target.exists() or target.read_bytes() != data:
                    write_whole(target, data)

    def _read(self, name: str) -> bytes:
        path = self._staging / name
        with reaching(path):
            return path.read_bytes()


_WORDS: tuple[tuple[type[Exception], type[Refusal], str, str], ...] = (
    (DeserializationError, Malformed, "is not TUF metadata", "fetch it again; ask the publisher"),
    (ExpiredMetadataError, Unauthentic, "has expired", "ask the publisher to sign it anew; check this clock"),
    (UnsignedMetadataError, Unauthentic, "lacks signatures that count", "ask the publisher"),
    (BadVersionNumberError, Unauthentic, "is of another version than it must be", "ask the publisher"),
    (LengthOrHashMismatchError, Unauthentic, "is not what was signed", "fetch it again; ask the publisher"),
    (DownloadLengthMismatchError, Unauthentic, "is longer than it may be", "ask the publisher"),
    (RepositoryError, Unauthentic, "breaks a rule of TUF", "ask the publisher"),
    (DownloadError, Unavailable, "can't be fetched", "try again later"),
    (OSError, Unavailable, "can't be kept on this disk", "check the state directory's owner, mode and space"),
    (Exception, Malformed, "can't be read as TUF metadata", "ask the publisher"),
)
"""What the TUF client raises, told as ours; the first that fits."""


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Let no exception of a third party through."""
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        if isinstance(error, DownloadError) and isinstance(error.__cause__, Refusal):
            cause = error.__cause__
            raise Unavailable(cause.what, place=cause.place or place, remedy=cause.remedy) from error
        _, refusal, what, remedy = next(words for words in _WORDS if isinstance(error, words[0]))
        detail = f" ({str(error)[:200]})" if isinstance(error, RepositoryError) and refusal is Unauthentic else ""
        raise refusal(f"{what}{detail}", place=place, remedy=remedy) from error
