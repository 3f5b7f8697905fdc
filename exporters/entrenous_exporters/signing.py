"""Signing for one role: what is shown is what is signed, to the byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.metadata import Targets

from entrenous.bundle import BUNDLE_LIMIT, read_bundle
from entrenous.updates.verify import DELEGATIONS
from entrenous_consent.errors import Forbidden, Malformed, Missing
from entrenous_consent.files import reaching
from entrenous_consent.policy import POLICY_LIMIT, parse_policy
from entrenous_exporters.ceremony import Pending
from entrenous_exporters.publish import Repository
from entrenous_exporters.showing import (
    date,
    show_bundle,
    show_change,
    show_listed,
    show_policy,
    show_policy_change,
)

__all__ = ["Shown", "sign_role"]


@dataclass(frozen=True, slots=True)
class Shown:
    """Pending metadata in words, and the payload that the words are about."""

    lines: tuple[str, ...]
    payload: bytes

    @classmethod
    def of(cls, repository: Repository, pending: Pending, names: Mapping[str, str]) -> Shown:
        """Return pending metadata in words; `names` of holders by key id."""
        signed, payload = pending.metadata.signed, pending.metadata.signed_bytes
        if pending.role in DELEGATIONS:
            return cls(tuple(_listings(repository, pending.role, signed)), payload)
        before = repository.in_force(pending.role)
        return cls(tuple(show_change(before, signed, names)), payload)


def sign_role(
    repository: Repository,
    role: str,
    signers: Sequence[Signer],
    *,
    file: Path | None,
    tenant: str | None,
    names: Mapping[str, str],
    now: int,
    show: Callable[..., None],
    agreed: Callable[[], bool],
) -> bool:
    """Show what a role is about to sign, ask, and sign it; say whether it was signed.

    Args:
        signers: of this role alone. file: a bundle for `models`, a policy for `privacy`; without one, what is pending
            is signed, else the newest metadata with a new expiry. tenant: whose policy must permit the bundle.
        names: of holders, by key id. now: Unix seconds. show: prints lines. agreed: asks.

    Raises:
        Forbidden, Missing, Malformed, Unauthentic: it may not be signed; nothing was.
    """
    if file is None:
        return _sign_pending(repository, role, signers, names=names, now=now, show=show, agreed=agreed)
    if role == "models":
        return _sign_bundle(repository, signers, _read(file, BUNDLE_LIMIT), tenant, now=now, show=show, agreed=agreed)
    if role == "privacy":
        return _sign_policy(repository, signers, _read(file, POLICY_LIMIT), now=now, show=show, agreed=agreed)
    raise Forbidden("signs no file", place=role, remedy="leave the file out: what is pending is signed")


def _sign_pending(
    repository: Repository,
    role: str,
    signers: Sequence[Signer],
    *,
    names: Mapping[str, str],
    now: int,
    show: Callable[..., None],
    agreed: Callable[[], bool],
) -> bool:
    pending = repository.pending(role)
    renewed = pending is None
    if pending is None:
        pending = repository.propose(role, now=now, renew=True)
    signed = False
    try:
        repository.check_pending(pending)
        shown = Shown.of(repository, pending, names)
        show(*shown.lines)
        if agreed():
            repository.sign_pending(role, signers, shown=shown.payload)
            signed = True
    finally:
        if renewed and not signed:
            repository.shelf.drop_pending(role)
    return signed


def _sign_bundle(
    repository: Repository,
    signers: Sequence[Signer],
    data: bytes,
    tenant: str | None,
    *,
    now: int,
    show: Callable[..., None],
    agreed: Callable[[], bool],
) -> bool:
    whose = tenant or _only_tenant(repository)
    repository.check_candidate(data, tenant=whose, now=now)
    bundle = read_bundle(data)
    show(*show_bundle(bundle, len(data)), f"permitted by the policy of {whose}")
    show(*_also(repository, "models", bundle.manifest.name))
    if not agreed():
        return False
    repository.add_bundle(data, signers, tenant=whose, now=now)
    return True


def _sign_policy(
    repository: Repository,
    signers: Sequence[Signer],
    data: bytes,
    *,
    now: int,
    show: Callable[..., None],
    agreed: Callable[[], bool],
) -> bool:
    policy = repository.check_policy(data)
    show(*show_policy(policy, len(data)))
    try:
        before = repository.policy_bytes(policy.tenant)
    except Missing:
        before = b""
        show("the tenant's first policy; all that it says:")
    else:
        show(f"changes since version {parse_policy(before).version}:")
    show(*show_policy_change(before, data))
    show(*_also(repository, "privacy", policy.tenant))
    if not agreed():
        return False
    repository.add_policy(data, signers, now=now)
    return True


def _read(file: Path, longest: int) -> bytes:
    with reaching(file), file.open("rb") as opened:
        data = opened.read(longest + 1)
    if len(data) > longest:
        raise Malformed(f"is longer than {longest} bytes", place=str(file), remedy="make it smaller")
    return data


def _only_tenant(repository: Repository) -> str:
    tenants = repository.tenants()
    if not tenants:
        raise Missing("has no policy yet", place="privacy", remedy="have the policy signed first")
    if len(tenants) > 1:
        raise Forbidden("holds the policies of several tenants", place="privacy", remedy="name one with --tenant")
    return tenants[0]


def _also(repository: Repository, role: str, name: str) -> list[str]:
    """Return in words what the signature vouches for as well: all else that the role lists already."""
    others = [one for one in repository.listings(role) if one.path != f"{DELEGATIONS[role]}{name}"]
    return [f"signed again with it: {show_listed(one)}" for one in others]


def _listings(repository: Repository, role: str, signed: Targets) -> list[str]:
    """Return in words all that metadata of a delegated role lists, each file read and held against its digest."""
    lines = [f"{role}, version {signed.version}, expires {date(signed.expires.timestamp())}"]
    targets = repository.listings(role, signed)
    if not targets:
        lines.append("  lists nothing yet")
    for target in targets:
        data = repository.shelf.target(target)
        lines.append(f"lists {show_listed(target)}")
        shown = (
            show_bundle(read_bundle(data), len(data))
            if role == "models"
            else show_policy(parse_policy(data), len(data))
        )
        lines += [f"  {line}" for line in shown]
    return lines
