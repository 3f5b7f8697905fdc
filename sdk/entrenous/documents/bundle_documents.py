"""`entrenous privacy bundle`: what a bundle asks of a policy, and every rule that it decides by, for people.

A policy says what may be done; a bundle, what will be. Whoever answers for the policy reads here whom a decision is for
and who is left out, in the words of the rule itself, with the data that it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from entrenous.bundle import Bundle
from entrenous.decisions.form import DecisionRule
from entrenous.features import ANY
from entrenous.messages.triggers import MINUTE, Trigger
from entrenous.recommending.strategy import Recommending
from entrenous.segments import Segment
from entrenous.targeting.form import names_in
from entrenous.targeting.wording import as_cel
from entrenous_consent.dpo.parts import Parts
from entrenous_consent.dpo.rendering import Block, Document, Facts, Items, Listing, Paragraph, Section, Table
from entrenous_consent.dpo.taxonomy import load_taxonomy
from entrenous_consent.dpo.words import load_words
from entrenous_consent.policy import AskedFeature, PrivacyPolicy
from entrenous_consent.pseudonyms import BUCKETS

__all__ = ["bundle_document"]


def bundle_document(bundle: Bundle, policy: PrivacyPolicy, language: str, version: str) -> Document:
    """Return what a bundle asks of `policy`, what that refuses, and its rules; `version` of this package."""
    words = load_words(language, "lint", "documents", "bundle")
    told = _Told(Parts(policy=policy, words=words, taxonomy=load_taxonomy()), bundle)
    manifest, refusals = bundle.manifest, policy.permits(bundle.manifest.request())
    values = {"tenant": policy.tenant, "version": policy.version}
    return Document(
        kind="bundle",
        language=language,
        title=words("title", name=manifest.name, version=manifest.version),
        lead=tuple(_lead(told, refusals, values)),
        sections=tuple(told.sections(refusals)),
        footer=(
            words("made", bundle=f"{manifest.name} {manifest.version}", digest=bundle.digest.hex()),
            *told.parts.footer(version),
        ),
        data={
            **told.parts.data(),
            "bundle": {"name": manifest.name, "version": manifest.version, "digest": bundle.digest.hex()},
            "refusals": list(refusals),
            "rules": dict(told.rules()),
        },
    )


def _lead(told: _Told, refusals: Sequence[str], values: Mapping[str, object]) -> Iterator[Paragraph]:
    words = told.parts.words
    said, tone = ("refused", "error") if refusals else ("permitted", "good")
    yield Paragraph(text=words(said, **values), mark=words(f"mark.{tone}"), tone=tone)
    if told.manifest.public_research_data:
        yield Paragraph(text=words("research"), mark=words("mark.info"), tone="info")


class _Told:
    """A bundle, in the words of a policy."""

    def __init__(self, parts: Parts, bundle: Bundle) -> None:
        self.parts, self.manifest = parts, bundle.manifest
        self.segments = {one.rule: one.name for one in bundle.manifest.segments}
        self.asked = {one.name: one for one in bundle.manifest.request().features}

    def rules(self) -> Iterator[tuple[str, str]]:
        """Yield every rule by its place in the manifest, in CEL."""
        for name, decision in sorted(self.manifest.decisions.items()):
            for part, tree in (("targeting", decision.targeting), ("exclude", decision.exclude)):
                if tree is not None:
                    yield f"decisions.{name}.{part}", as_cel(tree, self.segments)
            for i, one in enumerate(decision.recommending.merchandising if decision.recommending else ()):
                if one.when is not None:
                    yield f"decisions.{name}.recommending.merchandising[{i}].when", as_cel(one.when, self.segments)
        for segment in self.manifest.segments:
            yield f"segments.{segment.name}", self.written(segment)
        for trigger in self.manifest.triggers:
            if trigger.exclude is not None:
                yield f"triggers.{trigger.name}.exclude", as_cel(trigger.exclude, self.segments)

    def written(self, segment: Segment) -> str:
        """Return a segment's own rule, in which others may stand by name."""
        return as_cel(segment.rule, {tree: name for tree, name in self.segments.items() if name != segment.name})

    def sections(self, refusals: Sequence[str]) -> Iterator[Section]:
        words, kept = self.parts.words, len(self.manifest.features)
        asked = list(self.asked.values())
        blocks: list[Block] = [Items(items=tuple(refusals))] if refusals else []
        yield Section(key="asked", heading=words("asked"), blocks=(*blocks, self._data(asked[:kept])))
        if asked[kept:]:
            yield Section(key="supplied", heading=words("supplied"), blocks=(self._data(asked[kept:], kept=False),))
        for name, decision in sorted(self.manifest.decisions.items()):
            yield Section(
                key=f"decision-{name}",
                heading=words("decision.heading", name=name),
                blocks=tuple(self._decision(decision)),
            )
        if self.manifest.segments:
            told = [block for one in self.manifest.segments for block in self._segment(one)]
            yield Section(key="segments", heading=words("segment.heading"), blocks=tuple(told))
        for trigger in self.manifest.triggers:
            called = words("trigger.heading", words=self._called(trigger), name=trigger.name)
            yield Section(key=f"trigger-{trigger.name}", heading=called, blocks=tuple(self._trigger(trigger)))

    def _called(self, one: Segment | Trigger) -> str:
        return one.fr if self.parts.words.language == "fr" else one.en

    def _title(self, purpose: str) -> str:
        return self.parts.title(purpose) if purpose in self.parts.policy.purposes else purpose

    def _data(self, asked: Sequence[AskedFeature], *, kept: bool = True) -> Table:
        parts = self.parts
        names = ("feature", "purpose", "category", "source", *(["kept"] if kept else []))
        rows = []
        for one in asked:
            row = (one.name, self._title(one.purpose), parts.category(one.category), parts.source(one.source))
            rows.append((*row, parts.retention(one.retention_days)) if kept else row)
        return Table(caption="", headings=parts.headings(*names), rows=tuple(rows))

    def _decision(self, decision: DecisionRule) -> Iterator[Block]:
        words = self.parts.words
        answers = "; ".join(f"{tranche}: {decision.spoken(tranche)}" for tranche in decision.tranches)
        facts = [
            (words("column.purpose"), self._title(decision.purpose)),
            (words("decision.answers"), answers),
            (words("decision.otherwise"), decision.default_arm),
            (words("decision.for"), words("everyone" if decision.targeting is None else "by_rule")),
            (words("decision.out"), words("nobody" if decision.exclude is None else "by_rule")),
        ]
        if decision.cap is not None:
            many = words("decision.cap_said", n=decision.cap.decisions, days=words.days(decision.cap.days))
            facts.append((words("decision.cap"), many))
        if decision.experiment is not None:
            share = f"{100 * decision.experiment.holdout / BUCKETS:g} %"
            compared = words("decision.compared_said", purpose=self._title(decision.experiment.purpose), share=share)
            facts.append((words("decision.compared"), compared))
        yield Facts(facts=tuple(facts))
        for part, tree in (("for", decision.targeting), ("out", decision.exclude)):
            if tree is not None:
                yield from self._rule(words(f"decision.{part}"), as_cel(tree, self.segments), tree)
        if decision.recommending is not None:
            yield from self._lists(decision.recommending)
        if (decision.targeting, decision.exclude) != (None, None):
            yield Paragraph(text=words("rules_read"))

    def _lists(self, recommending: Recommending) -> Iterator[Block]:
        """Say what lists are made of, and what a merchandiser adds for whom."""
        words = self.parts.words
        read = ", ".join(sorted(recommending.tastes)) or words("none")
        yield Facts(facts=((words("lists.visit"), words("lists.handed")), (words("lists.tastes"), read)))
        for one in recommending.merchandising:
            items = ", ".join(str(item) for item in one.items) or f"{one.attribute} = {one.value}"
            called = words(f"lists.{one.action}", items=items)
            if one.when is None:
                yield Facts(facts=((called, words("everyone")),))
            else:
                yield from self._rule(called, as_cel(one.when, self.segments), one.when)

    def _rule(self, called: str, text: str, tree: tuple[Any, ...]) -> Iterator[Block]:
        words = self.parts.words
        read = [
            words(
                "one_read",
                name=one.name,
                category=self.parts.category(one.category),
                purpose=self._title(one.purpose),
            )
            for one in (self.asked[name] for name in sorted(set(names_in(tree))))
        ]
        yield Listing(text=text)
        yield Facts(facts=((words("reads", rule=called), ", ".join(read) or words("clock")),))

    def _segment(self, segment: Segment) -> Iterator[Block]:
        words, called = self.parts.words, self._called(segment)
        text = words("segment.said", words=called, name=segment.name, purpose=self._title(segment.purpose))
        yield Paragraph(text=text)
        yield from self._rule(segment.name, self.written(segment), segment.rule)

    def _trigger(self, trigger: Trigger) -> Iterator[Block]:
        words = self.parts.words
        after = words("trigger.any") if trigger.after == ANY else trigger.after
        if trigger.category:
            after = f"{after} ({trigger.category})"
        if trigger.at_least > 1:
            hours = trigger.within // (60 * MINUTE)
            after = words("trigger.times", event=after, n=trigger.at_least, hours=hours)
        sent = self.parts.policy.message(trigger.message)
        facts = [
            (words("column.purpose"), self._title(trigger.purpose)),
            (words("trigger.after"), after),
            (words("trigger.unless"), ", ".join(trigger.unless) or words("none")),
            (words("trigger.delay"), words("trigger.minutes", n=f"{trigger.delay // MINUTE:,}")),
            (words("trigger.told"), sent.recipient if sent else trigger.message or words("trigger.app")),
            (words("decision.out"), words("nobody" if trigger.exclude is None else "by_rule")),
        ]
        if trigger.cap is not None:
            many = words("decision.cap_said", n=trigger.cap.times, days=words.days(trigger.cap.days))
            facts.append((words("decision.cap"), many))
        yield Facts(facts=tuple(facts))
        if trigger.exclude is not None:
            text = as_cel(trigger.exclude, self.segments)
            yield from self._rule(words("decision.out"), text, trigger.exclude)
