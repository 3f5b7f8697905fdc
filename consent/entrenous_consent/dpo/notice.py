"""`entrenous privacy notice`: what a visitor is told (GDPR Art. 13, and 14 for what comes from elsewhere)."""

from __future__ import annotations

from entrenous_consent.dpo.parts import Parts, parts_of
from entrenous_consent.dpo.rendering import Block, Document, Items, Paragraph, Section
from entrenous_consent.policy import DeclaredDecision, PrivacyPolicy, Purpose

__all__ = ["notice_document"]

_DAY = 86_400


def notice_document(policy: PrivacyPolicy, language: str, version: str) -> Document:
    """Return the notice, in the words of whom it is for; `version` of this package."""
    parts = parts_of(policy, language)
    words = parts.words
    sections = [
        Section(key="who", heading=words("notice.who"), blocks=(parts.who(),)),
        Section(
            key="what-for",
            heading=words("notice.what_for"),
            sections=tuple(_purpose(parts, key, one) for key, one in policy.purposes.items()),
        ),
    ]
    if policy.decisions:
        decided = Items(items=tuple(_decided(parts, one) for one in policy.decisions))
        sections.append(Section(key="decided", heading=words("notice.decided"), blocks=(decided,)))
    if policy.reports:
        leaves = Paragraph(text=words("notice.leaves_text"))
        sections.append(Section(key="leaves", heading=words("notice.leaves"), blocks=(leaves,)))
    sections += [
        Section(key="recipients", heading=words("notice.recipients"), blocks=parts.recipients()),
        Section(key="transfers", heading=words("notice.transfers"), blocks=(parts.transfers(),)),
        Section(key="kept", heading=words("notice.kept"), blocks=(parts.kept(),)),
        Section(key="rights", heading=words("notice.rights"), blocks=(parts.rights(),)),
    ]
    if policy.children:
        said = Paragraph(text=words(f"notice.children_{policy.children}"))
        sections.append(Section(key="children", heading=words("notice.children"), blocks=(said,)))
    return Document(
        kind="notice",
        language=language,
        title=words("notice.title", name=policy.controller.name),
        lead=_lead(parts),
        sections=tuple(sections),
        footer=parts.footer(version),
        data=parts.data(),
    )


def _lead(parts: Parts) -> tuple[Paragraph, ...]:
    told = [Paragraph(text=parts.words("notice.lead"))]
    if any(one.legal_basis != "consent" for one in parts.policy.purposes.values()):
        told.append(Paragraph(text=parts.words("notice.lead_other")))
    return (*told, Paragraph(text=parts.words("pseudonymous")))


def _purpose(parts: Parts, key: str, purpose: Purpose) -> Section:
    words = parts.words
    basis = words(
        "notice.basis",
        basis=words(f"basis.{purpose.legal_basis}"),
        terminal=parts.terminal(purpose),
        days=words.days(purpose.lifetime // _DAY),
    )
    blocks: list[Block] = [Paragraph(text=purpose.description[words.language])]
    blocks += [Paragraph(text=_data(parts, key)), Paragraph(text=basis)]
    if purpose.interest:
        blocks.append(Paragraph(text=words("notice.interest", interest=purpose.interest)))
    return Section(key=f"purpose-{key}", heading=parts.title(key), blocks=tuple(blocks))


def _data(parts: Parts, purpose: str) -> str:
    words, longest = parts.words, dict[tuple[str, str], int]()
    for rule in parts.rules(purpose):
        which = (parts.category(rule.category), parts.source(rule.source))
        longest[which] = max(longest.get(which, 0), rule.retention_days)
    told = [
        words("notice.one_data", category=category, kept=parts.retention(days), source=source)
        for (category, source), days in longest.items()
    ]
    for one in parts.policy.reports:
        if one.purpose == purpose:
            what, kept = words("kept.contribution", report=one.name), parts.retention(parts.waits(one))
            told.append(words("notice.one_sum", what=what, kept=kept))
    return words("notice.data", data="; ".join(told)) if told else words("notice.no_data")


def _decided(parts: Parts, decision: DeclaredDecision) -> str:
    words = parts.words
    how = [words("notice.decided_alone" if decision.alone else "notice.decided_person")]
    if decision.review:
        how.append(words("notice.decided_review", review=decision.review))
    taken = [rule for rule in parts.policy.features if decision.reads(rule.pattern)]
    categories = dict.fromkeys(parts.category(rule.category) for rule in taken)
    values = {"effect": words(f"effect.{decision.effect}"), "inputs": ", ".join(categories) or words("every_input")}
    return words("notice.decided_one", name=decision.name, how=" ".join(how), **values)
