"""Drawers: what is kept of one visitor for one purpose, unlocked, and how it is written back.

Nothing is found, opened or written for a purpose that the visitor's standing does not grant, and every write carries
the consent row and generation it was made under, so that the store drops it if a withdrawal came in between.

For each granted purpose there is a *hot* row (it carries the wrapped data key) and, where there is something to put in
them, a *cold* and two *pending* rows under the same key. All are named by eight bytes of a pseudonym, whose full length
is bound in the ciphertext: a row of another visitor under the same name does not open, and is never overwritten. A
pending row names its purpose and pseudonym in the clear, so that what is due is found and opened without knowing who it
is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from entrenous_consent import audit
from entrenous_consent.errors import Forbidden, Malformed, Unauthentic
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring
from entrenous_consent.pending import REPORTS, Pending, Slot, labelled
from entrenous_consent.pseudonyms import keyed
from entrenous_consent.records import ConsentRecord
from entrenous_consent.store import Append, Delete, Put, Row, Store, Verdict, Write
from entrenous_consent.vault import Box, Vault

__all__ = ["Drawer", "Drawers", "Standing"]


@dataclass(slots=True, kw_only=True)
class Standing:
    """A visitor's consent as it stands: the record, and what a write made under it must name."""

    record: ConsentRecord
    granted: frozenset[str]
    epoch: int
    row: bytes
    generation: int
    version: int
    box: Box


@dataclass(slots=True, kw_only=True)
class Drawer:
    """One visitor's record for one purpose, unlocked.

    Attributes:
        hot, cold: plaintext as stored; None where nothing is.
        version, cold_version: what was read, 0 for absent.
        wrapped: the wrapped key of a drawer that is new; None when the stored one stays.
    """

    purpose: str
    name: bytes
    cold_name: bytes
    box: Box
    hot: bytes | None
    cold: bytes | None
    version: int
    cold_version: int
    wrapped: bytes | None


