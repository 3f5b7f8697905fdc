"""The public routes: OFREP for every OpenFeature client, and our own. Each is a function of a request and the client.

Decisions run where they are asked: they wait for nothing but the store, 5 ms at most. What writes goes to a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from entrenous import Client, Decision, Outcome, Visitor
from entrenous_consent.signals import gpc_objects
from entrenous_edge.answers import STATUS, Problem, answer, only, outcome_of, problem, problem_of
from entrenous_edge.bodies import read_json
from entrenous_edge.identity import COOKIE, REFUSED_COOKIE, TOKEN_HEADER, VISITOR_HEADER, Door, new_cookie
from entrenous_edge.metrics import Metrics
from entrenous_edge.pages import page_routes
from entrenous_edge.preferences import Preferences

__all__ = ["Worker", "public_app"]

_LOG = logging.getLogger("entrenous.edge")
_MOST_EVENTS = 1000
_MOST_DECISIONS = 64
_COOKIE_DAYS = 180
_NOBODY = Decision(None, "DEFAULT", "consent_missing")
_MINOR = Decision(None, "DEFAULT", "minor")

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Worker:
    """What the routes work on.

    Args:
        client: opened for this process. door: reads who asks. metrics: the operator's.
        clock_by_admin: shown in `/readyz`.
    """

    def __init__(self, client: Client, door: Door, metrics: Metrics, *, clock_by_admin: bool = False) -> None:
        self.client, self.door, self.metrics, self.clock_by_admin = client, door, metrics, clock_by_admin

    # OFREP (OpenFeature Remote Evaluation Protocol 0.2)

    async def flag(self, request: Request) -> Response:
        """Evaluate one flag."""
        key = request.path_params["key"]

        def evaluate(identifier: str, context: Mapping[str, Any]) -> Response:
            if key in self._names():
                return answer(_evaluated(key, self._decide(request, identifier, key, context)))
            return answer({"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": "no such decision"}, status=404)

        return await self._evaluate(request, evaluate, key=key)

    async def flags(self, request: Request) -> Response:
        """Evaluate every flag."""

        def evaluate(identifier: str, context: Mapping[str, Any]) -> Response:
            found = [_evaluated(key, self._decide(request, identifier, key, context)) for key in self._names()]
            return answer({"flags": found})

        return await self._evaluate(request, evaluate)

    async def _evaluate(
        self, request: Request, evaluate: Callable[[str, Mapping[str, Any]], Response], **named: str
    ) -> Response:
        """Answer an evaluation, or what OFREP has a code of its own for, beside what is `named`."""
        self.door.check_key(request)
        try:
            identifier, context = self._evaluation(request, await read_json(request))
        except _FlagProblem as error:
            return answer({**named, "errorCode": error.code, "errorDetails": error.message}, status=400)
        except Problem as error:
            if error.code != "malformed":
                raise
            return answer({**named, "errorCode": "PARSE_ERROR", "errorDetails": error.message}, status=400)
        return evaluate(identifier, context)

    def _evaluation(self, request: Request, body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return who is meant, and what of the context this bundle knows: clients of a page send more."""
        context = body.get("context", {})
        if not isinstance(context, Mapping):
            raise _FlagProblem("INVALID_CONTEXT", "context: expected an object")
        asking = self.door.asking(request, context.get("targetingKey"))
        if not asking.identifier:
            raise _FlagProblem("TARGETING_KEY_MISSING", "context.targetingKey: is missing")
        known = self.client.context_keys
        return asking.identifier, {key: value for key, value in context.items() if key in known}

    # Our own

    async def decide(self, request: Request) -> Response:
        """Answer one or several decisions for one visitor."""
        self.door.check_key(request)
        body = await read_json(request)
        only(body, "decisions", "visitor", "context", "minor")
        names, context = body.get("decisions"), body.get("context", {})
        if not isinstance(names, list) or not names or len(names) > _MOST_DECISIONS:
            raise Problem("malformed", f"decisions: expected 1 to {_MOST_DECISIONS} names")
        if not all(isinstance(name, str) for name in names) or not isinstance(context, dict):
            raise Problem("malformed", "decisions: expected names; context: an object")
        identifier = await self.asking(request, body)
        found = {name: _told(self._decide(request, identifier, name, context)) for name in names}
        return answer({"decisions": found})

    async def asking(self, request: Request, body: Mapping[str, Any]) -> str | None:
        """Return who asks, or is spoken of; None for a minor, of whom nothing is kept: what was, goes, if it is proven
        who they are. A bare identifier proves nothing, and erases nothing, nor does another site's page."""
        asking, minor = self.door.asking(request, body.get("visitor")), body.get("minor", False)
        if not isinstance(minor, bool):
            raise Problem("malformed", "minor: expected true or false")
        if not minor:
            return asking.identifier
        if asking.proven:
            self.door.check_origin(request, asking)
            await run_in_threadpool(self.client.visitor, asking.identifier, minor=True)
        return None

    def _decide(self, request: Request, identifier: str | None, name: str, context: Mapping[str, Any]) -> Decision:
        if identifier is None:
            decision = _MINOR
        elif not identifier or self.objects(request, identifier):
            known = name in self._names()
            decision = _NOBODY if known else Decision(None, "ERROR", "unknown_decision")
        else:
            decision = self.client.visitor(identifier).decide(name, None, context)
        self.metrics.decision(decision.reason)
        return decision

    def _names(self) -> tuple[str, ...]:
        return tuple(self.client.bundle.decisions) if self.client.bundle else ()

    async def events(self, request: Request) -> Response:
        """Take in events of one visitor, or of several in `batches`."""
        self.door.check_key(request)
        body = await read_json(request)
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
            if not isinstance(events, list) or not events or len(events) > _MOST_EVENTS:
                raise Problem("malformed", f"events: expected 1 to {_MOST_EVENTS}")
            told.append((await self.asking(request, batch), events))
        if sum(len(events) for _, events in told) > _MOST_EVENTS:
            raise Problem("malformed", f"events: expected at most {_MOST_EVENTS} in all")
        outcomes = await run_in_threadpool(
            lambda: [
                self._observe(visitor, events)
                if visitor and not self.objects(request, visitor)
                else [_REFUSED if visitor is not None else _MINORS] * len(events)
                for visitor, events in told
            ]
        )
        flat = [outcome for some in outcomes for outcome in some]
        taken = sum(outcome.accepted for outcome in flat)
        self.metrics.events(taken, len(flat) - taken)
        if any(outcome.cause == "unavailable" for outcome in flat):
            raise Problem("unavailable", "the store can't be written now: send these events again")
        given = [[outcome_of(outcome) for outcome in some] for some in outcomes]
        return answer({"outcomes": given} if "batches" in body else {"outcomes": given[0]})

    def _observe(self, identifier: str, events: list[Any]) -> list[Outcome]:
        return self.client.visitor(identifier).observe_all(events)

    def objects(self, request: Request, identifier: str) -> bool:
        """Say whether this visitor objects: their browser does, and no choice of theirs outweighs that."""
        return _gpc(request) and not self.client.visitor(identifier).chose_over_gpc()

    async def consent(self, request: Request) -> Response:
        """Take in a whole choice, as one signal. Who comes without cookie and token, and grants something, is given a
        cookie."""
        self.door.check_key(request)
        body = await read_json(request)
        only(body, "choices", "tcf", "gpp", "gpc", "consent_mode", "cmp")
        gpc = _gpc(request)
        told = self.client.preview(body, gpc=gpc)
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
        outcome = await run_in_threadpool(lambda: self.client.visitor(identifier).signal(body, gpc=gpc))
        if not outcome.accepted:
            raise problem_of(outcome)
        self.metrics.consent()
        given = answer(outcome_of(outcome))
        if value:
            given.set_cookie(
                COOKIE, value, max_age=_COOKIE_DAYS * 86_400, secure=True, httponly=True, samesite="lax", path="/"
            )
            given.delete_cookie(REFUSED_COOKIE, secure=True, httponly=True, samesite="lax", path="/")
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
            given.delete_cookie(COOKIE, secure=True, httponly=True, samesite="lax", path="/")
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
        return answer({"status": "ready" if bundle else "no_bundle", **told}, status=200 if bundle else 503)


