"""What an examination says of the host: who runs it, its directories and the disks under them, its limits."""

from __future__ import annotations

import os
import pwd
import resource
import stat
from collections.abc import Mapping
from pathlib import Path

from entrenous_consent.files import STORE, reaching
from entrenous_edge.config import EdgeConfig
from entrenous_edge.findings import Findings, mend, ok, warn

__all__ = ["directories", "file_system", "limits", "sorting_directory", "user"]

_REMOTE = frozenset(("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4"))
_REMOTE |= frozenset(("ocfs2", "orangefs", "smb3", "smbfs", "vboxsf", "virtiofs"))
_REMOTE |= frozenset(f"fuse.{one}" for one in ("cephfs", "gcsfuse", "glusterfs", "s3fs", "sshfs"))
"""File systems whose locks and mapped files other hosts share, or that have none."""
_PASSING = frozenset(("overlay", "ramfs", "tmpfs"))
_ROOM = 256 << 20
"""Bytes that should be free beside what the store takes again while it is rebuilt."""
_INODES = 1000
_FILES = 2048
"""Two ports, each of which answers 512 at once, and files; connections that wait to be refused take one each too."""


def user(config: EdgeConfig, number: int) -> Findings:
    """Say as whom this runs. `number`: the effective user id."""
    owner = config.state.stat().st_uid if config.state.is_dir() else number
    if owner != number and number != 0:
        yield mend("user", f"this runs as {_name(number)}, and it belongs to {_name(owner)}", config.state, _as(owner))
    elif owner != number:
        yield warn("user", f"this runs as root, the worker as {_name(owner)}", config.state, _as(owner))
    elif number == 0:
        remedy = "run the worker as a user of its own; it needs no right but to its directories"
        yield warn("user", "is root", "user", remedy)
    else:
        yield ok("user", f"is {_name(number)}")


def _as(owner: int) -> str:
    return f"run it as the worker's user: runuser -u {_name(owner)} -- entrenous doctor …"


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def directories(config: EdgeConfig) -> Findings:
    """Say whether the directories can be used, whether the disks under them suit, and whether there is room."""
    mounts = Path("/proc/self/mountinfo")
    table = mounts.read_text("utf-8", "replace") if mounts.is_file() else ""
    for name, path in (("state", config.state), ("keys", config.keys)):
        with reaching(path):
            yield from _directory(name, path, table)
    state, keys = config.state.resolve(), config.keys.resolve()
    if state.is_relative_to(keys) or keys.is_relative_to(state):
        yield mend("keys", "lies within the other of state and keys", keys, "keep keys apart from data")
    store = config.state / STORE
    needed = store.stat().st_size if store.is_file() else 0
    yield from _room("state", _standing(config.state), needed + _ROOM)
    sorting = sorting_directory(os.environ)
    if sorting is None or needed > _free(sorting):
        remedy = f"set SQLITE_TMPDIR={config.state} where the worker is started"
        yield warn("sweep", "the daily sweep has no room to rebuild the store", sorting or "temporary files", remedy)
    else:
        yield ok("sweep", "the daily sweep rebuilds the store by way of it", sorting)


def _directory(name: str, path: Path, table: str) -> Findings:
    if path.exists() and not path.is_dir():
        yield mend(name, "is no directory", path, "name another in the configuration")
        return
    standing = _standing(path)
    if not os.access(standing, os.W_OK | os.X_OK):
        yield mend(name, "can't be written", standing, "check its owner and mode, and whether it is mounted read-only")
        return
    kind = file_system(standing.resolve(), table)
    if kind in _REMOTE:
        remedy = "put it on a disk of this host: other hosts' locks and mapped files do not reach this one's"
        yield mend(name, f"is on {kind}, which is not local", path, remedy)
    elif kind in _PASSING:
        yield warn(name, f"is on {kind}, which may go at a restart", path, "put it on a disk, or mount a volume")
    elif not path.exists():
        yield ok(name, "is made at the first start", path)
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield warn(name, "can be opened by others", path, f"chmod 700 {path}")
    else:
        yield ok(name, f"can be written, on {kind or 'a file system of unknown kind'}", path)


def _standing(path: Path) -> Path:
    """Return the path, or its nearest parent that is there."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def _room(name: str, path: Path, needed: int) -> Findings:
    room = os.statvfs(path)
    if _free(path) < needed:
        remedy = f"free space, or give it {needed >> 20} MiB: what is acknowledged is kept, nothing new is"
        yield mend("room", f"{name} has {_free(path) >> 20} MiB left", path, remedy)
    elif room.f_files and room.f_favail < _INODES:
        yield mend("room", f"{name} has {room.f_favail} inodes left", path, "remove files that are not needed")
    else:
        yield ok("room", f"{name} has {_free(path) >> 20} MiB left", path)


def _free(path: Path) -> int:
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def file_system(path: Path, table: str) -> str:
    """Return the kind of the file system that a resolved path lies on, empty where it is unknown.

    Args:
        table: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    """
    found, longest = "", -1
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        mounted = Path(fields[4].encode("ascii", "replace").decode("unicode_escape"))
        if path.is_relative_to(mounted) and len(mounted.parts) >= longest:
            found, longest = after.split()[0], len(mounted.parts)
    return found


def sorting_directory(environment: Mapping[str, str]) -> Path | None:
    """Return where SQLite rebuilds a store, in its own order (sqlite.org/tempfiles.html, section 5)."""
    named = [environment.get(one) for one in ("SQLITE_TMPDIR", "TMPDIR")]
    for one in (*named, "/var/tmp", "/usr/tmp", "/tmp", "."):  # noqa: S108 — SQLite's own, looked at, not written
        if one and Path(one).is_dir() and os.access(one, os.W_OK | os.X_OK):
            return Path(one)
    return None


def limits() -> Findings:
    """Say how many files may be open: of whoever runs this, and a service's own may differ."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        yield warn(
            "files", f"{soft} may be open here", "ulimit -n", f"give the worker {_FILES}: LimitNOFILE, ulimit -n"
        )
    else:
        yield ok("files", f"{soft if soft != resource.RLIM_INFINITY else 'any number'} may be open here")
