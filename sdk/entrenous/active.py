"""The active pair: one policy and one bundle that it permits, or none, switched as one value.

Everything that can be worked out before a visitor comes is worked out here: sessions, plans, and for each decision and
consent pattern the column, the cuts and the ready-made outcomes. What is left to do for a visitor is in `engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from entrenous.bundle import Bundle, Cap, DecisionRule, Experiment, Manifest, Pattern
from entrenous.contributions import HOLDOUT, Cell
from entrenous.decision import Basis
from entrenous.features import DERIVED, Feature, Plan, compile_plan, derived
from entrenous.reports import segment_of
from entrenous.scorer import Scorer
from entrenous.segments import compile_segments
from entrenous.targeting import Gate, Narrowed, compile_gate
from entrenous.triggers import Group, groups_of
from entrenous_consent.errors import Forbidden
from entrenous_consent.keys import Keyring
from entrenous_consent.policy import PrivacyPolicy, Report
from entrenous_consent.pseudonyms import bucket, keyed
from entrenous_consent.retention import RECEIPT_DAYS

__all__ = ["Active", "Result", "Route", "Trial", "activate", "open_models"]

_MOST_ROUTES = 1024
"""Combinations of granted purposes that are kept compiled: visitors choose them, so that there may be many."""


@dataclass(frozen=True, slots=True)
class Result:
    """One ready-made outcome."""

    value: str | bool | int | float
    payload: str
    basis: Basis
    counts: bool


class _Read(NamedTuple):
    """What stands behind an outcome: the purposes used, and what was withheld."""

    purposes: frozenset[str]
    withheld: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One decision for one consent pattern, compiled.

    Attributes:
        cuts: rising float32 cuts of the margin. results: one for each tranche.
        held, capped: one for each tranche, for the holdout and for who has seen enough.
        bucket: the experiment's keyed function, None without an experiment; `holdout` of its buckets keep the default.
        gate: who the decision is for, None for everyone. ineligible: the outcome for the others.
    """

    name: str
    purpose: str
    scorer: Scorer
    column: int
    cuts: tuple[float, ...]
    results: tuple[Result, ...]
    held: tuple[Result, ...]
    capped: tuple[Result, ...]
    bucket: Callable[[bytes], bytes] | None
    experiment: str
    holdout: int
    cap: Cap | None
    gate: Narrowed | None
    ineligible: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An experiment that is counted: the policy declares a report on its decision, for its purpose.

    Attributes:
        bucket: the experiment's keyed function.
    """

    decision: str
    rule: DecisionRule
    experiment: Experiment
    report: Report
    bucket: Callable[[bytes], bytes]

    def cell(self, handle: bytes, tranche: str, granted: Iterable[str]) -> Cell:
        """Return where a visitor counts: by assignment and by the score at the exposure, empty for none."""
        arm = self.rule.choice[tranche] if tranche else self.rule.default_arm
        held = bucket(self.bucket, handle) < self.experiment.holdout
        return HOLDOUT if held else arm, tranche, segment_of(self.report, granted)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Active:
    """The pair in force, compiled. Compared by identity: a switch is a new value.

    Attributes:
        bundle: None where none may serve: then no decision is known, and consent, export and erasure go on.
        blank: a vector of F NaN. plans: by purpose. supplied: context keys, each with its column, its purpose, and a
            category's codes.
        derived: column, field and purpose of what the clock says.
        retention_days: by purpose that a decision reads. scorers: by model. buckets: an experiment's keyed function.
        trials: by decision, the experiments that are counted. context: keys that rules alone read.
        gates: by decision, where it has rules. segments: by name, what says whether a visitor is in it.
        triggers: by purpose.
    """

    policy: PrivacyPolicy
    bundle: Bundle | None
    blank: bytes
    plans: Mapping[str, Plan]
    supplied: Mapping[str, tuple[int, str, Mapping[str, int] | None]]
    derived: tuple[tuple[int, str, str], ...]
    retention_days: Mapping[str, int]
    scorers: Mapping[str, Scorer]
    buckets: Mapping[str, Callable[[bytes], bytes]]
    trials: Mapping[str, Trial]
    context: frozenset[str]
    gates: Mapping[str, Gate]
    segments: Mapping[str, Gate]
    triggers: Mapping[str, Group]
    _routes: dict[frozenset[str], Mapping[str, Route | None]] = field(default_factory=dict)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The bundle's feature schema."""
        return self.bundle.manifest.features if self.bundle else ()

    @property
    def decisions(self) -> Mapping[str, DecisionRule]:
        """The bundle's decisions by name."""
        return self.bundle.manifest.decisions if self.bundle else {}

    def tell_time(self, head: Any, granted: frozenset[str], now: int) -> None:
        """Fill the columns of a vector that the clock says, for granted purposes only."""
        for position, name, purpose in self.derived:
            if purpose in granted:
                head[position] = derived(name, now)

    @property
    def measured(self) -> frozenset[str]:
        """Purposes that an experiment is counted for."""
        return frozenset(trial.experiment.purpose for trial in self.trials.values())

    @property
    def expires(self) -> int:
        """The Unix second from which the bundle serves no more, 0 where there is none."""
        return self.bundle.manifest.expires if self.bundle else 0

    @property
    def purposes(self) -> tuple[str, ...]:
        """Purposes whose records a decision may read: those of the features and of the decisions, sorted."""
        return tuple(sorted(self.retention_days))

    def routes(self, granted: frozenset[str]) -> Mapping[str, Route | None]:
        """Return, for each decision, the route of a visitor who granted this; None where consent is missing."""
        known = self._routes.get(granted)
        if known is None:
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            known = self._routes[granted] = (
                {name: self._route(self.bundle.manifest, name, granted) for name in self.decisions}
                if self.bundle
                else {}
            )
        return known

    def _route(self, manifest: Manifest, name: str, granted: frozenset[str]) -> Route | None:
        rule = manifest.decisions[name]
        fitting = [pattern for pattern in rule.patterns if granted.issuperset(pattern.purposes)]
        if rule.purpose not in granted or not fitting:
            return None
        pattern = min(fitting, key=lambda one: (-len(one.purposes), one.purposes))
        gate = self.gates[name].within(granted) if name in self.gates else None
        ruled = gate.purposes if gate else frozenset[str]()
        scored = _Read(ruled.union(pattern.purposes, {rule.purpose}), self._withheld(manifest, name, pattern, granted))

        def results(reason: str, cause: str) -> tuple[Result, ...]:
            return tuple(self._result(manifest, name, scored, tranche, reason, cause) for tranche in rule.tranches)

        unscored = _Read(ruled | {rule.purpose}, self._withheld(manifest, name, None, granted))
        experiment = rule.experiment if rule.experiment and rule.experiment.purpose in granted else None
        return Route(
            name=name,
            purpose=rule.purpose,
            scorer=self.scorers[rule.model],
            column=pattern.column,
            cuts=pattern.cuts,
            results=results("TARGETING_MATCH", ""),
            held=results("SPLIT", "holdout"),
            capped=results("DEFAULT", "capped"),
            bucket=self.buckets[experiment.id] if experiment else None,
            experiment=experiment.id if experiment else "",
            holdout=experiment.holdout if experiment else 0,
            cap=rule.cap,
            gate=gate,
            ineligible=self._result(manifest, name, unscored, "", "DEFAULT", "ineligible"),
        )

    def _withheld(
        self, manifest: Manifest, name: str, pattern: Pattern | None, granted: frozenset[str]
    ) -> tuple[str, ...]:
        """Return what is not looked at: by the model of a pattern (None where nothing is scored), nor by the rules."""
        gate = self.gates.get(name)
        ruled = gate.reads if gate and granted >= gate.purposes else frozenset[str]()
        scored = granted if pattern is None else pattern.purposes
        features = [one.name for one in manifest.features if one.purpose not in scored and one.name not in ruled]
        context = [one.name for one in gate.context if one.purpose not in granted] if gate else []
        return (*features, *context)

    def _result(self, manifest: Manifest, name: str, read: _Read, tranche: str, reason: str, cause: str) -> Result:
        rule = manifest.decisions[name]
        arm = rule.default_arm if cause else rule.choice[tranche]
        used = set(read.purposes)
        if cause == "holdout" and rule.experiment is not None:
            used.add(rule.experiment.purpose)
        basis = Basis(
            decision=name,
            arm=arm,
            reason=reason,
            cause=cause,
            tranche=tranche,
            bundle=f"{manifest.name} {manifest.version}",
            policy=self.policy.version,
            consents=tuple((purpose, self.policy.purposes[purpose].consent_version) for purpose in sorted(used)),
            withheld=read.withheld,
        )
        chosen = rule.arms[arm]
        return Result(chosen.value, chosen.payload, basis, arm != rule.default_arm)


