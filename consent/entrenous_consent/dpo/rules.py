"""What lint asks of a policy: one pure function a rule, from the policy to the places where it fails.

A rule's sentence, source and remedy stand in `catalog/lint.toml`, in English and French; `sure` says how firm the
ground is: `settled` (law or judgment), `guidance` (of an authority, in force), `consultation` (of an authority, not
final), `project_threshold` (a number of ours).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from entrenous_consent.dpo.taxonomy import DEVICE, SPECIAL, load_taxonomy, within
from entrenous_consent.policy import INFERENCES, FeatureRule, PrivacyPolicy, Purpose

__all__ = ["EEA", "LEVELS", "SURENESS", "Finding", "Rule", "rules"]

LEVELS = ("error", "warning", "info")
"""From what must not be signed to what is good to know."""

SURENESS = ("settled", "guidance", "consultation", "project_threshold")
"""How firm the ground of a rule is."""

EEA = re.compile("AT|BE|BG|CY|CZ|DE|DK|EE|ES|FI|FR|GR|HR|HU|IE|IS|IT|LI|LT|LU|LV|MT|NL|NO|PL|PT|RO|SE|SI|SK")
"""Where personal data travels freely (GDPR 44): the Union, Iceland, Liechtenstein and Norway."""

_DAY = 86_400
_SIX_MONTHS = range(180, 187)
_MONTHS_13, _MONTHS_25 = 396, 761
_KEY_BITS = 128
_COHORT = 20
_INTEREST = re.compile(r"legitimate interest|intérêts? légitime", re.IGNORECASE)
_TELLING = re.compile(
    r"health|medic|pharma|pregnan|disab|diabet|religi|halal|kosher|politic|union_member|ethnic|sexual|fertil|criminal"
)
"""Parts of names that let one expect a special category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Where a policy fails a rule.

    Attributes:
        place: a path in the document. said: the key of the sentence under the rule's. values: what fills it in.
    """

    place: str
    said: str = "found"
    values: tuple[tuple[str, object], ...] = field(default=())


Check: TypeAlias = Callable[[PrivacyPolicy], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: its short key, of `LEVELS` how grave it is, of `SURENESS` how firm its ground, and its function."""

    id: str
    level: str
    sure: str
    check: Check


def rules() -> tuple[Rule, ...]:
    """Return every rule, the gravest first."""
    return (
        Rule(id="register_empty", level="error", sure="settled", check=_register_empty),
        Rule(id="no_way_out", level="error", sure="settled", check=_no_way_out),
        Rule(id="silence", level="error", sure="settled", check=_silence),
        Rule(id="terminal_ground", level="error", sure="settled", check=_terminal_ground),
        Rule(id="terminal_interest", level="error", sure="settled", check=_terminal_interest),
        Rule(id="exempt_measurement", level="error", sure="guidance", check=_exempt_measurement),
        Rule(id="unkeyed", level="error", sure="guidance", check=_unkeyed),
        Rule(id="short_key", level="error", sure="guidance", check=_short_key),
        Rule(id="key_beside", level="error", sure="settled", check=_key_beside),
        Rule(id="special", level="error", sure="settled", check=_special),
        Rule(id="transfer", level="error", sure="settled", check=_transfer),
        Rule(id="interest_unstated", level="error", sure="settled", check=_interest_unstated),
        Rule(id="taxonomy", level="error", sure="project_threshold", check=_taxonomy),
        Rule(id="pseudonymisation", level="warning", sure="consultation", check=_pseudonymisation),
        Rule(id="choice_lifetime", level="warning", sure="guidance", check=_choice_lifetime),
        Rule(id="decides_alone", level="warning", sure="settled", check=_decides_alone),
        Rule(id="pressure", level="warning", sure="guidance", check=_pressure),
        Rule(id="unequal_offer", level="warning", sure="settled", check=_unequal_offer),
        Rule(id="telling_name", level="warning", sure="settled", check=_telling_name),
        Rule(id="children", level="warning", sure="settled", check=_children),
        Rule(id="other_rights", level="warning", sure="settled", check=_other_rights),
        Rule(id="cohort", level="warning", sure="project_threshold", check=_cohort),
        Rule(id="lifetime_epsilon", level="warning", sure="project_threshold", check=_lifetime_epsilon),
        Rule(id="exempt_durations", level="info", sure="guidance", check=_exempt_durations),
    )


