"""The public port: its routes, and the two ways they are answered.

Decisions and events are answered by the connection itself where it can (`entrenous_edge.protocol`), else straight from
ASGI; everything else by Starlette. `routes` says what there is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from time import perf_counter
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from entrenous_edge.answers import STATUS, Problem, problem
from entrenous_edge.app import Worker
from entrenous_edge.calls import Call, Reply, refusal
from entrenous_edge.deciding import Deciding
from entrenous_edge.heads import TOKEN_HEADER, VISITOR_HEADER
from entrenous_edge.metrics import Metrics
from entrenous_edge.pages import page_routes
from entrenous_edge.preferences import Preferences
from entrenous_edge.published import Published
from entrenous_edge.taking import Taking

__all__ = ["MOST_CALLS", "Handler", "Public", "guarded", "public_app", "unrouted"]

MOST_CALLS = 512
"""Calls under way at once that are not answered at once; one more is told to come back."""
_UNROUTED = "no such route, or not with this method"
_LOG = logging.getLogger("entrenous.edge")
_FLAG = "/ofrep/v1/evaluate/flags/"
_FLAG_BYTES = _FLAG.encode()
_PLAIN = re.compile(rb"[A-Za-z0-9_.~-]{1,200}")

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Fast: TypeAlias = Callable[[Call], Coroutine[Any, Any, Reply]]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Public:
    """The application of the public port.

    Args:
        worker: what its routes work on. theme: a stylesheet for the preference page.
        most: calls under way at once; one more is told to come back.

    Attributes:
        routes: all of them, as Starlette's.
    """

    def __init__(self, worker: Worker, theme: bytes = b"", *, most: int = MOST_CALLS) -> None:
        deciding = Deciding(worker)
        self._metrics, self._flag, self._most, self._under_way = worker.metrics, deciding.flag, most, 0
        fast: dict[str, Fast] = {
            "/ofrep/v1/evaluate/flags": deciding.flags,
            "/v1/decide": deciding.decide,
            "/v1/events": Taking(worker).events,
            "/v1/recommend": deciding.recommend,
            "/v1/why": deciding.why,
        }
        self._fast = {path: self.answering(path, handler) for path, handler in fast.items()}
        self._lanes = {path.encode(): answer for path, answer in self._fast.items()}
        self._rest = Starlette(
            routes=[
                Route(path, guarded(worker.metrics, path, handler), methods=[method])
                for path, handler, method in _slow(worker, theme)
            ],
            exception_handlers={HTTPException: unrouted},
        )
        self.routes = [Route(path, self, methods=["POST"]) for path in (*fast, _FLAG + "{key}")] + self._rest.routes
        self._app: Any = self._dispatch
        if worker.door.origins:
            self._app = CORSMiddleware(
                self._dispatch,
                allow_origins=sorted(worker.door.origins),
                allow_methods=["GET", "POST", "PATCH", "DELETE"],
                allow_headers=[
                    "authorization",
                    "content-type",
                    "if-none-match",
                    "x-api-key",
                    TOKEN_HEADER,
                    VISITOR_HEADER,
                ],
                expose_headers=["etag", "retry-after"],
                allow_credentials=True,
            )

    def lane(self, path: bytes) -> Fast | None:
        """Return what answers a POST to this path without ASGI, None for what ASGI is for."""
        answer = self._lanes.get(path)
        if answer is None and path.startswith(_FLAG_BYTES):
            key = path[len(_FLAG_BYTES) :]
            if _PLAIN.fullmatch(key):
                return self._flag_of(key.decode("ascii"))
        return answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] == "http":
            await self._app(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        answer = self._fast.get(path)
        if answer is None and path.startswith(_FLAG) and (key := path[len(_FLAG) :]) and "/" not in key:
            answer = self._flag_of(key)
        if answer is None and self._under_way >= self._most and path not in ("/livez", "/readyz"):
            await _send(send, refusal(_full()))
        elif answer is None:
            self._under_way += 1
            try:
                await self._rest(scope, receive, send)
            finally:
                self._under_way -= 1
        elif scope["method"] != "POST":
            refused = refusal(Problem("method_not_allowed", _UNROUTED))
            await _send(send, refused._replace(headers=[*refused.headers, (b"allow", b"POST")]))
        else:
            with suppress(ClientDisconnect):
                await _send(send, await answer(Call(scope, receive)))

    def _flag_of(self, key: str) -> Fast:
        return self.answering(_FLAG + "{key}", lambda call: self._flag(call, key))

    def answering(self, route: str, handler: Fast) -> Fast:
        """Return the handler with every refusal and fault told as an answer, and counted under its route."""

        async def answer(call: Call) -> Reply:
            since = perf_counter()
            full = self._under_way >= self._most
            self._under_way += 1
            try:
                if full:
                    raise _full()
                given = await handler(call)
            except Problem as error:
                given = refusal(error)
            except ClientDisconnect:
                raise
            except Exception as error:
                given = refusal(_fault(error))
            finally:
                self._under_way -= 1
            self._metrics.request(route, given.status, perf_counter() - since)
            return given

        return answer


def public_app(worker: Worker, theme: bytes = b"") -> Public:
    """Return the application of the public port."""
    return Public(worker, theme)


def _slow(worker: Worker, theme: bytes) -> list[tuple[str, Handler, str]]:
    preferences, published = Preferences(worker), Published(worker.client)
    return [
        ("/v1/consent", worker.consent, "POST"),
        ("/v1/consent", worker.choices, "GET"),
        ("/v1/objection", worker.object, "POST"),
        ("/v1/visitor", worker.export, "GET"),
        ("/v1/visitor", worker.erase, "DELETE"),
        ("/v1/visitor", worker.correct, "PATCH"),
        ("/v1/segments", worker.segments, "GET"),
        ("/v1/triggers", worker.triggers, "POST"),
        ("/v1/recipient", worker.recipient, "POST"),
        ("/v1/preferences", preferences.told, "GET"),
        ("/v1/preferences", preferences.tell, "POST"),
        *((path, handler, method) for path, handler, methods in page_routes(worker, theme) for method in methods),
        ("/v1/bundle", published.about, "GET"),
        ("/v1/bundle/{name:path}", published.file, "GET"),
        ("/openapi.json", published.openapi, "GET"),
        ("/livez", worker.livez, "GET"),
        ("/readyz", worker.readyz, "GET"),
    ]


def _full() -> Problem:
    return Problem("unavailable", "too many calls are under way: come back")


async def _send(send: Send, given: Reply) -> None:
    headers = [*given.headers, (b"content-length", b"%d" % len(given.body))]
    await send({"type": "http.response.start", "status": given.status, "headers": headers})
    await send({"type": "http.response.body", "body": given.body})


def guarded(metrics: Metrics, route: str, handler: Handler) -> Handler:
    """Return the handler with every refusal and fault told as an answer, and counted under its route."""

    async def run(request: Request) -> Response:
        since = perf_counter()
        try:
            given = await handler(request)
        except Problem as error:
            given = problem(error)
        except ClientDisconnect:
            raise
        except Exception as error:
            given = problem(_fault(error))
        metrics.request(route, given.status_code, perf_counter() - since)
        return given

    return run


def _fault(error: Exception) -> Problem:
    _LOG.error("a request failed: %s", type(error).__name__)
    return Problem("fault", "something failed here; the log names the kind of error")


async def unrouted(request: Request, error: Exception) -> Response:
    """Answer what no route takes; where another method would be taken, with those that are (RFC 9110, 15.5.6)."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    code = next((code for code, known in STATUS.items() if known == status), "fault")
    given = problem(Problem(code, _UNROUTED))
    if code == "method_not_allowed":
        here = [one for one in request.app.routes if one.matches(request.scope)[0] is not Match.NONE]
        given.headers["Allow"] = ", ".join(sorted({method for one in here for method in one.methods}))
    return given
