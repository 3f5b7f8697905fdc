"""The chain of months, what is exported of it, and the first entry that no longer fits."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from entrenous_consent import audit
from entrenous_consent.errors import Malformed, Missing, Unauthentic
from entrenous_consent.packing import pack, unpack
from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.store import Append, MemoryStore, Put

SEED = bytes(range(32))
KEY = audit.audit_key(SEED)
DAY = 86_400


def at(year: int, month: int, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


NOW = at(2026, 12, 15)


class Log:
    """A log as a store keeps it: every entry placed as `audit.placed` says."""

    def __init__(self) -> None:
        self.held: dict[str, list[bytes]] = {}

    def add(self, kind: str, time: int, **detail: object) -> str:
        newest = max(self.held, default="")
        log, first = audit.placed(newest, audit.log_name(time), lambda: self.held[newest], time)
        data = audit.entry(kind, time=time, subject=b"", detail=detail)
        self.held.setdefault(log, []).extend([*first, data])
        return log

    def fill(self, year: int, month: int, count: int) -> None:
        for i in range(count):
            self.add("erasure", at(year, month) + i, policy=1)

    def drop(self, log: str, time: int) -> None:
        self.add("audit.dropped", time, **audit.summary(log, self.held[log]))
        del self.held[log]

    def exported(self) -> tuple[audit.Checkpoint, tuple[audit.Month, ...]]:
        signed = audit.read_checkpoint(audit.sign_checkpoint(audit.checkpoint_of(self.held), SEED).encode(), KEY)
        return signed, audit.read_leaves(audit.write_leaves(self.held), signed)

    def failure(self, *exported, now: int = NOW, **more) -> tuple[str, int, str] | None:
        found = audit.first_failure(self.held, *exported, now=now, **more)
        return None if found is None else (found.log, found.index, found.what)


@pytest.fixture
def log() -> Log:
    """Three months, each longer than the one before."""
    log = Log()
    for month, count in ((10, 3), (11, 4), (12, 5)):
        log.fill(2026, month, count)
    return log


SIZES = {"audit 2026-10": 3, "audit 2026-11": 5, "audit 2026-12": 6}


# Months


def test_the_first_entry_of_a_month_seals_the_month_before(log):
    assert {name: len(entries) for name, entries in log.held.items()} == SIZES
    seal = audit.read_entry(log.held["audit 2026-12"][0])
    assert (seal.kind, seal.time) == ("audit.sealed", at(2026, 12))
    november = log.held["audit 2026-11"]
    assert seal.detail == {"log": "audit 2026-11", "size": 5, "root": audit.root(november).hex()}


def test_a_month_without_entries_is_passed_over():
    log = Log()
    log.fill(2026, 9, 1)
    log.fill(2026, 12, 1)
    assert audit.read_entry(log.held["audit 2026-12"][0]).detail["log"] == "audit 2026-09"
    assert log.failure() is None


def test_an_entry_that_comes_late_goes_into_the_open_month(log):
    assert log.add("erasure", at(2026, 11, 30), policy=1) == "audit 2026-12"
    assert log.failure() is None


@pytest.mark.parametrize(("log", "end"), [("audit 2026-11", at(2026, 12)), ("audit 2026-12", at(2027, 1))])
def test_a_month_ends_where_the_next_begins(log, end):
    assert audit.month_end(log) == end
    assert audit.ended([log], end + 30 * DAY - 1, days=30) == []
    assert audit.ended([log], end + 30 * DAY, days=30) == [log]
    assert audit.ended([log], end + audit.RETENTION_DAYS * DAY) == [log]


def test_what_is_no_month_has_no_end():
    with pytest.raises(ValueError, match="not the name of a log"):
        audit.month_end("audit 2026-13")


# Exports


def test_an_export_holds_every_month_that_the_chain_reaches(log):
    checkpoint, months = log.exported()
    assert {month.log: len(month.leaves) for month in months} == SIZES
    assert checkpoint == audit.Checkpoint(log="audit 2026-12", size=6, root=audit.root(log.held["audit 2026-12"]))
    assert [month.seal for month in months] == [b"", log.held["audit 2026-11"][0], log.held["audit 2026-12"][0]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda held: held["audit 2026-11"].pop(),
        lambda held: held["audit 2026-11"].pop(0),
        lambda held: held.pop("audit 2026-11"),
        lambda held: held["audit 2026-12"].insert(
            0, audit.entry("audit.sealed", time=1, subject=b"", detail=audit.summary("audit 2026-12", []))
        ),
    ],
    ids=["shorter", "unsealed", "gone", "sealed by itself"],
)
def test_an_export_stops_where_the_chain_is_broken(log, spoil):
    spoil(log.held)
    checkpoint, months = log.exported()
    assert 0 < len(months) < 3
    assert months[-1].log == checkpoint.log


def test_nothing_is_exported_of_nothing():
    with pytest.raises(Missing, match="holds no entry"):
        audit.checkpoint_of({})


def spoiled(table: dict) -> list[dict]:
    """Return exports that say something else in one place."""
    logs = table["logs"]
    (october, first, leaves), (november, second, more), december = logs
    return [
        {**table, "logs": logs[:2]},
        {**table, "logs": logs[::-1]},
        {**table, "logs": [logs[0], december]},
        {**table, "logs": [[october, first, leaves[32:]], logs[1], december]},
        {**table, "logs": [[october, second, leaves], logs[1], december]},
        {**table, "logs": [["audit 2026-08", first, leaves], logs[1], december]},
        {**table, "logs": [logs[0], [november, b"", more], december]},
        {**table, "logs": [logs[0], [november, first, more], december]},
        {**table, "logs": [logs[0], [november, december[1], more], december]},
        {**table, "logs": [logs[0], [november, b"x", more], december]},
        {**table, "logs": [logs[0], logs[1], [december[0], december[1], december[2] + bytes(32)]]},
    ]


def test_an_export_that_says_something_else_is_refused(log):
    checkpoint, _ = log.exported()
    for wrong in spoiled(unpack(audit.write_leaves(log.held), place="leaves", longest=1 << 20)):
        with pytest.raises(Unauthentic, match="not what the checkpoint is about"):
            audit.read_leaves(pack(wrong), checkpoint)


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"format": 1},
        {"format": 2, "logs": [["audit 2026-12", b"", bytes(32)]]},
        {"logs": [], "format": 1},
        {"format": 1, "logs": []},
        {"format": 1, "logs": {}},
        {"format": 1, "logs": [1]},
        {"format": 1, "logs": [["audit 2026-12", b"", "x"]]},
        {"format": 1, "logs": [["audit 2026-12", b"", b""]]},
        {"format": 1, "logs": [["audit 2026-12", b"", bytes(33)]]},
        {"format": 1, "logs": [["december", b"", bytes(32)]]},
        {"format": 1, "logs": [["audit 2026-12", b"", bytes(32)]] * 1201},
    ],
)
def test_what_is_no_export_is_refused(log, value):
    with pytest.raises(Malformed):
        audit.read_leaves(pack(value), log.exported()[0])


# The first entry that fails


def test_a_log_that_only_grew_fits_every_earlier_export(log):
    exports = [log.exported()]
    log.fill(2026, 12, 2)
    exports.append(log.exported())
    log.fill(2027, 2, 2)
    assert [log.failure(*one) for one in exports] == [None, None]
    assert log.failure() is None


@pytest.mark.parametrize("month", SIZES)
def test_the_first_entry_that_fails_is_named_by_month_and_place(log, month):
    exported = log.exported()
    entries, other = log.held[month], audit.entry("erasure", time=1, subject=b"", detail={"policy": 2})
    for changed, expected in (
        ([entries[0], other, *entries[2:]], (1, "changed")),
        ([entries[0], *entries[2:]], (1, "removed")),
        ([entries[0], other, *entries[1:]], (1, "inserted")),
        ([entries[0], entries[2], entries[1], *entries[3:]], (1, "moved")),
        (entries[:-1], (len(entries) - 1, "ended")),
        ([], (0, "missing")),
    ):
        log.held[month] = changed
        assert log.failure(*exported) == (month, *expected)


def test_without_leaf_hashes_a_change_is_found_and_only_the_log_is_named(log):
    checkpoint, _ = log.exported()
    assert log.failure(checkpoint) is None
    entries = log.held.pop("audit 2026-12")
    assert log.failure(checkpoint) == ("audit 2026-12", -1, "missing")
    log.held["audit 2026-12"] = entries[:-1]
    assert log.failure(checkpoint) == ("audit 2026-12", -1, "differs")
    log.held["audit 2026-12"] = [entries[1], entries[0], *entries[2:]]
    assert log.failure(checkpoint) == ("audit 2026-12", -1, "differs")


def test_what_is_added_to_a_sealed_month_is_named(log):
    exported = log.exported()
    log.held["audit 2026-11"].append(audit.entry("erasure", time=1, subject=b"", detail={"policy": 2}))
    assert log.failure(*exported) == ("audit 2026-11", 5, "added")
    assert log.failure() == ("audit 2026-11", -1, "differs")


def test_without_a_checkpoint_the_chain_of_seals_is_held_to(log):
    assert log.failure() is None
    november = log.held.pop("audit 2026-11")
    assert log.failure() == ("audit 2026-11", 0, "missing")
    log.held["audit 2026-11"] = november[1:]
    assert log.failure() == ("audit 2026-11", 0, "unsealed")
    log.held["audit 2026-11"] = [*november[:-1], audit.entry("erasure", time=1, subject=b"", detail={"policy": 2})]
    assert log.failure() == ("audit 2026-11", -1, "differs")
    log.held["audit 2026-11"] = november
    log.held["audit 2020-01"] = [november[1]]
    assert log.failure() == ("audit 2026-10", 0, "unsealed")


@pytest.mark.parametrize("month", ["audit 2026-01", "audit 2027-05"])
def test_a_month_that_was_never_there_is_named(log, month):
    exported = log.exported()
    log.held[month] = [audit.entry("erasure", time=1, subject=b"", detail={"policy": 1})]
    named = "audit 2026-10" if month < "audit 2026-10" else month
    assert log.failure(*exported) == log.failure() == (named, 0, "unsealed")


def test_a_month_that_is_put_between_two_is_named_though_it_seals_the_one_before(log):
    exported = log.exported()
    (october, november, december) = (log.held[name] for name in SIZES)
    log.held = {"audit 2026-08": october, "audit 2026-10": november, "audit 2026-12": december}
    assert log.failure(*exported) is not None
    log.held = {"audit 2026-10": october, "audit 2026-11": november, "audit 2026-12": december}
    detail = audit.summary("audit 2026-12", december)
    log.held["audit 2027-01"] = [audit.entry("audit.sealed", time=1, subject=b"", detail=detail)]
    log.held["audit 2027-02"] = [audit.entry("audit.sealed", time=1, subject=b"", detail=detail)]
    assert log.failure(*exported) == ("audit 2027-02", 0, "unsealed")


# Dropping


def test_a_month_that_is_dropped_in_its_time_breaks_nothing(log):
    exported = log.exported()
    over = audit.month_end("audit 2026-10") + audit.RETENTION_DAYS * DAY
    log.drop("audit 2026-10", over)
    assert log.failure(*exported, now=over) is None
    assert log.failure(now=over) is None
    assert [month.log for month in log.exported()[1]] == ["audit 2026-11", "audit 2026-12", "audit 2031-11"]


def test_a_checkpoint_of_a_month_that_was_dropped_says_nothing_any_more(log):
    checkpoint, _ = log.exported()
    over = audit.month_end("audit 2026-12") + audit.RETENTION_DAYS * DAY
    for month in SIZES:
        log.drop(month, over)
    assert log.failure(checkpoint, now=over) is None


def test_a_month_that_is_dropped_before_its_time_is_missing(log):
    exported = log.exported()
    over = audit.month_end("audit 2026-10") + audit.RETENTION_DAYS * DAY
    log.drop("audit 2026-10", over - 1)
    assert log.failure(*exported, now=over) == ("audit 2026-10", 0, "missing")
    assert log.failure(now=over) == ("audit 2026-10", 0, "missing")
    assert log.failure(*exported, now=over, days=30) is None


def test_a_drop_that_is_dated_ahead_is_not_believed(log):
    exported = log.exported()
    over = audit.month_end("audit 2026-10") + audit.RETENTION_DAYS * DAY
    log.drop("audit 2026-10", over)
    assert log.failure(*exported, now=over - 1) == ("audit 2026-10", 0, "missing")


def test_a_drop_of_another_month_than_was_held_is_not_believed(log):
    exported = log.exported()
    over = audit.month_end("audit 2026-10") + audit.RETENTION_DAYS * DAY
    log.held["audit 2026-10"].pop()
    log.drop("audit 2026-10", over)
    assert log.failure(*exported, now=over) == ("audit 2026-10", 0, "missing")


def test_an_entry_that_speaks_of_a_drop_and_does_not_read_drops_nothing(log):
    log.held["audit 2026-12"].append(b"audit.dropped")
    assert log.failure() is None


# In a store


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    opened = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "visitors.db")
    yield opened
    opened.close()


def put_in(store, kind: str, time: int, **detail: object) -> None:
    entry = audit.entry(kind, time=time, subject=b"", detail=detail)
    assert store.transact([Append(audit.log_name(time), entry)], now=time, durable=True) == "done"


def test_a_store_seals_the_month_before_in_the_transaction_that_begins_the_next(store):
    for month in (10, 11, 12):
        for i in range(2):
            put_in(store, "erasure", at(2026, month) + i, policy=1)
    put_in(store, "erasure", at(2026, 11, 30), policy=1)
    held = {log: store.log(log) for log in store.logs()}
    assert {log: len(entries) for log, entries in held.items()} == {
        "audit 2026-10": 2,
        "audit 2026-11": 3,
        "audit 2026-12": 4,
    }
    assert audit.first_failure(held, now=NOW) is None
    assert [audit.read_entry(held[log][0]).kind for log in held] == ["erasure", "audit.sealed", "audit.sealed"]


def test_a_log_of_another_shape_is_no_month(store):
    for log in ("notes", "audit 2026-12", "other"):
        assert store.transact([Append(log, b"x")], now=NOW, durable=True) == "done"
    assert store.log("notes") == store.log("other") == store.log("audit 2026-12") == [b"x"]


def test_a_transaction_that_does_not_happen_seals_nothing(store):
    put_in(store, "erasure", at(2026, 11), policy=1)
    gone = Put(name=bytes(8), value=b"", expires=NOW + 1, expect=7)
    entry = audit.entry("erasure", time=NOW, subject=b"", detail={"policy": 1})
    assert store.transact([Append("audit 2026-12", entry), gone], now=NOW, durable=True) == "conflict"
    assert store.logs() == ["audit 2026-11"]


def test_processes_that_begin_a_month_at_once_seal_the_one_before_once(tmp_path):
    stores = [SQLiteStore(tmp_path / "visitors.db") for _ in range(4)]
    put_in(stores[0], "erasure", at(2026, 11), policy=1)
    start = threading.Barrier(len(stores))

    def write(store: SQLiteStore) -> None:
        start.wait()
        for i in range(25):
            put_in(store, "erasure", at(2026, 12) + i, policy=1)

    threads = [threading.Thread(target=write, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = {log: stores[0].log(log) for log in stores[0].logs()}
    for store in stores:
        store.close()
    assert {log: len(entries) for log, entries in held.items()} == {"audit 2026-11": 1, "audit 2026-12": 101}
    assert audit.first_failure(held, now=NOW) is None
