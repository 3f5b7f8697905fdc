"""Settling: receipts and counts that wait in memory reach the visitors' profiles in the store.

Several visitors go in one transaction, since beginning and ending one costs more than what it writes. Where anything
stands in the way of one of them, each goes alone, and what it was is told of that one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from entrenous.profile import Cold, Hot
from entrenous.receipts import Key, Tally
from entrenous_consent.drawers import Drawer, Standing
from entrenous_consent.errors import Unavailable

if TYPE_CHECKING:
    from entrenous.engine import Engine

__all__ = ["bring", "settle"]

_TOGETHER = 16
_TRIES = 8
_PAUSE_SECONDS, _PAUSES_SECONDS = 0.0005, 0.25
"""After each visitor, and of all: the threads that answer are let through, or they would queue behind every write."""

_Parts = dict[bytes, tuple[Standing, list[tuple[Drawer, int]]]]


class _Apart(Exception):
    """One of several stands in the way of the others."""


def bring(engine: Engine, now: int, handle: bytes | None = None) -> bool:
    """Bring what waits, of one visitor or of all, to the store; say whether it took all. The first that it can't take
    now ends the round: each try may wait a second, and the others would find it no better. That goes last the next
    time."""
    with engine.lock:
        leaving = engine.waiting.leave(handle)
    faults: list[Exception] = []
    pause = min(_PAUSE_SECONDS, _PAUSES_SECONDS / max(len(leaving), 1)) if handle is None else 0.0
    keys = list(leaving)
    groups = deque(keys[at : at + _TOGETHER] for at in range(0, len(keys), _TOGETHER))
    try:
        while groups:
            several = groups.popleft()
            try:
                settle(engine, {key: leaving[key] for key in several}, now, pause)
            except Unavailable:
                for key in several:
                    leaving[key] = leaving.pop(key)
                break
            except Exception as error:
                if len(several) > 1:
                    groups.extendleft([key] for key in reversed(several))
                    continue
                faults.append(error)
            for key in several:
                del leaving[key]
                _arrived(engine, key, written=True)
    finally:
        for key in leaving:
            _arrived(engine, key, written=False)
    if faults:
        raise faults[0]
    return not leaving


def _arrived(engine: Engine, key: Key, *, written: bool) -> None:
    """Let go of a tally, and have its visitor counted anew where they were opened while it was on its way: it may have
    been counted twice."""
    with engine.lock:
        engine.waiting.arrived(key, written=written)
        for seen in engine.opened(key[0]):
            if seen.unsure:
                seen.until = seen.since


def settle(engine: Engine, tallies: Mapping[Key, Tally], now: int, pause: float = 0.0) -> None:
    """Write tallies into their profiles, all or nothing; what was decided under a consent that has moved on is dropped.

    Args:
        pause: seconds, after each.

    Raises:
        Unavailable: the store can't take them now. Any other error of several says that one of them can't be written;
            of one, why.
    """
    alone = len(tallies) == 1
    with engine.writing(*(handle for handle, _, _ in tallies if alone)):
        for attempt in range(_TRIES if alone else 1):
            parts: _Parts = {}
            for key, tally in tallies.items():
                _add(engine, parts, key, tally, now, anew=attempt > 0)
                if pause:
                    time.sleep(pause)
            if not parts:
                return
            with engine.lock:
                opened = engine.sharing(parts)
            verdict = engine.custody.join(parts, now, durable=False)
            if verdict == "done":
                for seen in opened:
                    seen.version += 1  # our own write; if it was not the only one, the shard says so
                return
            if verdict == "dropped" and attempt:
                return
    raise Unavailable("keeps changing under these receipts", place="store") if alone else _Apart


def _add(engine: Engine, parts: _Parts, key: Key, tally: Tally, now: int, *, anew: bool) -> None:
    """Add one tally, written into its drawer, to the `parts` of a transaction.

    Args:
        anew: ask the store how consent stands, whatever an open record says.
    """
    handle, generation, purpose = key
    active, custody = engine.active, engine.custody
    standing = parts[handle][0] if handle in parts else None if anew else engine.held(handle, now)
    standing = standing or custody.standing(handle, active.policy, now)
    if standing is None or standing.generation != generation:
        return
    if purpose not in active.retention_days:
        return  # no bundle in force says how long this may be kept
    for drawer in custody.drawers(handle, standing, [purpose], now, cold=True):
        hot, cold = Hot.unpack(drawer.hot), Cold.unpack(drawer.cold, now)
        tally.settle(hot, cold, now)
        drawer.hot, drawer.cold = hot.pack(), cold.pack()
        _, changed = parts.setdefault(handle, (standing, []))
        changed.append((drawer, engine.expires(active, standing, purpose, now)))
