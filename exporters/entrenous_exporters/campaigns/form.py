"""The campaign file: TOML that says what is aimed at, for whom, with what, for how long, and at what cost at most.

Parsed once, every unknown key refused; an error says in which line. `docs/formats.md` describes it,
`docs/merchandiser.md` tells how it is written.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from entrenous.decisions.form import Arm, Cap, Experiment, parse_arms, parse_cap
from entrenous.decisions.offers import check_offers
from entrenous.targeting import LONGEST_RULE
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table
from entrenous_exporters.campaigns.lines import line_of
from entrenous_exporters.deciding import Bounds, parse_experiment, parse_payload, parse_shares, shares_of

__all__ = [
    "LEAST_HOLDOUT",
    "METRICS",
    "OBJECTIVES",
    "Campaign",
    "Money",
    "at_its_line",
    "parse_campaign",
    "read_campaign",
]

OBJECTIVES = ("convert", "reactivate", "recruit", "retain")
METRICS = ("conversion", "margin", "revenue_per_visitor")
LEAST_HOLDOUT = 0.01
"""Without anybody held out, nobody can say what a campaign did."""
_LIMIT = 1 << 18
_RAMP = 0.1
_PARTS = ("content", "filters", "order", "overlay")
"""What a payload may consist of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What a campaign may cost, in minor units.

    Attributes:
        gross_margin: what is left of revenue before arms cost anything. minimum_margin: of an order, the part that must
            be left after an offer. order_value: of a usual order. budget: for all visitors together, 0 for none stated.
    """

    currency: str
    gross_margin: float
    minimum_margin: float
    order_value: int
    budget: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign as it was written.

    Attributes:
        objective: one of `OBJECTIVES`. metric: one of `METRICS`, by which it is judged.
        score: the decision of the bundle whose score it uses, empty for none. tranches, shares: how that is cut.
        targeting, exclude: in CEL; empty for everyone and for nobody.
        start, until: Unix seconds; 0 for open.
        phase: `test`: every arm is drawn alike; `run`: `choice` says which arms a tranche gets.
        choice: by tranche, the shares of its arms. costs: by arm, minor units for each visitor it is meant for.
        stop_below: ends the campaign where an arm loses so much of the metric, as a part of the holdout's; 0 for never.
    """

    name: str
    objective: str
    metric: str
    purpose: str
    score: str
    tranches: tuple[str, ...]
    shares: tuple[float, ...]
    targeting: str
    exclude: str
    start: int
    until: int
    phase: str
    arms: Mapping[str, Arm]
    default_arm: str
    choice: Mapping[str, Mapping[str, int]]
    costs: Mapping[str, float]
    experiment: Experiment
    cap: Cap | None
    money: Money | None
    stop_below: float

    @property
    def kind(self) -> str:
        """The kind of decision that it becomes."""
        if not self.score:
            return "rule"
        return "promotion" if any(arm.offer for arm in self.arms.values()) else "propensity"


def read_campaign(path: Path) -> Campaign:
    """Return the campaign in the file at `path`.

    Raises:
        Missing: there is no such file. Malformed: as `parse_campaign`.
    """
    if not path.is_file():
        raise Missing("is not there", place=str(path), remedy="check the path")
    return parse_campaign(path.read_bytes(), place=path.name)


