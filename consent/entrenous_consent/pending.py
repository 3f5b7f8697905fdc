"""A pending row: what of one visitor waits for a time to come, sealed under the data key of its purpose.

It names its purpose and pseudonym in the clear, `[purpose, pseudonym, ciphertext]`, so that what is due is found and
opened without knowing who it is about. It goes with the purpose: withdrawal and erasure delete it. There are two for
each purpose: what the visitor is still to add to reports, and the triggers that are armed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.store import Put, Row
from entrenous_consent.vault import Box

__all__ = ["REPORTS", "TRIGGERS", "Pending", "Slot", "label", "labelled"]

_LIMIT = 1 << 18


class Slot(NamedTuple):
    """What a pending row holds.

    Attributes:
        start: of the eight bytes of the pseudonym that name the row. form: as it is sealed.
    """

    start: int
    form: bytes


REPORTS = Slot(16, b"pending")
TRIGGERS = Slot(24, b"triggers")


@dataclass(slots=True, kw_only=True)
class Pending:
    """One pending row, unlocked.

    Attributes:
        value: plaintext; None where nothing is. due: when it is to be looked at, Unix seconds, 0 for never.
        expires: until when it may be kept. version: what was read, 0 for absent.
        generation: the row's own for life: one that was erased and made anew has another, though versions begin again.
        slot: what it holds.
    """

    purpose: str
    pseudonym: bytes
    box: Box
    value: bytes | None
    due: int
    expires: int
    version: int
    generation: int
    slot: Slot = REPORTS

    @property
    def name(self) -> bytes:
        """The row's name."""
        return self.pseudonym[self.slot.start : self.slot.start + 8]

    @classmethod
    def of(
        cls,
        row: Row | None,
        purpose: str,
        pseudonym: bytes,
        box: Box,
        value: bytes | None,
        expires: int,
        slot: Slot = REPORTS,
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
            slot=slot,
        )

    def put(self, guard: tuple[bytes, int] | None = None) -> Put:
        """Return the write that stores it; `guard` as in `Put`."""
        return Put(
            name=self.name,
            value=label(self.purpose, self.pseudonym, self.box.seal(self.slot.form, self.value or b"")),
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
