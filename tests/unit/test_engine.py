"""The engine under threads, at the edges of its clock, and where a decision meets what is on its way to the store."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tests.shop import NOON

from entrenous import settling
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.decisions.form import Experiment, Pattern
from entrenous.events import parse_event
from entrenous.features import Feature, parse_feature
from entrenous_consent.errors import Malformed, Unavailable
from entrenous_consent.parsing import Table

HOUR, DAY = 3600, 86_400
MIDNIGHT = NOON + 12 * HOUR


def rewrite(shop, *, features=None, models=None, expires=None, **rules) -> None:
    """Write the shop's bundle again, with other rules, features, models or an expiry."""
    read = read_bundle(shop.bundle.read_bytes())
    manifest = replace(
        read.manifest,
        decisions=rules or dict(read.manifest.decisions),
        features=features or read.manifest.features,
        expires=expires or read.manifest.expires,
    )
    shop.bundle.write_bytes(encode_bundle(replace(manifest, proofs={}), models or read.models))


def promotion(shop):
    """The packaged rule, with an arm to give in every tranche: every answer counts towards a cap."""
    rule = read_bundle(shop.bundle.read_bytes()).manifest.decisions["promotion"]
    return replace(rule, choice={tranche: {"ten_off": 10_000} for tranche in rule.tranches}, experiment=None)


def cap_at(shop, decisions: int, *, days: int = 2, **changes) -> None:
    rule = promotion(shop)
    rewrite(shop, promotion=replace(rule, cap=replace(rule.cap, decisions=decisions, days=days), **changes))


def agreeing(client, name: str = "customer-42"):
    visitor = client.visitor(name)
    assert visitor.consent(client.example_choices).accepted
    return visitor


def held(visitor, purpose: str = "personalize") -> dict:
    return visitor.export().data["purposes"][purpose]


def opened(client, visitor):
    return client._engine._open[visitor._handle]


def given(visitor, times: int) -> list[str]:
    return [visitor.decide("promotion", "none").cause for _ in range(times)]


