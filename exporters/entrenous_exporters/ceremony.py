"""Metadata before it is signed by all who must: what is proposed, who signed it, and whose signature lacks. Pure.

Root and targets need two holders, who are two people on two machines. So a change is proposed first, each holder signs
it apart, and it takes its place once its thresholds are met: for `root` both that of the root before and its own.
TUF specification 1.0, sections 5.3 and 6.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    Root,
    Snapshot,
    Targets,
    Timestamp,
    VerificationResult,
)

from entrenous.updates.layout import first_root, first_targets
from entrenous.updates.verify import DELEGATIONS, check_roles
from entrenous_consent.errors import Forbidden, Missing, Unauthentic
from entrenous_exporters.keys import own_id
from entrenous_exporters.roles import ROLES

__all__ = [
    "Lifetimes",
    "Pending",
    "add_signatures",
    "change_keys",
    "check_ids",
    "counts",
    "delegated_keys",
    "first_metadata",
    "moment",
    "not_theirs",
    "pend",
    "sign_for",
]

Signers = Sequence[Signer]
_T = TypeVar("_T", Root, Targets, Snapshot, Timestamp)

_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long a signature lasts, in seconds. A freeze is noticed after `timestamp` at the latest."""

    root: int = 365 * _DAY
    targets: int = 365 * _DAY
    models: int = 365 * _DAY
    privacy: int = 365 * _DAY
    snapshot: int = 7 * _DAY
    timestamp: int = _DAY

    def of(self, role: str) -> int:
        """Return the lifetime of what `role` signs, in seconds."""
        return int(getattr(self, role))

    def end(self, role: str, now: int) -> datetime:
        """Return when what `role` signs at `now` (Unix seconds) expires."""
        return datetime.fromtimestamp(now + self.of(role), UTC)


@dataclass(frozen=True, slots=True)
class Pending:
    """Metadata that waits for signatures.

    Attributes:
        role: whose it is. metadata: with the signatures so far. results: how it stands with each threshold.
    """

    role: str
    metadata: Metadata[Any]
    results: tuple[VerificationResult, ...]

    @property
    def version(self) -> int:
        """The version it will have."""
        return int(self.metadata.signed.version)

    @property
    def ready(self) -> bool:
        """Whether every threshold is met."""
        return all(self.results)

    @property
    def signed(self) -> tuple[str, ...]:
        """The ids of the keys whose signature counts."""
        return tuple(sorted({keyid for result in self.results for keyid in result.signed}))

    @property
    def lacking(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """For each threshold that is not met: how many signatures lack, and the ids of the keys that could give one."""
        return tuple((result.missing, tuple(sorted(result.unsigned))) for result in self.results if not result)


def pend(role: str, metadata: Metadata[Any], *delegators: Root | Targets) -> Pending:
    """Return how metadata stands with the thresholds of those who delegate to it."""
    payload = metadata.signed_bytes
    results = (one.get_verification_result(role, payload, metadata.signatures) for one in delegators)
    return Pending(role, metadata, tuple(results))


def add_signatures(pending: Pending, signers: Iterable[Signer]) -> Metadata[Any]:
    """Return the metadata with a signature more of each signer that counts for it.

    Raises:
        Forbidden: none of them counts.
    """
    count = {keyid for result in pending.results for keyid in (*result.signed, *result.unsigned)}
    metadata = Metadata(pending.metadata.signed, dict(pending.metadata.signatures))
    chosen = [signer for signer in signers if signer.public_key.keyid in count]
    if not chosen:
        raise Forbidden("these keys may not sign it", place=pending.role, remedy="bring the keys of that role")
    for signer in chosen:
        metadata.sign(signer, append=True)
    return metadata


def first_metadata(keys: Mapping[str, Sequence[Key]], lifetimes: Lifetimes, now: int) -> dict[str, Metadata[Any]]:
    """Return the first, empty metadata of the offline roles, unsigned.

    Args:
        keys: public keys by role, at least two for `root` and `targets`. now: Unix seconds.

    Raises:
        Missing: a role has no key. Unauthentic: the layout is one that runtimes refuse.
    """
    for role in ROLES:
        if not keys.get(role):
            raise Missing("has no signer", place=role, remedy="make a key for it")
    root = first_root(keys, lifetimes.end("root", now))
    targets = first_targets(keys, lifetimes.end("targets", now))
    check_roles(root, targets)
    delegated = {role: Metadata(Targets(expires=lifetimes.end(role, now))) for role in DELEGATIONS}
    return {"root": Metadata(root), "targets": Metadata(targets), **delegated}


def change_keys(root: Root, targets: Targets, role: str, add: Collection[Key], revoke: Collection[str]) -> str:
    """Add keys to a role and revoke others, in the metadata at hand; return which of the two it changed.

    Raises:
        Forbidden: no such role, or a key that the role does not have. Unauthentic: runtimes would refuse the layout.
    """
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
    return changed.type


def delegated_keys(signed: Root | Targets) -> dict[str, tuple[int, dict[str, Key]]]:
    """Return by role its threshold and its keys by id: the roles that `signed` delegates to."""
    if isinstance(signed, Root):
        roles, keys = dict(signed.roles), signed.keys
    else:
        delegations = signed.delegations
        roles = dict(delegations.roles or {}) if delegations else {}
        keys = delegations.keys if delegations else {}
    return {name: (role.threshold, {keyid: keys[keyid] for keyid in role.keyids}) for name, role in roles.items()}


def check_ids(signed: Root | Targets) -> None:
    """Refuse metadata that names a key under an id other than its own: who signs reads ids, not keys.

    Raises:
        Unauthentic: it does, or a key is unsound.
    """
    for role, (_, keys) in delegated_keys(signed).items():
        for keyid, key in keys.items():
            if own_id(key) != keyid:
                remedy = "do not sign; ask who proposed it"
                raise Unauthentic("names a key under an id that is not its own", place=role, remedy=remedy)


def sign_for(role: str, signed: _T, signers: Signers, delegator: Root | Targets) -> bytes:
    """Return signed metadata that its delegator accepts: nothing is written that runtimes would refuse."""
    metadata = Metadata[_T](signed)
    for signer in signers:
        if signer.public_key.keyid in delegator.get_delegated_role(role).keyids:
            metadata.sign(signer, append=True)
    if not counts(role, metadata, delegator):
        raise not_theirs(role)
    return metadata.to_bytes()


def counts(role: str, metadata: Metadata[Any], delegator: Root | Targets) -> bool:
    """Say whether enough signatures on metadata count for who delegates to it."""
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError:
        return False
    return True


def moment(now: int) -> datetime:
    """Return `now` (Unix seconds) as an aware time."""
    return datetime.fromtimestamp(now, UTC)


def not_theirs(role: str) -> Forbidden:
    """Return the refusal of signers who may not sign for a role."""
    return Forbidden("these keys may not sign it, or are too few", place=role, remedy="bring the keys of that role")
