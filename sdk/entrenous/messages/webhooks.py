"""Webhooks: the outbox's messages to the recipients that the policy names, signed, until they have them.

The form is that of Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md):
`POST` of the body, with `webhook-id` (the same however often it is sent), `webhook-timestamp` (Unix seconds of this
attempt) and `webhook-signature`, `v1a,` and the base64 of an Ed25519 signature (RFC 8032) over id, timestamp and body,
joined by dots. Each recipient is sent to under a signing key of its own, so that what one was sent convinces no other.

Nothing is made here: a message's bytes are those that lie in the outbox since its transaction. A redirect is not
followed, an address holds no more than a host and a path, and its host is the one that the policy names.
"""

from __future__ import annotations

import fcntl
import hmac
import ssl
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from entrenous.updates.retained import Busy
from entrenous_consent.custody import Custody
from entrenous_consent.errors import Malformed, Refusal, Unauthentic, Unavailable
from entrenous_consent.files import reaching
from entrenous_consent.keys import Keyring
from entrenous_consent.messages import ENDS, Told, is_message, read_message
from entrenous_consent.points import sound_point
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.store import Emitted, Recall, Store

__all__ = [
    "KEPT_SECONDS",
    "Courier",
    "Endpoint",
    "HttpCourier",
    "parse_endpoint",
    "parse_endpoints",
    "send_messages",
    "sending_alone",
    "signed_headers",
    "tidy_messages",
    "verify_webhook",
    "webhook_key",
]

KEPT_SECONDS = 3 * 86_400
"""How long a message that a trigger raised is tried; what says that there is to be none is tried until it arrives."""

_CONTEXT = b"entrenous webhook 1\0"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TOLERANCE = 300
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where messages go. `tls` is off on this very host alone."""

    host: str
    port: int | None
    path: str
    tls: bool


def parse_endpoint(url: str, *, place: str) -> Endpoint:
    """Return the endpoint that an address names.

    Raises:
        Malformed: neither https nor http on this very host, or more than a host and a path. The message does not repeat
            it: a path may hold a secret.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise Malformed("has no port that can be", place=place, remedy="use 1 to 65535") from error
    plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not plain and parts.scheme != "https":
        raise Malformed("is not https", place=place, remedy="send to recipients over TLS")
    if not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise Malformed("holds more than a host and a path", place=place, remedy="leave the rest out")
    return Endpoint(parts.hostname, port, parts.path or "/", not plain)


def parse_endpoints(webhooks: Mapping[str, str]) -> dict[str, Endpoint]:
    """Return, by message, where it goes.

    Args:
        webhooks: by message, an address.

    Raises:
        Malformed: as `parse_endpoint`.
    """
    return {name: parse_endpoint(url, place=f"webhooks.{name[:64]}") for name, url in webhooks.items()}


