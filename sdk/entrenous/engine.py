"""The engine: one visitor's way from consent to decision, on the parts of this host.

Two paths. *Deciding* reads: an open record (consent gate passed, drawers unlocked, vector folded) is kept in memory
while two mapped counters, the active pair and its own `until` say that it still holds. *Everything else* writes,
through `entrenous_consent.custody`, under the consent it was made with. Receipts and cap counts of decisions wait in
memory and reach the store at the next `flush`, at most a second later; those of a consent that moved on are dropped.

The engine raises; `client` turns what it raises into answers.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from entrenous.active import Active
from entrenous.context import columns_of
from entrenous.decision import Decision, Receipt
from entrenous.decisions.draws import Draw, Drawing
from entrenous.decisions.routes import Result, Scored, Trial
from entrenous.events import Event
from entrenous.health import Health
from entrenous.loop.contributions import HOLDOUT
from entrenous.loop.enrolment import Enrolment
from entrenous.opened import Open, Opened, Unwatched, Watch
from entrenous.profile import Cold, Hot, Kept, caps_within, keep_offer
from entrenous.receipts import Waiting
from entrenous.settling import bring
from entrenous_consent.custody import Custody
from entrenous_consent.drawers import Drawer, Standing
from entrenous_consent.errors import Malformed, Unavailable
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.records import ConsentRecord, choose
from entrenous_consent.retention import expiry
from entrenous_consent.store import Erasure

__all__ = ["Engine", "Watch"]

_TRIES = 8
_MOST_OPEN = 10_000
_IDLE_SECONDS = 1
_LINKED_SECONDS = 1
"""How long a visitor who signed in is taken to hold on that device what was read: its grants raise another shard."""
_BRIEF_SECONDS = 0.005
_WRITERS = 64
"""How many threads may write at once, one to a visitor: two would only replay each other's work. Between processes the
store's compare-and-swap decides."""


