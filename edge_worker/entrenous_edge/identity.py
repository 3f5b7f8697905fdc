"""Who is asking, and what that proves.

A publishable key opens decisions and events for whatever identifier comes with them. It proves nothing about the
person: export, erasure and consent need the worker's own cookie, which nobody can guess, or a token that the shop's
backend signed. An identifier travels in a body or a header, never in a URL.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from entrenous.tokens import check_token
from entrenous_consent.errors import Unauthentic
from entrenous_edge.answers import Problem

__all__ = [
    "COOKIE",
    "COOKIE_SECONDS",
    "REFUSED_COOKIE",
    "TOKEN_HEADER",
    "VISITOR_HEADER",
    "Asking",
    "Door",
    "give_cookie",
    "new_cookie",
    "remember_refusal",
    "take_cookie",
]

COOKIE = "__Host-entrenous"
COOKIE_SECONDS = 180 * 86_400
REFUSED_COOKIE = "__Host-entrenous-refused"
"""Remembers a refusal: it holds the choice and no identifier."""
TOKEN_HEADER = "entrenous-token"  # noqa: S105 — the name of a header
VISITOR_HEADER = "entrenous-visitor"

_PREFIX = "cookie:"
_COOKIE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks: an identifier, empty for nobody; whether it is proven, and by the cookie."""

    identifier: str
    proven: bool
    by_cookie: bool


_PROVES_NOTHING = "an identifier proves nothing: send the cookie, or a token of the shop's backend"


class Door:
    """Reads what a request says of its sender.

    Args:
        keys: publishable keys. token_key: shared with the shop's backend, None for no tokens.
        origins: of pages that may write with a cookie, beside the worker's own. clock: Unix seconds.
    """

    def __init__(
        self, keys: Collection[str], token_key: bytes | None, origins: Collection[str], clock: Callable[[], int]
    ) -> None:
        self._keys = [key.encode() for key in keys]
        self._token_key, self.origins, self._clock = token_key, frozenset(origins), clock

    def check_key(self, request: Request) -> None:
        """Refuse who has no publishable key.

        Raises:
            Problem: `unauthorized`.
        """
        given = request.headers.get("x-api-key", "")
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = bearer.strip()
        known = [hmac.compare_digest(given.encode("utf-8", "replace"), key) for key in self._keys]
        if not any(known):
            raise Problem("unauthorized", "send a publishable key: Authorization: Bearer …")

    def asking(self, request: Request, stated: Any = None) -> Asking:
        """Return who asks: by token, else by cookie, else as `stated` in the body or the header.

        Raises:
            Problem: a token that does not hold, or a stated identifier that is none.
        """
        token = request.headers.get(TOKEN_HEADER)
        if token is not None:
            return Asking(self._by_token(token), True, False)
        cookie = request.cookies.get(COOKIE, "")
        if len(cookie) == 2 * _COOKIE_BYTES and all(c in "0123456789abcdef" for c in cookie):
            return Asking(_PREFIX + cookie, True, True)
        if stated is None:
            stated = request.headers.get(VISITOR_HEADER, "")
        if not isinstance(stated, str) or stated.startswith(_PREFIX):
            raise Problem("malformed", "visitor: expected the visitor's own identifier, as text")
        return Asking(stated, False, False)

    def proven(self, request: Request) -> Asking:
        """Return who asks, if that is proven.

        Raises:
            Problem: `forbidden` where only an identifier, or nothing, was sent; or from another site's page.
        """
        asking = self.asking(request)
        if not asking.proven:
            raise Problem("forbidden", _PROVES_NOTHING)
        self.check_origin(request, asking)
        return asking

    def refuse_bare(self, request: Request) -> None:
        """Refuse an identifier in the header where only who is proven, or nobody, may ask.

        Raises:
            Problem: `forbidden`.
        """
        if request.headers.get(VISITOR_HEADER) is not None:
            raise Problem("forbidden", _PROVES_NOTHING)

    def check_origin(self, request: Request, asking: Asking) -> None:
        """Refuse a write that a cookie authorises from a page of another site.

        Raises:
            Problem: `forbidden`.
        """
        if asking.by_cookie and request.method != "GET":
            origin = request.headers.get("origin", "")
            own = f"{request.url.scheme}://{request.headers.get('host', '')}"
            if origin not in self.origins and origin not in (own, own.replace("http://", "https://", 1)):
                raise Problem("forbidden", "this page's origin may not write; add it to allow_origins")

    def _by_token(self, token: str) -> str:
        if self._token_key is None:
            raise Problem("unauthorized", "this worker takes no tokens: set token_key_file")
        try:
            identifier = check_token(self._token_key, token, now=self._clock())
        except Unauthentic as error:
            raise Problem("unauthorized", f"token: {error.what}") from error
        if identifier.startswith(_PREFIX):
            raise Problem("unauthorized", "token: is not for an identifier of the shop's")
        return identifier


def new_cookie() -> tuple[str, str]:
    """Return a new cookie's value, and the identifier it stands for."""
    value = secrets.token_hex(_COOKIE_BYTES)
    return value, _PREFIX + value


def give_cookie(given: Response, value: str) -> None:
    """Have the browser keep the cookie of who granted something, and forget a refusal before it."""
    given.set_cookie(COOKIE, value, max_age=COOKIE_SECONDS, secure=True, httponly=True, samesite="lax", path="/")
    given.delete_cookie(REFUSED_COOKIE, secure=True, httponly=True, samesite="lax", path="/")


def remember_refusal(given: Response) -> None:
    """Have the browser remember a refusal, without an identifier."""
    given.set_cookie(REFUSED_COOKIE, "1", max_age=COOKIE_SECONDS, secure=True, httponly=True, samesite="lax", path="/")


def take_cookie(given: Response) -> None:
    """Have the browser forget who it is."""
    given.delete_cookie(COOKIE, secure=True, httponly=True, samesite="lax", path="/")
