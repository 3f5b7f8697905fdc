"""The rules that TUF leaves to us, as functions of verified metadata. No file, no socket, no clock.

python-tuf verifies signatures, thresholds, versions, lengths and expiry (TUF specification 1.0, section 5). It does
not say *which* role vouched for a target, counts one key under two ids twice, and takes any kind of key. So, before a
target is used: two delegations and no more, each speaking of its own paths; keys that are Ed25519, sound, and not
shared between those who must not be one person; versions that agree and never fall.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entrenous.bundle import Bundle
from entrenous_consent.errors import Forbidden, Malformed, Missing, Unauthentic
from entrenous_consent.parsing import KEY
from entrenous_consent.points import sound_point
from entrenous_consent.policy import PrivacyPolicy

if TYPE_CHECKING:  # a start while offline chooses with these rules, and need not load a TUF client for it
    from securesystemslib.signer import Key
    from tuf.api.metadata import Role, Root, TargetFile, Targets

__all__ = [
    "DELEGATIONS",
    "Listed",
    "check_bundle",
    "check_delegated",
    "check_floor",
    "check_roles",
    "check_versions",
    "choose",
    "listed",
    "sound_key",
]

DELEGATIONS: Mapping[str, str] = {"models": "bundles/", "privacy": "policies/"}
"""The two delegated roles, and the folder whose targets each may list."""

_OFFLINE_THRESHOLD = 2
_MOST_VERSIONS = 1 << 53
_ASK = "fetch nothing more from there, and ask the publisher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A target as its own role lists it: `length` in bytes, `digest` its SHA-256."""

    path: str
    version: int
    length: int
    digest: bytes


def sound_key(key: Key) -> bytes | None:
    """Return the 32 public bytes of a sound Ed25519 key, else None.

    Sound means: a canonical encoding of a point that is on the curve and not of small order (RFC 8032, 5.1.3).
    """
    public = key.keyval.get("public")
    if key.keytype != "ed25519" or key.scheme != "ed25519":
        return None
    if not isinstance(public, str) or not re.fullmatch(r"[0-9a-f]{64}", public):
        return None
    point = bytes.fromhex(public)
    return point if sound_point(point) else None


def check_roles(root: Root, targets: Targets) -> None:
    """Refuse verified top-level metadata that is not laid out as two keys demand.

    Args:
        root, targets: as verified by the TUF client.

    Raises:
        Unauthentic: a threshold under two for `root` or `targets`, a target in `targets`, anything but the two
            terminating delegations, a key that is unsound, counted twice, or held by two of: the offline roles, the
            online roles, `models`, `privacy`. Malformed: a version beyond 2^53.
    """
    _check_version("root", root.version)
    _check_version("targets", targets.version)
    if not root.consistent_snapshot:
        raise _wrong("does not keep consistent snapshots", "root")
    for name in ("root", "targets"):
        if root.roles[name].threshold < _OFFLINE_THRESHOLD:
            raise _wrong(f"asks for fewer than {_OFFLINE_THRESHOLD} signatures", f"root: {name}")
    if targets.targets:
        raise _wrong("lists targets of its own", "targets")
    delegations = targets.delegations
    if delegations is None or delegations.roles is None or set(delegations.roles) != set(DELEGATIONS):
        raise _wrong("does not delegate to exactly `models` and `privacy`", "targets")
    for name, role in delegations.roles.items():
        if not role.terminating or role.paths != [f"{DELEGATIONS[name]}*"]:
            raise _wrong(f"is not delegated {DELEGATIONS[name]}* alone, terminating", f"targets: {name}")
    holders: dict[bytes, str] = {}
    groups = [("the offline roles", root.keys, [root.roles["root"], root.roles["targets"]])]
    groups += [("the online roles", root.keys, [root.roles["snapshot"], root.roles["timestamp"]])]
    groups += [(f"`{name}`", delegations.keys, [role]) for name, role in delegations.roles.items()]
    for group, keys, roles in groups:
        for public in frozenset().union(*(_keys(group, keys, role) for role in roles)):
            if holders.setdefault(public, group) != group:
                raise _wrong(f"shares a key with {holders[public]}", group)


def _keys(group: str, keys: Mapping[str, Key], role: Role) -> frozenset[bytes]:
    """Return the public keys of a role, each sound and counted once: TUF itself counts key ids, not keys."""
    found = [sound_key(keys[keyid]) if keyid in keys else None for keyid in role.keyids]
    if None in found:
        raise _wrong("names a key that is not a sound Ed25519 key", group)
    if len(set(found)) != len(found):
        raise _wrong("counts one key twice", group)
    if not 1 <= role.threshold <= len(found):
        raise _wrong("has a threshold that its keys can't meet", group)
    return frozenset(public for public in found if public is not None)


