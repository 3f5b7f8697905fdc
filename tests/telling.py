"""A shop whose bundle reads what visitors tell and what other systems know, for tests."""

from __future__ import annotations

from dataclasses import replace

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.features import Feature
from tests.shop import Shop

SIZES = ("s", "m", "l")
RHYTHM = ("daily", "weekly", "never")


def listen(shop: Shop) -> None:
    """Put features that are told and imported into the shop's bundle, in place of others of their purpose.

    `personalize`: told `size` and asked for less of `boots`; imported `tier` (values) and `spent` (a number).
    `history`: told `size` with `xl` besides, and asked for less of `bags`.
    """
    read = read_bundle(shop.bundle.read_bytes())
    old = {one.name: one for one in read.manifest.features}

    def said(name: str, kind: str, field: str, like: str, **more: object) -> Feature:
        rules = {key: getattr(old[like], key) for key in ("purpose", "category", "source", "retention_days")}
        return Feature(name=name, kind=kind, field=field, window=30, **rules, **more)  # type: ignore[arg-type]

    less = {"among": ("boots", "bags", "hats")}
    changed = {
        "visit_views_7d": said("visit_size", "told", "size", "visit_views_7d", values=SIZES),
        "visit_value_7d": said("visit_less", "asked", "less", "visit_views_7d", value="boots", **less),
        "visit_taste_30d": said("visit_tier", "imported", "tier", "visit_views_7d", values=("silver", "gold")),
        "visit_carts_7d": said("visit_spent", "imported", "spent", "visit_views_7d"),
        "bought_orders_90d": said("bought_size", "told", "size", "bought_orders_90d", values=(*SIZES, "xl")),
        "bought_spent_90d": said("bought_less", "asked", "less", "bought_orders_90d", value="bags", **less),
    }
    features = tuple(changed.get(one.name, one) for one in read.manifest.features)
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, features=features, proofs={}), read.models))
