"""Messages: what a recipient is told, by a name of its own for the visitor; and that it is told of the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.messages import MAILER, PARCELS, POLICY_TEXT, SECOND

from entrenous_consent.custody import Custody
from entrenous_consent.errors import Malformed, Unavailable
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring, MemoryKeyProvider
from entrenous_consent.messages import (
    MESSAGE_LIMIT,
    Told,
    endings,
    is_message,
    new_id,
    read_message,
    recalls,
    recipient_id,
)
from entrenous_consent.pending import REPORTS, TRIGGERS
from entrenous_consent.policy import AskedTrigger, Request, parse_policy
from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.store import Emit, MemoryStore, Recall, Store

POLICY = parse_policy((POLICY_TEXT + SECOND).encode())
DAY = 86_400
NOW = 51 * POLICY.epoch - 10 * DAY
"""Ten days before an epoch ends, so that consent outlives it."""
ADA, BOB = b"a" * 32, b"b" * 32
TOLD = Told(
    id=bytes(range(16)),
    kind="raised",
    message="reminder",
    recipient="Mailer",
    recipient_id="0f" * 16,
    time=1_790_000_000,
    policy=3,
    trigger="cart",
    until=1_790_259_200,
    consent=2,
)
ENDED = {"trigger": "", "until": 0, "consent": 0}


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keyring", MemoryKeyProvider())


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "visitors.db")
    yield store
    store.close()


@pytest.fixture
def custody(store: Store, keyring: Keyring, tmp_path: Path) -> Iterator[Custody]:
    counters = Counters(tmp_path / "counters")
    yield Custody(store, keyring, counters, tenant=POLICY.tenant, epoch=POLICY.epoch)
    counters.close()


def choose(custody: Custody, *purposes: str, handle: bytes = ADA, now: int = NOW) -> None:
    custody.choose(handle, POLICY, frozenset(purposes), source="app", now=now)


def left(custody: Custody) -> list[Told]:
    return [read_message(one.data) for one in custody.store.outbox()]


def raise_one(custody: Custody, handle: bytes = ADA, now: int = NOW, *, sent: bool = False) -> bytes:
    """Put a message about a visitor into the outbox, as a trigger that fell due would."""
    named = recipient_id(custody.keyring, MAILER, handle)
    told = replace(TOLD, id=new_id(), recipient_id=named, time=now)
    assert custody.store.transact([told.emit()], now=now, durable=True) == "done"
    if sent:
        custody.store.sent(told.id, now)
    return told.id


def arm(custody: Custody, value: bytes = b"armed", *, handle: bytes = ADA, now: int = NOW, due: int = NOW) -> None:
    standing = custody.standing(handle, POLICY, now)
    assert standing is not None
    pending = custody.pending(handle, standing, "message", now, TRIGGERS)
    assert pending is not None
    pending.value, pending.due = value, due
    assert custody.save(handle, standing, [], now, pending=[pending]) == "done"


# What is said


def test_a_message_says_what_fell_due_and_nothing_of_a_profile():
    assert json.loads(TOLD.encode()) == {
        "type": "message.raised",
        "timestamp": "2026-09-21T14:13:20Z",
        "data": {
            "id": "000102030405060708090a0b0c0d0e0f",
            "message": "reminder",
            "trigger": "cart",
            "until": "2026-09-24T14:13:20Z",
            "consent": 2,
            "recipient": "Mailer",
            "recipient_id": "0f" * 16,
            "policy": 3,
        },
    }


@pytest.mark.parametrize("told", [TOLD, replace(TOLD, kind="withdrawn", **ENDED), replace(TOLD, kind="erased")])
def test_what_was_written_is_read(told: Told):
    assert is_message(told.encode())
    assert read_message(told.encode()) == told


@pytest.mark.parametrize(
    ("change", "to"),
    [
        (b'"type":"message.raised"', b'"type":"message.sold"'),
        (b'"message":"reminder"', b'"message":"Not A Key"'),
        (b"0f0f", b"0G0f"),
        (b'"policy":3', b'"policy":true'),
        (b'"policy":3', b'"policy":3,"age":40'),
        (b"T14:13:20Z", b" 14:13:20 "),
        (b'"data":', b'"data": '),
        (b"}}", b"}"),
        (b"reminder", b"r" * MESSAGE_LIMIT),
        (b"{", b"\x81"),
    ],
)
def test_what_is_no_message_is_refused(change: bytes, to: bytes):
    data = TOLD.encode()
    assert change in data
    with pytest.raises(Malformed):
        read_message(data.replace(change, to, 1))


def test_the_longest_name_that_a_policy_takes_is_read_again():
    told = replace(TOLD, recipient="\U0001f4ec" * 500, message="m" * 64, trigger="t" * 64)
    parse_policy(POLICY_TEXT.replace(MAILER, told.recipient).encode())
    assert read_message(told.encode()) == told


def test_a_report_is_no_message():
    assert not is_message(b"\x8fformat")


# Whom it names


def test_a_visitor_has_another_name_for_each_recipient(keyring: Keyring):
    names = {recipient_id(keyring, recipient, handle) for recipient in (MAILER, PARCELS) for handle in (ADA, BOB)}
    assert len(names) == 4
    assert recipient_id(keyring, MAILER, ADA) == recipient_id(keyring, MAILER, ADA)


def test_that_name_lasts_as_long_as_the_recipients_key_and_no_other_host_makes_it(tmp_path: Path):
    provider = MemoryKeyProvider()
    here = Keyring(tmp_path / "keyring", provider)
    name = recipient_id(here, MAILER, ADA)
    here.retire_epochs(10**6, 1)
    assert recipient_id(Keyring(tmp_path / "keyring", provider), MAILER, ADA) == name
    assert recipient_id(Keyring(tmp_path / "other", MemoryKeyProvider()), MAILER, ADA) != name


# The end


def test_a_withdrawal_tells_each_recipient_in_the_same_transaction(custody: Custody):
    choose(custody, "message", "personalize")
    assert left(custody) == []
    choose(custody, "personalize")
    told = left(custody)
    assert [(one.kind, one.message, one.trigger) for one in told] == [
        ("withdrawn", "reminder", ""),
        ("withdrawn", "delivery", ""),
    ]
    assert [one.recipient_id for one in told] == [recipient_id(custody.keyring, who, ADA) for who in (MAILER, PARCELS)]
    assert {one.policy for one in told} == {POLICY.version}


def test_an_objection_tells_them_too(custody: Custody):
    choose(custody, "message")
    custody.objection(ADA, POLICY, frozenset({"message"}), source="objection", now=NOW)
    assert [one.kind for one in left(custody)] == ["withdrawn", "withdrawn"]


def test_an_erasure_tells_them_of_the_erasure(custody: Custody):
    choose(custody, "message")
    custody.erase(ADA, POLICY, NOW)
    custody.erase(ADA, POLICY, NOW)
    assert [one.kind for one in left(custody)] == ["erased", "erased"]


def test_nobody_is_told_of_whom_they_could_not_have_been_told(custody: Custody):
    choose(custody, "personalize")
    choose(custody)
    custody.erase(ADA, POLICY, NOW)
    custody.erase(BOB, POLICY, NOW)
    assert left(custody) == []


def test_a_message_without_a_host_has_nobody_to_tell(custody: Custody):
    silent = replace(POLICY, messages=tuple(replace(one, host="") for one in POLICY.messages))
    custody.choose(ADA, silent, frozenset({"message"}), source="app", now=NOW)
    custody.choose(ADA, silent, frozenset(), source="app", now=NOW)
    assert left(custody) == []


@pytest.mark.parametrize("how", ["withdrawn", "erased"])
def test_what_waits_about_the_visitor_is_taken_back_and_nothing_else_is(custody: Custody, how: str):
    for handle in (ADA, BOB):
        choose(custody, "message", handle=handle)
    sent, waits, other = raise_one(custody, sent=True), raise_one(custody), raise_one(custody, BOB)
    custody.store.transact([Emit(b"report", b"\x80", NOW)], now=NOW, durable=True)
    if how == "erased":
        custody.erase(ADA, POLICY, NOW)
    else:
        choose(custody)
    found = [one.id for one in custody.store.outbox()]
    assert {sent, other, b"report"} <= set(found)
    assert waits not in found
    assert len(found) == 5, "two endings came"


def test_a_notice_of_an_end_is_never_taken_back(custody: Custody):
    choose(custody, "message")
    choose(custody)
    choose(custody, "message")
    custody.erase(ADA, POLICY, NOW)
    assert [one.kind for one in left(custody)] == ["withdrawn", "withdrawn", "erased", "erased"]


@pytest.mark.parametrize("how", ["withdrawn", "erased"])
@pytest.mark.parametrize("armed", [False, True])
def test_a_message_raised_under_a_withdrawal_is_taken_back_as_well(
    custody: Custody, monkeypatch: pytest.MonkeyPatch, how: str, armed: bool
):
    """Another process raises one after the outbox was read and before the withdrawal is stored."""
    choose(custody, "message")
    if armed:
        arm(custody)
    real, raised = custody.store.outbox, []

    def outbox(*, waiting: bool = False):
        found = real(waiting=waiting)
        if not raised:
            raised.append(raise_one(custody))
            arm(custody, b"raised")
        return found

    monkeypatch.setattr(custody.store, "outbox", outbox)
    if how == "erased":
        custody.erase(ADA, POLICY, NOW)
    else:
        choose(custody)
    assert raised
    assert raised[0] not in [one.id for one in real()]
    assert [read_message(one.data).kind for one in real()] == [how, how]


@pytest.mark.parametrize("how", ["withdrawn", "erased"])
def test_an_end_that_never_finds_a_still_moment_says_so(custody: Custody, monkeypatch: pytest.MonkeyPatch, how: str):
    choose(custody, "message")
    real = custody.store.outbox

    def outbox(*, waiting: bool = False):
        found = real(waiting=waiting)
        arm(custody, b"again")
        return found

    monkeypatch.setattr(custody.store, "outbox", outbox)
    with pytest.raises(Unavailable, match="keeps changing"):
        choose(custody) if how == "withdrawn" else custody.erase(ADA, POLICY, NOW)
    assert real() == []


def test_a_withdrawal_takes_what_is_armed_along(custody: Custody):
    choose(custody, "message")
    arm(custody)
    assert [one.value for one in custody.owed(NOW, "message", TRIGGERS)] == [b"armed"]
    assert custody.owed(NOW, "message", REPORTS) == []
    choose(custody)
    assert custody.owed(NOW, "message", TRIGGERS) == []
    choose(custody, "message")
    assert custody.pending(ADA, custody.standing(ADA, POLICY, NOW), "message", NOW, TRIGGERS).value is None


def test_what_is_armed_moves_to_the_next_epoch_with_the_visitor(custody: Custody):
    choose(custody, "message", "measure")
    arm(custody, due=NOW + 20 * DAY)
    later = NOW + 11 * DAY
    standing = custody.standing(ADA, POLICY, later)
    pending = custody.pending(ADA, standing, "message", later, TRIGGERS)
    assert (pending.value, pending.due) == (b"armed", NOW + 20 * DAY)


def test_both_stores_take_back_what_waits_alone(store: Store):
    for id in (b"waits", b"sent"):
        store.transact([Emit(id, b"x", NOW)], now=NOW, durable=True)
    store.sent(b"sent", NOW)
    store.transact([Recall(b"waits"), Recall(b"sent"), Recall(b"nobody")], now=NOW, durable=True)
    assert [one.id for one in store.outbox()] == [b"sent"]
    store.sent(b"waits", NOW)
    store.transact([Recall(b"sent", received=True)], now=NOW, durable=True)
    assert store.outbox() == []


def test_recalls_pass_over_what_is_no_message(keyring: Keyring, store: Store):
    store.transact([Emit(b"x", b'{"type":"message.', NOW)], now=NOW, durable=True)
    assert list(recalls(keyring, POLICY, ["message"], ADA, store.outbox())) == []
    assert list(recalls(keyring, POLICY, ["personalize"], ADA, store.outbox())) == []
    assert list(endings(keyring, POLICY, ["personalize"], "withdrawn", ADA, NOW)) == []


# What the policy says


@pytest.mark.parametrize("host", ["Hooks.example", "https://hooks.example", "hooks", "hooks.example/x", "-a.example"])
def test_a_host_that_is_none_is_refused(host: str):
    with pytest.raises(Malformed, match=r"messages\[0\]\.host"):
        parse_policy(POLICY_TEXT.replace('host = "127.0.0.1"', f'host = "{host}"').encode())


def test_two_messages_of_one_name_are_refused():
    with pytest.raises(Malformed, match="repeats"):
        parse_policy((POLICY_TEXT + SECOND.replace('"delivery"', '"reminder"')).encode())


@pytest.mark.parametrize(
    ("purpose", "message", "refused"),
    [
        ("message", "reminder", ()),
        ("personalize", "", ()),
        ("profit", "", ("triggers.cart.purpose: the policy has no purpose 'profit'",)),
        ("message", "advert", ("triggers.cart.message: the policy names no such message",)),
        ("personalize", "reminder", ("triggers.cart.purpose: asks 'personalize', the policy says 'message'",)),
    ],
)
def test_a_trigger_is_permitted_for_the_purpose_that_its_message_is_bound_to(purpose, message, refused):
    asked = AskedTrigger(name="cart", purpose=purpose, message=message)
    assert POLICY.permits(Request(features=(), decisions=(), triggers=(asked,))) == refused
