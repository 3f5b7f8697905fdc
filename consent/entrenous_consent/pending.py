"""A pending row: what one visitor is still to add to reports of one purpose, sealed under that purpose's data key.

It names its purpose and pseudonym in the clear, `[purpose, pseudonym, ciphertext]`, so that a release finds and opens
what is due without knowing who it is about. It goes with the purpose: withdrawal and erasure delete it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.store import Put, Row
from entrenous_consent.vault import Box

__all__ = ["Pending", "label", "labelled"]

_LIMIT = 1 << 18


@dataclass(slots=True, kw_only=True)
class Pending:
    """One pending row, unlocked.

    Attributes:
        value: plaintext; None where nothing is. due: when it is to be looked at, Unix seconds, 0 for never.
        expires: until when it may be kept. version: what was read, 0 for absent.
        generation: the row's own for life: one that was erased and made anew has another, though versions begin again.
    """

    purpose: str
    pseudonym: bytes
    box: Box
    value: bytes | None
    due: int
    expires: int
    version: int
    generation: int

    @property
    def name(self) -> bytes:
        """The row's name."""
        return self.pseudonym[16:24]

    @classmethod
    def of(
        cls, row: Row | None, purpose: str, pseudonym: bytes, box: Box, value: bytes | None, expires: int
    ) -> Pending:
        """Return what `row` holds, or what may be put where there is none."""
        return cls(
            purpose=purpose,
            pseudonym=pseudonym,
            box=box,
            value=value,
            due=row.due if row else 0,
            expires=expires,
            version=row.version if row else 0,
            generation=row.generation if row else int.from_bytes(os.urandom(7), "big") + 1,
        )

    def put(self, guard: tuple[bytes, int] | None = None) -> Put:
        """Return the write that stores it; `guard` as in `Put`."""
        return Put(
            name=self.name,
            value=label(self.purpose, self.pseudonym, self.box.seal(b"pending", self.value or b"")),
            expires=self.expires,
            expect=self.version,
            generation=self.generation,
            guard=guard,
            due=self.due,
        )


def label(purpose: str, pseudonym: bytes, sealed: bytes) -> bytes:
    """Return a row's value."""
    return pack([purpose, pseudonym, sealed])


def labelled(value: bytes) -> tuple[str, bytes, bytes]:
    """Return purpose, pseudonym and ciphertext of a row's value.

    Raises:
        Malformed: it is none.
    """
    parts, kinds = unpack(value, place="pending row", longest=_LIMIT), (str, bytes, bytes)
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise Malformed("is not a pending row", place="stored record", remedy="erase it, or let it expire")
    purpose, pseudonym, sealed = parts
    return purpose, pseudonym, sealed
