"""From a visit to a list: what each part of a score does, and what a merchandiser adds."""

from __future__ import annotations

import pytest
from tests.recommending import ITEMS, POPULAR, catalogue, successors

from entrenous.recommending.rank import Asked, Shelf, Touch, rank
from entrenous.recommending.strategy import Strategy

IDS = sorted(ITEMS)
SHOP = catalogue()
SHELF = Shelf(catalogue=SHOP, successors=successors(), spread=0)
FOLLOWING, ALIKE = Strategy(sequence=1.0), Strategy(content=1.0)
TASTE, BEST_SELLERS = Strategy(affinity=1.0, popular=0.2), Strategy(popular=1.0)


def listed(strategy: Strategy, count: int = 3, shelf: Shelf = SHELF, **asked) -> list[str]:
    if "visited" in asked:
        asked["visited"] = [SHOP.number(one) for one in asked["visited"]]
    return [IDS[number] for number in rank(shelf, strategy, Asked(count=count, **asked))]


def value(attribute: str, name: str) -> tuple[int, int]:
    at = SHOP.attribute(attribute)
    return at, SHOP.attributes[at].code(name)


def test_what_follows_the_visit_comes_first_and_what_is_popular_fills_the_list():
    assert listed(FOLLOWING, visited=["clogs"]) == ["felt", "bench", "novel"]
    assert listed(FOLLOWING, visited=["atlas"], count=2) == ["novel", "felt"]


def test_a_cold_visitor_gets_what_is_popular_in_the_region_or_everywhere():
    assert listed(FOLLOWING) == list(POPULAR[:3])
    assert listed(FOLLOWING, region="north") == ["hose", "clogs", "novel"]
    assert listed(FOLLOWING, region="nowhere") == list(POPULAR[:3])
    assert listed(BEST_SELLERS, region="north", count=2) == ["hose", "clogs"]


def test_popular_within_a_category_is_the_one_order_held_to_it():
    assert listed(BEST_SELLERS, within=[value("category", "bags")]) == ["novel", "atlas"]
    both = [value("category", "slippers"), value("colour", "green")]
    assert listed(BEST_SELLERS, within=both) == ["clogs"]
    assert listed(BEST_SELLERS, within=[(0, -1)]) == []


def test_a_cold_item_is_found_by_what_it_shares_with_the_visit():
    found = listed(ALIKE, visited=["clogs"], count=5)

    assert found[0] == "mules"
    assert set(found[1:]) == {"bench", "hose", "felt", "diary"}


def test_a_taste_lifts_the_items_that_meet_it():
    assert listed(TASTE, tastes=[value("category", "slippers")], count=2) == ["felt", "clogs"]
    assert listed(TASTE, tastes=[], count=2) == ["novel", "felt"]


def test_what_may_not_be_named_is_left_out_and_made_up_for():
    hidden = {SHOP.number("felt"), SHOP.number("novel")}

    assert listed(FOLLOWING, visited=["clogs"], may=lambda item: item not in hidden) == ["bench", "atlas", "clogs"]


def test_a_margin_known_to_be_too_low_is_not_recommended_and_an_unknown_one_is():
    margins = bytes(5 if one == "novel" else 255 if one == "felt" else 40 for one in IDS)
    shelf = Shelf(catalogue=catalogue(margins=margins), successors=None, spread=0)

    assert listed(Strategy(popular=1.0, margin_floor=20), 2, shelf) == ["felt", "bench"]
    assert listed(BEST_SELLERS, 2, shelf) == ["novel", "felt"]


def test_a_list_is_spread_over_categories():
    assert listed(Strategy(popular=1.0, most=1), count=5) == ["novel", "felt", "bench"]
    assert listed(Strategy(popular=1.0, most=2), count=5) == ["novel", "felt", "bench", "atlas", "clogs"]


def test_what_is_pinned_comes_first_what_is_boosted_rises_and_what_is_buried_comes_last():
    hose, mules, green = SHOP.number("hose"), SHOP.number("mules"), value("colour", "green")

    assert listed(BEST_SELLERS, touches=[Touch(action="pin", items=(mules, hose))]) == ["mules", "hose", "novel"]
    boost = Touch(action="boost", attribute=green[0], code=green[1], factor=3.0)
    assert listed(BEST_SELLERS, touches=[boost], count=2) == ["bench", "clogs"]
    red = value("colour", "red")
    bury = Touch(action="bury", attribute=red[0], code=red[1])
    assert listed(BEST_SELLERS, touches=[bury], count=6) == ["bench", "clogs", "hose", "novel", "felt", "atlas"]


def test_a_list_of_the_apps_own_keeps_its_items_and_changes_its_order():
    among = [SHOP.number(one) for one in ("hose", "atlas", "clogs", "novel")]

    assert listed(Strategy(popular=1.0, rerank=0.0), 9, among=among) == ["hose", "atlas", "clogs", "novel"]
    assert listed(Strategy(popular=1.0, rerank=1.0), 9, among=among) == ["novel", "atlas", "clogs", "hose"]
    tastes = [value("category", "slippers")]
    assert listed(Strategy(affinity=1.0, rerank=0.6), 9, among=among, tastes=tastes)[0] == "clogs"
    spread = listed(Strategy(rerank=0.5, most=1), 9, among=among)
    assert spread == ["hose", "atlas", "clogs", "novel"]


def test_what_the_catalogue_does_not_know_stays_in_a_list_of_the_apps_own():
    asked = Asked(count=9, among=[-1, SHOP.number("novel"), -3])

    assert rank(SHELF, Strategy(rerank=0.0), asked) == [-1, SHOP.number("novel"), -3]
    assert rank(SHELF, Strategy(popular=1.0, rerank=1.0), asked) == [SHOP.number("novel"), -1, -3]


def test_of_equal_scores_the_lower_number_goes_first():
    everything = list(range(len(IDS)))
    shelf = Shelf(catalogue=catalogue(popular=[]), successors=None, spread=0)

    assert rank(shelf, Strategy(affinity=1.0, rerank=1.0), Asked(count=9, among=everything)) == everything
    assert listed(FOLLOWING, 9, shelf) == []


@pytest.mark.parametrize("strategy", [FOLLOWING, ALIKE, BEST_SELLERS, Strategy(sequence=1, content=0.5, popular=0.1)])
def test_the_same_visit_gets_the_same_list(strategy):
    visited = ["atlas", "clogs", "hose"]

    assert listed(strategy, 8, visited=visited) == listed(strategy, 8, visited=visited)