@pytest.fixture
def hasty():
    """Threads that change places all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


# Threads


def test_eight_threads_lose_no_event_give_no_arm_too_many_and_no_id_twice(shop, hasty):
    cap_at(shop, 25)
    client = shop.open()
    visitors = [agreeing(client, f"customer-{number}") for number in range(3)]
    answers: list[tuple[int, object]] = []

    def work(worker: int) -> int:
        taken = 0
        for turn in range(12):
            which = (worker + turn) % 3
            answers.append((which, visitors[which].decide("promotion", "none")))
            if turn % 3 == worker % 3:
                assert visitors[0].observe("view_item", price=100, currency="EUR").accepted
                taken += 1
            if turn % 4 == worker % 4:
                client.flush()
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(work, range(8)))
    assert {(answer.reason, answer.cause) for _, answer in answers} == {("TARGETING_MATCH", ""), ("DEFAULT", "capped")}
    # A tally that is just being written may count twice for a moment, so that an answer may be capped too early: never
    # too late. Once all is written, what the cap still leaves is given.
    assert max(Counter(which for which, answer in answers if answer.cause == "").values()) <= 25
    client.flush()
    answers += [(which, visitors[which].decide("promotion", "none")) for which in range(3) for _ in range(25)]
    shown = Counter(which for which, answer in answers if answer.cause == "")
    assert shown == {0: 25, 1: 25, 2: 25}
    ids = [answer.receipt.id for _, answer in answers]
    assert len(set(ids)) == len(ids)
    assert held(visitors[0])["features"]["visit_views_7d"] == taken
    for visitor in visitors:
        kept = held(visitor)
        assert len(kept["receipts"]) == 20
        assert {int(receipt["id"], 16) for receipt in kept["receipts"]} <= set(ids)
        assert kept["times_shown"] == {"promotion": 25}


def test_choices_erasures_and_flushes_side_by_side_raise_nothing(shop, hasty, caplog):
    client = shop.open()
    visitors = [agreeing(client, f"customer-{number}") for number in range(4)]

    def work(worker: int) -> None:
        for turn in range(10):
            visitor = visitors[(worker + turn) % 4]
            match worker % 4:
                case 0:
                    assert visitor.decide("promotion", "none").reason != "ERROR"
                case 1:
                    assert visitor.consent(client.example_choices if turn % 2 else {}).accepted
                case 2:
                    client._engine.flush()
                case _:
                    assert visitor.erase().accepted if turn % 3 == 0 else visitor.observe("view_item")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    client._engine.flush()
    waiting = client._engine.waiting
    assert waiting.leave() == {}
    assert not waiting._leaving
    assert caplog.text == ""


def test_two_threads_that_opened_a_visitor_at_once_share_one_count(shop, monkeypatch):
    cap_at(shop, 1)
    client = shop.open()
    visitor = agreeing(client)
    engine, both = client._engine, threading.Barrier(2)
    original = engine._until

    def together(*arguments):
        both.wait(10)
        return original(*arguments)

    monkeypatch.setattr(engine, "_until", together)
    with ThreadPoolExecutor(2) as pool:
        causes = sorted(pool.map(lambda _: visitor.decide("promotion", "none").cause, range(2)))
    assert causes == ["", "capped"]


# What is on its way


def while_saving(client, monkeypatch, *, before=None, after=None) -> None:
    """Do something once, right before or right after what waits is committed."""
    custody = client._engine.custody
    original = custody.join

    def join(*arguments, **named):
        monkeypatch.setattr(custody, "join", original)
        if before:
            before()
        verdict = original(*arguments, **named)
        if after:
            after()
        return verdict

    monkeypatch.setattr(custody, "join", join)


def test_a_decision_before_the_flush_commits_counts_what_is_on_its_way(shop, monkeypatch):
    cap_at(shop, 3)
    client = shop.open()
    visitor = agreeing(client)
    assert given(visitor, 2) == ["", ""]
    causes: list[str] = []

    def decide():
        client._engine._open.clear()
        causes.extend(given(visitor, 2))

    while_saving(client, monkeypatch, before=decide)
    client.flush()
    assert causes == ["", "capped"]
    assert given(visitor, 1) == ["capped"]
    assert held(visitor)["times_shown"] == {"promotion": 3}


def test_a_decision_after_the_flush_commits_never_gives_too_much_and_is_not_held_against_anyone(shop, monkeypatch):
    cap_at(shop, 4)
    client = shop.open()
    visitor = agreeing(client)
    assert given(visitor, 2) == ["", ""]
    while_saving(client, monkeypatch, after=lambda: given(visitor, 1))
    client.flush()
    client.flush()
    rest = given(visitor, 4)
    client.flush()
    shown = held(visitor)["times_shown"]["promotion"]
    assert shown == 4
    assert rest[-1] == "capped"


def test_what_arrives_while_a_visitor_is_being_opened_is_counted(shop, monkeypatch):
    """The store was read before the flush wrote it, what waits after: without a second look it would be in neither."""
    cap_at(shop, 2)
    client = shop.open()
    visitor = agreeing(client)
    assert given(visitor, 2) == ["", ""]
    engine = client._engine
    engine._open.clear()
    original = engine._until

    def flush_first(*arguments):
        monkeypatch.setattr(engine, "_until", original)
        client.flush()
        return original(*arguments)

    monkeypatch.setattr(engine, "_until", flush_first)
    assert given(visitor, 1) == ["capped"]


def test_a_flush_within_a_flush_writes_nothing_twice_and_loses_nothing(shop, client, agreed, monkeypatch):
    first = agreed.decide("promotion", "none").receipt.id
    second: list[int] = []

    def another():
        second.append(agreed.decide("promotion", "none").receipt.id)
        client._engine.flush()

    while_saving(client, monkeypatch, before=another)
    client.flush()
    assert [int(receipt["id"], 16) for receipt in held(agreed)["receipts"]] == [first, *second]


def test_a_flush_that_fails_beside_another_takes_back_its_own(shop, client, agreed, monkeypatch):
    first = agreed.decide("promotion", "none").receipt.id

    def refused(*_, **__):
        agreed.decide("promotion", "none")
        monkeypatch.undo()
        client._engine.flush()
        raise Unavailable("is busy")

    monkeypatch.setattr(client._engine.custody, "join", refused)
    client.flush()
    receipts = held(agreed)["receipts"]
    assert len(receipts) == 2
    assert int(receipts[0]["id"], 16) == first


def test_a_flush_that_is_interrupted_keeps_everything_waiting(shop, client, monkeypatch):
    visitors = [agreeing(client, f"customer-{number}") for number in range(3)]
    for visitor in visitors:
        given(visitor, 1)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(client._engine.custody, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.flush()
    monkeypatch.undo()
    assert [len(held(visitor)["receipts"]) for visitor in visitors] == [1, 1, 1]


def test_a_store_out_of_reach_is_tried_once_a_flush(shop, client, monkeypatch):
    """Each try may wait a second: closing a client with many visitors waiting would never end."""
    for number in range(settling._TOGETHER + 3):
        given(agreeing(client, f"customer-{number}"), 1)
    tried: list[set[bytes]] = []

    def refused(parts, *_, **__):
        tried.append(set(parts))
        raise Unavailable("is busy")

    monkeypatch.setattr(client._engine.custody, "join", refused)
    for _ in range(2):
        told = client.flush()
        assert (told.accepted, told.cause) == (False, "unavailable")
    assert len(tried) == 2
    assert not tried[0] <= tried[1], "one visitor does not stand in the way of the others for ever"
    monkeypatch.undo()
    assert client.flush().accepted
    assert client._engine.waiting.leave() == {}


def several(client, count: int = 5) -> list:
    """Return visitors with one receipt each that waits."""
    visitors = [agreeing(client, f"customer-{number}") for number in range(count)]
    for visitor in visitors:
        given(visitor, 1)
    return visitors


def transactions(client, monkeypatch) -> list[int]:
    """Return how many rows each transaction that is to come writes."""
    seen: list[int] = []
    original = client._engine.custody.store.transact

    def transact(writes, **named):
        seen.append(len(writes))
        assert not named["durable"], "receipts survive a crash of the process; nobody waits for the disk"
        return original(writes, **named)

    monkeypatch.setattr(client._engine.custody.store, "transact", transact)
    return seen


def test_several_visitors_are_written_in_one_transaction_and_consent_is_not_read_again(client, monkeypatch):
    visitors = several(client)
    store, read = client._engine.custody.store, []
    original = store.read
    written = transactions(client, monkeypatch)
    monkeypatch.setattr(store, "read", lambda name, now: read.append(name) or original(name, now))
    client.flush()
    assert written == [2 * len(visitors)]
    assert read == []
    monkeypatch.undo()
    assert [len(held(visitor)["receipts"]) for visitor in visitors] == [1] * len(visitors)


def test_who_withdraws_meanwhile_does_not_hold_up_the_others_and_nothing_of_theirs_is_written(
    shop, client, monkeypatch
):
    visitors, elsewhere = several(client), shop.open_as_is()
    while_saving(client, monkeypatch, before=lambda: elsewhere.visitor("customer-2").consent({}))
    client.flush()
    assert visitors.pop(2).export().data["purposes"] == {}
    assert [len(held(visitor)["receipts"]) for visitor in visitors] == [1] * len(visitors)
    assert client._engine.waiting.leave() == {}
    again = client.visitor("customer-2")
    assert again.consent(client.example_choices).accepted
    assert held(again)["receipts"] == []


def test_who_is_written_by_another_process_meanwhile_does_not_hold_up_the_others(shop, client, monkeypatch):
    visitors, elsewhere = several(client), shop.open_as_is()

    def observed_there():
        given(elsewhere.visitor("customer-2"), 1)
        elsewhere.flush()

    while_saving(client, monkeypatch, before=observed_there)
    client.flush()
    assert [len(held(visitor)["receipts"]) for visitor in visitors] == [1, 1, 2, 1, 1]


def test_a_record_that_does_not_open_is_told_and_costs_the_others_nothing(client, monkeypatch):
    visitors = several(client)
    engine = client._engine
    original = engine.custody.drawers

    def damaged(handle, *more, **named):
        if handle == visitors[2]._handle:
            raise Malformed("is not a hot record", place="hot record")
        return original(handle, *more, **named)

    monkeypatch.setattr(engine.custody, "drawers", damaged)
    with pytest.raises(Malformed):
        engine.flush()
    monkeypatch.undo()
    assert [len(held(visitor)["receipts"]) for visitor in visitors] == [1, 1, 0, 1, 1]
    assert engine.waiting.leave() == {}


def test_a_consent_that_an_open_record_knows_wrongly_is_read_before_anything_is_dropped(client, agreed, monkeypatch):
    """The row has moved since: what names the old one is refused, and asked for again."""
    given(agreed, 1)
    engine = client._engine
    seen = engine._open[agreed._handle]
    seen.standing = replace(seen.standing, row=bytes(8))
    client.flush()
    assert len(held(agreed)["receipts"]) == 1


def test_visitors_of_one_shard_are_not_opened_anew_for_one_another_and_another_process_is_heard(
    shop, client, monkeypatch
):
    for one in (client, elsewhere := shop.open_as_is()):
        monkeypatch.setattr(one._engine.custody.counters, "shard_of", lambda _: 7)
    visitors, engine = several(client, 3), client._engine
    client.flush()
    given(visitors[0], 1)
    given(visitors[1], 1)
    before = [opened(client, visitor) for visitor in visitors]
    client.flush()
    assert [engine.open(visitor._handle, shop.clock(), None) for visitor in visitors] == before
    elsewhere.visitor("customer-2").observe("view_item", category="boots")
    again = [engine.open(visitor._handle, shop.clock(), None) for visitor in visitors]
    assert not any(new is old for new, old in zip(again, before, strict=True))


def head_of(seen) -> bytes:
    return bytes(memoryview(seen.head).cast("B"))


def test_an_event_is_taken_into_the_open_record_as_if_it_had_been_opened_anew(shop, client, agreed):
    given(agreed, 1)
    before = opened(client, agreed)
    for name, said in (("view_item", {"category": "boots"}), ("purchase", {"value": 4900, "currency": "EUR"})):
        was = head_of(opened(client, agreed))
        assert agreed.observe(name, **said).accepted
        given(agreed, 1)
        assert opened(client, agreed) is before, "our own write opens nobody anew"
        taken = head_of(before)
        assert taken != was
        client._engine._open.pop(agreed._handle)
        given(agreed, 1)
        assert head_of(opened(client, agreed)) == taken
        client._engine._open[agreed._handle] = before
    shop.open_as_is().visitor("customer-42").observe("view_item", category="boots")
    given(agreed, 1)
    assert opened(client, agreed) is not before, "another process's does"


def test_an_event_asks_the_store_how_consent_stands_only_where_no_open_record_says(client, agreed, monkeypatch):
    given(agreed, 1)
    store, read = client._engine.custody.store, []
    original = store.read
    monkeypatch.setattr(store, "read", lambda name, now: read.append(name) or original(name, now))
    assert agreed.observe("view_item", category="boots").accepted
    assert read == []
    client._engine._open.clear()
    assert agreed.observe("view_item", category="boots").accepted
    assert len(read) == 1


def test_a_record_that_was_opened_under_another_pair_meanwhile_is_opened_anew(client, agreed, monkeypatch):
    engine, meanwhile = client._engine, []
    original = engine.custody.drawers

    def switched(*given_, **named):
        monkeypatch.setattr(engine.custody, "drawers", original)
        engine.active = replace(engine.active)
        given(agreed, 1)
        meanwhile.append(opened(client, agreed))
        return original(*given_, **named)

    monkeypatch.setattr(engine.custody, "drawers", switched)
    assert agreed.observe("view_item", category="boots").accepted
    given(agreed, 1)
    assert [opened(client, agreed)] != meanwhile
    assert opened(client, agreed).head[0] == 1


def test_an_event_of_the_last_bucket_is_not_folded_into_a_record_of_this_one(shop, client, agreed):
    shop.clock.now = MIDNIGHT - 1
    assert agreed.observe("purchase", value=500, currency="EUR").accepted
    before, engine = shop.clock.now, client._engine
    event = parse_event("purchase", {"value": 500, "currency": "EUR"}, time=before, now=before)
    shop.clock.now += 1
    given(agreed, 1)
    engine.observe(agreed._handle, [event], before)  # its thread read the clock, and then waited for its turn
    used = head_of(engine.open(agreed._handle, shop.clock.now, None))
    assert used == head_of(engine._read(agreed._handle, shop.clock.now, None))


def test_an_event_in_a_new_epoch_moves_a_visitor_who_was_only_looked_at_in_it(shop, client, agreed):
    custody, policy = client._engine.custody, client.policy
    shop.clock.now = custody.epoch_end(NOON)
    epoch = shop.clock.now // policy.epoch
    given(agreed, 1)
    assert custody._standing(agreed._handle, policy, shop.clock.now, epoch) is None
    assert agreed.observe("view_item", category="boots").accepted
    assert custody._standing(agreed._handle, policy, shop.clock.now, epoch) is not None
    assert custody._standing(agreed._handle, policy, shop.clock.now, epoch - 1) is None


def test_an_event_on_a_device_that_signed_in_is_taken_into_what_is_granted_there_too(shop, client):
    device, account = agreeing(client, "device"), agreeing(client, "account")
    signed = device.link(account)
    for visitor in (signed, account):
        given(visitor, 1)
    at = account._handle + device._handle
    assert signed.observe("view_item", category="boots").accepted
    heads = [client._engine._open[key].head[0] for key in (account._handle, at)]
    assert heads == [1, 1]
    assert device.consent({"history": True}).accepted
    given(signed, 1)
    assert account.observe("view_item", category="boots").accepted
    assert client._engine._open[account._handle].head[0] == 2
    assert np.isnan(client._engine._open[at].head[0])
    given(account, 1)
    assert signed.observe("view_item", category="boots").cause == "consent_missing"
    assert held(account)["features"]["visit_views_7d"] == 2


def test_a_flush_of_our_own_opens_nobody_anew_and_anothers_write_does(shop, client, agreed, monkeypatch):
    given(agreed, 1)
    opened = client._engine._open[agreed._handle]
    client.flush()
    given(agreed, 1)
    assert client._engine._open[agreed._handle] is opened, "what was written is what it holds already"
    elsewhere = shop.open_as_is()
    elsewhere.visitor("customer-42").observe("view_item", category="boots")
    given(agreed, 1)
    assert client._engine._open[agreed._handle] is not opened
    assert held(agreed)["features"]["visit_views_7d"] == 1


def test_who_is_opened_while_their_counts_are_on_their_way_is_counted_anew(shop, monkeypatch):
    cap_at(shop, 3)
    client = shop.open()
    visitor = agreeing(client)
    assert given(visitor, 1) == [""]
    original = client._engine.custody.join

    def opened_meanwhile(*given_, **named):
        verdict = original(*given_, **named)
        client._engine._open.clear()
        client._engine.open(visitor._handle, shop.clock(), None)  # stored by now, and still on its way: counted twice
        return verdict

    monkeypatch.setattr(client._engine.custody, "join", opened_meanwhile)
    client.flush()
    monkeypatch.undo()
    assert given(visitor, 3) == ["", "", "capped"]


def test_an_export_does_not_fail_for_another_visitors_damaged_record(client, agreed, monkeypatch):
    other = agreeing(client, "customer-43")
    given(agreed, 1)
    given(other, 1)
    original = settling.settle

    def damaged(engine, tallies, *more):
        if any(handle == other._handle for handle, _, _ in tallies):
            raise Malformed("is not a hot record", place="hot record")
        original(engine, tallies, *more)

    monkeypatch.setattr(settling, "settle", damaged)
    assert len(held(agreed)["receipts"]) == 1


def test_a_choice_that_is_repeated_frees_no_cap_and_costs_no_receipt(shop):
    cap_at(shop, 2)
    client = shop.open()
    visitor = agreeing(client)
    assert given(visitor, 2) == ["", ""]
    visitor.consent(client.example_choices)
    assert given(visitor, 1) == ["capped"]
    assert len(held(visitor)["receipts"]) == 3


def test_a_withdrawal_is_taken_though_what_waits_cannot_be_written(client, agreed, monkeypatch):
    given(agreed, 1)

    def refused(*_):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(settling, "settle", refused)
    assert agreed.consent({}).accepted
    assert agreed._handle not in client._engine._open
    assert client._engine.waiting.leave() == {}


# The clock


def test_an_open_record_holds_to_the_second_of_its_next_bucket(shop, client, agreed):
    agreed.observe("view_item")
    given(agreed, 1)
    for ahead, again in [(0, False), (HOUR - 1, False), (1, True), (HOUR - 1, False)]:
        seen = opened(client, agreed)
        shop.clock.now += ahead
        given(agreed, 1)
        assert (opened(client, agreed) is not seen) == again


@pytest.mark.parametrize(("at", "hour", "weekday"), [(MIDNIGHT - 1, 23, 0), (MIDNIGHT, 0, 1)])
def test_hour_and_weekday_turn_at_midnight_utc(shop, client, agreed, at, hour, weekday):
    first = (NOON // DAY + 3) % 7
    given(agreed, 1)
    shop.clock.now = at
    given(agreed, 1)
    head = np.asarray(opened(client, agreed).head)
    assert list(head[4:6]) == [hour, (first + weekday) % 7]


def test_a_window_lets_go_at_midnight(shop, client, agreed):
    agreed.observe("view_item")
    shop.clock.now = MIDNIGHT + 6 * DAY - 1
    assert held(agreed)["features"]["visit_views_7d"] == 1
    given(agreed, 1)
    assert opened(client, agreed).head[0] == 1
    shop.clock.now += 1
    assert held(agreed)["features"]["visit_views_7d"] == 0
    given(agreed, 1)
    assert opened(client, agreed).head[0] == 0


def test_a_cap_frees_at_midnight_in_memory_and_from_the_store(shop):
    cap_at(shop, 1, days=2)
    client, other = shop.open(), shop.open()
    visitor = agreeing(client)
    assert given(visitor, 2) == ["", "capped"]
    shop.clock.now = MIDNIGHT + DAY - 1
    assert given(visitor, 1) == ["capped"]
    client.flush()
    assert given(other.visitor("customer-42"), 1) == ["capped"]
    shop.clock.now += 1
    assert given(other.visitor("customer-42"), 1) == [""]
    other.flush()
    assert given(visitor, 1) == ["capped"]


def test_an_open_record_ends_with_its_consent_to_the_second(shop, client, agreed):
    shop.clock.now += client.policy.purposes["personalize"].lifetime - 1
    assert given(agreed, 2) == ["", ""]
    shop.clock.now += 1
    assert given(agreed, 1) == ["consent_missing"]


def test_an_open_record_ends_with_its_bundle_to_the_second(shop):
    rewrite(shop, expires=NOON + 90)
    client = shop.open()
    visitor = agreeing(client)
    shop.clock.now += 89
    assert given(visitor, 2) == ["", ""]
    shop.clock.now += 1
    assert given(visitor, 1) == ["no_bundle"]


def test_a_new_epoch_begins_to_the_second_and_the_profile_moves_along(shop, client):
    custody = client._engine.custody
    start = custody.epoch_end(NOON)
    shop.clock.now = start - 1
    visitor = agreeing(client)
    visitor.observe("view_item")
    assert given(visitor, 1) == [""]
    client.flush()
    seen, names = opened(client, visitor), []
    original = custody._pseudonym

    def spy(handle, purpose, epoch):
        names.append(epoch)
        return original(handle, purpose, epoch)

    custody._pseudonym = spy
    shop.clock.now = start
    assert given(visitor, 1) == [""]
    assert opened(client, visitor) is not seen
    assert set(names) == {start // client.policy.epoch, start // client.policy.epoch - 1}
    kept = held(visitor)
    assert kept["features"]["visit_views_7d"] == 1
    assert len(kept["receipts"]) >= 1
    names.clear()
    given(visitor, 1)
    assert set(names) == {start // client.policy.epoch}


def test_a_clock_that_goes_back_is_looked_at_again(shop, client, agreed):
    given(agreed, 1)
    seen = opened(client, agreed)
    shop.clock.now -= 1
    given(agreed, 1)
    assert opened(client, agreed) is not seen


def test_an_event_id_is_forgotten_after_a_day_by_an_export_too(shop, agreed):
    agreed.observe("view_item", id="e-1")
    shop.clock.now += DAY - 1
    assert held(agreed)["events_remembered"] == 1
    shop.clock.now += 1
    assert held(agreed)["events_remembered"] == 0


# Context


COMMON = {"purpose": "personalize", "category": "user.behavior", "source": "first_party", "retention_days": 0}


@pytest.fixture
def told(shop):
    """A client whose bundle is told a number (`size`) and a category (`page`) with the decision."""
    features = list(read_bundle(shop.bundle.read_bytes()).manifest.features)
    features[4] = parse_feature(Table({"name": "hour", "kind": "context", "field": "size", **COMMON}))
    page = {"name": "weekday", "kind": "context", "field": "page", "values": ["home", "cart"], **COMMON}
    features[5] = parse_feature(Table(page))
    rewrite(shop, features=tuple(features), promotion=promotion(shop))
    client = shop.open()
    return client, agreeing(client)


def scored(client, visitor, context) -> np.ndarray:
    """Return the two columns of context as the model saw them."""
    (scorer,) = client._engine.active.scorers.values()
    assert visitor.decide("promotion", "none", context).cause == ""
    return np.array(scorer._local.bound.row)[4:6]


LARGEST = float(np.finfo(np.float32).max)
MIDWAY = 2.0**128 - 2.0**103


@pytest.mark.parametrize(
    "number",
    [
        *(0, -0.0, 0.1, -7.5, 1e-46, 1e30, 2**24 + 1, 2**53 + 1, 2**63, LARGEST, -LARGEST, np.nextafter(MIDWAY, 0)),
        *(MIDWAY, -MIDWAY, 1e39, -1e300, float("inf"), float("-inf"), float("nan")),
    ],
)
def test_a_context_number_is_what_the_central_engine_makes_of_it(told, number):
    import pyarrow as pa

    from entrenous_exporters.tables import _context

    client, visitor = told
    given = float(number) if abs(number) >= 2**63 else number
    column = pa.table({"context_size": pa.array([given] + [type(given)(0)] * 999)})
    central, _ = _context(client._engine.active.bundle.manifest.features[4], column)
    size, page = scored(client, visitor, {"size": number})
    assert np.isnan(page)
    np.testing.assert_array_equal(np.float32(size), central[0])
    assert np.signbit(size) == np.signbit(central[0]) or np.isnan(size)


@pytest.mark.parametrize("number", [10**400, -(10**400), 2**128 - 2**103 - 1, 2**1024])
def test_an_integer_past_float32_is_absent(told, number):
    assert np.isnan(scored(*told, {"size": number})).all()


@pytest.mark.parametrize(("page", "code"), [("home", 0), ("cart", 1), ("unlisted", np.nan), ("\ud800", np.nan)])
def test_a_context_category_is_its_code(told, page, code):
    np.testing.assert_array_equal(scored(*told, {"page": page}), [np.nan, code])


@pytest.mark.parametrize(
    "context",
    [{"size": True}, {"size": "1"}, {"size": None}, {"page": 1}, {"page": True}, {"day": 1}, {1: 1}, [1], "x"],
)
def test_context_of_another_type_is_refused(told, context):
    answer = told[1].decide("promotion", "fallback", context)
    assert (answer.value, answer.reason, answer.cause, answer.receipt) == ("fallback", "ERROR", "bad_context", None)


def test_context_of_one_decision_is_gone_in_the_next(told):
    assert scored(*told, {"size": 3, "page": "cart"}).tolist() == [3, 1]
    assert np.isnan(scored(*told, None)).all()


# Bundles


def feature(**changes) -> Feature:
    read = {"name": "visit_views_7d", "kind": "count", "event": "view_item", "window": 7}
    return parse_feature(
        Table(COMMON | {"category": "user.behavior.browsing_history", "retention_days": 30} | read | changes)
    )


def test_another_bundle_finds_the_series_it_shares_and_nothing_of_the_others(shop):
    first = shop.open()
    visitor = agreeing(first)
    for event in ("view_item", "view_item", "add_to_cart"):
        visitor.observe(event, category="boots", price=500, currency="EUR")
    features = list(read_bundle(shop.bundle.read_bytes()).manifest.features)
    features[0] = feature(name="visit_views_30d", window=30)
    features[1] = feature(name="visit_days_7d", kind="days")
    features[3] = feature(name="visit_searches_7d", event="search")
    rewrite(shop, features=tuple(features))
    later = shop.open()
    same = later.visitor("customer-42")
    expected = {"visit_views_30d": 2, "visit_days_7d": 1, "visit_taste_30d": "boots", "visit_searches_7d": 0}
    assert held(same)["features"] == expected
    same.observe("search")
    assert held(same)["features"] == expected | {"visit_searches_7d": 1}
    assert held(visitor)["features"]["visit_carts_7d"] == 0, "what no feature asks for any more went with the write"
    assert held(visitor)["features"]["visit_views_7d"] == 2


def test_a_switch_of_the_active_pair_is_seen_by_the_next_decision(shop):
    client = shop.open()
    visitor = agreeing(client)
    visitor.observe("view_item")
    before = visitor.decide("promotion", "none").receipt.basis.bundle
    read = read_bundle(shop.bundle.read_bytes())
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, version=2), read.models))
    client._engine.active = shop.open()._engine.active
    after = visitor.decide("promotion", "none").receipt.basis.bundle
    assert (before, after) == ("demo_promotions 1", "demo_promotions 2")


def test_two_decisions_share_a_model_and_a_purpose_and_count_apart(shop):
    rule = promotion(shop)
    wide, narrow = replace(rule.cap, decisions=3, days=7), replace(rule.cap, decisions=1, days=1)
    rewrite(shop, promotion=replace(rule, cap=wide), banner=replace(rule, cap=narrow), free=replace(rule, cap=None))
    client = shop.open()
    visitor = agreeing(client)
    margins = {visitor.decide(name, "none").margin for name in ("promotion", "banner", "free")}
    assert len(margins) == 1
    assert visitor.decide("banner", "none").cause == "capped"
    client.flush()
    shop.clock.now += DAY
    assert visitor.decide("banner", "none").cause == ""
    assert given(visitor, 3) == ["", "", "capped"]
    shop.clock.now += 5 * DAY
    client.flush()
    assert given(visitor, 1) == ["capped"], "the wide window is not cut by the narrow one"
    assert visitor.decide("free", "none").cause == ""


def test_two_decisions_of_two_purposes_keep_their_receipts_apart(shop):
    rule = promotion(shop)
    rewrite(shop, promotion=rule, banner=replace(rule, purpose="history"))
    client = shop.open()
    visitor = agreeing(client)
    given(visitor, 2)
    visitor.decide("banner", "none")
    assert [len(held(visitor, purpose)["receipts"]) for purpose in ("personalize", "history")] == [2, 1]
    visitor.consent({"personalize": True})
    assert visitor.decide("banner", "none").cause == "consent_missing"
    assert len(held(visitor)["receipts"]) == 2


def test_a_decisions_purpose_may_have_no_feature(shop):
    cap_at(shop, 2, purpose="measure")
    client = shop.open()
    visitor = agreeing(client)
    assert given(visitor, 3) == ["", "", "capped"]
    assert held(visitor, "measure")["times_shown"] == {"promotion": 2}
    assert held(visitor, "measure")["features"] == {}
    visitor.consent({"personalize": True, "history": True})
    assert given(visitor, 1) == ["consent_missing"]


def test_an_experiments_key_is_there_before_its_first_visitor(shop, monkeypatch):
    """Making one waits for a lock and for the disk: nothing for a visitor's path."""
    experiment = Experiment(id="another", purpose="measure", holdout=5000)
    rewrite(shop, promotion=replace(promotion(shop), experiment=experiment))
    client = shop.open()
    visitor = agreeing(client)

    def asked(*_):
        raise AssertionError("the keyring was asked on the visitor's path")

    monkeypatch.setattr(client._engine.custody.keyring, "experiment_key", asked)
    assert given(visitor, 1)[0] in ("", "holdout")


