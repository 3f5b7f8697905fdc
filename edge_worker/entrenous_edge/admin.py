"""The admin port: metrics, updates, releases, and for a replay on this very host the clock. A token opens it."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from entrenous import Outcome
from entrenous.importing.mapping import AnyMapping
from entrenous_consent.errors import Refusal
from entrenous_edge.answers import Problem, answer
from entrenous_edge.app import Worker
from entrenous_edge.calls import read_json
from entrenous_edge.importing import Importing
from entrenous_edge.public import Handler, guarded, unrouted

__all__ = ["SetClock", "admin_app"]

_LATEST = 4_102_444_800


class SetClock:
    """A clock that stands where it was put, and only goes forward."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        """Return the Unix second it was set to."""
        return self.now


def admin_app(
    worker: Worker, token: str, clock: SetClock | None, mappings: Mapping[str, AnyMapping] | None = None
) -> Starlette:
    """Return the application of the admin port.

    Args:
        token: what opens it. clock: set by `POST /clock`, for replays; None where the system's counts.
        mappings: by name, how rows of imports are read, beside the packaged ones.
    """

    def opened(handler: Handler) -> Handler:
        async def run(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
                raise Problem("unauthorized", "send the admin token: Authorization: Bearer …")
            return await handler(request)

        return run

    def does(work: Callable[[], Outcome]) -> Handler:
        async def run(_: Request) -> Response:
            outcome = await run_in_threadpool(work)
            told: dict[str, Any] = {"accepted": outcome.accepted, **outcome.data}
            told |= {key: value for key in ("cause", "message") if (value := getattr(outcome, key))}
            return answer(told, status=200 if outcome.accepted else 409)

        return run

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(worker.metrics.text(), media_type="text/plain; version=0.0.4")

    async def set_clock(request: Request) -> Response:
        if clock is None:
            raise Problem("forbidden", 'this worker keeps the system\'s time: clock = "admin" in its configuration')
        now = (await read_json(request)).get("now")
        if type(now) is not int or not clock.now <= now < _LATEST:
            raise Problem("malformed", "now: expected Unix seconds, not before the last")
        clock.now = now
        return answer({"now": now})

    async def sender(_: Request) -> Response:
        return answer({"public_key": worker.client.sender_key})

    async def webhook_keys(_: Request) -> Response:
        return answer({"webhook_keys": worker.client.webhook_keys})

    def sweep() -> Outcome:
        try:
            return Outcome(True, data={"rows": worker.client.sweep()})
        except Refusal as error:
            return Outcome(False, "unavailable", str(error))

    client = worker.client
    routes: list[tuple[str, Handler, str]] = [
        ("/metrics", metrics, "GET"),
        ("/sender", sender, "GET"),
        ("/webhook-keys", webhook_keys, "GET"),
        ("/clock", set_clock, "POST"),
        ("/updates", does(client.refresh), "POST"),
        ("/rollback", does(client.reject_bundle), "POST"),
        ("/release", does(client.release), "POST"),
        ("/send", does(client.send), "POST"),
        ("/raise-messages", does(client.raise_messages), "POST"),
        ("/send-messages", does(client.send_messages), "POST"),
        ("/flush", does(client.flush), "POST"),
        ("/sweep", does(sweep), "POST"),
        ("/v1/import", Importing(client, mappings or {}).take, "POST"),
    ]
    return Starlette(
        routes=[
            Route(path, guarded(worker.metrics, f"admin{path}", opened(handler)), methods=[method])
            for path, handler, method in routes
        ],
        exception_handlers={HTTPException: unrouted},
    )
