"""Rules in a shop's bundle, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.targeting import Supplied, variables_of
from entrenous_exporters.rules import write_rule
from tests.shop import Shop

PAGE = Supplied(name="page_url", type="text", purpose="personalize", category="user.behavior", source="first_party")
SEGMENTS = Supplied(
    name="segments", type="texts", purpose="history", category="user.behavior.purchase_history", source="crm"
)


def target(shop: Shop, targeting: str = "", *, exclude: str = "", context: Sequence[Supplied] = ()) -> None:
    """Write rules (CEL) into the shop's bundle, and what they read of the context into its policy as well."""
    read = read_bundle(shop.bundle.read_bytes())
    variables = variables_of(read.manifest.features, context)
    rules = {
        key: write_rule(text, variables).tree if text else None
        for key, text in (("targeting", targeting), ("exclude", exclude))
    }
    rule = replace(read.manifest.decisions["promotion"], **rules)
    manifest = replace(read.manifest, decisions={"promotion": rule}, context=tuple(context))
    shop.bundle.write_bytes(encode_bundle(manifest, read.models))
    permit(shop, context)


def permit(shop: Shop, context: Sequence[Supplied]) -> None:
    """Add feature rules for these keys to the shop's policy."""
    text = shop.policy.read_text()
    for one in context:
        text += f'\n[[features]]\nname = "{one.name}"\npurpose = "{one.purpose}"\ncategory = "{one.category}"\n'
        text += f'source = "{one.source}"\nretention_days = 0\n'
    shop.policy.write_text(text)
