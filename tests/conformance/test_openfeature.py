"""The unmodified OpenFeature client against our provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.track import TrackingEventDetails

from entrenous.openfeature import Provider


@pytest.fixture
def flags(client) -> Iterator[api.OpenFeatureClient]:
    api.set_provider(Provider(client))
    yield api.get_client()
    api.shutdown()


@pytest.fixture
def someone(agreed) -> EvaluationContext:
    return EvaluationContext("customer-42", {"theme": "dark"})


def test_a_string_flag_is_the_arm_and_its_reason(flags, someone):
    details = flags.get_string_details("promotion", "none", someone)
    assert details.reason == "TARGETING_MATCH"
    assert details.variant == details.value
    assert details.flag_metadata["tranche"] in ("cold", "warm", "hot")
    assert len(details.flag_metadata["receipt"]) == 16


def test_an_object_flag_is_the_payload(flags, someone, agreed):
    assert flags.get_object_value("promotion", {}, someone) == agreed.decide("promotion", "none").payload


def test_without_consent_the_default_without_an_error(flags):
    details = flags.get_string_details("promotion", "fallback", EvaluationContext("stranger"))
    assert (details.value, details.reason, details.error_code) == ("fallback", "DEFAULT", None)
    assert details.flag_metadata["cause"] == "consent_missing"


def test_an_unknown_flag_is_not_found(flags, someone):
    assert flags.get_string_details("colour", "red", someone).error_code == ErrorCode.FLAG_NOT_FOUND


def test_without_a_targeting_key_the_error_says_so(flags):
    details = flags.get_string_details("promotion", "fallback", EvaluationContext())
    assert (details.value, details.error_code) == ("fallback", ErrorCode.TARGETING_KEY_MISSING)


@pytest.mark.parametrize(("kind", "default"), [("boolean", True), ("integer", 3), ("float", 0.5)])
def test_another_type_is_a_mismatch(flags, someone, kind, default):
    details = getattr(flags, f"get_{kind}_details")("promotion", default, someone)
    assert (details.value, details.error_code) == (default, ErrorCode.TYPE_MISMATCH)


def test_tracking_is_an_event(flags, someone, agreed):
    attributes = {"price": 4900, "currency": "EUR", "category": "boots"}
    flags.track("view_item", someone, TrackingEventDetails(attributes=attributes))
    features = agreed.export().data["purposes"]["personalize"]["features"]
    assert (features["visit_views_7d"], features["visit_taste_30d"]) == (1, "boots")
