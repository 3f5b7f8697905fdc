"""What can go wrong, told apart by type.

::

    Refusal                 the base: what was wrong, where, and what to do next
    ├── Malformed           it is broken: bytes or text that do not parse, or break a stated bound
    ├── Forbidden           it is not allowed: the policy or the consent says no
    ├── Unauthentic         it is not what it claims to be: a seal or a digest does not match
    ├── Missing             it is not there: a file, a key, an extra
    └── Unavailable         it is there and cannot serve now: a disk that is full, a store of a newer format

A message never holds a raw identifier, a key, a token or a feature value.
"""

from __future__ import annotations

__all__ = ["Forbidden", "Malformed", "Missing", "Refusal", "Unauthentic", "Unavailable"]


class Refusal(Exception):
    """Base of every error of ours.

    Args:
        what: what was wrong, in one clause.
        place: where, as a path in the document or the name of a file.
        remedy: what to do next.
    """

    def __init__(self, what: str, *, place: str = "", remedy: str = "") -> None:
        self.what, self.place, self.remedy = what, place, remedy
        super().__init__(what)  # place and remedy travel in __dict__, so that a pickled error comes back whole

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        then = f" — {self.remedy}" if self.remedy else ""
        return f"{where}{self.what}{then}"


class Malformed(Refusal):
    """It is broken."""


class Forbidden(Refusal):
    """It is not allowed."""


class Unauthentic(Refusal):
    """It is not what it claims to be."""


class Missing(Refusal):
    """It is not there."""


class Unavailable(Refusal):
    """It is there and cannot serve now."""
