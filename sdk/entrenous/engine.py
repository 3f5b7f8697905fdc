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
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import nan
from typing import Any, Protocol

import numpy as np

from entrenous.active import Active, Result, Route, Trial
from entrenous.decision import Decision, Receipt
from entrenous.enrolment import Enrolment
from entrenous.events import Event
from entrenous.profile import Cold, Hot, caps_within
from entrenous.receipts import Key, Tally, Waiting
from entrenous_consent.custody import Custody, Drawer, Standing
from entrenous_consent.errors import Malformed, Unavailable
from entrenous_consent.pseudonyms import bucket
from entrenous_consent.retention import expiry
from entrenous_consent.store import Erasure

__all__ = ["Engine", "Watch"]

_TRIES = 8
_MOST_OPEN = 10_000
_IDLE_SECONDS = 1
_BRIEF_SECONDS = 0.005
_WRITERS = 64
"""How many threads may write at once, one to a visitor: two would only replay each other's work. Between processes the
store's compare-and-swap decides."""
_FLOAT32_ENDS = 2.0**128 - 2.0**103
"""From here on a number rounds to an infinite float32."""


class Watch(Protocol):
    """What the engine asks of whoever keeps the active pair up to date. Both are for the visitor's path: brief."""

    def glance(self) -> None:
        """Take on a policy that another process took; called when the withdrawal counter has moved. Never raises."""

    def remaining(self) -> int:
        """Return for how many seconds the pair may still serve unless the publisher is heard; 0 or less: stale."""


class _Unwatched:
    """An engine whose pair nobody replaces, and which is never stale."""

    def glance(self) -> None:
        pass

    def remaining(self) -> int:
        return 1 << 53