def test_a_margin_that_depends_on_what_its_pattern_withholds_is_refused(shop):
    """Granted but not in the pattern: the receipt would say that it was not looked at."""
    read = read_bundle(shop.bundle.read_bytes())
    rule = read.manifest.decisions["promotion"]
    swapped = tuple(
        Pattern(purposes=purposes, column=column, cuts=pattern.cuts)
        for column, (pattern, purposes) in enumerate(
            zip(rule.patterns, [("personalize",), ("history", "personalize")], strict=True)
        )
    )
    rewrite(shop, promotion=replace(rule, patterns=swapped))
    with pytest.raises(Malformed, match=r"reads feature [678], which is withheld from output 0"):
        shop.open()


# Bounds


def test_routes_of_many_combinations_of_consent_are_not_kept_for_ever(client, monkeypatch):
    monkeypatch.setattr("entrenous.active._MOST_ROUTES", 4)
    active = client._engine.active
    for number in range(20):
        active.routes(frozenset({"personalize", f"purpose_{number}"}))
    assert len(active._routes) <= 4


def test_a_profile_that_would_outgrow_what_is_read_again_refuses_the_event(agreed, monkeypatch):
    agreed.observe("view_item", category="boots", price=100, currency="EUR")
    monkeypatch.setattr("entrenous.profile._LIMIT", 150)
    outcomes = [
        agreed.observe("view_item", category="bags", price=100, currency="EUR", time=NOON - DAY * day)
        for day in range(29)
    ]
    assert "longer than 150 bytes" in outcomes[-1].message
    taken = sum(outcome.accepted for outcome in outcomes)
    assert 0 < taken < 29
    assert agreed.decide("promotion", "none").reason in ("TARGETING_MATCH", "SPLIT")


def test_open_records_that_lie_idle_are_dropped_at_a_flush(shop, client, agreed):
    given(agreed, 1)
    shop.clock.now += 1
    client.flush()
    assert agreed._handle in client._engine._open
    shop.clock.now += 1
    client.flush()
    assert agreed._handle not in client._engine._open


# Other processes


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_answers_defaults_and_touches_nothing_of_its_parents(shop, client, agreed):
    given(agreed, 1)
    client._engine.lock.acquire()
    before = shop.files()
    child = os.fork()
    if not child:
        failed = 1
        try:
            answer = agreed.decide("promotion", "fallback")
            assert (answer.value, answer.reason, answer.cause) == ("fallback", "ERROR", "unavailable")
            assert agreed.observe("view_item").cause == agreed.erase().cause == "unavailable"
            client.close()
            failed = 0
        finally:
            os._exit(failed)
    _, status = os.waitpid(child, 0)
    client._engine.lock.release()
    assert status == 0
    assert shop.files() == before
    assert len(held(agreed)["receipts"]) == 1
