"""Retention: until when a stored row may be read.

A row carries its expiry, and the store answers None from that second on, swept or not. A purpose's record lives as
long as the consent it rests on and the longest retention of what it holds, whichever ends first; within it, a bucket
that no window reaches any more is left out when the state is next written (`entrenous.features.state`).
"""

from __future__ import annotations

__all__ = ["RECEIPT_DAYS", "expiry"]

RECEIPT_DAYS = 90
"""How long a profile keeps the receipts of its decisions, where one is made for the purpose at all."""


def expiry(now: int, *, consent_until: int, retention_days: int) -> int:
    """Return the Unix second at which a record written `now` ends."""
    return min(consent_until, now + retention_days * 86_400)
