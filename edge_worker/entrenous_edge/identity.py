"""Who is asking, and what that proves.

A publishable key opens decisions and events for whatever identifier comes with them. It proves nothing about the
person: export, erasure and consent need the worker's own cookie, which nobody can guess, or a token that the shop's
backend signed. An identifier travels in a body or a header, never in a URL.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection
from time import monotonic
from typing import Any, NamedTuple

from starlette.responses import Response

from entrenous.tokens import check_token
from entrenous_consent.errors import Unauthentic
from entrenous_edge.answers import Problem
from entrenous_edge.calls import said_of
from entrenous_edge.heads import COOKIE, TOKEN_HEADER, VISITOR_HEADER, Asked

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

COOKIE_DAYS = 180
COOKIE_SECONDS = COOKIE_DAYS * 86_400
REFUSED_COOKIE = "__Host-entrenous-refused"
"""Remembers a refusal: it holds the choice and no identifier."""

_MOST_SPELLINGS = 256
_PREFIX = "cookie:"
_COOKIE_BYTES = 32


class Asking(NamedTuple):
    """Who asks: an identifier, empty for nobody; whether it is proven, and by the cookie."""

    identifier: str
    proven: bool
    by_cookie: bool


_PROVES_NOTHING = "an identifier proves nothing: send the cookie, or a token of the shop's backend"


class _Rate:
    """So many calls a second, in bursts of as many (a token bucket)."""

    __slots__ = ("_left", "_most", "_since")

    def __init__(self, most: int) -> None:
        self._most, self._left, self._since = float(most), float(most), monotonic()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = monotonic()
        self._left = min(self._most, self._left + (now - self._since) * self._most)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Door:
    """Reads what a request says of its sender.

    Args:
        keys: publishable keys. token_key: shared with the shop's backend, None for no tokens.
        origins: of pages that may write with a cookie, beside the worker's own. clock: Unix seconds.
        most_per_second: calls under one key, in bursts of as many; 0 for no bound.
    """

    def __init__(
        self,
        keys: Collection[str],
        token_key: bytes | None,
        origins: Collection[str],
        clock: Callable[[], int],
        *,
        most_per_second: int = 0,
    ) -> None:
        self._keys = [key.encode() for key in keys]
        self._good: dict[str, int] = {}
        self._rates = [_Rate(most_per_second) for _ in self._keys] if most_per_second else None
        self._token_key, self.origins, self._clock = token_key, frozenset(origins), clock

    def check_key(self, request: Asked) -> None:
        """Refuse who has no publishable key.

        Raises:
            Problem: `unauthorized`; `too_many` where the key has had its calls.
        """
        sent = request.headers.get("authorization", "")
        number = self._good.get(sent)
        if number is None:
            number = self._number(request, sent)
        if self._rates is not None and not self._rates[number].take():
            raise Problem("too_many", "this key has had its calls of this second: come back", wait=1)

    def _number(self, request: Asked, sent: str) -> int:
        """Return which key was sent; how a header that holds one is spelt is remembered."""
        given = request.headers.get("x-api-key", "")
        scheme, _, bearer = sent.partition(" ")
        if scheme.lower() == "bearer":
            given = bearer.strip()
        known = [hmac.compare_digest(given.encode("utf-8", "replace"), key) for key in self._keys]
        if not any(known):
            raise Problem("unauthorized", "send a publishable key: Authorization: Bearer …")
        number = known.index(True)
        if scheme.lower() == "bearer" and len(self._good) < _MOST_SPELLINGS:
            self._good[sent] = number
        return number

    def asking(self, request: Asked, stated: Any = None) -> Asking:
        """Return who asks: by token, else by cookie, else as `stated` in the body or the header.

        Raises:
            Problem: a token that does not hold, or a stated identifier that is none.
        """
        said = said_of(request)
        if said.token is not None:
            return Asking(self._by_token(said.token), True, False)
        cookie = said.cookie
        if len(cookie) == 2 * _COOKIE_BYTES and all(c in "0123456789abcdef" for c in cookie):
            return Asking(_PREFIX + cookie, True, True)
        if stated is None:
            stated = said.visitor
        if not isinstance(stated, str) or stated.startswith(_PREFIX):
            raise Problem("malformed", "visitor: expected the visitor's own identifier, as text")
        return Asking(stated, False, False)

    def proven(self, request: Asked) -> Asking:
        """Return who asks, if that is proven.

        Raises:
            Problem: `forbidden` where only an identifier, or nothing, was sent; or from another site's page.
        """
        asking = self.asking(request)
        if not asking.proven:
            raise Problem("forbidden", _PROVES_NOTHING)
        self.check_origin(request, asking)
        return asking

    def refuse_bare(self, request: Asked) -> None:
        """Refuse an identifier in the header where only who is proven, or nobody, may ask.

        Raises:
            Problem: `forbidden`.
        """
        if request.headers.get(VISITOR_HEADER) is not None:
            raise Problem("forbidden", _PROVES_NOTHING)

    def check_origin(self, request: Asked, asking: Asking) -> None:
        """Refuse a write that a cookie authorises from a page of another site.

        Raises:
            Problem: `forbidden`.
        """
        if asking.by_cookie and request.scope["method"] != "GET":
            origin = request.headers.get("origin", "")
            own = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
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
