"""Routes: one decision for one combination of granted purposes, compiled; what is left to do for a visitor is small.

What can be worked out before a visitor comes is worked out here: which pattern is read, how its margins become a
tranche, and for each tranche, side of the experiment and arm the outcome, ready-made.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

from entrenous.bundle import Manifest
from entrenous.decision import Basis
from entrenous.decisions.draws import SIDES, Drawing
from entrenous.decisions.form import Cap, DecisionRule, Pattern
from entrenous.features import Feature
from entrenous.loop.reports import segment_of
from entrenous.model.scorer import Scorer
from entrenous.recommending.shelves import Wares
from entrenous.targeting import Gate, Narrowed
from entrenous_consent.policy import PrivacyPolicy, Report
from entrenous_consent.pseudonyms import BUCKETS

__all__ = ["Arms", "Compiler", "Place", "Result", "Route", "Scored", "Trial"]

Place = Callable[[Any, list[tuple[int, float]]], tuple[int, float | None]]
"""Takes a vector and what this decision brings along; answers the tranche's number and, of a likelihood, log-odds."""


@dataclass(frozen=True, slots=True)
class Result:
    """One ready-made outcome; `counts` where it shows another arm than the default, for the first time."""

    value: str | bool | int | float
    payload: str
    basis: Basis
    counts: bool


class Arms(NamedTuple):
    """What one tranche gets.

    Attributes:
        best: the likeliest, for who is drawn for nothing. each: all, and bounds: where the share of each ends, of
            10,000; none where there is one arm only.
    """

    best: Result
    bounds: tuple[int, ...]
    each: tuple[Result, ...]

    def at(self, place: int) -> Result:
        """Return the outcome at a place from 0 to 9,999."""
        return self.each[bisect_right(self.bounds, place)] if self.bounds else self.best


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One decision for one consent pattern, compiled.

    Attributes:
        place: from a vector to the number of its tranche. arms, capped: one for each tranche; aside: by side of the
            experiment, one for each tranche.
        kept: by arm, the outcome where an offer that was shown still holds; valid_days: for how long each does.
        drawing: the experiment, None for who takes part in none.
        cap: None for none; counted: under which word; together: the decisions whose caps count this one. Who made no
            choice has no experiment, no cap and no offer that holds: nothing of theirs is kept that could say so.
        gate: who the decision is for, None for everyone. ineligible: the outcome for the others.
        features: the schema. reads: positions that the pattern's model reads. margins: its margins of a vector, None
            where nothing is scored.
    """

    name: str
    purpose: str
    place: Place
    arms: tuple[Arms, ...]
    aside: Mapping[str, tuple[Result, ...]]
    capped: tuple[Result, ...]
    kept: Mapping[str, Result]
    valid_days: Mapping[str, int]
    drawing: Drawing | None
    cap: Cap | None
    counted: str
    together: tuple[str, ...]
    gate: Narrowed | None
    ineligible: Result
    features: tuple[Feature, ...]
    reads: tuple[int, ...]
    margins: Callable[[Any], list[float]] | None
    kind: str

    def column_of(self, tranche: int, margins: list[float]) -> int:
        """Return which of a vector's margins spoke for a tranche; for the first of an uplift, the greatest."""
        if self.kind == "situation":
            return tranche
        if self.kind == "uplift":
            return tranche - 1 if tranche else margins.index(max(margins))
        return 0


