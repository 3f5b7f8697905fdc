"""From the publisher to the next decision: what switches, what stays, and what is said of it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.shop import BUNDLE_PATH, DAY, NOON, POLICY_PATH, Shop

from entrenous import Limits
from entrenous.updates.fetch import DirectorySource
from entrenous.updates.retained import State
from entrenous_consent import audit
from entrenous_consent.errors import Malformed, Missing, Unauthentic, Unavailable
from entrenous_consent.packing import unpack

MAX_STALE = 14 * DAY


def digests(client) -> tuple[bytes, bytes | None]:
    active = client._engine.active
    return active.policy.digest, active.bundle and active.bundle.digest


def versions(client) -> tuple[int, int | None]:
    return client.policy.version, client.bundle and client.bundle.version


def noted(client, *kinds: str) -> list[dict]:
    """Return the details of the audit entries that concern no visitor."""
    entries = client._engine.custody.store.log(audit.log_name(client._engine.clock()))
    read = [unpack(entry, place="entry", longest=1 << 16) for entry in entries]
    return [detail for _, _, kind, _, detail in read if kind in (kinds or ("activation", "refusal"))]


def serves(decision, policy: int, bundle: int) -> bool:
    basis = decision.receipt.basis
    return (basis.policy, basis.bundle) == (policy, f"demo_promotions {bundle}")


# Switching


def test_a_newer_bundle_switches_and_loses_no_profile_no_receipt_and_no_cap(shop, client, agreed, ask):
    agreed.observe("view_item", category="boots", price=500, currency="EUR")
    first = ask(agreed)
    shop.release(bundle=2)
    assert client.refresh().data == {"policy": 1, "bundle": 2, "changed": True}
    second = ask(agreed)
    assert serves(first, 1, 1)
    assert serves(second, 1, 2)
    assert second.margin == first.margin
    held = agreed.export().data["purposes"]["personalize"]
    assert held["features"]["visit_views_7d"] == 1
    assert [receipt["bundle"] for receipt in held["receipts"]] == ["demo_promotions 1", "demo_promotions 2"]
    assert held["times_shown"] == {"promotion": 2}


def test_a_poll_that_finds_nothing_new_changes_nothing(shop, client, agreed, ask):
    ask(agreed)
    active, seen = client._engine.active, client._engine._open[agreed._handle]
    assert client.refresh().data == {"policy": 1, "bundle": 1, "changed": False}
    ask(agreed)
    assert client._engine.active is active
    assert client._engine._open[agreed._handle] is seen
    assert len(noted(client)) == 1


def test_a_newer_policy_alone_opens_no_model_again(shop, client, agreed, ask):
    scorers = client._engine.active.scorers
    shop.release(policy=2)
    assert client.refresh().data == {"policy": 2, "bundle": 1, "changed": True}
    assert client._engine.active.scorers is scorers
    assert serves(ask(agreed), 2, 1)


def test_a_policy_that_forbids_the_bundle_switches_it_off_and_keeps_the_rest(shop, client, agreed, ask):
    agreed.observe("view_item")
    ask(agreed)
    shop.release(policy=2, without="visit_*")
    outcome = client.refresh()
    assert (outcome.accepted, outcome.cause) == (False, "forbidden")
    assert "visit_" in outcome.message
    assert versions(client) == (2, None)
    assert ask(agreed)[:3] == ("none", "DEFAULT", "no_bundle")
    assert client.context_keys == frozenset()
    assert agreed.observe("view_item").accepted
    assert agreed.export().data["consent"]["granted"] == sorted(client.example_choices)
    assert agreed.consent({"history": True}).accepted
    assert agreed.export().data["consent"]["granted"] == ["history"]
    assert agreed.erase().accepted
    assert agreed.export().data == {}


def test_receipts_that_come_too_late_cut_no_profile_short(shop, client, agreed, ask):
    """Without a bundle nobody says how long a profile is kept: it stays as it was written."""
    agreed.observe("view_item")
    ask(agreed)
    shop.release(policy=2, without="visit_*")
    client.refresh()
    client.flush()
    text = shop.shown[POLICY_PATH][1].decode()
    shop.shown[POLICY_PATH] = 3, shop.policy.read_text().replace("\nversion = 1\n", "\nversion = 3\n").encode()
    assert text != shop.shown[POLICY_PATH][1].decode()
    shop.show()
    shop.clock.now += DAY
    assert client.refresh().data == {"policy": 3, "bundle": 1, "changed": True}
    assert agreed.export().data["purposes"]["personalize"]["features"]["visit_views_7d"] == 1


def test_a_policy_with_another_epoch_is_taken_on_and_visitors_are_strangers_again(shop, client, agreed, ask):
    text = shop.policy.read_text()
    shop.policy.write_text(text.replace("epoch_days = 400", "epoch_days = 300"))
    shop.publish()
    assert client.refresh().accepted
    assert client._engine.custody.epoch_end(NOON) % (300 * DAY) == 0
    assert ask(agreed).cause == "consent_missing"
    assert agreed.consent(client.example_choices).accepted
    assert ask(agreed).reason == "TARGETING_MATCH"


@pytest.fixture
def hasty():
    """Threads that change places all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_decisions_during_fifty_switches_never_see_a_mixed_pair(shop, client, hasty):
    """Policy and bundle are raised together: who refreshes sees both at once. Elsewhere the policy may come first, with
    the bundle before, which it permits; an older policy with a newer bundle is seen by nobody."""
    other, over = shop.open(), threading.Event()

    def decide(host) -> set[tuple]:
        visitor, seen = host.visitor("customer-42"), set()
        assert visitor.consent(client.example_choices).accepted
        while not over.wait(0.0005):  # else they starve whoever switches
            basis = visitor.decide("promotion", "none").receipt.basis
            seen.add((basis.policy, basis.bundle))
        return seen

    with ThreadPoolExecutor(2) as pool:
        here, there = pool.submit(decide, client), pool.submit(decide, other)
        try:
            for number in range(2, 52):
                shop.release(policy=number, bundle=number)
                assert client.refresh().data == {"policy": number, "bundle": number, "changed": True}
                other.flush()
        finally:
            over.set()
    whole = {(number, f"demo_promotions {number}") for number in range(1, 52)}
    first = {(number, f"demo_promotions {number - 1}") for number in range(2, 52)}
    assert len(here.result()) > 10
    assert here.result() <= whole
    assert len(there.result()) > 10
    assert there.result() <= whole | first