class _FlagProblem(Exception):
    """What OFREP has a code of its own for."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def public_app(worker: Worker, theme: bytes = b"") -> Starlette:
    """Return the application of the public port."""
    preferences = Preferences(worker)
    routes = [
        ("/ofrep/v1/evaluate/flags/{key}", worker.flag, ["POST"]),
        ("/ofrep/v1/evaluate/flags", worker.flags, ["POST"]),
        ("/v1/decide", worker.decide, ["POST"]),
        ("/v1/events", worker.events, ["POST"]),
        ("/v1/consent", worker.consent, ["POST"]),
        ("/v1/consent", worker.choices, ["GET"]),
        ("/v1/objection", worker.object, ["POST"]),
        ("/v1/visitor", worker.export, ["GET"]),
        ("/v1/visitor", worker.erase, ["DELETE"]),
        ("/v1/visitor", worker.correct, ["PATCH"]),
        ("/v1/segments", worker.segments, ["GET"]),
        ("/v1/triggers", worker.triggers, ["POST"]),
        ("/v1/recipient", worker.recipient, ["POST"]),
        ("/v1/preferences", preferences.told, ["GET"]),
        ("/v1/preferences", preferences.tell, ["POST"]),
        *page_routes(worker, theme),
        ("/livez", worker.livez, ["GET"]),
        ("/readyz", worker.readyz, ["GET"]),
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=sorted(worker.door.origins),
        allow_methods=["GET", "POST", "PATCH", "DELETE"],
        allow_headers=["authorization", "content-type", "x-api-key", TOKEN_HEADER, VISITOR_HEADER],
        allow_credentials=True,
    )
    return Starlette(
        routes=[Route(path, guarded(worker.metrics, path, handler), methods=some) for path, handler, some in routes],
        middleware=[cors] if worker.door.origins else [],
        exception_handlers={HTTPException: unrouted},
    )


def guarded(metrics: Metrics, route: str, handler: Handler) -> Handler:
    """Return the handler with every refusal and fault told as an answer, and counted under its route."""

    async def run(request: Request) -> Response:
        try:
            given = await handler(request)
        except Problem as error:
            given = problem(error.code, error.message)
        except ClientDisconnect:
            raise
        except Exception as error:
            _LOG.error("a request failed: %s", type(error).__name__)
            given = problem("fault", "something failed here; the log names the kind of error")
        metrics.request(route, given.status_code)
        return given

    return run


async def unrouted(_: Request, error: Exception) -> Response:
    """Answer what no route takes."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = next((code for code, known in STATUS.items() if known == status), "fault")
    return problem(code, "no such route, or not with this method")


