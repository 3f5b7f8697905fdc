"""The part of a specification that says what is decided: of whatever kind, by whoever writes it down.

A training specification has one such table; a campaign makes another. `DecisionSpec.rule` turns it into the manifest's
form once the margins' cuts are known.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from entrenous.decisions.calibration import Calibration
from entrenous.decisions.form import (
    KINDS,
    MOST_PATTERNS,
    Arm,
    Cap,
    DecisionRule,
    Experiment,
    Pattern,
    Posterior,
    parse_arms,
    parse_cap,
    parse_posteriors,
)
from entrenous.decisions.offers import check_offers
from entrenous.decisions.payloads import check_payload
from entrenous.recommending.strategy import Recommending
from entrenous.targeting import LONGEST_RULE, Variable
from entrenous_consent.parsing import REQUIRED, Table
from entrenous_consent.pseudonyms import BUCKETS
from entrenous_exporters.recommend.strategies import parse_strategies
from entrenous_exporters.segmenting import Segments, read_rule

if TYPE_CHECKING:
    from entrenous_exporters.rules import Written

__all__ = [
    "Bounds",
    "DecisionSpec",
    "Known",
    "parse_deciding",
    "parse_experiment",
    "parse_payload",
    "parse_shares",
    "shares_of",
]


class Bounds(NamedTuple):
    """What a part of 1 may be, and what it is where nothing is said."""

    usual: Any
    least: float
    most: float


_WHOLE = Bounds(REQUIRED, 0.0, 1.0)
_EVERYONE = Bounds(1.0, 0.0, 1.0)
_UNSCORED = ("recommend", "rule")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSpec:
    """What is decided with the score: patterns, tranches with the share of visitors each is to hold, and their arms.

    Attributes:
        kind: one of `entrenous.decisions.form.KINDS`.
        shares: of the tranches, where they are cut; empty otherwise. costs: of an uplift's actions.
        posteriors: by tranche, then arm, what reports have taught, None where nobody said.
        targeting: the rule for who it is for, None for everyone. exclude: the one for who is left out, None for nobody.
        recommending: what its arms make lists of, None for other kinds.
    """

    name: str
    kind: str
    purpose: str
    patterns: tuple[tuple[str, ...], ...]
    tranches: tuple[str, ...]
    shares: tuple[float, ...]
    arms: Mapping[str, Arm]
    choice: Mapping[str, Mapping[str, int]]
    default_arm: str
    experiment: Experiment | None
    cap: Cap | None
    costs: tuple[float, ...]
    posteriors: Mapping[str, Mapping[str, Posterior]] | None = None
    targeting: Written | None
    exclude: Written | None
    recommending: Recommending | None = None

    def rule(
        self,
        *,
        model: str,
        tolerance: float,
        cuts: Sequence[tuple[float, ...]],
        lines: Sequence[Calibration | None] = (),
    ) -> DecisionRule:
        """Return the decision as a manifest states it.

        Args:
            model: its name, empty for none. cuts: of each pattern's margin. lines: from each to log-odds, none by
                default.
        """
        return DecisionRule(
            kind=self.kind,
            purpose=self.purpose,
            model=model,
            tolerance=tolerance,
            tranches=self.tranches,
            patterns=tuple(
                Pattern(purposes=pattern, column=i, cuts=tuple(cuts[i]), calibration=lines[i] if lines else None)
                for i, pattern in enumerate(self.patterns)
            ),
            arms=self.arms,
            choice=self.choice,
            default_arm=self.default_arm,
            experiment=self.experiment,
            cap=self.cap,
            costs=self.costs,
            posteriors=self.posteriors,
            targeting=self.targeting.tree if self.targeting else None,
            exclude=self.exclude.tree if self.exclude else None,
            recommending=self.recommending,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a decision may refer to.

    Attributes:
        purposes: of the features. variables: what rules may read. segments: that rules may name.
        tranches: of an uplift, the arms of its test; of situations, what they are called.
    """

    purposes: frozenset[str]
    variables: Mapping[str, Variable]
    segments: Segments
    tranches: tuple[str, ...]


