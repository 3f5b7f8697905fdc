"""The audit log: what happened to consent and data, in Merkle logs (RFC 9162, section 2.1), one a month.

::

    entries      what is written down, and what may be said about it
    merkle       roots and proofs
    notes        C2SP signed notes
    checkpoints  C2SP checkpoints of a log, and proofs that travel with one
    months       the chain of months: sealed, dropped when their time is over
    exports      what is handed out, and the first entry that no longer fits it
"""

from __future__ import annotations

from entrenous_consent.audit.entries import (
    DETAILS,
    ENTRY_LIMIT,
    KINDS,
    Entry,
    commitment,
    entry,
    log_name,
    read_entry,
)
from entrenous_consent.audit.merkle import leaf_hash, root

__all__ = [
    "DETAILS",
    "ENTRY_LIMIT",
    "KINDS",
    "Entry",
    "commitment",
    "entry",
    "leaf_hash",
    "log_name",
    "read_entry",
    "root",
]
