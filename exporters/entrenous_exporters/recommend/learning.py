"""From visits and a catalogue to a bundle: tables held to *k* visitors, judged on visitors that were not learnt from.

A tenth of the visitors judges, and another chooses how a visit's items are mixed, by a table of the others. What ships
is learnt from all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous.bundle import BUNDLE_LIMIT, encode_bundle, read_bundle
from entrenous.recommending.catalogue import MOST_REGIONS, Catalogue
from entrenous.recommending.item_table import Mixing
from entrenous_consent.errors import Malformed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_exporters.card import encode_card
from entrenous_exporters.recommend.items import Visits, learn_items
from entrenous_exporters.recommend.measures import Ranking, ranked
from entrenous_exporters.recommend.reading import Items, Looks
from entrenous_exporters.recommend.spec import Following, RecommendSpec
from entrenous_exporters.recommend.strategies import CATALOGUE, SUCCESSORS
from entrenous_exporters.train import Trained, check_permitted, manifest_of, refuse

__all__ = ["MIXINGS", "catalogue_of", "choose_mixing", "popular_items", "train_recommend"]

MIXINGS = tuple(
    Mixing(fading=fading, own=own, own_fading=faded)
    for fading, own, faded in product((0.4, 0.6, 0.8), (0.2, 0.4, 0.6, 0.8), (0.6, 0.8))
)
_PARTS = 10
_MOST_CASES = 10_000
_MOST_IN_REGION = 1000

Case = tuple[list[int], int]


def train_recommend(
    spec: RecommendSpec,
    policy: PrivacyPolicy,
    items: Items,
    looks: Looks,
    *,
    created: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Return the bundle that `spec` asks for.

    Args:
        created: Unix seconds, as the manifest is to state. progress: told each step.

    Raises:
        Malformed: too few visits to judge by, or a bundle that would be too large. Forbidden: the policy does not
            permit what the bundle would ask.
    """
    check_permitted(spec, policy)  # before the work, and again as it is written
    visits = Visits(items=looks.items, visits=looks.visits, visitors=looks.visitors, count=len(items.ids))
    progress("choosing how a visit is mixed")
    mixing, found = _judged(visits, spec.following)
    progress("learning what follows what")
    following = spec.following
    table = learn_items(visits, k=following.k, strongest=following.strongest, reach=following.reach, mixing=mixing)
    catalogue = catalogue_of(items, looks, k=following.k, integers=spec.source.integers)
    tables = {CATALOGUE: catalogue.encode(), SUCCESSORS: table.encode()}
    facts = _facts(spec, policy, looks) | {
        "recommend": {
            "items": len(catalogue),
            "attributes": [{"name": one.name, "values": len(one.values)} for one in catalogue.attributes],
            "popular": len(catalogue.popular),
            "regions": {"given": len(looks.names), "kept": len(catalogue.regions)},
            "pairs": table.pairs,
            "mixing": {"fading": mixing.fading, "own": mixing.own, "own_fading": mixing.own_fading},
            "bytes": {name: len(one) for name, one in tables.items()},
            "quality": {
                "cases": found.cases,
                "hit_rate": round(found.hit_rate, 6),
                "error": round(found.error, 6),
                "reciprocal_rank": round(found.reciprocal_rank, 6),
            },
        }
    }
    card = encode_card(facts)
    manifest = manifest_of(spec, (), 0.0, created=created, card=sha256(card).digest())
    refuse(policy.permits(manifest.request()), manifest)
    data = encode_bundle(manifest, {}, tables)
    if len(data) > BUNDLE_LIMIT:
        sizes = ", ".join(f"{name} {len(one):,}" for name, one in tables.items())
        what = f"has {len(data):,} bytes ({sizes}), and at most {BUNDLE_LIMIT:,} ship"
        remedy = "keep fewer successors (strongest), raise k, or leave out items"
        raise Malformed(what, place=f"bundle {spec.name}", remedy=remedy)
    return Trained(data=data, bundle=read_bundle(data), ensemble=None, card=card, quality={})


