"""The unmodified OFREP provider of the OpenFeature project against a real worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.shop import Clock, Shop
from tests.worker import KEY, Running, running

api = pytest.importorskip("openfeature.api", reason="pip install openfeature-sdk")
pytest.importorskip("openfeature.contrib.provider.ofrep", reason="pip install openfeature-provider-ofrep")

from openfeature.contrib.provider.ofrep import OFREPProvider  # noqa: E402
from openfeature.evaluation_context import EvaluationContext  # noqa: E402
from openfeature.flag_evaluation import FlagEvaluationDetails  # noqa: E402

ALL = {"personalize": True, "history": True, "measure": False, "improve": False}


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(Shop(tmp_path_factory.mktemp("ofrep"), Clock())) as started:
        started.consent("ada", ALL)
        yield started


def asked(worker: Running, flag: str = "promotion", who: str = "ada", key: str = KEY) -> FlagEvaluationDetails:
    provider = OFREPProvider(
        f"http://127.0.0.1:{worker.port}", headers_factory=lambda: {"Authorization": f"Bearer {key}"}
    )
    try:
        api.set_provider(provider, "worker")
        context = EvaluationContext(who or None, {"page": "home"})
        return api.get_client("worker").get_string_details(flag, "the caller's own", context)
    finally:
        api.clear_providers()
        provider.session.close()


def test_a_decision(worker):
    details = asked(worker)
    assert (details.value, details.reason, details.variant) == ("ten_off", "TARGETING_MATCH", "ten_off")
    assert set(details.flag_metadata) == {"tranche", "receipt", "payload"}


def test_the_callers_own_default_without_consent(worker):
    details = asked(worker, who="nobody")
    assert (details.value, details.reason, details.error_code) == ("the caller's own", "DEFAULT", None)
    assert details.flag_metadata == {"cause": "consent_missing"}


def test_a_flag_that_is_none(worker):
    details = asked(worker, "no_such_flag")
    assert (details.value, details.error_code) == ("the caller's own", "FLAG_NOT_FOUND")


def test_no_targeting_key(worker):
    details = asked(worker, who="")
    assert (details.value, details.error_code) == ("the caller's own", "TARGETING_KEY_MISSING")


def test_another_key_is_unauthorized(worker):
    details = asked(worker, key="wrong")
    assert (details.value, details.error_code) == ("the caller's own", "GENERAL")
    assert details.error_message == "unauthorized"
    answer = worker.ask("POST", "/ofrep/v1/evaluate/flags/promotion", {}, opened=False)
    assert answer.status == 401


def test_all_flags_at_once(worker):
    answer = worker.ask("POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "ada"}})
    (flag,) = answer.json["flags"]
    assert (flag["key"], flag["value"], flag["reason"]) == ("promotion", "ten_off", "TARGETING_MATCH")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 42}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "cookie:0"}}', "INVALID_CONTEXT"),
        (b'{"context": {}}', "TARGETING_KEY_MISSING"),
        (b"{}", "TARGETING_KEY_MISSING"),
    ],
)
@pytest.mark.parametrize("path", ["/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/promotion"])
def test_errors_have_the_protocols_codes(worker, path, raw, code):
    answer = worker.ask("POST", path, raw=raw)
    assert (answer.status, answer.json["errorCode"]) == (400, code)
