"""Signed notes after C2SP (`c2sp.org/signed-note`): a text, a blank line, and lines that sign it with Ed25519.

A verifier key is written `name+id+key`: the id is the first four bytes, in hexadecimal, of the SHA-256 of name, line
feed, a one byte and the public key; the key is the base64 of a one byte and the public key. Notes come from strangers:
what is not exactly of this form is refused, what an unknown key signed is ignored.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from entrenous_consent.errors import Malformed, Unauthentic
from entrenous_consent.points import sound_point

__all__ = ["AGAIN", "NOTE_LIMIT", "VerifierKey", "decoded", "open_note", "parse_verifier_key", "sign_note"]

NOTE_LIMIT = 1 << 16
"""The most bytes a signed note may have."""

AGAIN = "ask for it again; compare what you were sent with what was made"
"""What to do with a note, a checkpoint or a proof that is not what it should be."""

_ED25519 = b"\x01"
_KEY_BYTES = 32
_MOST_SIGNATURES = 64
_DASH = "—"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """Who may sign: a name, and the 32 bytes of an Ed25519 public key."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that, beside the name, say which key signed."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64encode(_ED25519 + self.public).decode()}"


def decoded(text: str) -> bytes | None:
    """Return the bytes of standard base64 with its padding; None for anything else, spare bits included."""
    try:
        data = b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        return None
    return data if b64encode(data).decode() == text else None


def _named(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() or ord(char) < 32 for char in name)


def parse_verifier_key(text: str, *, place: str = "key") -> VerifierKey:
    """Return the verifier key that `text` writes down.

    Raises:
        Malformed: it is none, a key that anybody could sign under, or its id is another key's.
    """
    parts = text.split("+", 2)
    key = decoded(parts[2]) if len(parts) == 3 else None
    sound = key is not None and key[:1] == _ED25519 and len(key) == 1 + _KEY_BYTES and sound_point(key[1:])
    if key is None or not sound or not _named(parts[0]):
        raise Malformed("is not a verifier key of Ed25519", place=place, remedy="copy it whole: name+id+key")
    found = VerifierKey(name=parts[0], public=key[1:])
    if found.id.hex() != parts[1]:
        raise Malformed("carries the id of another key", place=place, remedy="copy it whole: name+id+key")
    return found


def sign_note(text: str, name: str, seed: bytes) -> tuple[str, VerifierKey]:
    """Return a note of `text` signed by the key of `seed` under `name`, and the key that verifies it.

    Args:
        text: one or more lines, each ended. seed: the 32 bytes of an Ed25519 private key.

    Raises:
        ValueError: text or name can't stand in a note.
    """
    if not text.endswith("\n") or _CONTROL.search(text) or not _named(name):
        raise ValueError("can't stand in a note")
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key = VerifierKey(name=name, public=private.public_key().public_bytes_raw())
    signature = b64encode(key.id + private.sign(text.encode())).decode()
    return f"{text}\n{_DASH} {name} {signature}\n", key


def open_note(data: bytes, key: VerifierKey, *, place: str = "note") -> str:
    """Return the text of a note that `key` signed.

    Raises:
        Malformed: not a signed note. Unauthentic: `key` did not sign it, or a signature under its name and id is wrong.
    """
    text, signatures = _parted(data, place)
    mine = [signature for name, identity, signature in signatures if (name, identity) == (key.name, key.id)]
    if not mine:
        raise Unauthentic("is not signed by this key", place=place, remedy="check that the key is this log's")
    public = Ed25519PublicKey.from_public_bytes(key.public)
    for signature in mine:
        try:
            public.verify(signature, text.encode())
        except InvalidSignature as error:
            raise Unauthentic("carries a wrong signature", place=place, remedy=AGAIN) from error
    return text


def _parted(data: bytes, place: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Return a note's text, and of each signature the name, the id and the signature itself."""
    wrong = Malformed("is not a signed note", place=place, remedy=AGAIN)
    if len(data) > NOTE_LIMIT:
        raise Malformed(f"is longer than {NOTE_LIMIT} bytes", place=place, remedy=AGAIN)
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise wrong from error
    at = whole.rfind("\n\n")
    lines = whole[at + 2 :].split("\n")
    if at < 1 or lines.pop() or not 0 < len(lines) <= _MOST_SIGNATURES or _CONTROL.search(whole):
        raise wrong
    signatures = []
    for line in lines:
        parts = line.split(" ")
        signature = decoded(parts[2]) if len(parts) == 3 else None
        if signature is None or parts[0] != _DASH or not _named(parts[1]) or len(signature) < 5:
            raise wrong
        signatures.append((parts[1], signature[:4], signature[4:]))
    return whole[: at + 1], signatures
