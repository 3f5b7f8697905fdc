"""TCF strings, version 2: IAB Europe's record of what a person chose in a consent platform, read strictly.

The format is the IAB Tech Lab's "Transparency and Consent String with Global Vendor & CMP List Formats", v2.2 of May
2023 and v2.3 of April 2025. What it forbids is refused here, and so is whatever it does not describe: a string is taken
whole or not at all. Nothing here decides what is granted; see `entrenous_consent.signals.read`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from entrenous_consent.errors import Malformed
from entrenous_consent.signals._bits import Bits, Ids, layout

__all__ = [
    "LONGEST",
    "NOT_ALLOWED",
    "REQUIRE_CONSENT",
    "REQUIRE_LI",
    "Publisher",
    "Restriction",
    "TcfConsent",
    "parse_tcf",
]

LONGEST = 1 << 13
"""The most characters a consent string may have."""

NOT_ALLOWED, REQUIRE_CONSENT, REQUIRE_LI = 0, 1, 2
"""What a publisher may rule for a purpose and some vendors."""

_VERSION = 2
_PURPOSES, _SPECIAL_FEATURES = 24, 12
_CORE = layout(36, 36, 12, 12, 6, 12, 12, 6, 1, 1, _SPECIAL_FEATURES, _PURPOSES, _PURPOSES, 1, 12)
"""Created, updated, platform, its version, screen, language, list, policy, scope, texts, features, consents, legitimate
interests, treatment of purpose 1, country."""
_DISCLOSED, _PUBLISHER = 1, 3
_FIRST_POLICY, _POLICY_OF_V22 = 2, 4
_PUBLISHED = int(datetime(2019, 8, 21, tzinfo=UTC).timestamp())
"""When version 2 was published: no string of it is older."""
_DISCLOSURE_DUE = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
"""From when on every string must say which vendors were disclosed (TCF v2.3)."""
_NEVER_BY_LI = 0b001111 << (_PURPOSES - 6)
"""Purposes 3 to 6, for which v2.2 took legitimate interest away."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Restriction:
    """What the publisher rules on one purpose of some vendors: `NOT_ALLOWED`, `REQUIRE_CONSENT` or `REQUIRE_LI`."""

    purpose: int
    kind: int
    vendors: Ids


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Publisher:
    """The publisher's own segment: what was consented to for the publisher itself."""

    purposes_consent: Ids
    purposes_li: Ids
    custom_consent: Ids
    custom_li: Ids


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TcfConsent:
    """Every field of a TCF string. Never shown: it is personal data.

    Attributes:
        created, updated: Unix seconds, tenths dropped. cmp_id, cmp_version, consent_screen: who asked, and where.
        language, publisher_country: two capital letters. vendor_list_version, policy_version: of IAB Europe.
        non_standard_texts: the texts shown were not the standard ones. special_features: opted in to.
        purposes_consent, purposes_li: consented to; shown on legitimate interest and not objected to.
        purpose_one_treatment: purpose 1 was not shown at all. vendors_consent, vendors_li: the same, by vendor.
        restrictions: the publisher's. disclosed: vendors that were shown, None where the string does not say.
        publisher: the publisher's segment, None where there is none.
    """

    created: int
    updated: int
    cmp_id: int
    cmp_version: int
    consent_screen: int
    language: str
    vendor_list_version: int
    policy_version: int
    non_standard_texts: bool
    special_features: Ids
    purposes_consent: Ids
    purposes_li: Ids
    purpose_one_treatment: bool
    publisher_country: str
    vendors_consent: Ids
    vendors_li: Ids
    restrictions: tuple[Restriction, ...]
    disclosed: Ids | None
    publisher: Publisher | None


def parse_tcf(text: object) -> TcfConsent:
    """Return what a TCF string of version 2 holds.

    Args:
        text: the string as the consent platform wrote it: the core, then segments of vendors disclosed and of the
            publisher, in any order, each once at most.

    Raises:
        Malformed: anything else. The message never repeats the string, nor what it holds.
    """
    if not isinstance(text, str):
        raise _refused("expected text")
    if len(text) > LONGEST:
        raise _refused(f"is longer than {LONGEST} characters")
    core, *others = text.split(".")
    bits = Bits(core, "tcf.core")
    if bits.take(6) != _VERSION:
        raise bits.refuse("is not of version 2")
    disclosed: Ids | None = None
    publisher: Publisher | None = None
    for other in others:
        segment = Bits(other, "tcf.segment")
        kind = segment.take(3)
        if kind == _DISCLOSED and disclosed is None:
            disclosed = _vendors(segment)
        elif kind == _PUBLISHER and publisher is None:
            publisher = _publisher(segment)
        else:
            raise segment.refuse("is none that version 2.3 knows, or stands twice")
        segment.close()
    consent = _core(bits, disclosed, publisher)
    bits.close()
    if consent.updated >= _DISCLOSURE_DUE and disclosed is None:
        raise _refused("is from after 28 February 2026 and does not say which vendors were disclosed")
    return consent


