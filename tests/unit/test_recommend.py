"""What follows what: learnt from visits, held to *k* visitors, shipped as bytes, asked for the next items."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import numpy as np
import pytest

from entrenous.recommending.item_table import MOST_ITEMS, ItemTable, Mixing, parse_item_table
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_exporters.recommend import Visits, learn_items, ranked

ALONE = Mixing(fading=0.5, own=0.0)


def table(*visits: list[int], k: int = 1, count: int = 5, **said: object) -> ItemTable:
    return learn_items(Visits.of(visits, count), k=k, **{"mixing": ALONE, **said})


def test_a_pair_weighs_by_its_distance_forward_whole_and_backward_half():
    """Of one visit 0, 1, 2: 0 is followed by 1 at distance 1, by 2 at distance 2; backward they count half."""
    learnt = table([0, 1, 2])

    assert learnt.scores([0]) == pytest.approx({1: 1.0, 2: 0.5}, rel=0.02)
    assert learnt.scores([1]) == pytest.approx({2: 1.0, 0: 0.5}, rel=0.02)
    assert learnt.scores([2]) == pytest.approx({1: 0.5, 0: 0.25}, rel=0.02)


def test_what_an_item_gives_is_divided_by_how_often_it_was_looked_at():
    learnt = table([0, 1], [0, 2], [0])

    assert learnt.scores([0]) == pytest.approx({1: 1 / 3, 2: 1 / 3}, rel=0.02)


def test_items_further_apart_than_the_reach_are_no_pair():
    assert table([0, 1, 2, 3], reach=2).scores([0]).keys() == {1, 2}


def test_no_pair_crosses_from_one_visit_to_the_next():
    assert table([0, 1], [2, 3]).scores([1]).keys() == {0}


def test_a_pair_that_fewer_than_k_visitors_made_is_not_in_the_table():
    visits = [[0, 1]] * 4 + [[0, 2]] * 5

    assert table(*visits, k=5).scores([0]).keys() == {2}
    assert table(*visits, k=4).scores([0]).keys() == {1, 2}
    assert table(*visits, k=6).pairs == 0


def test_a_visitor_who_comes_back_counts_once():
    visits = Visits.of([[0, 1]] * 9, 2)
    one_person = replace(visits, visitors=np.zeros_like(visits.visits))

    assert learn_items(visits, k=5, mixing=ALONE).pairs == 2
    assert learn_items(one_person, k=2, mixing=ALONE).pairs == 0


def test_an_item_keeps_its_strongest_successors():
    visits = [[0, item] for item in range(1, 5) for _ in range(item)]

    assert table(*visits, strongest=2).scores([0]).keys() == {3, 4}


def test_a_visit_mixes_its_items_the_latest_first():
    learnt = table([0, 1], [2, 3])

    assert learnt.scores([0, 2]) == pytest.approx({3: 1.0, 1: 0.5}, rel=0.02)
    assert learnt.top([0, 2], 5) == [3, 1]


def test_the_items_of_the_visit_count_themselves():
    learnt = table([0, 1], mixing=Mixing(fading=0.5, own=0.8, own_fading=0.5))

    scores = learnt.scores([3, 0])

    assert scores[0] == 0.8
    assert scores[3] == 0.4
    assert learnt.scores([0, 0])[0] == pytest.approx(0.8 + 0.4)


def test_what_may_not_be_named_is_not_and_unknown_items_say_nothing():
    learnt = table([0, 1], [0, 2], [0, 2])

    assert learnt.top([0], 5) == [2, 1]
    assert learnt.top([0], 5, without=[2, 4]) == [1]
    assert learnt.top([0], 1) == [2]
    assert learnt.top([-1, 99, 4], 5) == learnt.top([], 5) == []


def test_of_equal_scores_the_lower_number_goes_first():
    assert table([0, 2], [0, 1], [0, 3]).top([0], 5) == [1, 2, 3]


def test_only_the_latest_of_a_long_visit_are_looked_at():
    learnt = table([0, 1], mixing=Mixing(fading=1.0, own=0.0))

    assert learnt.top([0] + [4] * 19, 5) == [1]
    assert learnt.top([0] + [4] * 20, 5) == []


def test_a_table_is_the_same_after_it_was_written_and_read():
    chance = random.Random(4)
    visits = [[chance.randrange(200) for _ in range(chance.randrange(1, 9))] for _ in range(900)]
    learnt = learn_items(Visits.of(visits, 200), k=1)

    read = parse_item_table(learnt.encode())

    assert read.encode() == learnt.encode()
    assert len(read) == 200
    for visited in visits[:50]:
        assert read.scores(visited) == learnt.scores(visited)


def test_a_large_catalogue_stays_within_four_megabytes():
    count = MOST_ITEMS
    successors = (np.arange(count)[:, None] + np.arange(1, 8)) % count
    learnt = ItemTable(
        starts=np.arange(count + 1) * 7,
        successors=memoryview(successors.astype(np.uint32).tobytes()).cast("I"),
        weights=bytes([200]) * count * 7,
        scale=1.0,
        mixing=Mixing(),
    )

    data = learnt.encode()

    assert len(data) <= 4 << 20
    assert parse_item_table(data).top([count - 1], 3) == [count - 1, 0, 1]


def changed(**said: object) -> bytes:
    fields = dict(unpack(table([0, 1], [1, 0]).encode(), place="", longest=1 << 20))
    return pack(fields | said)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"format": 2}, "format"),
        ({"width": 3}, "neither 2 nor 4"),
        ({"width": 4}, "not as many as counted"),
        ({"counts": b""}, "name no item"),
        ({"counts": bytes([65, 0, 0, 0, 0])}, "more than 64"),
        ({"weights": b"x"}, "not as many as counted"),
        ({"successors": struct.pack("<2H", 1, 5)}, "not there"),
        ({"counts": bytes([2, 0, 0, 0, 0]), "successors": struct.pack("<2H", 1, 1)}, "twice"),
        ({"scale": 0.0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"mixing": [0.5, 0.5]}, "three numbers"),
        ({"mixing": [0.5, 0.5, 1.5]}, "three numbers"),
        ({"more": 1}, "more"),
    ],
)
def test_a_table_that_is_none_is_refused(said, what):
    assert parse_item_table(changed())

    with pytest.raises(Malformed, match=what):
        parse_item_table(changed(**said))


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"items": np.array([0, 9])}, "outside the catalogue"),
        ({"items": np.array([0, -1])}, "outside the catalogue"),
        ({"visits": np.array([1, 0])}, "one after the other"),
        ({"visitors": np.array([0])}, "unequal length"),
        ({"count": 0}, "is not 1 to"),
        ({"count": MOST_ITEMS + 1}, "is not 1 to"),
    ],
)
def test_visits_that_do_not_fit_are_refused(said, what):
    with pytest.raises(Malformed, match=what):
        replace(Visits.of([[0, 1]], 5), **said)


@pytest.mark.parametrize("said", [{"k": 0}, {"strongest": 0}, {"strongest": 65}, {"reach": 0}])
def test_bounds_that_are_none_are_refused(said):
    with pytest.raises(Malformed, match="at least 1"):
        table([0, 1], **said)


def test_a_ranking_counts_hits_and_their_places():
    learnt = table([0, 1], [0, 2], [0, 2])

    told = ranked(learnt, [([0], 2), ([0], 1), ([0], 4), ([], 0)], count=2)

    assert (told.cases, told.hit_rate, told.reciprocal_rank) == (4, 0.5, (1 + 1 / 2) / 4)
    assert told.error == 0.25
    assert ranked(learnt, [([0], 1)], count=1).hit_rate == 0
    with pytest.raises(Malformed, match="hold nothing"):
        ranked(learnt, [])
