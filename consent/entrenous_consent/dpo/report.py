"""`entrenous privacy report`: one page that a DPO can hand to an auditor.

The policy in words, what lint found, purposes, data, what leaves and what hides each person in it, rights; and what
other verbs found on a host, where it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from entrenous_consent.dpo.lint import findings_sections, lint
from entrenous_consent.dpo.parts import Parts, parts_of
from entrenous_consent.dpo.pictures import draw_flow, draw_kept, draw_threshold
from entrenous_consent.dpo.rendering import Block, Document, Facts, Paragraph, Section
from entrenous_consent.dpo.rules import LEVELS
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["report_document"]


def report_document(policy: PrivacyPolicy, found: Sequence[Document], language: str, version: str) -> Document:
    """Return the report.

    Args:
        found: documents of other verbs, each set in as it is. language: `en` or `fr`. version: of this package.
    """
    parts = parts_of(policy, language)
    words = parts.words
    sections = [
        _section(parts, "who", Facts(facts=(*parts.who().facts, (words("report.digest"), policy.digest.hex())))),
        _found(parts),
        _section(parts, "purposes", parts.purposes()),
        Section(
            key="features",
            heading=words("report.features"),
            blocks=(Paragraph(text=words("pseudonymous")), draw_flow(parts)),
            sections=tuple(_features(parts, key) for key in policy.purposes),
        ),
        _section(parts, "decisions", parts.decisions()),
        _leaves(parts),
        _section(parts, "outward", *parts.recipients(), parts.transfers()),
        _section(parts, "kept", draw_kept(parts), parts.kept()),
        _section(parts, "identifiers", parts.identifiers()),
        _section(parts, "rights", parts.rights()),
        _section(parts, "security", parts.security()),
        *_host(parts, found),
        _section(parts, "limits", Paragraph(text=words("report.limits_text"))),
    ]
    return Document(
        kind="report",
        language=language,
        title=words("report.title", name=policy.controller.name),
        lead=(Paragraph(text=words("report.lead", tenant=policy.tenant, version=policy.version)),),
        contents=words("contents"),
        sections=tuple(sections),
        footer=parts.footer(version),
        data={
            **parts.data(),
            "findings": [{"rule": one.rule.id, "place": one.finding.place} for one in lint(policy)],
            "found": [one.kind for one in found],
        },
    )


def _section(parts: Parts, key: str, *blocks: Block) -> Section:
    return Section(key=key, heading=parts.words(f"report.{key}"), blocks=blocks)


def _found(parts: Parts) -> Section:
    words, found = parts.words, lint(parts.policy)
    count = {level: sum(one.rule.level == level for one in found) for level in LEVELS}
    worst = next((level for level in LEVELS if count[level]), "good")
    text = words("report.lint_summary", errors=count["error"], warnings=count["warning"], infos=count["info"])
    return Section(
        key="found",
        heading=words("report.found"),
        blocks=(Paragraph(text=text, mark=words(f"mark.{worst}"), tone=worst), Paragraph(text=words("sources"))),
        sections=findings_sections(words, found),
    )


def _leaves(parts: Parts) -> Section:
    words, reports = parts.words, parts.policy.reports
    shown: list[Block] = [Paragraph(text=words("report.leaves_text" if reports else "no_report"))]
    for report in reports:
        shown += [parts.report(report), draw_threshold(parts, report)]
    return _section(parts, "leaves", *shown)


def _features(parts: Parts, purpose: str) -> Section:
    rules, reports = parts.rules(purpose), [one for one in parts.policy.reports if one.purpose == purpose]
    blocks: list[Block] = [parts.features(rules)] if rules else []
    if reports:
        waits = ((parts.words("kept.contribution", report=one.name), parts.waits(one)) for one in reports)
        blocks.append(Facts(facts=tuple((what, parts.retention(days)) for what, days in waits)))
    if not blocks:
        blocks.append(Paragraph(text=parts.words("report.features_none")))
    return Section(key=f"purpose-{purpose}", heading=parts.title(purpose), blocks=tuple(blocks))


def _host(parts: Parts, found: Sequence[Document]) -> list[Section]:
    if not found:
        return [_section(parts, "facts", Paragraph(text=parts.words("report.facts_none")))]
    return [
        Section(
            key=f"facts-{i}",
            heading=one.title,
            blocks=one.lead,
            sections=tuple(_below(section, f"facts-{i}-{j}") for j, section in enumerate(one.sections)),
        )
        for i, one in enumerate(found)
    ]


def _below(section: Section, key: str) -> Section:
    """Return a section under a key of its own, so that two documents never share one."""
    inner = tuple(_below(one, f"{key}-{i}") for i, one in enumerate(section.sections))
    return replace(section, key=key, sections=inner)