def _register_empty(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, value in (
        ("data_subjects", policy.data_subjects),
        ("features", policy.features),
        ("security", policy.security),
        ("audit_retention_days", policy.audit_retention_days),
    ):
        if not value:
            yield Finding(place=place)
    known = {policy.controller.name, *(one.name for one in policy.recipients)}
    acting = known | {one.name for one in policy.roles}
    named = [(f"messages[{i}].recipient", one.recipient, known) for i, one in enumerate(policy.messages)]
    named += [(f"transfers[{i}].recipient", one.recipient, acting) for i, one in enumerate(policy.transfers)]
    for place, name, declared in named:
        if name not in declared:
            yield Finding(place=place, said="recipient", values=(("name", name),))


def _no_way_out(policy: PrivacyPolicy) -> Iterator[Finding]:
    for right in ("refuse", "withdraw", "object", "erase"):
        if not getattr(policy.rights, right):
            yield Finding(place=f"rights.{right}", said=right)


def _silence(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, purpose in _purposes(policy):
        if purpose.asked != "by_action" and "consent" in (purpose.legal_basis, purpose.terminal):
            yield Finding(place=f"{place}.asked", said=purpose.asked)


def _terminal_ground(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, purpose in _purposes(policy):
        if purpose.terminal == "exempt" and not purpose.terminal_ground.strip():
            yield Finding(place=f"{place}.terminal_ground")
        if purpose.terminal == "none":
            for i, rule in _features(policy, purpose):
                if within(rule.category, DEVICE):
                    values = (("feature", rule.pattern), ("category", rule.category))
                    yield Finding(place=f"{place}.terminal", said="reads", values=(*values, ("number", i)))


def _terminal_interest(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, purpose in _purposes(policy):
        if purpose.terminal == "exempt" and _INTEREST.search(purpose.terminal_ground):
            yield Finding(place=f"{place}.terminal_ground")
        if (
            purpose.legal_basis == "legitimate_interests"
            and purpose.terminal != "consent"
            and 1 in purpose.tcf_purposes
        ):
            yield Finding(place=f"{place}.tcf_purposes", said="tcf_storage")
        if purpose.legal_basis == "legitimate_interests" and {3, 4, 5, 6} & {*purpose.tcf_purposes}:
            yield Finding(place=f"{place}.legal_basis", said="tcf_profiling")


def _exempt_measurement(policy: PrivacyPolicy) -> Iterator[Finding]:
    profiling = [key for key, one in policy.purposes.items() if within(one.data_use, ("marketing", "personalize"))]
    for place, purpose in _exempt_measures(policy):
        for report in policy.reports:
            if report.purpose == purpose.key:
                yield Finding(place=f"{place}.terminal", said="lift", values=(("report", report.name),))
        if profiling:
            yield Finding(place=f"{place}.terminal", said="beside", values=(("purposes", ", ".join(profiling)),))


def _unkeyed(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, identifier in enumerate(policy.identifiers):
        if identifier.method in ("hash", "none"):
            yield Finding(place=f"identifiers[{i}].method", said=identifier.method, values=(("name", identifier.name),))


def _short_key(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, identifier in enumerate(policy.identifiers):
        if identifier.method in ("hmac", "encryption") and identifier.key_bits < _KEY_BITS:
            values = (("name", identifier.name), ("bits", identifier.key_bits))
            yield Finding(place=f"identifiers[{i}].key_bits", values=values)


def _key_beside(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, identifier in enumerate(policy.identifiers):
        if identifier.key_kept == "beside":
            yield Finding(place=f"identifiers[{i}].key_kept", values=(("name", identifier.name),))


def _special(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, rule in enumerate(policy.features):
        purpose = policy.purposes[rule.purpose]
        if purpose.explicit_consent and purpose.legal_basis == "consent":
            continue
        for said, key in (("found", rule.category), *(("inferred", one) for one in rule.infers)):
            if within(key, SPECIAL):
                place = f"features[{i}].{'category' if said == 'found' else 'infers'}"
                values = (("feature", rule.pattern), ("category", key), ("purpose", purpose.key))
                yield Finding(place=place, said=said, values=values)


def _transfer(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, transfer in enumerate(policy.transfers):
        if transfer.kind in ("", "derogation"):
            said = transfer.kind or "found"
            values = (("recipient", transfer.recipient), ("country", transfer.country))
            yield Finding(place=f"transfers[{i}].kind", said=said, values=values)
    covered = {transfer.recipient for transfer in policy.transfers}
    for kind, parties in (("recipients", policy.recipients), ("roles", policy.roles)):
        for i, party in enumerate(parties):
            if party.country and not EEA.fullmatch(party.country) and party.name not in covered:
                values = (("recipient", party.name), ("country", party.country))
                yield Finding(place=f"{kind}[{i}].country", said="undeclared", values=values)


def _interest_unstated(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, purpose in _purposes(policy):
        if purpose.legal_basis == "legitimate_interests" and not purpose.interest.strip():
            yield Finding(place=f"{place}.interest")


def _taxonomy(policy: PrivacyPolicy) -> Iterator[Finding]:
    known = load_taxonomy()
    for i, subject in enumerate(policy.data_subjects):
        if subject not in known.subjects:
            yield Finding(place=f"data_subjects[{i}]", said="subject", values=(("key", subject),))
    for place, purpose in _purposes(policy):
        if purpose.data_use not in known.uses:
            yield Finding(place=f"{place}.data_use", said="use", values=(("key", purpose.data_use),))
    named = [(f"features[{i}].category", rule.category) for i, rule in enumerate(policy.features)]
    named += [(f"identifiers[{i}].category", one.category) for i, one in enumerate(policy.identifiers)]
    for i, rule in enumerate(policy.features):
        named += [(f"features[{i}].infers", one) for one in rule.infers if one not in INFERENCES]
    for place, category in named:
        if category not in known.categories:
            yield Finding(place=place, values=(("key", category),))


def _pseudonymisation(policy: PrivacyPolicy) -> Iterator[Finding]:
    if not policy.identifiers:
        yield Finding(place="identifiers", said="undeclared")
    for i, identifier in enumerate(policy.identifiers):
        if not identifier.domain.strip():
            yield Finding(place=f"identifiers[{i}].domain", said="domain", values=(("name", identifier.name),))
        if not identifier.per_purpose:
            yield Finding(place=f"identifiers[{i}].per_purpose", said="shared", values=(("name", identifier.name),))


def _choice_lifetime(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, purpose in _purposes(policy):
        days = purpose.lifetime // _DAY
        if "consent" in (purpose.legal_basis, purpose.terminal) and days not in _SIX_MONTHS:
            yield Finding(place=f"{place}.lifetime_days", values=(("days", days),))


def _decides_alone(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, decision in enumerate(policy.decisions):
        if decision.alone and decision.effect in ("credit", "insurance", "exclusion"):
            yield Finding(place=f"decisions[{i}].alone", said=decision.effect, values=(("name", decision.name),))


def _pressure(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, rule in _offer_inputs(policy):
        for one in ("price_sensitivity", "urgency", "vulnerability"):
            if one in rule.infers:
                yield Finding(place=place, said=one, values=(("feature", rule.pattern),))


def _unequal_offer(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, rule in _offer_inputs(policy):
        if rule.category == "user.demographic.gender" or "sex" in rule.infers:
            yield Finding(place=place, said="sex", values=(("feature", rule.pattern),))
        if within(rule.category, ("user.contact.address.country",)) or "residence" in rule.infers:
            yield Finding(place=place, said="residence", values=(("feature", rule.pattern),))


def _telling_name(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, rule in enumerate(policy.features):
        special = [one for one in (rule.category, *rule.infers) if within(one, SPECIAL)]
        if _TELLING.search(rule.pattern) and not special:
            yield Finding(place=f"features[{i}].infers", values=(("feature", rule.pattern),))


def _children(policy: PrivacyPolicy) -> Iterator[Finding]:
    if policy.children != "no":
        yield Finding(place="children", said="addressed" if policy.children else "found")


def _other_rights(policy: PrivacyPolicy) -> Iterator[Finding]:
    for right in ("access", "correct", "complain"):
        if not getattr(policy.rights, right):
            yield Finding(place=f"rights.{right}", said=right)


def _cohort(policy: PrivacyPolicy) -> Iterator[Finding]:
    for i, report in enumerate(policy.reports):
        if report.cohort < _COHORT:
            yield Finding(place=f"reports[{i}].cohort", values=(("report", report.name), ("cohort", report.cohort)))


def _lifetime_epsilon(policy: PrivacyPolicy) -> Iterator[Finding]:
    spent = sum(report.lifetime_epsilon for report in policy.reports)
    if policy.reports and not policy.lifetime_epsilon:
        yield Finding(place="lifetime_epsilon", values=(("spent", f"{spent:g}"),))
    elif spent > policy.lifetime_epsilon:
        values = (("spent", f"{spent:g}"), ("declared", f"{policy.lifetime_epsilon:g}"))
        yield Finding(place="lifetime_epsilon", said="beyond", values=values)


def _exempt_durations(policy: PrivacyPolicy) -> Iterator[Finding]:
    for place, purpose in _exempt_measures(policy):
        days = purpose.lifetime // _DAY
        if days > _MONTHS_13:
            yield Finding(place=f"{place}.lifetime_days", values=(("days", days),))
        for i, rule in _features(policy, purpose):
            if rule.retention_days > _MONTHS_25:
                values = (("feature", rule.pattern), ("days", rule.retention_days))
                yield Finding(place=f"features[{i}].retention_days", said="kept", values=values)


def _purposes(policy: PrivacyPolicy) -> Iterator[tuple[str, Purpose]]:
    for key, purpose in policy.purposes.items():
        yield f"purposes.{key}", purpose


def _exempt_measures(policy: PrivacyPolicy) -> Iterator[tuple[str, Purpose]]:
    for place, purpose in _purposes(policy):
        if purpose.terminal == "exempt" and within(purpose.data_use, ("analytics",)):
            yield place, purpose


def _features(policy: PrivacyPolicy, purpose: Purpose) -> Iterator[tuple[int, FeatureRule]]:
    for i, rule in enumerate(policy.features):
        if rule.purpose == purpose.key:
            yield i, rule


def _offer_inputs(policy: PrivacyPolicy) -> Iterator[tuple[str, FeatureRule]]:
    for i, decision in enumerate(policy.decisions):
        if decision.effect == "offer":
            for rule in policy.features:
                if decision.reads(rule.pattern):
                    yield f"decisions[{i}].inputs", rule
