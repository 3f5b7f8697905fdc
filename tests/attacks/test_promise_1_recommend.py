"""Promise 1, nothing without consent: a list that tries to be made of a taste that was not granted."""

from __future__ import annotations

from dataclasses import replace

from tests.decisions import agreeing
from tests.recommending import deciding, stock
from tests.shop import Shop

from entrenous.features import Feature
from entrenous.recommending.strategy import Merchandising, Strategy

BY_TASTE, POPULAR = Strategy(affinity=1.0, popular=0.5), Strategy(popular=1.0)
BOUGHT = Feature(
    name="bought_taste_90d",
    kind="top",
    event="purchase",
    field="category",
    values=("slippers", "sandals"),
    window=90,
    purpose="history",
    category="user.behavior.purchase_history",
    source="first_party",
    retention_days=90,
)


def open_shop(shop: Shop, *merchandising: Merchandising):
    rule = deciding(shop, *merchandising, smart=BY_TASTE, plain=POPULAR)
    by_what_was_bought = replace(rule.recommending, tastes={BOUGHT.name: "category"})
    stock(shop, replace(rule, recommending=by_what_was_bought), features=(BOUGHT,))
    return shop.open()


def test_a_taste_of_a_purpose_that_was_withdrawn_moves_no_item(shop):
    client = open_shop(shop)
    visitor = agreeing(client, history=True)
    assert visitor.observe("purchase", category="sandals", value=100, currency="EUR").accepted
    granted = visitor.recommend("home_list", count=2)
    assert granted.items == ("bench", "hose")
    assert dict(granted.decision.receipt.basis.consents).keys() == {"history", "personalize"}

    assert visitor.consent(client.example_choices | {"history": False}).accepted

    told = visitor.recommend("home_list", count=2)
    assert told.items == ("novel", "felt")
    assert dict(told.decision.receipt.basis.consents).keys() == {"personalize"}
    assert BOUGHT.name in told.decision.receipt.basis.withheld
    assert visitor.consent(client.example_choices | {"history": True}).accepted
    assert visitor.recommend("home_list", count=2).items == ("novel", "felt"), "what was withdrawn is gone"


def test_a_rule_of_the_merchandiser_that_reads_what_is_withheld_pins_nothing(shop):
    bought = ("==", ("var", BOUGHT.name), "sandals")
    rules = [
        Merchandising(action="pin", items=("mules",), when=bought),
        Merchandising(action="pin", items=("diary",), when=("not", bought)),
    ]
    visitor = agreeing(open_shop(shop, *rules), history=False)

    assert visitor.recommend("home_list", count=2).items == ("novel", "felt")


def test_a_withdrawal_ends_the_list_at_once(shop):
    client = open_shop(shop)
    visitor = agreeing(client)
    assert visitor.recommend("home_list", count=1).items == ("novel",)

    visitor.consent(dict.fromkeys(client.example_choices, False))

    told = visitor.recommend("home_list", items=["clogs"], among=["hose", "felt"])
    assert (told.items, told.decision.cause) == (("hose", "felt"), "consent_missing")
