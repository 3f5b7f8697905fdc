"""`entrenous privacy explain`: a feature, or a decision's receipt, in plain words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from entrenous_consent.dpo.facts import known_place
from entrenous_consent.dpo.parts import Parts, parts_of
from entrenous_consent.dpo.rendering import Block, Document, Facts, Paragraph, Section
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table
from entrenous_consent.policy import FeatureRule, PrivacyPolicy

__all__ = ["RECEIPTS_LIMIT", "ReceiptFacts", "explain_feature", "explain_receipts", "read_receipts"]

RECEIPTS_LIMIT = 1 << 18
"""The most bytes a file of receipts may have."""

_LATEST = 253_402_300_799
_EVERYONE = 10_000
_KEYS = frozenset(
    (
        "receipts",
        "id",
        "time",
        "decision",
        "arm",
        "reason",
        "cause",
        "tranche",
        "share",
        "bundle",
        "policy",
        "consents",
        "withheld",
    )
)
_REASONS = ("TARGETING_MATCH", "SPLIT", "STATIC", "DEFAULT", "DISABLED", "STALE", "ERROR")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFacts:
    """A receipt as a visitor's export gives it.

    Attributes:
        share: how many of 10,000 get this arm where it is drawn by chance.
        consents: purpose used, and the consent version it was granted at. withheld: features not looked at.
    """

    id: str
    time: int
    decision: str
    arm: str
    reason: str
    cause: str
    tranche: str
    share: int
    bundle: str
    policy: int
    consents: tuple[tuple[str, int], ...]
    withheld: tuple[str, ...]


def read_receipts(data: bytes, *, place: str = "receipt") -> tuple[ReceiptFacts, ...]:
    """Return the receipts in JSON: one as a table, several in an array, or all of a visitor's export.

    Raises:
        Malformed: not JSON, no receipt in it, an unknown or missing key, or a value out of bounds.
    """
    if len(data) > RECEIPTS_LIMIT:
        raise Malformed(f"is longer than {RECEIPTS_LIMIT} bytes", place=place, remedy="give fewer receipts")
    try:
        tables = Table({"receipts": _within(json.loads(data))}).tables("receipts", longest=1000)
        receipts = tuple(map(_receipt, tables))
    except Malformed as error:
        remedy = error.remedy or "give it as the visitor's export has it"
        raise Malformed(error.what, place=f"{place}: {known_place(error.place, _KEYS)}", remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise Malformed("is not JSON", place=place, remedy="give it as the visitor's export has it") from error
    if not receipts:
        raise Malformed("holds no receipt", place=place, remedy="a visitor without decisions has none")
    return receipts


def _within(found: Any) -> list[Any]:
    """Return the receipts of an export, which lie under each purpose; or what was given, as a list."""
    if not isinstance(found, dict):
        return found if isinstance(found, list) else [found]
    export = found["data"] if isinstance(found.get("data"), dict) else found
    purposes = export.get("purposes")
    if not isinstance(purposes, dict):
        return [export] if export else []
    kept = [purposes[key].get("receipts") for key in sorted(purposes) if isinstance(purposes[key], dict)]
    return [receipt for several in kept if isinstance(several, list) for receipt in several]


def _receipt(table: Table) -> ReceiptFacts:
    consents = table.table("consents")
    receipt = ReceiptFacts(
        id=table.text("id", longest=32),
        time=table.integer("time", least=0, most=_LATEST),
        decision=table.name("decision"),
        arm=table.text("arm", longest=64, empty=True),
        reason=table.choice("reason", _REASONS),
        cause=table.text("cause", longest=64, empty=True),
        tranche=table.text("tranche", longest=64, empty=True),
        share=table.integer("share", _EVERYONE, least=0, most=_EVERYONE),
        bundle=table.text("bundle", longest=200, empty=True),
        policy=table.integer("policy", least=0, most=1 << 31),
        consents=tuple((key, consents.integer(key, least=0, most=1 << 31)) for key in consents.keys()),  # noqa: SIM118
        withheld=table.texts("withheld"),
    )
    table.close()
    return receipt


def explain_feature(policy: PrivacyPolicy, name: str, language: str, version: str) -> Document:
    """Return what a policy says of a feature, in plain words; `version` of this package."""
    parts = parts_of(policy, language)
    words, rule = parts.words, policy.rule(name)
    lead = words("explain.feature_unknown")
    sections: tuple[Section, ...] = ()
    if rule is not None:
        lead = words("explain.feature_lead", title=parts.title(rule.purpose))
        sections = _feature(parts, rule, name)
    return Document(
        kind="explain-feature",
        language=language,
        title=words("explain.feature_title", name=name),
        lead=(Paragraph(text=lead),),
        sections=sections,
        footer=parts.footer(version),
        data={**parts.data(), "feature": name, "rule": rule and rule.pattern, "purpose": rule and rule.purpose},
    )


def _feature(parts: Parts, rule: FeatureRule, name: str) -> tuple[Section, ...]:
    words, purpose = parts.words, parts.policy.purposes[rule.purpose]
    own = rule.pattern == name
    told = words("explain.feature_exact") if own else words("explain.feature_prefix", prefix=rule.pattern[:-1])
    deciding = [one.name for one in parts.policy.decisions if one.reads(name)]
    facts = [
        (words("column.category"), parts.category(rule.category)),
        (words("column.source"), parts.source(rule.source)),
        (words("column.kept"), parts.retention(rule.retention_days)),
        (words("column.what_for"), purpose.description[words.language]),
        (words("column.basis"), words(f"basis.{purpose.legal_basis}")),
        (words("column.terminal"), parts.terminal(purpose)),
        (words("explain.feature_decisions"), ", ".join(deciding) or words("explain.feature_no_decisions")),
        (words("explain.feature_rule"), told),
    ]
    if rule.infers:
        facts.append((words("explain.feature_infers"), ", ".join(map(parts.category, rule.infers))))
    return (
        Section(key="facts", heading=words("explain.facts"), blocks=(Facts(facts=tuple(facts)),)),
        Section(key="rights", heading=words("explain.way_out"), blocks=(parts.rights(),)),
    )


def explain_receipts(
    policy: PrivacyPolicy, receipts: tuple[ReceiptFacts, ...], language: str, version: str
) -> Document:
    """Return what stands behind decisions, in plain words; `version` of this package."""
    parts = parts_of(policy, language)
    words = parts.words
    return Document(
        kind="explain-receipt",
        language=language,
        title=words("explain.receipts_title"),
        sections=tuple(_told(parts, receipt, i) for i, receipt in enumerate(receipts)),
        footer=parts.footer(version),
        data={**parts.data(), "receipts": [receipt.id for receipt in receipts]},
    )


def _told(parts: Parts, receipt: ReceiptFacts, number: int) -> Section:
    words, policy = parts.words, parts.policy
    time = datetime.fromtimestamp(receipt.time, UTC).strftime("%Y-%m-%d %H:%M UTC")
    arm = words("explain.receipt_arm", arm=receipt.arm) if receipt.arm else words("explain.receipt_default")
    lead = f"{words('explain.receipt_lead', time=time, decision=receipt.decision)} {arm}"
    used = [
        words("explain.receipt_used_one", purpose=parts.title(key) if key in policy.purposes else key, version=consent)
        for key, consent in receipt.consents
    ]
    bundled = "explain.receipt_bundle_one" if receipt.bundle else "explain.receipt_no_bundle"
    why = words(f"reason.{receipt.reason}")
    facts = [
        (words("explain.receipt_why"), f"{why} ({receipt.cause})" if receipt.cause else why),
        (words("explain.receipt_used"), "; ".join(used) or words("explain.receipt_nothing")),
        (words("explain.receipt_withheld"), ", ".join(receipt.withheld) or words("none")),
        (words("explain.receipt_bundle"), words(bundled, bundle=receipt.bundle, policy=receipt.policy)),
    ]
    if receipt.share != _EVERYONE:
        facts.insert(1, (words("explain.receipt_share"), f"{receipt.share / _EVERYONE:.2%}"))
    if receipt.tranche:
        facts.insert(1, (words("explain.receipt_tranche"), receipt.tranche))
    blocks: list[Block] = [Paragraph(text=lead), Facts(facts=tuple(facts))]
    if receipt.policy != policy.version:
        text = words("explain.receipt_other_policy", made=receipt.policy, read=policy.version)
        blocks.append(Paragraph(text=text, mark=words("mark.info"), tone="info"))
    heading = words("explain.receipt_title", id=receipt.id)
    return Section(key=f"receipt-{number}", heading=heading, blocks=tuple(blocks))
