"""What the head of a call says of who sends it, read once: a client that stays sends the same head again and again."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from entrenous_consent.signals import gpc_objects
from entrenous_edge.bots import is_bot

__all__ = ["COOKIE", "TOKEN_HEADER", "VISITOR_HEADER", "Asked", "Said", "Scope", "read_head"]

COOKIE = "__Host-entrenous"
TOKEN_HEADER = "entrenous-token"  # noqa: S105 — the name of a header
VISITOR_HEADER = "entrenous-visitor"

Scope: TypeAlias = MutableMapping[str, Any]


class Asked(Protocol):
    """What has a head: a `Call`, or a request of Starlette's."""

    @property
    def scope(self) -> Scope: ...  # noqa: D102
    @property
    def headers(self) -> Any: ...  # noqa: D102
    @property
    def cookies(self) -> Mapping[str, str]: ...  # noqa: D102


class Said(NamedTuple):
    """What a head says; nothing of it is proven yet.

    Attributes:
        token: of the shop's backend, None for none. cookie: the worker's own, empty for none. visitor: an identifier,
            empty for none.
        bot: it calls itself one. gpc: the browser objects by Global Privacy Control: of several headers, one that does
            is enough.
        json: what follows is JSON.
    """

    token: str | None
    cookie: str
    visitor: str
    bot: bool
    gpc: bool
    json: bool


def read_head(asked: Asked) -> Said:
    """Return what a head says."""
    headers = asked.headers
    return Said(
        token=headers.get(TOKEN_HEADER),
        cookie=asked.cookies.get(COOKIE, ""),
        visitor=headers.get(VISITOR_HEADER, ""),
        bot=is_bot(headers.get("user-agent", "")),
        gpc=any(gpc_objects(value) for value in headers.getlist("sec-gpc")),
        json=headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json",
    )
