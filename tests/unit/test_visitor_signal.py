"""A visitor's choice as another system tells it: kept, refused without a trace, never undone by a string that comes
again."""

from __future__ import annotations

import logging

import pytest
from tests.shop import Clock
from tests.signals import BANNER, DAY, GPP, MADE, NOW, SIGNALS, TCF, golden, policy_text

from entrenous_consent.signal_settings import OVER_GPC

EVERYTHING = golden("everything consented, vendors as bits")
SOME = golden("some purposes refused")
YIELDING = SIGNALS.replace("later_choice = false", "later_choice = true")


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def client(shop):
    shop.policy.write_text(policy_text())
    return shop.open()


@pytest.fixture
def visitor(client):
    return client.visitor("customer-42")


def held(visitor):
    return visitor.export().data.get("consent")


def european(name: str) -> str:
    return next(one["text"] for one in GPP["golden"] if one["name"] == name)


@pytest.mark.parametrize(
    ("signal", "granted", "source"),
    [
        ({"tcf": EVERYTHING}, ["history", "improve", "measure", "personalize"], "tcf"),
        ({"tcf": SOME}, ["history", "measure"], "tcf"),
        ({"gpp": european("Europe")}, ["history", "improve", "measure", "personalize"], "gpp"),
        ({"gpp": european("Europe consents and a state opts out")}, [], "gpp"),
        ({"gpc": "1"}, [], "gpc"),
        ({"consent_mode": {"analytics_storage": "granted"}, "cmp": BANNER}, ["measure"], BANNER),
        ({"choices": {"improve": True}}, ["improve"], "app"),
    ],
    ids=["tcf", "tcf, some", "gpp", "gpp, opted out", "gpc", "consent mode", "choices"],
)
def test_a_signal_leaves_a_record_of_what_it_grants_and_where_it_came_from(visitor, signal, granted, source):
    assert visitor.signal(signal).accepted
    assert (held(visitor)["granted"], held(visitor)["source"]) == (granted, source)


def test_what_a_string_grants_is_decided_with_and_what_it_refuses_is_not_kept(visitor, ask):
    assert ask(visitor).cause == "consent_missing"
    assert visitor.signal({"tcf": EVERYTHING}).accepted
    assert ask(visitor).reason == "TARGETING_MATCH"
    assert visitor.observe("purchase", value=4900, currency="EUR").accepted
    assert visitor.signal({"tcf": golden("nothing consented")}).accepted
    assert ask(visitor).cause == "consent_missing"
    assert visitor.export().data["purposes"] == {}


@pytest.mark.parametrize("bad", [one["text"] for one in TCF["bad"]], ids=[one["name"] for one in TCF["bad"]])
def test_a_bad_string_changes_nothing(shop, visitor, bad):
    visitor.signal({"tcf": SOME})
    before = shop.files()
    for signal in ({"tcf": bad}, {"gpp": f"DBABM~{bad}"}):
        outcome = visitor.signal(signal)
        assert (outcome.accepted, outcome.cause) == (False, "malformed")
        assert outcome.message
    assert shop.files() == before


@pytest.mark.parametrize(
    ("signal", "cause"),
    [
        ({"tcf": EVERYTHING, "gpp": EVERYTHING}, "malformed"),
        ({"gpc": "0"}, "malformed"),
        (None, "malformed"),
        ([EVERYTHING], "malformed"),
        ({"consent_mode": {"all": "granted"}, "cmp": BANNER}, "malformed"),
        ({"choices": {"personalize": 1}}, "malformed"),
        ({"consent_mode": {"analytics_storage": "granted"}, "cmp": "who"}, "forbidden"),
        ({"gpp": european("UsCa: asked and not opted out")}, "forbidden"),
    ],
)
def test_what_is_not_taken_says_why_and_leaves_nothing(shop, visitor, signal, cause):
    before = shop.files()
    assert (visitor.signal(signal).accepted, visitor.signal(signal).cause) == (False, cause)
    assert shop.files() == before
    assert held(visitor) is None


def test_an_expired_string_is_refused_and_the_choice_before_stays(visitor, clock, ask):
    visitor.signal({"choices": {"personalize": True}})
    clock.now = MADE + 180 * DAY
    assert visitor.signal({"tcf": EVERYTHING}).cause == "forbidden"
    assert held(visitor)["granted"] == ["personalize"]


def test_a_string_that_comes_again_prolongs_nothing(visitor, clock):
    visitor.signal({"tcf": EVERYTHING})
    first = held(visitor)
    for _ in range(3):
        clock.now += 50 * DAY
        assert visitor.signal({"tcf": EVERYTHING}).accepted
        assert held(visitor) == first


def test_a_string_from_before_a_withdrawal_does_not_undo_it(visitor, clock):
    visitor.signal({"tcf": EVERYTHING})
    clock.now += 5 * DAY
    visitor.consent({"measure": True})
    withdrawn = held(visitor)
    for _ in range(2):
        clock.now += 5 * DAY
        assert visitor.signal({"tcf": EVERYTHING}).accepted
        assert held(visitor) == withdrawn


