"""Draws: sides and places are even, stable and independent of one another."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from entrenous.decisions.draws import ELSEWHERE, NOT_YET, Drawing
from entrenous.decisions.form import Experiment
from entrenous.loop.contributions import HOLDOUT
from entrenous_consent.pseudonyms import bucket, keyed

NOON = 1_790_000_000
HANDLES = [number.to_bytes(32, "big") for number in range(4_000)]
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "draws.json").read_text("utf-8"))


def drawing(key: int = 1, group_key: int | None = None, **changes) -> Drawing:
    experiment = Experiment(**{"id": "autumn", "purpose": "measure", "holdout": 1000} | changes)
    group = keyed(bytes([group_key]) * 32) if group_key else None
    return Drawing(decision="promotion", experiment=experiment, mac=keyed(bytes([key]) * 32), group=group)


def sides(one: Drawing) -> Counter[str]:
    return Counter(one.draw(handle, NOON).side for handle in HANDLES)


@pytest.mark.parametrize("vector", VECTORS["draws"], ids=lambda one: one["name"])
def test_draws_are_those_of_the_vectors(vector):
    changes = {key: tuple(value) if key == "slice" else value for key, value in vector["experiment"].items()}
    experiment = Experiment(**{"id": "autumn", "purpose": "measure"} | changes)
    group = keyed(bytes.fromhex(vector["group_key"])) if "group_key" in vector else None
    one = Drawing(
        decision=vector["decision"], experiment=experiment, mac=keyed(bytes.fromhex(vector["key"])), group=group
    )
    found = one.draw(bytes.fromhex(vector["handle"]), vector["time"])
    assert [found.side, found.place] == vector["draw"]


def test_the_holdout_is_whom_the_bucket_says():
    one = drawing()
    held = {handle for handle in HANDLES if one.draw(handle, NOON).side == HOLDOUT}
    assert held == {handle for handle in HANDLES if bucket(one.mac, handle) < 1000}
    assert 300 < len(held) < 500


def test_a_ramp_takes_its_share_and_a_wider_one_moves_nobody():
    narrow, wide = drawing(ramp=1000), drawing(ramp=5000)
    assert 300 < sides(narrow)[""] < 500
    assert 1_850 < sides(wide)[""] < 2_150
    for handle in HANDLES:
        before, after = narrow.draw(handle, NOON), wide.draw(handle, NOON)
        if before.side == "":
            assert after == before
        elif before.side == NOT_YET:
            assert after.side in ("", NOT_YET)
        else:
            assert after.side == HOLDOUT


def test_a_ramp_of_everyone_leaves_nobody_waiting():
    assert NOT_YET not in sides(drawing())


def test_places_are_even_whatever_the_holdout():
    places = [draw.place for handle in HANDLES if not (draw := drawing(ramp=3000).draw(handle, NOON)).side]
    assert 0.2 < sum(place < 2_500 for place in places) / len(places) < 0.3


def test_a_daily_place_changes_with_the_day_and_nothing_else_does():
    one = drawing(daily=True)
    today, later, tomorrow = (one.draw(HANDLES[7], NOON + extra) for extra in (0, 60, 86_400))
    assert today == later
    assert today.place != tomorrow.place
    assert [one.draw(handle, NOON).side for handle in HANDLES] == [
        one.draw(handle, NOON + 86_400).side for handle in HANDLES
    ]


def test_two_experiments_deal_independently():
    one, other = drawing(1), drawing(2)
    both = sum(one.draw(handle, NOON).side == other.draw(handle, NOON).side == HOLDOUT for handle in HANDLES)
    assert 15 < both < 70, "a hundredth of 4,000, not a tenth"


def test_experiments_of_a_group_share_no_visitor():
    low = drawing(1, 9, group="spring", slice=(0, 4000))
    high = drawing(2, 9, group="spring", slice=(4000, 10_000))
    for handle in HANDLES:
        assert (low.draw(handle, NOON).side == ELSEWHERE) != (high.draw(handle, NOON).side == ELSEWHERE)
    assert 1_400 < len(HANDLES) - sides(low)[ELSEWHERE] < 1_800
