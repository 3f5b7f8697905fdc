"""The chain of months: the first entry of a month seals the month before, and a month whose time is over is dropped.

A seal is an entry `audit.sealed` with name, size and root of the log before; so whoever holds a checkpoint of one month
holds the months before it too. Once a month is sealed nothing is added to it: an entry that comes late, or whose clock
stands behind, goes into the open month. A month is dropped whole, and an entry `audit.dropped` keeps its size and root;
later months begin with seals of their own, so that they verify without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from entrenous_consent.audit.entries import LOG_NAME, entry
from entrenous_consent.audit.merkle import tally

__all__ = ["RETENTION_DAYS", "ended", "month_end", "placed", "summary"]

RETENTION_DAYS = 1830
"""How long a month is kept where the policy says nothing: five years, the general limitation period of French civil law
(Code civil, art. 2224), within which a controller may have to show that consent was given (GDPR Art. 7(1))."""


def summary(log: str, entries: Iterable[bytes]) -> dict[str, Any]:
    """Return what stands for a whole log: its name, its size and its root in hexadecimal."""
    size, root = tally(entries)
    return {"log": log, "size": size, "root": root.hex()}


def placed(newest: str, wanted: str, entries: Callable[[], Iterable[bytes]], now: int) -> tuple[str, tuple[bytes, ...]]:
    """Return the log that an entry goes into, and what goes there before it. A store asks within its transaction.

    Args:
        newest: the newest log that holds an entry, empty for none. wanted: the log of the entry's own time.
        entries: answers the entries of `newest`; asked only where a new month begins. now: Unix seconds.
    """
    if not (LOG_NAME.fullmatch(newest) and LOG_NAME.fullmatch(wanted)):
        return wanted, ()
    if wanted <= newest:
        return newest, ()
    return wanted, (entry("audit.sealed", time=now, subject=b"", detail=summary(newest, entries())),)


def month_end(log: str) -> int:
    """Return the Unix second at which a log's month is over.

    Raises:
        ValueError: it is not the name of a log.
    """
    if not LOG_NAME.fullmatch(log):
        raise ValueError("is not the name of a log")
    year, month = int(log[6:10]), int(log[11:])
    return int(datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())


def ended(logs: Iterable[str], now: int, *, days: int = RETENTION_DAYS) -> list[str]:
    """Return the logs whose retention is over at `now`: the month, and then `days` days."""
    return sorted(log for log in logs if month_end(log) + days * 86_400 <= now)
