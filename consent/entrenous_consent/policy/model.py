"""What a privacy policy says, as values that can be trusted, and what it permits a bundle.

What a policy need not state has a default that says so: `privacy lint` asks for it, the parser does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from entrenous_consent.audit.months import RETENTION_DAYS
from entrenous_consent.signal_settings import Signals

__all__ = [
    "METRICS",
    "RIGHTS",
    "AskedDecision",
    "AskedFeature",
    "AskedTrigger",
    "DeclaredDecision",
    "FeatureRule",
    "Identifier",
    "Message",
    "Party",
    "PrivacyPolicy",
    "Purpose",
    "Report",
    "Request",
    "Rights",
    "Transfer",
]

METRICS = ("visitors", "converters", "orders", "orders2", "revenue", "revenue2", "revenue_orders")
"""What a report may sum over visitors: 1, whether they ordered, orders, revenue, their squares and product."""


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
class AskedTrigger:
    """A trigger as a bundle asks for it; `message` is empty where the app alone is told."""

    name: str
    purpose: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a bundle asks of a policy."""

    features: tuple[AskedFeature, ...]
    decisions: tuple[AskedDecision, ...]
    triggers: tuple[AskedTrigger, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What data may be used for.

    Attributes:
        key: the policy's own short key.
        title, description: by language (`en`, `fr`).
        data_use: a fideslang data use. tcf_purposes: IAB TCF purposes. dpv: a W3C DPV term.
        legal_basis: GDPR Art. 6(1). terminal: what opens the terminal (ePrivacy 5(3)). terminal_ground: why, if exempt.
        consent_version: raised whenever the purpose widens. lifetime: seconds a choice is valid.
        asked: how consent is given: `by_action`, `preselected` or `by_silence`; the runtime knows the first alone.
        explicit_consent: whether consent covers special categories expressly (GDPR 9(2)(a)).
        interest: the legitimate interest that is pursued, if that is the basis (GDPR 13(1)(d)); empty where not stated.
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
    asked: str = "by_action"
    explicit_consent: bool = False
    interest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRule:
    """Which features may exist: an exact name, or a prefix ended by `*`.

    `infers` names what can be read off them beside their category: fideslang categories, or one of `price_sensitivity`,
    `urgency`, `sex`, `residence`, `vulnerability`.
    """

    pattern: str
    purpose: str
    category: str
    source: str
    retention_days: int
    infers: tuple[str, ...] = ()

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
    """A declared message: what kind, to whom, for which purpose.

    Attributes:
        host: where it is sent, as a host's name; empty where this tenant's hosts send none themselves.
    """

    name: str
    purpose: str
    recipient: str
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """The controller, the DPO, a recipient. `country` is ISO 3166-1 alpha-2; empty where nobody said."""

    name: str
    contact: str
    role: str
    address: str
    country: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A transfer out of the EEA and its safeguard; `kind` of safeguard is empty where nobody said."""

    country: str
    recipient: str
    safeguard: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """How a person refuses, withdraws, objects, has erased, reads, corrects and complains: each a path or a contact.

    Each is empty where nobody said. `complain` names the supervisory authority.
    """

    refuse: str = ""
    withdraw: str = ""
    object: str = ""
    erase: str = ""
    access: str = ""
    correct: str = ""
    complain: str = ""


RIGHTS = tuple(one.name for one in fields(Rights))
"""The rights that a policy names a way to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """An identifier that reaches the boundary, and what becomes of it there.

    Attributes:
        name: a short key. category: a fideslang data category.
        method: `hmac`, `encryption`, `table`, `hash` (without a key) or `none`.
        key_bits: of the secret. key_kept: `apart` from the data, or `beside` it.
        per_purpose: whether each purpose has pseudonyms of its own. domain: who may attribute them to a person.
    """

    name: str
    category: str
    method: str
    key_bits: int
    key_kept: str
    per_purpose: bool
    domain: str


def _meet(one: str, other: str) -> bool:
    """Say whether some name matches both patterns."""
    stem, second = one.removesuffix("*"), other.removesuffix("*")
    over = one.endswith("*") and second.startswith(stem)
    under = other.endswith("*") and stem.startswith(second)
    return one == other or over or under


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredDecision:
    """A decision as the DPO declares it.

    Attributes:
        name: a short key. purpose: what it is made for. inputs: features, as patterns; empty where nobody said.
        effect: what it changes for the visitor: `content`, `offer`, `credit`, `insurance` or `exclusion`.
        alone: whether no person takes part. review: how a person can ask one to look again; empty where nobody said.
    """

    name: str
    purpose: str
    effect: str
    alone: bool
    inputs: tuple[str, ...]
    review: str

    def reads(self, pattern: str) -> bool:
        """Say whether it may read something that `pattern` (a name, or a prefix ended by `*`) stands for."""
        return not self.inputs or any(_meet(pattern, one) for one in self.inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyPolicy:
    """The parsed policy. `digest` is the SHA-256 of its bytes; times are seconds unless their name says days.

    What nobody stated is empty or 0: `data_subjects` (fideslang keys), `children` (whether they are addressed: `yes` or
    `no`), `audit_retention_days`, `lifetime_epsilon` (of a visitor, over all reports together).
    """

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
    data_subjects: tuple[str, ...] = ()
    children: str = ""
    audit_retention_days: int = 0
    lifetime_epsilon: float = 0.0
    rights: Rights = Rights()
    identifiers: tuple[Identifier, ...] = ()
    decisions: tuple[DeclaredDecision, ...] = ()

    @property
    def audit_days(self) -> int:
        """Days that a month of the audit log is kept once it has ended: as stated, or `audit.RETENTION_DAYS`."""
        return self.audit_retention_days or RETENTION_DAYS

    @property
    def contextual(self) -> frozenset[str]:
        """Purposes under which a decision may be answered to who made no choice: neither the terminal nor the law asks
        for consent. What they then rest on is the moment alone, and nothing is kept."""
        return frozenset(
            key for key, one in self.purposes.items() if one.terminal == "none" and one.legal_basis != "consent"
        )

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
        refusals += [line for asked in request.triggers for line in self._unbound(asked)]
        return tuple(sorted(refusals, key=lambda line: line.partition(":")[::2]))

    def message(self, name: str) -> Message | None:
        """Return the message of this name, None where the policy declares none."""
        return next((one for one in self.messages if one.name == name), None)

    def _unbound(self, asked: AskedTrigger) -> Iterator[str]:
        """Yield why a trigger is refused: no such purpose, or a message that is not declared for it, to a recipient."""
        place, bound = f"triggers.{asked.name}", self.message(asked.message)
        if asked.purpose not in self.purposes:
            yield f"{place}.purpose: the policy has no purpose {asked.purpose!r}"
        elif asked.message and bound is None:
            yield f"{place}.message: the policy names no such message"
        elif bound is not None and bound.purpose != asked.purpose:
            yield f"{place}.purpose: asks {asked.purpose!r}, the policy says {bound.purpose!r}"
