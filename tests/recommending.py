"""A small catalogue, and the packaged bundle with a decision that recommends from it, for tests."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
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


SPEC = """
format = 1
name = "demo_promotions"
version = 2
lifetime_days = 30

[data]
looks = "looks.csv"
catalogue = "items.csv"
visitor = "visitor"
region = "region"
attributes = ["category", "colour"]
margin = "margin"

[recommend]
k = 5

[[features]]
name = "visit_taste_30d"
kind = "top"
event = "view_item"
field = "category"
values = ["slippers", "sandals", "bags"]
window = 30
purpose = "personalize"
category = "user.behavior.browsing_history"
source = "first_party"
retention_days = 30

[decision]
kind = "recommend"
name = "home_list"
purpose = "personalize"
default_arm = "best_sellers"
spread = "category"

[decision.choice]
everyone = "smart"

[decision.arms.smart]
[decision.arms.best_sellers]

[decision.strategies.smart]
sequence = 1.0
affinity = 0.3
most = 4

[decision.strategies.best_sellers]
popular = 1.0

[decision.tastes]
visit_taste_30d = "category"

[[decision.merchandising]]
action = "bury"
attribute = "colour"
value = "red"
when = 'visit_taste_30d == "sandals"'
"""


def write_files(folder: Path, **changes: str) -> Path:
    """Write a specification, its catalogue and its visits; return where the specification is.

    Sixty visitors look at two or three items of one category, in the north or the south; seven of them did not grant
    `improve`. The last one, who did, looks a hundred times at `secret`, and from there at `atlas`.

    Args:
        changes: files by name without its ending, in place of these.
    """
    chance = random.Random(6)
    by_category = {name: [one for one, (kind, _) in ITEMS.items() if kind == name] for name in CATEGORIES}
    looks = ["visitor,time,item,region,improve"]
    for visitor in range(60):
        category = CATEGORIES[visitor % 3]
        for step, item in enumerate(chance.choices(by_category[category], k=3)):
            where, improve = ("north", "south")[visitor % 2], str(visitor % 9 != 4).lower()
            looks.append(f"v{visitor},{1_790_000_000 + step},{item},{where},{improve}")
    for step in range(100):
        looks.append(f"loud,{1_790_000_000 + step},{('secret', 'atlas')[step % 2]},island,true")
    items = ["item,category,colour,margin", "secret,bags,red,"]
    items += [f"{item},{category},{colour},30" for item, (category, colour) in ITEMS.items()]
    written = {"spec": SPEC, "looks": "\n".join(looks), "items": "\n".join(items)} | changes
    for name, text in written.items():
        (folder / f"{name}.{'toml' if name == 'spec' else 'csv'}").write_text(text + "\n")
    return folder / "spec.toml"
