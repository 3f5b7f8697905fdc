"""A profile's two records, and what waits to reach them."""

from __future__ import annotations

import pytest

from entrenous.decision import Basis, Receipt
from entrenous.profile import EVENT_IDS, RECEIPTS, Cold, Hot, caps_within
from entrenous.receipts import Waiting
from entrenous_consent.errors import Malformed
from entrenous_consent.retention import RECEIPT_DAYS

DAY = 86_400
NOON = 20_000 * DAY + DAY // 2
KEY = (b"handle", 1, "personalize")


def _receipt(number: int, time: int = NOON) -> Receipt:
    basis = Basis(
        "promotion", "ten_off", "TARGETING_MATCH", "", "cold", 10_000, "demo 1", 1, (("personalize", 1),), ("past",)
    )
    return Receipt(number, time, basis)


def test_records_survive_packing():
    hot = Hot(b"stampstm", 1, 2, b"\0\0\x80?", {"promotion": {20_000: 3}}, {"promotion": ("ten_off", 9)}, b"\x90")
    cold = Cold([_receipt(1)], [(NOON, b"12345678")])
    assert Hot.unpack(hot.pack()) == hot
    assert Cold.unpack(cold.pack(), NOON) == cold


@pytest.mark.parametrize("data", [b"", b"\x90", b"\xc0", b"\x96\x00\x00\x00\x00\x00\x00", b"\xff" * 9])
def test_what_is_no_record_is_refused(data):
    with pytest.raises(Malformed):
        Hot.unpack(data)
    with pytest.raises(Malformed):
        Cold.unpack(data, NOON)


def test_only_the_last_receipts_and_event_ids_are_kept():
    cold = Cold([_receipt(number) for number in range(50)])
    for number in range(300):
        assert not cold.seen(number.to_bytes(8, "big"), NOON)
    again = Cold.unpack(cold.pack(), NOON)
    assert [receipt.id for receipt in again.receipts] == list(range(50 - RECEIPTS, 50))
    assert len(again.event_ids) == EVENT_IDS


def test_a_receipt_is_not_read_after_its_days():
    cold = Cold([_receipt(1)])
    assert Cold.unpack(cold.pack(), NOON + RECEIPT_DAYS * DAY - 1).receipts
    assert not Cold.unpack(cold.pack(), NOON + RECEIPT_DAYS * DAY).receipts


def test_caps_count_whole_days_the_current_one_included():
    caps = {"promotion": {20_000: 2, 19_999: 1, 19_990: 5}}
    assert caps_within(caps, "promotion", days=1, now=NOON) == 2
    assert caps_within(caps, "promotion", days=2, now=NOON) == 3
    assert caps_within(caps, "other", days=2, now=NOON) == 0


def test_what_waits_counts_until_it_has_arrived():
    waiting = Waiting(most=10)
    for number in range(30):
        waiting.note(KEY, _receipt(number), counted="promotion" if number % 2 == 0 else "", keep_days=7)
    assert waiting.counted(KEY, "promotion", days=7, now=NOON) == 15
    leaving = waiting.leave()
    assert waiting.counted(KEY, "promotion", days=7, now=NOON) == 15
    hot, cold = Hot(), Cold()
    leaving[KEY].settle(hot, cold, NOON)
    waiting.arrived(KEY, written=True)
    assert waiting.counted(KEY, "promotion", days=7, now=NOON) == 0
    assert caps_within(hot.caps, "promotion", days=7, now=NOON) == 15
    assert [receipt.id for receipt in cold.receipts] == list(range(10, 30))


def test_what_could_not_be_written_waits_in_front_of_what_came_later():
    waiting = Waiting(most=10)
    waiting.note(KEY, _receipt(1), counted="promotion", keep_days=7)
    waiting.leave()
    waiting.note(KEY, _receipt(2), counted="promotion", keep_days=7)
    waiting.arrived(KEY, written=False)
    tally = waiting.leave()[KEY]
    assert [receipt.id for receipt in tally.receipts] == [1, 2]
    assert tally.caps == {"promotion": {20_000: 2}}


def test_what_waits_is_bounded():
    waiting = Waiting(most=3)
    for number in range(10):
        waiting.note((bytes([number]), 1, "p"), _receipt(number), counted="promotion", keep_days=1)
    assert len(waiting.leave()) == 3


def test_forgetting_drops_what_waits_and_what_is_on_its_way():
    waiting = Waiting(most=10)
    waiting.note(KEY, _receipt(1), counted="promotion", keep_days=7)
    waiting.leave()
    waiting.note(KEY, _receipt(2), counted="promotion", keep_days=7)
    waiting.forget(KEY[0])
    assert waiting.counted(KEY, "promotion", days=7, now=NOON) == 0
    assert waiting.leave() == {}
