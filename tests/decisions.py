"""The packaged bundle with its decision changed, for tests of what kinds, choices and experiments do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from entrenous import Client, Visitor
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.decisions.form import Arm, DecisionRule
from entrenous.decisions.offers import Offer
from tests.shop import Shop

EVERYONE = 10_000
NOTICE = {"en": "This offer was chosen for you", "fr": "Cette offre a été choisie pour vous"}


def offer(amount: int = 1000, threshold: int = 10_000, **changes: Any) -> Offer:
    given = {"currency": "EUR", "valid_days": 7, "personalised": True, "notice": NOTICE}
    return Offer(amount=amount, threshold=threshold, **given | changes)


def promotion(shop: Shop) -> DecisionRule:
    return read_bundle(shop.bundle.read_bytes()).manifest.decisions["promotion"]


def rewrite(shop: Shop, **decisions: DecisionRule) -> None:
    """Put these decisions into the shop's draft, instead of its own; a model that serves none of them goes."""
    read = read_bundle(shop.bundle.read_bytes())
    needed = {rule.model for rule in decisions.values()}
    models = {name: model for name, model in read.models.items() if name in needed}
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, decisions=decisions), models))


def rule_of(arms: Mapping[str, Arm], shares: Mapping[str, int], default: str, like: DecisionRule) -> DecisionRule:
    """Return a decision without a score."""
    return replace(
        like,
        kind="rule",
        model="",
        patterns=(),
        tranches=("everyone",),
        arms=arms,
        choice={"everyone": shares},
        default_arm=default,
        cap=None,
    )


def always(like: DecisionRule, **shares: int) -> DecisionRule:
    """Return a decision whose every tranche gets these arms."""
    return replace(like, choice=dict.fromkeys(like.tranches, shares))


def agreeing(client: Client, identifier: str = "customer-42", **choices: bool) -> Visitor:
    visitor = client.visitor(identifier)
    assert visitor.consent(client.example_choices | choices).accepted
    return visitor
