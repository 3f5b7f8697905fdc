"""A decision as a manifest states it: how it is scored, how a score becomes a tranche, and who gets which arm.

Whatever its kind, a decision is taken in two steps. The *score* puts the visitor into one tranche; the *choice* says
which arms that tranche gets, and in which shares:

===========  ==================  ===================================================================================
kind         margins a pattern   the tranche
===========  ==================  ===================================================================================
propensity   1                   by rising cuts of the margin
promotion    1                   the same; its arms are offers, and no offer
uplift       tranches - 1        of what each action adds, less its cost, the greatest; the first tranche where none is
                                 above 0
situation    tranches            the one whose margin is the greatest; of equals the first
rule         0                   the only one
recommend    0                   the only one; its arms are strategies
===========  ==================  ===================================================================================

A choice of several arms is drawn by chance, under the key of the decision's experiment. *Thompson sampling* is a choice
too: while a bundle's posteriors stand, an arm is drawn with the probability that it is the best one; the exporter works
that out once, and it ships as shares. So the same visitor gets the same arm everywhere, and how likely it was is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from entrenous.decisions.calibration import Calibration, parse_calibration
from entrenous.decisions.offers import Offer, check_offers, parse_offer
from entrenous.decisions.payloads import check_payload
from entrenous.loop.contributions import HOLDOUT
from entrenous.recommending.strategy import Recommending, parse_recommending
from entrenous.targeting import Variable, read_tree
from entrenous_consent.parsing import Table
from entrenous_consent.pseudonyms import BUCKETS

__all__ = [
    "KINDS",
    "MOST_PATTERNS",
    "MOST_TOLERANCE",
    "Arm",
    "Cap",
    "DecisionRule",
    "Experiment",
    "Parts",
    "Pattern",
    "Posterior",
    "check_together",
    "parse_arms",
    "parse_cap",
    "parse_decision",
    "parse_posteriors",
]

KINDS = ("promotion", "propensity", "recommend", "rule", "situation", "uplift")
MOST_PATTERNS = 8
MOST_TOLERANCE = 2.0**-10
_MOST_TRANCHES = 100
_PAYLOAD_LIMIT = 8 << 10
_CUT = ("promotion", "propensity")
_UNSCORED = ("recommend", "rule")

Shares = Mapping[str, int]
"""Arm to its share of 10,000."""
Posterior = tuple[float, float]
"""Mean and standard deviation of what an arm brings a visitor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One possible answer.

    Attributes:
        value: what a flag client receives. payload: JSON text of what the page shows, empty for nothing.
        offer: what it promises, None for nothing.
    """

    value: str | bool | int | float
    payload: str = ""
    offer: Offer | None = None

    def as_table(self) -> dict[str, Any]:
        """Return plain values."""
        table: dict[str, Any] = {"value": self.value, "payload": self.payload}
        return table | {"offer": self.offer.as_table()} if self.offer else table


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One combination of granted feature purposes.

    Attributes:
        column: its place among the patterns: where its margins begin. cuts: of the margin, float32, rising; none where
            the tranche is not read by cuts. calibration: from the margin to log-odds, None where the margin is that.
    """

    purposes: tuple[str, ...]
    column: int
    cuts: tuple[float, ...]
    calibration: Calibration | None = None

    def as_table(self) -> dict[str, Any]:
        """Return plain values."""
        table: dict[str, Any] = {"purposes": list(self.purposes), "column": self.column, "cuts": list(self.cuts)}
        return table | {"calibration": self.calibration.as_table()} if self.calibration else table


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A versioned comparison of arms.

    Only visitors who granted `purpose` take part; the others get the likeliest arm and are not counted.

    Attributes:
        holdout: so many buckets of `BUCKETS` keep the default. ramp: so many of the others take part; the rest get the
            default too, uncounted, until the ramp reaches them.
        daily: the arm is drawn anew every UTC day.
        group: experiments that name the same one keep apart: each takes the visitors of its own `slice` of the group's
            buckets, from the first number up to the second. Empty: it takes everyone.
    """

    id: str
    purpose: str
    holdout: int
    ramp: int = BUCKETS
    daily: bool = False
    group: str = ""
    slice: tuple[int, int] = (0, BUCKETS)

    @property
    def taken(self) -> int:
        """How many buckets take part beside the holdout."""
        return min(self.ramp, BUCKETS - self.holdout)

    def as_table(self) -> dict[str, Any]:
        """Return plain values."""
        table: dict[str, Any] = {"id": self.id, "purpose": self.purpose, "holdout": self.holdout}
        if self.ramp != BUCKETS:
            table["ramp"] = self.ramp
        if self.daily:
            table["daily"] = True
        if self.group:
            table |= {"group": self.group, "slice": list(self.slice)}
        return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most `decisions` answers other than the default arm in `days` UTC days, the current one included.

    Attributes:
        shared: decisions of one purpose that name the same word are counted together. Empty: counted alone.
    """

    decisions: int
    days: int
    shared: str = ""

    def as_table(self) -> dict[str, Any]:
        """Return plain values."""
        table: dict[str, Any] = {"decisions": self.decisions, "days": self.days}
        return table | {"shared": self.shared} if self.shared else table


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRule:
    """How one decision is taken.

    Attributes:
        kind: one of `KINDS`. purpose: what must be granted. model: the model's name, empty where nothing is scored.
        tolerance: how far margins may lie from the model that was trained, relative to the larger of 1 and the margin:
            0 for trees, which agree to the bit everywhere, more for a dense graph.
        tranches: from low to high where there are cuts. costs: of an uplift's actions, float32, in the margin's unit.
        arms: by name. choice: by tranche, the share of each arm that it gets.
        default_arm: the arm of the holdout, and of a visitor who is capped or not eligible.
        posteriors: by tranche, what is known of its arms; shown to whoever asks, and the prior of the next bundle.
        targeting: the rule for who it is for, None for everyone. exclude: the one for who is left out, None for nobody.
        recommending: what its arms make lists of, None for other kinds.
    """

    kind: str
    purpose: str
    model: str
    tolerance: float
    tranches: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    arms: Mapping[str, Arm]
    choice: Mapping[str, Shares]
    default_arm: str
    experiment: Experiment | None
    cap: Cap | None
    costs: tuple[float, ...] = ()
    posteriors: Mapping[str, Mapping[str, Posterior]] | None = None
    targeting: tuple[Any, ...] | None = None
    exclude: tuple[Any, ...] | None = None
    recommending: Recommending | None = None

    @property
    def width(self) -> int:
        """How many margins each pattern has."""
        return width_of(self.kind, len(self.tranches))

    def best(self, tranche: str) -> str:
        """Return the arm of a tranche that has the greatest share; of equals the first."""
        shares = self.choice[tranche]
        return max(shares, key=lambda arm: shares[arm])

    def spoken(self, tranche: str) -> str:
        """Return which arms a tranche gets, as a person reads it."""
        shares = self.choice[tranche]
        if len(shares) == 1:
            return next(iter(shares))
        return ", ".join(f"{arm} {100 * share / BUCKETS:g} %" for arm, share in shares.items())

    def as_table(self) -> dict[str, Any]:
        """Return plain values, as the manifest holds them."""
        table: dict[str, Any] = {"kind": self.kind, "purpose": self.purpose}
        if self.width:
            table |= {"model": self.model, "tolerance": self.tolerance}
        table["tranches"] = list(self.tranches)
        if self.width:
            table["patterns"] = [pattern.as_table() for pattern in self.patterns]
        table["arms"] = {name: arm.as_table() for name, arm in self.arms.items()}
        table["choice"] = {
            tranche: next(iter(shares)) if len(shares) == 1 else dict(shares) for tranche, shares in self.choice.items()
        }
        table["default_arm"] = self.default_arm
        for key, part in (("experiment", self.experiment), ("cap", self.cap)):
            if part is not None:
                table[key] = part.as_table()
        if self.kind == "uplift":
            table["costs"] = list(self.costs)
        if self.posteriors is not None:
            table["posteriors"] = {
                tranche: {arm: list(known) for arm, known in arms.items()} for tranche, arms in self.posteriors.items()
            }
        for key, tree in (("targeting", self.targeting), ("exclude", self.exclude)):
            if tree is not None:
                table[key] = tree
        if self.recommending is not None:
            table["recommending"] = self.recommending.as_table()
        return table