class Scored(NamedTuple):
    """What a decision was taken from; it stays in memory beside the answer.

    Attributes:
        head: the vector, NaN where withheld or missing. supplied: what this decision brought along: positions, values.
        tranche: its number. margin: where it is a likelihood.
    """

    route: Route
    head: Any
    supplied: list[tuple[int, float]]
    tranche: int = 0
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An experiment that is counted: the policy declares a report on its decision, for its purpose."""

    decision: str
    rule: DecisionRule
    drawing: Drawing
    report: Report

    def segment(self, granted: Iterable[str]) -> str:
        """Return the segment of a visitor who granted this."""
        return segment_of(self.report, granted)


class _Read(NamedTuple):
    """What stands behind an outcome: the purposes used, and what was withheld."""

    purposes: frozenset[str]
    withheld: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """Compiles the decisions of one bundle under one policy.

    Attributes:
        scorers: by model. drawings: by decision, where it has an experiment. gates: by decision, where it has rules.
        wares: by decision that recommends.
    """

    manifest: Manifest
    policy: PrivacyPolicy
    scorers: Mapping[str, Scorer]
    drawings: Mapping[str, Drawing]
    gates: Mapping[str, Gate]
    wares: Mapping[str, Wares] = field(default_factory=dict)

    def routes(self, granted: frozenset[str], *, chosen: bool = True) -> dict[str, Route | None]:
        """Return, for each decision, the route of a visitor who granted this; None where consent is missing.

        Args:
            chosen: False where they made no choice: answers then say so, and name no consent.
        """
        return {name: self._route(name, rule, granted, chosen) for name, rule in self.manifest.decisions.items()}

    def _route(self, name: str, rule: DecisionRule, granted: frozenset[str], chosen: bool) -> Route | None:
        pattern = self._pattern(rule, granted)
        if rule.purpose not in granted or (pattern is None and rule.width):
            return None
        gate = self.gates[name].within(granted) if name in self.gates else None
        ruled = (gate.purposes if gate else frozenset[str]()) | {rule.purpose}
        read = frozenset(pattern.purposes) if pattern else frozenset[str]()
        if name in self.wares:
            read = self.wares[name].purposes(granted)
        scored = _Read(ruled | read, self._withheld(name, pattern.purposes if pattern else granted, granted))
        unscored = _Read(ruled, self._withheld(name, granted, granted))
        drawing = self.drawings.get(name)
        if drawing is not None and not (chosen and drawing.experiment.purpose in granted):
            drawing = None
        offers = {arm: one.offer for arm, one in rule.arms.items() if one.offer and chosen}
        outcomes = _Outcomes(self, name, rule, drawn=drawing is not None, chosen=chosen)
        return Route(
            name=name,
            purpose=rule.purpose,
            place=_place(rule, pattern, self.scorers[rule.model] if rule.width else None),
            arms=tuple(outcomes.arms(scored, tranche) for tranche in rule.tranches),
            aside={
                side: tuple(outcomes.default(scored, tranche, "SPLIT", side) for tranche in rule.tranches)
                for side in (SIDES if drawing else ())
            },
            capped=tuple(outcomes.default(scored, tranche, "DEFAULT", "capped") for tranche in rule.tranches),
            kept={arm: outcomes.kept(_Read(frozenset({rule.purpose}), unscored.withheld), arm) for arm in offers},
            valid_days={arm: offer.valid_days for arm, offer in offers.items()},
            drawing=drawing,
            cap=rule.cap if chosen else None,
            counted=_counted(name, rule),
            together=tuple(
                other for other, theirs in self.manifest.decisions.items() if _together(name, rule, other, theirs)
            ),
            gate=gate,
            ineligible=outcomes.default(unscored, "", "DEFAULT", "ineligible"),
            features=self.manifest.features,
            reads=tuple(i for i, one in enumerate(self.manifest.features) if one.purpose in read),
            margins=self._margins(rule, pattern),
            kind=rule.kind,
        )

    def _margins(self, rule: DecisionRule, pattern: Pattern | None) -> Callable[[Any], list[float]] | None:
        if pattern is None:
            return None
        scorer, first = self.scorers[rule.model], pattern.column * rule.width
        line = pattern.calibration
        if line is not None:
            return lambda row: [line.of(scorer.margin(row, [], first))]
        return lambda row: scorer.margins(row, [], first, first + rule.width)

    @staticmethod
    def _pattern(rule: DecisionRule, granted: frozenset[str]) -> Pattern | None:
        fitting = [pattern for pattern in rule.patterns if granted.issuperset(pattern.purposes)]
        return min(fitting, key=lambda one: (-len(one.purposes), one.purposes), default=None)

    def _withheld(self, name: str, scored: Iterable[str], granted: frozenset[str]) -> tuple[str, ...]:
        """Return what is not looked at: by a model that reads the purposes `scored`, nor by the rules."""
        gate, seen = self.gates.get(name), frozenset(scored)
        ruled = gate.reads if gate and granted >= gate.purposes else frozenset[str]()
        features = [one.name for one in self.manifest.features if one.purpose not in seen and one.name not in ruled]
        context = [one.name for one in gate.context if one.purpose not in granted] if gate else []
        return (*features, *context)


def _counted(name: str, rule: DecisionRule) -> str:
    return rule.cap.shared or name if rule.cap else name


def _together(name: str, rule: DecisionRule, other: str, theirs: DecisionRule) -> bool:
    """Say whether what one decision shows counts towards the other's cap."""
    one_profile = theirs.cap is not None and theirs.purpose == rule.purpose
    return one_profile and _counted(name, rule) == _counted(other, theirs)


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """Makes the ready-made outcomes of one decision; `drawn` where arms are drawn by chance, `chosen` for who made a
    choice."""

    compiler: Compiler
    name: str
    rule: DecisionRule
    drawn: bool
    chosen: bool

    def arms(self, read: _Read, tranche: str) -> Arms:
        shares, best = self.rule.choice[tranche], self.rule.best(tranche)
        if not self.drawn or len(shares) == 1:
            cause = "" if self.chosen else "contextual"
            return Arms(self._result(read, best, tranche, "TARGETING_MATCH", cause, BUCKETS), (), ())
        each = {arm: self._result(read, arm, tranche, "SPLIT", "", share) for arm, share in shares.items()}
        return Arms(each[best], tuple(accumulate(shares.values()))[:-1], tuple(each.values()))

    def default(self, read: _Read, tranche: str, reason: str, cause: str) -> Result:
        return self._result(read, self.rule.default_arm, tranche, reason, cause, BUCKETS)

    def kept(self, read: _Read, arm: str) -> Result:
        return self._result(read, arm, "", "TARGETING_MATCH", "kept", BUCKETS)

    def _result(self, read: _Read, arm: str, tranche: str, reason: str, cause: str, share: int) -> Result:
        rule, manifest, policy = self.rule, self.compiler.manifest, self.compiler.policy
        used = set(read.purposes)
        drawn = cause in SIDES or share != BUCKETS
        if drawn and rule.experiment is not None:
            used.add(rule.experiment.purpose)
        basis = Basis(
            decision=self.name,
            arm=arm,
            reason=reason,
            cause=cause,
            tranche=tranche,
            share=share,
            bundle=f"{manifest.name} {manifest.version}",
            policy=policy.version,
            consents=tuple((key, policy.purposes[key].consent_version) for key in sorted(used) if self.chosen),
            withheld=read.withheld,
        )
        chosen = rule.arms[arm]
        return Result(chosen.value, chosen.payload, basis, arm != rule.default_arm and cause != "kept")


