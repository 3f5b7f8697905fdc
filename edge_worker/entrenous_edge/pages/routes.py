"""The routes of the preference page: one to read, one for each thing that can be done, and its two stylesheets.

Whoever asks is the browser that brings our cookie, and nobody else: no token, no header. Nothing is written but from a
form of an origin that may write, whether or not a cookie comes with it. What was done is told on the next page, by a
word of ours in its address; no address holds anything about the visitor.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Collection
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from entrenous import Outcome, Visitor
from entrenous_edge.answers import STATUS, Problem, problem_of
from entrenous_edge.calls import said_of
from entrenous_edge.identity import Asking, give_cookie, new_cookie, remember_refusal, take_cookie
from entrenous_edge.pages.forms import Form, read_form
from entrenous_edge.pages.sections import confirmation_page, error_page, preference_page
from entrenous_edge.pages.seen import look
from entrenous_edge.pages.writer import Writer, language_of

if TYPE_CHECKING:
    from entrenous_edge.app import Worker

__all__ = ["CONTENT_POLICY", "page_routes"]

_LOG = logging.getLogger("entrenous.edge")

CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""What the page may do: be styled by this origin and send forms to it. No script at all."""

_HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: under that a browser says `Origin: null` of the page's own forms (Fetch, "append a request
    # Origin header"), which are then told from another site's by nothing.
    "Referrer-Policy": "same-origin",
}
_CHOICES = ("accept", "refuse", "save")
_NOT_FOR_OTHERS = ("cross-site", "same-site")

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


def page_routes(worker: Worker, theme: bytes = b"") -> list[tuple[str, Handler, list[str]]]:
    """Return path, handler and methods of each route.

    Args:
        theme: a stylesheet of the shop's, after our own; empty for none.
    """
    page = _PreferencePage(worker, themed=bool(theme))
    style = (files("entrenous_edge.pages") / "style.css").read_bytes()
    routes = [
        ("/preferences", page.show, ["GET"]),
        ("/preferences/choice", page.choose, ["POST"]),
        ("/preferences/taste", page.taste, ["POST"]),
        ("/preferences/objection", page.object, ["POST"]),
        ("/preferences/erasure", page.confirm, ["GET"]),
        ("/preferences/erasure", page.erase, ["POST"]),
        ("/preferences/download", page.download, ["GET"]),
    ]
    return [
        *((path, page.answered(handler), methods) for path, handler, methods in routes),
        ("/preferences/style.css", _stylesheet(style), ["GET"]),
        ("/preferences/theme.css", _stylesheet(theme), ["GET"]),
    ]


