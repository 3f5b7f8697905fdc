"""The privacy policy: the DPO's TOML, parsed once into values that can be trusted from there on.

`parse_policy` refuses every unknown key and every missing duty; `PrivacyPolicy.permits` answers, for what a bundle
asks, the refusals sorted by path (none means permitted). Nothing here reads a file, a clock or a visitor.
The document itself is described in `docs/formats.md`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import KEY, Table
from entrenous_consent.signal_settings import Signals, parse_signals

__all__ = [
    "CONSENT_KEY",
    "METRICS",
    "POLICY_LIMIT",
    "AskedDecision",
    "AskedFeature",
    "FeatureRule",
    "PrivacyPolicy",
    "Purpose",
    "Report",
    "Request",
    "parse_policy",
]

POLICY_LIMIT = 1 << 18
"""The most bytes a policy may have."""

CONSENT_KEY = "consent"
"""The key under which choices themselves are kept; no purpose may take it."""

METRICS = ("visitors", "converters", "orders", "orders2", "revenue", "revenue2", "revenue_orders")
"""What a report may sum over visitors: 1, whether they ordered, orders, revenue, their squares and product."""

_MOST_NOISE = 2.0**58
"""The largest scale of a sum's noise that a report's integers hold with room to spare."""

_BASES = ("consent", "contract", "legal_obligation", "legitimate_interests", "public_task", "vital_interests")
_TERMINALS = ("consent", "exempt", "none")
_LANGUAGES = ("en", "fr")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFeature:
    """A feature as a bundle asks for it."""

    name: str
    purpose: str
    category: str
    source: str
    retention_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedDecision:
    """A decision as a bundle asks for it."""

    name: str
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a bundle asks of a policy."""

    features: tuple[AskedFeature, ...]
    decisions: tuple[AskedDecision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What data may be used for.

    Attributes:
        key: the policy's own short key.
        title, description: by language (`en`, `fr`).
        data_use: a fideslang data use. tcf_purposes: IAB TCF purposes. dpv: a W3C DPV term.
        legal_basis: GDPR Art. 6(1). terminal: what opens the terminal (ePrivacy 5(3)). terminal_ground: why, if exempt.
        consent_version: raised whenever the purpose widens. lifetime: seconds a choice is valid.
    """

    key: str
    title: Mapping[str, str]
    description: Mapping[str, str]
    data_use: str
    tcf_purposes: tuple[int, ...]
    dpv: str
    legal_basis: str
    terminal: str
    terminal_ground: str
    consent_version: int
    lifetime: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRule:
    """Which features may exist: an exact name, or a prefix ended by `*`."""

    pattern: str
    purpose: str
    category: str
    source: str
    retention_days: int

    def matches(self, name: str) -> bool:
        """Say whether this rule speaks of `name`."""
        return name.startswith(self.pattern[:-1]) if self.pattern.endswith("*") else name == self.pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A declared report: who counts in it, and how it is made private.

    Attributes:
        name: the decision whose experiment it is about. purpose: what must be granted to count in it.
        metrics: of `METRICS`, what is summed. clip: the most that one visitor adds, of orders and of revenue.
        quantum: the step, in minor units, that revenue is rounded down to. split: the weight of each metric's share of
            `epsilon`; all the same where it is empty. segments: purposes that tell visitors apart, granted or not.
        cohort, delta: a cell of fewer visitors shows with at most this probability. epsilon: of one release.
        lifetime_epsilon: of all experiments together. window_days: how long after the exposure an outcome counts.
        every_days: the least time between two releases. currency: of revenue, ISO 4217; empty where nobody said.
    """

    name: str
    purpose: str
    metrics: tuple[str, ...]
    cohort: int
    epsilon: float
    delta: float
    clip: Mapping[str, int]
    quantum: int
    split: Mapping[str, float]
    segments: tuple[str, ...]
    window_days: int
    every_days: int
    lifetime_epsilon: float
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A declared message: what kind, to whom, for which purpose."""

    name: str
    purpose: str
    recipient: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """The controller, the DPO, a recipient."""

    name: str
    contact: str
    role: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A transfer out of the EEA and its safeguard."""

    country: str
    recipient: str
    safeguard: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPolicy:
    """The parsed policy. `digest` is the SHA-256 of its bytes; times are seconds unless their name says days."""

    version: int
    tenant: str
    max_stale: int
    epoch: int
    attribution_days: tuple[int, ...]
    controller: Party
    dpo: Party
    roles: tuple[Party, ...]
    recipients: tuple[Party, ...]
    transfers: tuple[Transfer, ...]
    security: tuple[str, ...]
    signals: Signals
    purposes: Mapping[str, Purpose]
    features: tuple[FeatureRule, ...]
    reports: tuple[Report, ...]
    messages: tuple[Message, ...]
    digest: bytes

    def rule(self, name: str) -> FeatureRule | None:
        """Return the rule for a feature: its exact name, else the longest prefix; None where the policy is silent."""
        found = [rule for rule in self.features if rule.matches(name)]
        return max(found, key=lambda rule: (not rule.pattern.endswith("*"), len(rule.pattern)), default=None)

    def report(self, decision: str, purpose: str) -> Report | None:
        """Return the report on a decision's experiment that this purpose is measured for; None where there is none."""
        return next((one for one in self.reports if (one.name, one.purpose) == (decision, purpose)), None)

    def permits(self, request: Request) -> tuple[str, ...]:
        """Return why `request` is refused, a line each, sorted by path; empty means permitted."""
        refusals = []
        for asked in request.features:
            place = f"features.{asked.name}"
            rule = self.rule(asked.name)
            if rule is None:
                refusals.append(f"{place}: the policy names no such feature")
                continue
            for what in ("purpose", "category", "source"):
                if getattr(asked, what) != getattr(rule, what):
                    refusals.append(
                        f"{place}.{what}: asks {getattr(asked, what)!r}, the policy says {getattr(rule, what)!r}"
                    )
            if asked.retention_days > rule.retention_days:
                refusals.append(
                    f"{place}.retention_days: asks {asked.retention_days}, the policy allows {rule.retention_days}"
                )
        refusals += [
            f"decisions.{asked.name}.purpose: the policy has no purpose {asked.purpose!r}"
            for asked in request.decisions
            if asked.purpose not in self.purposes
        ]
        return tuple(sorted(refusals, key=lambda line: line.partition(":")[::2]))


def _words(table: Table, key: str) -> dict[str, str]:
    words = table.table(key)
    spoken = {language: words.text(language, longest=2000) for language in _LANGUAGES}
    words.close()
    return spoken


def _party(table: Table, *, role: str = "") -> Party:
    party = Party(
        name=table.text("name"),
        contact=table.text("contact"),
        role=role or table.text("role"),
        address=table.text("address", ""),
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
    message = Message(name=table.name("name"), purpose=table.name("purpose"), recipient=table.text("recipient"))
    table.close()
    return message


def _transfer(table: Table) -> Transfer:
    transfer = Transfer(
        country=table.text("country"), recipient=table.text("recipient"), safeguard=table.text("safeguard")
    )
    table.close()
    return transfer


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
        signals=parse_signals(top.table("signals", {})),
        purposes=purposes,
        features=tuple(_feature_rule(table) for table in top.tables("features")),
        reports=tuple(_report(table) for table in top.tables("reports", ())),
        messages=tuple(_message(table) for table in top.tables("messages", ())),
        digest=digest,
    )
    top.close()
    if not purposes:
        raise top.refuse("purposes", "declares none", "declare what data may be used for")
    if CONSENT_KEY in purposes:
        raise top.refuse(f"purposes.{CONSENT_KEY}", "is kept for the choices themselves", "rename the purpose")
    if windows and epoch_days < max(windows):
        raise top.refuse("epoch_days", "is shorter than the longest attribution window", f"raise it to {max(windows)}")
    users = [(f"features[{i}]", rule.purpose) for i, rule in enumerate(policy.features)]
    users += [(f"reports[{i}]", one) for i, report in enumerate(policy.reports) for one in _purposes_of(report)]
    users += [(f"messages[{i}]", message.purpose) for i, message in enumerate(policy.messages)]
    for place, purpose in users:
        if purpose not in purposes:
            raise top.refuse(f"{place}.purpose", "is not a declared purpose", "declare it under [purposes]")
    for i, report in enumerate(policy.reports):
        if report.window_days not in windows:
            remedy = "use one of: " + ", ".join(map(str, windows))
            raise top.refuse(f"reports[{i}].window_days", "is no attribution window", remedy)
        if report.name in [other.name for other in policy.reports[:i]]:
            raise top.refuse(f"reports[{i}].name", "repeats another report's", "remove one")
    patterns: dict[str, int] = {}
    for i, rule in enumerate(policy.features):
        if rule.pattern in patterns:
            raise top.refuse(f"features[{i}].name", f"repeats features[{patterns[rule.pattern]}]", "remove one")
        patterns[rule.pattern] = i
    return policy
