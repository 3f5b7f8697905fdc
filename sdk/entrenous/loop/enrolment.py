"""Enrolment: a visitor's first exposure in an experiment, kept before it is answered, and the outcomes that follow.

Works through custody, on pending rows alone; whoever calls holds the visitor's writing lock.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from entrenous.active import Active
from entrenous.decisions.routes import Trial
from entrenous.events import Event
from entrenous.loop.contributions import OUTCOME, Contribution, due_at, pack_contributions, unpack_contributions
from entrenous_consent.custody import Custody
from entrenous_consent.drawers import Standing
from entrenous_consent.errors import Unavailable
from entrenous_consent.pending import Pending
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["Enrolment"]

_TRIES = 8
_DAY = 86_400


class Enrolment:
    """Who is enrolled in what, as far as this process has seen.

    Args:
        custody: what is kept. most: how many visitors are remembered; beyond that the store is asked again.
    """

    def __init__(self, custody: Custody, most: int) -> None:
        self._custody, self._most = custody, most
        self._known: dict[bytes, tuple[int, frozenset[str]]] = {}
        self._lock = threading.Lock()

    def missing(self, handle: bytes, active: Active, standing: Standing | None) -> dict[str, Trial]:
        """Return, by decision, the trials that the visitor may still have to be enrolled in."""
        if standing is None:
            return {}
        generation, known = self._known.get(handle, (0, frozenset[str]()))
        done = known if generation == standing.generation else frozenset[str]()
        return {
            name: trial
            for name, trial in active.trials.items()
            if trial.drawing.experiment.purpose in standing.granted and trial.drawing.experiment.id not in done
        }

    def enrol(
        self, handle: bytes, policy: PrivacyPolicy, generation: int, trial: Trial, at: tuple[str, str], now: int
    ) -> bool:
        """Enrol a visitor who is not; say whether anything was written.

        Args:
            generation: of the consent that the decision was made under; where it has moved on, nothing is kept.
            at: the arm or `HOLDOUT`, as assigned, and the tranche, empty where nothing was scored.

        Raises:
            Unavailable: it can't be kept within 5 ms.
        """
        experiment, purpose = trial.drawing.experiment.id, trial.drawing.experiment.purpose
        for _ in range(_TRIES):
            standing = self._custody.standing(handle, policy, now, move=False)
            if standing is None or standing.generation != generation:
                return False
            pending = self._custody.pending(handle, standing, purpose, now)
            if pending is None:
                return False
            contributions = unpack_contributions(pending.value)
            if experiment in contributions:
                self._remember(handle, generation, experiment)
                return False
            contributions[experiment] = Contribution(
                decision=trial.decision,
                cell=(*at, trial.segment(standing.granted)),
                consent_version=standing.record.grants[purpose][0],
                chosen=standing.record.time,
                since=now,
                until=now + trial.report.window_days * _DAY,
            )
            pending.value, pending.due = pack_contributions(contributions), due_at(contributions)
            verdict = self._custody.save(handle, standing, [], now, pending=[pending], brief=True)
            if verdict == "done":
                self._remember(handle, generation, experiment)
            if verdict != "conflict":
                return verdict == "done"
        raise Unavailable("keeps changing under this exposure", place="store", remedy="ask again")

    def count(
        self,
        active: Active,
        handle: bytes,
        standing: Standing,
        events: Sequence[Event],
        causes: list[str],
        now: int,
    ) -> list[Pending]:
        """Add outcomes to the visitor's contributions; return the pending rows that changed.

        Args:
            causes: by event; `duplicate` ones are passed over, and what is counted was taken in.
        """
        outcomes = [i for i, event in enumerate(events) if event.name == OUTCOME and causes[i] != "duplicate"]
        found = []
        for purpose in sorted(active.measured) if outcomes else ():
            pending = self._custody.pending(handle, standing, purpose, now)
            contributions = unpack_contributions(pending.value if pending else None)
            if pending is None or not contributions:
                continue
            counted = {i for i in outcomes for one in list(contributions.values()) if one.count(events[i])}
            if counted:
                pending.value = pack_contributions(contributions)
                found.append(pending)
            for i in counted:
                causes[i] = ""
        return found

    def told(self, handle: bytes, standing: Standing, purpose: str, now: int) -> Mapping[str, object]:
        """Return the visitor's contributions in plain values, by experiment."""
        pending = self._custody.pending(handle, standing, purpose, now)
        contributions = unpack_contributions(pending.value if pending else None)
        return {experiment: one.as_table() for experiment, one in contributions.items()}

    def forget(self, handle: bytes) -> None:
        """Drop what is remembered of one visitor."""
        with self._lock:
            self._known.pop(handle, None)

    def _remember(self, handle: bytes, generation: int, experiment: str) -> None:
        with self._lock:
            if len(self._known) >= self._most:
                self._known.clear()
            before, known = self._known.get(handle, (0, frozenset[str]()))
            known = known if before == generation else frozenset[str]()
            self._known[handle] = generation, known | {experiment}