_REFUSED = Outcome(False, "consent_missing")
_MINORS = Outcome(False, "minor")


def _gpc(request: Request) -> bool:
    """Say whether the browser objects by Global Privacy Control: of several headers, one that does is enough."""
    return any(gpc_objects(value) for value in request.headers.getlist("sec-gpc"))


def _told(decision: Decision) -> dict[str, Any]:
    told: dict[str, Any] = {"value": decision.value, "reason": decision.reason}
    for name in ("cause", "tranche", "arm"):
        if value := getattr(decision, name):
            told[name] = value
    if decision.payload is not None:
        told["payload"] = decision.payload
    if decision.receipt is not None:
        told["receipt"] = f"{decision.receipt.id:016x}"
    return told


def _evaluated(key: str, decision: Decision) -> dict[str, Any]:
    """Return an OFREP evaluation; without a value where there is none, so that the caller's own default holds."""
    told = _told(decision)
    told.pop("payload", None)
    metadata: dict[str, str] = {name: told[name] for name in ("cause", "tranche", "receipt") if name in told}
    if decision.payload_json:
        metadata["payload"] = decision.payload_json
    found = {"key": key, "reason": decision.reason, "variant": decision.arm, "metadata": metadata}
    return found if decision.value is None else {**found, "value": decision.value}


def _refusal_remembered() -> Response:
    given = answer({"accepted": True})
    given.set_cookie(
        REFUSED_COOKIE, "1", max_age=_COOKIE_DAYS * 86_400, secure=True, httponly=True, samesite="lax", path="/"
    )
    return given