def parse_deciding(table: Table, known: Known) -> DecisionSpec:
    """Return the decision in a specification's table.

    Raises:
        Malformed: a key that the kind does not have, a value out of bounds, or parts that contradict each other.
    """
    kind = table.choice("kind", KINDS, "propensity")
    tranches, shares = _tranches(table, kind, known)
    patterns = _patterns(table, known.purposes) if kind not in _UNSCORED else ()
    arms = parse_arms(table, lambda entry: parse_payload(entry, known.variables))
    experiment = parse_experiment(table.table("experiment")) if table.has("experiment") else None
    spec = DecisionSpec(
        name=table.name("name"),
        kind=kind,
        purpose=table.name("purpose"),
        patterns=patterns,
        tranches=tranches,
        shares=shares,
        arms=arms,
        choice=_choice(table, tranches, arms, kind, drawn=experiment is not None),
        default_arm=table.choice("default_arm", arms),
        experiment=experiment,
        cap=parse_cap(table.table("cap")) if table.has("cap") else None,
        costs=_costs(table, tranches) if kind == "uplift" else (),
        posteriors=parse_posteriors(table, tranches, arms) if table.has("posteriors") else None,
        targeting=_rule(table, "targeting", known),
        exclude=_rule(table, "exclude", known),
        recommending=parse_strategies(table, arms, known.variables, known.segments) if kind == "recommend" else None,
    )
    if kind == "promotion":
        check_offers({name: arm.offer for name, arm in arms.items()}, spec.default_arm, table)
    table.close()
    return spec


def _rule(table: Table, key: str, known: Known) -> Written | None:
    """Return the rule that is written under `key` in CEL, None where there is none."""
    text = table.text(key, "", longest=LONGEST_RULE)
    return read_rule(text, known.variables, table, key, known.segments) if text else None


def _tranches(table: Table, kind: str, known: Known) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the tranches' names, from low to high, and the share of visitors that each is to hold."""
    if kind in _UNSCORED:
        return ("everyone",), ()
    if kind in ("situation", "uplift"):
        return known.tranches, ()
    if table.flag("deciles", False):
        if table.has("tranches") or table.has("shares"):
            raise table.refuse("deciles", "are tranches already", "leave tranches and shares out")
        return tuple(f"d{i}" for i in range(1, 11)), (0.1,) * 10
    tranches = table.names("tranches", longest=100)
    shares = table.numbers("shares")
    if not tranches:
        raise table.refuse("tranches", "is empty", "name at least one")
    if len(shares) != len(tranches) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise table.refuse("shares", "is not one positive share for each tranche, adding up to 1")
    return tranches, shares


