"""Custody: the one place where consent, pseudonyms, vault and store meet.

Whoever holds a handle asks here. Nothing is found, opened or written for a purpose that the visitor's consent record
does not grant at that moment, and every write carries the consent row and generation it was made under, so that the
store drops it if a withdrawal came in between.

A visitor's rows: one `consent` row, and for each granted purpose a *hot* row (it carries the wrapped data key) and,
where there is something to put in them, a *cold* and a *pending* row under the same key. All are named by eight bytes
of a pseudonym, whose full length is bound in the ciphertext: a row of another visitor under the same name does not
open, and is never overwritten. A pending row names its purpose and pseudonym in the clear, so that a release finds and
opens what is due without knowing who it is about.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from entrenous_consent import audit
from entrenous_consent.errors import Forbidden, Malformed, Unauthentic, Unavailable
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring
from entrenous_consent.pending import Pending, label, labelled
from entrenous_consent.policy import CONSENT_KEY, PrivacyPolicy
from entrenous_consent.pseudonyms import keyed
from entrenous_consent.records import SALT_BYTES, ConsentRecord, choose
from entrenous_consent.store import Append, Delete, Erasure, Put, Row, Store, Verdict, Write
from entrenous_consent.vault import Box, Vault

__all__ = ["Custody", "Drawer", "Standing"]

_TRIES = 8


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


class Custody:
    """Everything kept about the visitors of one tenant.

    Args:
        store, keyring, counters: the parts on this host. tenant: as the policy names it. epoch: its length in seconds.
    """

    def __init__(self, store: Store, keyring: Keyring, counters: Counters, *, tenant: str, epoch: int) -> None:
        self.store, self.keyring, self.counters = store, keyring, counters
        self.vault = Vault(keyring, tenant)
        self.epoch = epoch
        self._fresh: int | None = None
        self._mac = lru_cache(maxsize=64)(lambda key: keyed(key))

    def prepare(self, policy: PrivacyPolicy, now: int) -> None:
        """Make the current epoch's keys, so that no visitor waits for one or is the first to need it; and take on the
        policy's epoch, before it is in force. Where that has another length, epochs are counted anew: what was kept
        under the old count is not found, and ends when it would have, or with the next choice or erasure."""
        self.epoch = policy.epoch
        for purpose in (CONSENT_KEY, *policy.purposes):
            self.keyring.epoch_key(purpose, now // policy.epoch)

    def refresh(self) -> None:
        """Let go of keys that another process has destroyed, if any was."""
        withdrawals = self.counters.words[0]
        if withdrawals != self._fresh:
            self.keyring.refresh()
            self._fresh = withdrawals

    def epoch_end(self, now: int) -> int:
        """Return the second at which the current epoch ends."""
        return (now // self.epoch + 1) * self.epoch

    def standing(self, handle: bytes, policy: PrivacyPolicy, now: int, *, move: bool = True) -> Standing | None:
        """Return the visitor's consent, or None when nothing is known.

        Args:
            move: bring a visitor of the last epoch to this one first. Without it nothing is written, and what is
                returned names the last epoch.

        Raises:
            Unauthentic: the row does not open. Unavailable: the store cannot be read.
        """
        epoch = now // policy.epoch
        for _ in range(_TRIES):
            self.refresh()
            found = self._standing(handle, policy, now, epoch)
            if found is not None or not self.keyring.past_epoch_key(CONSENT_KEY, epoch - 1):
                return found
            past = self._standing(handle, policy, now, epoch - 1)
            if past is None:
                return self._standing(handle, policy, now, epoch)  # moved by another process since we looked
            if not move:
                return past
            self._move(handle, past, epoch, now)
        raise Unavailable("keeps changing while it moves to a new epoch", place="store", remedy="try again")

    def _standing(self, handle: bytes, policy: PrivacyPolicy, now: int, epoch: int) -> Standing | None:
        pseudonym = self._pseudonym(handle, CONSENT_KEY, epoch)
        row = self.store.read(pseudonym[:8], now)
        if row is None:
            return None
        box = self.vault.unlock(row.wrapped, CONSENT_KEY, pseudonym)
        record = ConsentRecord.unpack(box.open(b"consent", row.value)).under(policy)
        return Standing(
            record=record,
            granted=record.granted(policy, now),
            epoch=epoch,
            row=pseudonym[:8],
            generation=row.generation,
            version=row.version,
            box=box,
        )

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

    def pending(self, handle: bytes, standing: Standing, purpose: str, now: int) -> Pending | None:
        """Return what the visitor is still to add to reports of a purpose; None where it is not granted.

        Raises:
            Unauthentic: it does not open. Unavailable: the store.
        """
        if purpose not in standing.granted:
            return None
        pseudonym = self._pseudonym(handle, purpose, standing.epoch)
        hot, row = self.store.read_all((pseudonym[:8], pseudonym[16:24]), now)
        if hot is None:
            return None
        box = self.vault.unlock(hot.wrapped, purpose, pseudonym)
        value = None if row is None else box.open(b"pending", labelled(row.value)[2])
        return Pending.of(row, purpose, pseudonym, box, value, standing.record.grants[purpose][1])

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
            Forbidden: a drawer of a purpose that `standing` does not grant.
        """
        writes = self._kept(standing, changed)
        writes += [one.put(guard=(standing.row, standing.generation)) for one in pending]
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

    def join(self, parts: Mapping[bytes, tuple[Standing, Sequence[tuple[Drawer, int]]]], now: int) -> Verdict:
        """Write drawers of several visitors back, by handle, all or nothing; durable. See `save`."""
        writes = [write for standing, changed in parts.values() for write in self._kept(standing, changed)]
        return self._write(writes, parts, now, durable=True)

    def _write(
        self, writes: Sequence[Write], handles: Iterable[bytes], now: int, *, durable: bool, brief: bool = False
    ) -> Verdict:
        """Write all or nothing; then raise the shards of those it was about."""
        verdict = self.store.transact(writes, now=now, durable=durable, brief=brief)
        if verdict == "done":
            for handle in handles:
                self.counters.raise_shard(self.counters.shard_of(handle))
        return verdict

    def _kept(self, standing: Standing, changed: Sequence[tuple[Drawer, int]]) -> list[Write]:
        """Return the writes that store drawers under the consent they were made under."""
        writes: list[Write] = []
        guard = (standing.row, standing.generation)
        for drawer, expires in changed:
            if drawer.purpose not in standing.granted:
                raise Forbidden("is not granted", place=f"purpose {drawer.purpose}", remedy="ask for its drawer again")
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

    def owed(self, now: int) -> list[Pending]:
        """Return every pending row that is due, opened without a handle; what does not open is left out.

        Raises:
            Unavailable: the store.
        """
        found = []
        for name, row in self.store.due(now):
            try:
                purpose, pseudonym, sealed = labelled(row.value)
                hot = self.store.read(pseudonym[:8], now)
                if hot is None or name != pseudonym[16:24]:
                    continue
                box = self.vault.unlock(hot.wrapped, purpose, pseudonym)
                found.append(Pending.of(row, purpose, pseudonym, box, box.open(b"pending", sealed), row.expires))
            except (Malformed, Unauthentic):
                continue
        return found

    def settle(self, changed: Sequence[Pending], more: Sequence[Write], now: int) -> Verdict:
        """Write pending rows that were `owed` back, with what a release adds, in one durable transaction; not `done`
        when one of them has changed or gone since: read them again."""
        kept = (one.put(guard=(one.name, one.generation)) for one in changed)
        return self.store.transact([*kept, *more], now=now, durable=True)

    def choose(
        self, handle: bytes, policy: PrivacyPolicy, granted: frozenset[str], *, source: str, now: int
    ) -> Erasure:
        """Store a choice; erase what purposes no longer granted had stored. Durable before it answers.

        Returns:
            `pending` when an erased key may still lie in a file that a reader holds on to.
        """

        def chosen(before: ConsentRecord | None, salt: bytes) -> ConsentRecord:
            return choose(policy, granted, source=source, now=now, salt=salt)

        return self.take(handle, policy, chosen, now)

    def objection(
        self, handle: bytes, policy: PrivacyPolicy, purposes: frozenset[str], *, source: str, now: int
    ) -> Erasure:
        """Store an objection (GDPR Art. 21): these purposes end, what else was chosen stands as it is, and no longer.
        It is remembered as a refusal is. Answers as `choose` does.
        """

        def narrowed(before: ConsentRecord | None, salt: bytes) -> ConsentRecord:
            refused = choose(policy, frozenset(), source=source, now=now, salt=salt)
            return refused.instead_of(before, purposes)

        return self.take(handle, policy, narrowed, now, kind="objection")

    def take(
        self,
        handle: bytes,
        policy: PrivacyPolicy,
        record_of: Callable[[ConsentRecord | None, bytes], ConsentRecord | None],
        now: int,
        *,
        kind: str = "",
    ) -> Erasure:
        """Store the record that follows from the one in force, as of the very moment that it is stored.

        Args:
            record_of: given the record in force (None for none) and the visitor's salt, returns the one that is to take
                its place, or None to leave everything as it is. Called again where another process was first.
            kind: of the audit entry, where it is not that of a choice.

        Returns:
            As `choose` does.
        """
        epoch = now // policy.epoch
        for _ in range(_TRIES):
            before = self.standing(handle, policy, now)
            known = before.record if before else None
            salt = known.salt if known else os.urandom(SALT_BYTES)
            record = record_of(known, salt)
            if record is None:
                return "done"
            record = record.after(known)
            held, kept = frozenset(known.grants if known else ()), frozenset(record.grants)
            lost = held - kept
            won = record.granted(policy, now) - (before.granted if before else frozenset())
            consent = self._consent_row(handle, before, record, epoch)
            writes: list[Write] = [consent]
            for purpose in sorted(lost):
                writes += self._forget(handle, purpose, epoch)
            writes += self._new_drawers(handle, won, epoch, record, now, (consent.name, consent.generation))
            writes += (astray := self._astray(handle, now, but=epoch))
            if kind:
                detail = {"purposes": sorted(lost), "policy": policy.version, "source": record.source}
                writes.append(self._audit(kind, salt, handle, now, detail))
            elif held or kept:
                named = "consent.withdrawn" if lost else "consent.changed" if before else "consent.granted"
                told = {"granted": sorted(kept), "withdrawn": sorted(lost), "policy": policy.version}
                writes.append(self._audit(named, salt, handle, now, {**told, "source": record.source}))
            if self.store.transact(writes, now=now, durable=True) == "done":
                break
        else:
            raise Unavailable("keeps changing under this choice", place="store", remedy="try again")
        if not (lost or astray):
            self.counters.raise_shard(self.counters.shard_of(handle))
            return "done"
        self.counters.raise_withdrawals()
        return self.store.scrub()

    def _consent_row(self, handle: bytes, before: Standing | None, record: ConsentRecord, epoch: int) -> Put:
        pseudonym = self._pseudonym(handle, CONSENT_KEY, epoch)
        box, wrapped = (before.box, None) if before else self.vault.create(CONSENT_KEY, pseudonym)
        return Put(
            name=pseudonym[:8],
            value=box.seal(b"consent", record.pack()),
            expires=record.expires,
            expect=before.version if before else 0,
            wrapped=wrapped,
            guard=(before.row, before.generation) if before else None,  # erased and made anew, versions begin again
            generation=int.from_bytes(os.urandom(7), "big") + 1,
        )

    def _new_drawers(
        self,
        handle: bytes,
        purposes: Iterable[str],
        epoch: int,
        record: ConsentRecord,
        now: int,
        guard: tuple[bytes, int],
    ) -> Iterator[Write]:
        """Yield the writes that make a data key for each granted purpose whose row is not there already."""
        named = [(purpose, self._pseudonym(handle, purpose, epoch)) for purpose in sorted(purposes)]
        rows = self.store.read_all([pseudonym[:8] for _, pseudonym in named], now)
        for (purpose, pseudonym), row in zip(named, rows, strict=True):
            if row is None:
                box, wrapped = self.vault.create(purpose, pseudonym)
                yield Delete(pseudonym[8:16])  # rows that outlived their key
                yield Delete(pseudonym[16:24])
                yield Put(
                    name=pseudonym[:8],
                    value=box.seal(b"hot", b""),
                    expires=record.grants[purpose][1],
                    expect=0,
                    wrapped=wrapped,
                    guard=guard,
                )

    def _forget(self, handle: bytes, purpose: str, epoch: int) -> list[Delete]:
        pseudonym = self._pseudonym(handle, purpose, epoch)
        return [Delete(pseudonym[:8]), Delete(pseudonym[8:16]), Delete(pseudonym[16:24])]

    def _astray(self, handle: bytes, now: int, *, but: int | None = None) -> list[Delete]:
        """Return what removes rows that are there under another epoch than `but`: of a clock that ran ahead, of a
        length that a policy took back, or moved while a choice was made. Left, they would come into force one day."""
        writes = self._everywhere(handle, but=but)
        rows = self.store.read_all([write.name for write in writes], now)
        return [write for write, row in zip(writes, rows, strict=True) if row is not None]

    def _everywhere(self, handle: bytes, *, but: int | None = None) -> list[Delete]:
        """Return what removes each row that a key of ours, of another epoch than `but`, can still name."""
        epochs = self.keyring.epochs()
        named = [(purpose, epoch) for epoch, some in epochs.items() if epoch != but for purpose in sorted(some)]
        return [write for purpose, epoch in named for write in self._forget(handle, purpose, epoch)]

    def erase(self, handle: bytes, policy: PrivacyPolicy, now: int) -> Erasure:
        """Erase everything kept about the visitor, consent included; an audit entry that points to nobody remains.

        Every name that a key of ours can still form goes: of purposes that the policy has dropped, of past epochs, and
        of what does not open any more.
        """
        try:
            before = self.standing(handle, policy, now, move=False)
        except (Malformed, Unauthentic):
            before = None
        self.prepare(policy, now)
        writes: list[Write] = [*self._everywhere(handle)]
        if before is not None:
            writes.append(self._audit("erasure", before.record.salt, handle, now, {"policy": policy.version}))
        for _ in range(_TRIES):
            self.store.transact(writes, now=now, durable=True)
            if not (writes := [*self._astray(handle, now)]):  # moved to a new epoch by another process meanwhile
                break
        else:
            raise Unavailable("keeps changing under this erasure", place="store", remedy="try again")
        self.counters.raise_withdrawals()
        return self.store.scrub()

    def exported(self, handle: bytes, standing: Standing, now: int) -> None:
        """Add the audit entry of an export."""
        write = self._audit("export", standing.record.salt, handle, now, {"purposes": sorted(standing.granted)})
        self.store.transact([write], now=now, durable=True)

    def _move(self, handle: bytes, past: Standing, epoch: int, now: int) -> None:
        """Bring a visitor from the last epoch's pseudonyms to this one's, in one transaction, under new keys.

        What is not granted at this moment is not opened: it is left behind, and goes.
        """
        writes: list[Write] = [self._consent_row(handle, None, past.record, epoch), Delete(past.row, past.version)]
        for purpose in sorted(past.record.grants):
            old_name = self._pseudonym(handle, purpose, past.epoch)
            row, cold_row, owed = self.store.read_all([old_name[i : i + 8] for i in (0, 8, 16)], now)
            if row is not None and purpose in past.granted:
                name = self._pseudonym(handle, purpose, epoch)
                old = self.vault.unlock(row.wrapped, purpose, old_name)
                new, wrapped = self.vault.create(purpose, name)
                value = new.seal(b"hot", old.open(b"hot", row.value))
                writes.append(Put(name=name[:8], value=value, expires=row.expires, expect=0, wrapped=wrapped))
                if cold_row is not None:
                    value = new.seal(b"cold", old.open(b"cold", cold_row.value))
                    writes.append(Put(name=name[8:16], value=value, expires=cold_row.expires, expect=0))
                if owed is not None:
                    value = label(purpose, name, new.seal(b"pending", old.open(b"pending", labelled(owed.value)[2])))
                    due, own = owed.due, owed.generation
                    put = Put(name=name[16:24], value=value, expires=owed.expires, expect=0, generation=own, due=due)
                    writes.append(put)
            writes.append(Delete(old_name[:8], row.version if row else 0))
            writes.append(Delete(old_name[8:16], cold_row.version if cold_row else 0))
            writes.append(Delete(old_name[16:24], owed.version if owed else 0))
        if self.store.transact(writes, now=now, durable=False) == "done":
            self.counters.raise_shard(self.counters.shard_of(handle))

    def _audit(self, kind: str, salt: bytes, handle: bytes, now: int, detail: Mapping[str, object]) -> Append:
        subject = audit.commitment(salt, handle)
        return Append(audit.log_name(now), audit.entry(kind, time=now, subject=subject, detail=detail))

    def _pseudonym(self, handle: bytes, purpose: str, epoch: int) -> bytes:
        return self._mac(self.keyring.epoch_key(purpose, epoch))(handle)
