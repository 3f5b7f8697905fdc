"""How a list is made: the strategies of a decision that recommends, and what a merchandiser adds to them.

Each arm of such a decision is a strategy. What a rule of the merchandiser does, it does for those whom its condition
matches: a condition is a targeting rule, so that one that reads what is withheld does not match.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from entrenous.recommending.catalogue import LONGEST_ID
from entrenous.targeting import Variable, read_tree
from entrenous_consent.parsing import Table

__all__ = [
    "ACTIONS",
    "MOST_RULES",
    "Merchandising",
    "Recommending",
    "Strategy",
    "parse_lists",
    "parse_recommending",
    "parse_strategy",
]

ACTIONS = ("boost", "bury", "pin")
MOST_RULES = 64
_MOST_NAMED = 256
_MOST_WEIGHT = 100.0
_MOST_FACTOR = 100.0

Tree: TypeAlias = tuple[Any, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One way of making a list.

    Attributes:
        sequence, content, affinity, popular: what each part of the score weighs, see `entrenous.recommending.rank`.
        most: how many items of one value of the attribute that is spread may stand in a list, 0 for no limit.
        rerank: how far a list of the app's own is ranked anew: 0 leaves it as it is, 1 forgets its order.
        margin_floor: per cent; items whose margin is known to be lower are not recommended.
    """

    sequence: float = 0.0
    content: float = 0.0
    affinity: float = 0.0
    popular: float = 0.0
    most: int = 0
    rerank: float = 0.0
    margin_floor: int = 0

    def as_table(self) -> dict[str, Any]:
        """Return plain values; what is nothing is left out."""
        return {key: value for key in self.__slots__ if (value := getattr(self, key))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merchandising:
    """What a merchandiser adds: `pin` puts items first, `boost` multiplies their scores, `bury` puts them last.

    Attributes:
        items: by id; or, where empty, every item whose `attribute` has this `value`.
        factor: of a boost. when: the tree of its condition, None for everyone.
    """

    action: str
    items: tuple[str | int, ...] = ()
    attribute: str = ""
    value: str = ""
    factor: float = 1.0
    when: tuple[Any, ...] | None = None

    def as_table(self) -> dict[str, Any]:
        """Return plain values, as the manifest holds them."""
        table: dict[str, Any] = {"action": self.action}
        table |= {"items": list(self.items)} if self.items else {"attribute": self.attribute, "value": self.value}
        if self.action == "boost":
            table["factor"] = self.factor
        return table | ({"when": self.when} if self.when is not None else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommending:
    """What a decision recommends from, and how.

    Attributes:
        catalogue, successors: names of the bundle's tables; successors may be empty.
        spread: the attribute whose values a list is spread over, empty for none.
        tastes: feature to the attribute that its categories are values of.
        strategies: by arm. merchandising: in the order in which they are applied.
    """

    catalogue: str
    successors: str
    spread: str
    tastes: Mapping[str, str]
    strategies: Mapping[str, Strategy]
    merchandising: tuple[Merchandising, ...] = ()

    @property
    def tables(self) -> frozenset[str]:
        """The names of the tables that this needs."""
        return frozenset({self.catalogue, self.successors} - {""})

    def as_table(self) -> dict[str, Any]:
        """Return plain values, as the manifest holds them."""
        table: dict[str, Any] = {"catalogue": self.catalogue}
        for key, value in (("successors", self.successors), ("spread", self.spread), ("tastes", dict(self.tastes))):
            if value:
                table[key] = value
        table["strategies"] = {arm: strategy.as_table() for arm, strategy in self.strategies.items()}
        if self.merchandising:
            table["merchandising"] = [one.as_table() for one in self.merchandising]
        return table


def parse_recommending(
    table: Table, arms: Collection[str], tables: Collection[str], variables: Mapping[str, Variable]
) -> Recommending:
    """Return what a manifest's table says.

    Args:
        arms: each needs a strategy. tables: the bundle's. variables: what conditions may read.

    Raises:
        Malformed: a table, arm or feature that is not there, or a value out of bounds.
    """
    names = (table.choice("catalogue", tables), table.choice("successors", tables) if table.has("successors") else "")
    recommending = parse_lists(table, names, arms, variables, _tree(variables))
    table.close()
    return recommending


def parse_lists(
    table: Table,
    names: tuple[str, str],
    arms: Collection[str],
    variables: Mapping[str, Variable],
    when: Callable[[Table], Tree],
) -> Recommending:
    """Return what a table says of lists, however it writes conditions down; other keys are left to the caller.

    Args:
        names: of the catalogue and of what follows what. arms: each needs a strategy. variables: what conditions may
            read. when: reads the condition off a rule's table.

    Raises:
        Malformed: an arm or feature that is not there, or a value out of bounds.
    """
    strategies = table.named_tables("strategies")
    if strategies.keys() != set(arms):
        raise table.refuse("strategies", "are not one for each arm", "state each arm's, and no other")
    tastes = table.table("tastes", {})
    recommending = Recommending(
        catalogue=names[0],
        successors=names[1],
        spread=table.name("spread") if table.has("spread") else "",
        tastes={feature: tastes.name(feature) for feature in tastes.keys()},  # noqa: SIM118
        strategies={arm: parse_strategy(entry) for arm, entry in strategies.items()},
        merchandising=tuple(
            _merchandising(entry, when) for entry in table.tables("merchandising", (), longest=MOST_RULES)
        ),
    )
    for feature in recommending.tastes:
        if feature not in variables or not variables[feature].values:
            raise tastes.refuse(feature, "is no feature with a category", "name one of the kinds top, affinity, last …")
    return recommending


def _tree(variables: Mapping[str, Variable]) -> Callable[[Table], Tree]:
    def read(table: Table) -> Tree:
        return read_tree(table.array("when"), variables, place=f"{table.path}.when") if table.has("when") else None

    return read


def parse_strategy(table: Table) -> Strategy:
    """Return a strategy; a training specification writes it the same way."""
    strategy = Strategy(
        sequence=table.number("sequence", 0.0, least=0, most=_MOST_WEIGHT),
        content=table.number("content", 0.0, least=0, most=_MOST_WEIGHT),
        affinity=table.number("affinity", 0.0, least=0, most=_MOST_WEIGHT),
        popular=table.number("popular", 0.0, least=0, most=_MOST_WEIGHT),
        most=table.integer("most", 0, least=0, most=1000),
        rerank=table.number("rerank", 0.0, least=0, most=1),
        margin_floor=table.integer("margin_floor", 0, least=0, most=100),
    )
    table.close()
    return strategy


def _named(table: Table) -> tuple[tuple[str | int, ...], str, str]:
    """Return which items a rule of the merchandiser is about: their ids, or an attribute and its value.

    Raises:
        Malformed: neither, or ids that are none.
    """
    if not table.has("items"):
        return (), table.name("attribute"), table.text("value", longest=200)
    items = table.array("items", longest=_MOST_NAMED)
    for i, item in enumerate(items):
        whole = isinstance(item, int) and not isinstance(item, bool)
        if not whole and not (isinstance(item, str) and 0 < len(item.encode()) <= LONGEST_ID):
            raise table.refuse(f"items[{i}]", f"is no whole number and no text of 1 to {LONGEST_ID} bytes")
    if not items or len(set(items)) != len(items):
        raise table.refuse("items", "is empty or names one twice", "name each item once")
    return tuple(items), "", ""


def _merchandising(table: Table, when: Callable[[Table], Tree]) -> Merchandising:
    action = table.choice("action", ACTIONS)
    items, attribute, value = _named(table)
    if action == "pin" and not items:
        raise table.refuse("items", "is missing", "name the items that are pinned")
    rule = Merchandising(
        action=action,
        items=items,
        attribute=attribute,
        value=value,
        factor=table.number("factor", least=1, most=_MOST_FACTOR) if action == "boost" else 1.0,
        when=when(table),
    )
    table.close()
    return rule
