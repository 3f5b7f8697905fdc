"""A small catalogue, and the packaged bundle with a decision that recommends from it, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.decisions.form import Arm, DecisionRule
from entrenous.features import Feature
from entrenous.recommending.catalogue import Catalogue, ItemAttribute
from entrenous.recommending.item_table import ItemTable, Mixing
from entrenous.recommending.strategy import Merchandising, Recommending, Strategy
from entrenous.targeting import Supplied
from entrenous_exporters.recommend import Visits, learn_items
from tests.shop import Shop

CATEGORIES = ("bags", "sandals", "slippers")
ITEMS = {
    "atlas": ("bags", "red"),
    "bench": ("sandals", "green"),
    "clogs": ("slippers", "green"),
    "diary": ("bags", "green"),
    "felt": ("slippers", "red"),
    "hose": ("sandals", "green"),
    "mules": ("slippers", "green"),
    "novel": ("bags", "red"),
}
"""Category and colour; `diary` and `mules` are cold."""
POPULAR = ("novel", "felt", "bench", "atlas", "clogs", "hose")
VISITS = [["atlas", "novel"], ["clogs", "felt"], ["clogs", "felt"], ["clogs", "bench"]]


def catalogue(**changes: Any) -> Catalogue:
    ids = sorted(ITEMS)
    colours = ("green", "red")
    given: dict[str, Any] = {
        "ids": ids,
        "integers": False,
        "attributes": [
            ItemAttribute(
                name="category", values=CATEGORIES, codes=[CATEGORIES.index(ITEMS[one][0]) + 1 for one in ids]
            ),
            ItemAttribute(name="colour", values=colours, codes=[colours.index(ITEMS[one][1]) + 1 for one in ids]),
        ],
        "popular": [ids.index(one) for one in POPULAR],
        "regions": {"north": [ids.index("hose"), ids.index("clogs")]},
    }
    return Catalogue(**given | changes)


def successors() -> ItemTable:
    ids = sorted(ITEMS)
    visits = Visits.of([[ids.index(one) for one in visit] for visit in VISITS], len(ids))
    return learn_items(visits, k=1, mixing=Mixing(fading=0.5, own=0.0))


def deciding(shop: Shop, *merchandising: Merchandising, **strategies: Strategy) -> DecisionRule:
    """Return a decision whose first strategy everyone gets, and whose last is the default."""
    like = read_bundle(shop.bundle.read_bytes()).manifest.decisions["promotion"]
    names = list(strategies)
    return replace(
        like,
        kind="recommend",
        model="",
        patterns=(),
        tranches=("everyone",),
        arms={name: Arm(value=name) for name in names},
        choice={"everyone": {names[0]: 10_000}},
        default_arm=names[-1],
        cap=None,
        experiment=None,
        recommending=Recommending(
            catalogue="shop",
            successors="next",
            spread="category",
            tastes={"visit_taste_30d": "category"},
            strategies=strategies,
            merchandising=merchandising,
        ),
    )


def stock(
    shop: Shop, rule: DecisionRule, *, context: tuple[Supplied, ...] = (), features: tuple[Feature, ...] = ()
) -> None:
    """Put the decision `home_list` into the shop's draft, with its tables, instead of its own decisions.

    Args:
        context: that rules read. features: beside the draft's own.
    """
    read = read_bundle(shop.bundle.read_bytes())
    schema = (*read.manifest.features, *features)
    manifest = replace(read.manifest, decisions={"home_list": rule}, context=context, features=schema)
    tables = {"shop": catalogue().encode(), "next": successors().encode()}
    shop.bundle.write_bytes(encode_bundle(manifest, {}, tables))
