"""What visitors tell of themselves, over HTTP: a page tells a word or takes one back as it sends events, and reads what
was told only for who is proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from entrenous import Decision, Outcome
from entrenous_edge.answers import Problem, answer, only, outcome_of, problem_of
from entrenous_edge.calls import read_json

if TYPE_CHECKING:
    from entrenous_edge.app import Worker

__all__ = ["Preferences"]


class Preferences:
    """The routes of preferences.

    Args:
        worker: what they work on.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def told(self, request: Request) -> Response:
        """Return what whoever asks can tell and did tell, if it is proven who they are; nothing where their browser
        objects."""
        visitor = self._worker.proven(request)
        if self._worker.objects(request, self._worker.door.proven(request).identifier):
            return answer({"preferences": {}})
        outcome = await run_in_threadpool(visitor.preferences)
        if not outcome.accepted:
            raise problem_of(outcome)
        return answer(outcome.data)

    async def tell(self, request: Request) -> Response:
        """Keep a word of one visitor, or take their last one back."""
        worker = self._worker
        worker.door.check_key(request)
        body = await read_json(request)
        only(body, "visitor", "field", "value", "holds", "undo", "minor")
        telling = bool(body.keys() & {"field", "value", "holds"})
        if telling == ("undo" in body):
            raise Problem("malformed", "expected field and value, or undo")
        asking = worker.door.asking(request, body.get("visitor"))
        if asking.proven:
            worker.door.check_origin(request, asking)
        visitor = worker.seen(request, await worker.asking(request, body))
        if isinstance(visitor, Decision):
            return answer(outcome_of(Outcome(False, visitor.cause)))

        def work() -> Outcome:
            if telling:
                return visitor.tell(body.get("field"), body.get("value"), body.get("holds", True))  # type: ignore[arg-type]
            return visitor.undo(body["undo"])

        outcome = await run_in_threadpool(work)
        if not outcome.accepted and outcome.cause not in ("consent_missing", "minor"):
            raise problem_of(outcome)
        return answer({**outcome_of(outcome), **(outcome.data or {})})
