"""A policy's TOML, read key by key: what is unknown, missing or out of bounds refuses the whole document."""

from __future__ import annotations

import re
import tomllib
from hashlib import sha256
from typing import Any

from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import KEY, Table
from entrenous_consent.policy.model import (
    METRICS,
    RIGHTS,
    DeclaredDecision,
    FeatureRule,
    Identifier,
    Message,
    Party,
    PrivacyPolicy,
    Purpose,
    Report,
    Rights,
    Transfer,
)
from entrenous_consent.signal_settings import parse_signals

__all__ = ["CONSENT_KEY", "EFFECTS", "INFERENCES", "METHODS", "POLICY_LIMIT", "SAFEGUARDS", "parse_policy"]

POLICY_LIMIT = 1 << 18
"""The most bytes a policy may have."""

CONSENT_KEY = "consent"
"""The key under which choices themselves are kept; no purpose may take it."""

SAFEGUARDS = ("adequacy", "scc", "bcr", "code_of_conduct", "certification", "derogation")
"""GDPR 45, 46(2)(c) or (d), 47, 46(2)(e), 46(2)(f), and 49, which is none."""

METHODS = ("hmac", "encryption", "table", "hash", "none")
"""What becomes of an identifier at the boundary."""

EFFECTS = ("content", "offer", "credit", "insurance", "exclusion")
"""What a decision may change for a visitor."""

INFERENCES = ("price_sensitivity", "urgency", "sex", "residence", "vulnerability")
"""What may be read off a feature beside fideslang categories."""

_MOST_DOTS = 200
_QUOTED = re.compile(rb"\"[^\"\n]*\"|'[^'\n]*'")
"""What may hold any number of dots: in a key, a reader of TOML takes time that grows with the square of them."""

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
_MOST_NOISE = 2.0**58
"""The largest scale of a sum's noise that a report's integers hold with room to spare."""

_BASES = ("consent", "contract", "legal_obligation", "legitimate_interests", "public_task", "vital_interests")
_TERMINALS = ("consent", "exempt", "none")
_ASKED = ("by_action", "preselected", "by_silence")
_LANGUAGES = ("en", "fr")


def _words(table: Table, key: str) -> dict[str, str]:
    words = table.table(key)
    spoken = {language: words.text(language, longest=2000) for language in _LANGUAGES}
    words.close()
    return spoken


def _country(table: Table, default: Any) -> str:
    country = table.text("country", default, longest=2)
    if country and not (len(country) == 2 and country.isascii() and country.isalpha() and country.isupper()):
        raise table.refuse("country", "is not a country code", "use two letters of ISO 3166-1, such as FR")
    return country


def _party(table: Table, *, role: str = "") -> Party:
    party = Party(
        name=table.text("name"),
        contact=table.text("contact"),
        role=role or table.text("role"),
        address=table.text("address", ""),
        country=_country(table, ""),
    )
    table.close()
    return party


def _purpose(key: str, table: Table) -> Purpose:
    terminal = table.choice("terminal", _TERMINALS)
    if terminal == "exempt" and not table.has("terminal_ground"):
        raise table.refuse("terminal_ground", "is missing", "state the ground of the exemption")
    purpose = Purpose(
        key=key,
        title=_words(table, "title"),
        description=_words(table, "description"),
        data_use=table.text("data_use"),
        tcf_purposes=table.integers("tcf_purposes", (), least=1, most=11),
        dpv=table.text("dpv", ""),
        legal_basis=table.choice("legal_basis", _BASES),
        terminal=terminal,
        terminal_ground=table.text("terminal_ground", ""),
        consent_version=table.integer("consent_version", least=1, most=1 << 31),
        lifetime=table.integer("lifetime_days", least=1, most=3650) * 86_400,
        asked=table.choice("asked", _ASKED, "by_action"),
        explicit_consent=table.flag("explicit_consent", False),
        interest=table.text("interest", "", longest=2000),
    )
    table.close()
    return purpose


def _feature_rule(table: Table) -> FeatureRule:
    pattern = table.text("name", longest=65)
    if not KEY.fullmatch(pattern.removesuffix("*") or "x"):
        raise table.refuse("name", "is neither a short key nor a prefix ended by *", "use a-z, 0-9 and _")
    rule = FeatureRule(
        pattern=pattern,
        purpose=table.name("purpose"),
        category=table.text("category", longest=200),
        source=table.text("source", longest=64),
        retention_days=table.integer("retention_days", least=0, most=3650),
        infers=table.texts("infers", (), longest=16),
    )
    table.close()
    return rule


