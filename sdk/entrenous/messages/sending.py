"""Sending: the outbox's bytes to a collector, signed, until it has them. What is sent is never made here.

A sink answers what became of one report; the outbox keeps it until that is `taken`. Nothing else about visitors goes
this way, and nothing goes it while no collector is configured.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Protocol
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from entrenous_consent.errors import Malformed, Refusal, Unavailable
from entrenous_consent.keys import Keyring
from entrenous_consent.messages import is_message
from entrenous_consent.store import Store

__all__ = ["CONTENT_TYPE", "SIGNATURE", "HttpSink", "Sink", "public_key", "send", "sign", "signed_content"]

CONTENT_TYPE = "application/vnd.entrenous.report"
SIGNATURE = "Entrenous-Signature"
"""The header that holds the sender's Ed25519 signature (RFC 8032) over the body, in base64."""

_CONTEXT = b"entrenous report 1\0"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SECONDS = 10.0


class Sink(Protocol):
    """Whoever takes reports."""

    def deliver(self, report: bytes, signature: str) -> None:
        """Hand over one report; return once it is safe there, whether or not it was there before.

        Raises:
            Unavailable: not now; try again. Another refusal: never, as it is.
        """


class HttpSink:
    """A collector behind HTTPS.

    Args:
        url: its address for reports; `https`, or `http` on this very host.

    Raises:
        Malformed: another scheme, or more than a host and a path.
    """

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if not plain and parts.scheme != "https":
            raise Malformed("is not https", place="collector", remedy="serve the collector over TLS")
        if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
            raise Malformed("holds more than a host and a path", place="collector", remedy="leave the rest out")
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path or "/v1/reports"
        self._tls = None if plain else context or ssl.create_default_context()

    def deliver(self, report: bytes, signature: str) -> None:
        """See `Sink.deliver`."""
        connection = (
            HTTPConnection(self._host, self._port, timeout=_SECONDS)
            if self._tls is None
            else HTTPSConnection(self._host, self._port, timeout=_SECONDS, context=self._tls)
        )
        headers = {"Content-Type": CONTENT_TYPE, SIGNATURE: signature, "Connection": "close"}
        try:
            connection.request("POST", self._path, body=report, headers=headers)
            with connection.getresponse() as response:
                status = response.status
                response.read(1 << 12)
        except (OSError, HTTPException) as error:
            what = f"can't be reached ({type(error).__name__})"
            raise Unavailable(what, place="collector", remedy="it is tried again") from error
        finally:
            connection.close()
        if status in (408, 425, 429) or status >= 500:
            raise Unavailable(f"answers {status}", place="collector", remedy="it is tried again")
        if not 200 <= status < 300:
            remedy = "check that it knows this sender's key and tenant; the report is kept"
            raise Malformed(f"refuses a report ({status})", place="collector", remedy=remedy)


def sign(keyring: Keyring, report: bytes) -> str:
    """Return the signature of a report under this host's signing key."""
    return b64encode(Ed25519PrivateKey.from_private_bytes(keyring.signing).sign(_CONTEXT + report)).decode()


def public_key(keyring: Keyring) -> bytes:
    """Return the 32 public bytes of this host's signing key: what a collector is told."""
    return Ed25519PrivateKey.from_private_bytes(keyring.signing).public_key().public_bytes_raw()


def signed_content(report: bytes) -> bytes:
    """Return the bytes that a signature is over."""
    return _CONTEXT + report


def send(store: Store, keyring: Keyring, sink: Sink, now: int) -> tuple[int, Refusal | None]:
    """Send the reports that wait, in order, until the sink can't be had; return how many it took, and the last refusal.

    A report that is refused for good stays in the outbox, unsent, and does not hold up the others.

    Raises:
        Unavailable: the store.
    """
    taken, refused = 0, None
    for one in store.outbox(waiting=True):
        if is_message(one.data):
            continue
        try:
            sink.deliver(one.data, sign(keyring, one.data))
        except Unavailable as error:
            return taken, error
        except Refusal as error:
            refused = error
            continue
        store.sent(one.id, now)
        taken += 1
    return taken, refused
