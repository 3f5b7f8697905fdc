"""`entrenous privacy dpia`: a draft impact assessment (GDPR Art. 35(7)), with what is known filled in.

What only a person can answer is left open and marked so.
"""

from __future__ import annotations

from math import exp

from entrenous_consent.dpo.card import CardFacts
from entrenous_consent.dpo.figures import threshold
from entrenous_consent.dpo.parts import Parts, parts_of
from entrenous_consent.dpo.rendering import Block, Document, Paragraph, Section, Table
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.retention import RECEIPT_DAYS

__all__ = ["dpia_document"]

_DAY = 86_400


def dpia_document(policy: PrivacyPolicy, card: CardFacts | None, language: str, version: str) -> Document:
    """Return the draft; `card` of the model that ships, if there is one, `version` of this package."""
    parts = parts_of(policy, language)
    words = parts.words
    sections = (
        Section(key="a", heading=words("dpia.a"), blocks=_what(parts)),
        Section(key="b", heading=words("dpia.b"), blocks=_needed(parts), sections=(_price(parts, card),)),
        Section(key="c", heading=words("dpia.c"), blocks=(_risks(parts, card), parts.open("dpia.c_open"))),
        Section(
            key="d",
            heading=words("dpia.d"),
            blocks=(parts.security(), parts.identifiers(), *parts.reports(), parts.kept(), parts.open("dpia.d_open")),
        ),
        Section(
            key="e",
            heading=words("dpia.e"),
            blocks=tuple(parts.open(f"dpia.{key}") for key in ("e_dpo", "e_people", "e_authority", "e_sign")),
        ),
    )
    return Document(
        kind="dpia",
        language=language,
        title=words("dpia.title", name=policy.controller.name),
        lead=(Paragraph(text=words("dpia.lead", tenant=policy.tenant, version=policy.version)),),
        sections=sections,
        footer=parts.footer(version),
        data={
            **parts.data(),
            "reports": [
                {
                    "name": one.name,
                    "epsilon": one.epsilon,
                    "lifetime_epsilon": one.lifetime_epsilon,
                    "cohort": one.cohort,
                    "delta": one.delta,
                    "threshold": threshold(one),
                }
                for one in policy.reports
            ],
            "retention_days": {one.pattern: one.retention_days for one in policy.features},
            "model": None if card is None else {"name": card.name, "version": card.version, "k": card.k},
        },
    )


def _what(parts: Parts) -> tuple[Block, ...]:
    words, features = parts.words, list(parts.policy.features)
    return (
        Paragraph(text=words("dpia.a_text")),
        Paragraph(text=words("register.c_people", people=parts.people())),
        parts.purposes(),
        parts.features(features) if features else Paragraph(text=words("no_feature")),
        parts.decisions(),
        *parts.recipients(),
        parts.open("dpia.a_open"),
    )


def _needed(parts: Parts) -> tuple[Block, ...]:
    blocks: list[Block] = [Paragraph(text=parts.words("pseudonymous")), parts.rights()]
    for key, purpose in parts.policy.purposes.items():
        if purpose.legal_basis == "legitimate_interests":
            said = parts.stated(purpose.interest)
            blocks.append(Paragraph(text=parts.words("dpia.b_interest", purpose=parts.title(key), interest=said)))
            blocks.append(parts.open("dpia.b_interest_open", purpose=parts.title(key)))
    return (*blocks, parts.open("dpia.b_open"))


def _price(parts: Parts, card: CardFacts | None) -> Section:
    words = parts.words
    blocks: list[Block] = []
    if card is None:
        blocks.append(Paragraph(text=words("dpia.price_none")))
    else:
        values = {"name": card.name, "version": card.version, "learnt": card.learnt, "judged": card.judged}
        blocks.append(Paragraph(text=words("dpia.price_text", **values)))
        if card.research:
            blocks.append(Paragraph(text=words("dpia.price_research")))
        rows = tuple(
            (" + ".join(one.purposes) or words("none"), f"{one.auc:.3f}", f"{one.price:.3f}") for one in card.patterns
        )
        headings = tuple(words(f"dpia.price_{name}") for name in ("granted", "auc", "loss"))
        blocks.append(Table(caption="", headings=headings, rows=rows, numeric=(1, 2)))
    return Section(key="price", heading=words("dpia.price"), blocks=tuple(blocks))


def _risks(parts: Parts, card: CardFacts | None) -> Table:
    words, policy = parts.words, parts.policy
    longest = max((one.retention_days for one in policy.features), default=0)
    longest = max(longest, RECEIPT_DAYS if policy.decisions else 0)
    loosest = max(policy.reports, key=lambda one: one.epsilon, default=None)
    rows = [
        (words("risk.linked"), words("risk.linked_answer", epoch=words.days(policy.epoch // _DAY))),
        (words("risk.outed"), words("risk.outed_none")),
        (words("risk.ignored"), words("risk.ignored_answer")),
        (words("risk.kept"), words("risk.kept_answer", days=words.days(longest))),
        (words("risk.inside"), words("risk.inside_answer", k=card.k) if card else words("risk.inside_unknown")),
        (words("risk.unfair"), words("risk.unfair_answer")),
    ]
    if loosest is not None:
        values = {"cohort": min(one.cohort for one in policy.reports), "delta": parts.odds(loosest.delta)}
        noise = {"epsilon": f"{loosest.epsilon:g}", "factor": f"{exp(loosest.epsilon):,.0f}"}
        rows[1] = (rows[1][0], words("risk.outed_answer", **values, **noise))
    return Table(caption="", headings=(words("dpia.risk"), words("dpia.answer")), rows=tuple(rows))
