"""The store: one contract, held by the fake and by the real one."""

from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path

import pytest

from entrenous_consent import sqlite
from entrenous_consent.errors import Malformed, Missing, Unavailable
from entrenous_consent.sqlite import FORMAT, SQLiteStore
from entrenous_consent.store import ALWAYS, Append, Delete, Drop, Emit, Emitted, MemoryStore, Put, Store, Verdict, Write
from entrenous_consent.vault import WRAPPED_BYTES

NOW = 1_790_000_000
A, B, C = (name * 8 for name in (b"a", b"b", b"\xff"))
KEY, OTHER = b"k" * WRAPPED_BYTES, b"o" * WRAPPED_BYTES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "visitors.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., SQLiteStore]]:
    """Open the real store, as often as a test wants."""
    stores: list[SQLiteStore] = []

    def open_one(**settings: int) -> SQLiteStore:
        stores.append(SQLiteStore(path, **settings))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    made: SQLiteStore = request.getfixturevalue("opened")()
    return made


def put(name: bytes = A, value: bytes = b"value", *, expect: int = 0, **more: object) -> Put:
    return Put(**({"name": name, "value": value, "expect": expect, "expires": NOW + 100, "wrapped": KEY} | more))


def apply(store: Store, *writes: Write, now: int = NOW, durable: bool = False) -> Verdict:
    return store.transact(writes, now=now, durable=durable)


def contents(store: Store, now: int = NOW) -> list[object]:
    return [*(store.read(name, now) for name in (A, B, C)), store.log("l")]


# The contract


def wrapped(generation: int, filler: bytes = b"k") -> bytes:
    return generation.to_bytes(4, "big") + filler * 60


def test_keys_of_an_older_generation_are_replaced_and_no_more_taken(store):
    apply(store, put(A, wrapped=wrapped(1)), put(B, wrapped=wrapped(2)), put(C, wrapped=None))
    seen = []
    assert store.rewrap(2, lambda name, key: seen.append((name, key)) or wrapped(2, b"n")) == 1
    assert seen == [(A, wrapped(1))]
    assert [row.wrapped for row in store.read_all([A, B, C], NOW)] == [wrapped(2, b"n"), wrapped(2), b""]
    assert store.read(A, NOW)[2] == 1
    assert apply(store, Delete(A), put(A, b"late", wrapped=wrapped(1))) == "conflict"
    assert store.read(A, NOW).value == b"value"
    assert apply(store, Delete(A), put(A, b"new", wrapped=wrapped(2))) == "done"


def test_the_oldest_generation_that_is_taken_never_sinks(store):
    store.rewrap(3, lambda name, key: None)
    assert store.rewrap(2, lambda name, key: None) == 0
    assert apply(store, put(wrapped=wrapped(2))) == "conflict"


def test_a_key_that_does_not_unwrap_is_left_alone(store):
    apply(store, put(A, wrapped=wrapped(1)))
    assert store.rewrap(2, lambda name, key: None) == 0
    assert store.read(A, NOW).wrapped == wrapped(1)


def test_every_key_is_replaced_once_however_many_there_are(store):
    names = [number.to_bytes(8, "big") for number in (*range(250), 2**64 - 1, 2**63, 2**63 - 1)]
    apply(store, *(put(name, wrapped=wrapped(1)) for name in names))
    assert store.rewrap(2, lambda name, key: wrapped(2)) == len(names)
    assert {row.wrapped for row in store.read_all(names, NOW)} == {wrapped(2)}
    assert store.rewrap(2, lambda name, key: wrapped(2)) == 0


def test_what_is_due_is_found_by_name_until_it_expires(store):
    apply(store, put(C, b"c", due=NOW - 5), put(A, b"a", due=NOW), put(B, b"b", due=NOW + 1))
    assert [(name, row.value, row.due) for name, row in store.due(NOW)] == [(A, b"a", NOW), (C, b"c", NOW - 5)]
    assert store.due(NOW + 100) == []


