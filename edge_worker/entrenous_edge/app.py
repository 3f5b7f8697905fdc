"""What the public routes work on, and those about a person: choices, rights, segments. What writes goes to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from entrenous import Client, Decision, Outcome, Visitor
from entrenous_edge.answers import Problem, answer, only, outcome_of, problem_of
from entrenous_edge.calls import read_json, said_of
from entrenous_edge.heads import Asked
from entrenous_edge.identity import REFUSED_COOKIE, Door, give_cookie, new_cookie, remember_refusal, take_cookie
from entrenous_edge.metrics import Metrics

__all__ = ["Worker"]

_NOBODY = Decision(None, "DEFAULT", "consent_missing")
_MINOR = Decision(None, "DEFAULT", "minor")
_BOT = Decision(None, "DEFAULT", "bot")
_UNKNOWN = Decision(None, "ERROR", "unknown_decision")


class Worker:
    """What the routes work on.

    Args:
        client: opened for this process. door: reads who asks. metrics: the operator's.
        clock_by_admin: shown in `/readyz`.
    """

    def __init__(self, client: Client, door: Door, metrics: Metrics, *, clock_by_admin: bool = False) -> None:
        self.client, self.door, self.metrics, self.clock_by_admin = client, door, metrics, clock_by_admin
        self.draining = False

    async def asking(self, request: Asked, body: Mapping[str, Any]) -> str | None:
        """Return who asks, or is spoken of; None for a minor, of whom nothing is kept: what was, goes, if it is proven
        who they are. A bare identifier proves nothing, and erases nothing, nor does another site's page."""
        asking, minor = self.door.asking(request, body.get("visitor")), body.get("minor", False)
        if not isinstance(minor, bool):
            raise Problem("malformed", "minor: expected true or false")
        if not minor:
            return asking.identifier
        if asking.proven:
            self.door.check_origin(request, asking)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, partial(self.client.visitor, asking.identifier, minor=True))
        return None

    def seen(self, asked: Asked, identifier: str | None) -> Visitor | Decision:
        """Return the visitor that a call is about; or, where nothing is to be read or kept, the answer to it: a minor,
        a bot, nobody, or who objects by their browser."""
        if identifier is None:
            return _MINOR
        if said_of(asked).bot:
            return _BOT
        if not identifier or self.objects(asked, identifier):
            return _NOBODY
        return self.client.visitor(identifier)

    def decide(self, visitor: Visitor | Decision, name: str, context: Mapping[str, Any]) -> Decision:
        """Return one decision for whom `seen` found, counted."""
        return self.counted(visitor if isinstance(visitor, Decision) else visitor.decide(name, None, context), name)

    def counted(self, decision: Decision, name: str) -> Decision:
        """Return a decision, counted by its reason; that of nobody only where there is such a decision."""
        if decision is _NOBODY and name not in self.names:
            decision = _UNKNOWN
        self.metrics.decision(decision.reason)
        return decision

    @property
    def names(self) -> Collection[str]:
        """The decisions of the bundle in force."""
        bundle = self.client.bundle
        return bundle.decisions if bundle else ()

    def objects(self, asked: Asked, identifier: str) -> bool:
        """Say whether this visitor objects: their browser does, and no choice of theirs outweighs that."""
        return said_of(asked).gpc and not self.client.visitor(identifier).chose_over_gpc()

    async def consent(self, request: Request) -> Response:
        """Take in a whole choice, as one signal. Who comes without cookie and token, and grants something, is given a
        cookie."""
        self.door.check_key(request)
        said = said_of(request)
        if said.bot:
            raise Problem("forbidden", "a bot makes no choice")
        body = await read_json(request)
        only(body, "choices", "tcf", "gpp", "gpc", "consent_mode", "cmp")
        told = self.client.preview(body, gpc=said.gpc)
        if not told.accepted:
            raise problem_of(told)
        self.door.refuse_bare(request)
        asking = self.door.asking(request)
        if asking.proven:
            self.door.check_origin(request, asking)
        value = ""
        identifier = asking.identifier
        if not asking.proven:
            if not told.data["granted"]:
                return _refusal_remembered()
            value, identifier = new_cookie()
        outcome = await run_in_threadpool(lambda: self.client.visitor(identifier).signal(body, gpc=said.gpc))
        if not outcome.accepted:
            raise problem_of(outcome)
        self.metrics.consent()
        given = answer(outcome_of(outcome))
        if value:
            give_cookie(given, value)
        return given

    async def choices(self, request: Request) -> Response:
        """Return what whoever asks has chosen, and which purposes a banner is to ask for: none, and it stays away."""
        self.door.check_key(request)
        self.door.refuse_bare(request)
        asking, policy = self.door.asking(request), self.client.policy
        if asking.proven:
            outcome = await run_in_threadpool(self.client.visitor(asking.identifier).choices)
            if not outcome.accepted:
                raise problem_of(outcome)
            told = {key: outcome.data[key] for key in ("granted", "refused", "ask")}
        else:
            refused = sorted(policy.purposes) if request.cookies.get(REFUSED_COOKIE) else []
            told = {"granted": [], "refused": refused, "ask": sorted({*policy.purposes} - {*refused})}
        if self.objects(request, asking.identifier):
            told["granted"] = []
            told["ask"] = told["ask"] if policy.signals.gpc_yields_to_later_choice else []
        return answer(told)

    async def object(self, request: Request) -> Response:
        """Take in an objection to some purposes, or to all, of whoever asks, if that is proven."""
        visitor, body = self.proven(request), await read_json(request)
        only(body, "purposes")
        purposes = body.get("purposes")
        if purposes is not None and (not isinstance(purposes, list) or not all(isinstance(p, str) for p in purposes)):
            raise Problem("malformed", "purposes: expected an array of purposes, or nothing for all")
        return await self._done(visitor.object, purposes)

    async def correct(self, request: Request) -> Response:
        """Put right what is kept about whoever asks, if that is proven."""
        visitor, body = self.proven(request), await read_json(request)
        only(body, "corrections")
        corrections = body.get("corrections")
        if not isinstance(corrections, dict):
            raise Problem("malformed", "corrections: expected an object of features")
        return await self._done(visitor.correct, corrections)

    async def _done(self, work: Callable[[Any], Outcome], what: Any) -> Response:
        outcome = await run_in_threadpool(work, what)
        if not outcome.accepted:
            raise problem_of(outcome)
        pending = 202 if outcome.cause == "pending" else 200
        return answer({**outcome_of(outcome), **(outcome.data or {})}, status=pending)

    async def export(self, request: Request) -> Response:
        """Return everything kept about whoever asks, if that is proven."""
        visitor = self.proven(request)
        outcome = await run_in_threadpool(visitor.export)
        if not outcome.accepted:
            raise problem_of(outcome)
        return answer(outcome.data)

    async def erase(self, request: Request) -> Response:
        """Erase everything kept about whoever asks, if that is proven."""
        visitor = self.proven(request)
        outcome = await run_in_threadpool(visitor.erase)
        if not outcome.accepted:
            raise problem_of(outcome)
        given = answer(outcome_of(outcome), status=202 if outcome.cause == "pending" else 200)
        if self.door.asking(request).by_cookie:
            take_cookie(given)
        return given

    async def segments(self, request: Request) -> Response:
        """Return the segments that whoever asks is in, if that is proven; none where their browser objects."""
        visitor = self.proven(request)
        if self.objects(request, self.door.proven(request).identifier):
            return answer({"segments": []})
        return await self._asked(visitor.segments)

    async def triggers(self, request: Request) -> Response:
        """Return what is due now and the page's to act on, of whoever asks, if that is proven; it is raised thereby."""
        visitor, body = self.proven(request), await read_json(request)
        only(body, "utc_offset")
        if self.objects(request, self.door.proven(request).identifier):
            return answer({"triggers": []})
        if "utc_offset" in body:
            told = await run_in_threadpool(visitor.tell_offset, body["utc_offset"])
            if not told.accepted and told.cause != "consent_missing":
                raise problem_of(told)
        return await self._asked(visitor.triggers)

    async def recipient(self, request: Request) -> Response:
        """Return what a recipient of messages knows whoever asks by, if that is proven and granted."""
        visitor, body = self.proven(request), await read_json(request)
        only(body, "recipient")
        if self.objects(request, self.door.proven(request).identifier):
            return answer(outcome_of(_REFUSED))
        return await self._asked(visitor.recipient_id, body.get("recipient"))

    async def _asked(self, work: Callable[..., Outcome], *what: Any) -> Response:
        outcome = await run_in_threadpool(work, *what)
        if not outcome.accepted and outcome.cause != "consent_missing":
            raise problem_of(outcome)
        return answer(outcome.data if outcome.accepted else outcome_of(outcome))

    def proven(self, request: Request) -> Visitor:
        """Return whoever asks, if that is proven.

        Raises:
            Problem: it is not, or the publishable key is none.
        """
        self.door.check_key(request)
        return self.client.visitor(self.door.proven(request).identifier)

    async def livez(self, request: Request) -> Response:
        """Say that the process answers."""
        return answer({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """Say whether decisions are made, and on what."""
        bundle, policy = self.client.bundle, self.client.policy
        told: dict[str, Any] = {"policy": policy.version, "bundle": bundle.version if bundle else None}
        if self.clock_by_admin:
            told["clock"] = "admin"
        status = "ready" if bundle else "no_bundle"
        if self.draining or (bundle and self.client.stale_in() <= 0):
            status = "draining" if self.draining else "stale"
        return answer({"status": status, **told}, status=200 if status == "ready" else 503)


_REFUSED = Outcome(False, "consent_missing")


def _refusal_remembered() -> Response:
    given = answer({"accepted": True})
    remember_refusal(given)
    return given