# The other process


def test_a_narrower_policy_holds_from_the_next_decision_of_a_process_that_asks_nobody(shop, client, agreed, ask):
    other = shop.open()
    same = other.visitor("customer-42")
    assert ask(same).reason == "TARGETING_MATCH"
    shop.release(policy=2, without="visit_*")
    client.refresh()
    assert ask(same)[:3] == ("none", "DEFAULT", "no_bundle")
    assert other.policy.version == 2


def test_a_newer_policy_that_permits_is_taken_at_a_glance_and_the_newer_bundle_at_the_next_flush(shop, client, ask):
    other = shop.open()
    visitor = other.visitor("customer-42")
    visitor.consent(other.example_choices)
    ask(visitor)
    shop.release(policy=2, bundle=2)
    client.refresh()
    assert serves(ask(visitor), 2, 1)
    other.flush()
    assert serves(ask(visitor), 2, 2)
    assert digests(other) == digests(client)


def test_a_bundle_rejected_in_one_process_is_gone_from_the_next_decision_of_the_other(shop, client, agreed, ask):
    other = shop.open()
    same = other.visitor("customer-42")
    assert ask(same).reason == "TARGETING_MATCH"
    assert client.reject_bundle().data == {"bundle": None}
    assert ask(same).cause == "no_bundle"


def test_several_processes_note_one_activation_and_one_refusal(shop, client, agreed):
    others = [shop.open(), shop.open()]
    shop.release(bundle=2)
    for one in (client, *others):
        one.refresh()
        one.flush()
    shop.repository.rename(shop.home / "away")
    for one in (client, *others):
        for _ in range(3):
            assert one.refresh().cause == "unavailable"
    assert [detail["bundle_version"] for detail in noted(client, "activation")] == [1, 2]
    assert len(noted(client, "refusal")) == 1


def test_an_update_under_way_elsewhere_is_no_refusal(shop, client):
    with State(shop.home / "state" / "updates").updating():
        assert client.refresh().cause == "busy"
        assert client.refused is None
        late = shop.open_as_is()
        assert versions(late) == (1, 1)
    assert noted(client, "refusal") == []


def test_a_first_start_beside_another_waits_for_what_that_one_finds(shop):
    shop.publish()
    deployment = replace(shop.deployment, limits=Limits(seconds=0.2))
    (shop.home / "state").mkdir()
    with State(shop.home / "state" / "updates").updating(), pytest.raises(Unavailable, match="at work"):
        shop.open_as_is(deployment=deployment)
    with ThreadPoolExecutor(4) as pool:
        clients = list(pool.map(lambda _: shop.open_as_is(), range(4)))
    assert {versions(client) for client in clients} == {(1, 1)}


