"""What an examination says of what a host holds: keyring, store, and what the publisher signed.

Nothing is changed by being looked at. The store is read by statements that end; the keyring is opened where there is
one; the publisher is visited by a copy of the updater's state, so that what is taken there is taken nowhere else.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import numpy as np

from entrenous import Config
from entrenous.active import open_models
from entrenous.bundle import Bundle
from entrenous.supply import Supply
from entrenous.updates.retained import Found, State
from entrenous_consent.errors import Malformed, Missing, Refusal, Unauthentic, Unavailable
from entrenous_consent.files import KEYRING, ROOT_KEY, STORE, reaching
from entrenous_consent.keys import Keyring
from entrenous_consent.providers import FileKeyProvider
from entrenous_consent.sqlite import FORMAT
from entrenous_consent.vault import Vault
from entrenous_edge.config import EdgeConfig
from entrenous_edge.doors import head
from entrenous_edge.findings import Findings, mend, ok, warn

__all__ = ["keyring", "store", "supply"]

_DAY = 86_400
_SOON: Mapping[str, int] = {"timestamp": 6 * 3600, "snapshot": 42 * 3600}
"""Seconds before a role's end at which it is time: a quarter of what the publisher's own machine signs for."""
_SOON_DAYS = 14
"""And of what people sign."""
_SKEW = 120
_VISIT_SECONDS = 15.0
_SAMPLE = 20
_APPLICATION = int.from_bytes(b"entr", "big")
_SOME = "select name, wrapped from records join slots using (slot) where length(wrapped) = 64 limit ?"


def _opened(config: EdgeConfig) -> Keyring | None:
    """Return the keyring; None where there is none yet. No root key is made by looking for it.

    Raises:
        as `Keyring`.
    """
    path = config.keys / KEYRING
    with reaching(config.keys):
        if not path.exists():
            return None
        lacking = isinstance(config.root_key, FileKeyProvider) and not (config.keys / ROOT_KEY).exists()
    if lacking:
        remedy = "restore it from your key backup before anything starts: without it the keyring does not open"
        raise Missing("is not there, and a keyring is", place=str(config.keys / ROOT_KEY), remedy=remedy)
    return Keyring(path, config.root_key)


def keyring(config: EdgeConfig, now: int) -> Findings:
    """Say whether the keyring opens under its root key."""
    found = _opened(config)
    if found is None:
        yield ok("keyring", "is made at the first start", config.keys / KEYRING)
        return
    yield ok("keyring", f"opens under its root key, generation {found.generation}", config.keys / KEYRING)
    ahead = found.generation_made() - now
    if ahead > _SKEW:
        remedy = "set the clock right; if it ran ahead before, see `the clock jumped` in docs/operate.md"
        yield mend("clock", f"stands {ahead} s before the keyring's newest generation", "system", remedy)


def store(config: EdgeConfig) -> Findings:
    """Say whether the store is one, of this program's format, and whether its keys are in the keyring."""
    path = config.state / STORE
    with reaching(path):
        if not path.exists():
            yield ok("store", "is made at the first start", path)
            return
        size = path.stat().st_size
    with _reading(path) as file:
        application = file.execute("pragma application_id").fetchall()[0][0]
        found = file.execute("pragma user_version").fetchall()[0][0]
        if application != _APPLICATION:
            raise Malformed("is a database of another program", place=str(path), remedy="choose another directory")
        if found != FORMAT:
            what = f"is of format {found}, this program knows {FORMAT}"
            raise Unavailable(what, place=str(path), remedy="run the entrenous that wrote it, or another directory")
        some = file.execute(_SOME, (_SAMPLE,)).fetchall()
    keys = _opened(config)
    if not some:
        yield ok("store", f"format {found}, {size >> 10} KiB, holds nobody", path)
    elif keys is None:
        remedy = "restore the keys that belong to it; a new keyring opens none of it"
        yield mend("store", "holds records and there is no keyring", path, remedy)
    elif not any(_opens(keys, config.tenant, name, wrapped) for name, wrapped in some):
        remedy = "put back the keyring that it was written under, or begin with an empty state directory"
        yield mend("store", f"none of {len(some)} records looked at opens under this keyring and tenant", path, remedy)
    else:
        yield ok("store", f"format {found}, {size >> 10} KiB, opens under these keys", path)