def catalogue_of(items: Items, looks: Looks, *, k: int, integers: bool) -> Catalogue:
    """Return the catalogue with the items that `k` distinct visitors looked at in order, everywhere and by region.

    Of items that as many visitors looked at, the lower number goes first.
    """
    count = len(items.ids)
    by_region = {}
    for i, name in enumerate(looks.names):
        there = looks.regions == i
        by_region[name] = popular_items(looks.items[there], looks.visitors[there], count, k)[:_MOST_IN_REGION]
    regions = {name: order for name, order in by_region.items() if order and len(name) <= 64}
    if len(regions) > MOST_REGIONS:
        what = f"names {len(regions):,} regions with popular items, and at most {MOST_REGIONS} ship"
        raise Malformed(what, place="data.region", remedy="name coarser ones")
    return Catalogue(
        ids=items.ids,
        integers=integers,
        attributes=items.attributes,
        popular=popular_items(looks.items, looks.visitors, count, k),
        regions=regions,
        margins=items.margins,
    )


def popular_items(items: NDArray[np.int64], visitors: NDArray[np.int64], count: int, k: int) -> list[int]:
    """Return the items that `k` distinct visitors looked at, those of most visitors first, of as many the lower number.

    Args:
        items, visitors: int64 [N], who looked at what. count: how many items there are.
    """
    made = np.unique(np.stack([items, visitors]), axis=1)[0]
    many = np.bincount(made, minlength=count)
    order = np.lexsort((np.arange(count), -many))
    kept: list[int] = order[many[order] >= k].tolist()
    return kept


def choose_mixing(visits: Visits, cases: Sequence[Case], following: Following) -> Mixing:
    """Return the mixing with the most hits and the best places on cases that `visits` does not hold."""
    table = learn_items(visits, k=following.k, strongest=following.strongest, reach=following.reach)

    def quality(mixing: Mixing) -> float:
        table.mixing = mixing
        found = ranked(table, cases)
        return found.hit_rate + found.reciprocal_rank

    return max(MIXINGS, key=quality)


def _judged(visits: Visits, following: Following) -> tuple[Mixing, Ranking]:
    """Return the mixing that a tenth of the visitors chose, and how a table of eight tenths does on the last one."""
    part = visits.visitors % _PARTS
    choosing, judging = (_cases(visits, part == one) for one in (0, 1))
    if not choosing or not judging or not (part > 1).any():
        remedy = "bring visits of two looks and more, of some dozens of visitors"
        raise Malformed(f"hold {len(judging):,} cases to judge by", place="visits", remedy=remedy)
    others = _of(visits, part > 1)
    mixing = choose_mixing(others, choosing, following)
    table = learn_items(others, k=following.k, strongest=following.strongest, reach=following.reach, mixing=mixing)
    return mixing, ranked(table, judging)


def _of(visits: Visits, keep: NDArray[np.bool_]) -> Visits:
    return replace(visits, items=visits.items[keep], visits=visits.visits[keep], visitors=visits.visitors[keep])


def _cases(visits: Visits, keep: NDArray[np.bool_]) -> list[Case]:
    """Return what was looked at so far and next, for the first looks of these visitors."""
    items, numbers = visits.items[keep], visits.visits[keep]
    ends = np.flatnonzero(np.diff(numbers, append=-1)) + 1
    cases: list[Case] = []
    start = 0
    for end in ends.tolist():
        looked = items[start:end].tolist()
        cases += [(looked[:at], looked[at]) for at in range(1, len(looked))]
        start = end
        if len(cases) >= _MOST_CASES:
            break
    return cases[:_MOST_CASES]


def _facts(spec: RecommendSpec, policy: PrivacyPolicy, looks: Looks) -> dict[str, Any]:
    return {
        "format": 1,
        "name": spec.name,
        "version": spec.version,
        "lifetime_days": spec.lifetime_days,
        "policy": {"tenant": policy.tenant, "version": policy.version},
        "decision": {"name": spec.decision.name, "purpose": spec.decision.purpose, "kind": spec.decision.kind},
        "data": {
            "rows": {
                "given": looks.given,
                "without_improve": looks.without_improve,
                "unknown_items": looks.unknown,
                "learnt": len(looks.items),
            },
            "visits": int(looks.visits[-1]),
            "visitors": int(np.unique(looks.visitors).size),
            "a_visit_is_a_visitor": not spec.source.visitor,
            "public_research_data": spec.source.public_research_data,
        },
        "features": [{"name": one.name, "purpose": one.purpose} for one in spec.features],
        "following": {
            "k": spec.following.k,
            "strongest": spec.following.strongest,
            "reach": spec.following.reach,
        },
        "libraries": {name: version(name) for name in ("duckdb", "ibis-framework", "numpy")},
    }
