"""Bundles switched under load: no answer fails, none is of two bundles, and a poisoned one serves nobody, ever."""

from __future__ import annotations

from pathlib import Path

from benches.load.switch import switched

from entrenous_exporters.generated import CREATED, demo_inputs
from entrenous_exporters.train import train
from tests.kinds import generated_rows
from tests.shop import Clock, Shop


def test_every_answer_is_of_one_bundle_and_a_poisoned_one_is_refused_for_good(tmp_path: Path):
    shop = Shop(tmp_path, Clock())
    shop.bundle.write_bytes(train(*demo_inputs(), generated_rows(), created=CREATED).data)
    found = switched(shop, 6)
    assert set(found.seen.statuses) == {200}
    assert found.seen.lost == 0
    assert all(word.isdecimal() for word in found.seen.said), found.seen.said
    assert found.versions >= 5
    assert found.serving == found.again == 7
