"""Custody: the one place where consent, pseudonyms, vault and store meet.

Whoever holds a handle asks here: how consent stands, what the drawers of granted purposes hold (module `drawers`), and
to take in a choice, an objection or an erasure. A visitor's choice lies in one `consent` row; rows of the last epoch
are brought to this one at the first touch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from entrenous_consent.drawers import Drawers, Standing
from entrenous_consent.errors import Malformed, Unauthentic, Unavailable
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring
from entrenous_consent.messages import endings, recalls
from entrenous_consent.pending import REPORTS, TRIGGERS, label, labelled
from entrenous_consent.policy import CONSENT_KEY, PrivacyPolicy
from entrenous_consent.records import SALT_BYTES, ConsentRecord, choose
from entrenous_consent.store import Delete, Erasure, Put, Store, Write

__all__ = ["Custody"]

_TRIES = 8


class Custody(Drawers):
    """Everything kept about the visitors of one tenant.

    Args:
        store, keyring, counters: the parts on this host. tenant: as the policy names it. epoch: its length in seconds.
    """

    def __init__(self, store: Store, keyring: Keyring, counters: Counters, *, tenant: str, epoch: int) -> None:
        super().__init__(store, keyring, counters, tenant=tenant)
        self.epoch = epoch
        self._fresh: int | None = None

    def prepare(self, policy: PrivacyPolicy, now: int) -> None:
        """Make the current epoch's keys, so that no visitor waits for one or is the first to need it; and take on the
        policy's epoch, before it is in force. Where that has another length, epochs are counted anew: what was kept
        under the old count is not found, and ends when it would have, or with the next choice or erasure."""
        self.epoch = policy.epoch
        for purpose in (CONSENT_KEY, *policy.purposes):
            self.keyring.epoch_key(purpose, now // policy.epoch)
        for message in policy.messages:
            self.keyring.recipient_key(message.recipient)

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
            writes += self._told(handle, policy, lost, "withdrawn", epoch, now)
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
                yield Delete(pseudonym[24:32])
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
        return [Delete(pseudonym[i : i + 8]) for i in (0, 8, 16, 24)]

    def _told(
        self, handle: bytes, policy: PrivacyPolicy, purposes: frozenset[str], kind: str, epoch: int, now: int
    ) -> list[Write]:
        """Return the writes that tell recipients that these purposes end (GDPR Art. 19), and take back what waits to
        be sent to them. Where a trigger is raised meanwhile, nothing of it is written, and what waits is read again."""
        bound = sorted({one.purpose for one in policy.messages if one.host} & purposes)
        if not bound:
            return []
        names = [self._pseudonym(handle, purpose, epoch)[24:32] for purpose in bound]
        rows = self.store.read_all(names, now)
        waiting = self.store.outbox(waiting=True)
        return [
            *(Delete(name, row.version if row else 0) for name, row in zip(names, rows, strict=True)),
            *recalls(self.keyring, policy, bound, handle, waiting),
            *endings(self.keyring, policy, bound, kind, handle, now),
        ]

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
        held = frozenset(before.record.grants) if before else frozenset[str]()
        for _ in range(_TRIES):
            told = self._told(handle, policy, held, "erased", before.epoch, now) if before and held else []
            if self.store.transact([*told, *writes], now=now, durable=True) != "done":
                continue
            held = frozenset()
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
            row, cold_row, *owed = self.store.read_all([old_name[i : i + 8] for i in (0, 8, 16, 24)], now)
            if row is not None and purpose in past.granted:
                name = self._pseudonym(handle, purpose, epoch)
                old = self.vault.unlock(row.wrapped, purpose, old_name)
                new, wrapped = self.vault.create(purpose, name)
                value = new.seal(b"hot", old.open(b"hot", row.value))
                writes.append(Put(name=name[:8], value=value, expires=row.expires, expect=0, wrapped=wrapped))
                if cold_row is not None:
                    value = new.seal(b"cold", old.open(b"cold", cold_row.value))
                    writes.append(Put(name=name[8:16], value=value, expires=cold_row.expires, expect=0))
                for slot, waits in zip((REPORTS, TRIGGERS), owed, strict=True):
                    if waits is not None:
                        value = new.seal(slot.form, old.open(slot.form, labelled(waits.value)[2]))
                        writes.append(
                            Put(
                                name=name[slot.start : slot.start + 8],
                                value=label(purpose, name, value),
                                expires=waits.expires,
                                expect=0,
                                generation=waits.generation,
                                due=waits.due,
                            )
                        )
            writes.append(Delete(old_name[:8], row.version if row else 0))
            writes.append(Delete(old_name[8:16], cold_row.version if cold_row else 0))
            writes += [
                Delete(old_name[i : i + 8], one.version if one else 0) for i, one in zip((16, 24), owed, strict=True)
            ]
        if self.store.transact(writes, now=now, durable=False) == "done":
            self.counters.raise_shard(self.counters.shard_of(handle))