class Drawers:
    """The drawers of the visitors of one tenant.

    Args:
        store, keyring, counters: the parts on this host. tenant: as the policy names it.
    """

    def __init__(self, store: Store, keyring: Keyring, counters: Counters, *, tenant: str) -> None:
        self.store, self.keyring, self.counters = store, keyring, counters
        self.vault = Vault(keyring, tenant)
        self._mac = lru_cache(maxsize=64)(lambda key: keyed(key))

    def drawers(
        self, handle: bytes, standing: Standing, purposes: Iterable[str], now: int, *, cold: bool = False
    ) -> list[Drawer]:
        """Return the unlocked drawers of those `purposes` that are granted; others are not even named.

        Args:
            cold: read the cold rows too.
        """
        wanted = [purpose for purpose in purposes if purpose in standing.granted]
        named = [(purpose, self._pseudonym(handle, purpose, standing.epoch)) for purpose in wanted]
        ends = (8, 16) if cold else (8,)
        rows = iter(self.store.read_all([name[end - 8 : end] for _, name in named for end in ends], now))
        return [self._drawer(purpose, name, next(rows), next(rows) if cold else None) for purpose, name in named]

    def _drawer(self, purpose: str, pseudonym: bytes, row: Row | None, cold_row: Row | None) -> Drawer:
        wrapped = None
        if row is None:
            box, wrapped = self.vault.create(purpose, pseudonym)
        else:
            box = self.vault.unlock(row.wrapped, purpose, pseudonym)
        return Drawer(
            purpose=purpose,
            name=pseudonym[:8],
            cold_name=pseudonym[8:16],
            box=box,
            hot=None if row is None else box.open(b"hot", row.value) or None,
            cold=None if row is None or cold_row is None else box.open(b"cold", cold_row.value),
            version=row.version if row else 0,
            cold_version=cold_row.version if cold_row else 0,
            wrapped=wrapped,
        )

    def pending(
        self, handle: bytes, standing: Standing, purpose: str, now: int, slot: Slot = REPORTS
    ) -> Pending | None:
        """Return what waits of a visitor for a purpose; None where it is not granted.

        Raises:
            Unauthentic: it does not open. Unavailable: the store.
        """
        if purpose not in standing.granted:
            return None
        pseudonym = self._pseudonym(handle, purpose, standing.epoch)
        hot, row = self.store.read_all((pseudonym[:8], pseudonym[slot.start : slot.start + 8]), now)
        if hot is None:
            return None
        box = self.vault.unlock(hot.wrapped, purpose, pseudonym)
        value = None if row is None else box.open(slot.form, labelled(row.value)[2])
        return Pending.of(row, purpose, pseudonym, box, value, standing.record.grants[purpose][1], slot)

    def save(
        self,
        handle: bytes,
        standing: Standing,
        changed: Sequence[tuple[Drawer, int]],
        now: int,
        *,
        pending: Sequence[Pending] = (),
        brief: bool = False,
    ) -> Verdict:
        """Write drawers back, each with its expiry, and pending rows, all or nothing; then raise the visitor's shard.

        Args:
            brief: a visitor waits: see `Store.transact`.

        Returns:
            `conflict` when another writer was first: read again and replay. `dropped` when consent moved on.

        Raises:
            Forbidden: a drawer or a row of a purpose that `standing` does not grant.
        """
        writes = self._kept(standing, changed)
        for one in pending:
            self._granted(standing, one.purpose)
            writes.append(one.put(guard=(standing.row, standing.generation)))
        return self._write(writes, (handle,), now, durable=False, brief=brief)

    def correct(
        self,
        handle: bytes,
        standing: Standing,
        changed: Sequence[tuple[Drawer, int]],
        detail: Mapping[str, object],
        now: int,
    ) -> Verdict:
        """Write drawers back as `save` does, with the audit entry of a correction; durable.

        Args:
            detail: what the entry says beside who and when.
        """
        entry = self._audit("correction", standing.record.salt, handle, now, detail)
        return self._write([*self._kept(standing, changed), entry], (handle,), now, durable=True)

    def join(
        self, parts: Mapping[bytes, tuple[Standing, Sequence[tuple[Drawer, int]]]], now: int, *, durable: bool = True
    ) -> Verdict:
        """Write drawers of several visitors back, by handle, all or nothing. See `save`."""
        writes = [write for standing, changed in parts.values() for write in self._kept(standing, changed)]
        return self._write(writes, parts, now, durable=durable)

    def _write(
        self, writes: Sequence[Write], handles: Iterable[bytes], now: int, *, durable: bool, brief: bool = False
    ) -> Verdict:
        """Write all or nothing; then raise the shards of those it was about."""
        verdict = self.store.transact(writes, now=now, durable=durable, brief=brief)
        if verdict == "done":
            self.counters.raise_shards({self.counters.shard_of(handle) for handle in handles})
        return verdict

    @staticmethod
    def _granted(standing: Standing, purpose: str) -> None:
        if purpose not in standing.granted:
            raise Forbidden("is not granted", place=f"purpose {purpose}", remedy="ask for what is kept again")

    def _kept(self, standing: Standing, changed: Sequence[tuple[Drawer, int]]) -> list[Write]:
        """Return the writes that store drawers under the consent they were made under."""
        writes: list[Write] = []
        guard = (standing.row, standing.generation)
        for drawer, expires in changed:
            self._granted(standing, drawer.purpose)
            hot = drawer.box.seal(b"hot", drawer.hot or b"")
            writes.append(
                Put(
                    name=drawer.name,
                    value=hot,
                    expires=expires,
                    expect=drawer.version,
                    wrapped=drawer.wrapped,
                    guard=guard,
                )
            )
            if drawer.cold is not None:
                cold = drawer.box.seal(b"cold", drawer.cold)
                writes.append(
                    Put(name=drawer.cold_name, value=cold, expires=expires, expect=drawer.cold_version, guard=guard)
                )
            elif drawer.wrapped is not None:
                writes.append(Delete(drawer.cold_name))  # a cold row that outlived its key
        return writes

    def owed(self, now: int, purpose: str, slot: Slot = REPORTS) -> list[Pending]:
        """Return every pending row of a purpose and slot that is due, opened without a handle; others are not opened,
        and what does not open is left out.

        Raises:
            Unavailable: the store.
        """
        found = []
        for name, row in self.store.due(now):
            try:
                named, pseudonym, sealed = labelled(row.value)
                hot = self.store.read(pseudonym[:8], now) if named == purpose else None
                if hot is None or name != pseudonym[slot.start : slot.start + 8]:
                    continue
                box = self.vault.unlock(hot.wrapped, purpose, pseudonym)
                value = box.open(slot.form, sealed)
                found.append(Pending.of(row, purpose, pseudonym, box, value, row.expires, slot))
            except (Malformed, Unauthentic):
                continue
        return found

    def settle(self, changed: Sequence[Pending], more: Sequence[Write], now: int) -> Verdict:
        """Write pending rows that were `owed` back, with what a release adds, in one durable transaction; not `done`
        when one of them has changed or gone since: read them again."""
        kept = (one.put(guard=(one.name, one.generation)) for one in changed)
        return self.store.transact([*kept, *more], now=now, durable=True)

    def _audit(self, kind: str, salt: bytes, handle: bytes, now: int, detail: Mapping[str, object]) -> Append:
        subject = audit.commitment(salt, handle)
        return Append(audit.log_name(now), audit.entry(kind, time=now, subject=subject, detail=detail))

    def _pseudonym(self, handle: bytes, purpose: str, epoch: int) -> bytes:
        return self._mac(self.keyring.epoch_key(purpose, epoch))(handle)
