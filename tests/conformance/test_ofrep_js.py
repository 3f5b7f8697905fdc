"""The OpenFeature project's unmodified OFREP providers for JavaScript, of a server and of a page, against real workers.

The server's (0.1.3, the only one that is published) does not know an answer without a value, by which the caller's
default holds (OFREP, ADR 0006). It gives that default as well, and calls it an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.decisions import EVERYONE, promotion, rewrite, rule_of
from tests.javascript import node
from tests.shop import Clock, Shop
from tests.worker import KEY, running

from entrenous.decisions.form import Arm

ALL = {"personalize": True, "history": True, "measure": False, "improve": False}
VALUES = {"String": "ten_off", "Boolean": True, "Number": 3}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What both providers made of the worker's answers."""
    shop, other = (Shop(tmp_path_factory.mktemp(name), Clock()) for name in ("providers", "limited"))
    like = replace(promotion(shop), experiment=None)
    flags = {"promotion": promotion(shop)}
    for name, one, value in (("banner", "on", True), ("columns", "three", 3)):
        arms = {one: Arm(value=value), "usual": Arm(value=type(value)())}
        flags[name] = rule_of(arms, {one: EVERYONE}, "usual", like)
    rewrite(shop, **flags)
    with running(shop) as worker, running(other, most_per_second=2) as limited:
        for one in (worker, limited):
            assert one.consent("ada", ALL).status == 200
        given = {
            "worker": f"http://127.0.0.1:{worker.port}",
            "limited": f"http://127.0.0.1:{limited.port}",
            "key": KEY,
            "token": worker.token("ada")["Entrenous-Token"],
        }
        yield node("ofrep.mjs", json.dumps(given), needs="@openfeature/ofrep-provider")
        assert worker.log() == limited.log() == ""


@pytest.mark.parametrize("type_", VALUES)
@pytest.mark.parametrize("side", ["server", "page"])
def test_a_decision_of_each_type(told, side, type_):
    details = told[side]["types"][type_]
    assert (details["value"], details["reason"]) == (VALUES[type_], "TARGETING_MATCH")
    assert re.fullmatch("[0-9a-f]{16}", details["flagMetadata"]["receipt"])


@pytest.mark.parametrize("side", ["server", "page"])
def test_metadata_holds_the_payload_as_text(told, side):
    details = told[side]["types"]["String"]
    assert json.loads(details["flagMetadata"]["payload"])["code"] == "TEN"
    assert details["variant"] == "ten_off"


def test_without_consent_the_callers_own_default_holds(told):
    page, server = told["page"]["stranger"], told["server"]["stranger"]
    assert (page["value"], page["reason"]) == ("own", "DEFAULT")
    assert page["flagMetadata"] == {"cause": "consent_missing"}
    assert (server["value"], server["reason"], server["errorCode"]) == ("own", "ERROR", "GENERAL")  # see above


@pytest.mark.parametrize("side", ["server", "page"])
def test_a_flag_that_is_none(told, side):
    details = told[side]["unknown"]
    assert (details["value"], details["errorCode"]) == ("own", "FLAG_NOT_FOUND")


def test_errors_keep_their_codes_at_a_server(told):
    codes = {name: told["server"][name]["errorCode"] for name in ("nobody", "number", "otherType", "unauthorized")}
    assert codes == {
        "nobody": "TARGETING_KEY_MISSING",
        "number": "INVALID_CONTEXT",
        "otherType": "TYPE_MISMATCH",
        "unauthorized": "GENERAL",
    }
    assert {told["server"][name]["value"] for name in ("nobody", "number", "unauthorized")} == {"own"}


def test_a_page_that_names_nobody_or_has_no_key_starts_with_its_defaults(told):
    """The page's provider tells its caller no code of a bulk evaluation that failed, the status alone."""
    for name in ("nobody", "number"):
        assert "status: 400" in told["page"][name]["failed"]
        assert (told["page"][name]["value"], told["page"][name]["reason"]) == ("own", "ERROR")
    unauthorized = told["page"]["unauthorized"]
    assert unauthorized["failed"]
    assert (unauthorized["value"], unauthorized["errorCode"]) == ("own", "PROVIDER_FATAL")


def test_what_did_not_change_is_not_sent_again(told):
    first, *again = told["page"]["polled"]
    assert (first["status"], first["held"]) == (200, None)
    assert re.fullmatch('"[0-9a-f]{24}"', first["tag"])
    assert again == [{"status": 304, "tag": first["tag"], "held": first["tag"]}] * 2


def test_a_withdrawal_is_noticed_at_the_next_look(told):
    assert sorted(told["page"]["flagsChanged"]) == ["banner", "columns", "promotion"]
    details = told["page"]["withdrawn"]
    assert (details["value"], details["reason"]) == ("own", "DEFAULT")
    assert details["flagMetadata"] == {"cause": "consent_missing"}


def test_a_server_that_asked_too_often_waits_as_long_as_it_is_told(told):
    calls, last = told["server"]["limited"]["calls"], told["server"]["limited"]["last"]
    assert calls[-1] == 429
    assert calls.count(429) == 1
    assert len(calls) < 20
    assert (last["value"], last["errorCode"]) == ("own", "GENERAL")
    assert "paused due to TooManyRequests" in last["errorMessage"]
    assert told["server"]["later"]["value"] == "ten_off"


def test_a_page_that_asked_too_often_waits_and_comes_back(told):
    """Three seconds, a look each 40 ms: 75 calls, had it not waited."""
    calls, stale = told["page"]["limited"]["calls"], told["page"]["limited"]["stale"]
    assert calls.count(429) == stale >= 1
    assert len(calls) <= 20
    assert set(calls[calls.index(429) + 1 :]) >= {304}