def _place(rule: DecisionRule, pattern: Pattern | None, scorer: Scorer | None) -> Place:
    """Return what puts a vector into its tranche, for one pattern."""
    if pattern is None or scorer is None:
        return lambda head, supplied: (0, None)
    width, cuts, costs = rule.width, pattern.cuts, rule.costs
    first, last = pattern.column * width, (pattern.column + 1) * width
    if rule.kind == "uplift":

        def worth(head: Any, supplied: list[tuple[int, float]]) -> tuple[int, float | None]:
            margins = scorer.margins(head, supplied, first, last)
            gains = [margin - cost for margin, cost in zip(margins, costs, strict=True)]
            most = max(gains)
            return (gains.index(most) + 1 if most > 0 else 0), None

        return worth
    if rule.kind == "situation":

        def nearest(head: Any, supplied: list[tuple[int, float]]) -> tuple[int, float | None]:
            margins = scorer.margins(head, supplied, first, last)
            return margins.index(max(margins)), None

        return nearest

    def within(head: Any, supplied: list[tuple[int, float]]) -> tuple[int, float | None]:
        margin = scorer.margin(head, supplied, first)
        return bisect_right(cuts, margin), margin

    line = pattern.calibration
    if line is None:
        return within

    def calibrated(head: Any, supplied: list[tuple[int, float]]) -> tuple[int, float | None]:
        margin = scorer.margin(head, supplied, first)
        return bisect_right(cuts, margin), line.of(margin)

    return calibrated
