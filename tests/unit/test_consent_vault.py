"""The vault: what was sealed for one place opens there and nowhere else."""

from __future__ import annotations

import os
import threading
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from entrenous_consent.errors import Unauthentic
from entrenous_consent.keys import Keyring, MemoryKeyProvider
from entrenous_consent.vault import WRAPPED_BYTES, Box, Vault, fresh_nonces

ADA, BOB = b"a" * 32, b"b" * 32


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keyring", MemoryKeyProvider())


@pytest.fixture
def vault(keyring: Keyring) -> Vault:
    return Vault(keyring, "shop")


def test_what_was_sealed_opens_after_unwrapping(vault):
    box, wrapped = vault.create("history", ADA)
    sealed = box.seal(b"hot", b"plain")
    assert len(wrapped) == WRAPPED_BYTES
    assert b"plain" not in sealed
    assert vault.unlock(wrapped, "history", ADA).open(b"hot", sealed) == b"plain"


def test_nothing_can_be_sealed_too(vault):
    box, _ = vault.create("history", ADA)
    assert box.open(b"hot", box.seal(b"hot", b"")) == b""


def test_a_wrapped_key_moved_to_another_row_does_not_unwrap(vault):
    _, wrapped = vault.create("history", ADA)
    with pytest.raises(Unauthentic):
        vault.unlock(wrapped, "history", BOB)


def test_under_another_purpose_a_wrapped_key_opens_nothing(vault):
    box, wrapped = vault.create("history", ADA)
    with pytest.raises(Unauthentic):
        vault.unlock(wrapped, "measure", ADA).open(b"hot", box.seal(b"hot", b"plain"))


def test_a_key_wrapped_anew_opens_what_it_did_and_the_generation_before_nothing(vault, keyring):
    box, wrapped = vault.create("history", ADA)
    sealed = box.seal(b"hot", b"plain")
    generation = keyring.next_generation(1000)
    again = vault.rewrap(wrapped, ADA[:8], generation)
    assert int.from_bytes(again[:4], "big") == generation == 2
    for one in (wrapped, again):
        assert vault.unlock(one, "history", ADA).open(b"hot", sealed) == b"plain"
    keyring.destroy_generations(generation)
    assert vault.unlock(again, "history", ADA).open(b"hot", sealed) == b"plain"
    with pytest.raises(Unauthentic, match="its generation was destroyed"):
        vault.unlock(wrapped, "history", ADA)
    with pytest.raises(Unauthentic):
        vault.rewrap(wrapped, ADA[:8], generation)
    with pytest.raises(Unauthentic):
        vault.rewrap(again, BOB[:8], generation)


def test_a_wrapped_key_moved_to_another_tenant_does_not_unwrap(vault, keyring):
    _, wrapped = vault.create("history", ADA)
    with pytest.raises(Unauthentic):
        Vault(keyring, "other").unlock(wrapped, "history", ADA)


@pytest.mark.parametrize(("purpose", "pseudonym"), [("history", BOB), ("measure", ADA)])
def test_a_record_moved_to_another_visitor_or_purpose_does_not_open(vault, purpose, pseudonym):
    box, _ = vault.create("history", ADA)
    other, _ = vault.create(purpose, pseudonym)
    with pytest.raises(Unauthentic):
        other.open(b"hot", box.seal(b"hot", b"plain"))


def test_a_record_is_bound_to_its_place_even_under_the_same_key():
    sealed = Box(bytes(32), b"here", fresh_nonces()).seal(b"hot", b"plain")
    with pytest.raises(Unauthentic):
        Box(bytes(32), b"there", fresh_nonces()).open(b"hot", sealed)


@pytest.mark.parametrize(("sealed_as", "opened_as"), [("hot", "cold"), ("cold", "hot"), ("consent", "hot")])
def test_a_record_of_another_form_does_not_open(vault, sealed_as, opened_as):
    box, _ = vault.create("history", ADA)
    with pytest.raises(Unauthentic):
        box.open(opened_as.encode(), box.seal(sealed_as.encode(), b"plain"))


def test_no_bit_of_a_record_can_be_flipped(vault):
    box, _ = vault.create("history", ADA)
    sealed = box.seal(b"hot", b"plain")
    for byte, bit in product(range(len(sealed)), range(8)):
        changed = bytearray(sealed)
        changed[byte] ^= 1 << bit
        with pytest.raises(Unauthentic):
            box.open(b"hot", bytes(changed))


def test_no_bit_of_a_wrapped_key_can_be_flipped(vault):
    _, wrapped = vault.create("history", ADA)
    for byte in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[byte] ^= 1
        with pytest.raises(Unauthentic):
            vault.unlock(bytes(changed), "history", ADA)


@pytest.mark.parametrize("length", [0, 1, 11, 12, 27])
def test_what_is_cut_short_does_not_open(vault, length):
    box, wrapped = vault.create("history", ADA)
    with pytest.raises(Unauthentic) as caught:
        box.open(b"hot", box.seal(b"hot", b"plain")[:length])
    assert caught.value.remedy
    with pytest.raises(Unauthentic):
        vault.unlock(wrapped[:length], "history", ADA)


def repeats(nonces: bytes) -> bool:
    """Say whether one of the twelve-byte nonces stands there twice."""
    parts = np.frombuffer(nonces, np.uint32).reshape(-1, 3)
    first = parts[:, 0].astype(np.uint64) << np.uint64(32) | parts[:, 1]
    order = np.argsort(first)
    alike = np.flatnonzero(np.diff(first[order]) == 0)
    some = {int(one) for at in alike for one in (order[at], order[at + 1])}  # nonces that share eight bytes: few
    return len({parts[one].tobytes() for one in some}) < len(some)


def test_ten_million_nonces_are_distinct_and_of_twelve_bytes():
    draw, count = fresh_nonces(), 10_000_000
    drawn = b"".join(draw() for _ in range(count))
    assert len(drawn) == 12 * count
    assert not repeats(drawn)
    assert repeats(drawn + drawn[12 * 4_711 : 12 * 4_712])


def test_threads_share_no_nonce():
    draw, drawn = fresh_nonces(), []

    def work() -> None:
        mine = [draw() for _ in range(20_000)]
        drawn.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == len(drawn) == 80_000


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_repeats_no_nonce_of_its_parent():
    draw = fresh_nonces()
    draw()  # now the pool holds nonces that a child would inherit
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(draw() for _ in range(300)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    childs = {data[i : i + 12] for i in range(0, len(data), 12)}
    assert len(childs) == 300
    assert not childs & {draw() for _ in range(300)}