def _check_version(role: str, version: int) -> None:
    if version > _MOST_VERSIONS:
        raise Malformed("is of a version beyond 2^53", place=role, remedy=_ASK)


def check_delegated(role: str, metadata: Targets) -> None:
    """Refuse a delegated role that delegates further, or that speaks of what is not its own.

    Args:
        role: `models` or `privacy`. metadata: as verified by the TUF client.

    Raises:
        Unauthentic: a sub-delegation, or a target outside the role's one folder. Malformed: a version beyond 2^53.
    """
    _check_version(role, metadata.version)
    if metadata.delegations is not None:
        raise _wrong("delegates further", role)
    for path in metadata.targets:
        folder, name = path[: len(DELEGATIONS[role])], path[len(DELEGATIONS[role]) :]
        if folder != DELEGATIONS[role] or not KEY.fullmatch(name):
            raise _wrong(f"lists a target that is not {DELEGATIONS[role]}<short key>", role)


def listed(role: str, metadata: Targets, path: str, *, longest: int) -> Listed:
    """Return what `role` itself lists under `path`.

    Args:
        longest: the most bytes such a target may have.

    Raises:
        Missing: nothing is listed. Malformed: no version, no SHA-256, or longer than `longest`.
    """
    target: TargetFile | None = metadata.targets.get(path)
    if target is None:
        raise Missing("is not listed", place=f"{role}: {path}", remedy="ask the publisher whether it was withdrawn")
    digest = target.hashes.get("sha256", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Malformed("has no SHA-256", place=f"{role}: {path}", remedy=_ASK)
    if target.length > longest:
        raise Malformed(f"is longer than {longest} bytes", place=f"{role}: {path}", remedy=_ASK)
    custom = target.custom
    version = custom.get("version") if isinstance(custom, dict) and len(custom) == 1 else None
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= _MOST_VERSIONS:
        raise Malformed("does not state its version", place=f"{role}: {path}: custom", remedy=_ASK)
    return Listed(path=path, version=version, length=target.length, digest=bytes.fromhex(digest))


def check_floor(place: str, version: int, floors: Mapping[str, int]) -> None:
    """Refuse a version under its floor.

    Args:
        place: a role, or a target's path. floors: the least version of each; a place without one has none.

    Raises:
        Unauthentic: it was rolled back.
    """
    if version < floors.get(place, 0):
        raise Unauthentic(
            f"is version {version}, under the floor {floors[place]}", place=place, remedy="refresh from the publisher"
        )


def check_versions(target: Listed, stated: int, floors: Mapping[str, int], marks: Mapping[str, bytes]) -> None:
    """Refuse a target whose versions disagree, fall, or name other bytes than before.

    Args:
        stated: the version inside the manifest or policy. floors: least versions by path.
        marks: the SHA-256 that was taken at exactly the floor's version, by path.

    Raises:
        Unauthentic: any of these.
    """
    if stated != target.version:
        raise _wrong(f"is listed as version {target.version} and says {stated}", target.path)
    check_floor(target.path, target.version, floors)
    if target.version == floors.get(target.path) and marks.get(target.path, target.digest) != target.digest:
        raise _wrong(f"names other bytes than version {target.version} did before", target.path)


def check_bundle(bundle: Bundle, policy: PrivacyPolicy, now: int, rejected: Collection[bytes]) -> None:
    """Refuse a verified bundle that may not serve. `now` in Unix seconds; `rejected` holds digests.

    Raises:
        Forbidden: the policy does not permit it, it has expired, or it was rejected here.
    """
    place = f"bundles/{bundle.manifest.name}"
    if bundle.digest in rejected:
        raise Forbidden("was rejected here", place=place, remedy="publish a newer version")
    if bundle.manifest.expires <= now:
        raise Forbidden("has expired", place=place, remedy="publish a newer version")
    refusals = policy.permits(bundle.manifest.request())
    if refusals:
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        raise Forbidden(f"{refusals[0]}{more}", place=place, remedy="change the bundle, or have the policy changed")


def choose(retained: Iterable[Bundle], policy: PrivacyPolicy, now: int, rejected: Collection[bytes]) -> Bundle | None:
    """Return the newest retained bundle that may serve under `policy` at `now` (Unix seconds), else None."""
    for bundle in sorted(retained, key=lambda bundle: bundle.manifest.version, reverse=True):
        try:
            check_bundle(bundle, policy, now, rejected)
        except Forbidden:
            continue
        return bundle
    return None


def _wrong(what: str, place: str) -> Unauthentic:
    return Unauthentic(what, place=place, remedy=_ASK)