def test_the_outbox_keeps_every_byte_in_order_and_marks_what_was_received(store):
    apply(store, Emit(b"two", b"second", NOW), Emit(b"one", b"first", NOW + 1), Emit(b"two", b"other", NOW + 2))
    assert store.outbox() == [Emitted(b"two", b"second", NOW, 0), Emitted(b"one", b"first", NOW + 1, 0)]
    store.sent(b"two", NOW + 9)
    assert store.outbox(waiting=True) == [Emitted(b"one", b"first", NOW + 1, 0)]
    assert store.outbox()[0].sent == NOW + 9


@pytest.mark.parametrize("length", [0, WRAPPED_BYTES - 1, WRAPPED_BYTES + 1])
def test_a_wrapped_key_of_another_length_is_a_fault_of_ours_and_writes_nothing(opened, length):
    store = opened()
    with pytest.raises(ValueError, match="64 bytes"):
        apply(store, put(A), put(B, wrapped=(99).to_bytes(4, "big").ljust(length, b"k")))
    assert contents(store) == [None, None, None, []]


def test_who_waits_for_a_visitor_does_not_wait_for_another_thread(opened):
    store = opened()
    with store._thread, pytest.raises(Unavailable, match="another thread holds it"):
        store.transact([put()], now=NOW, durable=False, brief=True)
    assert store.transact([put()], now=NOW, durable=False, brief=True) == "done"


def test_a_log_is_dropped_whole_and_others_stay(store):
    apply(store, Append("l", b"1"), Append("m", b"2"), Append("l", b"3"))
    assert store.logs() == ["l", "m"]
    apply(store, Drop("l"), Drop("none"))
    assert (store.logs(), store.log("l"), store.log("m")) == (["m"], [], [b"2"])


def test_what_is_absent_is_none(store):
    assert contents(store) == [None, None, None, []]


@pytest.mark.parametrize("durable", [False, True])
def test_a_row_comes_back_as_written(store, durable):
    assert apply(store, put(C, b"\0\xff", generation=7), durable=durable) == "done"
    assert store.read(C, NOW) == (b"\0\xff", KEY, 1, 7, NOW + 100, 0)


def test_a_row_is_absent_from_the_second_it_expires(store):
    apply(store, put(expires=NOW + 10))
    assert store.read(A, NOW + 9)
    assert store.read(A, NOW + 10) is None


def test_several_rows_come_back_in_the_order_they_were_asked_for(store):
    apply(store, put(A, b"a"), put(C, b"c", expires=NOW + 10))
    assert store.read_all([], NOW) == []
    assert [row and row.value for row in store.read_all([C, B, A, C], NOW)] == [b"c", None, b"a", b"c"]
    assert [row and row.value for row in store.read_all([C, B, A, C], NOW + 10)] == [None, None, b"a", None]


def test_a_write_keeps_the_wrapped_key_it_does_not_name_and_raises_the_version(store):
    apply(store, put())
    assert apply(store, put(value=b"new", expect=1, wrapped=None)) == "done"
    assert store.read(A, NOW)[:3] == (b"new", KEY, 2)


def test_a_write_may_replace_the_wrapped_key(store):
    apply(store, put())
    apply(store, put(expect=1, wrapped=OTHER))
    assert store.read(A, NOW).wrapped == OTHER


def test_a_row_may_have_no_wrapped_key(store):
    apply(store, put(wrapped=None))
    assert store.read(A, NOW).wrapped == b""


@pytest.mark.parametrize("expect", [0, 2])
def test_a_version_that_moved_on_is_a_conflict_and_changes_nothing(store, expect):
    apply(store, put())
    before = contents(store)
    assert apply(store, put(value=b"late", expect=expect)) == "conflict"
    assert contents(store) == before


def test_an_absent_row_has_version_0(store):
    assert apply(store, put(expect=1)) == "conflict"
    assert apply(store, put(expect=0)) == "done"