class Engine:
    """Works on handles; never sees an identifier.

    Args:
        custody: what is kept. active: the pair in force. clock: Unix seconds.

    Attributes:
        active: replaced as one value by whoever watches. watch: who that is.
        crowd: visitors are enrolled in experiments, since reports can be made. Where none can, nothing waits for one.
    """

    def __init__(self, custody: Custody, active: Active, clock: Callable[[], int]) -> None:
        self.custody, self.active, self.clock = custody, active, clock
        self.watch: Watch = Unwatched()
        self.crowd = False
        self.health: Health | None = None
        self._words = custody.counters.words
        self._glanced: int | None = None
        self._open = Opened(_MOST_OPEN)
        self.enrolment = Enrolment(custody, _MOST_OPEN)
        self.waiting = Waiting(_MOST_OPEN)
        self.lock = threading.Lock()
        self._writing = tuple(threading.Lock() for _ in range(_WRITERS))
        self._ids = itertools.count(int.from_bytes(os.urandom(7), "big"))

    def failed(self) -> None:
        """Note that a decision failed through a fault of ours: many of them roll the bundle back."""
        with suppress(Exception):  # a clock that fails, say: nothing is worse for it than not to be counted
            if self.health is not None:
                self.health.fault(self.active, self.clock())

    def watched_by(self, doubt: Callable[[Active, str], None]) -> None:
        """Have faults counted, and `doubt` told of a bundle that causes them."""
        self.health = Health(self._ids, doubt)

    # Deciding

    def decide(
        self, handle: bytes, name: str, default: Any, context: Mapping[str, Any] | None, device: bytes | None = None
    ) -> Decision:
        """Return the decision `name` for the visitor; `default` wherever none can be made.

        Args:
            device: where they signed in: what is not granted there too is not used.

        Raises:
            Malformed: the context. Unavailable, Unauthentic: the store.
        """
        now = self.clock()
        seen = self.open(handle, now, device)
        route = seen.routes.get(name)
        if route is None:
            if (trial := seen.trials.get(name)) is not None and name not in seen.active.gates:
                draw = self._draw(seen, handle, trial.drawing, now)
                self._enrol(handle, seen, trial, draw, (trial.rule.default_arm, ""), now)
            return self._unrouted(seen, name, default, now)
        supplied = columns_of(context, seen.active, seen.granted) if context else []
        if route.kept and (promised := seen.kept.get(name)) is not None and now < promised[1]:
            result = route.kept.get(promised[0])
            if result is not None:
                return self._account(handle, seen, result, Scored(route, seen.head, supplied), now)
        if route.gate is not None and not route.gate.admits(seen.head, supplied, context, now):
            return self._account(handle, seen, route.ineligible, Scored(route, seen.head, supplied), now)
        tranche, margin = route.place(seen.head, supplied)
        if route.drawing is None:
            result = route.arms[tranche].best
        else:
            draw = self._draw(seen, handle, route.drawing, now)
            result = route.aside[draw.side][tranche] if draw.side else route.arms[tranche].at(draw.place)
            if (trial := seen.trials.get(name)) is not None:
                self._enrol(handle, seen, trial, draw, (result.basis.arm, result.basis.tranche), now)
        return self._account(handle, seen, result, Scored(route, seen.head, supplied, tranche, margin), now)

    def open(self, handle: bytes, now: int, device: bytes | None) -> Open:
        """Return the visitor as decisions see them now: what is kept in memory, while it holds.

        Raises:
            Unavailable, Unauthentic: the store.
        """
        seen = self._open.get(handle if device is None else handle + device)
        if seen is None or not seen.holds(self._words, self.active, now):
            seen = self._look(handle, now, device)
        seen.used = now
        return seen

    def held(self, handle: bytes, now: int) -> Standing | None:
        """Return how a visitor's consent stands, as an open record says; None where the store has to be asked."""
        seen = self._open.get(handle)
        return seen.standing if seen is not None and seen.holds(self._words, self.active, now) else None

    def _account(self, handle: bytes, seen: Open, result: Result, scored: Scored, now: int) -> Decision:
        """Apply the cap, keep what is promised, note the receipt; return the answer."""
        route, ends, counted, keep_days = scored.route, 0, "", 1
        with self.lock:
            if result.counts and (cap := route.cap) is not None:
                if seen.counted[route.name] >= cap.decisions:
                    result = route.capped[scored.tranche]
                else:
                    for name in route.together:
                        seen.counted[name] += 1
                    counted, keep_days = route.counted, cap.days
            basis = result.basis
            if result.counts and (days := route.valid_days.get(basis.arm)):
                ends = now + days * 86_400
                keep_offer(seen.kept, route.name, basis.arm, ends)
            receipt = Receipt(next(self._ids), now, basis)
            if seen.generation:  # of who made no choice nothing waits either
                self.waiting.note(
                    (handle, seen.generation, route.purpose),
                    receipt,
                    counted=counted,
                    keep_days=keep_days,
                    kept_until=ends,
                )
        return Decision(
            result.value, basis.reason, basis.cause, basis.tranche, receipt, result.payload, scored.margin, scored
        )

    def _unrouted(self, seen: Open, name: str, default: Any, now: int) -> Decision:
        if seen.stale:
            return Decision(default, "STALE", "stale")
        if now >= seen.active.expires:
            return Decision(default, "DEFAULT", "no_bundle")
        if name in seen.active.decisions:
            return Decision(default, "DEFAULT", "consent_missing")
        return Decision(default, "ERROR", "unknown_decision")

    def _draw(self, seen: Open, handle: bytes, drawing: Drawing, now: int) -> Draw:
        """Return where the visitor stands in an experiment; an open record ends with the day, and so does this."""
        known = seen.draws.get(drawing.decision)
        if known is None:
            known = seen.draws[drawing.decision] = drawing.draw(handle, now)
        return known

    def _enrol(self, handle: bytes, seen: Open, trial: Trial, draw: Draw, at: tuple[str, str], now: int) -> None:
        """Keep a first exposure in an experiment before it is answered (`Enrolment.enrol`). One that can't be kept
        within 5 ms is not counted, whichever arm it is, and the next decision tries again: the visitor does not wait.

        Args:
            draw: who takes no part is not enrolled. at: the arm, were the visitor not held out, and the tranche.
        """
        if draw.side not in ("", HOLDOUT):
            return
        at = (draw.side or at[0], at[1])
        writing = self._writing[handle[0] % _WRITERS]
        if not writing.acquire(timeout=_BRIEF_SECONDS):
            return
        try:
            if self.enrolment.enrol(handle, seen.active.policy, seen.generation, trial, at, now):
                seen.version += 1  # our own write; if it was not the only one, the shard says so
        except Unavailable:
            return
        finally:
            writing.release()
        seen.trials.pop(trial.decision, None)

    def _look(self, handle: bytes, now: int, device: bytes | None) -> Open:
        """Open the visitor, and count what waits beside what is stored; again if a tally of theirs arrived meanwhile.

        All records of one visitor and consent share one count, so that two threads that opened one each count together.
        """
        while True:
            arrivals = self.waiting.arrivals(handle)
            seen = self._read(handle, now, device)
            with self.lock:
                if self.waiting.arrivals(handle) != arrivals:
                    continue
                for name in seen.counted:
                    route = seen.routes[name]
                    if route is not None and route.cap is not None:
                        key = (handle, seen.generation, route.purpose)
                        seen.counted[name] += self.waiting.counted(key, route.counted, days=route.cap.days, now=now)
                for name, route in seen.routes.items():
                    if route is not None and route.kept:
                        waiting = self.waiting.kept((handle, seen.generation, route.purpose))
                        if (promised := waiting.get(name)) is not None:
                            keep_offer(seen.kept, name, *promised)
                keys = [(handle, seen.generation, purpose) for purpose in seen.active.purposes]
                seen.unsure = any(self.waiting.on_its_way(key) for key in keys)
                for before in self._open.of(handle):
                    if seen.continues(before):
                        before.counted.update(seen.counted)
                        before.kept.update(seen.kept)
                        seen.counted, seen.kept = before.counted, before.kept
                self._open.keep(handle, device, seen)
            return seen

    def opened(self, handle: bytes) -> list[Open]:
        """Return the open records of one visitor: their own, and one for each device they signed in on."""
        return self._open.of(handle)

    def sharing(self, handles: Iterable[bytes]) -> list[Open]:
        """Return the open records whose shard is raised when these visitors are written: theirs, and those of visitors
        who share it. Called under the lock."""
        return self._open.sharing({self.custody.counters.shard_of(handle) for handle in handles})

    def _read(self, handle: bytes, now: int, device: bytes | None) -> Open:
        """Read the visitor: gate, drawers, vector. Nothing is read for a purpose that is not granted."""
        words, shard = self._words, self.custody.counters.shard_of(handle)
        withdrawals, version = words[0], words[shard]
        if withdrawals != self._glanced:
            self.watch.glance()
            self._glanced = withdrawals
        left, active = self.watch.remaining(), self.active
        standing = self.standing(handle, device, active.policy, now, move=False)
        left = left if device is None else min(left, _LINKED_SECONDS)
        chosen = standing is not None or device is not None
        granted = standing.granted if standing else frozenset[str]() if chosen else active.policy.contextual
        stale = left <= 0
        routes = {} if stale or now >= active.expires else active.routes(granted, chosen=chosen)
        head = memoryview(bytearray(active.blank)).cast("f")
        capped = [(route, route.cap) for route in routes.values() if route is not None and route.cap is not None]
        counted: dict[str, int] = {route.name: 0 for route, _ in capped}
        kept: Kept = {}
        if standing is not None and any(routes.values()):
            for drawer in self.custody.drawers(handle, standing, active.purposes, now):
                hot, plan = Hot.unpack(drawer.hot), active.plans[drawer.purpose]
                columns = memoryview(hot.fresh(plan, now)).cast("f")
                for position, value in zip(plan.positions, columns, strict=True):
                    head[position] = value
                for route, cap in capped:
                    if route.purpose == drawer.purpose:
                        counted[route.name] = caps_within(hot.caps, route.counted, days=cap.days, now=now)
                for name, promised in hot.kept.items():
                    if (at := routes.get(name)) is not None and at.purpose == drawer.purpose:
                        kept[name] = promised
        active.tell_time(head, granted, now)
        return Open(
            withdrawals=withdrawals,
            shard=shard,
            version=version,
            active=active,
            since=now,
            until=now if stale else self._until(standing, active, granted, now, left),
            used=now,
            generation=standing.generation if standing else 0,
            routes=routes,
            granted=granted,
            head=head,
            draws={},
            counted=counted,
            kept=kept,
            trials=self.enrolment.missing(handle, active, standing) if self.crowd and routes else {},
            stale=stale,
            unsure=False,
            standing=standing if standing and device is None and standing.epoch == now // active.policy.epoch else None,
        )

    def _until(self, standing: Standing | None, active: Active, granted: frozenset[str], now: int, left: int) -> int:
        """Return the first second at which an open record has to be looked at again."""
        ends = [self.custody.epoch_end(now), (now // 86_400 + 1) * 86_400, now + left]
        ends += [active.plans[purpose].until(now) for purpose in active.purposes if purpose in granted]
        if any(field == "hour" for _, field, _ in active.derived):
            ends.append((now // 3600 + 1) * 3600)
        if standing is not None:
            ends.append(standing.record.until(now))
        if active.expires > now:
            ends.append(active.expires)
        return min(ends)

    # Writing

    def observe(self, handle: bytes, events: Sequence[Event], now: int, device: bytes | None = None) -> list[str]:
        """Take in events of one visitor, in one transaction; see `decide` for `device`.

        Returns:
            For each event: empty when taken in, `consent_missing` when no purpose that listens to it is granted,
            `duplicate` when its id was seen.

        Raises:
            Unavailable: another process keeps writing this visitor, or the disk refuses; nothing was taken in.
        """
        with self.writing(handle):
            for attempt in range(_TRIES):
                active = self.active
                standing = self.held(handle, now) if device is None and not attempt else None
                standing = standing or self.standing(handle, device, active.policy, now, move=True)
                if standing is None:
                    return ["consent_missing"] * len(events)
                names = {event.name for event in events}
                listening = [purpose for purpose in active.purposes if names & active.plans[purpose].events]
                drawers = self.custody.drawers(handle, standing, listening, now, cold=any(event.id for event in events))
                wanted = frozenset().union(*(active.plans[purpose].events for purpose in listening))
                causes = ["consent_missing" if event.name in wanted else "" for event in events]
                folded = {drawer.purpose: self._take(active, drawer, events, causes, now) for drawer in drawers}
                changed = [
                    (drawer, self.expires(active, standing, drawer.purpose, now))
                    for drawer in drawers
                    if folded[drawer.purpose]
                ]
                pending = self.enrolment.count(active, handle, standing, events, causes, now) if self.crowd else []
                if not (changed or pending):
                    return causes
                with self.lock:
                    mine, shared = self.opened(handle), self.sharing((handle,))
                if self.custody.save(handle, standing, changed, now, pending=pending) == "done":
                    for seen in mine:
                        seen.take(active, folded, now)
                    for seen in shared:
                        seen.version += 1  # our own write; if it was not the only one, the shard says so
                    return causes
        raise Unavailable("keeps changing under these events", place="store", remedy="send them again")

    def _take(self, active: Active, drawer: Drawer, events: Sequence[Event], causes: list[str], now: int) -> bytes:
        """Apply to one drawer the events that its purpose listens to; return its columns, empty if none changed it."""
        plan, hot = active.plans[drawer.purpose], Hot.unpack(drawer.hot)
        state, changed = plan.unpack(hot.state), False
        cold = Cold.unpack(drawer.cold, now)
        for i, event in enumerate(events):
            if event.name not in plan.events:
                continue
            if event.id and cold.seen(event.id, now):
                if causes[i] == "consent_missing":
                    causes[i] = "duplicate"
                continue
            plan.apply(state, event)
            causes[i], changed = "", True
        if changed:
            hot.refold(plan, state, now)
            drawer.hot = hot.pack()
            if cold.event_ids:
                drawer.cold = cold.pack()
        return hot.columns if changed else b""

    def flush(self) -> bool:
        """Bring waiting receipts and cap counts to the store, and forget open records that lie idle.

        What the store can't take now waits for the next time; what never will be is dropped, and its fault raised when
        all others are done.

        Returns:
            Whether the store took all.
        """
        now = self.clock()
        with self.lock:
            self._open.drop_idle(now, _IDLE_SECONDS)
        self.custody.refresh()
        return self.bring(now)

    def bring(self, now: int, handle: bytes | None = None) -> bool:
        """Bring what waits, of one visitor or of all, to the store; say whether it took all (`entrenous.settling`)."""
        return bring(self, now, handle)

    def expires(self, active: Active, standing: Standing, purpose: str, now: int) -> int:
        """Return until when a record of this purpose that is written now may be kept."""
        days = active.retention_days.get(purpose, 0)
        return expiry(now, consent_until=standing.record.grants[purpose][1], retention_days=days)

    @contextmanager
    def writing(self, *handles: bytes) -> Iterator[None]:
        """Hold the other threads of this process off these visitors."""
        with ExitStack() as held:
            for index in sorted({handle[0] % _WRITERS for handle in handles}):
                held.enter_context(self._writing[index])
            yield

    def standing(
        self, handle: bytes, device: bytes | None, policy: PrivacyPolicy, now: int, *, move: bool
    ) -> Standing | None:
        """Return the visitor's consent; of one who signed in on a device, only what was granted there too."""
        standing = self.custody.standing(handle, policy, now, move=move)
        if standing is not None and device is not None:
            there = self.custody.standing(device, policy, now, move=move)
            standing.granted &= there.granted if there else frozenset()
        return standing

    def choose(self, handle: bytes, granted: frozenset[str], source: str) -> Erasure:
        """Store a choice; see `Custody.choose`. What was decided under the one before is brought to the store first:
        a banner that repeats a choice on every page costs no receipt and frees no cap."""
        policy, now = self.active.policy, self.clock()
        return self.take(handle, lambda _, salt: choose(policy, granted, source=source, now=now, salt=salt))

    def take(self, handle: bytes, record_of: Callable[[ConsentRecord | None, bytes], ConsentRecord | None]) -> Erasure:
        """Store the choice that follows from the one in force; see `Custody.take`, and `choose`."""
        return self._anew(handle, lambda policy, now: self.custody.take(handle, policy, record_of, now))

    def object(self, handle: bytes, purposes: frozenset[str], source: str) -> Erasure:
        """Store an objection to some purposes; see `Custody.objection`.

        Raises:
            Malformed: the policy has no such purpose.
        """
        policy = self.active.policy
        if not purposes <= policy.purposes.keys():
            known = ", ".join(policy.purposes)
            raise Malformed("names a purpose that the policy does not have", place="purposes", remedy=f"known: {known}")
        return self._anew(handle, lambda at, now: self.custody.objection(handle, at, purposes, source=source, now=now))

    def _anew(self, handle: bytes, store: Callable[[PrivacyPolicy, int], Erasure]) -> Erasure:
        """Store what changes a visitor's consent: what was decided under the one before comes first."""
        now = self.clock()
        with suppress(Exception):  # whatever fails there must not stand in the way of a withdrawal
            self.bring(now, handle)
        erased = store(self.active.policy, now)
        self._forget(handle)
        return erased

    def erase(self, handle: bytes) -> Erasure:
        """Erase everything kept about the visitor, in memory too; see `Custody.erase`."""
        self._forget(handle)
        return self.custody.erase(handle, self.active.policy, self.clock())

    def _forget(self, handle: bytes) -> None:
        with self.lock:
            self.waiting.forget(handle)
            self._open.forget(handle)
        self.enrolment.forget(handle)

    def orphan(self) -> None:
        """Answer nothing from here on: in a forked child, files and what waits are the parent's, and a lock that
        another thread held at the fork is never released."""
        self.lock, self._open, self.waiting = threading.Lock(), Opened(_MOST_OPEN), Waiting(_MOST_OPEN)
        self.clock = _orphaned


def _orphaned() -> int:
    raise Unavailable("was opened before this process was forked", place="client", remedy="open one in each process")
