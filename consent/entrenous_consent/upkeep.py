"""Upkeep: what happens to a whole store and concerns no visitor in particular: sweeping, new keys, notes in the log."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hashlib import sha256

from entrenous_consent import audit
from entrenous_consent.custody import Custody
from entrenous_consent.errors import Unauthentic, Unavailable
from entrenous_consent.keys import Keyring
from entrenous_consent.packing import pack
from entrenous_consent.store import ALWAYS, Append, Delete, Drop, Put, Write

__all__ = ["GENERATION_SECONDS", "note", "rotate", "rotation_due", "sweep", "sweep_daily"]

GENERATION_SECONDS = 86_400
"""How long data keys stay wrapped under one generation: a copy older than this holds none that still opens."""

_TRIES = 8
_CLAIM_SECONDS = 600


def sweep(custody: Custody, now: int, *, audit_days: int = audit.RETENTION_DAYS) -> int:
    """Delete expired rows, drop months of the audit log, scrub the files, destroy the keys of epochs that are over, and
    once a day those that wrapped the others; return how many rows went.

    Args:
        audit_days: how long the policy keeps a month of the audit log.

    Raises:
        Unavailable: the store or the keyring cannot be written.
    """
    for log in audit.ended(custody.store.logs(), now, days=audit_days):
        _drop(custody, log, now)
    swept = custody.store.sweep(now)
    if gone := custody.keyring.retire_epochs(now, custody.epoch):
        _noted_rotation(custody, {"generation": custody.keyring.generation, "epochs": list(gone)}, now)
    custody.refresh()
    if rotation_due(custody.keyring, now):
        rotate(custody, now)
    return swept


def rotation_due(keyring: Keyring, now: int) -> bool:
    """Say whether the next sweep wraps every data key anew: a day after it was done last, where that was left
    unfinished, and where a clock that ran ahead did it."""
    return keyring.rotating or not 0 <= now - keyring.generation_made() < GENERATION_SECONDS


def _drop(custody: Custody, log: str, now: int) -> None:
    """Drop a month whole; its size and root stay, in an entry of this month, which seals it if it was the open one."""
    held = custody.store.log(log)
    if not held:
        return  # another process was first
    entry = audit.entry("audit.dropped", time=now, subject=b"", detail=audit.summary(log, held))
    custody.store.transact([Append(audit.log_name(now), entry), Drop(log)], now=now, durable=True)


def rotate(custody: Custody, now: int) -> int:
    """Wrap every data key anew under a new generation and destroy those before; return how many keys live on.

    From then on, copies of what was erased open with no key of ours, in backups and on media too, and what lives on
    can't be brought back from them either. Where this is interrupted, the next call finishes it.

    Raises:
        Unavailable: the store or the keyring cannot be written.
    """
    generation = custody.keyring.next_generation(now)
    custody.counters.raise_withdrawals()  # others read the keyring again before their old keys are turned away
    living = custody.store.rewrap(generation, partial(_rewrapped, custody, generation))
    custody.keyring.destroy_generations(generation)
    custody.counters.raise_withdrawals()
    _noted_rotation(custody, {"generation": generation, "rewrapped": living}, now)
    return living


def _noted_rotation(custody: Custody, detail: Mapping[str, object], now: int) -> None:
    entry = audit.entry("key.rotation", time=now, subject=b"", detail=detail)
    custody.store.transact([Append(audit.log_name(now), entry)], now=now, durable=True)


def _rewrapped(custody: Custody, generation: int, name: bytes, wrapped: bytes) -> bytes | None:
    try:
        return custody.vault.rewrap(wrapped, name, generation)
    except Unauthentic:
        return None


def note(custody: Custody, kind: str, detail: Mapping[str, object], now: int) -> bool:
    """Add an audit entry that concerns no visitor, unless the last of its kind said the same, here or in another
    process; say whether it was added. After an activation, a refusal that was noted before is news again.

    Args:
        kind: `activation` or `refusal`. detail: plain values.

    Raises:
        Unavailable: the store.
    """
    said, name = sha256(pack(sorted(detail.items()))).digest(), _note_name(kind)
    for _ in range(_TRIES):
        row = custody.store.read(name, now)
        if row is not None and row.value == said:
            return False
        entry = audit.entry(kind, time=now, subject=b"", detail=detail)
        writes: list[Write] = [
            Put(name=name, value=said, expires=ALWAYS, expect=row.version if row else 0),
            Append(audit.log_name(now), entry),
        ]
        if kind == "activation":
            writes.append(Delete(_note_name("refusal")))
        if custody.store.transact(writes, now=now, durable=True) == "done":
            return True
    raise Unavailable("keeps changing under this entry", place="store", remedy="try again")


def sweep_daily(custody: Custody, now: int, *, audit_days: int = audit.RETENTION_DAYS) -> bool:
    """Sweep unless that was done in the last day, here or in another process; say whether it was done. One that fails,
    or is killed, is taken up again ten minutes later.

    Args:
        audit_days: as in `sweep`.

    Raises:
        Unavailable: the store or the keyring cannot be written.
    """
    if not _marked(custody, now - GENERATION_SECONDS + _CLAIM_SECONDS, now):
        return False
    sweep(custody, now, audit_days=audit_days)
    _marked(custody, now, now, again=True)
    return True


def _marked(custody: Custody, swept: int, now: int, *, again: bool = False) -> bool:
    """Remember `swept` as the time of the last sweep; say whether that was done.

    Args:
        again: even where the last one is less than a day ago.
    """
    name = _note_name("sweep")
    row = custody.store.read(name, now)
    last = int.from_bytes(row.value, "big") if row else None
    if not again and last is not None and last <= now < last + GENERATION_SECONDS:
        return False
    put = Put(name=name, value=swept.to_bytes(8, "big"), expires=ALWAYS, expect=row.version if row else 0)
    return custody.store.transact([put], now=now, durable=True) == "done"


def _note_name(kind: str) -> bytes:
    """Return the name of the row that remembers what was last noted: it belongs to no visitor."""
    return sha256(b"entrenous note " + kind.encode()).digest()[:8]
