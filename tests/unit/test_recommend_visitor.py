"""Lists as a visitor gets them: from a signed bundle, of what they granted; nothing that was handed over is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.decisions import agreeing
from tests.recommending import catalogue, deciding, stock, successors
from tests.shop import Shop

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.documents.bundle_documents import bundle_document
from entrenous.recommending.strategy import Merchandising, Strategy
from entrenous.targeting import Supplied
from entrenous_consent.dpo.rendering import render
from entrenous_consent.errors import Malformed, Unauthentic
from entrenous_consent.policy import parse_policy
from entrenous_exporters.showing import show_bundle

FOLLOWING, POPULAR = Strategy(sequence=1.0, rerank=0.5), Strategy(popular=1.0)
ASKED = {"items": ["clogs"], "count": 2}


def test_a_list_is_made_by_the_strategy_that_was_decided(shop):
    stock(shop, deciding(shop, smart=FOLLOWING, plain=POPULAR))
    told = agreeing(shop.open()).recommend("home_list", **ASKED)

    assert told.items == ("felt", "bench")
    assert (told.decision.value, told.decision.reason) == ("smart", "TARGETING_MATCH")
    assert dict(told.decision.receipt.basis.consents) == {"personalize": 1}


def test_the_held_out_get_the_list_of_the_default_arm(shop):
    rule = deciding(shop, smart=FOLLOWING, plain=POPULAR)
    experiment = read_bundle(shop.bundle.read_bytes()).manifest.decisions["promotion"].experiment
    stock(shop, replace(rule, experiment=replace(experiment, holdout=10_000)))
    told = agreeing(shop.open()).recommend("home_list", **ASKED)

    assert told.items == ("novel", "felt")
    assert (told.decision.cause, told.decision.arm) == ("holdout", "plain")


def test_without_consent_there_is_no_list_and_an_apps_own_stays_as_it_was(shop):
    stock(shop, deciding(shop, smart=FOLLOWING, plain=POPULAR))
    client = shop.open()
    stranger, refusing = client.visitor("stranger"), client.visitor("refusing")
    assert refusing.consent(dict.fromkeys(client.example_choices, False)).accepted

    for visitor in (stranger, refusing):
        told = visitor.recommend("home_list", **ASKED)
        assert (told.items, told.decision.cause, told.decision.receipt) == ((), "consent_missing", None)
        among = visitor.recommend("home_list", items=["clogs"], among=["bench", "unknown", "felt"], stock={"felt"})
        assert among.items == ("bench", "unknown", "felt")


def test_what_a_search_found_is_put_into_another_order_for_who_agreed(shop):
    stock(shop, deciding(shop, smart=FOLLOWING, plain=POPULAR))
    visitor = agreeing(shop.open())
    found = ["diary", "unknown", "hose", "felt"]

    assert visitor.recommend("home_list", among=found).items == tuple(found)
    told = visitor.recommend("home_list", among=found, items=["clogs"])
    assert told.items == ("felt", "diary", "unknown", "hose")
    assert visitor.recommend("home_list", among=found, items=["clogs"], count=1).items == ("felt",)


def test_stock_what_was_bought_and_a_page_of_one_category_narrow_the_list(shop):
    stock(shop, deciding(shop, smart=FOLLOWING, plain=POPULAR))
    visitor = agreeing(shop.open())

    assert visitor.recommend("home_list", **ASKED, stock={"bench", "hose", "atlas"}).items == ("bench", "atlas")
    assert visitor.recommend("home_list", **ASKED, bought=["felt"]).items == ("bench", "novel")
    assert visitor.recommend("home_list", **ASKED, within={"category": "sandals"}).items == ("bench", "hose")
    assert visitor.recommend("home_list", count=2, region="north").items == ("hose", "clogs")


def test_a_taste_that_is_kept_lifts_its_category(shop):
    stock(shop, deciding(shop, smart=Strategy(affinity=1.0, popular=0.5), plain=POPULAR))
    visitor = agreeing(shop.open())
    before = visitor.recommend("home_list", count=2).items
    for _ in range(3):
        assert visitor.observe("view_item", category="sandals").accepted

    assert before == ("novel", "felt")
    assert visitor.recommend("home_list", count=2).items == ("bench", "hose")


def test_a_merchandisers_rule_holds_for_whom_its_condition_matches(shop):
    source = Supplied(
        name="visit_source",
        type="text",
        purpose="personalize",
        category="user.behavior.browsing_history",
        source="first_party",
    )
    rule = Merchandising(action="pin", items=("hose", "gone"), when=("==", ("var", "visit_source"), "newsletter"))
    stock(shop, deciding(shop, rule, smart=POPULAR, plain=POPULAR), context=(source,))
    visitor = agreeing(shop.open())

    def listed(**context: str) -> tuple[object, ...]:
        return visitor.recommend("home_list", count=2, context=context).items

    assert listed(visit_source="newsletter") == ("hose", "novel")
    assert listed(visit_source="search") == listed() == ("novel", "felt")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"count": 0}, "bad_context"),
        ({"count": True}, "bad_context"),
        ({"count": "many"}, "bad_context"),
        ({"region": 7}, "bad_context"),
        ({"within": ["category"]}, "bad_context"),
        ({"within": {"shape": "round"}}, "bad_context"),
        ({"context": {"unheard": 1}}, "bad_context"),
        ({"stock": 7}, "fault"),
        ({"items": 7, "bought": 8}, ""),
        ({"items": [None, 7, "clogs", {}]}, ""),
    ],
)
def test_a_call_that_is_wrong_is_answered_and_raises_nothing(shop, said, cause):
    stock(shop, deciding(shop, smart=FOLLOWING, plain=POPULAR))
    told = agreeing(shop.open()).recommend("home_list", **said)

    assert told.decision.cause == cause
    assert bool(told.items) == (cause == "")


def test_a_decision_of_another_kind_or_none_recommends_nothing(shop):
    client = shop.open()

    assert agreeing(client).recommend("promotion", among=["a", "b"]).items == ("a", "b")
    assert agreeing(client).recommend("unheard", count=3).items == ()
    assert client.visitor("").recommend("promotion", among=["a"]).items == ("a",)


def test_nothing_of_what_was_handed_over_is_kept(shop):
    stock(shop, deciding(shop, smart=FOLLOWING, plain=POPULAR))
    client = shop.open()
    visitor = agreeing(client)
    visitor.recommend("home_list", items=["clogs", "marker-of-a-visit"], bought=["felt"], region="north")
    client.sweep()

    kept = repr(visitor.export().data)
    assert "home_list" in kept
    for said in ("clogs", "marker-of-a-visit", "felt", "north"):
        assert said not in kept


def broken(home: Shop, **tables: bytes) -> bytes:
    read = read_bundle(home.bundle.read_bytes())
    if not read.tables:
        stock(home, deciding(home, smart=FOLLOWING, plain=POPULAR))
        read = read_bundle(home.bundle.read_bytes())
    return encode_bundle(read.manifest, {}, {**read.tables, **tables})


def test_a_bundle_with_a_table_that_serves_nothing_or_is_none_is_refused(shop):
    assert read_bundle(broken(shop)).tables.keys() == {"next", "shop"}
    with pytest.raises(Malformed, match="serves no decision"):
        read_bundle(broken(shop, more=b"x"))
    with pytest.raises(Malformed, match="not well-formed"):
        read_bundle(broken(shop, shop=b"\xc1"))
    with pytest.raises(Malformed, match="another catalogue"):
        read_bundle(broken(shop, shop=catalogue(**smaller()).encode()))


def smaller() -> dict[str, object]:
    return {"ids": ["atlas", "bench"], "attributes": (), "popular": [0], "regions": {}}


def test_a_table_that_the_manifest_does_not_vouch_for_is_refused(shop):
    data = broken(shop)
    other = successors().encode().replace(b"\xff", b"\xfe", 1)

    with pytest.raises(Unauthentic, match="not the table"):
        read_bundle(data.replace(successors().encode(), other))


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"catalogue": "elsewhere"}, "not a known value"),
        ({"spread": "shape"}, "no attribute"),
        ({"tastes": {"visit_views_7d": "category"}}, "no feature with a category"),
        ({"tastes": {"visit_taste_30d": "shape"}}, "no attribute"),
        ({"strategies": {"smart": FOLLOWING}}, "one for each arm"),
        ({"strategies": {"smart": FOLLOWING, "plain": Strategy(sequence=-1.0)}}, "outside"),
        ({"merchandising": (Merchandising(action="pin", attribute="category", value="bags"),)}, "pinned"),
        ({"merchandising": (Merchandising(action="boost", items=("a",), factor=0.5),)}, "outside"),
        ({"merchandising": (Merchandising(action="bury", items=("a", "a")),)}, "twice"),
        ({"merchandising": (Merchandising(action="bury", items=("a",), when=("==", 1, 1)),)}, "when"),
    ],
)
def test_a_decision_whose_parts_do_not_fit_is_refused(shop, said, what):
    rule = deciding(shop, smart=FOLLOWING, plain=POPULAR)

    stock(shop, replace(rule, recommending=replace(rule.recommending, **said)))

    with pytest.raises(Malformed, match=what):
        read_bundle(shop.bundle.read_bytes())


def test_what_lists_are_made_of_is_shown_before_it_is_signed(shop):
    when = ("==", ("var", "visit_taste_30d"), "boots")
    rules = [
        Merchandising(action="pin", items=("hose", "atlas"), when=when),
        Merchandising(action="boost", attribute="colour", value="red", factor=2.5),
    ]
    stock(shop, deciding(shop, *rules, smart=Strategy(sequence=1.0, most=3), plain=POPULAR))
    bundle, policy = read_bundle(shop.bundle.read_bytes()), parse_policy(shop.policy.read_bytes())

    signed = "\n".join(show_bundle(bundle, 1))
    assert "strategy of smart: sequence 1, most 3" in signed
    assert "pin hose, atlas where visit_taste_30d == 'boots'" in signed
    assert "boost colour red times 2.5" in signed
    assert "visit_taste_30d names a category" in signed
    assert all(digest.hex() in signed for digest, _ in bundle.manifest.tables.values())
    for language in ("en", "fr"):
        document = bundle_document(bundle, policy, language, "9.9")
        text = " ".join(render(document, "text").split())
        assert "hose, atlas" in text
        assert "visit_taste_30d == 'boots'" in text
        assert "colour = red" in text
        assert document.data["rules"] == {
            "decisions.home_list.recommending.merchandising[0].when": "visit_taste_30d == 'boots'"
        }
