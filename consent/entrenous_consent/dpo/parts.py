"""Parts that the DPO's documents share: what a policy says, as blocks in one language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from entrenous_consent.dpo.figures import threshold
from entrenous_consent.dpo.rendering import Block, Facts, Items, Paragraph, Table
from entrenous_consent.dpo.taxonomy import Taxonomy, load_taxonomy
from entrenous_consent.dpo.words import Words, load_words
from entrenous_consent.policy import RIGHTS, DeclaredDecision, FeatureRule, PrivacyPolicy, Purpose, Report
from entrenous_consent.retention import RECEIPT_DAYS

__all__ = ["Parts", "parts_of"]

_DAY = 86_400


def parts_of(policy: PrivacyPolicy, language: str) -> Parts:
    """Return the parts of a policy in one language."""
    return Parts(policy=policy, words=load_words(language, "lint", "documents"), taxonomy=load_taxonomy())


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A policy, and the words to say it in."""

    policy: PrivacyPolicy
    words: Words
    taxonomy: Taxonomy

    def open(self, key: str, **values: object) -> Paragraph:
        """Return a question that is left to a person."""
        return Paragraph(text=self.words(key, **values), mark=self.words("mark.open"), tone="open")

    def stated(self, text: str) -> str:
        """Return what a policy states, or that it does not."""
        return text or self.words("unnamed")

    def footer(self, version: str) -> tuple[str, ...]:
        """Return what a document was made from; `version` of this package."""
        policy = self.policy
        values = {"tenant": policy.tenant, "policy": policy.version, "digest": policy.digest.hex()}
        return (self.words("footer.made", version=version, **values),)

    def data(self) -> dict[str, object]:
        """Return what a program is told of the policy."""
        policy = self.policy
        return {"tenant": policy.tenant, "version": policy.version, "digest": policy.digest.hex()}

    def title(self, purpose: str) -> str:
        """Return a purpose's title."""
        return self.policy.purposes[purpose].title[self.words.language]

    def category(self, key: str) -> str:
        """Return a data category in words."""
        return self.taxonomy.category(key, self.words.language)

    def source(self, key: str) -> str:
        """Return where data comes from, in words where we have some."""
        return self.words(f"source.{key}") if self.words.has(f"source.{key}") else key

    def retention(self, days: int) -> str:
        """Return how long a feature is kept."""
        return self.words.days(days) if days else self.words("at_once")

    def terminal(self, purpose: Purpose) -> str:
        """Return what opens the terminal."""
        return self.words(f"terminal.{purpose.terminal}", ground=purpose.terminal_ground)

    def odds(self, chance: float) -> str:
        """Return a small probability as one in so many."""
        many = f"{1 / chance:,.0f}"
        return self.words("odds", n=many.replace(",", " ") if self.words.language == "fr" else many)

    def rules(self, purpose: str) -> list[FeatureRule]:
        """Return the rules of features that a purpose may use."""
        return [rule for rule in self.policy.features if rule.purpose == purpose]

    def inputs(self, decision: DeclaredDecision) -> str:
        """Return what a decision is made from."""
        return ", ".join(decision.inputs) or self.words("every_input")

    def headings(self, *names: str) -> tuple[str, ...]:
        """Return the headings of a table."""
        return tuple(self.words(f"column.{name}") for name in names)

    def who(self) -> Facts:
        """Return who is responsible and who watches."""
        policy, named = self.policy, []
        for key, party in (("controller", policy.controller), ("dpo", policy.dpo)):
            said = ", ".join(part for part in (party.name, party.address, party.country, party.contact) if part)
            named.append((self.words(f"who.{key}"), said))
        named += [(role.role, f"{role.name}, {role.contact}") for role in policy.roles]
        named.append((self.words("who.authority"), self.stated(policy.rights.complain)))
        return Facts(facts=tuple(named))

    def people(self) -> str:
        """Return whose data it is."""
        known = [self.taxonomy.subject(key, self.words.language) for key in self.policy.data_subjects]
        return self.stated(", ".join(known))

    def purposes(self) -> Block:
        """Return the purposes: what for, on which basis, what opens the terminal, how long a choice holds."""
        rows = tuple(
            (
                one.title[self.words.language],
                one.description[self.words.language],
                self.words(f"basis.{one.legal_basis}"),
                self.terminal(one),
                self.words.days(one.lifetime // _DAY),
                str(one.consent_version),
            )
            for one in self.policy.purposes.values()
        )
        headings = self.headings("purpose", "what_for", "basis", "terminal", "choice", "consent_version")
        return Table(caption="", headings=headings, rows=rows, numeric=(5,))

    def features(self, rules: list[FeatureRule]) -> Table:
        """Return features with their data, origin and retention."""
        rows = tuple(
            (one.pattern, self.category(one.category), self.source(one.source), self.retention(one.retention_days))
            for one in rules
        )
        return Table(caption="", headings=self.headings("feature", "category", "source", "kept"), rows=rows)

    def identifiers(self) -> Block:
        """Return identifiers and how they become pseudonyms."""
        if not self.policy.identifiers:
            return Paragraph(text=self.words("unnamed"))
        rows = tuple(
            (
                one.name,
                self.category(one.category),
                self.words(f"method.{one.method}"),
                self.words(f"kept_key.{one.key_kept}", bits=one.key_bits),
                self.stated(one.domain),
            )
            for one in self.policy.identifiers
        )
        return Table(caption="", headings=self.headings("identifier", "category", "method", "key", "domain"), rows=rows)

    def decisions(self) -> Block:
        """Return what is decided, from what, and whether alone."""
        if not self.policy.decisions:
            return Paragraph(text=self.words("no_decision"))
        rows = tuple(
            (
                one.name,
                self.title(one.purpose),
                self.words(f"effect.{one.effect}"),
                self.inputs(one),
                self.words.truth(one.alone),
                self.stated(one.review),
            )
            for one in self.policy.decisions
        )
        headings = self.headings("decision", "purpose", "effect", "inputs", "alone", "review")
        return Table(caption="", headings=headings, rows=rows)

    def reports(self) -> tuple[Block, ...]:
        """Return the declared reports, each with what makes it private."""
        if not self.policy.reports:
            return (Paragraph(text=self.words("no_report")),)
        return tuple(map(self.report, self.policy.reports))

    def report(self, report: Report) -> Facts:
        """Return what a report sums, and what makes it private."""
        words = self.words
        apart = ", ".join(map(self.title, report.segments))
        said = {
            "report": report.name,
            "purpose": self.title(report.purpose),
            "sums": ", ".join(words(f"metric.{metric}") for metric in report.metrics),
            "clip": ", ".join([words("clip.once"), *(self._clip(report, key) for key in report.clip)]),
            "segments": apart or words("none"),
            "cohort": str(report.cohort),
            "threshold": str(threshold(report)),
            "delta": self.odds(report.delta),
            "epsilon": f"{report.epsilon:g}",
            "lifetime": f"{report.lifetime_epsilon:g}",
            "window": words.days(report.window_days),
            "every": words.days(report.every_days),
        }
        return Facts(facts=tuple((words(f"column.{key}"), value) for key, value in said.items()))

    def _clip(self, report: Report, key: str) -> str:
        amount = report.clip[key]
        if key == "revenue" and report.currency:
            return self.words("clip.money", amount=f"{amount / 100:.2f}", currency=report.currency)
        return self.words(f"clip.{key}", n=amount)

    def recipients(self) -> tuple[Block, ...]:
        """Return who receives data and which messages go there."""
        policy, blocks = self.policy, list[Block]()
        if policy.recipients:
            rows = tuple((one.name, one.contact, self.stated(one.country)) for one in policy.recipients)
            blocks.append(Table(caption="", headings=self.headings("recipient", "contact", "country"), rows=rows))
        else:
            blocks.append(Paragraph(text=self.words("nobody")))
        if policy.messages:
            sent = tuple(
                (one.name, self.title(one.purpose), f"{one.recipient} ({one.host})" if one.host else one.recipient)
                for one in policy.messages
            )
            blocks.append(Table(caption="", headings=self.headings("message", "purpose", "recipient"), rows=sent))
        return tuple(blocks)

    def transfers(self) -> Block:
        """Return what goes out of the EEA, under which safeguard."""
        if not self.policy.transfers:
            return Paragraph(text=self.words("no_transfer"))
        rows = tuple(
            (
                one.country,
                one.recipient,
                self.words(f"safeguard.{one.kind}") if one.kind else self.words("unnamed"),
                one.safeguard,
            )
            for one in self.policy.transfers
        )
        return Table(caption="", headings=self.headings("country", "recipient", "kind", "safeguard"), rows=rows)

    @staticmethod
    def waits(report: Report) -> int:
        """Return the days that what one visitor adds to a report may wait in their record."""
        return report.window_days + report.every_days

    def durations(self) -> list[tuple[str, int]]:
        """Return all that is kept, and for how many days at most."""
        policy, words = self.policy, self.words
        found = [
            (words("kept.feature", pattern=one.pattern, category=self.category(one.category)), one.retention_days)
            for one in policy.features
        ]
        found += [
            (words("kept.choice", purpose=self.title(key)), one.lifetime // _DAY)
            for key, one in policy.purposes.items()
        ]
        found += [(words("kept.contribution", report=one.name), self.waits(one)) for one in policy.reports]
        found += [(words("kept.receipts", decision=one.name), RECEIPT_DAYS) for one in policy.decisions]
        found.append((words("kept.pseudonyms"), 2 * policy.epoch // _DAY))
        found.append((words("kept.audit"), policy.audit_days))
        return found

    def kept(self) -> Block:
        """Return how long each thing is kept."""
        rows = tuple((what, self.retention(days)) for what, days in self.durations())
        return Table(caption="", headings=self.headings("what", "kept"), rows=rows)

    def security(self) -> Block:
        """Return the security measures."""
        return Items(items=self.policy.security) if self.policy.security else Paragraph(text=self.words("unnamed"))

    def rights(self) -> Block:
        """Return each right and the way to use it."""
        named: Mapping[str, str] = {right: getattr(self.policy.rights, right) for right in RIGHTS}
        return Facts(facts=tuple((self.words(f"rights.{right}"), self.stated(way)) for right, way in named.items()))
