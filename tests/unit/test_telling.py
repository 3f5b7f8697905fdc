"""Preferences that a visitor tells: kept under their grant, the last word holds, an undo leaves no trace."""

from __future__ import annotations

import pytest
from tests.shop import DAY, Shop
from tests.telling import listen

from entrenous import Client, Visitor

ALL = {"personalize": True, "history": True, "measure": True}


@pytest.fixture
def client(shop: Shop) -> Client:
    listen(shop)
    return shop.open()


@pytest.fixture
def ada(client: Client) -> Visitor:
    visitor = client.visitor("ada")
    assert visitor.consent(ALL).accepted
    return visitor


def holds(visitor: Visitor, field: str = "size") -> list[str]:
    return visitor.preferences().data["preferences"][field]["holds"]


def kept(visitor: Visitor, purpose: str = "personalize") -> dict[str, object]:
    return visitor.export().data["purposes"].get(purpose, {}).get("features", {})


def test_what_can_be_told_is_listed_with_nothing_told(ada):
    assert ada.preferences().data == {
        "preferences": {
            "less": {"values": ["bags", "boots"], "holds": []},
            "size": {"values": ["s", "m", "l", "xl"], "holds": []},
        }
    }


def test_what_is_told_holds_and_is_exported(ada):
    assert ada.tell("size", "m").accepted
    assert ada.tell("less", "boots").accepted
    assert (holds(ada), holds(ada, "less")) == (["m"], ["boots"])
    assert (kept(ada)["visit_size"], kept(ada)["visit_less"]) == ("m", 1)
    assert kept(ada, "history")["bought_size"] == "m"


def test_a_decision_is_made_with_it(client, ada, ask):
    before = ask(ada).margin
    pushed = client._engine.active.features
    assert pushed[0].name == "visit_size"
    ada.tell("size", "l")
    assert ask(ada).margin != before


def test_of_several_words_in_one_second_the_last_holds(ada):
    for value in ("m", "l", "s"):
        assert ada.tell("size", value).accepted
    assert holds(ada) == ["s"]
    ada.tell("less", "boots")
    ada.tell("less", "boots", False)
    assert holds(ada, "less") == []
    ada.tell("less", "boots", True)
    assert holds(ada, "less") == ["boots"]


def test_an_undo_takes_back_the_last_word_alone(ada):
    for value in ("m", "l", "s"):
        ada.tell("size", value)
    assert ada.undo("size").data == {"undone": True}
    assert holds(ada) == ["l"]
    assert ada.undo("size").data == {"undone": True}
    assert holds(ada) == ["m"]


def test_an_undo_of_one_matter_leaves_what_else_was_told_about_it(ada):
    ada.tell("less", "boots")
    ada.tell("less", "bags")
    ada.undo("less")
    assert holds(ada, "less") == ["boots"]


def test_a_word_that_only_one_purpose_reads_is_undone_alone(ada):
    ada.tell("size", "m")
    ada.tell("size", "xl")
    assert sorted(holds(ada)) == ["m", "xl"]
    ada.undo("size")
    assert holds(ada) == ["m"]
    assert kept(ada, "history")["bought_size"] == "m"


def test_an_undo_leaves_no_trace(shop, client, ada):
    engine, handle = client._engine, ada._handle
    standing = engine.custody.standing(handle, engine.active.policy, shop.clock())

    def states() -> list[bytes]:
        from entrenous.profile import Hot

        purposes = ["history", "personalize"]
        return [Hot.unpack(one.hot).state for one in engine.custody.drawers(handle, standing, purposes, shop.clock())]

    before = states()
    ada.tell("size", "m")
    assert states() != before
    ada.undo("size")
    assert states() == before


def test_what_is_told_again_is_told_once(ada):
    ada.tell("size", "l")
    for _ in range(3):
        ada.tell("size", "m")
    ada.undo("size")
    assert holds(ada) == ["l"]


def test_nothing_told_is_nothing_undone(ada):
    assert ada.undo("size").data == {"undone": False}


def test_a_clock_that_was_set_back_does_not_outweigh_a_later_word(ada, clock):
    ada.tell("size", "m")
    clock.now -= 3_600
    ada.tell("size", "l")
    assert holds(ada) == ["l"]
    ada.undo("size")
    assert holds(ada) == ["m"]


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("shoe", "m", True),
        ("size", "huge", True),
        ("less", "hats", True),
        ("tier", "gold", True),
        ("size", 7, True),
        ("size", "m", 1),
        (None, "m", True),
    ],
    ids=["no such field", "no such value", "listed, and read by nothing", "imported", "number", "no flag", "no field"],
)
def test_what_no_feature_is_told_is_refused_and_not_kept(ada, field, value, flag):
    refused = ada.tell(field, value, flag)
    assert (refused.accepted, refused.cause) == (False, "malformed")
    assert "huge" not in refused.message
    assert not any(one["holds"] for one in ada.preferences().data["preferences"].values())
    assert kept(ada) == {} or kept(ada)["visit_size"] is None


def test_an_undo_of_no_field_is_refused(ada):
    assert ada.undo("shoe").cause == "malformed"


def test_it_survives_a_restart_and_its_window_ends(shop, client, ada, clock):
    ada.tell("size", "m")
    client.close()
    later = shop.open_as_is().visitor("ada")
    assert holds(later) == ["m"]
    clock.now += 30 * DAY
    assert holds(later) == []


def test_it_can_be_corrected(ada):
    ada.tell("size", "m")
    assert "visit_size" in ada.correct({"visit_size": "s"}).data["features"]
    assert kept(ada)["visit_size"] == "s"
    ada.correct({"visit_size": None})
    assert kept(ada)["visit_size"] is None


def test_who_signed_in_tells_for_the_account_within_what_the_device_granted(client):
    device, account = client.visitor("device"), client.visitor("account")
    device.consent({"personalize": True})
    account.consent(ALL)
    linked = device.link(account)
    assert linked.tell("size", "m").accepted
    assert linked.tell("size", "xl").cause == "consent_missing"
    assert linked.preferences().data["preferences"]["size"] == {"values": ["s", "m", "l"], "holds": ["m"]}
    assert holds(account) == ["m"]
    assert kept(account, "history").get("bought_size") is None
    assert linked.undo("size").data == {"undone": True}
    assert holds(account) == []


def test_what_the_device_was_told_moves_at_sign_in(client):
    device, account = client.visitor("device"), client.visitor("account")
    for one in (device, account):
        one.consent(ALL)
    device.tell("size", "m")
    device.link(account)
    assert holds(account) == ["m"]
    assert holds(device) == []


def test_two_clients_on_one_visitor_lose_no_word(shop, client, ada):
    other = shop.open_as_is().visitor("ada")
    ada.tell("less", "boots")
    other.tell("less", "bags")
    ada.tell("size", "m")
    assert (sorted(holds(other, "less")), holds(other)) == (["bags", "boots"], ["m"])


def test_who_is_no_visitor_is_told_so(client):
    assert client.visitor("").tell("size", "m").cause == "bad_identifier"
    assert client.visitor("kim", minor=True).preferences().cause == "minor"


def test_a_store_that_always_changes_is_unavailable(client, ada, monkeypatch):
    monkeypatch.setattr(client._engine.custody, "save", lambda *_, **__: "conflict")
    assert ada.tell("size", "m").cause == "unavailable"
