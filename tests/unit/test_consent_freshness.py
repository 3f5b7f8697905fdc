"""Counters in a mapped file."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrenous_consent import freshness
from entrenous_consent.errors import Malformed, Missing, Unavailable
from entrenous_consent.freshness import SHARDS, Counters


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters"


@pytest.fixture
def counters(path: Path) -> Iterator[Counters]:
    opened = Counters(path)
    yield opened
    opened.close()


def test_a_new_file_counts_from_zero_and_is_its_owners(counters, path):
    assert list(counters.words) == [0] * (1 + SHARDS)
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_objects_see_each_others_increments_at_once(counters, path):
    other = Counters(path)
    counters.raise_withdrawals()
    other.raise_shard(7)
    assert (other.words[0], counters.words[7]) == (1, 1)
    other.close()


def test_only_the_word_that_is_raised_changes(counters):
    counters.raise_shard(SHARDS)
    assert [i for i, word in enumerate(counters.words) if word] == [SHARDS]


def test_counts_outlast_the_object(counters, path):
    counters.raise_withdrawals()
    again = Counters(path)
    assert again.words[0] == 1
    again.close()


@pytest.mark.parametrize(
    ("handle", "shard"), [(b"\0\0", 1), (b"\0\x0f", 1), (b"\0\x10", 2), (b"\xff\xff", SHARDS), (b"\x80\0", 2049)]
)
def test_a_shard_is_the_first_twelve_bits(handle, shard):
    assert Counters.shard_of(handle + bytes(30)) == shard


def _raise(path: Path) -> None:
    counters = Counters(path)
    for _ in range(3000):
        counters.raise_withdrawals()
        counters.raise_shard(5)
    counters.close()


def test_processes_lose_no_increment_and_may_open_a_fresh_file_at_once(path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_raise, args=(path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        worker.close()
    counters = Counters(path)
    assert (counters.words[0], counters.words[5]) == (9000, 9000)
    counters.close()


def test_threads_lose_no_increment(path):
    threads = [threading.Thread(target=_raise, args=(path,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counters = Counters(path)
    assert counters.words[0] == 9000
    counters.close()


@pytest.mark.parametrize("data", [b"x", b"SQLite format 3\0" * 100, bytes(64 + 8 * (1 + SHARDS))])
def test_another_file_is_refused_and_left_alone(path, data):
    path.write_bytes(data)
    with pytest.raises(Malformed, match="is not a counter file"):
        Counters(path)
    assert path.read_bytes() == data


def test_a_file_cut_short_is_refused(path):
    Counters(path).close()
    os.truncate(path, 100)
    with pytest.raises(Malformed):
        Counters(path)


def test_a_directory_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(Missing):
        Counters(tmp_path / "nowhere" / "counters")


def test_a_directory_in_its_place_is_unavailable(tmp_path):
    with pytest.raises(Unavailable):
        Counters(tmp_path)


def test_a_disk_that_is_full_leaves_a_file_that_can_be_begun_again(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(freshness.os, "write", lambda fd, data: real(fd, data[:100]))
    with pytest.raises(Unavailable, match="the disk is full"):
        Counters(path)
    monkeypatch.undo()
    Counters(path).close()
