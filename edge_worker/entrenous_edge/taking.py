"""Events over HTTP: of one visitor, or of several in one call; what writes goes to a thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from entrenous import Decision, Outcome
from entrenous_edge.answers import Problem, only, outcome_of
from entrenous_edge.calls import Call, Reply, reply

if TYPE_CHECKING:
    from entrenous_edge.app import Worker

__all__ = ["MOST_EVENTS", "Taking"]

MOST_EVENTS = 1000
"""Events in one call."""


class Taking:
    """The route that takes events in.

    Args:
        worker: what it works on.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def events(self, call: Call) -> Reply:
        """Take in events of one visitor, or of several in `batches`."""
        worker = self._worker
        worker.door.check_key(call)
        body = await call.json()
        only(body, "visitor", "events", "minor", "batches")
        batches = body.get("batches", [body])
        if "batches" in body and len(body) > 1:
            raise Problem("malformed", "batches: stand alone")
        if not isinstance(batches, list) or not all(isinstance(one, dict) for one in batches):
            raise Problem("malformed", "batches: expected objects")
        told = []
        for batch in batches:
            only(batch, "visitor", "events", "minor")
            events = batch.get("events")
            if not isinstance(events, list) or not events or len(events) > MOST_EVENTS:
                raise Problem("malformed", f"events: expected 1 to {MOST_EVENTS}")
            told.append((await worker.asking(call, batch), events))
        if sum(len(events) for _, events in told) > MOST_EVENTS:
            raise Problem("malformed", f"events: expected at most {MOST_EVENTS} in all")
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(None, lambda: [self._observe(call, who, events) for who, events in told])
        flat = [outcome for some in outcomes for outcome in some]
        taken = sum(outcome.accepted for outcome in flat)
        worker.metrics.events(taken, len(flat) - taken)
        if any(outcome.cause == "unavailable" for outcome in flat):
            raise Problem("unavailable", "the store can't be written now: send these events again")
        given = [[outcome_of(outcome) for outcome in some] for some in outcomes]
        return reply({"outcomes": given} if "batches" in body else {"outcomes": given[0]})

    def _observe(self, call: Call, identifier: str | None, events: list[Any]) -> list[Outcome]:
        visitor = self._worker.seen(call, identifier)
        if isinstance(visitor, Decision):
            return [Outcome(False, visitor.cause)] * len(events)
        return visitor.observe_all(events)