def _report(table: Table) -> Report:
    metrics = table.names("metrics")
    for i, metric in enumerate(metrics):
        if metric not in METRICS:
            raise table.refuse(f"metrics[{i}]", "is not a metric we know", "use some of: " + ", ".join(METRICS))
    if metrics[:1] != ("visitors",):
        raise table.refuse("metrics", "do not begin with visitors", "put it first: the cohort is counted in visitors")
    clip, split = table.table("clip", {}), table.table("split", {})
    clipped = {key for key in ("orders", "revenue") if any(metric.startswith(key) for metric in metrics)}
    clipped |= {"orders", "revenue"} if "revenue_orders" in metrics else set()
    report = Report(
        name=table.name("name"),
        purpose=table.name("purpose"),
        metrics=metrics,
        cohort=table.integer("cohort", least=1, most=1_000_000),
        epsilon=table.number("epsilon", least=1e-6, most=20),
        delta=table.number("delta", least=1e-15, most=1e-3),
        clip={key: clip.integer(key, least=1, most=10**9) for key in sorted(clipped)},
        quantum=table.integer("quantum", 1, least=1, most=10**9),
        split={key: split.number(key, least=1e-3, most=1e3) for key in metrics} if split.keys() else {},
        segments=table.names("segments", (), longest=2),
        window_days=table.integer("window_days", least=1, most=366),
        every_days=table.integer("every_days", 7, least=1, most=366),
        lifetime_epsilon=table.number("lifetime_epsilon", least=1e-6, most=1000),
        currency=table.text("currency", "", longest=3),
    )
    clip.close()
    split.close()
    table.close()
    if report.epsilon > report.lifetime_epsilon:
        raise table.refuse("lifetime_epsilon", "is less than one release costs", "raise it, or lower epsilon")
    largest = max(report.clip.get("orders", 1), report.clip.get("revenue", 1) // report.quantum, 1) ** 2
    weights = [report.split.get(metric, 1.0) for metric in metrics]
    if largest * sum(weights) / min(weights) / report.epsilon > _MOST_NOISE:
        raise table.refuse(
            "clip", "asks for more noise than a report can hold", "lower it, or raise quantum or epsilon"
        )
    if report.clip.get("revenue", report.quantum) < report.quantum:
        raise table.refuse("quantum", "is more than revenue's clip", "lower it")
    return report


def _purposes_of(report: Report) -> tuple[str, ...]:
    return (report.purpose, *report.segments)


def _message(table: Table) -> Message:
    message = Message(
        name=table.name("name"),
        purpose=table.name("purpose"),
        recipient=table.text("recipient"),
        host=table.text("host", "", longest=253),
    )
    table.close()
    if message.host and not _HOST.fullmatch(message.host):
        raise table.refuse("host", "is not a host's name", "write it in small letters, as hooks.mailer.example")
    return message


def _transfer(table: Table) -> Transfer:
    transfer = Transfer(
        country=table.text("country"),
        recipient=table.text("recipient"),
        safeguard=table.text("safeguard"),
        kind=table.choice("kind", SAFEGUARDS, ""),
    )
    table.close()
    return transfer


def _rights(table: Table) -> Rights:
    rights = Rights(**{right: table.text(right, "") for right in RIGHTS})
    table.close()
    return rights


def _identifier(table: Table) -> Identifier:
    identifier = Identifier(
        name=table.name("name"),
        category=table.text("category", longest=200),
        method=table.choice("method", METHODS),
        key_bits=table.integer("key_bits", 0, least=0, most=65_536),
        key_kept=table.choice("key_kept", ("apart", "beside"), "apart"),
        per_purpose=table.flag("per_purpose", True),
        domain=table.text("domain", ""),
    )
    table.close()
    return identifier


def _decision(table: Table) -> DeclaredDecision:
    decision = DeclaredDecision(
        name=table.name("name"),
        purpose=table.name("purpose"),
        effect=table.choice("effect", EFFECTS),
        alone=table.flag("alone", True),
        inputs=table.texts("inputs", ()),
        review=table.text("review", ""),
    )
    table.close()
    return decision


def parse_policy(data: bytes, *, place: str = "policy") -> PrivacyPolicy:
    """Return the policy that `data` (UTF-8 TOML) writes down.

    Args:
        data: the file's bytes, as signed.
        place: the file's name, for errors.

    Raises:
        Malformed: not TOML, an unknown or missing key, a value out of bounds, a purpose that is used and not declared,
            two rules for one name, or an epoch shorter than the longest attribution window.
    """
    if len(data) > POLICY_LIMIT:
        raise Malformed(f"is longer than {POLICY_LIMIT} bytes", place=place, remedy="shorten it")
    if any(line.count(b".") > _MOST_DOTS for line in _QUOTED.sub(b"", data).splitlines()):
        raise Malformed(f"holds a key of more than {_MOST_DOTS} parts", place=place, remedy="write its tables apart")
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=place, remedy="mend that line") from error
    try:
        return _parse(Table(document), sha256(data).digest())
    except Malformed as error:
        raise Malformed(error.what, place=f"{place}: {error.place}", remedy=error.remedy) from error


