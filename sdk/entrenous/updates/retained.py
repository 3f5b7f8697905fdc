"""What an updater keeps on disk, and the pair that serves from it.

::

    <state>/record        the one commit point: floors, clock, the policy, what is retained, what was rejected
    <state>/kept/<digest> policies and bundles, named by their SHA-256
    <state>/metadata/     the TUF client's trusted metadata: a cache, as good as its signatures
    <state>/lock          one updater at a time

Policy and bundle are never stored as a pair: the record names the policy, and which bundle serves follows from it, from
what is retained and from the time. So there is no state in which one of them is new and the other is not judged by it.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from entrenous.bundle import Bundle, read_bundle
from entrenous.updates.verify import DELEGATIONS, check_floor, choose
from entrenous_consent.errors import Malformed, Missing, Refusal, Unauthentic, Unavailable
from entrenous_consent.files import reaching, write_whole
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table
from entrenous_consent.policy import PrivacyPolicy, parse_policy

__all__ = [
    "RETAINED",
    "Busy",
    "Found",
    "Record",
    "Settled",
    "State",
    "check_owner",
    "found",
    "policy_in_force",
    "read_state",
    "reject",
    "reject_in",
]

RETAINED = 4
"""The most bundles that are kept, the newest by version."""

_RECORD_LIMIT = 1 << 20
_LARGEST = 1 << 53


class Busy(Unavailable):
    """Another updater is at work: nothing is wrong, and what it finds will be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What serves, as one value.

    Attributes:
        policy: in force, and its bytes. bundle: what may serve under it, and its bytes; None for the default alone.
        refused: why the newest published bundle was not taken; None if it was, or if nothing was asked.
        refreshed: when the publisher was last heard, Unix seconds.
    """

    policy: PrivacyPolicy
    policy_bytes: bytes
    bundle: Bundle | None
    bundle_bytes: bytes
    refused: Refusal | None
    refreshed: int

    def stale(self, now: int) -> bool:
        """Say whether the publisher was last heard longer ago than the policy allows."""
        return now - self.refreshed > self.policy.max_stale


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is remembered between refreshes.

    Attributes:
        tenant, bundle: whose state this is; empty before the first refresh.
        clock: Unix seconds of the last refresh that succeeded; time is never taken to be earlier. It can't run far
            ahead, because a refresh succeeds only before the timestamp expires.
        floors: least versions by role and by target path.
        marks: the SHA-256 taken at the floor's version, by path. policy: digest, empty for none.
        retained: digests of bundles. rejected: digests that are never taken again.
    """

    tenant: str = ""
    bundle: str = ""
    clock: int = 0
    floors: Mapping[str, int] = field(default_factory=dict)
    marks: Mapping[str, bytes] = field(default_factory=dict)
    policy: bytes = b""
    retained: tuple[bytes, ...] = ()
    rejected: tuple[bytes, ...] = ()

    def raised(self, floors: Mapping[str, int], marks: Mapping[str, bytes] | None = None) -> Record:
        """Return this record with floors raised where they are higher; none is lowered."""
        highest = {place: max(version, self.floors.get(place, 0)) for place, version in floors.items()}
        return replace(self, floors={**self.floors, **highest}, marks={**self.marks, **(marks or {})})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a process judged and refused nothing of; it holds until something of it expires, Unix seconds."""

    of: object
    until: int


class State:
    """A state directory. Readers need no lock: the record is replaced whole; files it dropped stay a while.

    What was parsed once is remembered by its SHA-256, which is checked at every reading.

    Attributes:
        settled: the last judgement of this process, for the next visit.
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.metadata = directory, directory / "metadata"
        self._record, self._kept = directory / "record", directory / "kept"
        self.settled: Settled | None = None
        self._policies: dict[bytes, PrivacyPolicy] = {}
        self._bundles: dict[bytes, Bundle] = {}

    @contextmanager
    def updating(self) -> Iterator[Path]:
        """Hold the directory against every other updater; yield an empty directory for staging.

        Raises:
            Busy: another one is at work. Unavailable: the disk can't be used.
        """
        with reaching(self.directory):
            for path in (self.directory, self.metadata, self.metadata / "root_history", self._kept):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self.directory / "lock").open("ab") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    remedy = "wait for it, or give each its own directory"
                    raise Busy("another updater is at work", place=str(self.directory), remedy=remedy) from error
                self._sweep()
                staging = Path(tempfile.mkdtemp(prefix="staging-", dir=self.directory))
                try:
                    yield staging
                finally:
                    shutil.rmtree(staging, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a killed updater left, and what the last refresh dropped."""
        for left in self.directory.glob("staging-*"):
            shutil.rmtree(left, ignore_errors=True)
        record = self.load()
        wanted = {digest.hex() for digest in (record.policy, *record.retained)}
        for path in self._kept.iterdir():
            if path.name not in wanted:
                path.unlink()

    def raw(self) -> bytes | None:
        """Return the record's bytes, None where there is none: another record has others.

        Raises:
            Unavailable: it can't be read.
        """
        try:
            with reaching(self._record):
                return self._record.read_bytes()
        except Missing:
            return None

    def load(self) -> Record:
        """Return the record; an empty one where there is none.

        Raises:
            Malformed: it is broken. Unavailable: it can't be read.
        """
        return self.parse(self.raw())

    def parse(self, data: bytes | None) -> Record:
        """Return the record in `data`, as `raw` gave it.

        Raises:
            Malformed: it is broken.
        """
        if data is None:
            return Record()
        table = Table(unpack(data, place=str(self._record), longest=_RECORD_LIMIT), str(self._record))
        table.integer("format", least=1, most=1)
        floors, marks = table.table("floors"), table.table("marks")
        record = Record(
            tenant=table.text("tenant", empty=True),
            bundle=table.text("bundle", empty=True),
            clock=table.integer("clock", least=0, most=_LARGEST),
            floors={place: floors.integer(place, least=1, most=_LARGEST) for place in floors.keys()},  # noqa: SIM118
            marks={place: marks.blob(place, longest=32) for place in marks.keys()},  # noqa: SIM118
            policy=table.blob("policy", longest=32),
            retained=_digests(table, "retained"),
            rejected=_digests(table, "rejected"),
        )
        table.close()
        return record

    def save(self, record: Record) -> None:
        """Make `record` the one in force, whole or not at all."""
        table = {
            "format": 1,
            "tenant": record.tenant,
            "bundle": record.bundle,
            "clock": record.clock,
            "floors": dict(sorted(record.floors.items())),
            "marks": dict(sorted(record.marks.items())),
            "policy": record.policy,
            "retained": list(record.retained),
            "rejected": list(record.rejected),
        }
        with reaching(self._record):
            write_whole(self._record, pack(table))

    def keep(self, data: bytes) -> bytes:
        """Keep a policy or a bundle; return its SHA-256."""
        digest = sha256(data).digest()
        if self.kept(digest) is None:
            with reaching(self._kept):
                write_whole(self._kept / digest.hex(), data)
        return digest

    def kept(self, digest: bytes) -> bytes | None:
        """Return what is kept under a digest; None where nothing is, or no longer what it was."""
        path = self._kept / digest.hex()
        try:
            with reaching(path):
                data = path.read_bytes()
        except Missing:
            return None
        return data if sha256(data).digest() == digest else None

    def policy(self, digest: bytes, data: bytes, place: str = "policy") -> PrivacyPolicy:
        """Return the policy in `data`, whose SHA-256 is `digest`.

        Raises:
            Malformed: it does not parse.
        """
        if digest not in self._policies:
            self._policies = {digest: parse_policy(data, place=place)}
        return self._policies[digest]

    def bundle(self, digest: bytes, data: bytes, place: str = "bundle") -> Bundle:
        """Return the bundle in `data`, whose SHA-256 is `digest`.

        Raises:
            Malformed, Unauthentic: it does not read.
        """
        known = self._bundles.get(digest)
        if known is None:
            known = read_bundle(data, place=place)
            self._bundles = {**dict(list(self._bundles.items())[-RETAINED:]), digest: known}
        return known

    def bundles(self, record: Record) -> list[tuple[Bundle, bytes]]:
        """Return the retained bundles with their bytes; one that no longer reads is left out."""
        readable = []
        for digest in record.retained:
            try:
                data = self.kept(digest)
                if data is not None:
                    readable.append((self.bundle(digest, data), data))
            except Refusal:
                continue
        return readable


def check_owner(record: Record, tenant: str, bundle: str, place: str) -> None:
    """Refuse a record that was made for another tenant or bundle.

    Raises:
        Malformed: it was.
    """
    if record.tenant and (record.tenant, record.bundle) != (tenant, bundle):
        remedy = "give each tenant and bundle a state directory of its own"
        raise Malformed("is of another tenant or bundle", place=place, remedy=remedy)


def _digests(table: Table, key: str) -> tuple[bytes, ...]:
    digests = table.array(key)
    if not all(isinstance(digest, bytes) and len(digest) == 32 for digest in digests):
        raise table.refuse(key, "is not a list of SHA-256")
    return tuple(digests)


def policy_in_force(state: State, record: Record, floors: Mapping[str, int]) -> tuple[PrivacyPolicy, bytes]:
    """Return the policy that a record names, and its bytes; `floors` are the deployment's.

    Raises:
        Missing: no policy was ever taken. Unauthentic: the one on disk is not the one that was, or under its floor.
    """
    if not record.policy:
        raise Missing("holds no policy yet", place=str(state.directory), remedy="refresh from the publisher first")
    data = state.kept(record.policy)
    if data is None:
        raise Unauthentic("is not the policy that was verified", place=str(state.directory), remedy="refresh again")
    policy = state.policy(record.policy, data)
    check_floor(f"{DELEGATIONS['privacy']}{policy.tenant}", policy.version, floors)
    return policy, data


def found(
    state: State,
    record: Record,
    now: int,
    floors: Mapping[str, int],
    refused: Refusal | None = None,
    *,
    broken: Collection[bytes] = (),
) -> Found:
    """Return the pair that serves at `now` (Unix seconds), judged afresh.

    Args:
        floors: the deployment's. broken: digests that this process can't use, beside those the record rejects.

    Raises:
        Missing: no policy was ever taken. Unauthentic: the one on disk is not the one that was, or under its floor.
    """
    policy, data = policy_in_force(state, record, floors)
    retained = {
        bundle.digest: (bundle, kept)
        for bundle, kept in state.bundles(record)
        if bundle.manifest.version >= floors.get(f"{DELEGATIONS['models']}{bundle.manifest.name}", 0)
    }
    bundle = choose(
        [bundle for bundle, _ in retained.values()], policy, max(now, record.clock), {*record.rejected, *broken}
    )
    return Found(
        policy=policy,
        policy_bytes=data,
        bundle=bundle,
        bundle_bytes=retained[bundle.digest][1] if bundle else b"",
        refused=refused,
        refreshed=record.clock,
    )


def read_state(directory: Path, *, now: int, floors: Mapping[str, int] | None = None) -> Found:
    """Return what serves from a state directory, without asking anybody: for a start while offline.

    Args:
        now: the system's time in Unix seconds; never taken to be earlier than the last refresh.
        floors: the least versions that are built into the deployment, by target path.

    Raises:
        Missing: nothing was ever refreshed there. Malformed, Unauthentic, Unavailable: it can't be trusted or read.
    """
    state = State(directory)
    return found(state, state.load(), now, floors or {})


def reject(directory: Path, digest: bytes, *, now: int, floors: Mapping[str, int] | None = None) -> Found:
    """Remember that a bundle must never be taken again; return what serves instead. No floor is lowered.

    Args:
        digest: the bundle's SHA-256. now, floors: as `read_state`.

    Raises:
        as `read_state`; Unavailable also while an updater is at work.
    """
    return reject_in(State(directory), digest, now=now, floors=floors or {})


def reject_in(state: State, digest: bytes, *, now: int, floors: Mapping[str, int]) -> Found:
    """Do what `reject` does on a state that its caller keeps.

    Raises:
        as `reject`.
    """
    with state.updating():
        record = state.load()
        record = replace(
            record,
            retained=tuple(kept for kept in record.retained if kept != digest),
            rejected=tuple(dict.fromkeys((*record.rejected, digest))),
        )
        state.save(record)
        return found(state, record, now, floors)