@pytest.mark.parametrize("choice", [{}, {"measure": True}])
def test_a_string_of_the_day_of_a_withdrawal_does_not_undo_it_however_often_it_comes(visitor, clock, choice):
    clock.now = MADE + 3600
    visitor.signal({"tcf": EVERYTHING})
    visitor.consent(choice)
    for _ in range(3):
        clock.now += 600
        assert visitor.signal({"tcf": EVERYTHING}).accepted
        assert held(visitor)["granted"] == sorted(choice)
        assert held(visitor)["source"] == "app"


def test_a_string_of_the_day_of_another_choice_narrows_it_for_good(visitor, clock):
    clock.now = MADE + 3600
    visitor.consent({"measure": True, "improve": True})
    for _ in range(2):
        assert visitor.signal({"tcf": SOME}).accepted
        assert held(visitor)["granted"] == ["measure"]


def test_a_refusal_in_an_older_string_is_heard(visitor, clock):
    clock.now = MADE + 9 * DAY
    visitor.consent({"measure": True, "improve": True})
    for _ in range(2):
        assert visitor.signal({"tcf": SOME}).accepted
        assert (held(visitor)["granted"], held(visitor)["source"]) == (["measure"], "app")


def test_a_string_is_kept_as_of_its_date_and_ends_with_it(visitor, clock, ask):
    clock.now = MADE + 100 * DAY
    visitor.signal({"tcf": EVERYTHING})
    assert (held(visitor)["time"], held(visitor)["expires"]) == (MADE, MADE + 180 * DAY)
    clock.now = MADE + 180 * DAY
    assert ask(visitor).cause == "consent_missing"
    assert visitor.choices().data["ask"] == ["history", "improve", "measure", "personalize"]


def test_an_older_string_that_narrows_lengthens_nothing_that_stays(visitor, clock, ask):
    visitor.consent({"measure": True, "improve": True})
    end = held(visitor)["expires"]
    clock.now += 100 * DAY
    visitor.signal({"tcf": SOME})
    assert held(visitor)["granted"] == ["measure"]
    clock.now = end
    assert held(visitor)["granted"] == []


def test_a_refusal_that_another_process_was_first_with_is_not_undone(shop, client, visitor, clock, monkeypatch):
    clock.now = MADE + 3600
    other = shop.open().visitor("customer-42")
    store = client._engine.custody.store
    real, between = store.transact, []

    def transact(writes, **more):
        if not between:
            between.append(other.consent({}))
        return real(writes, **more)

    monkeypatch.setattr(store, "transact", transact)
    assert visitor.signal({"tcf": EVERYTHING}).accepted
    assert between[0].accepted
    assert held(visitor)["granted"] == []


def test_a_newer_string_widens_what_an_older_one_refused_on_the_same_day(visitor, clock):
    clock.now = MADE + 3600
    visitor.signal({"tcf": SOME})
    assert visitor.signal({"tcf": EVERYTHING}).accepted
    assert len(held(visitor)["granted"]) == 4


def mode(*given: str) -> dict[str, object]:
    every = ("analytics_storage", "personalization_storage", "ad_storage", "ad_user_data", "ad_personalization")
    return {"consent_mode": {one: "granted" if one in given else "denied" for one in every}, "cmp": BANNER}


def test_what_a_page_sends_each_time_undoes_no_withdrawal(visitor, clock):
    visitor.signal(mode("analytics_storage"))
    visitor.consent({"history": True})
    end = held(visitor)["expires"]
    for _ in range(3):
        clock.now += DAY
        assert visitor.signal(mode("analytics_storage")).accepted
        assert held(visitor)["granted"] == []
    assert visitor.choices().data["ask"] == []
    assert held(visitor)["expires"] >= end


def test_the_platform_that_a_choice_came_from_may_widen_it_and_prolongs_nothing(visitor, clock):
    visitor.signal(mode())
    assert held(visitor)["granted"] == []
    clock.now += 60
    visitor.signal(mode("analytics_storage"))
    first = held(visitor)
    assert first["granted"] == ["measure"]
    clock.now += DAY
    visitor.signal(mode("analytics_storage"))
    assert held(visitor) == first


def test_what_a_page_sends_each_time_does_not_answer_for_a_raised_version(shop, visitor):
    visitor.signal(mode("analytics_storage"))
    head, section, tail = policy_text().partition("[purposes.measure]")
    shop.policy.write_text(head + section + tail.replace("consent_version = 1", "consent_version = 2", 1))
    shop.publish()
    assert shop.clients[0].refresh().accepted
    assert visitor.signal(mode("analytics_storage")).accepted
    assert held(visitor)["granted"] == []
    assert visitor.choices().data["ask"] == ["measure"]


