"""What reading a consent string costs, beside turning it from base64url into bytes."""

from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest
from tests.signals import BANNER, GPP, NOW, golden, policy

from entrenous_consent.signals import parse_gpp, parse_tcf, read_signal

STRING = golden("everything consented, vendors as bits", maker="@iabtcf/core")
"""402 characters: 1000 vendors' consents and 999 legitimate interests as bits, all of them disclosed as a range."""


def _steady(benchmark, work):
    return benchmark.pedantic(work, rounds=60, iterations=200, warmup_rounds=5)


@pytest.mark.benchmark(group="signals")
def test_base64_alone(benchmark):
    pieces = [piece.encode() for piece in STRING.split(".")]
    assert sum(len(one) for one in _steady(benchmark, lambda: [urlsafe_b64decode(piece) for piece in pieces])) == 300


@pytest.mark.benchmark(group="signals")
def test_tcf_decode(benchmark):
    assert len(_steady(benchmark, lambda: parse_tcf(STRING)).vendors_consent) == 600


@pytest.mark.benchmark(group="signals")
def test_tcf_decode_and_mapping(benchmark):
    rules = policy()
    assert _steady(benchmark, lambda: read_signal(rules, {"tcf": STRING}, NOW)).granted


@pytest.mark.benchmark(group="signals")
def test_gpp_decode(benchmark):
    text = next(one["text"] for one in GPP["golden"] if one["name"] == "Europe consents and a state opts out")
    assert _steady(benchmark, lambda: parse_gpp(text)).objections


@pytest.mark.benchmark(group="signals")
def test_consent_mode(benchmark):
    rules, states = policy(), {"personalization_storage": "granted", "ad_personalization": "granted"}
    assert _steady(benchmark, lambda: read_signal(rules, {"consent_mode": states, "cmp": BANNER}, NOW)).granted
