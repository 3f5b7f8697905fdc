"""A proposal: what the next manifest of a decision might say, and why. It changes nothing; a person reads and signs it.

A decision that makes no offers gets each arm as often as the arm is likely to be the best (`shares`), never less than
the floor. One that makes offers is tested, then run, within its guards (`promotions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt

from entrenous.loop.contributions import HOLDOUT
from entrenous_consent.errors import Malformed
from entrenous_consent.pseudonyms import BUCKETS
from entrenous_evaluation.answer import Cost, Costs
from entrenous_evaluation.learning.metrics import Cells, Metric, measure, merged
from entrenous_evaluation.learning.posteriors import Learnt, Memory, learn
from entrenous_evaluation.learning.promotions import (
    Bill,
    Couple,
    Guards,
    Plan,
    Trial,
    allowed,
    kinship_of,
    plan,
    within_budget,
)
from entrenous_evaluation.learning.shares import Posterior, best_probabilities, shares_of
from entrenous_evaluation.learning.wording import Change, Words
from entrenous_evaluation.statistics import Sums, Unknown, mean
from entrenous_evaluation.statistics.quantiles import critical

__all__ = ["Decision", "Proposal", "Settings", "bills_of", "propose"]

_HIDDEN = 100
"""Visitors that a cell is taken for which does not show, where offers are paid for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision as the manifest in force states it.

    Attributes:
        tranches: from the least likely to buy to the most, where they are that. choice: by tranche, the share of each
            arm, of 10,000. posteriors: by tranche, then arm; empty where all rounds of reports are at hand. parents: of
            the tranches that have one. couples: of the arms that make an offer.

    Raises:
        Malformed: parts that contradict each other.
    """

    name: str
    tranches: tuple[str, ...]
    arms: tuple[str, ...]
    default_arm: str
    choice: Mapping[str, Mapping[str, int]]
    posteriors: Mapping[str, Mapping[str, Posterior]]
    parents: Mapping[str, str]
    couples: Mapping[str, Couple]

    def __post_init__(self) -> None:
        if self.default_arm not in self.arms or not self.couples.keys() <= set(self.arms) - {self.default_arm}:
            raise _wrong("arms", "lack the default, or it makes an offer", "declare it as an arm that offers nothing")
        for tranche, parent in self.parents.items():
            line = [tranche]
            while line[-1] in self.parents and len(line) <= len(self.tranches):
                line.append(self.parents[line[-1]])
            if not {tranche, parent} <= set(self.tranches) or len(line) > len(self.tranches):
                raise _wrong("parents", "name what is no tranche, or go in a circle", "let each lead to one without")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to learn.

    Attributes:
        metric: what arms are judged by. forgetting: see `posteriors.Memory`. floor: the least share of every arm that
            may be shown, of 10,000: what keeps learning possible. guards: of offers. currency: of amounts in words.

    Raises:
        Malformed: a number out of bounds.
    """

    metric: Metric
    guards: Guards
    forgetting: float = 1.0
    floor: int = 200
    currency: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.forgetting <= 1:
            raise _wrong("forgetting", "is not above 0 and at most 1", "write 1 for nothing forgotten")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What to change.

    Attributes:
        choice, posteriors: of the next manifest, every tranche. plan: of a promotion, None of others.
        changes: of tranches whose choice would be another. notes: what else there is to know, a text by language each.
    """

    decision: str
    choice: Mapping[str, Mapping[str, int]]
    posteriors: Mapping[str, Mapping[str, Posterior]]
    plan: Plan | None
    changes: tuple[Change, ...]
    notes: tuple[Mapping[str, str], ...]


def propose(decision: Decision, rounds: Sequence[Cells], settings: Settings) -> Proposal:
    """Return what the reports suggest.

    Args:
        rounds: oldest first; by tranche and arm (or `HOLDOUT`, which had the default arm). Those that the decision's
            posteriors were learnt from are left out.

    Raises:
        Malformed: offers are judged by anything but their margin, or the floor leaves no room.
    """
    if decision.couples and settings.metric.name != "margin":
        raise _wrong("metric", "judges offers without their cost", 'use "margin"')
    arms = _ordered(decision)
    bills = bills_of(decision, rounds, settings)
    settings = replace(settings, metric=_priced(settings, decision.couples))
    words = Words(settings.metric.name, settings.currency)
    cells = [_known(one, decision) for one in rounds]
    measured = measure(cells, settings.metric)
    if isinstance(measured, Unknown):
        return _within_guards(decision, bills, settings, words, measured)
    kinship = kinship_of(arms, decision.couples) if decision.couples else None
    memory = Memory(prior=decision.posteriors, forgetting=settings.forgetting, kinship=kinship)
    learnt = learn(measured, decision.tranches, arms, decision.parents, memory)
    best = {tranche: best_probabilities(learnt.posteriors[tranche]) for tranche in decision.tranches}
    if decision.couples:
        trials = {
            tranche: Trial(effects=learnt.effects[tranche], level=learnt.posteriors[tranche][arms[0]][0], bill=bill)
            for tranche, bill in bills.items()
        }
        found = plan(arms, trials, decision.couples, settings.guards, settings.floor)
        choice, notes = found.choice, tuple(words.notes(decision.couples, found))
    else:
        found, notes = None, ()
        choice = {
            tranche: {arm: share for arm, share in shares_of(likely, settings.floor).items() if share}
            for tranche, likely in best.items()
        }
    return Proposal(
        decision=decision.name,
        choice=choice,
        posteriors=learnt.posteriors,
        plan=found,
        changes=tuple(
            _changes(decision, choice, learnt, best, words) if found is None else _offered(decision, found, words)
        ),
        notes=notes,
    )


def _changes(
    decision: Decision,
    choice: Mapping[str, Mapping[str, int]],
    learnt: Learnt,
    likely: Mapping[str, Mapping[str, float]],
    words: Words,
) -> Iterator[Change]:
    """Yield what changes where arms are shown as often as they are likely to be the best."""
    arms = _ordered(decision)
    for tranche, before, after in _different(decision, choice):
        best = max(likely[tranche], key=lambda arm: likely[tranche][arm])
        over = learnt.effects[tranche].difference(arms.index(best), 0)
        parent = "" if learnt.measured[tranche] else decision.parents.get(tranche, "-")
        why = words.of_arm(best, likely[tranche][best], decision.default_arm, over, parent)
        yield Change(tranche=tranche, before=before, after=after, why=why)


def _offered(decision: Decision, found: Plan, words: Words) -> Iterator[Change]:
    """Yield what changes of a promotion."""
    for tranche, before, after in _different(decision, found.choice):
        why = words.of_offer(tranche, decision.couples.get(found.best[tranche]), found)
        yield Change(tranche=tranche, before=before, after=after, why=why)


def _different(
    decision: Decision, choice: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[str, Mapping[str, int], Mapping[str, int]]]:
    for tranche, after in choice.items():
        before = decision.choice.get(tranche) or {decision.default_arm: BUCKETS}
        if dict(before) != dict(after):
            yield tranche, before, after


def _ordered(decision: Decision) -> tuple[str, ...]:
    """Return the arms, the default first."""
    return (decision.default_arm, *(arm for arm in decision.arms if arm != decision.default_arm))


def _known(cells: Cells, decision: Decision) -> dict[tuple[str, str], Sums]:
    """Return the cells of this decision, the holdout with those who got the default arm by choice."""
    found: dict[tuple[str, str], Sums] = {}
    for (tranche, arm), sums in cells.items():
        key = tranche, decision.default_arm if arm == HOLDOUT else arm
        if tranche in decision.tranches and key[1] in decision.arms:
            found[key] = found[key] + sums if key in found else sums
    return found


def _priced(settings: Settings, couples: Mapping[str, Couple]) -> Metric:
    """Return the metric, an offer that nobody priced at its full amount for every order."""
    costs = settings.metric.costs
    offers = {arm: Cost(per_order=float(couple.amount)) for arm, couple in couples.items()}
    arms = {**offers, **costs.arms}
    return replace(settings.metric, costs=Costs(gross_margin=costs.gross_margin, arms=arms))


def bills_of(decision: Decision, rounds: Sequence[Cells], settings: Settings) -> dict[str, Bill]:
    """Return what each tranche may cost: as many visitors as in the last round, at the upper end of what is known.

    A cell that does not show is taken for a hundred visitors, and an arm whose orders are not known for as many orders
    a visitor as the guards grant.
    """
    arms, metric = _ordered(decision), _priced(settings, decision.couples)
    cells = [_known(one, decision) for one in rounds]
    z = critical(settings.guards.confidence)
    last = cells[-1] if cells else {}
    bills = {}
    for tranche in decision.tranches:
        counts = [last.get((tranche, arm)) for arm in arms]
        most = [_HIDDEN if one is None else max(one.visitors + z * sqrt(one.noise.visitors), 0.0) for one in counts]
        costs = {}
        for arm in arms:
            of_arm = merged(one[tranche, arm] for one in cells if (tranche, arm) in one)
            rate = mean(of_arm, "orders") if of_arm else None
            orders = settings.guards.most_orders
            if rate is not None and not isinstance(rate, Unknown):
                orders = min(max(rate.value + z * sqrt(rate.variance), 0.0), orders)
            costs[arm] = metric.per_visitor(arm) + metric.per_order(arm) * orders
        bills[tranche] = Bill(visitors=sum(most), costs=costs)
    return bills


def _within_guards(
    decision: Decision, bills: Mapping[str, Bill], settings: Settings, words: Words, unknown: Unknown
) -> Proposal:
    """Return the proposal where nothing was measured: what serves, less what the guards forbid."""
    fit = {*decision.arms} - {*decision.couples} | {*allowed(decision.couples, settings.guards)}
    default = decision.default_arm
    choice: dict[str, Mapping[str, int]] = {}
    for tranche in decision.tranches:
        kept = {arm: share for arm, share in decision.choice.get(tranche, {}).items() if arm in fit and arm != default}
        shares = {default: BUCKETS - sum(kept.values())} | kept
        choice[tranche] = {arm: share for arm, share in shares.items() if share}
    choice, _ = within_budget(choice, bills, dict.fromkeys(choice, 0.0), default, settings.guards.budget)
    return Proposal(
        decision=decision.name,
        choice=choice,
        posteriors=decision.posteriors,
        plan=None,
        changes=tuple(
            Change(tranche=tranche, before=before, after=after, why=words.taken_back())
            for tranche, before, after in _different(decision, choice)
        ),
        notes=(words.nothing(unknown),),
    )


def _wrong(place: str, what: str, remedy: str) -> Malformed:
    return Malformed(what, place=place, remedy=remedy)
