"""`entrenous privacy register`: the record of processing activities (GDPR Art. 30(1)), from a policy."""

from __future__ import annotations

from entrenous_consent.dpo.parts import parts_of
from entrenous_consent.dpo.rendering import Document, Paragraph, Section
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["register_document"]


def register_document(policy: PrivacyPolicy, language: str, version: str) -> Document:
    """Return the record, point by point as Art. 30(1) names them; `version` of this package."""
    parts = parts_of(policy, language)
    words = parts.words
    people = Paragraph(text=words("register.c_people", people=parts.people()))
    data = parts.features(list(policy.features)) if policy.features else Paragraph(text=words("no_feature"))
    points = {
        "a": (parts.who(),),
        "b": (parts.purposes(),),
        "c": (people, data, parts.identifiers()),
        "d": parts.recipients(),
        "e": (parts.transfers(),),
        "f": (parts.kept(),),
        "g": (parts.security(),),
    }
    return Document(
        kind="register",
        language=language,
        title=words("register.title", name=policy.controller.name),
        lead=(Paragraph(text=words("register.lead", tenant=policy.tenant, version=policy.version)),),
        sections=tuple(
            Section(key=point, heading=words(f"register.{point}"), blocks=blocks) for point, blocks in points.items()
        ),
        footer=parts.footer(version),
        data=parts.data(),
    )
