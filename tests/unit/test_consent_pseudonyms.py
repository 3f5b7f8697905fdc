"""Handles, pseudonyms and buckets: plain HMAC-SHA256."""

from __future__ import annotations

import hmac
import json
import random
from hashlib import sha256
from pathlib import Path

import pytest

from entrenous_consent.errors import Malformed
from entrenous_consent.pseudonyms import BUCKETS, IDENTIFIER_LIMIT, bucket, handle_of, keyed

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "buckets.json").read_text("utf-8"))


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 200])
def test_keyed_is_hmac_sha256(length):
    draw = random.Random(length)
    key = draw.randbytes(length)
    mac = keyed(key)
    for size in (0, 1, 32, 63, 64, 65, 1000):
        message = draw.randbytes(size)
        assert mac(message) == hmac.digest(key, message, "sha256")


def test_rfc_4231_case_2():
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert keyed(b"Jefe")(b"what do ya want for nothing?").hex() == expected


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["identifier"])
def test_the_committed_vectors(vector):
    handle = handle_of(vector["identifier"], keyed(bytes.fromhex(VECTORS["boundary_key"])))
    assert handle.hex() == vector["handle"]
    assert bucket(keyed(bytes.fromhex(VECTORS["experiment_key"])), handle) == vector["bucket"]


def test_the_first_and_the_last_bucket():
    assert bucket(lambda _: bytes(32), b"") == 0
    assert bucket(lambda _: b"\xff" * 32, b"") == BUCKETS - 1


def test_buckets_are_even():
    """Chi-squared over 100 bands of 50,000 visitors under a fixed key: alpha = 0.001, critical value 148.2 at 99 df."""
    mac, visitors = keyed(sha256(b"seed 20").digest()), 50_000
    counts = [0] * 100
    for i in range(visitors):
        counts[bucket(mac, sha256(b"visitor %d" % i).digest()) * 100 // BUCKETS] += 1
    expected = visitors / 100
    assert sum((count - expected) ** 2 / expected for count in counts) < 148.2


@pytest.mark.parametrize("identifier", [None, 42, b"customer-42", "", ["customer-42"], True])
def test_what_is_not_text_is_refused(identifier):
    with pytest.raises(Malformed) as caught:
        handle_of(identifier, keyed(bytes(32)))
    assert "42" not in str(caught.value)


def test_the_limit_is_on_bytes_and_the_identifier_is_not_repeated():
    boundary = keyed(bytes(32))
    assert len(handle_of("é" * (IDENTIFIER_LIMIT // 2), boundary)) == 32
    with pytest.raises(Malformed) as caught:
        handle_of("é" * (IDENTIFIER_LIMIT // 2) + "x", boundary)
    assert "é" not in str(caught.value)


def test_half_a_surrogate_pair_is_an_identifier_like_any_other():
    boundary = keyed(bytes(32))
    assert handle_of("\ud800", boundary) != handle_of("\ud801", boundary)