def check_together(decisions: Mapping[str, DecisionRule], table: Table) -> None:
    """Refuse decisions of one bundle that would count in each other's place.

    Raises:
        Malformed: one experiment in two decisions, slices of a group that overlap, or a cap shared under the name of a
            decision.
    """
    seen: dict[str, str] = {}
    slices: dict[str, list[tuple[int, int, str]]] = {}
    for name, rule in decisions.items():
        if rule.cap is not None and rule.cap.shared in decisions:
            remedy = "share it under a word of its own"
            raise table.refuse(f"decisions.{name}.cap.shared", "is the name of a decision", remedy)
        if rule.experiment is None:
            continue
        place, experiment = f"decisions.{name}.experiment", rule.experiment
        if experiment.id in seen:
            what = f"is the experiment of {seen[experiment.id]} too: a visitor would count in one of the two"
            raise table.refuse(f"{place}.id", what, "give each an id of its own")
        seen[experiment.id] = name
        if experiment.group:
            for low, high, other in slices.setdefault(experiment.group, []):
                if max(low, experiment.slice[0]) < min(high, experiment.slice[1]):
                    raise table.refuse(f"{place}.slice", f"overlaps that of {other}", "give each its own visitors")
            slices[experiment.group].append((*experiment.slice, name))


def width_of(kind: str, tranches: int) -> int:
    """Return how many margins each pattern of a decision has."""
    return {"recommend": 0, "rule": 0, "situation": tranches, "uplift": tranches - 1}.get(kind, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a decision may refer to.

    Attributes:
        purposes: of the features. models, tables: their names. variables: what rules may read.
    """

    purposes: frozenset[str]
    models: frozenset[str]
    tables: frozenset[str]
    variables: Mapping[str, Variable]


def parse_decision(table: Table, parts: Parts) -> DecisionRule:
    """Return the decision in a manifest's table.

    Raises:
        Malformed: a key that the kind does not have, a value out of bounds, or parts that contradict each other.
    """
    kind, variables = table.choice("kind", KINDS), parts.variables
    tranches = table.names("tranches", longest=_MOST_TRANCHES)
    if not tranches or (kind in _UNSCORED and len(tranches) > 1) or (kind == "uplift" and len(tranches) < 2):
        raise table.refuse("tranches", f"is not what {kind} needs", "rule and recommend have one, uplift two or more")
    scored = width_of(kind, len(tranches)) > 0
    arms = parse_arms(table, lambda entry: _read_payload(entry, variables))
    experiment = _experiment(table.table("experiment")) if table.has("experiment") else None
    rule = DecisionRule(
        kind=kind,
        purpose=table.name("purpose"),
        model=table.choice("model", parts.models) if scored else "",
        tolerance=table.number("tolerance", least=0, most=MOST_TOLERANCE) if scored else 0.0,
        tranches=tranches,
        patterns=_patterns(table, len(tranches) - 1 if kind in _CUT else None, parts.purposes) if scored else (),
        arms=arms,
        choice=_choice(table, tranches, arms, drawn=experiment is not None),
        default_arm=table.choice("default_arm", arms),
        experiment=experiment,
        cap=parse_cap(table.table("cap")) if table.has("cap") else None,
        costs=_costs(table, len(tranches) - 1) if kind == "uplift" else (),
        posteriors=parse_posteriors(table, tranches, arms) if table.has("posteriors") else None,
        targeting=_rule(table, "targeting", variables),
        exclude=_rule(table, "exclude", variables),
        recommending=parse_recommending(table.table("recommending"), arms, parts.tables, variables)
        if kind == "recommend"
        else None,
    )
    if kind == "promotion":
        check_offers({name: arm.offer for name, arm in arms.items()}, rule.default_arm, table)
    elif any(arm.offer for arm in arms.values()):
        raise table.refuse("arms", f"promise something, which {kind} can't", "declare it as a promotion")
    table.close()
    return rule


def parse_arms(
    table: Table, payload: Callable[[Table], str], more: Callable[[str, Table], None] | None = None
) -> dict[str, Arm]:
    """Return the arms by name.

    Args:
        payload: reads the payload's JSON text off an arm's table. more: reads what else a document says of an arm.
    """
    arms = {}
    for name, entry in table.named_tables("arms").items():
        value = entry.scalar("value") if entry.has("value") else name
        offer = parse_offer(entry.table("offer")) if entry.has("offer") else None
        arms[name] = Arm(value=value, payload=payload(entry), offer=offer)
        if more is not None:
            more(name, entry)
        entry.close()
    if not arms or HOLDOUT in arms:
        raise table.refuse("arms", f"is empty, or one is called {HOLDOUT}", "name at least one, by another name")
    return arms


def _read_payload(table: Table, features: Collection[str]) -> str:
    payload = table.text("payload", longest=_PAYLOAD_LIMIT, empty=True)
    if payload:
        try:
            parsed = json.loads(payload, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise table.refuse("payload", "is not JSON") from error
        check_payload(parsed, table, features)
    return payload


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _patterns(table: Table, cuts: int | None, purposes: frozenset[str]) -> tuple[Pattern, ...]:
    patterns = tuple(
        _pattern(entry, i, cuts, purposes) for i, entry in enumerate(table.tables("patterns", longest=MOST_PATTERNS))
    )
    if not patterns or len({pattern.purposes for pattern in patterns}) != len(patterns):
        raise table.refuse("patterns", "is empty or names one twice", f"declare 1 to {MOST_PATTERNS} different ones")
    return patterns


def _pattern(table: Table, column: int, count: int | None, known: frozenset[str]) -> Pattern:
    purposes = table.names("purposes")
    if list(purposes) != sorted(purposes) or not known.issuperset(purposes):
        raise table.refuse("purposes", "is not a sorted list of the features' purposes")
    cuts = table.numbers("cuts")
    if len(cuts) != (count or 0) or any(a >= b for a, b in pairwise(cuts)):
        raise table.refuse("cuts", f"is not {count or 0} rising numbers")
    _single(table, "cuts", cuts)
    if table.integer("column", least=0, most=MOST_PATTERNS - 1) != column:
        raise table.refuse("column", "is not the pattern's position")
    calibrated = count is not None and table.has("calibration")
    calibration = parse_calibration(table.table("calibration")) if calibrated else None
    table.close()
    return Pattern(purposes=purposes, column=column, cuts=cuts, calibration=calibration)


def _single(table: Table, key: str, values: tuple[float, ...]) -> None:
    if any(float(np.float32(value)) != value for value in values):
        raise table.refuse(key, "is not float32", f"round the {key} to float32")


def _costs(table: Table, count: int) -> tuple[float, ...]:
    costs = table.numbers("costs")
    if len(costs) != count:
        raise table.refuse("costs", f"is not {count} numbers, one for each tranche but the first")
    _single(table, "costs", costs)
    return costs


def _choice(table: Table, tranches: tuple[str, ...], arms: Mapping[str, Arm], *, drawn: bool) -> dict[str, Shares]:
    entries = table.table("choice")
    choice: dict[str, Shares] = {}
    for tranche in tranches:
        if entries.is_text(tranche):
            choice[tranche] = {entries.choice(tranche, arms): BUCKETS}
            continue
        shares = entries.table(tranche)
        found = {arm: shares.integer(arm, least=1, most=BUCKETS) for arm in shares.keys()}  # noqa: SIM118
        if len(found) < 2 or not found.keys() <= arms.keys() or sum(found.values()) != BUCKETS:
            raise entries.refuse(tranche, f"is neither an arm nor shares of arms that add up to {BUCKETS}")
        if not drawn:
            raise entries.refuse(tranche, "draws an arm without an experiment", "declare the experiment")
        choice[tranche] = found
    entries.close()
    return choice


def parse_posteriors(
    table: Table, tranches: tuple[str, ...], arms: Mapping[str, Arm]
) -> dict[str, Mapping[str, Posterior]]:
    """Return what is known of arms, by tranche; a manifest and a specification write it the same way."""
    known: dict[str, Mapping[str, Posterior]] = {}
    outer = table.table("posteriors")
    for tranche in outer.keys():  # noqa: SIM118
        entry = outer.table(tranche)
        found: dict[str, Posterior] = {}
        for arm in entry.keys():  # noqa: SIM118
            pair = entry.numbers(arm)
            if tranche not in tranches or arm not in arms or len(pair) != 2 or not pair[1] > 0:
                raise entry.refuse(arm, "is not a mean and a deviation above 0 of an arm of this decision")
            found[arm] = (pair[0], pair[1])
        known[tranche] = found
    return known


def _rule(table: Table, key: str, variables: Mapping[str, Variable]) -> tuple[Any, ...] | None:
    if not table.has(key):
        return None
    return read_tree(table.array(key), variables, place=f"{table.path}.{key}")


def _experiment(table: Table) -> Experiment:
    grouped = table.has("group")
    low, high = (0, BUCKETS)
    if grouped:
        ends = table.integers("slice", least=0, most=BUCKETS)
        if len(ends) != 2 or ends[0] >= ends[1]:
            raise table.refuse("slice", "is not two rising numbers", "say where it begins and ends")
        low, high = ends
    experiment = Experiment(
        id=table.name("id"),
        purpose=table.name("purpose"),
        holdout=table.integer("holdout", least=0, most=BUCKETS),
        ramp=table.integer("ramp", BUCKETS, least=0, most=BUCKETS),
        daily=table.flag("daily", False),
        group=table.name("group") if grouped else "",
        slice=(low, high),
    )
    table.close()
    return experiment


def parse_cap(table: Table) -> Cap:
    """Return the frequency cap in `table`; a training specification writes it the same way."""
    cap = Cap(
        decisions=table.integer("decisions", least=1, most=10_000),
        days=table.integer("days", least=1, most=366),
        shared=table.name("shared", ""),
    )
    table.close()
    return cap