def test_an_expired_row_counts_as_absent_and_its_key_is_not_inherited(store):
    apply(store, put(expires=NOW + 10))
    late = NOW + 10
    assert apply(store, put(expect=1), now=late) == "conflict"
    assert apply(store, Delete(A, 1), now=late) == "conflict"
    assert apply(store, put(expect=0, wrapped=None), now=late) == "done"
    assert store.read(A, late)[1:3] == (b"", 1)


def test_an_expired_row_is_deleted_as_an_absent_one(store):
    apply(store, put(expires=NOW + 10))
    assert apply(store, Delete(A, 0), now=NOW + 10) == "done"
    assert store.sweep(NOW + 10) == 0


@pytest.mark.parametrize(
    "consent",
    [(), (put(generation=8),), (put(generation=7, expires=NOW),), (put(generation=7), Delete(A))],
    ids=["never there", "of another generation", "expired", "gone"],
)
def test_a_write_under_a_consent_that_does_not_stand_is_dropped(store, consent):
    apply(store, *consent)
    assert apply(store, put(B, guard=(A, 7))) == "dropped"
    assert store.read(B, NOW) is None


def test_a_write_under_a_consent_that_stands_is_done_even_when_it_came_in_the_same_transaction(store):
    assert apply(store, put(generation=7), put(B, guard=(A, 7))) == "done"
    assert apply(store, put(C, guard=(A, 7))) == "done"


@pytest.mark.parametrize(
    ("last", "verdict"), [(put(expect=5), "conflict"), (put(guard=(C, 7)), "dropped"), (Delete(A, 5), "conflict")]
)
def test_all_or_nothing(store, last, verdict):
    apply(store, put(B), Append("l", b"1"))
    before = contents(store)
    assert apply(store, put(C), put(B, expect=1), Delete(B), Append("l", b"2"), last) == verdict
    assert contents(store) == before


def test_a_delete_removes_the_row_and_forgets_its_version(store):
    apply(store, put())
    assert apply(store, Delete(A)) == "done"
    assert store.read(A, NOW) is None
    assert apply(store, put(expect=0, wrapped=OTHER)) == "done"
    assert store.read(A, NOW)[1:3] == (OTHER, 1)


def test_deleting_what_is_absent_is_done(store):
    assert apply(store, Delete(A), Delete(A, 0)) == "done"


def test_a_delete_may_name_the_version_it_saw(store):
    apply(store, put(), put(expect=1))
    assert apply(store, Delete(A, 1)) == "conflict"
    assert apply(store, Delete(A, 0)) == "conflict"
    assert store.read(A, NOW)
    assert apply(store, Delete(A, 2)) == "done"


def test_a_sweep_takes_what_expired_and_nothing_else(store):
    apply(store, put(A, expires=NOW + 10), put(B, expires=NOW + 11), put(C, expires=NOW + 12), Append("l", b"1"))
    assert store.sweep(NOW + 11) == 2
    assert store.sweep(NOW + 11) == 0
    assert [store.read(name, NOW) is None for name in (A, B, C)] == [True, True, False]
    assert store.log("l") == [b"1"]


def test_a_log_keeps_its_order_apart_from_other_logs(store):
    for i in range(12):
        apply(store, Append("l" if i % 3 else "m", b"%d" % i))
    assert store.log("l") == [b"1", b"2", b"4", b"5", b"7", b"8", b"10", b"11"]
    assert store.log("m") == [b"0", b"3", b"6", b"9"]


def test_a_scrub_with_nobody_in_the_way_is_done(store):
    apply(store, put())
    apply(store, Delete(A))
    assert store.scrub() == "done"


def test_of_two_writers_at_once_one_conflicts(store):
    gate = threading.Barrier(4)

    def work(_: int) -> int:
        gate.wait(30)
        done = 0
        for _ in range(25):
            while True:
                row = store.read(A, NOW)
                count, version = (int(row.value), row.version) if row else (0, 0)
                if apply(store, put(value=b"%d" % (count + 1), expect=version)) == "done":
                    break
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 100
    assert store.read(A, NOW)[0] == b"100"


