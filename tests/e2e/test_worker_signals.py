"""Consent strings, consent mode and GPC at a worker that runs: the same door, the same answers, nothing of a string
left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shop import Clock, Shop
from tests.signals import BANNER, GPP, NOW, SIGNALS, TCF, golden, policy_text
from tests.worker import Running, running

EVERYTHING = golden("everything consented, vendors as bits")
NOTHING = golden("nothing consented")
GPC = {"Sec-GPC": "1"}
YIELDING = SIGNALS.replace("later_choice = false", "later_choice = true")


def serving(home, signals: str) -> Iterator[Running]:
    shop = Shop(home, Clock(NOW))
    shop.policy.write_text(policy_text(signals))
    with running(shop, clock="admin") as worker:
        assert worker.ask("POST", "/clock", {"now": NOW}, admin=True).status == 200
        yield worker


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from serving(tmp_path_factory.mktemp("signals"), SIGNALS)


@pytest.fixture(scope="module")
def yielding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from serving(tmp_path_factory.mktemp("yielding"), YIELDING)


def tell(worker: Running, visitor: str, body, **headers: str):
    return worker.ask("POST", "/v1/consent", body, {**worker.token(visitor, NOW), **headers})


def held(worker: Running, visitor: str):
    return worker.ask("GET", "/v1/visitor", headers=worker.token(visitor, NOW)).json.get("consent")


def european(name: str) -> str:
    return next(one["text"] for one in GPP["golden"] if one["name"] == name)


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ({"tcf": EVERYTHING}, "tcf"),
        ({"gpp": european("Europe")}, "gpp"),
        (
            {"consent_mode": {"personalization_storage": "granted", "ad_personalization": "granted"}, "cmp": BANNER},
            BANNER,
        ),
        ({"choices": {"personalize": True}}, "app"),
    ],
    ids=["tcf", "gpp", "consent mode", "choices"],
)
def test_a_signal_is_taken_and_decided_with(worker, body, source):
    visitor = f"by-{source}"
    assert worker.decide(visitor)["cause"] == "consent_missing"
    assert tell(worker, visitor, body).json == {"accepted": True}
    assert "personalize" in held(worker, visitor)["granted"]
    assert held(worker, visitor)["source"] == source
    assert worker.decide(visitor)["reason"] in ("TARGETING_MATCH", "SPLIT")


@pytest.mark.parametrize(
    ("body", "source"),
    [
        ({"tcf": NOTHING}, "tcf"),
        ({"gpp": european("Europe consents and a state opts out")}, "gpp"),
        ({"gpc": "1"}, "gpc"),
        ({"choices": {}}, "app"),
    ],
    ids=["tcf", "gpp", "gpc", "choices"],
)
def test_a_signal_that_refuses_ends_what_was_granted(worker, body, source):
    visitor = f"ended-by-{source}"
    tell(worker, visitor, {"gpp" if source == "gpp" else "tcf": european("Europe") if source == "gpp" else EVERYTHING})
    assert worker.decide(visitor)["reason"] != "DEFAULT"
    assert tell(worker, visitor, body).json["accepted"]
    assert worker.decide(visitor)["cause"] == "consent_missing"
    assert held(worker, visitor)["granted"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"tcf": ""}, "malformed"),
        ({"tcf": EVERYTHING[:60]}, "malformed"),
        ({"tcf": TCF["bad"][3]["text"]}, "malformed"),
        ({"tcf": None}, "malformed"),
        ({"tcf": EVERYTHING, "choices": {}}, "malformed"),
        ({"tcf": EVERYTHING, "gpp": european("Europe")}, "malformed"),
        ({"gpc": "0"}, "malformed"),
        ({"consent_mode": {"analytics_storage": "granted"}}, "malformed"),
        ({"consent_mode": {"analytics_storage": True}, "cmp": BANNER}, "malformed"),
        ({}, "malformed"),
        ({"consent_mode": {"analytics_storage": "granted"}, "cmp": "who"}, "forbidden"),
        ({"gpp": european("UsCa: asked and not opted out")}, "forbidden"),
    ],
)
def test_what_is_refused_says_so_and_changes_nothing(worker, body, code):
    tell(worker, "steady", {"choices": {"personalize": True}})
    before = held(worker, "steady")
    given = tell(worker, "steady", body)
    assert (given.code, given.status) == (code, 400 if code == "malformed" else 403)
    assert held(worker, "steady") == before
    assert worker.ask("POST", "/v1/consent", body).cookies == {}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"tcf": "%s", "tcf": "%s"}' % (NOTHING.encode(), EVERYTHING.encode()),
        b'{"choices": {"personalize": false, "personalize": true}}',
        b'{"consent_mode": {"ad_storage": "denied", "ad_storage": "granted"}, "cmp": "banner of the shop"}',
        b'{"choices":' * 50_000,
        b'{"tcf": "\xff"}',
    ],
    ids=["string twice", "purpose twice", "type twice", "deep", "bytes"],
)
def test_a_key_that_stands_twice_and_a_deep_nest_are_refused(worker, raw):
    given = worker.ask("POST", "/v1/consent", None, worker.token("twice", NOW), raw=raw)
    assert given.status in (400, 413)
    assert held(worker, "twice") is None


def test_a_browser_gets_a_cookie_for_a_string_that_grants_and_a_reminder_for_one_that_does_not(worker):
    granted = worker.ask("POST", "/v1/consent", {"tcf": EVERYTHING})
    assert len(granted.cookies["__Host-entrenous"]) == 64
    for body in ({"tcf": NOTHING}, {"gpc": "1"}):
        assert worker.ask("POST", "/v1/consent", body).cookies == {"__Host-entrenous-refused": "1"}
    assert worker.ask("POST", "/v1/consent", {"tcf": EVERYTHING}, GPC).cookies == {"__Host-entrenous-refused": "1"}


def test_an_identifier_alone_proves_nothing_for_a_string_either(worker):
    given = worker.ask("POST", "/v1/consent", {"tcf": EVERYTHING}, {"Entrenous-Visitor": "somebody"})
    assert given.code == "forbidden"
    assert worker.decide("somebody")["cause"] == "consent_missing"


def test_with_gpc_every_signal_is_recorded_as_an_objection(worker):
    for number, body in enumerate(({"choices": {"personalize": True}}, {"tcf": EVERYTHING}, {"tcf": "broken"})):
        visitor = f"objector-{number}"
        tell(worker, visitor, {"choices": {"personalize": True}})
        assert tell(worker, visitor, body, **GPC).json["accepted"]
        assert (held(worker, visitor)["granted"], held(worker, visitor)["source"]) == ([], "gpc")
        assert worker.decide(visitor)["cause"] == "consent_missing"


def test_only_the_exact_value_of_gpc_counts(worker):
    tell(worker, "exact", {"choices": {"personalize": True}})
    for value in ("0", "true", "1,1", "01", ""):
        assert worker.decide("exact", {"Sec-GPC": value})["reason"] != "DEFAULT"
    assert worker.decide("exact", GPC)["cause"] == "consent_missing"


def test_where_the_policy_says_so_a_choice_made_under_gpc_holds_under_gpc(yielding):
    events = {"visitor": "knowing", "events": [{"name": "view_item"}]}
    tell(yielding, "knowing", {"choices": {"personalize": True}})
    assert yielding.decide("knowing", GPC)["cause"] == "consent_missing", "GPC may have come later"
    assert yielding.ask("POST", "/v1/events", events, GPC).json["outcomes"][0]["cause"] == "consent_missing"
    assert tell(yielding, "knowing", {"choices": {"personalize": True}}, **GPC).json["accepted"]
    assert held(yielding, "knowing")["source"] == "app over gpc"
    assert yielding.decide("knowing", GPC)["reason"] in ("TARGETING_MATCH", "SPLIT")
    assert yielding.ask("POST", "/v1/events", events, GPC).json == {"outcomes": [{"accepted": True}]}
    assert tell(yielding, "knowing", {"tcf": EVERYTHING}, **GPC).json["accepted"]
    assert yielding.decide("knowing", GPC)["cause"] == "consent_missing"


def test_nothing_of_a_string_is_left_anywhere(worker):
    for text in (EVERYTHING, EVERYTHING[:-3] + "!!!", "CANARYcanary" * 20):
        for body in ({"tcf": text}, {"gpp": text}, {"consent_mode": {text: "granted"}, "cmp": text}):
            assert text[:12] not in tell(worker, "canary", body).data.decode()
    worker.ask("POST", "/release", admin=True)
    metrics = worker.ask("GET", "/metrics", admin=True).data
    files = [path.read_bytes() for path in worker.home.rglob("*") if path.is_file() and "repository" not in str(path)]
    for text in (EVERYTHING[:12], "CANARYcanary"):
        assert text.encode() not in b"\0".join([metrics, *files])
