"""How a repository of ours is laid out, as pure construction: no file, no clock.

The publisher's first metadata is made here, and so is the whole repository that the demonstration signs in memory.
TUF specification 1.0, section 4; `entrenous.updates.verify` holds a repository against the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from securesystemslib.signer import Key, Signer
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

from entrenous.updates.verify import DELEGATIONS, check_roles

__all__ = [
    "OFFLINE_THRESHOLD",
    "TOP",
    "first_root",
    "first_targets",
    "list_target",
    "repository_files",
    "snapshot_of",
    "timestamp_of",
]

OFFLINE_THRESHOLD = 2
"""How many holders must sign `root`, and `targets`."""

TOP = ("root", "targets", "snapshot", "timestamp")
"""TUF's own roles; the others are those of `DELEGATIONS`."""

_T = TypeVar("_T", Root, Targets, Snapshot, Timestamp)


def first_root(keys: Mapping[str, Sequence[Key]], expires: datetime) -> Root:
    """Return the first `root`: the public keys of each role of `TOP`."""
    root = Root(expires=expires, consistent_snapshot=True)
    for role in TOP:
        for key in keys[role]:
            root.add_key(key, role)
        root.roles[role].threshold = OFFLINE_THRESHOLD if role in ("root", "targets") else 1
    return root


def first_targets(keys: Mapping[str, Sequence[Key]], expires: datetime) -> Targets:
    """Return the first top-level `targets`: no target, and the delegations to the public keys of `DELEGATIONS`."""
    targets = Targets(expires=expires)
    targets.delegations = Delegations(
        keys={},
        roles={role: DelegatedRole(role, [], 1, True, paths=[f"{DELEGATIONS[role]}*"]) for role in DELEGATIONS},
    )
    for role in DELEGATIONS:
        for key in keys[role]:
            targets.add_key(key, role)
    return targets


def list_target(targets: Targets, path: str, data: bytes, version: int) -> list[str]:
    """List `data` under `path` in a delegated role's metadata; return the names its file has in the repository."""
    target = TargetFile.from_data(path, data, ["sha256"])
    target.unrecognized_fields["custom"] = {"version": version}
    targets.targets[path] = target
    return [f"targets/{name}" for name in target.get_prefixed_paths()]


def snapshot_of(version: int, roles: Mapping[str, tuple[int, bytes]], expires: datetime) -> Snapshot:
    """Return a `snapshot`. `roles`: version and bytes of the signed metadata of `targets` and each delegated role."""
    meta = {f"{role}.json": MetaFile.from_data(number, data, ["sha256"]) for role, (number, data) in roles.items()}
    return Snapshot(version, expires=expires, meta=meta)


def timestamp_of(version: int, snapshot: tuple[int, bytes], expires: datetime) -> Timestamp:
    """Return a `timestamp`. `snapshot`: version and bytes of the signed metadata it vouches for."""
    return Timestamp(version, expires=expires, snapshot_meta=MetaFile.from_data(*snapshot, ["sha256"]))


def repository_files(
    signers: Mapping[str, Sequence[Signer]],
    targets: Mapping[str, tuple[int, bytes]],
    expires: Callable[[str], datetime],
    *,
    version: int = 1,
) -> dict[str, bytes]:
    """Return a whole repository by relative name, each role's metadata at `version` and the first root.

    Args:
        signers: by role; two or more for `root` and `targets`, keys shared by no two people's roles.
        targets: version and bytes by path, `bundles/<name>` and `policies/<tenant>`.
        expires: when a role's signature ends.

    Raises:
        Unauthentic: keys are shared, unsound or too few.
    """
    keys = {role: [signer.public_key for signer in several] for role, several in signers.items()}
    root, top = first_root(keys, expires("root")), first_targets(keys, expires("targets"))
    check_roles(root, top)
    files = {"metadata/1.root.json": _sign(root, signers["root"])}
    top.version = version
    vouched = {"targets": (version, _sign(top, signers["targets"]))}
    for role, folder in DELEGATIONS.items():
        listing = Targets(version, expires=expires(role))
        for path, (number, data) in targets.items():
            if path.startswith(folder):
                files |= dict.fromkeys(list_target(listing, path, data, number), data)
        vouched[role] = (version, _sign(listing, signers[role]))
    snapshot = _sign(snapshot_of(version, vouched, expires("snapshot")), signers["snapshot"])
    files |= {f"metadata/{version}.{role}.json": data for role, (_, data) in vouched.items()}
    files[f"metadata/{version}.snapshot.json"] = snapshot
    timestamp = timestamp_of(version, (version, snapshot), expires("timestamp"))
    files["metadata/timestamp.json"] = _sign(timestamp, signers["timestamp"])
    return files


def _sign(signed: _T, signers: Sequence[Signer]) -> bytes:
    metadata = Metadata[_T](signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()
