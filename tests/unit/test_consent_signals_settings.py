"""`[signals]` of a policy."""

from __future__ import annotations

import pytest
from tests.signals import BANNER, SIGNALS, policy

from entrenous_consent.errors import Malformed


def test_what_is_written_is_read():
    signals = policy().signals
    assert (signals.tcf_vendor_id, signals.tcf_publisher_purposes) == (300, True)
    assert signals.cmps == (BANNER, "another banner")
    assert signals.consent_mode["personalize"] == ("personalization_storage", "ad_personalization")
    assert not signals.gpc_yields_to_later_choice


def test_what_is_left_out_believes_nobody():
    signals = policy("[signals]\n").signals
    assert (signals.tcf_vendor_id, signals.tcf_publisher_purposes) == (0, False)
    assert (signals.cmps, signals.consent_mode) == ((), {})
    assert not signals.gpc_yields_to_later_choice


@pytest.mark.parametrize(
    ("written", "instead", "place"),
    [
        ("tcf_vendor_id = 300", "tcf_vendor_id = 0", "tcf_vendor_id"),
        ("tcf_vendor_id = 300", "tcf_vendor_id = 65536", "tcf_vendor_id"),
        ("tcf_vendor_id = 300", "tcf_vendor = 300", "tcf_vendor"),
        ("tcf_publisher_purposes = true", 'tcf_publisher_purposes = "yes"', "tcf_publisher_purposes"),
        (f'cmps = ["{BANNER}", "another banner"]\n', "", "cmps"),
        (f'"{BANNER}"', '"tcf"', "cmps"),
        (f'"{BANNER}"', '"app"', "cmps"),
        (f'"{BANNER}"', '"app over gpc"', "cmps"),
        (f'"{BANNER}"', '"objection"', "cmps"),
        (f'"{BANNER}"', '"banner@shop.example"', "cmps"),
        (f'"{BANNER}"', '"banner 0123456789abcdef"', "cmps"),
        ("history = [", "histories = [", "consent_mode.histories"),
        ('measure = ["analytics_storage"]', "measure = []", "consent_mode.measure"),
        ('measure = ["analytics_storage"]', 'measure = ["analytics"]', "consent_mode.measure"),
        ('measure = ["analytics_storage"]', 'measure = "analytics_storage"', "consent_mode.measure"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_its_place(written, instead, place):
    assert written in SIGNALS
    with pytest.raises(Malformed) as caught:
        policy(SIGNALS.replace(written, instead, 1))
    assert caught.value.place == f"policy: signals.{place}"
    assert caught.value.remedy