def _opens(keys: Keyring, tenant: str, name: int, wrapped: bytes) -> bool:
    try:
        Vault(keys, tenant).rewrap(wrapped, name.to_bytes(8, "big", signed=True), keys.generation)
    except Unauthentic:
        return False
    return True


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield the store as it is now. Without a journal nobody writes it, and then no lock or file of ours appears."""
    apart = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{apart}", uri=True, timeout=1.0)) as file:
            yield file
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "") or type(error).__name__
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            remedy = "see `the store is locked or damaged` in docs/operate.md"
            raise Malformed("is damaged or not a store", place=str(path), remedy=remedy) from error
        raise Unavailable(f"cannot be read ({name})", place=str(path), remedy="check its owner and the disk") from error


def supply(config: EdgeConfig, now: int) -> Findings:
    """Say what the publisher shows, what this host has of it, how long either lasts, and whether it scores."""
    with reaching(config.root):
        config.root.read_bytes()
    with _copied(config.state / "updates") as directory:
        client = config.client()
        limits = replace(client.deployment.limits, seconds=_VISIT_SECONDS)
        supply = Supply(client.source, replace(client.deployment, limits=limits), directory, lambda: now)
        before = supply.state.load()
        yield from _clock(client, before.clock, now)
        found: Found | None = None
        try:
            found = supply.visit()
        except Refusal as error:
            yield mend("publisher", error.what, f"{config.source}: {error.place}", error.remedy)
        else:
            yield ok("publisher", "was heard, its signatures verify", config.source)
            yield from _lasting(directory, now)
        try:
            found = found or supply.found(supply.state.raw())
        except Missing:
            yield mend("policy", "none was ever taken here", config.state, "let the publisher be heard; nothing serves")
            return
        yield from _stale(found, before.clock or found.refreshed, now)
        if found.refused is not None:
            yield mend("bundle", found.refused.what, found.refused.place, found.refused.remedy)
        yield from _pair(config, found, now)
    if not config.refresh_seconds:
        remedy = "set it above 0, or call POST /updates: past max_stale_days decisions are STALE"
        yield warn("publisher", "is never asked by itself", "refresh_seconds", remedy)


@contextmanager
def _copied(updates: Path) -> Iterator[Path]:
    """Yield a copy of the updater's state, or an empty place where there is none. Its lock is left to others, so that
    a file may be replaced in between: then it is copied again."""
    try:
        home = tempfile.TemporaryDirectory(prefix="entrenous-doctor-")
    except OSError as error:
        what = f"can't be written ({type(error).__name__})"
        raise Unavailable(what, place="temporary directory", remedy="set TMPDIR to one that can") from error
    with home as made:
        directory = Path(made) / "updates"
        for left in (1, 0):
            try:
                if updates.exists():
                    ignored = shutil.ignore_patterns("staging-*", "lock", ".*.new")
                    shutil.copytree(updates, directory, ignore=ignored, dirs_exist_ok=True)
                break
            except (OSError, shutil.Error) as error:
                if not left:
                    remedy = "check its owner and mode"
                    raise Unavailable("can't be read", place=str(updates), remedy=remedy) from error
                time.sleep(0.1)
        yield directory


def _clock(client: Config, heard: int, now: int) -> Findings:
    """Hold the system's clock against what the publisher and the last visit say."""
    if heard - now > _SKEW:
        what = f"stands {heard - now} s before the last visit to the publisher"
        yield mend("clock", what, "system", "set it right: start time synchronisation")
        return
    apart: int | None = None
    if isinstance(client.source, Path):
        shown = client.source / "metadata" / "timestamp.json"
        if shown.is_file() and shown.stat().st_mtime - now > _SKEW:
            apart = round(now - shown.stat().st_mtime)
    else:
        answered = head(f"{str(client.source).rstrip('/')}/metadata/timestamp.json", 5.0)
        try:
            date = parsedate_to_datetime(answered[1]) if answered and answered[1] else None
        except ValueError:
            date = None
        if date is not None and abs(now - date.timestamp()) > _SKEW:
            apart = round(now - date.timestamp())
    if apart is not None:
        remedy = "start time synchronisation: what expires, goes by this clock"
        yield mend(
            "clock", f"is {abs(apart)} s {'ahead of' if apart > 0 else 'behind'} the publisher's", "system", remedy
        )
    else:
        yield ok("clock", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC, and the publisher agrees")


def _lasting(directory: Path, now: int) -> Findings:
    """Say which verified signatures end soon."""
    metadata = State(directory).metadata
    ends = {path.stem: _end(path) for path in sorted(metadata.glob("*.json"))}
    for role, end in ends.items():
        left = end - now
        if left < _SOON.get(role, _SOON_DAYS * _DAY):
            remedy = (
                "ask the publisher: its machine should have signed anew (entrenous publish --refresh)"
                if role in _SOON
                else f"have {role} signed anew: entrenous keys sign --role {role}"
            )
            yield warn("signatures", f"{role} ends in {_span(left)}", f"metadata/{role}.json", remedy)
    if ends:
        role = min(ends, key=lambda one: ends[one])
        yield ok("signatures", f"the first to end is {role}, in {_span(ends[role] - now)}")


def _end(path: Path) -> int:
    text = json.loads(path.read_bytes())["signed"]["expires"]
    return round(datetime.fromisoformat(text).timestamp())


def _stale(found: Found, heard: int, now: int) -> Findings:
    left = found.policy.max_stale - (now - heard)
    policy = f"{found.policy.tenant} version {found.policy.version}"
    if left <= 0:
        remedy = "let the publisher be heard: POST /updates; until then decisions are STALE and answer the default"
        yield mend(
            "policy", f"{policy}; the publisher was last taken from {_span(now - heard)} ago", "publisher", remedy
        )
    elif left < found.policy.max_stale // 2:
        remedy = "find out why the worker does not hear the publisher; see its log"
        yield warn("policy", f"{policy}; decisions are STALE in {_span(left)}", "publisher", remedy)
    else:
        yield ok("policy", f"{policy}, heard {_span(now - heard)} ago; STALE in {_span(left)}")


def _pair(config: EdgeConfig, found: Found, now: int) -> Findings:
    if found.bundle is None:
        remedy = "publish a newer one that the policy permits; until then decisions answer the default"
        yield mend("bundle", "none may serve", f"bundles/{config.bundle}", remedy)
        return
    manifest = found.bundle.manifest
    what, left = f"{manifest.name} version {manifest.version}, permitted by this policy", manifest.expires - now
    if left < _SOON_DAYS * _DAY:
        remedy = "have a newer version trained, signed and published before that"
        yield warn("bundle", f"{what}, ends in {_span(left)}", f"bundles/{manifest.name}", remedy)
    else:
        yield ok("bundle", f"{what}, ends in {_span(left)}")
    _score(found.bundle)
    yield ok("models", f"{len(found.bundle.models)} open and score")


def _score(bundle: Bundle) -> None:
    """Score nobody with every model.

    Raises:
        Malformed: the runtime refuses a model.
    """
    nobody = np.full(len(bundle.manifest.features), np.nan, np.float32).data
    for name, scorer in open_models(bundle).items():
        if not np.isfinite(scorer.margin(nobody, [], 0)):
            raise Malformed("scores what is no number", place=f"models.{name}", remedy="publish a newer version")


def _span(seconds: float) -> str:
    """Return a length of time as people say it."""
    amount = abs(round(seconds))
    for size, word in ((_DAY, "days"), (3600, "h"), (60, "min")):
        if amount >= 2 * size:
            return f"{amount // size} {word}"
    return f"{amount} s"
