"""Health: a bundle under which decisions fail is rolled back by itself, and never taken again.

Only faults of ours count, which no input should be able to cause; a store out of reach or a context that is none is
nobody's fault here. Twenty in a minute that are a twentieth of all decisions are enough.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

from entrenous.active import Active

__all__ = ["FEWEST_FAULTS", "FEWEST_SHARE", "WINDOW_SECONDS", "Health"]

FEWEST_FAULTS = 20
FEWEST_SHARE = 0.05
WINDOW_SECONDS = 60

_LOG = logging.getLogger("entrenous")

Doubt = Callable[[Active, str], None]
"""Rolls the bundle of this pair back, if it is still in force, and says why."""


class Health:
    """Counts faults against decisions.

    Args:
        numbers: those of receipts, one a decision; taking one more leaves a gap and nothing else. doubt: what rolls
            back; it may take its time, and runs in a thread of its own.
    """

    def __init__(self, numbers: Iterator[int], doubt: Doubt) -> None:
        self._numbers, self._doubt, self._lock = numbers, doubt, threading.Lock()
        self._of: Active | None = None
        self._since = self._first = self._faults = 0

    def fault(self, active: Active, now: int) -> None:
        """Note that a decision failed under a pair."""
        with self._lock:
            number = next(self._numbers)
            if self._of is not active or not 0 <= now - self._since < WINDOW_SECONDS:
                self._of, self._since, self._first, self._faults = active, now, number, 0
            self._faults += 1
            made = number - self._first + 1  # with the faults, each of which took a number here
            if self._faults < FEWEST_FAULTS or self._faults < FEWEST_SHARE * made or active.bundle is None:
                return
            what, self._of = f"made {self._faults} of {made} decisions fail", None
        threading.Thread(target=self._run, args=(active, what), name="entrenous roll-back", daemon=True).start()

    def _run(self, active: Active, what: str) -> None:
        try:
            self._doubt(active, what)
        except Exception as error:
            _LOG.error("a bundle could not be rolled back: %s", type(error).__name__)
