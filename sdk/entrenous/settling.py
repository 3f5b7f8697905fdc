"""Settling: receipts and counts that wait in memory reach the visitors' profiles in the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from entrenous.profile import Cold, Hot
from entrenous.receipts import Key, Tally
from entrenous_consent.errors import Unavailable

if TYPE_CHECKING:
    from entrenous.engine import Engine

__all__ = ["bring", "settle"]

_TRIES = 8
_PAUSE_SECONDS, _PAUSES_SECONDS = 0.0005, 0.25
"""After each visitor, and of all: the threads that answer are let through, or they would queue behind every write."""


def bring(engine: Engine, now: int, handle: bytes | None = None) -> None:
    """Bring what waits, of one visitor or of all, to the store. The first that it can't take now ends the round: each
    try may wait a second, and the others would find it no better. That one goes last the next time."""
    with engine.lock:
        leaving = engine.waiting.leave(handle)
    faults: list[Exception] = []
    pause = min(_PAUSE_SECONDS, _PAUSES_SECONDS / max(len(leaving), 1)) if handle is None else 0.0
    try:
        for key in list(leaving):
            try:
                settle(engine, key, leaving[key], now)
            except Unavailable:
                leaving[key] = leaving.pop(key)
                break
            except Exception as error:
                faults.append(error)
            del leaving[key]
            _arrived(engine, key, written=True)
            if pause:
                time.sleep(pause)
    finally:
        for key in leaving:
            _arrived(engine, key, written=False)
    if faults:
        raise faults[0]


def _arrived(engine: Engine, key: Key, *, written: bool) -> None:
    """Let go of a tally, and have its visitor counted anew where they were opened while it was on its way: it may have
    been counted twice."""
    with engine.lock:
        engine.waiting.arrived(key, written=written)
        for seen in engine.opened(key[0]):
            if seen.unsure:
                seen.until = seen.since


def settle(engine: Engine, key: Key, tally: Tally, now: int) -> None:
    """Write one tally into its profile; nothing happens if the consent it was made under has moved on."""
    handle, generation, purpose = key
    custody = engine.custody
    with engine.writing(handle):
        for _ in range(_TRIES):
            active = engine.active
            standing = custody.standing(handle, active.policy, now)
            if standing is None or standing.generation != generation:
                return
            if purpose not in active.retention_days:
                return  # no bundle in force says how long this may be kept
            changed = []
            for drawer in custody.drawers(handle, standing, [purpose], now, cold=True):
                hot, cold = Hot.unpack(drawer.hot), Cold.unpack(drawer.cold, now)
                tally.settle(hot, cold, now)
                drawer.hot, drawer.cold = hot.pack(), cold.pack()
                changed.append((drawer, engine.expires(active, standing, purpose, now)))
            if not changed:
                return
            with engine.lock:
                opened = engine.opened(handle)
            verdict = custody.save(handle, standing, changed, now)
            if verdict == "done":
                for seen in opened:
                    seen.version += 1  # our own write; if it was not the only one, the shard says so
            if verdict != "conflict":
                return
    raise Unavailable("keeps changing under these receipts", place="store")
