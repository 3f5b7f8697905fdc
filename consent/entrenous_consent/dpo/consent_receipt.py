"""The consent receipt: what one visitor chose, handed to them, after ISO/IEC TS 27560:2023.

The structure is our own, described by `consent_receipt.schema.json` beside this module; its parts are those of the
specification: header, processing, parties, event. It holds no identifier: the visitor is the salted commitment that the
audit log names them by, so that whoever holds the receipt can have the entries of their choice proved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any

from entrenous_consent.policy import RIGHTS, Party, PrivacyPolicy, Purpose
from entrenous_consent.records import ConsentRecord

__all__ = ["SCHEMA_VERSION", "consent_receipt", "instant", "receipt_schema"]

SCHEMA_VERSION = "entrenous.consent-receipt/1"
"""What a receipt says it is."""


def receipt_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every receipt satisfies."""
    text = (files("entrenous_consent.dpo") / "consent_receipt.schema.json").read_text("utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def instant(time: int) -> str:
    """Return a time in Unix seconds after RFC 3339: `2026-11-27T10:15:00Z`."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def consent_receipt(
    record: ConsentRecord, policy: PrivacyPolicy, *, subject: bytes, language: str, now: int
) -> dict[str, Any]:
    """Return the receipt of a consent record as plain values.

    Args:
        policy: in force `now` (Unix seconds). subject: the visitor's audit commitment. language: of titles and
            descriptions, `en` or `fr`.
    """
    said: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "record_id": sha256(record.pack()).hexdigest(),
        "pii_principal_id": subject.hex(),
        "issued": instant(now),
        "language": language,
        "privacy_notice": {"tenant": policy.tenant, "version": policy.version, "sha256": policy.digest.hex()},
        "purposes": [_purpose(record, policy, one, language, now) for one in policy.purposes.values()],
        "pii_controllers": [_party(policy.controller)],
        "data_protection_officer": _party(policy.dpo),
        "recipients": [_party(one) for one in policy.recipients],
        "transfers": [
            {"country": one.country, "recipient": one.recipient, "safeguard": one.safeguard} for one in policy.transfers
        ],
        "privacy_rights": {right: getattr(policy.rights, right) for right in RIGHTS},
        "event": {"type": record.source, "time": instant(record.time), "remembered_until": instant(record.expires)},
    }
    return {"receipt_id": _digest(said), **said}


def _purpose(record: ConsentRecord, policy: PrivacyPolicy, purpose: Purpose, language: str, now: int) -> dict[str, Any]:
    state = _state(record, policy, purpose, now)
    version, expires = record.grants.get(purpose.key, (None, None))
    return {
        "purpose": purpose.key,
        "title": purpose.title[language],
        "description": purpose.description[language],
        "state": state,
        "consent_version": version,
        "asked_version": purpose.consent_version,
        "valid_until": None if expires is None else instant(min(expires, record.expires)),
        "lawful_basis": purpose.legal_basis,
        "terminal": purpose.terminal,
        "data_use": purpose.data_use,
        "dpv": purpose.dpv,
        "tcf_purposes": list(purpose.tcf_purposes),
        "pii_information": [
            {
                "feature": rule.pattern,
                "category": rule.category,
                "source": rule.source,
                "retention_days": rule.retention_days,
            }
            for rule in policy.features
            if rule.purpose == purpose.key
        ],
    }


def _state(record: ConsentRecord, policy: PrivacyPolicy, purpose: Purpose, now: int) -> str:
    """Return `granted`; `ended`; `widened`, granted at another consent version; `refused`; or `not_asked`."""
    if purpose.key in record.granted(policy, now):
        return "granted"
    if purpose.key in record.grants:
        return "widened" if record.grants[purpose.key][0] != purpose.consent_version else "ended"
    return "refused" if purpose.key in record.refused else "not_asked"


def _party(party: Party) -> dict[str, str]:
    return {"name": party.name, "contact": party.contact, "role": party.role, "address": party.address}


def _digest(said: Mapping[str, Any]) -> str:
    return sha256(json.dumps(said, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:32]