def _core(bits: Bits, disclosed: Ids | None, publisher: Publisher | None) -> TcfConsent:
    """Return the consent that the core tells, its version taken already."""
    (
        created,
        updated,
        cmp_id,
        cmp_version,
        consent_screen,
        language,
        vendor_list_version,
        policy_version,
        service_specific,
        non_standard_texts,
        special_features,
        purposes_consent,
        purposes_li,
        purpose_one_treatment,
        publisher_country,
    ) = bits.fields(_CORE)
    if not _PUBLISHED * 10 <= created <= updated:
        raise bits.refuse("was updated before it was created, or created before version 2 was")
    if cmp_id < 2:
        raise bits.refuse("names no consent platform")
    if policy_version < _FIRST_POLICY:
        raise bits.refuse("names a policy older than version 2")
    if not service_specific:
        raise bits.refuse("is of the global scope, which is no longer valid")
    if policy_version >= _POLICY_OF_V22 and purposes_li & _NEVER_BY_LI:
        raise bits.refuse("claims legitimate interest for a purpose 3 to 6")
    return TcfConsent(
        created=created // 10,
        updated=updated // 10,
        cmp_id=cmp_id,
        cmp_version=cmp_version,
        consent_screen=consent_screen,
        language=bits.letters(language),
        vendor_list_version=vendor_list_version,
        policy_version=policy_version,
        non_standard_texts=bool(non_standard_texts),
        special_features=Ids(_SPECIAL_FEATURES, special_features),
        purposes_consent=Ids(_PURPOSES, purposes_consent),
        purposes_li=Ids(_PURPOSES, purposes_li),
        purpose_one_treatment=bool(purpose_one_treatment),
        publisher_country=bits.letters(publisher_country),
        vendors_consent=_vendors(bits),
        vendors_li=_vendors(bits),
        restrictions=_restrictions(bits),
        disclosed=disclosed,
        publisher=publisher,
    )


def _vendors(bits: Bits) -> Ids:
    """Return the vendors of a section: a bit each up to the highest id, or ranges of them."""
    head = bits.take(17)
    most = head >> 1
    if not head & 1:
        return bits.ids(most)
    if not most:
        raise bits.refuse("names ranges of no vendor")
    return _ranges(bits, most)


def _ranges(bits: Bits, most: int) -> Ids:
    """Return the ids of ranges that ascend, apart from each other, from 1 up to `most`; 0 for: up to the last."""
    last, found = 0, 0
    for _ in range(bits.take(12)):
        entry = bits.take(17)
        start = end = entry & 0xFFFF
        if entry >> 16:
            end = bits.take(16)
        if not last < start <= end:
            raise bits.refuse("names ranges that overlap, or do not ascend")
        found = (found << (end - last)) | ((1 << (end - start + 1)) - 1)
        last = end
    if not most:
        return Ids(last, found)
    if last > most:
        raise bits.refuse("names a vendor above its own highest")
    return Ids(most, found << (most - last))


def _restrictions(bits: Bits) -> tuple[Restriction, ...]:
    found: dict[tuple[int, int], Restriction] = {}
    for _ in range(bits.take(12)):
        purpose, kind = divmod(bits.take(8), 4)
        if not 1 <= purpose <= _PURPOSES or kind > REQUIRE_LI:
            raise bits.refuse("restricts what is no purpose, or in no known way")
        vendors = _ranges(bits, 0)
        if not vendors.most or (purpose, kind) in found:
            raise bits.refuse("restricts a purpose twice in one way, or for no vendor")
        found[purpose, kind] = Restriction(purpose=purpose, kind=kind, vendors=vendors)
    return tuple(found.values())


def _publisher(bits: Bits) -> Publisher:
    consent, li, custom = bits.ids(_PURPOSES), bits.ids(_PURPOSES), bits.take(6)
    return Publisher(
        purposes_consent=consent, purposes_li=li, custom_consent=bits.ids(custom), custom_li=bits.ids(custom)
    )


def _refused(what: str) -> Malformed:
    return Malformed(what, place="tcf", remedy="pass the string as the consent platform wrote it")
