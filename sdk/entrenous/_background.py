"""A daemon thread that does one thing again and again, less often while it fails."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["Repeated", "pause"]

_LONGEST = 3600.0


def pause(seconds: float, failures: int, chance: float) -> float:
    """Return how many seconds to wait: doubled for each failure in a row, up to an hour (or `seconds`, if that is
    longer), and a tenth more or less.

    Args:
        chance: in [0, 1).
    """
    longest = max(seconds, _LONGEST)
    return min(seconds * 2.0 ** min(failures, 30), longest) * (0.9 + 0.2 * chance)


class Repeated:
    """Runs `work` every `seconds` until `stop`. `work` says whether it succeeded, and never raises."""

    def __init__(self, work: Callable[[], bool], seconds: float, name: str, *, jitter: bool = False) -> None:
        self._work, self._seconds, self._jitter = work, seconds, jitter
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"entrenous {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        failures = 0
        while not self._stop.wait(self._next(failures)):
            failures = 0 if self._work() else failures + 1

    def _next(self, failures: int) -> float:
        return pause(self._seconds, failures, os.urandom(1)[0] / 256) if self._jitter else self._seconds

    def stop(self, seconds: float | None = None) -> None:
        """Ask it to end, and wait for that: at most `seconds`, or until it is done."""
        self._stop.set()
        self._thread.join(seconds)