def open_models(bundle: Bundle) -> dict[str, Scorer]:
    """Return what scores with each model of the bundle, by name.

    Raises:
        Malformed: the runtime refuses a model.
    """
    schema, decisions = bundle.manifest.features, bundle.manifest.decisions
    return {
        name: Scorer(model, features=len(schema), columns=_columns(decisions, name))
        for name, model in bundle.models.items()
    }


def activate(
    policy: PrivacyPolicy, bundle: Bundle | None, keyring: Keyring, *, scorers: Mapping[str, Scorer] | None = None
) -> Active:
    """Return the compiled pair.

    Args:
        bundle: None for the default alone. scorers: of this very bundle, where they are open already.

    Raises:
        Forbidden: the policy does not permit what the bundle asks; every refusal is named.
        Malformed: the runtime refuses a model. Unavailable: a new experiment's key can't be stored.
    """
    refusals = policy.permits(bundle.manifest.request()) if bundle else ()
    if bundle and refusals:
        raise Forbidden(
            "; ".join(refusals),
            place=f"bundle {bundle.manifest.name} {bundle.manifest.version}",
            remedy="ask the DPO to sign a policy that permits it, or train without it",
        )
    schema = bundle.manifest.features if bundle else ()
    decisions = bundle.manifest.decisions if bundle else {}
    retention: dict[str, int] = {rule.purpose: 0 for rule in decisions.values()}
    for rule in decisions.values():
        retention[rule.purpose] = max(retention[rule.purpose], rule.cap.days if rule.cap else 0, RECEIPT_DAYS)
    for feature in schema:
        retention[feature.purpose] = max(retention.get(feature.purpose, 0), feature.retention_days)
    for trigger in bundle.manifest.triggers if bundle else ():
        if trigger.purpose in retention:  # what is armed lies under the key of the purpose's record
            retention[trigger.purpose] = max(retention[trigger.purpose], -(-trigger.reach // 86_400))
    buckets = {
        rule.experiment.id: keyed(keyring.experiment_key(rule.experiment.id))
        for rule in decisions.values()
        if rule.experiment is not None
    }
    return Active(
        policy=policy,
        bundle=bundle,
        blank=np.full(len(schema), np.nan, np.float32).tobytes(),
        plans={purpose: compile_plan(schema, purpose) for purpose in retention},
        supplied=_supplied(schema),
        derived=tuple(
            (i, feature.field, feature.purpose)
            for i, feature in enumerate(schema)
            if feature.kind == "context" and feature.field in DERIVED
        ),
        retention_days=retention,
        scorers=scorers if scorers is not None else open_models(bundle) if bundle else {},
        buckets=buckets,
        trials=_trials(policy, decisions, buckets),
        context=frozenset(one.name for one in bundle.manifest.context) if bundle else frozenset(),
        gates=_gates(bundle.manifest) if bundle else {},
        segments=compile_segments(bundle.manifest.segments, schema) if bundle else {},
        triggers=groups_of(bundle.manifest.triggers, bundle.manifest.trigger_limit, schema) if bundle else {},
    )


def _gates(manifest: Manifest) -> dict[str, Gate]:
    gates = {}
    for name, rule in manifest.decisions.items():
        gate = compile_gate(rule.targeting, rule.exclude, manifest.features, manifest.context)
        if gate is not None:
            gates[name] = gate
    return gates


def _trials(
    policy: PrivacyPolicy, decisions: Mapping[str, DecisionRule], buckets: Mapping[str, Callable[[bytes], bytes]]
) -> dict[str, Trial]:
    trials = {}
    for name, rule in decisions.items():
        experiment = rule.experiment
        report = policy.report(name, experiment.purpose) if experiment else None
        if experiment is not None and report is not None:
            trials[name] = Trial(
                decision=name, rule=rule, experiment=experiment, report=report, bucket=buckets[experiment.id]
            )
    return trials


def _columns(decisions: Mapping[str, DecisionRule], model: str) -> int:
    return next(len(rule.patterns) for rule in decisions.values() if rule.model == model)


def _supplied(schema: tuple[Feature, ...]) -> dict[str, tuple[int, str, Mapping[str, int] | None]]:
    """Return each supplied context key with its column, its purpose, and a category's codes (None for a number)."""
    return {
        feature.field: (
            i,
            feature.purpose,
            {value: code for code, value in enumerate(feature.values)} if feature.values else None,
        )
        for i, feature in enumerate(schema)
        if feature.kind == "context" and feature.field not in DERIVED
    }
