"""`entrenous privacy lint`: every rule asked of a policy, and what they found as a document."""

from __future__ import annotations

from dataclasses import dataclass

from entrenous_consent.dpo.rendering import Document, Paragraph, Section, Table
from entrenous_consent.dpo.rules import LEVELS, Finding, Rule, rules
from entrenous_consent.dpo.words import Words, load_words
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["Linted", "findings_sections", "lint", "lint_document"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """One thing that lint found: the rule, and where the policy fails it."""

    rule: Rule
    finding: Finding

    def told(self, words: Words) -> str:
        """Return what was found, in words of the catalog `lint`."""
        return words(f"{self.rule.id}.{self.finding.said}", **dict(self.finding.values))


def lint(policy: PrivacyPolicy) -> tuple[Linted, ...]:
    """Return all that the rules find in a policy, the gravest first."""
    return tuple(Linted(rule=rule, finding=found) for rule in rules() for found in rule.check(policy))


def lint_document(policy: PrivacyPolicy, language: str) -> Document:
    """Return what lint found as a document."""
    words = load_words(language, "lint")
    found = lint(policy)
    return Document(
        kind="lint",
        language=language,
        title=words("title", tenant=policy.tenant, version=policy.version),
        lead=(_summary(words, found),),
        sections=(*findings_sections(words, found), _passed(words, found)),
        footer=(words("sources"),),
        data={"tenant": policy.tenant, "version": policy.version, "findings": [_plain(words, one) for one in found]},
    )


def _summary(words: Words, found: tuple[Linted, ...]) -> Paragraph:
    if not found:
        return Paragraph(text=words("nothing", rules=len(rules())), mark=words("mark.good"), tone="good")
    said = {level: len({one.rule.id for one in found if one.rule.level == level}) for level in LEVELS}
    worst = next(level for level in LEVELS if said[level])
    text = words("summary", rules=len(rules()), errors=said["error"], warnings=said["warning"], infos=said["info"])
    return Paragraph(text=text, mark=words(f"mark.{worst}"), tone=worst)


def findings_sections(words: Words, found: tuple[Linted, ...]) -> tuple[Section, ...]:
    """Return a section for each rule that found something: what it says, where and what, the remedy, the source."""
    hit = [rule for rule in rules() if any(one.rule.id == rule.id for one in found)]
    return tuple(
        Section(
            key=f"rule-{rule.id}",
            heading=f"{words('heading.rule')} · {words(f'{rule.id}.says')}",
            blocks=(
                Paragraph(
                    text=words(
                        "heading.source",
                        rule=rule.id,
                        source=words(f"{rule.id}.source"),
                        sure=words(f"sure.{rule.sure}"),
                    ),
                    mark=words(f"mark.{rule.level}"),
                    tone=rule.level,
                ),
                Table(
                    caption="",
                    headings=(words("heading.place"), words("heading.found")),
                    rows=tuple((one.finding.place, one.told(words)) for one in found if one.rule.id == rule.id),
                ),
                Paragraph(text=words("heading.remedy", remedy=words(f"{rule.id}.remedy"))),
            ),
        )
        for rule in hit
    )


def _passed(words: Words, found: tuple[Linted, ...]) -> Section:
    hit = {one.rule.id for one in found}
    names = ", ".join(rule.id for rule in rules() if rule.id not in hit)
    return Section(key="passed", heading=words("passed"), blocks=(Paragraph(text=words("passed_list", names=names)),))


def _plain(words: Words, one: Linted) -> dict[str, str]:
    rule = one.rule
    return {
        "rule": rule.id,
        "level": rule.level,
        "sure": rule.sure,
        "place": one.finding.place,
        "found": one.told(words),
        "remedy": words(f"{rule.id}.remedy"),
        "source": words(f"{rule.id}.source"),
    }