def parse_campaign(data: bytes, *, place: str = "campaign") -> Campaign:
    """Return the campaign that `data` (UTF-8 TOML) writes down.

    Raises:
        Malformed: with the line: not TOML, no objective, an unknown key, a value out of bounds, an offer or a payload
            that none may make, parts that contradict each other.
    """
    if len(data) > _LIMIT:
        raise Malformed(f"is longer than {_LIMIT} bytes", place=place)
    try:
        text = data.decode()
        top = Table(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML in UTF-8 ({error})", place=place, remedy="mend that line") from error
    try:
        return _parse(top)
    except Malformed as error:
        raise at_its_line(error, text, place) from error


def at_its_line(error: Malformed, text: str, place: str) -> Malformed:
    """Return an error of a campaign with the line that it is about.

    Args:
        text: the file. place: its name.
    """
    inner = error.place.removeprefix(f"{place}: ")
    where = f"{place}:{line_of(text, inner.partition(':')[0])}: {inner}"
    return Malformed(error.what, place=where, remedy=error.remedy)


def _parse(top: Table) -> Campaign:
    top.integer("format", least=1, most=1)
    objective = top.choice("objective", OBJECTIVES)
    score = top.name("score", "")
    tranches, shares = _tranches(top) if score else (("everyone",), ())
    arms, costs = _arms(top)
    default_arm = top.choice("default_arm", arms)
    start, until = _schedule(top.table("schedule")) if top.has("schedule") else (0, 0)
    phase = top.choice("phase", ("run", "test"), "test")
    campaign = Campaign(
        name=top.name("name"),
        objective=objective,
        metric=top.choice("metric", METRICS),
        purpose=top.name("purpose"),
        score=score,
        tranches=tranches,
        shares=shares,
        targeting=top.text("targeting", "", longest=LONGEST_RULE),
        exclude=top.text("exclude", "", longest=LONGEST_RULE),
        start=start,
        until=until,
        phase=phase,
        arms=arms,
        default_arm=default_arm,
        choice=_choice(top, tranches, arms, phase),
        costs=costs,
        experiment=parse_experiment(
            top.table("experiment"),
            holdout=Bounds(0.1, LEAST_HOLDOUT, 0.9),
            ramp=Bounds(_RAMP if phase == "test" else 1.0, 0.001, 1.0),
        ),
        cap=parse_cap(top.table("cap")) if top.has("cap") else None,
        money=_money(top.table("money")) if top.has("money") else None,
        stop_below=top.number("stop_below", 0.0, least=0, most=1),
    )
    top.close()
    _check(campaign, top)
    return campaign


def _check(campaign: Campaign, top: Table) -> None:
    """Refuse what contradicts itself, and what no learning may override."""
    made = {name: arm.offer for name, arm in campaign.arms.items() if arm.offer}
    if campaign.metric == "margin" and campaign.money is None:
        raise top.refuse("money", "is missing, and margin is the metric", "state what is left of revenue")
    if not made:
        return
    if not campaign.score:
        raise top.refuse("score", "is missing, and an offer is made", "name the decision whose score says how likely")
    if campaign.money is None:
        raise top.refuse("money", "is missing, and an offer is made", "state gross_margin and minimum_margin")
    check_offers({name: arm.offer for name, arm in campaign.arms.items()}, campaign.default_arm, top)
    for name, offer in made.items():
        if offer.currency != campaign.money.currency:
            raise top.refuse(f"arms.{name}.offer.currency", f"is not {campaign.money.currency}", "use one currency")
        left = campaign.money.gross_margin - offer.amount / offer.threshold
        if left < campaign.money.minimum_margin:
            what = f"leaves {left:.1%} of the smallest order, under the minimum of {campaign.money.minimum_margin:.1%}"
            raise top.refuse(f"arms.{name}.offer.amount", what, "take less off, or from a larger order")


def _tranches(top: Table) -> tuple[tuple[str, ...], tuple[float, ...]]:
    tranches = top.names("tranches", ("cold", "warm", "hot"), longest=100)
    shares = top.numbers("shares", (0.4, 0.4, 0.2))
    if len(shares) != len(tranches) or not shares or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise top.refuse("shares", "is not one positive share for each tranche, adding up to 1")
    return tranches, shares


def _arms(top: Table) -> tuple[dict[str, Arm], dict[str, float]]:
    costs: dict[str, float] = {}

    def cost(name: str, entry: Table) -> None:
        if entry.has("cost"):
            costs[name] = entry.number("cost", least=0, most=1e9)

    return parse_arms(top, lambda entry: parse_payload(entry, parts=_PARTS), cost), costs


def _schedule(table: Table) -> tuple[int, int]:
    start = table.moment("start") if table.has("start") else 0
    until = table.moment("until") if table.has("until") else 0
    table.close()
    if until and until <= start:
        raise table.refuse("until", "is not after start", "let it last")
    return start, until


def _choice(top: Table, tranches: tuple[str, ...], arms: Mapping[str, Arm], phase: str) -> dict[str, Mapping[str, int]]:
    if phase == "test":
        if top.has("choice"):
            raise top.refuse(
                "choice", "is made before the test has said anything", 'leave it out, or say phase = "run"'
            )
        return {tranche: shares_of({arm: 1 / len(arms) for arm in arms}) for tranche in tranches}
    entries = top.table("choice")
    choice: dict[str, Mapping[str, int]] = {}
    for tranche in tranches:
        choice[tranche] = parse_shares(entries, tranche, arms)
    entries.close()
    return choice


def _money(table: Table) -> Money:
    money = Money(
        currency=table.text("currency", longest=3),
        gross_margin=table.number("gross_margin", least=0.001, most=1),
        minimum_margin=table.number("minimum_margin", 0.0, least=0, most=1),
        order_value=table.integer("order_value", 0, least=0, most=10**9),
        budget=table.integer("budget", 0, least=0, most=10**12),
    )
    table.close()
    return money
