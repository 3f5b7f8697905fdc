"""What a campaign will run into, said before it ships: warnings with figures; what contradicts itself is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from entrenous.decisions.form import Arm
from entrenous.markers import catalogue
from entrenous_consent.pseudonyms import BUCKETS
from entrenous_exporters.campaigns.form import Campaign

__all__ = ["Warned", "warnings_of"]

_FEWEST_HELD = 500
"""Basis points: a smaller holdout needs a long time to show anything."""
_CROWDED = 4
"""Arms beyond this many, times the tranches, leave each too few visitors for most shops."""
_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """One warning: where in the file, what, and what to do."""

    place: str
    what: str
    remedy: str


def warnings_of(campaign: Campaign, now: int) -> Iterator[Warned]:
    """Yield what is to be considered.

    Args:
        now: Unix seconds.
    """
    yield from _comparison(campaign)
    yield from _money(campaign)
    if campaign.until and campaign.until <= now:
        yield Warned(place="schedule.until", what="has passed: nobody would be eligible", remedy="let it last")
    for name, arm in campaign.arms.items():
        yield from _revealing(name, arm)


def _comparison(campaign: Campaign) -> Iterator[Warned]:
    experiment, arms = campaign.experiment, len(campaign.arms)
    if experiment.holdout < _FEWEST_HELD:
        what = f"holds out {experiment.holdout / 100:g} %: every arm is compared with these few"
        yield Warned(place="experiment.holdout", what=what, remedy="hold out a tenth")
    share = experiment.taken / arms
    if campaign.phase == "test" and share < experiment.holdout / 4:
        held = f"the holdout {experiment.holdout / 100:g} %"
        what = f"gives each of {arms} arms {share / 100:.2g} % of the visitors, and {held}"
        yield Warned(place="experiment.ramp", what=what, remedy="test fewer arms, or ramp up")
    if arms > _CROWDED:
        what = f"are {arms}, in {len(campaign.tranches)} tranches each: {arms * len(campaign.tranches)} cells to fill"
        yield Warned(place="arms", what=what, remedy="test fewer at a time")
    if campaign.default_arm in campaign.arms and arms == 1:
        yield Warned(place="arms", what="are the default alone: there is nothing to compare", remedy="add an arm")


def _money(campaign: Campaign) -> Iterator[Warned]:
    if campaign.metric != "margin" and campaign.money is None:
        return
    for name in campaign.arms:
        if name != campaign.default_arm and name not in campaign.costs and not campaign.arms[name].offer:
            yield Warned(
                place=f"arms.{name}", what="says no cost, so it is taken for free", remedy="state cost = 0 if so"
            )
    usual = campaign.money.order_value if campaign.money else 0
    for name, arm in campaign.arms.items():
        if arm.offer and usual and arm.offer.threshold <= usual:
            what = f"takes {arm.offer.amount:,} off from {arm.offer.threshold:,}, and a usual order is {usual:,}"
            remedy = "ask for more than is bought anyway"
            yield Warned(place=f"arms.{name}.offer.threshold", what=what, remedy=remedy)
    generous = [_generosity(campaign, tranche) for tranche in campaign.tranches]
    for i in range(1, len(generous)):
        if generous[i] > generous[i - 1] + 1e-9:
            what = (
                f"gives {campaign.tranches[i]} more ({generous[i]:.1%} of the smallest order) than "
                f"{campaign.tranches[i - 1]} ({generous[i - 1]:.1%}), who are less likely to buy anyway"
            )
            yield Warned(place="choice", what=what, remedy="be less generous where the purchase is likely")
            return


def _generosity(campaign: Campaign, tranche: str) -> float:
    """Return the expected part of its smallest order that a tranche is given."""
    return sum(
        share / BUCKETS * (offer.amount / offer.threshold)
        for arm, share in campaign.choice[tranche].items()
        if (offer := campaign.arms[arm].offer) is not None
    )


def _revealing(name: str, arm: Arm) -> Iterator[Warned]:
    """Yield where a payload says in words what a marker of the catalogue says."""
    texts = list(_texts(json.loads(arm.payload))) if arm.payload else []
    for marker in catalogue():
        for words in marker.words.values():
            if len(words) > 12 and any(words.lower() in text.lower() for text in texts):
                what = f"says “{words}”, which is what is kept about visitors"
                yield Warned(place=f"arms.{name}.payload", what=what, remedy="say what is offered, not why")
                return


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
