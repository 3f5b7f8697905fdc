"""Counters for the operator, in Prometheus' text format. No arm, tranche, segment or experiment, and nobody's name.

What a person did or chose (which route, which reason, which choice) is told once a minute and in multiples of twenty,
so that no single visitor shows, however often this is read. What says how the worker does (answers by class of status,
how long they took, what failed, which versions serve) is told as it stands.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = ["BUCKETS", "STEP", "Family", "Metrics"]

STEP = 20
_SECONDS = 60.0
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Upper ends, in seconds, of what is told of how long answers took."""

Series = Counter[tuple[str, ...]]
Gauges = Callable[[], Mapping[str, float]]

Told = tuple[str, dict[str, str], int | float]
"""What the name ends in, labels, value."""


class Family(NamedTuple):
    """What is told under one name; `kind` as Prometheus calls it."""

    name: str
    kind: str
    told: list[Told]


_LABELS: Mapping[str, tuple[str, ...]] = {
    "entrenous_requests_total": ("route", "status"),
    "entrenous_decisions_total": ("reason",),
    "entrenous_events_total": ("outcome",),
    "entrenous_choices_total": (),
}
"""Counters of what people did, and their labels."""


class Metrics:
    """What happened here since the start. Counted on the loop alone, so that no lock is needed; whoever reads copies.

    Args:
        timer: seconds, rising. gauges: asked at every reading; name without prefix to value.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic, gauges: Gauges = dict) -> None:
        self._timer, self.gauges = timer, gauges
        self._answers: Counter[tuple[str, int]] = Counter()
        self._decisions: Counter[str] = Counter()
        self._events, self._choices = Series(), 0
        self._told: dict[str, Series] = {}
        self._since = timer()
        self._took, self._seconds = [0] * (len(BUCKETS) + 1), 0.0

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is a pattern of ours, never a path that was asked for."""
        self._answers[route, status] += 1
        self._took[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def decision(self, reason: str) -> None:
        """Count a decision by its reason."""
        self._decisions[reason] += 1

    def events(self, taken: int, refused: int) -> None:
        """Count events."""
        self._events[("taken",)] += taken
        self._events[("refused",)] += refused

    def consent(self) -> None:
        """Count a choice."""
        self._choices += 1

    def families(self) -> list[Family]:
        """Return everything that is told."""
        if self._timer() - self._since >= _SECONDS:
            self._since, self._told = self._timer(), {name: _coarse(counts) for name, counts in self._done().items()}
        found = [_counter(name, labels, self._told.get(name, Series())) for name, labels in _LABELS.items()]
        classes, faults = Series(), Series()
        for (route, status), count in list(self._answers.items()):
            classes[(f"{status // 100}xx",)] += count
            if status >= 500:
                faults[(route,)] += count
        found.append(_counter("entrenous_answers_total", ("class",), classes))
        found.append(_counter("entrenous_faults_total", ("route",), faults))
        found.append(self._histogram())
        for name, value in sorted({**_process(), **self.gauges()}.items()):
            found.append(Family(f"entrenous_{name}", "gauge", [("", {}, int(value))]))
        return found

    def text(self) -> str:
        """Return everything that is told, in Prometheus' text format."""
        lines = []
        for name, kind, told in self.families():
            lines.append(f"# TYPE {name} {kind}")
            for suffix, labels, value in told:
                said = ",".join(f'{label}="{text}"' for label, text in labels.items())
                number = value if isinstance(value, int) else f"{value:.6f}"
                lines.append(f"{name}{suffix}{{{said}}} {number}" if said else f"{name}{suffix} {number}")
        return "\n".join(lines) + "\n"

    def _done(self) -> dict[str, Series]:
        """Return what people did, as it stands."""
        routes = Series({(route, str(status)): count for (route, status), count in list(self._answers.items())})
        decisions = Series({(reason,): count for reason, count in list(self._decisions.items())})
        return dict(zip(_LABELS, (routes, decisions, self._events, Series({(): self._choices})), strict=True))

    def _histogram(self) -> Family:
        told: list[Told] = []
        total = 0
        for end, count in zip((*map(str, BUCKETS), "+Inf"), list(self._took), strict=True):
            total += count
            told.append(("_bucket", {"le": end}, total))
        told += [("_sum", {}, float(self._seconds)), ("_count", {}, total)]
        return Family("entrenous_answer_seconds", "histogram", told)


def _coarse(counts: Series) -> Series:
    return Series({key: count // STEP * STEP for key, count in list(counts.items()) if count >= STEP})


def _counter(name: str, labels: tuple[str, ...], counts: Series) -> Family:
    if not labels:
        return Family(name, "counter", [("", {}, counts[()])])
    told = [("", dict(zip(labels, key, strict=True)), count) for key, count in sorted(counts.items())]
    return Family(name, "counter", [*told])


def _process() -> dict[str, float]:
    """Return what the system says of this process, where it says so."""
    found: dict[str, float] = {}
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        found["resident_bytes"] = pages * os.sysconf("SC_PAGE_SIZE")
        found["open_files"] = len(os.listdir("/proc/self/fd"))
    return found
