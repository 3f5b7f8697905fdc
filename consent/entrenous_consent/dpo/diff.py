"""`entrenous privacy diff`: what changes between two policies, as a document."""

from __future__ import annotations

from collections.abc import Sequence

from entrenous_consent.dpo.change import NARROWS, SAYS, WIDENS, Change
from entrenous_consent.dpo.changes import asked_again, compare, unraised
from entrenous_consent.dpo.rendering import Document, Items, Paragraph, Section, Table
from entrenous_consent.dpo.words import Words, load_words
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["diff_document"]


def diff_document(old: PrivacyPolicy, new: PrivacyPolicy, language: str) -> Document:
    """Return what changes from `old` to `new`, what must be asked again, and what keeps it from being signed.

    Raises:
        Forbidden: they are policies of two tenants.
    """
    words, changes = load_words(language, "diff"), compare(old, new)
    keeps = unraised(changes, old, new)
    sections = [_section(words, effect, changes) for effect in (WIDENS, NARROWS, SAYS)]
    return Document(
        kind="diff",
        language=language,
        title=words("title", tenant=new.tenant, old=old.version, new=new.version),
        lead=tuple(_lead(words, changes, keeps, old, new)),
        sections=(_asked(words, old, new), *(one for one in sections if one is not None)),
        footer=(words("how"),),
        data={
            "tenant": new.tenant,
            "old": old.version,
            "new": new.version,
            "changes": [_plain(one) for one in changes],
            "asked_again": list(asked_again(old, new)),
            "unraised": list(keeps),
        },
    )


def _lead(
    words: Words, changes: Sequence[Change], keeps: Sequence[str], old: PrivacyPolicy, new: PrivacyPolicy
) -> list[Paragraph]:
    if not changes:
        return [Paragraph(text=words("same"))]
    count = {effect: sum(one.effect == effect for one in changes) for effect in (WIDENS, NARROWS, SAYS)}
    told = [Paragraph(text=words("summary", **count))]
    for key in keeps:
        version = old.purposes[key].consent_version
        text = words("unraised", purpose=key, old=version, next=version + 1)
        told.append(Paragraph(text=text, mark=words("mark.error"), tone="error"))
    if new.version <= old.version:
        told.append(Paragraph(text=words("version"), mark=words("mark.error"), tone="error"))
    return told


def _asked(words: Words, old: PrivacyPolicy, new: PrivacyPolicy) -> Section:
    said = []
    for key in asked_again(old, new):
        if key in old.purposes:
            versions = {"old": old.purposes[key].consent_version, "new": new.purposes[key].consent_version}
            said.append(words("asked_raised", purpose=key, **versions))
        else:
            said.append(words("asked_new", purpose=key))
    block = Items(items=tuple(said)) if said else Paragraph(text=words("asked_none"))
    return Section(key="asked", heading=words("asked"), blocks=(block,))


def _section(words: Words, effect: str, changes: Sequence[Change]) -> Section | None:
    rows = tuple(
        (one.place, words(f"reason.{one.reason}"), one.old, one.new, ", ".join(one.purposes))
        for one in changes
        if one.effect == effect
    )
    if not rows:
        return None
    headings = tuple(words(f"column.{name}") for name in ("place", "why", "old", "new", "purposes"))
    table = Table(caption="", headings=headings, rows=rows)
    return Section(key=effect, heading=words(f"section.{effect}"), blocks=(table,))


def _plain(one: Change) -> dict[str, object]:
    return {
        "place": one.place,
        "effect": one.effect,
        "reason": one.reason,
        "old": one.old,
        "new": one.new,
        "purposes": list(one.purposes),
    }
