"""What a bundle would have answered: every decision over a table, by the runtime's own routes, before anything ships.

Rows are taken in the order of their times, so that caps count, each decision's for itself; an offer that was shown is
not held on to. Experiments deal by a key made for the occasion: who is on which side is not who will be, how many are
is. Nothing is stored, and no visitor is named.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from entrenous.active import open_models
from entrenous.bundle import Bundle
from entrenous.decisions.draws import Drawing
from entrenous.decisions.routes import Compiler, Route
from entrenous.targeting import compile_gate
from entrenous_consent.errors import Forbidden
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.pseudonyms import keyed
from entrenous_exporters.rows import FEWEST_IN_GROUP, Rows

__all__ = ["Simulated", "simulate"]

_DAY = 86_400

Answer = tuple[str, str, str]
"""Tranche, arm, cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What one decision would have answered.

    Attributes:
        rows: how many were asked for. answers: how often each (tranche, arm, cause) was given; visitors: to how many.
        groups: by group and its value, how often each arm was given; hidden: how many more were of fewer than
            `FEWEST_IN_GROUP` visitors.
    """

    rows: int
    answers: Mapping[Answer, int]
    visitors: Mapping[Answer, int]
    groups: Mapping[tuple[str, str], Mapping[str, int]]
    hidden: int


def simulate(
    bundle: Bundle, policy: PrivacyPolicy, rows: Rows, *, granted: frozenset[str] | None = None, seed: int = 0
) -> dict[str, Simulated]:
    """Return, by decision, what `bundle` would have answered to `rows`.

    Args:
        rows: those that may be looked at (`entrenous_exporters.rows.allowed_rows`).
        granted: the purposes that every visitor granted; all of the policy's where it is None. seed: of the deal.

    Raises:
        Forbidden: the policy does not permit the bundle. Malformed: the runtime refuses a model.
    """
    refusals = policy.permits(bundle.manifest.request())
    if refusals:
        raise Forbidden("; ".join(refusals), place=f"bundle {bundle.manifest.name}", remedy="change one of them")
    compiler = _compiler(bundle, policy, seed)
    routes = compiler.routes(frozenset(policy.purposes) if granted is None else granted)
    order = np.argsort(rows.times, kind="stable")
    return {name: _simulated(route, bundle, rows, order.tolist()) for name, route in routes.items()}


def _compiler(bundle: Bundle, policy: PrivacyPolicy, seed: int) -> Compiler:
    manifest = bundle.manifest
    gates = {
        name: gate
        for name, rule in manifest.decisions.items()
        if (gate := compile_gate(rule.targeting, rule.exclude, manifest.features, manifest.context)) is not None
    }
    drawings = {
        name: Drawing(
            decision=name,
            experiment=rule.experiment,
            mac=keyed(_key(seed, rule.experiment.id)),
            group=keyed(_key(seed, f"group {rule.experiment.group}")) if rule.experiment.group else None,
        )
        for name, rule in manifest.decisions.items()
        if rule.experiment is not None
    }
    return Compiler(manifest=manifest, policy=policy, scorers=open_models(bundle), drawings=drawings, gates=gates)


def _key(seed: int, name: str) -> bytes:
    return sha256(f"simulate {seed} {name}".encode()).digest()


def _simulated(route: Route | None, bundle: Bundle, rows: Rows, order: list[int]) -> Simulated:
    answers: Counter[Answer] = Counter()
    visitors: dict[Answer, set[int]] = defaultdict(set)
    groups: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    members: dict[tuple[str, str], set[int]] = defaultdict(set)
    shown: dict[int, list[int]] = defaultdict(list)
    for i in order:
        who, now = int(rows.visitors[i]), int(rows.times[i])
        answer = ("", "", "consent_missing") if route is None else _answer(route, rows.x[i], (who, now), shown[who])
        answers[answer] += 1
        visitors[answer].add(who)
        for name, group in rows.groups.items():
            groups[name, str(group[i])][answer[1]] += 1
            members[name, str(group[i])].add(who)
    told = {key: dict(found) for key, found in groups.items() if len(members[key]) >= FEWEST_IN_GROUP}
    return Simulated(
        rows=len(order),
        answers=dict(answers),
        visitors={answer: len(some) for answer, some in visitors.items()},
        groups=told,
        hidden=len(groups) - len(told),
    )


def _answer(route: Route, row: np.ndarray, asked: tuple[int, int], shown: list[int]) -> Answer:
    """Return what one visit gets, as the engine would answer it.

    Args:
        row: float32 [F]. asked: visitor and time. shown: the days on which the visitor got another arm than the
            default; added to.
    """
    who, now = asked
    head = np.ascontiguousarray(row).data
    if route.gate is not None and not route.gate.admits(head, [], None, now):
        return "", route.ineligible.basis.arm, "ineligible"
    tranche, _ = route.place(head, [])
    if route.drawing is None:
        result = route.arms[tranche].best
    else:
        draw = route.drawing.draw(sha256(who.to_bytes(8, "big")).digest(), now)
        result = route.aside[draw.side][tranche] if draw.side else route.arms[tranche].at(draw.place)
    if result.counts and route.cap is not None:
        today = now // _DAY
        if sum(today - route.cap.days < day <= today for day in shown) >= route.cap.decisions:
            result = route.capped[tranche]
        else:
            shown.append(today)
    return result.basis.tranche, result.basis.arm, result.basis.cause