def test_under_gpc_a_choice_is_an_objection(visitor, ask):
    visitor.consent({"personalize": True})
    assert visitor.signal({"choices": {"personalize": True}}, gpc=True).accepted
    assert (held(visitor)["granted"], held(visitor)["source"]) == ([], "gpc")
    assert not visitor.chose_over_gpc()


def test_where_the_policy_says_so_a_choice_made_under_gpc_outweighs_it(shop):
    shop.policy.write_text(policy_text(YIELDING))
    visitor = shop.open().visitor("customer-42")
    assert not visitor.chose_over_gpc()
    visitor.consent({"personalize": True})
    assert not visitor.chose_over_gpc(), "it may be older than the objection"
    assert visitor.signal({"choices": {"personalize": True}}, gpc=True).accepted
    assert held(visitor)["source"] == OVER_GPC
    assert visitor.chose_over_gpc()
    visitor.signal({"tcf": EVERYTHING}, gpc=True)
    assert not visitor.chose_over_gpc()


def test_a_choice_over_gpc_counts_no_more_once_the_policy_takes_that_back(shop):
    shop.policy.write_text(policy_text(YIELDING))
    shop.open().visitor("customer-42").signal({"choices": {"personalize": True}}, gpc=True)
    shop.policy.write_text(policy_text())
    assert not shop.open().visitor("customer-42").chose_over_gpc()


def test_who_has_no_identifier_chose_nothing_and_a_closed_client_knows_nothing(shop):
    shop.policy.write_text(policy_text(YIELDING))
    client = shop.open()
    nobody = client.visitor("")
    assert not nobody.chose_over_gpc()
    assert nobody.signal({"gpc": "1"}).cause == "bad_identifier"
    visitor = client.visitor("customer-42")
    client.close()
    assert not visitor.chose_over_gpc()
    assert not visitor.signal({"tcf": EVERYTHING}).accepted


def test_nothing_of_a_string_is_kept_or_logged_or_told(shop, visitor, caplog):
    caplog.set_level(logging.DEBUG)
    shown = []
    for text in (EVERYTHING, SOME, EVERYTHING[:-1] + "é", EVERYTHING + "." + "CANARYcanary" * 9):
        for signal in ({"tcf": text}, {"gpp": f"DBABM~{text}"}, {"consent_mode": {text: "granted"}, "cmp": text}):
            shown.append(repr(visitor.signal(signal)))
    told = "".join(shown) + caplog.text + repr(visitor.export())
    for text in (EVERYTHING, SOME, "CANARYcanary"):
        assert text[:12] not in told
        assert not any(text[:12].encode() in data for data in shop.files().values())


def test_a_preview_says_what_a_signal_comes_to_and_takes_nothing_in(shop, client, visitor):
    before = shop.files()
    told = client.preview({"tcf": SOME})
    assert told.accepted
    assert told.data == {
        "granted": ["history", "measure"],
        "refused": {"personalize": "not_chosen", "improve": "not_chosen"},
        "source": "tcf",
    }
    assert client.preview({"tcf": SOME}, gpc=True).data["source"] == "gpc"
    assert client.preview({"tcf": SOME[:50]}).cause == "malformed"
    assert client.preview({"consent_mode": {}, "cmp": "who"}).cause == "forbidden"
    assert shop.files() == before
    assert held(visitor) is None


def test_a_preview_answers_where_even_reading_fails(client, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(EVERYTHING)

    monkeypatch.setattr("entrenous.client.read_signal", broken)
    assert client.preview({"tcf": EVERYTHING}).cause == "fault"
    assert "ZeroDivisionError" in caplog.text
    assert EVERYTHING not in caplog.text


def test_the_same_string_does_not_answer_for_a_purpose_whose_consent_version_was_raised(shop, clock, client, visitor):
    assert visitor.signal({"tcf": EVERYTHING}).accepted
    raised = policy_text().replace("consent_version = 1", "consent_version = 2", 1)
    shop.policy.write_text(raised.replace("\nversion = 1\n", "\nversion = 2\n", 1))
    shop.publish()
    assert client.refresh().data["policy"] == 2
    [purpose] = visitor.choices().data["ask"]
    for _ in range(2):
        assert visitor.signal({"tcf": EVERYTHING}).accepted
        assert visitor.choices().data["ask"] == [purpose]
        assert purpose not in held(visitor)["granted"]
    assert visitor.signal({"tcf": SOME}).accepted
    assert purpose not in held(visitor)["granted"]
    assert visitor.consent({purpose: True}).accepted
    assert held(visitor)["granted"] == [purpose]


def test_a_string_that_is_dated_ahead_does_not_undo_a_withdrawal(clock, visitor):
    clock.now = MADE - 20 * 3600
    assert visitor.signal({"tcf": EVERYTHING}).accepted
    clock.now += 3600
    assert visitor.consent({}).accepted
    for later in (60, DAY, 10 * DAY):
        clock.now = MADE - 19 * 3600 + later
        assert visitor.signal({"tcf": EVERYTHING}).accepted
        assert held(visitor)["granted"] == []