def _parse(top: Table, digest: bytes) -> PrivacyPolicy:
    top.integer("format", least=1, most=1)
    purposes = {key: _purpose(key, table) for key, table in top.named_tables("purposes").items()}
    attribution = top.table("attribution")
    windows = attribution.integers("windows_days", least=1, most=366)
    attribution.close()
    epoch_days = top.integer("epoch_days", least=1, most=1830)
    policy = PrivacyPolicy(
        version=top.integer("version", least=1, most=1 << 31),
        tenant=top.name("tenant"),
        max_stale=top.integer("max_stale_days", least=1, most=366) * 86_400,
        epoch=epoch_days * 86_400,
        attribution_days=windows,
        controller=_party(top.table("controller"), role="controller"),
        dpo=_party(top.table("dpo"), role="dpo"),
        roles=tuple(_party(table) for table in top.tables("roles", ())),
        recipients=tuple(_party(table, role="recipient") for table in top.tables("recipients", ())),
        transfers=tuple(_transfer(table) for table in top.tables("transfers", ())),
        security=top.texts("security"),
        signals=parse_signals(top.table("signals", {}), purposes),
        purposes=purposes,
        features=tuple(_feature_rule(table) for table in top.tables("features")),
        reports=tuple(_report(table) for table in top.tables("reports", ())),
        messages=tuple(_message(table) for table in top.tables("messages", ())),
        digest=digest,
        data_subjects=top.texts("data_subjects", (), longest=64),
        children=top.choice("children", ("yes", "no"), ""),
        audit_retention_days=top.integer("audit_retention_days", 0, least=1, most=3660),
        lifetime_epsilon=top.number("lifetime_epsilon", 0.0, least=1e-6, most=10_000),
        rights=_rights(top.table("rights", {})),
        identifiers=tuple(_identifier(table) for table in top.tables("identifiers", ())),
        decisions=tuple(_decision(table) for table in top.tables("decisions", ())),
    )
    top.close()
    if not purposes:
        raise top.refuse("purposes", "declares none", "declare what data may be used for")
    if CONSENT_KEY in purposes:
        raise top.refuse(f"purposes.{CONSENT_KEY}", "is kept for the choices themselves", "rename the purpose")
    if windows and epoch_days < max(windows):
        raise top.refuse("epoch_days", "is shorter than the longest attribution window", f"raise it to {max(windows)}")
    _check_purposes(top, policy)
    for i, report in enumerate(policy.reports):
        if report.window_days not in windows:
            remedy = "use one of: " + ", ".join(map(str, windows))
            raise top.refuse(f"reports[{i}].window_days", "is no attribution window", remedy)
    for kind, names in (
        ("features", [rule.pattern for rule in policy.features]),
        ("reports", [report.name for report in policy.reports]),
        ("identifiers", [identifier.name for identifier in policy.identifiers]),
        ("decisions", [decision.name for decision in policy.decisions]),
        ("messages", [message.name for message in policy.messages]),
    ):
        for i, name in enumerate(names):
            if (first := names.index(name)) < i:
                raise top.refuse(f"{kind}[{i}].name", f"repeats {kind}[{first}]", "remove one")
    return policy


def _check_purposes(top: Table, policy: PrivacyPolicy) -> None:
    users = [(f"features[{i}]", rule.purpose) for i, rule in enumerate(policy.features)]
    users += [(f"reports[{i}]", one) for i, report in enumerate(policy.reports) for one in _purposes_of(report)]
    users += [(f"messages[{i}]", message.purpose) for i, message in enumerate(policy.messages)]
    users += [(f"decisions[{i}]", decision.purpose) for i, decision in enumerate(policy.decisions)]
    for place, purpose in users:
        if purpose not in policy.purposes:
            raise top.refuse(f"{place}.purpose", "is not a declared purpose", "declare it under [purposes]")
