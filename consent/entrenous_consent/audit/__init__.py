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

from entrenous_consent.audit.checkpoints import (
    Checkpoint,
    Growth,
    Inclusion,
    audit_key,
    read_checkpoint,
    read_growth,
    read_inclusion,
    sign_checkpoint,
    write_growth,
    write_inclusion,
)
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
from entrenous_consent.audit.exports import Failure, Month, checkpoint_of, first_failure, read_leaves, write_leaves
from entrenous_consent.audit.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from entrenous_consent.audit.months import RETENTION_DAYS, ended, month_end, placed, summary
from entrenous_consent.audit.notes import VerifierKey, open_note, parse_verifier_key, sign_note

__all__ = [
    "DETAILS",
    "ENTRY_LIMIT",
    "KINDS",
    "RETENTION_DAYS",
    "Checkpoint",
    "Entry",
    "Failure",
    "Growth",
    "Inclusion",
    "Month",
    "VerifierKey",
    "audit_key",
    "checkpoint_of",
    "commitment",
    "consistency_proof",
    "ended",
    "entry",
    "first_failure",
    "inclusion_proof",
    "leaf_hash",
    "log_name",
    "month_end",
    "open_note",
    "parse_verifier_key",
    "placed",
    "read_checkpoint",
    "read_entry",
    "read_growth",
    "read_inclusion",
    "read_leaves",
    "root",
    "root_of",
    "sign_checkpoint",
    "sign_note",
    "summary",
    "verify_consistency",
    "verify_inclusion",
    "write_growth",
    "write_inclusion",
    "write_leaves",
]
