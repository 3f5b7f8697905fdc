"""Root keys, and the keyring that lies under one."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from entrenous_consent import keys
from entrenous_consent.errors import Malformed, Missing, Refusal, Unauthentic, Unavailable
from entrenous_consent.keys import (
    KEY_BYTES,
    EnvironmentKeyProvider,
    FileKeyProvider,
    Keyring,
    MemoryKeyProvider,
    write_whole,
)

ROOT = MemoryKeyProvider(bytes(range(KEY_BYTES)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring"


@pytest.fixture
def keyring(path: Path) -> Keyring:
    return Keyring(path, ROOT)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# Root keys


def test_a_key_file_is_made_once_and_only_for_its_owner(path):
    key = FileKeyProvider(path).root()
    assert len(key) == KEY_BYTES
    assert mode(path) == 0o600
    assert FileKeyProvider(path).root() == key
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("looser", [0o640, 0o604, 0o620, 0o601])
def test_a_key_file_that_others_may_touch_is_refused(path, looser):
    FileKeyProvider(path).root()
    path.chmod(looser)
    with pytest.raises(Unavailable, match="others may read it"):
        FileKeyProvider(path).root()


@pytest.mark.parametrize("length", [0, KEY_BYTES - 1, KEY_BYTES + 1])
def test_a_key_file_of_another_length_is_malformed(path, length):
    write_whole(path, bytes(length))
    with pytest.raises(Malformed, match="is not 32 bytes"):
        FileKeyProvider(path).root()


def test_whoever_comes_while_the_key_file_is_being_made_gets_that_key(path, monkeypatch):
    real, others = os.urandom, []

    def slow(count: int) -> bytes:
        if not others:
            others.append(b"")
            others[0] = FileKeyProvider(path).root()
        return real(count)

    monkeypatch.setattr(keys.os, "urandom", slow)
    assert FileKeyProvider(path).root() == others[0]


def test_a_deleted_key_file_is_overwritten_first(path, tmp_path):
    provider = FileKeyProvider(path)
    provider.root()
    os.link(path, tmp_path / "copy")
    provider.delete()
    assert not path.exists()
    assert (tmp_path / "copy").read_bytes() == bytes(KEY_BYTES)
    provider.delete()


@pytest.mark.parametrize(
    ("value", "expected"), [(None, Missing), ("", Malformed), ("ab" * 31, Malformed), ("zz" * 32, Malformed)]
)
def test_a_bad_variable_is_refused_and_not_repeated(monkeypatch, value, expected):
    if value is not None:
        monkeypatch.setenv("ROOT_KEY", value)
    with pytest.raises(expected) as caught:
        EnvironmentKeyProvider("ROOT_KEY").root()
    assert not value or value not in str(caught.value)


def test_a_variable_holds_the_key_until_it_is_deleted(monkeypatch):
    monkeypatch.setenv("ROOT_KEY", "AB" * 32)
    provider = EnvironmentKeyProvider("ROOT_KEY")
    assert provider.root() == b"\xab" * 32
    provider.delete()
    with pytest.raises(Missing):
        provider.root()


def test_a_key_in_memory_is_gone_once_deleted():
    provider = MemoryKeyProvider()
    assert len(provider.root()) == KEY_BYTES
    provider.delete()
    with pytest.raises(Missing):
        provider.root()


# The keyring


def test_keys_are_distinct_and_outlast_the_object(keyring, path):
    def every(ring: Keyring) -> list[bytes]:
        epochs = [ring.epoch_key(purpose, epoch) for purpose in ("a", "b") for epoch in (1, 2)]
        return [ring.boundary, ring.audit, ring.generation_key(1) or b"", ring.experiment_key("e"), *epochs]

    first = every(keyring)
    assert len(set(first)) == len(first)
    assert {len(key) for key in first} == {KEY_BYTES}
    assert every(Keyring(path, ROOT)) == first


def test_the_file_holds_no_key_in_clear_and_is_its_owners(keyring, path):
    key = keyring.epoch_key("a", 1)
    assert key not in path.read_bytes()
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}


def test_another_root_key_does_not_open_it_and_changes_nothing(keyring, path):
    before = path.read_bytes()
    with pytest.raises(Unauthentic, match="root key"):
        Keyring(path, MemoryKeyProvider())
    assert path.read_bytes() == before


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_root_key_of_another_length_is_malformed(path, length):
    class Short(MemoryKeyProvider):
        def root(self) -> bytes:
            return bytes(length)

    with pytest.raises(Malformed, match="root key"):
        Keyring(path, Short())
    assert not path.exists()


def test_a_changed_bit_does_not_open(keyring, path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Unauthentic):
        Keyring(path, ROOT)


@pytest.mark.parametrize("data", [b"", b"x", bytes(28)])
def test_a_file_of_garbage_does_not_open_and_is_not_replaced(path, data):
    path.write_bytes(data)
    with pytest.raises(Unauthentic):
        Keyring(path, ROOT)
    assert path.read_bytes() == data


def test_two_objects_agree_on_keys_that_threads_make(path):
    rings, gate = [Keyring(path, ROOT), Keyring(path, ROOT)], threading.Barrier(8)

    def make(i: int) -> list[bytes]:
        gate.wait(30)
        return [rings[i % 2].epoch_key(f"p{n}", n) for n in range(6)]

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    assert made == [made[0]] * 8


def _make(path: Path, gate: Barrier) -> list[bytes]:
    gate.wait(30)
    ring = Keyring(path / "keyring", FileKeyProvider(path / "root.key"))
    return [ring.boundary, *(ring.epoch_key(f"p{n}", n) for n in range(6))]


@pytest.fixture
def processes() -> Iterator[multiprocessing.pool.Pool]:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        yield pool
        pool.close()
        pool.join()


def test_processes_that_open_a_fresh_keyring_at_once_agree(tmp_path, processes):
    with multiprocessing.get_context("spawn").Manager() as manager:
        gate = manager.Barrier(3)
        made = processes.starmap(_make, [(tmp_path, gate)] * 3, chunksize=1)
    assert made == [made[0]] * 3


def test_a_retired_epoch_is_gone_for_good_in_every_object(keyring, path):
    past = {epoch: keyring.epoch_key("a", epoch) for epoch in (1, 2, 3)}
    keyring.retire_epochs(3, 1)
    again = Keyring(path, ROOT)
    assert [again.past_epoch_key("a", epoch) for epoch in (1, 2, 3)] == [None, past[2], past[3]]
    assert keyring.past_epoch_key("a", 1) is None
    assert keyring.epoch_key("a", 1) != past[1]


def test_an_object_that_still_remembers_a_retired_key_does_not_write_it_back(keyring, path):
    other = Keyring(path, ROOT)
    key = other.epoch_key("a", 1)
    keyring.retire_epochs(3, 1)
    other.epoch_key("b", 3)
    assert Keyring(path, ROOT).past_epoch_key("a", 1) is None
    assert keyring.epoch_key("a", 1) != key


def test_an_epoch_that_a_clock_ahead_began_is_kept(keyring):
    for epoch in (1, 2, 3, 9):
        keyring.epoch_key("a", epoch)
    assert keyring.epochs_over(3, 1) == keyring.retire_epochs(3, 1) == (1,)
    assert set(keyring.epochs()) == {2, 3, 9}
    assert keyring.retire_epochs(3, 1) == ()


@pytest.mark.parametrize(("before", "after"), [(10, 25), (25, 10)], ids=["lengthened", "shortened"])
def test_keys_of_another_count_of_epochs_live_as_long_as_one_epoch_more(keyring, path, before, after):
    now, old = 1000, {1000 // before - 1, 1000 // before}
    for epoch in old:
        keyring.epoch_key("a", epoch)
    assert keyring.retire_epochs(now, before) == ()
    keyring.epoch_key("a", now // after)
    assert keyring.epochs_over(now, after) == keyring.retire_epochs(now, after) == ()
    again = Keyring(path, ROOT)
    again.retire_epochs(now + 24, after)
    assert old <= set(again.epochs())
    assert old == set(again.epochs_over(now + 25, after)) == set(again.retire_epochs(now + 25, after))
    assert not old & set(again.epochs())


def test_a_key_of_another_count_that_serves_anew_is_kept(keyring):
    for epoch in (49, 50, 51):
        keyring.epoch_key("a", epoch)
    keyring.retire_epochs(510, 10)
    assert keyring.retire_epochs(500, 10) == ()
    assert keyring.retire_epochs(550, 11) == ()
    assert set(keyring.epochs()) == {50, 51}
    assert keyring.retire_epochs(561, 11) == ()
    assert keyring.retire_epochs(572, 11) == (50,)
    assert set(keyring.epochs()) == {51}


def test_epochs_tell_what_another_object_made(keyring, path):
    Keyring(path, ROOT).epoch_key("a", 7)
    assert keyring.epochs() == {7: {"a"}}


def test_the_next_generation_is_made_once_until_the_one_before_is_destroyed(keyring, path):
    first = keyring.generation_key(1)
    assert (keyring.generation, keyring.generation_made()) == (1, 0)
    assert keyring.next_generation(1000) == 2
    other = Keyring(path, ROOT)
    assert other.next_generation(2000) == 2
    assert (other.generation_made(), other.generation_key(1)) == (1000, first)
    other.destroy_generations(2)
    assert other.generation_key(1) is None
    assert keyring.generation_key(1) == first
    keyring.refresh()
    assert keyring.generation_key(1) is None
    assert keyring.next_generation(3000) == 3


def test_the_last_generation_is_never_destroyed(keyring):
    keyring.destroy_generations(99)
    assert keyring.generation_key(1)
    keyring.destroy_generations(1)
    assert keyring.generation_key(1)


def test_refreshing_reads_only_a_file_that_was_replaced(keyring, path, monkeypatch):
    monkeypatch.setattr(keyring, "_load", lambda: pytest.fail("the file is the one that was read"))
    keyring.refresh()
    monkeypatch.undo()
    made = Keyring(path, ROOT).epoch_key("measure", 7)
    keyring.refresh()
    assert keyring.past_epoch_key("measure", 7) == made


def test_a_keyring_that_is_gone_says_so_when_it_is_refreshed(keyring, path):
    path.unlink()
    with pytest.raises(Missing):
        keyring.refresh()


def test_a_resealed_keyring_opens_under_the_new_root_alone(keyring, path):
    made, other = keyring.epoch_key("measure", 7), MemoryKeyProvider()
    keyring.reseal(other)
    assert keyring.epoch_key("history", 7)
    again = Keyring(path, other)
    assert (again.boundary, again.epoch_key("measure", 7)) == (keyring.boundary, made)
    with pytest.raises(Unauthentic):
        Keyring(path, ROOT)


def test_a_keyring_is_not_resealed_under_half_a_key(keyring, path):
    before = path.read_bytes()
    with pytest.raises(Malformed):
        keyring.reseal(MemoryKeyProvider(b"short"))
    assert path.read_bytes() == before
    assert Keyring(path, ROOT).boundary == keyring.boundary


def test_the_signing_key_is_made_once_and_by_whoever_asks_first(keyring, path):
    other = Keyring(path, ROOT)
    seed = keyring.signing
    assert len(seed) == KEY_BYTES
    assert other.signing == keyring.signing == Keyring(path, ROOT).signing == seed


def test_a_generation_that_never_was_has_no_key(keyring):
    assert keyring.generation == 1
    assert keyring.generation_key(2) is None


def test_public_keys_are_what_they_are_said_to_be(path):
    ring = Keyring(path, ROOT, public={"e": b"k" * KEY_BYTES})
    assert ring.experiment_key("e") == b"k" * KEY_BYTES
    assert Keyring(path, ROOT).experiment_key("e") != b"k" * KEY_BYTES


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(keyring, path, monkeypatch, step):
    before, beside = path.read_bytes(), set(path.parent.iterdir())

    def fail(*_: object) -> None:
        raise OSError(28, "no space left")

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(Unavailable, match="the disk is full"):
        keyring.epoch_key("a", 1)
    assert path.read_bytes() == before
    assert set(path.parent.iterdir()) == beside


def test_what_a_killed_writer_left_goes_with_the_next_write(keyring, path):
    left = path.with_name(".keyring.4711.new")
    left.write_bytes(path.read_bytes())
    keyring.epoch_key("a", 1)
    assert not left.exists()


def test_a_keyring_never_grows_past_what_it_can_read(keyring, path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(keys, "_KEYRING_LIMIT", 400)
    with pytest.raises(Unavailable, match="too many keys"):
        keyring.experiment_key("e" * 400)
    assert path.read_bytes() == before


def _gone(path: Path) -> None:
    path.unlink()


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _no_directory(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()


@pytest.mark.parametrize(("harm", "expected"), [(_gone, Missing), (_folder, Unavailable), (_no_directory, Missing)])
def test_a_keyring_that_disappears_while_open_says_so_and_is_not_made_anew(tmp_path, harm, expected):
    (tmp_path / "keys").mkdir()
    path = tmp_path / "keys" / "keyring"
    keyring = Keyring(path, ROOT)
    harm(path)
    with pytest.raises(expected):
        keyring.epoch_key("a", 1)
    assert not path.is_file()


@pytest.mark.parametrize("opened", [lambda path: Keyring(path, ROOT), lambda path: FileKeyProvider(path).root()])
def test_a_directory_that_is_not_there_is_missing(tmp_path, opened):
    with pytest.raises(Missing):
        opened(tmp_path / "nowhere" / "key")


@pytest.mark.parametrize("opened", [lambda path: Keyring(path, ROOT), lambda path: FileKeyProvider(path).root()])
def test_a_disk_that_refuses_is_unavailable(path, monkeypatch, opened):
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Refusal) as caught:
        opened(path)
    assert isinstance(caught.value, Unavailable)


def test_a_relative_path_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keyring = Keyring(Path("keyring"), ROOT)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    keyring.epoch_key("a", 1)
    assert Keyring(tmp_path / "keyring", ROOT).epochs() == {1: {"a"}}
