"""What a signal grants by the policy: one pure function from a signal to a choice.

A signal is one of these maps, whichever way it came:

- `{"choices": {purpose: bool}}`: the app's own banner.
- `{"tcf": text}`: a TCF string. `{"gpp": text}`: a GPP string.
- `{"consent_mode": {type: "granted" | "denied"}, "cmp": name}`: Google's consent mode v2, from a consent platform that
  the policy names.
- `{"gpc": "1"}`: Global Privacy Control, an objection (GDPR Art. 21(5)).

A signal is the whole choice: a purpose it does not grant is refused. Whatever is not understood grants nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.policy import PrivacyPolicy, Purpose
from entrenous_consent.signal_settings import APP, CONSENT_MODE, GPC, GPP, OVER_GPC, STORAGE, TCF
from entrenous_consent.signals.choices import from_choices
from entrenous_consent.signals.gpp import parse_gpp
from entrenous_consent.signals.tcf import REQUIRE_CONSENT, TcfConsent, parse_tcf

__all__ = ["REASONS", "Choice", "gpc_objects", "read_signal"]

_DAY = 86_400
_FIRST_POLICY = 4
_LANGUAGES = ("en", "fr")

REASONS: Mapping[str, tuple[str, str]] = {
    "objection": ("the person objects", "la personne s'oppose"),
    "not_chosen": ("consent was not given to it", "le consentement n'a pas été donné"),
    "not_by_consent": (
        "it does not rest on consent, and this signal tells of consent only",
        "elle ne repose pas sur le consentement, et ce signal ne dit rien d'autre",
    ),
    "not_mapped": (
        "the policy does not say which consents of this signal open it",
        "la politique ne dit pas quels consentements de ce signal l'ouvrent",
    ),
    "expired": ("the choice is older than it may be kept", "le choix est plus ancien que sa durée de conservation"),
    "purpose_one_not_shown": (
        "purpose 1, storing on the terminal, was not shown",
        "la finalité 1, le stockage sur le terminal, n'a pas été présentée",
    ),
    "vendor_not_disclosed": ("the vendor was not disclosed", "le fournisseur n'a pas été présenté"),
    "vendor_refused": ("the vendor was not consented to", "le fournisseur n'a pas reçu de consentement"),
    "restricted": (
        "the publisher restricts the vendor in one of its purposes",
        "l'éditeur restreint le fournisseur pour l'une de ses finalités",
    ),
}
"""Why a purpose is not granted, in English and French."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a signal comes to. It holds nothing of the signal itself.

    Attributes:
        granted: the purposes it grants; every other is refused.
        source: what a consent record keeps of where it came from.
        objects: whether it is an objection rather than a refusal.
        made: Unix seconds, where the signal says when the choice was made: to the day, in a TCF string. Else None.
        refused: by purpose not granted, why: a key of `REASONS`.
    """

    granted: frozenset[str]
    source: str
    objects: bool
    made: int | None
    refused: Mapping[str, str]

    def words(self, language: str = "en") -> dict[str, str]:
        """Return why each purpose is refused, in `en` or `fr`."""
        return {purpose: REASONS[why][_LANGUAGES.index(language)] for purpose, why in self.refused.items()}

    def beside(self, granted: frozenset[str], source: str, time: int) -> Choice:
        """Return what this choice comes to where another is in force, made at `time` and granting `granted`.

        A signal dated to the day may be older than the choice in force, and is sent again with every page: it must not
        undo a withdrawal. Unless it is of a later day, or of the same day and from the same source, the stricter of
        both holds, under the name of the one in force, so that the same signal meets it again.
        """
        if self.made is None or self.made > time or (source == self.source and self.made + _DAY > time):
            return self
        lost = dict.fromkeys(self.granted - granted, "not_chosen")
        return _choice(self.granted & granted, source, self.made, {**self.refused, **lost})


def _choice(
    granted: frozenset[str], source: str, made: int | None, refused: Mapping[str, str], *, objects: bool = False
) -> Choice:
    return Choice(granted=granted, source=source, objects=objects, made=made, refused=refused)


def gpc_objects(header: object) -> bool:
    """Say whether the value of a `Sec-GPC` header objects: only exactly `1` does (W3C, Global Privacy Control)."""
    return isinstance(header, str) and header == "1"


def read_signal(policy: PrivacyPolicy, signal: object, now: int, *, gpc: bool = False) -> Choice:
    """Return what a signal grants by this policy.

    Args:
        policy: in force. signal: see the module. now: Unix seconds.
        gpc: whether it came with `Sec-GPC: 1`. Then it is an objection and is not read further, unless it is the app's
            own choices and the policy lets a later choice outweigh the objection.

    Raises:
        Malformed: the signal is broken, or is none, or more than one.
        Forbidden: it is whole, and the policy does not take it: from a consent platform it does not name, of a kind it
            does not map, older than any choice is kept, or silent on consent.
    """
    kinds = frozenset(signal) if isinstance(signal, Mapping) else frozenset()
    reader = _READERS.get(kinds)
    if reader is None or not isinstance(signal, Mapping):
        remedy = "pass one of: choices, tcf, gpp, gpc, or consent_mode with cmp"
        raise Malformed("expected one signal", place="signal", remedy=remedy)
    if not gpc:
        return reader(policy, signal, now)
    if "choices" in kinds and policy.signals.gpc_yields_to_later_choice:
        choice = reader(policy, signal, now)
        return _choice(choice.granted, OVER_GPC, None, choice.refused)
    return _objection(policy, GPC)


def _objection(policy: PrivacyPolicy, source: str) -> Choice:
    return _choice(frozenset(), source, None, dict.fromkeys(policy.purposes, "objection"), objects=True)


def _choices(policy: PrivacyPolicy, signal: Mapping[str, Any], now: int) -> Choice:
    granted = from_choices(policy, signal["choices"])
    refused = (purpose for purpose in policy.purposes if purpose not in granted)
    return _choice(granted, APP, None, dict.fromkeys(refused, "not_chosen"))


def _gpc(policy: PrivacyPolicy, signal: Mapping[str, Any], now: int) -> Choice:
    if not gpc_objects(signal["gpc"]):
        raise Malformed("is not the value 1", place="gpc", remedy="pass the header's value, and only where it is 1")
    return _objection(policy, GPC)


def _tcf(policy: PrivacyPolicy, signal: Mapping[str, Any], now: int) -> Choice:
    return _from_tcf(policy, parse_tcf(signal["tcf"]), now, TCF)


def _gpp(policy: PrivacyPolicy, signal: Mapping[str, Any], now: int) -> Choice:
    consent = parse_gpp(signal["gpp"])
    if consent.objections:
        return _objection(policy, GPP)
    if consent.tcf is None:
        remedy = "pass a string with its European section"
        raise Forbidden("holds neither an objection nor a choice that is read here", place="gpp", remedy=remedy)
    return _from_tcf(policy, consent.tcf, now, GPP)


def _from_tcf(policy: PrivacyPolicy, consent: TcfConsent, now: int, source: str) -> Choice:
    if not policy.signals.tcf_vendor_id and not policy.signals.tcf_publisher_purposes:
        remedy = "set tcf_vendor_id or tcf_publisher_purposes in [signals]"
        raise Forbidden("is of a kind that the policy does not read", place=source, remedy=remedy)
    if consent.policy_version < _FIRST_POLICY:
        raise Malformed("was made under a policy older than TCF v2.2", place=source, remedy="ask again")
    made = consent.updated
    if made >= now + _DAY:
        raise Malformed("is dated after today", place=source, remedy="check both clocks")
    if now >= made + max(purpose.lifetime for purpose in policy.purposes.values()):
        raise Forbidden("is older than any choice is kept", place=source, remedy="ask again")
    found = {key: _why_not(policy, purpose, consent, now) for key, purpose in policy.purposes.items()}
    refused = {key: why for key, why in found.items() if why}
    return _choice(frozenset(found.keys() - refused.keys()), source, made, refused)


def _why_not(policy: PrivacyPolicy, purpose: Purpose, consent: TcfConsent, now: int) -> str:
    """Return why a TCF string does not grant a purpose of ours; empty where it does. Legitimate interest never does."""
    settings = policy.signals
    if purpose.legal_basis != "consent":
        return "not_by_consent"
    if not purpose.tcf_purposes:
        return "not_mapped"
    if now >= consent.updated + purpose.lifetime:
        return "expired"
    needed = {*purpose.tcf_purposes, 1} if purpose.terminal == "consent" else {*purpose.tcf_purposes}
    if 1 in needed and consent.purpose_one_treatment:
        return "purpose_one_not_shown"
    publisher = consent.publisher if settings.tcf_publisher_purposes else None
    if publisher is not None and all(one in publisher.purposes_consent for one in needed):
        return ""
    return _why_not_by_vendor(settings.tcf_vendor_id, needed, consent)


def _why_not_by_vendor(vendor: int, needed: set[int], consent: TcfConsent) -> str:
    if not vendor or not all(one in consent.purposes_consent for one in needed):
        return "not_chosen"
    if consent.disclosed is None or vendor not in consent.disclosed:
        return "vendor_not_disclosed"
    if vendor not in consent.vendors_consent:
        return "vendor_refused"
    for rule in consent.restrictions:
        if rule.purpose in needed and rule.kind != REQUIRE_CONSENT and vendor in rule.vendors:
            return "restricted"
    return ""


def _consent_mode(policy: PrivacyPolicy, signal: Mapping[str, Any], now: int) -> Choice:
    cmp, states = signal["cmp"], signal["consent_mode"]
    if not isinstance(cmp, str) or cmp not in policy.signals.cmps:
        remedy = "name it under cmps in [signals], if the policy is to believe it"
        raise Forbidden("is no consent platform that the policy names", place="cmp", remedy=remedy)
    if not isinstance(states, Mapping):
        raise _bad_mode("expected a map from type to granted or denied")
    for one, state in states.items():
        if one not in CONSENT_MODE:
            raise _bad_mode("names a type that consent mode does not have")
        if not isinstance(state, str) or state not in ("granted", "denied"):
            raise _bad_mode("holds what is neither granted nor denied")
    given = {one for one, state in states.items() if state == "granted"}
    found = {key: _why_not_by_mode(policy, purpose, given) for key, purpose in policy.purposes.items()}
    refused = {key: why for key, why in found.items() if why}
    return _choice(frozenset(found.keys() - refused.keys()), cmp, None, refused)


def _why_not_by_mode(policy: PrivacyPolicy, purpose: Purpose, given: set[str]) -> str:
    if purpose.legal_basis != "consent":
        return "not_by_consent"
    needed = policy.signals.consent_mode.get(purpose.key, ())
    if not needed or (purpose.terminal == "consent" and not set(needed) & set(STORAGE)):
        return "not_mapped"
    return "" if given >= set(needed) else "not_chosen"


def _bad_mode(what: str) -> Malformed:
    return Malformed(what, place="consent_mode", remedy="known: " + ", ".join(CONSENT_MODE))


_READERS: Mapping[frozenset[str], Callable[[PrivacyPolicy, Mapping[str, Any], int], Choice]] = {
    frozenset({"choices"}): _choices,
    frozenset({"tcf"}): _tcf,
    frozenset({"gpp"}): _gpp,
    frozenset({"gpc"}): _gpc,
    frozenset({"consent_mode", "cmp"}): _consent_mode,
}
