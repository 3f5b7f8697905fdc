"""Rows of other systems over the admin port: JSON lines, taken in as they come, in batches, off the loop.

What was taken in before something fails stays: sent again, it changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from entrenous import Client
from entrenous.importing.lines import Lines
from entrenous.importing.mapping import AnyMapping, packaged_mappings, read_mapping
from entrenous_consent.errors import Unavailable
from entrenous_edge.answers import Problem, answer

__all__ = ["MOST_IMPORTED", "Importing"]

MOST_IMPORTED = 64 << 20
"""The most bytes of one import."""
_BATCH = 500
"""Rows that go to a thread at once."""


class Importing:
    """The route of imports.

    Args:
        client: whose store the rows go to. mappings: by name, beside those that are packaged.
    """

    def __init__(self, client: Client, mappings: Mapping[str, AnyMapping]) -> None:
        self._client, self._mappings = client, mappings

    async def take(self, request: Request) -> Response:
        """Take in the rows of a body; answer what came of them."""
        mapping, dry = self._mapping(request), _dry(request)
        _check_body(request)
        try:
            taking = await run_in_threadpool(self._client.importing, mapping, dry=dry)
            async for rows in _batches(request):
                await run_in_threadpool(taking.take, rows)
        except Unavailable as error:
            raise Problem("unavailable", "the store can't be written now: send these rows again") from error
        return answer(taking.report())

    def _mapping(self, request: Request) -> AnyMapping:
        name = request.query_params.get("mapping", "")
        if name in self._mappings:
            return self._mappings[name]
        if name in packaged_mappings():
            return read_mapping(name)
        known = ", ".join([*sorted(self._mappings), *packaged_mappings()])
        raise Problem("malformed", f"mapping: name one of {known}, as ?mapping=…")


def _dry(request: Request) -> bool:
    given = request.query_params.get("dry", "0")
    if given not in ("0", "1") or request.query_params.keys() - {"dry", "mapping"}:
        raise Problem("malformed", "expected ?mapping=… and, to keep nothing, dry=1")
    return given == "1"


def _check_body(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-ndjson":
        raise Problem("unsupported_media_type", "send application/x-ndjson: a JSON object a line")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_IMPORTED:
        raise _too_large()


async def _batches(request: Request) -> AsyncIterator[list[object]]:
    """Yield the rows of a body, some hundreds at a time; what is read ahead is one chunk."""
    lines, rows, size = Lines(), list[object](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_IMPORTED:
            raise _too_large()
        rows += lines.feed(chunk)
        while len(rows) >= _BATCH:
            yield rows[:_BATCH]
            rows = rows[_BATCH:]
    rows += lines.end()
    if rows:
        yield rows


def _too_large() -> Problem:
    return Problem("too_large", f"send at most {MOST_IMPORTED} bytes at once; what was read before is kept")