def _patterns(table: Table, known: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    patterns = tuple(_pattern(table, i, one, known) for i, one in enumerate(table.array("patterns")))
    if not 1 <= len(patterns) <= MOST_PATTERNS or len(set(patterns)) != len(patterns):
        raise table.refuse("patterns", f"is not 1 to {MOST_PATTERNS} different lists of purposes")
    return patterns


def _pattern(table: Table, index: int, purposes: object, known: frozenset[str]) -> tuple[str, ...]:
    texts = isinstance(purposes, list) and all(isinstance(purpose, str) for purpose in purposes)
    if not isinstance(purposes, list) or not texts or not purposes:
        raise table.refuse(f"patterns[{index}]", "is not a list of purposes")
    if not known.issuperset(purposes) or len(set(purposes)) != len(purposes):
        raise table.refuse(f"patterns[{index}]", "names a purpose twice, or one that no feature has")
    return tuple(sorted(purposes))


def _choice(
    table: Table, tranches: tuple[str, ...], arms: Mapping[str, Arm], kind: str, *, drawn: bool
) -> dict[str, Mapping[str, int]]:
    """Return each tranche's arms. Where an uplift says nothing, each action is its own arm; where situations say
    nothing, all arms are drawn alike."""
    open_to = kind in ("situation", "uplift")
    chosen = table.table("choice", {}) if open_to else table.table("choice")
    choice: dict[str, Mapping[str, int]] = {}
    for tranche in tranches:
        if open_to and not chosen.has(tranche):
            alike = {arm: 1 / len(arms) for arm in arms}
            choice[tranche] = {tranche: BUCKETS} if kind == "uplift" else shares_of(alike)
            continue
        choice[tranche] = parse_shares(chosen, tranche, arms)
        if len(choice[tranche]) > 1 and not drawn:
            raise chosen.refuse(tranche, "draws an arm without an experiment", "declare decision.experiment")
    chosen.close()
    return choice


def parse_shares(chosen: Table, tranche: str, arms: Collection[str]) -> dict[str, int]:
    """Return the arms of one tranche with their shares of 10,000: one arm, or a table of parts of 1.

    Raises:
        Malformed: no arm, or parts that don't add up.
    """
    if chosen.is_text(tranche):
        return {chosen.choice(tranche, arms): BUCKETS}
    shares = chosen.table(tranche)
    parts = {arm: shares.number(arm, least=0, most=1) for arm in shares.keys()}  # noqa: SIM118
    if not parts or not parts.keys() <= set(arms) or abs(sum(parts.values()) - 1) > 1e-9:
        raise chosen.refuse(tranche, "is neither an arm nor shares of arms that add up to 1")
    return shares_of(parts)


def shares_of(parts: Mapping[str, float]) -> dict[str, int]:
    """Return shares of 10,000 that add up to it, by largest remainder; what rounds to nothing is left out.

    Args:
        parts: shares that add up to 1.
    """
    exact = {arm: part * BUCKETS for arm, part in parts.items()}
    whole = {arm: int(part) for arm, part in exact.items()}
    by_rest = sorted(exact, key=lambda arm: (whole[arm] - exact[arm], list(exact).index(arm)))
    for arm in by_rest[: BUCKETS - sum(whole.values())]:
        whole[arm] += 1
    return {arm: share for arm, share in whole.items() if share}


def _costs(table: Table, tranches: tuple[str, ...]) -> tuple[float, ...]:
    costs = table.table("costs")
    found = tuple(float(np.float32(costs.number(name, least=0, most=1e9))) for name in tranches[1:])
    costs.close()
    return found


def parse_payload(table: Table, features: Collection[str] = (), parts: Collection[str] | None = None) -> str:
    """Return the payload of an arm as JSON text, empty for none.

    Args:
        features: names that no text may hold. parts: the keys that it may consist of; any where it is None.

    Raises:
        Malformed: it says what none may, or is no JSON.
    """
    payload = dict(table.mapping("payload")) if table.has("payload") else {}
    check_payload(payload, table, features)
    strange = [key for key in payload if parts is not None and key not in parts]
    if strange:
        raise table.refuse(f"payload.{strange[0]}", "is no part of a payload", "use " + ", ".join(sorted(parts or ())))
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, sort_keys=True) if payload else ""
    except (TypeError, ValueError) as error:
        raise table.refuse("payload", "cannot be written as JSON") from error


def parse_experiment(table: Table, holdout: Bounds = _WHOLE, ramp: Bounds = _EVERYONE) -> Experiment:
    """Return the experiment in a table; shares are written as parts of 1.

    Args:
        holdout, ramp: what they may be, and are where nothing is said.
    """
    grouped = table.has("group")
    ends = table.numbers("slice") if grouped else (0.0, 1.0)
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 1:
        raise table.refuse("slice", "is not two rising parts of 1", "write slice = [0, 0.5]")
    experiment = Experiment(
        id=table.name("id"),
        purpose=table.name("purpose"),
        holdout=round(table.number("holdout", holdout.usual, least=holdout.least, most=holdout.most) * BUCKETS),
        ramp=round(table.number("ramp", ramp.usual, least=ramp.least, most=ramp.most) * BUCKETS),
        daily=table.flag("daily", False),
        group=table.name("group") if grouped else "",
        slice=(round(ends[0] * BUCKETS), round(ends[1] * BUCKETS)),
    )
    table.close()
    return experiment
