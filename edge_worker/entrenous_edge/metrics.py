"""Counters for the operator, in Prometheus' text format. No arm, tranche, segment or experiment, and nobody's name.

Counts of consent are told once a minute and in multiples of twenty, so that no single choice shows.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

__all__ = ["Metrics"]

_STEP = 20
_SECONDS = 60.0


class Metrics:
    """What happened here since the start.

    Args:
        timer: seconds, rising.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer, self._lock = timer, threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._reasons: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._consents, self._told, self._since = 0, 0, timer()

    def request(self, route: str, status: int) -> None:
        """Count an answer; `route` is a pattern of ours, never a path that was asked for."""
        with self._lock:
            self._requests[route, status] += 1

    def decision(self, reason: str) -> None:
        """Count a decision by its reason."""
        with self._lock:
            self._reasons[reason] += 1

    def events(self, taken: int, refused: int) -> None:
        """Count events."""
        with self._lock:
            self._events["taken"] += taken
            self._events["refused"] += refused

    def consent(self) -> None:
        """Count a choice."""
        with self._lock:
            self._consents += 1

    def text(self) -> str:
        """Return all counters."""
        with self._lock:
            if self._timer() - self._since >= _SECONDS:
                self._told, self._since = self._consents // _STEP * _STEP, self._timer()
            lines = ["# TYPE entrenous_requests_total counter"]
            lines += [
                f'entrenous_requests_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in sorted(self._requests.items())
            ]
            lines.append("# TYPE entrenous_decisions_total counter")
            lines += [
                f'entrenous_decisions_total{{reason="{reason}"}} {count}'
                for reason, count in sorted(self._reasons.items())
            ]
            lines.append("# TYPE entrenous_events_total counter")
            lines += [
                f'entrenous_events_total{{outcome="{outcome}"}} {count}'
                for outcome, count in sorted(self._events.items())
            ]
            lines += ["# TYPE entrenous_choices_total counter", f"entrenous_choices_total {self._told}"]
        return "\n".join(lines) + "\n"