class Courier(Protocol):
    """Whoever carries a webhook to where it goes."""

    def deliver(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> None:
        """Hand over one webhook; return once it is safe there, whether or not it was there before.

        Raises:
            Unavailable: not now; try again. Another refusal: not as it is.
        """


class HttpCourier:
    """Carries webhooks over HTTPS.

    Args:
        context: of TLS; the system's trusted roots by default.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context

    def deliver(self, endpoint: Endpoint, body: bytes, headers: Mapping[str, str]) -> None:
        """See `Courier.deliver`."""
        connection = (
            HTTPSConnection(
                endpoint.host,
                endpoint.port,
                timeout=_SECONDS,
                context=self._context or ssl.create_default_context(),
            )
            if endpoint.tls
            else HTTPConnection(endpoint.host, endpoint.port, timeout=_SECONDS)
        )
        try:
            connection.request("POST", endpoint.path, body=body, headers={**headers, "Connection": "close"})
            with connection.getresponse() as response:
                status = response.status
                response.read(1 << 12)
        except (OSError, HTTPException) as error:
            what = f"can't be reached ({type(error).__name__})"
            raise Unavailable(what, place="recipient", remedy="it is tried again") from error
        finally:
            connection.close()
        if status in (408, 425, 429) or status >= 500:
            raise Unavailable(f"answers {status}", place="recipient", remedy="it is tried again")
        if not 200 <= status < 300:
            remedy = "check its address and that it knows this host's key; it is tried again"
            raise Malformed(f"refuses a message ({status})", place="recipient", remedy=remedy)


def _signer(keyring: Keyring, recipient: str) -> Ed25519PrivateKey:
    """Return the key that signs towards one recipient, derived from this host's signing key."""
    seed = hmac.digest(keyring.signing, _CONTEXT + recipient.encode(), sha256)
    return Ed25519PrivateKey.from_private_bytes(seed)


def webhook_key(keyring: Keyring, recipient: str) -> str:
    """Return the public key that a recipient verifies with: `whpk_` and 32 bytes in base64.

    Args:
        recipient: as the policy names it.
    """
    return "whpk_" + b64encode(_signer(keyring, recipient).public_key().public_bytes_raw()).decode()


def signed_headers(keyring: Keyring, recipient: str, id: bytes, body: bytes, now: int) -> dict[str, str]:
    """Return the headers of one attempt to send a message."""
    name = f"msg_{id.hex()}"
    signature = _signer(keyring, recipient).sign(_signed(name, str(now), body))
    return {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(now),
        "webhook-signature": "v1a," + b64encode(signature).decode(),
    }


def _signed(name: str, moment: str, body: bytes) -> bytes:
    return f"{name}.{moment}.".encode() + body


def verify_webhook(key: str, headers: Mapping[str, str], body: bytes, now: int) -> Told:
    """Return the message that was received, for a recipient that works in Python.

    Whoever receives remembers `id` and takes a message of a known one for done: it may arrive more than once.

    Args:
        key: as `webhook_key` gave it. headers: of the request, by name in small letters. body: its very bytes. now:
            Unix seconds; an attempt more than five minutes away is refused.

    Raises:
        Unauthentic: not signed under this key, or too old. Malformed: signed, and no message.
    """
    refused = Unauthentic("is not a webhook of this key", place="webhook", remedy="refuse it")
    name, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    try:
        public = b64decode(key.removeprefix("whpk_"), validate=True)
        sent = int(moment) if moment.isascii() and moment.isdecimal() and len(moment) < 16 else -1
    except ValueError as error:
        raise refused from error
    if len(public) != 32 or not sound_point(public) or abs(now - sent) > _TOLERANCE:
        raise refused
    for part in headers.get("webhook-signature", "").split(" "):
        version, _, signature = part.partition(",")
        if version != "v1a":
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(
                b64decode(signature, validate=True), _signed(name, moment, body)
            )
        except (InvalidSignature, ValueError):
            continue
        told = read_message(body, place="webhook")
        if name != f"msg_{told.id.hex()}":
            raise refused
        return told
    raise refused


@contextmanager
def sending_alone(directory: Path) -> Iterator[None]:
    """Hold off the other processes of this host: two that send at once would send everything twice.

    Args:
        directory: of the store.

    Raises:
        Busy: another process sends. Unavailable: the disk can't be used.
    """
    with reaching(directory), (directory / "messages.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy("another process sends", place="messages", remedy="what waits is on its way") from error
        yield


def send_messages(
    custody: Custody,
    policy: PrivacyPolicy,
    endpoints: Mapping[str, Endpoint],
    courier: Courier,
    now: int,
) -> tuple[int, Refusal | None]:
    """Send the messages that wait, in order; return how many were received, and the last refusal.

    A recipient that can't be had is asked no more in this round, and holds up no other. What a trigger raised is taken
    back once it has been tried for `KEPT_SECONDS`, once its grant has ended or counts no longer, and where the policy
    in force sends it no more.

    Args:
        endpoints: by message.

    Raises:
        Unavailable: the store.
    """
    store, keyring, words = custody.store, custody.keyring, custody.counters.words
    taken, refused, out_of_reach, withdrawals = 0, None, set[str](), words[0]
    waiting = {entry.id: entry for entry in store.outbox(waiting=True)}
    for entry in list(waiting.values()):
        told = _told(entry)
        if told is None:
            continue
        endpoint = _endpoint(policy, told, endpoints)
        if told.kind not in ENDS and (endpoint is None or not _stands(policy, told, now)):
            if endpoint is not None or not _declared(policy, told):
                store.transact([Recall(entry.id)], now=now, durable=False)
            continue
        if withdrawals != words[0]:  # a withdrawal may have taken it back
            withdrawals = words[0]
            waiting = {one.id: one for one in store.outbox(waiting=True)}
        if endpoint is None or told.recipient in out_of_reach or entry.id not in waiting:
            continue
        try:
            courier.deliver(endpoint, entry.data, signed_headers(keyring, told.recipient, entry.id, entry.data, now))
        except Refusal as error:
            refused = error
            if isinstance(error, Unavailable):
                out_of_reach.add(told.recipient)
            continue
        store.sent(entry.id, now)
        taken += 1
    return taken, refused


def _told(entry: Emitted) -> Told | None:
    if not is_message(entry.data):
        return None
    try:
        return read_message(entry.data)
    except Malformed:
        return None


def _stands(policy: PrivacyPolicy, told: Told, now: int) -> bool:
    """Say whether the grant that a message was raised under still holds, as far as a policy and a clock can tell."""
    message = policy.message(told.message)
    purpose = policy.purposes.get(message.purpose) if message else None
    return purpose is not None and told.consent == purpose.consent_version and now <= told.until


def _declared(policy: PrivacyPolicy, told: Told) -> bool:
    """Say whether the policy in force sends this message to this recipient."""
    message = policy.message(told.message)
    return message is not None and message.recipient == told.recipient and bool(message.host)


def _endpoint(policy: PrivacyPolicy, told: Told, endpoints: Mapping[str, Endpoint]) -> Endpoint | None:
    """Return where a message goes: to the host that the policy names, or nowhere."""
    message, endpoint = policy.message(told.message), endpoints.get(told.message)
    if message is None or endpoint is None or not _declared(policy, told) or endpoint.host != message.host:
        return None
    return endpoint


def tidy_messages(store: Store, now: int, *, days: int) -> int:
    """Take messages out of the outbox that were received `days` ago or earlier; return how many."""
    old = [one.id for one in store.outbox() if one.sent and one.sent + days * 86_400 <= now and is_message(one.data)]
    if old:
        store.transact([Recall(one, received=True) for one in old], now=now, durable=True)
    return len(old)
