"""The active pair: one policy and one bundle that it permits, or none, switched as one value.

Everything that can be worked out before a visitor comes is worked out here: sessions, plans, and for each decision and
consent pattern the column, the cuts and the ready-made outcomes. What is left to do for a visitor is in `engine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from entrenous.bundle import Bundle
from entrenous.decisions.draws import Drawing, group_key_name
from entrenous.decisions.form import DecisionRule, Experiment
from entrenous.decisions.routes import Compiler, Route, Trial
from entrenous.features import DERIVED, Feature, Plan, compile_plan, derived
from entrenous.loop.reports import check_cells
from entrenous.messages.triggers import Group, groups_of
from entrenous.model.proof import check_proof
from entrenous.model.scorer import Scorer
from entrenous.recommending.shelves import Wares, compile_wares
from entrenous.segments import compile_segments
from entrenous.targeting import Gate, compile_gate
from entrenous_consent.errors import Forbidden
from entrenous_consent.keys import Keyring
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.pseudonyms import keyed
from entrenous_consent.retention import RECEIPT_DAYS

__all__ = ["Active", "activate", "open_models"]

_MOST_ROUTES = 1024
"""Combinations of granted purposes that are kept compiled: visitors choose them, so that there may be many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Active:
    """The pair in force, compiled. Compared by identity: a switch is a new value.

    Attributes:
        bundle: None where none may serve: then no decision is known, and consent, export and erasure go on.
        blank: a vector of F NaN. plans: by purpose. supplied: context keys, each with its column, its purpose, and a
            category's codes.
        derived: column, field and purpose of what the clock says.
        retention_days: by purpose that a decision reads. compiler: of its decisions, None where no bundle serves.
        trials: by decision, the experiments that are counted. context: keys that rules alone read.
        segments: by name, what says whether a visitor is in it. triggers: by purpose.
        wares: by decision that recommends, what it makes lists of.
    """

    policy: PrivacyPolicy
    bundle: Bundle | None
    blank: bytes
    plans: Mapping[str, Plan]
    supplied: Mapping[str, tuple[int, str, Mapping[str, int] | None]]
    derived: tuple[tuple[int, str, str], ...]
    retention_days: Mapping[str, int]
    compiler: Compiler | None
    trials: Mapping[str, Trial]
    context: frozenset[str]
    segments: Mapping[str, Gate]
    triggers: Mapping[str, Group]
    wares: Mapping[str, Wares]
    _routes: dict[tuple[frozenset[str], bool], Mapping[str, Route | None]] = field(default_factory=dict)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The bundle's feature schema."""
        return self.bundle.manifest.features if self.bundle else ()

    @property
    def scorers(self) -> Mapping[str, Scorer]:
        """What scores, by model."""
        return self.compiler.scorers if self.compiler else {}

    @property
    def gates(self) -> Mapping[str, Gate]:
        """Who a decision is for, where it has rules."""
        return self.compiler.gates if self.compiler else {}

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
        return frozenset(trial.drawing.experiment.purpose for trial in self.trials.values())

    @property
    def expires(self) -> int:
        """The Unix second from which the bundle serves no more, 0 where there is none."""
        return self.bundle.manifest.expires if self.bundle else 0

    @property
    def purposes(self) -> tuple[str, ...]:
        """Purposes whose records a decision may read: those of the features and of the decisions, sorted."""
        return tuple(sorted(self.retention_days))

    def routes(self, granted: frozenset[str], *, chosen: bool = True) -> Mapping[str, Route | None]:
        """Return, for each decision, the route of a visitor who granted this; None where consent is missing.

        Args:
            chosen: False where they made no choice, and these are the policy's `contextual` purposes.
        """
        known = self._routes.get((granted, chosen))
        if known is None:
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            routes = self.compiler.routes(granted, chosen=chosen) if self.compiler else {}
            known = self._routes[granted, chosen] = routes
        return known


def open_models(bundle: Bundle) -> dict[str, Scorer]:
    """Return what scores with each model of the bundle, by name.

    Raises:
        Malformed: the runtime refuses a model, or it does not score here as it did where it was made.
    """
    manifest, found = bundle.manifest, {}
    categories = [len(feature.values) for feature in manifest.features]
    for name, model in bundle.models.items():
        columns = manifest.columns_of(name)
        found[name] = Scorer(model, features=len(categories), columns=columns)
        if (proof := manifest.proofs.get(name)) is not None:
            tolerance = max(rule.tolerance for rule in manifest.decisions.values() if rule.model == name)
            check_proof(found[name], categories, columns, proof, tolerance=tolerance, place=f"proofs.{name}")
    return found


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
        promised = [arm.offer.valid_days for arm in rule.arms.values() if arm.offer]
        capped = [rule.cap.days] if rule.cap else []
        retention[rule.purpose] = max(retention[rule.purpose], RECEIPT_DAYS, *promised, *capped)
    for feature in schema:
        retention[feature.purpose] = max(retention.get(feature.purpose, 0), feature.retention_days)
    for trigger in bundle.manifest.triggers if bundle else ():
        if trigger.purpose in retention:  # what is armed lies under the key of the purpose's record
            retention[trigger.purpose] = max(retention[trigger.purpose], -(-trigger.reach // 86_400))
    compiler = _compiler(policy, bundle, keyring, scorers) if bundle else None
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
        compiler=compiler,
        trials=_trials(policy, compiler) if compiler else {},
        context=frozenset(one.name for one in bundle.manifest.context) if bundle else frozenset(),
        segments=compile_segments(bundle.manifest.segments, schema) if bundle else {},
        triggers=groups_of(bundle.manifest.triggers, bundle.manifest.trigger_limit, schema) if bundle else {},
        wares=compiler.wares if compiler else {},
    )


def _compiler(
    policy: PrivacyPolicy, bundle: Bundle, keyring: Keyring, scorers: Mapping[str, Scorer] | None
) -> Compiler:
    manifest = bundle.manifest
    gates = {}
    for name, rule in manifest.decisions.items():
        gate = compile_gate(rule.targeting, rule.exclude, manifest.features, manifest.context)
        if gate is not None:
            gates[name] = gate
    return Compiler(
        manifest=manifest,
        policy=policy,
        scorers=open_models(bundle) if scorers is None else scorers,
        drawings={
            name: _drawing(name, rule.experiment, keyring)
            for name, rule in manifest.decisions.items()
            if rule.experiment is not None
        },
        gates=gates,
        wares={
            name: compile_wares(rule.recommending, bundle.tables, manifest.features, manifest.context)
            for name, rule in manifest.decisions.items()
            if rule.recommending is not None
        },
    )


def _drawing(name: str, experiment: Experiment, keyring: Keyring) -> Drawing:
    group = keyed(keyring.experiment_key(group_key_name(experiment.group))) if experiment.group else None
    return Drawing(decision=name, experiment=experiment, mac=keyed(keyring.experiment_key(experiment.id)), group=group)


def _trials(policy: PrivacyPolicy, compiler: Compiler) -> dict[str, Trial]:
    trials = {}
    for name, drawing in compiler.drawings.items():
        report = policy.report(name, drawing.experiment.purpose)
        if report is not None:
            rule = compiler.manifest.decisions[name]
            check_cells(name, rule, report)
            trials[name] = Trial(decision=name, rule=rule, drawing=drawing, report=report)
    return trials


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