# The real one: files


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_every_file_is_its_owners(opened, path):
    apply(opened(), put())
    assert {file.name for file in path.parent.iterdir()} == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_two_objects_on_one_file_see_each_others_writes(opened):
    first, second = opened(), opened()
    apply(first, put(), Append("l", b"1"))
    assert contents(first) == contents(second)
    assert apply(second, put(expect=0)) == "conflict"


def test_rows_and_logs_outlast_the_object(opened):
    first = opened()
    apply(first, put(), Append("l", b"1"))
    before = contents(first)
    first.close()
    assert contents(opened()) == before


def _open_and_write(path: Path, gate: object, name: bytes) -> str:
    gate.wait(30)  # type: ignore[attr-defined]
    store = SQLiteStore(path)
    verdict = apply(store, put(name))
    store.close()
    return verdict


def test_processes_that_open_a_fresh_store_at_once_all_get_one(tmp_path):
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(4) as pool:
        for i in range(10):
            path, gate = tmp_path / f"{i}.db", manager.Barrier(4)
            jobs = [(path, gate, bytes([worker]) * 8) for worker in range(4)]
            assert pool.starmap(_open_and_write, jobs, chunksize=1) == ["done"] * 4
        pool.close()
        pool.join()


def test_a_fresh_store_is_made_by_one_and_awaited_by_the_others(path):
    gate = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(_open_and_write, path, gate, bytes([worker]) * 8) for worker in range(8)]
    assert [job.result() for job in jobs] == ["done"] * 8


def test_opening_a_second_object_keeps_the_locks_of_the_first(opened, path):
    """Closing any descriptor of the file would drop every lock that this process holds on it."""
    opened()
    held = Path("/proc/locks")
    if not held.exists():
        pytest.skip("this system does not list its locks")

    def locks() -> int:
        ours = (str(os.getpid()), str(path.stat().st_ino))
        lines = [line.split() for line in held.read_text().splitlines()]
        return sum(line[1] == "POSIX" and line[4] == ours[0] and line[5].endswith(f":{ours[1]}") for line in lines)

    if not locks():
        pytest.skip("this system does not show the locks of this file")
    opened()
    assert locks()


def test_threads_that_come_and_go_leave_no_connection_each(opened):
    store = opened()
    for _ in range(20):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(store.read, A, NOW).result()
    assert len(store._idle) == 1


@pytest.mark.parametrize(
    ("written", "remedy"), [(FORMAT + 1, "upgrade"), (FORMAT - 1, "that wrote it"), (1, "that wrote it")]
)
def test_another_format_is_refused_and_left_alone(opened, path, written, remedy):
    opened().close()
    with sqlite3.connect(path) as other:
        other.execute(f"pragma user_version={written}")
    other.close()
    before = files(path)
    with pytest.raises(Unavailable, match=f"is of format {written}") as caught:
        opened()
    assert remedy in caught.value.remedy
    assert files(path) == before


@pytest.mark.parametrize(
    "made",
    [
        "create table notes (text)",
        "create table records (name integer primary key)",
        "pragma user_version=1",
        "pragma user_version=9",
        "pragma application_id=42",
    ],
)
def test_another_programs_database_is_refused_and_left_alone(opened, path, made):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(made)
    other.close()
    before = files(path)
    with pytest.raises(Malformed, match="another program"):
        opened()
    assert files(path) == before