# What is refused


def _roll_back(shop: Shop, kept: Path) -> None:
    shop.repository.rename(shop.home / "newer")
    kept.rename(shop.repository)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_repository_rolled_back_while_serving_changes_nothing_and_is_noted(shop, client, agreed, ask):
    import shutil

    kept = Path(shutil.copytree(shop.repository, shop.home / "kept"))
    shop.release(policy=2, bundle=2)
    client.refresh()
    before = digests(client)
    _roll_back(shop, kept)
    for _ in range(3):
        assert client.refresh().cause == "unauthentic"
    assert digests(client) == before
    assert isinstance(client.refused, Unauthentic)
    assert serves(ask(agreed), 2, 2)
    (refusal,) = noted(client, "refusal")
    assert refusal["error"] == "Unauthentic"
    assert refusal["place"]
    assert "version" in refusal["what"]


@pytest.mark.parametrize("path", [BUNDLE_PATH, POLICY_PATH])
def test_a_target_tampered_with_while_serving_changes_nothing_of_its_own(shop, client, agreed, ask, path):
    shop.release(policy=2, bundle=2)
    newest = max(
        (shop.repository / "targets").glob(f"{path.partition('/')[0]}/*"), key=lambda file: file.stat().st_mtime_ns
    )
    _flip(newest)
    bundle = digests(client)[1]
    outcome = client.refresh()
    assert outcome.cause == "unauthentic"
    assert path in outcome.message
    assert versions(client) == ((1, 1) if path == POLICY_PATH else (2, 1))
    assert digests(client)[1] == bundle
    assert ask(agreed).reason == "TARGETING_MATCH"
    (refusal,) = noted(client, "refusal")
    assert refusal == {"error": "Unauthentic", "place": path, "what": refusal["what"]}


def test_after_an_activation_the_same_refusal_is_news_again(shop, client):
    away = shop.home / "away"
    for number in (2, 3):
        shop.repository.rename(away)
        assert not client.refresh().accepted
        away.rename(shop.repository)
        shop.release(bundle=number)
        assert client.refresh().accepted
        assert client.refused is None
    assert len(noted(client, "refusal")) == 2


def test_a_refusal_is_noted_with_bounded_words(shop, client):
    class Wordy:
        def read(self, name: str, seconds: float) -> Iterator[bytes]:
            raise Unavailable("x" * 10_000, place="y" * 10_000)
            yield b""

    client._serving._supply._source = Wordy()
    assert not client.refresh().accepted
    (refusal,) = noted(client, "refusal")
    assert max(len(text) for text in refusal.values()) <= 300


def test_a_model_that_the_runtime_refuses_is_never_taken_and_the_old_pair_serves(
    shop, client, agreed, ask, monkeypatch
):
    other, before = shop.open(), digests(client)
    shop.release(bundle=2)
    monkeypatch.setattr("onnxruntime.InferenceSession", _refuse)
    outcome = client.refresh()
    assert outcome.cause == "malformed"
    assert "bundles/demo_promotions: model: version 2 is refused by onnxruntime" in outcome.message
    monkeypatch.undo()
    assert digests(client) == before
    assert ask(agreed).reason == "TARGETING_MATCH"
    assert len(State(shop.home / "state" / "updates").load().rejected) == 1
    assert client.refresh().cause == "forbidden", "still published, and never taken again"
    other.flush()
    assert digests(other) == before
    shop.release(bundle=3)
    assert client.refresh().accepted
    assert versions(client) == (1, 3)


def test_a_model_refused_at_the_start_leaves_the_default_and_says_why(shop, ask, monkeypatch):
    shop.publish()
    monkeypatch.setattr("onnxruntime.InferenceSession", _refuse)
    client = shop.open_as_is()
    assert isinstance(client.refused, Malformed)
    assert versions(client) == (1, None)
    assert ask(client.visitor("customer-42")).cause == "no_bundle"
    assert [detail["error"] for detail in noted(client, "refusal")] == ["Malformed"]


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL")