@dataclass(slots=True, kw_only=True)
class _Open:
    """A visitor as decisions see them, while nothing says otherwise; `stale` ones are never kept."""

    withdrawals: int
    shard: int
    version: int
    active: Active
    since: int
    until: int
    used: int
    generation: int
    routes: Mapping[str, Route | None]
    granted: frozenset[str]
    head: Any
    buckets: dict[str, int]
    counted: dict[str, int]
    trials: dict[str, Trial]
    stale: bool


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
        self.watch: Watch = _Unwatched()
        self.crowd = False
        self._words = custody.counters.words
        self._glanced: int | None = None
        self._open: dict[bytes, _Open] = {}
        self._enrolment = Enrolment(custody, _MOST_OPEN)
        self._waiting = Waiting(_MOST_OPEN)
        self._lock = threading.Lock()
        self._writing = tuple(threading.Lock() for _ in range(_WRITERS))
        self._ids = itertools.count(int.from_bytes(os.urandom(7), "big"))

    # Deciding

    def decide(self, handle: bytes, name: str, default: Any, context: Mapping[str, Any] | None) -> Decision:
        """Return the decision `name` for the visitor; `default` wherever none can be made.

        Raises:
            Malformed: the context. Unavailable, Unauthentic: the store.
        """
        now, words = self.clock(), self._words
        seen = self._open.get(handle)
        if (
            seen is None
            or seen.withdrawals != words[0]
            or seen.version != words[seen.shard]
            or seen.active is not self.active
            or not seen.since <= now < seen.until
        ):
            seen = self._look(handle, now)
        seen.used = now
        route = seen.routes.get(name)
        if route is None:
            if (trial := seen.trials.get(name)) is not None:
                self._enrol(handle, seen, trial, "", now)
            return self._unrouted(seen, name, default, now)
        supplied = self._context(seen, context) if context else []
        margin = route.scorer.margin(seen.head, supplied, route.column)
        tranche = bisect_right(route.cuts, margin)
        if route.bucket is not None and self._bucket(seen, handle, route, route.bucket) < route.holdout:
            result = route.held[tranche]
        else:
            result = route.results[tranche]
        if (trial := seen.trials.get(name)) is not None:
            self._enrol(handle, seen, trial, result.basis.tranche, now)
        result, receipt = self._account(handle, seen, route, result, tranche, now)
        basis = result.basis
        return Decision(result.value, basis.reason, basis.cause, basis.tranche, receipt, result.payload, margin)

    def _account(
        self, handle: bytes, seen: _Open, route: Route, result: Result, tranche: int, now: int
    ) -> tuple[Result, Receipt]:
        """Apply the cap and note the receipt; return what is to be answered."""
        cap = route.cap
        with self._lock:
            if cap is not None and result.counts:
                if seen.counted[route.name] >= cap.decisions:
                    result = route.capped[tranche]
                else:
                    seen.counted[route.name] += 1
            receipt = Receipt(next(self._ids), now, result.basis)
            key = (handle, seen.generation, route.purpose)
            self._waiting.note(key, receipt, counts=result.counts, keep_days=cap.days if cap else 1)
        return result, receipt

    def _unrouted(self, seen: _Open, name: str, default: Any, now: int) -> Decision:
        if seen.stale:
            return Decision(default, "STALE", "stale")
        if now >= seen.active.expires:
            return Decision(default, "DEFAULT", "no_bundle")
        if name in seen.active.decisions:
            return Decision(default, "DEFAULT", "consent_missing")
        return Decision(default, "ERROR", "unknown_decision")

    def _bucket(self, seen: _Open, handle: bytes, route: Route, mac: Callable[[bytes], bytes]) -> int:
        known = seen.buckets.get(route.experiment)
        if known is None:
            known = seen.buckets[route.experiment] = bucket(mac, handle)
        return known

    def _enrol(self, handle: bytes, seen: _Open, trial: Trial, tranche: str, now: int) -> None:
        """Keep a first exposure in an experiment before it is answered (`Enrolment.enrol`). One that can't be kept
        within 5 ms is not counted, whichever arm it is, and the next decision tries again: the visitor does not wait.
        """
        writing = self._writing[handle[0] % _WRITERS]
        if not writing.acquire(timeout=_BRIEF_SECONDS):
            return
        try:
            if self._enrolment.enrol(handle, seen.active.policy, seen.generation, trial, tranche, now):
                seen.version += 1  # our own write; if it was not the only one, the shard says so
        except Unavailable:
            return
        finally:
            writing.release()
        seen.trials.pop(trial.decision, None)

    def _context(self, seen: _Open, context: Mapping[str, Any]) -> list[tuple[int, float]]:
        """Return the columns that the caller's context fills, for granted purposes only."""
        if not isinstance(context, Mapping):
            raise Malformed("expected a mapping", place="context")
        supplied = []
        for key, value in context.items():
            column = seen.active.supplied.get(key)
            if column is None:
                known = ", ".join(sorted(seen.active.supplied)) or "none"
                raise Malformed("has a key that this bundle does not know", place="context", remedy=f"known: {known}")
            position, purpose, codes = column
            if purpose not in seen.granted:
                continue
            if codes is not None:
                if not isinstance(value, str):
                    raise Malformed("expected text", place=f"context.{key}")
                code = codes.get(value)
                if code is not None:
                    supplied.append((position, float(code)))
            elif isinstance(value, bool) or not isinstance(value, (int, float)):
                raise Malformed("expected a number", place=f"context.{key}")
            else:
                supplied.append((position, _float32(value)))
        return supplied

    def _look(self, handle: bytes, now: int) -> _Open:
        """Open the visitor, and count what waits beside what is stored; again if a tally of theirs arrived meanwhile.

        All records of one visitor and consent share one count, so that two threads that opened one each count together.
        """
        while True:
            arrivals = self._waiting.arrivals(handle)
            seen = self._read(handle, now)
            with self._lock:
                if self._waiting.arrivals(handle) != arrivals:
                    continue
                for name in seen.counted:
                    route = seen.routes[name]
                    if route is not None and route.cap is not None:
                        key = (handle, seen.generation, route.purpose)
                        seen.counted[name] += self._waiting.counted(key, name, days=route.cap.days, now=now)
                before = self._open.get(handle)
                if before is not None and before.generation == seen.generation:
                    before.counted.update(seen.counted)
                    seen.counted = before.counted
                if len(self._open) >= _MOST_OPEN:
                    self._open.clear()
                self._open[handle] = seen
            return seen

    def _read(self, handle: bytes, now: int) -> _Open:
        """Read the visitor: gate, drawers, vector. Nothing is read for a purpose that is not granted."""
        words, shard = self._words, self.custody.counters.shard_of(handle)
        withdrawals, version = words[0], words[shard]
        if withdrawals != self._glanced:
            self.watch.glance()
            self._glanced = withdrawals
        left, active = self.watch.remaining(), self.active
        standing = self.custody.standing(handle, active.policy, now, move=False)
        granted = standing.granted if standing else frozenset[str]()
        stale = left <= 0
        routes = {} if stale or now >= active.expires else active.routes(granted)
        head = memoryview(bytearray(active.blank)).cast("f")
        capped = [(route, route.cap) for route in routes.values() if route is not None and route.cap is not None]
        counted: dict[str, int] = {}
        if standing is not None and any(routes.values()):
            for drawer in self.custody.drawers(handle, standing, active.purposes, now):
                hot, plan = Hot.unpack(drawer.hot), active.plans[drawer.purpose]
                columns = memoryview(hot.fresh(plan, now)).cast("f")
                for position, value in zip(plan.positions, columns, strict=True):
                    head[position] = value
                for route, cap in capped:
                    if route.purpose == drawer.purpose:
                        counted[route.name] = caps_within(hot.caps, route.name, days=cap.days, now=now)
        for position, field, purpose in active.derived:
            if purpose in granted:
                head[position] = now // 3600 % 24 if field == "hour" else (now // 86_400 + 3) % 7
        return _Open(
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
            buckets={},
            counted=counted,
            trials=self._enrolment.missing(handle, active, standing) if self.crowd and routes else {},
            stale=stale,
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

    def observe(self, handle: bytes, events: Sequence[Event], now: int) -> list[str]:
        """Take in events of one visitor, in one transaction.

        Returns:
            For each event: empty when taken in, `consent_missing` when no purpose that listens to it is granted,
            `duplicate` when its id was seen.

        Raises:
            Unavailable: another process keeps writing this visitor, or the disk refuses; nothing was taken in.
        """
        with self._writing[handle[0] % _WRITERS]:
            for _ in range(_TRIES):
                active = self.active
                standing = self.custody.standing(handle, active.policy, now)
                if standing is None:
                    return ["consent_missing"] * len(events)
                names = {event.name for event in events}
                listening = [purpose for purpose in active.purposes if names & active.plans[purpose].events]
                drawers = self.custody.drawers(handle, standing, listening, now, cold=any(event.id for event in events))
                wanted = frozenset().union(*(active.plans[purpose].events for purpose in listening))
                causes = ["consent_missing" if event.name in wanted else "" for event in events]
                changed = [
                    (drawer, self._expires(active, standing, drawer.purpose, now))
                    for drawer in drawers
                    if self._take(active, drawer, events, causes, now)
                ]
                pending = self._enrolment.count(active, handle, standing, events, causes, now) if self.crowd else []
                if not (changed or pending):
                    return causes
                if self.custody.save(handle, standing, changed, now, pending=pending) == "done":
                    return causes
        raise Unavailable("keeps changing under these events", place="store", remedy="send them again")

    def _take(self, active: Active, drawer: Drawer, events: Sequence[Event], causes: list[str], now: int) -> bool:
        """Apply to one drawer the events that its purpose listens to; say whether anything changed."""
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
        return changed

    def flush(self) -> None:
        """Bring waiting receipts and cap counts to the store, and forget open records that lie idle.

        What the store can't take now waits for the next time; what never will be is dropped, and its fault raised when
        all others are done.
        """
        now = self.clock()
        with self._lock:
            idle = [handle for handle, seen in self._open.items() if abs(now - seen.used) > _IDLE_SECONDS]
            for handle in idle:
                del self._open[handle]
        self.custody.refresh()
        self._bring(now)

    def _bring(self, now: int, handle: bytes | None = None) -> None:
        """Bring what waits, of one visitor or of all, to the store. The first that it can't take now ends the round:
        each try may wait a second, and the others would find it no better. That one goes last the next time."""
        with self._lock:
            leaving = self._waiting.leave(handle)
        faults: list[Exception] = []
        try:
            for key in list(leaving):
                try:
                    self._settle(key, leaving[key], now)
                except Unavailable:
                    leaving[key] = leaving.pop(key)
                    break
                except Exception as error:
                    faults.append(error)
                del leaving[key]
                self._arrived(key, written=True)
        finally:
            for key in leaving:
                self._arrived(key, written=False)
        if faults:
            raise faults[0]

    def _arrived(self, key: Key, *, written: bool) -> None:
        """Let go of a tally, and have its visitor counted anew: who looked a moment ago may have counted it twice."""
        with self._lock:
            self._waiting.arrived(key, written=written)
            seen = self._open.get(key[0])
            if seen is not None:
                seen.until = seen.since

    def _settle(self, key: Key, tally: Tally, now: int) -> None:
        """Write one tally into its profile; nothing happens if the consent it was made under has moved on."""
        handle, generation, purpose = key
        with self._writing[handle[0] % _WRITERS]:
            for _ in range(_TRIES):
                active = self.active
                standing = self.custody.standing(handle, active.policy, now)
                if standing is None or standing.generation != generation:
                    return
                if purpose not in active.retention_days:
                    return  # no bundle in force says how long this may be kept
                changed = []
                for drawer in self.custody.drawers(handle, standing, [purpose], now, cold=True):
                    hot, cold = Hot.unpack(drawer.hot), Cold.unpack(drawer.cold, now)
                    tally.settle(hot, cold)
                    drawer.hot, drawer.cold = hot.pack(), cold.pack()
                    changed.append((drawer, self._expires(active, standing, purpose, now)))
                if not changed or self.custody.save(handle, standing, changed, now) != "conflict":
                    return
        raise Unavailable("keeps changing under these receipts", place="store")

    def _expires(self, active: Active, standing: Standing, purpose: str, now: int) -> int:
        days = active.retention_days.get(purpose, 0)
        return expiry(now, consent_until=standing.record.grants[purpose][1], retention_days=days)

    def choose(self, handle: bytes, granted: frozenset[str], source: str) -> Erasure:
        """Store a choice; see `Custody.choose`. What was decided under the one before is brought to the store first:
        a banner that repeats a choice on every page costs no receipt and frees no cap."""
        now = self.clock()
        with suppress(Exception):  # whatever fails there must not stand in the way of a withdrawal
            self._bring(now, handle)
        erased = self.custody.choose(handle, self.active.policy, granted, source=source, now=now)
        self._forget(handle)
        return erased

    def erase(self, handle: bytes) -> Erasure:
        """Erase everything kept about the visitor, in memory too; see `Custody.erase`."""
        self._forget(handle)
        return self.custody.erase(handle, self.active.policy, self.clock())

    def _forget(self, handle: bytes) -> None:
        with self._lock:
            self._waiting.forget(handle)
            self._open.pop(handle, None)
        self._enrolment.forget(handle)

    def orphan(self) -> None:
        """Answer nothing from here on: in a forked child, files and what waits are the parent's, and a lock that
        another thread held at the fork is never released."""
        self._lock, self._open, self._waiting = threading.Lock(), {}, Waiting(_MOST_OPEN)
        self.clock = _orphaned

    def export(self, handle: bytes) -> dict[str, Any]:
        """Return everything kept about the visitor in plain values; empty when nothing is."""
        active, now = self.active, self.clock()
        self._bring(now, handle)
        standing = self.custody.standing(handle, active.policy, now)
        if standing is None:
            return {}
        record = standing.record
        held: dict[str, Any] = {
            "consent": {
                "granted": sorted(standing.granted),
                "refused": sorted(set(active.policy.purposes) - standing.granted),
                "source": record.source,
                "time": record.time,
                "expires": record.expires,
            },
            "purposes": {},
        }
        features = active.features
        for drawer in self.custody.drawers(handle, standing, sorted(standing.granted), now, cold=True):
            hot, cold, plan = Hot.unpack(drawer.hot), Cold.unpack(drawer.cold, now), active.plans.get(drawer.purpose)
            columns = np.frombuffer(hot.fresh(plan, now), np.float32) if plan else ()
            values = {features[i].name: value for i, value in zip(plan.positions if plan else (), columns, strict=True)}
            held["purposes"][drawer.purpose] = {
                "features": {name: _spoken(features, name, float(value)) for name, value in values.items()},
                "times_shown": {name: sum(days.values()) for name, days in hot.caps.items()},
                "receipts": [receipt.as_table() for receipt in cold.receipts],
                "events_remembered": len(cold.event_ids),
            }
            if contributions := self._enrolment.told(handle, standing, drawer.purpose, now):
                held["purposes"][drawer.purpose]["contributions"] = contributions
        self.custody.exported(handle, standing, now)
        return held


def _orphaned() -> int:
    raise Unavailable("was opened before this process was forked", place="client", remedy="open one in each process")


def _float32(number: float) -> float:
    """Return a context number as the central engine holds it: NaN where float32 has no finite value for it."""
    try:
        number = float(number)
    except OverflowError:
        return nan
    return number if abs(number) < _FLOAT32_ENDS else nan


def _spoken(features: Sequence[Any], name: str, value: float) -> Any:
    """Return a feature's value as a person reads it: a category's name, a number, or None for nothing."""
    if value != value:
        return None
    feature = next(one for one in features if one.name == name)
    if feature.values:
        return feature.values[int(value)]
    return int(value) if value.is_integer() else value