@pytest.mark.parametrize("garbage", [b"garbage" * 100, b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_file_of_garbage_is_refused_and_left_alone(opened, path, garbage):
    path.write_bytes(garbage)
    with pytest.raises(Malformed, match="damaged or not a store"):
        opened()
    assert path.read_bytes() == garbage


def test_a_store_without_its_tables_says_so_at_opening(opened, path):
    opened().close()
    with sqlite3.connect(path) as other:
        other.execute("drop table records")
    other.close()
    with pytest.raises(Unavailable):
        opened()


def test_a_directory_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(Missing):
        SQLiteStore(tmp_path / "nowhere" / "visitors.db")


def test_a_directory_in_its_place_is_unavailable(tmp_path):
    with pytest.raises(Unavailable):
        SQLiteStore(tmp_path)


def test_a_store_that_was_removed_acknowledges_nothing_more(opened, path):
    store = opened()
    path.unlink()
    with pytest.raises(Missing):
        apply(store, put())
    assert not path.exists()


def test_a_store_that_was_replaced_acknowledges_nothing_more(opened, path):
    store = opened()
    path.rename(path.with_name("old.db"))
    opened()
    with pytest.raises(Unavailable, match="replaced"):
        apply(store, put())


def test_a_reader_never_makes_a_file(opened, path):
    store = opened()
    store._idle.pop().close()
    path.unlink()
    with pytest.raises(Unavailable):
        store.read(A, NOW)
    assert not path.exists()


def test_a_relative_path_stays_where_it_was_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore(Path("visitors.db"))
    store._idle.pop().close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    apply(store, put())
    assert store.read(A, NOW)
    store.close()


def test_a_closed_store_is_unavailable(opened):
    store = opened()
    store.close()
    store.close()
    for use in (lambda: store.read(A, NOW), lambda: apply(store, put()), lambda: store.log("l"), store.scrub):
        with pytest.raises(Unavailable):
            use()


def test_a_writer_that_waits_too_long_is_told_so(opened, path, monkeypatch):
    monkeypatch.setattr(sqlite, "_WRITE_WAIT", 0.0)
    store = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(Unavailable, match="another process holds it"):
        apply(store, put())
    assert store.read(A, NOW) is None
    other.execute("rollback")
    other.close()
    assert apply(store, put()) == "done"


def test_a_file_damaged_since_is_malformed_at_opening(opened, path):
    store = opened()
    apply(store, *(put(bytes([i]) * 8, b"x" * 3000) for i in range(100)))
    store.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * len(data[4096:])
    path.write_bytes(data)
    with pytest.raises(Malformed, match="damaged"):
        opened()


# The real one: a full disk


def _takes(store: SQLiteStore, write: Write) -> bool:
    try:
        return apply(store, write) == "done"
    except Unavailable:
        return False


def _fill(store: SQLiteStore) -> list[bytes]:
    """Return the names of the rows that a store took before it was full."""
    names = (i.to_bytes(8, "big") for i in range(10_000))
    kept = list(takewhile(lambda name: _takes(store, put(name, os.urandom(500))), names))
    with pytest.raises(Unavailable, match="the disk is full"):
        apply(store, put(len(kept).to_bytes(8, "big"), os.urandom(500)))
    return kept


def test_a_full_disk_loses_nothing_acknowledged(opened):
    store = opened(most_bytes=200_000)
    kept = _fill(store)
    assert len(kept) > 100
    assert all(store.read(name, NOW) for name in kept)
    assert store.read(len(kept).to_bytes(8, "big"), NOW) is None
    store.close()
    assert all(opened().read(name, NOW) for name in kept)


def test_a_full_store_still_takes_withdrawals_and_sweeps(opened):
    store = opened(most_bytes=200_000)
    kept, entry = _fill(store), Append("l", b"x" * 150)
    while _takes(store, entry):
        pass
    for name in kept:
        assert apply(store, entry, Delete(name)) == "done"
    assert store.sweep(NOW + 1000) == 0
    assert apply(store, put(kept[0])) == "done"


# The real one: shredding


def _copies(path: Path, keys: set[bytes]) -> int:
    """Count the places in any file of the store where one of `keys`, recognised by its first bytes, still stands."""
    starts = {key[:12] for key in keys}
    return sum(data[i : i + 12] in starts for data in files(path).values() for i in range(len(data)))


def _grow_and_shrink(store: SQLiteStore) -> tuple[set[bytes], set[bytes]]:
    """Return the wrapped keys that are gone and those that live, after thousands of rows of many sizes."""
    draw = random.Random(7)
    living: dict[bytes, tuple[bytes, int]] = {}
    gone: set[bytes] = set()
    for _ in range(120):
        writes: list[Write] = []
        for name in draw.sample(sorted(living), len(living) // 3):
            key, version = living.pop(name)
            if draw.random() < 0.5:
                gone.add(key)
                writes.append(Delete(name))
            else:
                living[name] = key, version + 1
                writes.append(put(name, draw.randbytes(draw.randrange(2000)), expect=version, wrapped=None))
        for _ in range(30):
            name, key = draw.randbytes(8), draw.randbytes(WRAPPED_BYTES)
            living[name] = key, 1
            writes.append(put(name, draw.randbytes(draw.randrange(800)), wrapped=key))
        assert apply(store, *writes) == "done"
    return gone, {key for key, _ in living.values()}


def test_after_a_scrub_no_copy_of_a_deleted_key_is_in_any_file(opened, path):
    store = opened()
    gone, living = _grow_and_shrink(store)
    assert len(gone) > 1500
    assert store.scrub() == "done"
    assert _copies(path, gone) == 0
    assert _copies(path, living) == len(living)


def test_a_reader_that_holds_on_makes_it_pending_until_it_lets_go(opened, path, monkeypatch):
    monkeypatch.setattr(sqlite, "_SCRUB_WAIT", 0.0)
    store = opened()
    apply(store, put(B, wrapped=OTHER))
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("begin")
    reader.execute("select * from slots").fetchall()
    gone, _ = _grow_and_shrink(store)
    apply(store, Delete(B))
    assert store.scrub() == "pending"
    assert _copies(path, {OTHER, *gone}) > 0
    reader.close()
    assert store.scrub() == "done"
    assert _copies(path, {OTHER, *gone}) == 0


def test_a_reader_that_lets_go_in_time_is_waited_for(opened, path):
    store = opened()
    apply(store, put(B, wrapped=OTHER))
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("begin")
    reader.execute("select * from slots").fetchall()
    apply(store, Delete(B))
    leaving = threading.Timer(0.06, reader.close)
    leaving.start()
    assert store.scrub() == "done"
    leaving.join()
    assert _copies(path, {OTHER}) == 0


def _as_row_number(name: bytes) -> bytes:
    """Return the nine bytes in which SQLite writes a row number of 64 bits: eight times seven bits, then eight."""
    number = int.from_bytes(name, "big")
    return bytes(0x80 | (number >> 8 + 7 * i) & 0x7F for i in reversed(range(8))) + name[-1:]


def test_a_sweep_leaves_no_copy_of_a_key_or_a_name(opened, path):
    store, draw = opened(), random.Random(8)
    rows = [
        (b"\x80" + draw.randbytes(7), draw.randbytes(WRAPPED_BYTES), NOW + draw.choice((100, 200))) for _ in range(2000)
    ]
    for name, key, expires in rows:
        apply(store, put(name, draw.randbytes(60), wrapped=key, expires=expires))
    names, keys = ({row[i] for row in rows if row[2] == NOW + 100} for i in (0, 1))
    assert store.sweep(NOW + 100) == len(names)
    assert _copies(path, keys) == 0
    left = b"".join(files(path).values())
    assert not [name for name in names if _as_row_number(name) in left]
    assert all(_as_row_number(name) in left for name, _, expires in rows if expires > NOW + 100)


def test_an_overwritten_key_leaves_no_copy(opened, path):
    store = opened()
    apply(store, put())
    apply(store, put(expect=1, wrapped=OTHER))
    store.scrub()
    assert _copies(path, {KEY}) == 0 < _copies(path, {OTHER})


def test_a_census_counts_what_ends_one_day(store):
    assert store.census(NOW) == (0, 0, 0)
    ends = (NOW + 10, NOW + 20, NOW, NOW - 1, ALWAYS)
    for i, expires in enumerate(ends):
        put = Put(name=i.to_bytes(8, "big"), value=b"", expires=expires, expect=0)
        assert store.transact([put], now=NOW, durable=False) == "done"
    assert store.census(NOW) == (2, 2, NOW + 10)
    assert store.census(NOW + 20) == (0, 4, 0)