def test_where_nothing_can_be_compiled_the_policy_comes_first_all_the_same(shop, client, agreed, ask, monkeypatch):
    shop.release(policy=2, without="visit_*")

    def broken(*_: object, **__: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(client._serving._supply, "open_models", broken)
    assert client.refresh().cause == "unavailable"
    assert versions(client) == (2, None)
    assert ask(agreed).cause == "no_bundle"


def test_a_bundle_that_expires_makes_room_for_an_older_one_that_lasts(shop, client, agreed, ask):
    from entrenous.bundle import encode_bundle, read_bundle

    read = read_bundle(shop.bundle.read_bytes())
    brief = encode_bundle(replace(read.manifest, version=2, expires=NOON + DAY), read.models)
    shop.shown[BUNDLE_PATH] = 2, brief
    shop.show()
    client.refresh()
    assert versions(client) == (1, 2)
    shop.clock.now = shop.updates_clock.now = NOON + DAY
    assert ask(agreed).cause == "no_bundle"
    client.flush()
    assert versions(client) == (1, 1)
    assert ask(agreed).reason == "TARGETING_MATCH"


# Rolling back


def test_a_rejected_bundle_is_never_taken_again_and_a_newer_one_is(shop, client, agreed, ask):
    shop.release(bundle=2)
    client.refresh()
    assert client.reject_bundle().data == {"bundle": 1}
    assert serves(ask(agreed), 1, 1)
    assert client.refresh().cause == "forbidden"
    assert versions(client) == (1, 1)
    again = shop.open_as_is()
    assert versions(again) == (1, 1)
    shop.release(bundle=3)
    assert client.refresh().accepted
    assert serves(ask(agreed), 1, 3)
    assert [detail["bundle_version"] for detail in noted(client, "activation")] == [1, 2, 1, 3]


def test_rolling_back_during_an_update_holds_here_at_once_and_says_that_it_does_not_last(shop, client, agreed, ask):
    shop.release(bundle=2)
    client.refresh()
    with State(shop.home / "state" / "updates").updating():
        assert client.reject_bundle().cause == "busy"
    assert serves(ask(agreed), 1, 1)
    assert State(shop.home / "state" / "updates").load().rejected == ()


def test_without_a_bundle_there_is_nothing_to_reject(shop, client):
    client.reject_bundle()
    assert client.reject_bundle().cause == "no_bundle"


# Offline


def test_offline_it_serves_until_max_stale_then_the_default_and_recovers(shop, client, agreed, ask):
    agreed.observe("view_item")
    shop.repository.rename(shop.home / "away")
    for day in range(15):
        shop.clock.now = shop.updates_clock.now = NOON + day * DAY
        assert client.refresh().cause == "unavailable"
        assert ask(agreed).reason == "TARGETING_MATCH", day
    shop.clock.now = shop.updates_clock.now = NOON + MAX_STALE
    assert ask(agreed).reason == "TARGETING_MATCH"
    shop.clock.now = shop.updates_clock.now = NOON + MAX_STALE + 1
    for _ in range(2):
        assert ask(agreed)[:3] == ("none", "STALE", "stale")
    assert agreed.decide("unheard_of", 7)[:3] == (7, "STALE", "stale")
    assert agreed.observe("view_item").accepted
    assert agreed.export().data["purposes"]["personalize"]["features"]["visit_views_7d"] == 1
    assert agreed.consent({"personalize": True}).accepted
    assert client.visitor("customer-43").erase().accepted
    (shop.home / "away").rename(shop.repository)
    shop.publish(again=True)
    assert client.refresh().accepted
    assert ask(agreed).reason == "TARGETING_MATCH"


def test_what_one_process_hears_ends_the_staleness_of_another_that_has_no_thread(shop, client, agreed, ask):
    other = shop.open()
    same = other.visitor("customer-42")
    shop.clock.now = shop.updates_clock.now = NOON + MAX_STALE + 1
    assert ask(same).reason == "STALE"
    assert client.refresh().accepted
    assert ask(same).reason == "TARGETING_MATCH"


@pytest.mark.parametrize(("own", "longest"), [(DAY, DAY), (30 * DAY, MAX_STALE)])
def test_the_smaller_max_stale_counts_and_a_start_begins_no_new_term(shop, ask, own, longest):
    shop.publish()
    shop.open_as_is()
    shop.repository.rename(shop.home / "away")
    client = shop.open_as_is(deployment=replace(shop.deployment, max_stale=own))
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    shop.clock.now = shop.updates_clock.now = NOON + longest
    assert ask(visitor).reason == "TARGETING_MATCH"
    shop.clock.now = shop.updates_clock.now = NOON + longest + 1
    assert ask(visitor).reason == "STALE"
    assert ask(shop.open_as_is().visitor("customer-42")).reason == ("TARGETING_MATCH" if own == DAY else "STALE")


def test_a_clock_set_back_is_never_earlier_than_the_publisher_was_heard(shop, client, agreed, ask):
    shop.updates_clock.now = NOON + DAY
    client.refresh()
    shop.updates_clock.now = NOON - 100 * DAY
    assert client._serving.remaining() == MAX_STALE + 1
    assert ask(agreed).reason == "TARGETING_MATCH"


def test_a_start_with_nobody_there_serves_what_was_taken(shop, client, ask):
    import shutil

    client.close()
    shutil.rmtree(shop.repository)
    later = shop.open_as_is()
    assert isinstance(later.refused, Unavailable)
    assert versions(later) == (1, 1)
    visitor = later.visitor("customer-42")
    visitor.consent(later.example_choices)
    assert ask(visitor).reason == "TARGETING_MATCH"


def test_a_start_with_nobody_there_and_nothing_taken_is_refused(shop):
    with pytest.raises(Unavailable, match=r"timestamp.json|1.root.json|can't be fetched"):
        shop.open_as_is(source=shop.home / "nowhere", deployment=_deployment(shop))
    assert shop.clients == []


def test_a_state_of_another_tenant_serves_nobody(shop, client):
    with pytest.raises(Malformed, match="another tenant or bundle"):
        shop.open_as_is(deployment=replace(shop.deployment, tenant="someone_else"))


def test_floors_hold_at_a_start_without_the_publisher(shop, client):
    client.close()
    shop.repository.rename(shop.home / "away")
    deployment = replace(shop.deployment, floors={POLICY_PATH: 2})
    with pytest.raises((Unauthentic, Missing), match="under the floor 2"):
        shop.open_as_is(deployment=deployment)


def _deployment(shop: Shop):
    shop.publish()
    return shop.deployment


# Threads and forks


class Gate:
    """A repository whose publisher takes as long as the test wants."""

    def __init__(self, directory: Path) -> None:
        self._files, self.asked, self.open = DirectorySource(directory), threading.Event(), threading.Event()

    def read(self, name: str, seconds: float) -> Iterator[bytes]:
        self.asked.set()
        if not self.open.wait(30):
            raise Unavailable("nobody opened", place=name)
        yield from self._files.read(name, seconds)


def test_a_publisher_that_hangs_delays_nobody(shop, ask):
    gate = Gate(shop.repository)
    gate.open.set()
    shop.publish()
    client = shop.open_as_is(source=gate)
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    shop.release(bundle=2)
    gate.asked.clear()
    gate.open.clear()
    with ThreadPoolExecutor(1) as pool:
        refreshed = pool.submit(client.refresh)
        assert gate.asked.wait(30)
        try:
            assert serves(ask(visitor), 1, 1)
            assert visitor.observe("view_item").accepted
            assert visitor.consent(client.example_choices).accepted
            client.flush()
            assert not refreshed.done()
        finally:
            gate.open.set()
        assert refreshed.result().data["bundle"] == 2
    assert serves(ask(visitor), 1, 2)


def test_a_client_asks_by_itself_and_switches(shop, ask):
    gate, switched = Gate(shop.repository), threading.Event()
    gate.open.set()
    shop.publish()
    client = shop.open_as_is(source=gate, refresh_seconds=0.01)
    original = client._serving._note

    def note(kind: str, detail: dict) -> None:
        original(kind, detail)
        if detail.get("bundle_version") == 2:
            switched.set()

    client._serving._note = note
    shop.release(bundle=2)
    assert switched.wait(30)
    assert versions(client) == (1, 2)
    client.close()
    assert client._updater._thread.is_alive() is False


def test_a_fault_of_the_source_is_an_answer(shop, client, agreed, ask):
    class Broken:
        def read(self, name: str, seconds: float) -> Iterator[bytes]:
            raise ZeroDivisionError

    client._serving._supply._source = Broken()
    assert not client.refresh().accepted
    assert ask(agreed).reason == "TARGETING_MATCH"


def test_after_closing_nothing_switches(shop, client):
    before = client._engine.active
    shop.release(bundle=2)
    client.close()
    assert client.refresh().accepted in (True, False)
    assert client._engine.active is before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_asks_nobody(shop, client):
    child = os.fork()
    if not child:
        failed = 1
        try:
            assert client.refresh().cause == client.reject_bundle().cause == "unavailable"
            failed = 0
        finally:
            os._exit(failed)
    _, status = os.waitpid(child, 0)
    assert status == 0
