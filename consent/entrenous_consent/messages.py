"""Messages: what a recipient whom the policy names is told of one visitor, and nothing of their profile.

A message says that a trigger fell due, or that the visitor is to be told nothing more (`withdrawn`), or that everything
about them was erased (`erased`: GDPR Art. 17, 19). It names the visitor by an identifier of that recipient's own, HMAC
under a key that nothing else uses: not a pseudonym of any purpose or epoch, and not what another recipient knows. Its
bytes lie in the outbox, where they wait to be sent and stay to be read, and are made in the transaction that they
belong to.

The body follows the payload structure that Standard Webhooks recommends: `type`, `timestamp`, `data`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from entrenous_consent.errors import Malformed
from entrenous_consent.keys import Keyring
from entrenous_consent.parsing import Table
from entrenous_consent.policy import Message, PrivacyPolicy
from entrenous_consent.pseudonyms import keyed
from entrenous_consent.store import Emit, Emitted, Recall

__all__ = [
    "ENDS",
    "MESSAGE_LIMIT",
    "Told",
    "endings",
    "is_message",
    "new_id",
    "read_message",
    "recalls",
    "recipient_id",
]

MESSAGE_LIMIT = 8192
"""The most bytes a message may have: a recipient's name of 500 characters takes 6,000 at most."""

ENDS = ("erased", "withdrawn")
"""What a message says when there is to be no other."""

_ID_BYTES = 16
_TYPES = ("raised", *ENDS)
_START = b'{"type":"message.'
_HEX = re.compile(r"[0-9a-f]{32}")
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One message.

    Attributes:
        id: 16 bytes, the same however often it is sent. kind: `raised`, `withdrawn` or `erased`.
        message, recipient: as the policy names them. recipient_id: the visitor, as this recipient knows them.
        time: Unix seconds, when it was made. policy: the version in force then.
        trigger: what fell due; empty where nothing did. until: the last second at which it is to be sent, before the
            grant ends; consent: the consent version of the grant; both 0 where nothing fell due.
    """

    id: bytes
    kind: str
    message: str
    recipient: str
    recipient_id: str
    time: int
    policy: int
    trigger: str = ""
    until: int = 0
    consent: int = 0

    def encode(self) -> bytes:
        """Return the body that is sent."""
        data: dict[str, Any] = {"id": self.id.hex(), "message": self.message}
        if self.trigger:
            data |= {"trigger": self.trigger, "until": _spoken(self.until), "consent": self.consent}
        data |= {"recipient": self.recipient, "recipient_id": self.recipient_id, "policy": self.policy}
        said = {"type": f"message.{self.kind}", "timestamp": _spoken(self.time), "data": data}
        return json.dumps(said, separators=(",", ":")).encode()

    def emit(self) -> Emit:
        """Return the write that puts it into the outbox."""
        return Emit(self.id, self.encode(), self.time)


def _spoken(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime(_MOMENT)


def _heard(moment: str) -> int:
    return int(datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC).timestamp())


def new_id() -> bytes:
    """Return an id that no other message has."""
    return os.urandom(_ID_BYTES)


def recipient_id(keyring: Keyring, recipient: str, handle: bytes) -> str:
    """Return what a visitor is called towards one recipient, and nowhere else: 32 hexadecimal digits.

    Args:
        recipient: as the policy names it.
    """
    return keyed(keyring.recipient_key(recipient))(handle)[:_ID_BYTES].hex()


def is_message(data: bytes) -> bool:
    """Say whether an entry of the outbox is a message: a report, which is msgpack, never begins as one."""
    return data.startswith(_START)


def read_message(data: bytes, *, place: str = "message") -> Told:
    """Return the message that `data` holds.

    Raises:
        Malformed: it is none, or is not written as `Told.encode` does.
    """
    remedy = "read it with the version that wrote it"
    if len(data) > MESSAGE_LIMIT or not is_message(data):
        raise Malformed("is not a message", place=place, remedy=remedy)
    try:
        top = Table(json.loads(data))
        kind = top.choice("type", [f"message.{kind}" for kind in _TYPES]).removeprefix("message.")
        moment, inner = top.text("timestamp", longest=20), top.table("data")
        told = Told(
            id=bytes.fromhex(_hex(inner, "id")),
            kind=kind,
            message=inner.name("message"),
            recipient=inner.text("recipient"),
            recipient_id=_hex(inner, "recipient_id"),
            time=_heard(moment),
            policy=inner.integer("policy", least=1, most=1 << 31),
            trigger=inner.name("trigger", ""),
            until=_heard(inner.text("until", longest=20)) if inner.has("trigger") else 0,
            consent=inner.integer("consent", least=1, most=1 << 31) if inner.has("trigger") else 0,
        )
        inner.close()
        top.close()
    except (ValueError, RecursionError, Malformed) as error:
        raise Malformed("is not a message", place=place, remedy=remedy) from error
    if told.encode() != data:
        raise Malformed("is not written as messages are", place=place, remedy=remedy)
    return told


def _hex(table: Table, key: str) -> str:
    found = table.text(key, longest=2 * _ID_BYTES)
    if not _HEX.fullmatch(found):
        raise table.refuse(key, "is not 32 hexadecimal digits")
    return found


def endings(
    keyring: Keyring, policy: PrivacyPolicy, purposes: Iterable[str], kind: str, handle: bytes, now: int
) -> Iterator[Emit]:
    """Yield what tells each recipient of a message for these purposes that there is to be none, where the policy says
    where messages go.

    Args:
        purposes: those that were granted and end: who was never granted anything is spoken of to nobody. kind: of
            `ENDS`.
    """
    for message in _sent(policy, purposes):
        yield Told(
            id=new_id(),
            kind=kind,
            message=message.name,
            recipient=message.recipient,
            recipient_id=recipient_id(keyring, message.recipient, handle),
            time=now,
            policy=policy.version,
        ).emit()


def recalls(
    keyring: Keyring, policy: PrivacyPolicy, purposes: Iterable[str], handle: bytes, waiting: Iterable[Emitted]
) -> Iterator[Recall]:
    """Yield what takes back each message about a visitor that says a trigger fell due and has not been received.

    Args:
        waiting: what the outbox still holds to be sent.
    """
    named = {one.name: recipient_id(keyring, one.recipient, handle) for one in _sent(policy, purposes)}
    for entry in waiting if named else ():
        try:
            told = read_message(entry.data)
        except Malformed:
            continue
        if told.kind not in ENDS and named.get(told.message) == told.recipient_id:
            yield Recall(entry.id)


def _sent(policy: PrivacyPolicy, purposes: Iterable[str]) -> list[Message]:
    held = frozenset(purposes)
    return [one for one in policy.messages if one.host and one.purpose in held]