class _PreferencePage:
    """The page's routes.

    Args:
        worker: what they work on. themed: whether a stylesheet of the shop's follows ours.
    """

    def __init__(self, worker: Worker, *, themed: bool) -> None:
        self._worker, self._themed = worker, themed

    async def show(self, request: Request) -> Response:
        """Show everything."""
        seen = await run_in_threadpool(look, self._worker, request, self._who(request))
        # A notice is told after what was done here, not to who follows another site's link to one.
        trusted = request.headers.get("sec-fetch-site") not in _NOT_FOR_OTHERS
        notice = request.query_params.get("notice", "") if trusted else ""
        return _page(preference_page(_writer(request), seen, notice, themed=self._themed))

    async def choose(self, request: Request) -> Response:
        """Take in a whole choice, as `Worker.consent` does."""
        worker, client = self._worker, self._worker.client
        form = await self._form(request, ("do", "policy"), ("purpose",))
        policy, gpc = client.policy, said_of(request).gpc
        done = form.choice("do", _CHOICES)
        named = form.every("purpose", policy.purposes)
        if named and done != "save":
            raise Problem("malformed", "purpose: goes with save alone")
        if done != "refuse" and form.one("policy") != str(policy.version):
            # What the visitor read is not what they would agree to.
            return self._seen_off(request, "changed")
        choices = {"choices": {key: done == "accept" or key in named for key in policy.purposes}}
        told = client.preview(choices, gpc=gpc)
        _refuse_unless(told)
        granted, value, identifier = told.data["granted"], "", self._who(request)
        notice = "objecting" if gpc and not granted else "saved" if granted else "refused"
        if not identifier:
            if not granted:
                given = self._seen_off(request, notice)
                remember_refusal(given)
                return given
            value, identifier = new_cookie()
        outcome = await run_in_threadpool(lambda: client.visitor(identifier).signal(choices, gpc=gpc))
        _refuse_unless(outcome)
        worker.metrics.consent()
        given = self._seen_off(request, notice)
        if value:
            give_cookie(given, value)
        return given

    async def taste(self, request: Request) -> Response:
        """Keep a word of the visitor's, or take their last one back."""
        form = await self._form(request, ("field", "tell", "untell", "undo"))
        ways = [way for way in ("tell", "untell", "undo") if way in form.fields]
        if len(ways) != 1:
            raise Problem("malformed", "expected one of tell, untell and undo")
        visitor, (way,) = self._visitor(request), ways
        if visitor is None:
            return self._seen_off(request, "not_kept")
        outcome = await run_in_threadpool(_telling(visitor, way, form))
        if outcome.cause == "consent_missing":
            return self._seen_off(request, "not_kept")
        _refuse_unless(outcome)
        return self._seen_off(request, "not_undone" if outcome.data.get("undone") is False else _DONE[way])

    async def object(self, request: Request) -> Response:
        """Take in an objection to some purposes, or to all."""
        form = await self._form(request, ("all",), ("purpose",))
        named = form.every("purpose", self._worker.client.policy.purposes)
        everything = form.one("all") == "yes"
        if "all" in form.fields and not everything:
            raise Problem("malformed", "all: expected yes, or nothing")
        if not everything and not named:
            return self._seen_off(request, "none_named")
        visitor = self._visitor(request, objecting=True)
        if visitor is None:
            return self._seen_off(request, "nothing")
        _refuse_unless(await run_in_threadpool(visitor.object, None if everything else named))
        return self._seen_off(request, "objected")

    async def confirm(self, request: Request) -> Response:
        """Ask whether everything is to go."""
        known, brand = bool(self._who(request)), self._worker.client.policy.controller.name
        return _page(confirmation_page(_writer(request), known=known, brand=brand, themed=self._themed))

    async def erase(self, request: Request) -> Response:
        """Erase everything, once that is confirmed."""
        form = await self._form(request, ("sure",))
        if form.one("sure") != "yes":
            return _redirect(f"/preferences/erasure?lang={_writer(request).language}")
        visitor = self._visitor(request, objecting=True)
        if visitor is None:
            return self._seen_off(request, "nothing")
        outcome = await run_in_threadpool(visitor.erase)
        _refuse_unless(outcome)
        given = self._seen_off(request, "pending" if outcome.cause == "pending" else "erased")
        take_cookie(given)
        return given

    async def download(self, request: Request) -> Response:
        """Hand over everything that is kept, as a file."""
        visitor, held = self._visitor(request, objecting=True), {}
        if visitor is not None:
            outcome = await run_in_threadpool(visitor.export)
            _refuse_unless(outcome)
            held = dict(outcome.data)
        headers = {**_HEADERS, "Content-Disposition": 'attachment; filename="preferences.json"'}
        return Response(json.dumps(held, ensure_ascii=False, indent=2) + "\n", 200, headers, "application/json")

    def answered(self, handler: Handler) -> Handler:
        """Return the handler with every refusal and fault told as a page."""

        async def run(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as error:
                code = error.code
            except ClientDisconnect:
                raise
            except Exception as error:
                _LOG.error("a page failed: %s", type(error).__name__)
                code = "fault"
            given = _page(error_page(_writer(request), code, themed=self._themed), STATUS[code])
            if code == "unavailable":
                given.headers["Retry-After"] = "1"
            return given

        return run

    def _who(self, request: Request) -> str:
        """Return the identifier of the cookie that came, empty for nobody."""
        asking = self._worker.door.asking(request)
        return asking.identifier if asking.by_cookie else ""

    def _visitor(self, request: Request, *, objecting: bool = False) -> Visitor | None:
        """Return who the cookie stands for; None for nobody, and for who objects, unless that is no matter here."""
        identifier = self._who(request)
        if not identifier or (not objecting and self._worker.objects(request, identifier)):
            return None
        return self._worker.client.visitor(identifier)

    async def _form(self, request: Request, once: Collection[str], several: Collection[str] = ()) -> Form:
        """Return the form that was sent.

        Raises:
            Problem: it comes from nowhere or from another site's page, or is none of ours.
        """
        self._worker.door.check_origin(request, Asking("", False, True))
        return await read_form(request, once, several)

    def _seen_off(self, request: Request, notice: str) -> Response:
        return _redirect(f"/preferences?lang={_writer(request).language}&notice={notice}")


_DONE = {"tell": "told", "untell": "untold", "undo": "undone"}


def _telling(visitor: Visitor, way: str, form: Form) -> Callable[[], Outcome]:
    field, value = form.one("field"), form.one(way)
    if way == "undo":
        form.choice("undo", ("yes",))
        return lambda: visitor.undo(field)
    return lambda: visitor.tell(field, value, way == "tell")


def _refuse_unless(outcome: Outcome) -> None:
    if not outcome.accepted:
        raise problem_of(outcome)


def _writer(request: Request) -> Writer:
    accepted = ",".join(request.headers.getlist("accept-language"))
    return Writer(language_of(request.query_params.get("lang", ""), accepted))


def _page(text: str, status: int = 200) -> Response:
    return Response(text, status, _HEADERS, "text/html")


def _redirect(place: str) -> Response:
    return Response(b"", 303, {**_HEADERS, "Location": place})


def _stylesheet(style: bytes) -> Handler:
    headers = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}

    async def answer(_: Request) -> Response:
        return Response(style, 200, headers, "text/css")

    return answer
