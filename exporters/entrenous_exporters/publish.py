"""Publishing: a TUF repository of static files, to be served by any directory, web server or CDN.

Each person signs only what is theirs: the data scientist `models`, the DPO `privacy`, two of the offline holders `root`
and `targets`, the publishing machine `snapshot` and `timestamp`. Signatures are gathered in `pending/`; nothing half
signed is ever in `metadata/`, and nothing that was signed shows before `publish`, which refuses what runtimes would.
Time is a parameter everywhere. TUF specification 1.0, sections 3 and 4; `entrenous.updates.verify` for what we demand
beyond; `shelf` for the files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, Root, Targets

from entrenous.bundle import BUNDLE_LIMIT, read_bundle
from entrenous.updates.layout import list_target, snapshot_of, timestamp_of
from entrenous.updates.verify import DELEGATIONS, Listed, check_delegated, check_roles, listed
from entrenous_consent.errors import Forbidden, Malformed, Missing
from entrenous_consent.policy import POLICY_LIMIT, PrivacyPolicy, parse_policy
from entrenous_exporters.ceremony import (
    Lifetimes,
    Pending,
    add_signatures,
    change_keys,
    check_ids,
    counts,
    first_metadata,
    moment,
    not_theirs,
    pend,
    sign_for,
)
from entrenous_exporters.roles import OFFLINE
from entrenous_exporters.shelf import Shelf

__all__ = ["Lifetimes", "Repository", "Status"]

Signers = Sequence[Signer]

LIMITS: Mapping[str, int] = {"models": BUNDLE_LIMIT, "privacy": POLICY_LIMIT}
"""The most bytes of what each delegated role lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a role's newest metadata stands: `expires` in Unix seconds, `soon` if under a quarter of its life is left."""

    role: str
    version: int
    expires: int
    soon: bool
    verified: bool


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in a directory, at the publisher's. One publisher at a time."""

    directory: Path
    lifetimes: Lifetimes = field(default_factory=Lifetimes)

    @property
    def shelf(self) -> Shelf:
        """The files."""
        return Shelf(self.directory)

    @classmethod
    def begin(
        cls, directory: Path, keys: Mapping[str, Sequence[Key]], *, now: int, lifetimes: Lifetimes | None = None
    ) -> Repository:
        """Propose an empty repository: `root`, `targets`, `models` and `privacy` wait for their signatures.

        Args:
            directory: where it goes; must not hold one yet. keys: public keys by role, at least two for `root` and
                `targets`, shared by no two people's roles. now: Unix seconds.

        Raises:
            Forbidden: there is one already, begun or made. Missing: a role has no key. Unauthentic: keys are shared,
                unsound or too few.
        """
        self = cls(directory, lifetimes or Lifetimes())
        if any(self.shelf.versions(role) or self.shelf.pending(role) for role in OFFLINE):
            remedy = "sign what is pending, or choose another directory"
            raise Forbidden("holds a repository already", place=str(directory), remedy=remedy)
        for role, metadata in first_metadata(keys, self.lifetimes, now).items():
            self.shelf.put_pending(role, metadata)
        return self

    @classmethod
    def create(
        cls, directory: Path, signers: Mapping[str, Signers], *, now: int, lifetimes: Lifetimes | None = None
    ) -> Repository:
        """Make an empty repository and publish it, with everybody at hand; `trusted_root` is what runtimes are given.

        Args:
            directory, now: as `begin`. signers: by role, at least two for `root` and `targets`.

        Raises:
            as `begin`.
        """
        keys = {role: [signer.public_key for signer in held] for role, held in signers.items()}
        self = cls.begin(directory, keys, now=now, lifetimes=lifetimes)
        for role in OFFLINE:
            self.sign_pending(role, signers[role])
        self.settle()
        self.publish(signers["snapshot"], signers["timestamp"], now=now)
        return self

    def trusted_root(self) -> bytes:
        """Return the newest root metadata that is in place: what a runtime is deployed with."""
        return self.shelf.read("root")

    # What waits for signatures

    def pending(self, role: str) -> Pending | None:
        """Return what waits for signatures of a role, and how it stands; None if nothing does.

        Raises:
            Malformed: it is broken. Forbidden: another version took its place meanwhile.
        """
        metadata = self.shelf.pending(role)
        return None if metadata is None else pend(role, metadata, *self._delegators(role, metadata.signed))

    def propose(
        self, role: str, *, now: int, add: Collection[Key] = (), revoke: Collection[str] = (), renew: bool = False
    ) -> Pending:
        """Propose other keys for a role: a new `root`, or a new `targets` for a delegated role. Nobody has signed yet.

        What is pending already is amended, and its signatures are dropped: they were for something else.

        Args:
            role: whose keys change. add: public keys. revoke: key ids. renew: propose `role` itself anew instead, as
                it is, with a new expiry. now: Unix seconds.

        Raises:
            Forbidden: no such role, a key that it does not have, or a root that waits for `publish`. Unauthentic: the
                layout is one that runtimes refuse.
        """
        root, targets = self._drafts()
        changed = role if renew else change_keys(root, targets, role, add, revoke)
        signed: Any = {"root": root, "targets": targets}.get(changed) or self.shelf.signed(changed, Targets)
        waiting = self.pending(changed)
        if waiting and waiting.role == "root" and waiting.ready:
            raise Forbidden("is signed and waits", place="root", remedy="publish it before the next change")
        signed.version, signed.expires = self.shelf.next(changed), self.lifetimes.end(changed, now)
        self.shelf.put_pending(changed, Metadata(signed))
        return pend(changed, Metadata(signed), *self._delegators(changed, signed))

    def sign_pending(self, role: str, signers: Signers, *, shown: bytes | None = None) -> Pending:
        """Sign what is pending, as far as these signers count; return how it stands then.

        Args:
            shown: the payload that was looked at; nothing else is signed.

        Raises:
            Missing: nothing is pending. Forbidden: none of the signers counts, or it is not what was shown.
            Unauthentic: it is laid out as runtimes refuse, or names a key under an id that is not its own.
        """
        pending = self.pending(role)
        if pending is None:
            raise Missing("has nothing pending", place=role, remedy="propose a change first")
        if shown is not None and pending.metadata.signed_bytes != shown:
            raise Forbidden("is no longer what was shown", place=role, remedy="look at it again")
        self.check_pending(pending)
        metadata = add_signatures(pending, signers)
        self.shelf.put_pending(role, metadata)
        return pend(role, metadata, *self._delegators(role, metadata.signed))

    def check_pending(self, pending: Pending) -> None:
        """Refuse what nobody should sign, whoever proposed it.

        Raises:
            Unauthentic: runtimes would refuse it, or it names a key under an id that is not its own.
        """
        if pending.role in DELEGATIONS:
            check_delegated(pending.role, pending.metadata.signed)
            return
        check_ids(pending.metadata.signed)
        check_roles(*self._drafts())

    def settle(self) -> tuple[str, ...]:
        """Put what is pending in its place where everything it needs is signed; return the roles.

        A new `root` shows to runtimes at once, so it waits for `publish`, unless nothing was ever published.
        """
        placed = []
        for role in OFFLINE:
            pending = self.pending(role)
            parent = "targets" if role in DELEGATIONS else "root"
            waits = self.shelf.published if role == "root" else not self.shelf.versions(parent)
            if pending is not None and pending.ready and not waits:
                self._place(pending)
                placed.append(role)
        return tuple(placed)

    def rotate(
        self, role: str, signers: Signers, *, now: int, add: Collection[Key] = (), revoke: Collection[str] = ()
    ) -> None:
        """Propose other keys, sign and put them in force at once, with everybody at hand.

        What a revoked key signed counts no longer: sign that role's metadata anew, then `publish`.

        Args:
            role: whose keys change. signers: of `root` (old and new ones, if they change), or of `targets`.
            add: public keys. revoke: key ids.

        Raises:
            Forbidden: too few of the right signers, a key that the role does not have, or another change is pending.
                Unauthentic: the new layout is one that runtimes refuse.
        """
        name = "targets" if role in DELEGATIONS else "root"
        if self.shelf.pending(name) is not None:
            remedy = "have that signed, or remove it from pending/"
            raise Forbidden("has another change pending", place=name, remedy=remedy)
        try:
            self.propose(role, now=now, add=add, revoke=revoke)
            pending = self.sign_pending(name, signers)
            if not pending.ready:
                raise not_theirs(name)
        except BaseException:
            self.shelf.drop_pending(name)
            raise
        self._place(pending)

    def sign_again(self, role: str, signers: Signers, *, now: int) -> None:
        """Sign the newest metadata of `targets`, `models` or `privacy` anew: after a rotation, or before it expires.

        Raises:
            Forbidden: these signers may not, or are too few.
        """
        signed = self.shelf.signed(role, Targets)
        signed.version, signed.expires = self.shelf.next(role), self.lifetimes.end(role, now)
        data = sign_for(role, signed, signers, self._delegator(role))
        self.shelf.put(role, signed.version, data)
        self.shelf.drop_pending(role)

    def in_force(self, role: str) -> Any:
        """Return what `root` or `targets` says now; None if there is none yet, or its signatures no longer count."""
        if not self.shelf.versions(role):
            return None
        metadata = self.shelf.metadata(role)
        return metadata.signed if counts(role, metadata, self._delegators(role, metadata.signed)[0]) else None

    # What is listed

    def add_policy(self, data: bytes, signers: Signers, *, now: int) -> int:
        """Sign a policy into `privacy`; return its version. It shows at the next `publish`.

        Args:
            data: the policy's bytes. signers: the DPO's. now: Unix seconds.

        Raises:
            Malformed: it does not parse. Forbidden: not newer than the one before, not these signers' to sign, or
                `privacy` has to be signed anew first.
        """
        policy = self.check_policy(data)
        self._add("privacy", policy.tenant, policy.version, data, signers, now)
        return policy.version

    def check_policy(self, data: bytes) -> PrivacyPolicy:
        """Return a policy that may be signed.

        Raises:
            Malformed: it does not parse. Forbidden: it is not newer than the one before, or `privacy` has to be
                signed anew first.
        """
        policy = parse_policy(data)
        path = f"{DELEGATIONS['privacy']}{policy.tenant}"
        self._check_newer("privacy", self._trusted("privacy"), path, policy.version)
        return policy

    def add_bundle(self, data: bytes, signers: Signers, *, tenant: str, now: int, research: bool = False) -> int:
        """Sign a bundle into `models`; return its version. It shows at the next `publish`.

        Args:
            data: the bundle's bytes. signers: the data scientist's. tenant: whose policy must permit it.
            now: Unix seconds. research: take one that was learnt from public research data, for a demonstration.

        Raises:
            as `check_candidate`; Forbidden also: it is not these signers' to sign, or `models` has to be signed anew.
        """
        name, version = self.check_candidate(data, tenant=tenant, now=now, research=research)
        self._add("models", name, version, data, signers, now)
        return version

    def check_candidate(self, data: bytes, *, tenant: str, now: int, research: bool = False) -> tuple[str, int]:
        """Return the name and version of a bundle that may be signed.

        Raises:
            Malformed, Unauthentic: it does not read. Missing: there is no policy yet. Forbidden: the policy does not
                permit it, it has expired, is not newer than the one before, or was learnt from people who never were
                this shop's visitors.
        """
        manifest = read_bundle(data).manifest
        place = f"bundles/{manifest.name}"
        if manifest.public_research_data and not research:
            remedy = "train on rows whose visitors granted `improve`"
            raise Forbidden("was learnt from public research data", place=place, remedy=remedy)
        refusals = self.policy(tenant).permits(manifest.request())
        if refusals:
            raise Forbidden("; ".join(refusals[:3]), place=place, remedy="train without it, or have the policy changed")
        if manifest.expires <= now:
            raise Forbidden("has expired", place=place, remedy="build it with a later date")
        self._check_newer("models", self._trusted("models"), place, manifest.version)
        return manifest.name, manifest.version

    def listings(self, role: str, signed: Targets | None = None) -> tuple[Listed, ...]:
        """Return what metadata of `models` or `privacy` lists, whether or not its signature counts.

        Args:
            signed: the metadata; the newest in place if left out.

        Raises:
            Missing, Malformed: it is not there, or broken.
        """
        signed = signed or self.shelf.signed(role, Targets)
        return tuple(listed(role, signed, path, longest=LIMITS[role]) for path in sorted(signed.targets))

    def policy(self, tenant: str) -> PrivacyPolicy:
        """Return the newest signed policy of a tenant.

        Raises:
            as `policy_bytes`.
        """
        return parse_policy(self.policy_bytes(tenant), place=f"{DELEGATIONS['privacy']}{tenant}")

    def policy_bytes(self, tenant: str) -> bytes:
        """Return the bytes of the newest signed policy of a tenant.

        Raises:
            Missing: there is none. Forbidden: `privacy` has to be signed anew first.
        """
        path = f"{DELEGATIONS['privacy']}{tenant}"
        return self.shelf.target(listed("privacy", self._trusted("privacy"), path, longest=POLICY_LIMIT))

    def tenants(self) -> tuple[str, ...]:
        """Return the tenants whose policies are signed."""
        return tuple(target.path.removeprefix(DELEGATIONS["privacy"]) for target in self.listings("privacy"))

    # What shows

    def publish(self, snapshot: Signers, timestamp: Signers, *, now: int) -> None:
        """Show everything that is signed: a root that waited, a new snapshot, then a new timestamp.

        Raises:
            Forbidden: these signers are not the online ones, or a role has to be signed anew first. Missing,
                Unauthentic: a target is not there or not what is listed. Unavailable: another publisher is at work.
                Runtimes go on with what showed before.
        """
        with self.shelf.alone():
            self._publish(snapshot, timestamp, now)

    def _publish(self, snapshot: Signers, timestamp: Signers, now: int) -> None:
        root = self._check(now)
        roles = {role: (self.shelf.next(role) - 1, self.shelf.read(role)) for role in ("targets", *DELEGATIONS)}
        signed = snapshot_of(self.shelf.next("snapshot"), roles, self.lifetimes.end("snapshot", now))
        shot = sign_for("snapshot", signed, snapshot, root)
        stamp = self._stamp(signed.version, shot, timestamp, root, now)
        waiting = self.pending("root")
        if waiting is not None and waiting.ready:
            self._place(waiting)
        self.shelf.put("snapshot", signed.version, shot)
        self.shelf.put("timestamp", 0, stamp)

    def refresh_timestamp(self, signers: Signers, *, now: int) -> None:
        """Say that the newest snapshot still holds at `now` (Unix seconds): to be done well within its lifetime.

        Raises:
            Forbidden: these signers are not the online ones, or the snapshot no longer counts. Missing: none was made.
            Unavailable: another publisher is at work.
        """
        with self.shelf.alone():
            self._refresh_timestamp(signers, now)

    def _refresh_timestamp(self, signers: Signers, now: int) -> None:
        root = self.shelf.signed("root", Root)
        snapshot = self.shelf.metadata("snapshot")
        if not counts("snapshot", snapshot, root) or snapshot.signed.is_expired(moment(now)):
            remedy = "publish anew, not only the timestamp"
            raise Forbidden("has expired or was signed by a revoked key", place="snapshot", remedy=remedy)
        stamp = self._stamp(snapshot.signed.version, self.shelf.read("snapshot"), signers, root, now)
        self.shelf.put("timestamp", 0, stamp)

    def status(self, now: int) -> tuple[Status, ...]:
        """Return how each role's newest metadata stands at `now` (Unix seconds); a role without any is left out."""
        found = []
        for role in ("root", "targets", *DELEGATIONS, "snapshot", "timestamp"):
            if not self.shelf.place(role).exists():
                continue
            metadata = self.shelf.metadata(role)
            expires = int(metadata.signed.expires.timestamp())
            soon = expires - now < self.lifetimes.of(role) / 4
            verified = all(counts(role, metadata, one) for one in self._delegators(role, metadata.signed)[:1])
            version = metadata.signed.version
            found.append(Status(role=role, version=version, expires=expires, soon=soon, verified=verified))
        return tuple(found)

    def _check(self, now: int) -> Root:
        """Return the root in force; refuse what runtimes would refuse."""
        root, targets = self._root(), self.shelf.signed("targets", Targets)
        for role, delegator in (
            ("root", root.signed),
            ("targets", root.signed),
            *((one, targets) for one in DELEGATIONS),
        ):
            metadata = root if role == "root" else self.shelf.metadata(role)
            if not counts(role, metadata, delegator):
                raise _sign_anew(role, "was signed by keys that no longer count, or by too few")
            if metadata.signed.is_expired(moment(now)):
                raise _sign_anew(role, "has expired")
        check_roles(root.signed, targets)
        for role in DELEGATIONS:
            check_delegated(role, self.shelf.signed(role, Targets))
            for target in self.listings(role):
                self.shelf.target(target)
        return root.signed  # type: ignore[no-any-return]

    def _add(self, role: str, name: str, version: int, data: bytes, signers: Signers, now: int) -> None:
        path = f"{DELEGATIONS[role]}{name}"
        if len(data) > LIMITS[role]:
            raise Malformed(f"is longer than {LIMITS[role]} bytes", place=path, remedy="make it smaller")
        signed = self._trusted(role)
        self._check_newer(role, signed, path, version)
        files = list_target(signed, path, data, version)
        check_delegated(role, signed)
        signed.version, signed.expires = self.shelf.next(role), self.lifetimes.end(role, now)
        metadata = sign_for(role, signed, signers, self._delegator(role))
        for name in files:
            self.shelf.put_target(name, data)
        self.shelf.put(role, signed.version, metadata)
        self.shelf.drop_pending(role)

    def _check_newer(self, role: str, signed: Targets, path: str, version: int) -> None:
        if path in signed.targets:
            before = listed(role, signed, path, longest=LIMITS[role]).version
            if version <= before:
                remedy = f"raise its version above {before}"
                raise Forbidden(f"is version {version}, and {before} is signed already", place=path, remedy=remedy)

    def _trusted(self, role: str) -> Targets:
        """Return what a delegated role says, its signature verified: signing it anew vouches for all that it lists."""
        metadata = self.shelf.metadata(role)
        if not counts(role, metadata, self._delegator(role)):
            raise _sign_anew(role, "was signed by keys that no longer count")
        signed: Targets = metadata.signed
        return signed

    def _stamp(self, version: int, snapshot: bytes, signers: Signers, root: Root, now: int) -> bytes:
        stamp = timestamp_of(self.shelf.next("timestamp"), (version, snapshot), self.lifetimes.end("timestamp", now))
        return sign_for("timestamp", stamp, signers, root)

    def _place(self, pending: Pending) -> None:
        self.check_pending(pending)
        self.shelf.put(pending.role, pending.version, pending.metadata.to_bytes())
        self.shelf.drop_pending(pending.role)

    def _drafts(self) -> tuple[Root, Targets]:
        """Return root and targets as they would be if all that is pending were in force."""
        root, targets = (self.shelf.pending(role) or self.shelf.metadata(role) for role in ("root", "targets"))
        return root.signed, targets.signed

    def _root(self) -> Metadata[Any]:
        """Return the root in force: one that is signed and waits for `publish` counts already."""
        waiting = self.shelf.pending("root")
        if waiting is None:
            return self.shelf.metadata("root")
        if not self.shelf.versions("root"):
            return waiting
        placed = self.shelf.metadata("root")
        return waiting if pend("root", waiting, placed.signed, waiting.signed).ready else placed

    def _delegator(self, role: str) -> Root | Targets:
        if role not in DELEGATIONS:
            return self._root().signed  # type: ignore[no-any-return]
        waiting = None if self.shelf.versions("targets") else self.shelf.pending("targets")
        return self.shelf.signed("targets", Targets) if waiting is None else waiting.signed

    def _delegators(self, role: str, signed: Any) -> tuple[Root | Targets, ...]:
        """Return whose thresholds `signed` must meet: for `root`, the one in place and its own."""
        if role != "root":
            return (self._delegator(role),)
        return (self.shelf.signed("root", Root), signed) if self.shelf.versions("root") else (signed,)


def _sign_anew(role: str, what: str) -> Forbidden:
    remedy = f"have it signed anew: entrenous keys sign --role {role}"
    return Forbidden(what, place=role, remedy=remedy)
