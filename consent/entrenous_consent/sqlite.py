"""The real store: one SQLite file shared by the processes of one host.

WAL, `secure_delete` on. A plain write is committed at `synchronous=NORMAL` (survives kill -9), a durable one at `FULL`
(survives power loss). Readers are single statements read to their end, so that none holds a snapshot open.

SQLite's locks are POSIX locks: closing *any* descriptor of the file drops those of the whole process. So the file is
opened by hand only where it is made, and processes that open a store at the same moment queue at its directory.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from entrenous_consent.audit import placed
from entrenous_consent.errors import Malformed, Refusal, Unavailable
from entrenous_consent.files import locked, reaching
from entrenous_consent.store import (
    ALWAYS,
    GENERATION_BYTES,
    Append,
    Census,
    Delete,
    Drop,
    Emit,
    Emitted,
    Erasure,
    Put,
    Recall,
    Rewrap,
    Row,
    Verdict,
    Write,
    generation_of,
)
from entrenous_consent.vault import WRAPPED_BYTES

__all__ = ["FORMAT", "SQLiteStore"]

FORMAT = 3
"""The store format this program writes and reads; any other is refused."""

_APPLICATION = 0x656E7472
_SCHEMA = """
create table records (
  name integer primary key, version integer not null, generation integer not null, expires integer not null,
  slot integer not null, value blob not null, due integer not null default 0);
create index records_due on records (due) where due > 0;
create table slots (slot integer primary key, wrapped blob not null);
create table free (slot integer primary key);
create table oldest (generation integer not null);
insert into oldest values (0);
create table logs (seq integer primary key, log text not null, entry blob not null);
create index logs_log on logs (log, seq);
create table outbox (seq integer primary key, id blob not null unique, data blob not null, time integer not null,
  sent integer not null default 0);
"""
_ROWS = (
    "select name, value, coalesce(wrapped, x''), version, generation, expires, due from records "
    "left join slots using (slot) where "
)
_DUE = _ROWS + "due > 0 and due <= ? and expires > ? order by name"
_OLDER = (
    "select name, slot, wrapped from records join slots using (slot) "
    "where name > ? and wrapped < ? order by name limit ?"
)
_BEFORE_ALL = float("-inf")
_REWRAPPED_AT_ONCE = 100
_CENSUS = (
    "select coalesce(sum(expires > ?), 0), coalesce(sum(expires <= ?), 0), "
    "coalesce(min(case when expires > ? then expires end), 0) from records where expires < ?"
)
_ENTRIES = "select cast(entry as blob) from logs where log = ? order by seq"
"""Whatever somebody else put there is read as bytes, so that a verification can name it."""
_READ_WAIT = 0.005
_WRITE_WAIT = 1.0
_SCRUB_WAIT = 1.0
_SCRUB_STEP_MS = 20
_RESERVE_PAGES = 64
"""Pages over `most_bytes` that only a transaction that deletes may take: a full store still takes a withdrawal."""

_Run = Callable[..., sqlite3.Cursor]


def _integer(name: bytes) -> int:
    return int.from_bytes(name, "big", signed=True)


class SQLiteStore:
    """The store in a file. Open it after forking, one object a process.

    Args:
        path: the database file; made if absent, readable by its owner only.
        most_bytes: the most the file may grow to, but for a small reserve; None for no bound of ours.

    Raises:
        Malformed: the file is not a store. Unavailable: it is of a newer format, or the disk refuses. Missing: its
            directory is not there.
    """

    def __init__(self, path: Path, *, most_bytes: int | None = None) -> None:
        self._path = path.absolute()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        self._thread = threading.Lock()
        self._durable: bool | None = None
        self._most_pages = 0
        with self._mapped(), self._alone():
            with suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self._writer = self._connect(_WRITE_WAIT)
            try:
                self._prepare(most_bytes)
                self.read(bytes(8), 0)  # what can't be read says so here, and no visitor waits for the first reader
            except BaseException:
                self.close()
                raise
            found = self._path.stat()
        self._file = (found.st_dev, found.st_ino)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off others who open this store: SQLite answers "busy" at once while a file is being made."""
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            with locked(directory):
                yield
        finally:
            os.close(directory)

    def _connect(self, wait: float) -> sqlite3.Connection:
        """Return a connection to the file that is there; never make one."""
        address = f"{self._path.as_uri()}?mode=rw"
        return sqlite3.connect(address, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)

    def _prepare(self, most_bytes: int | None) -> None:
        run = self._writer.execute

        def ask(question: str) -> int:
            return int(run(question).fetchall()[0][0])

        application, found = ask("pragma application_id"), ask("pragma user_version")
        fresh = not (application or found or ask("select count(*) from sqlite_master"))
        if application != _APPLICATION and not fresh:
            raise Malformed(
                "is a database of another program", place=str(self._path), remedy="choose another directory"
            )
        if found != FORMAT and not fresh:
            remedy = "upgrade entrenous" if found > FORMAT else "open it with the entrenous that wrote it"
            raise Unavailable(
                f"is of format {found}, this program knows {FORMAT}",
                place=str(self._path),
                remedy=f"{remedy}, or point this one at another directory",
            )
        run("pragma journal_mode=wal").fetchall()
        run("pragma secure_delete=on").fetchall()
        if fresh:
            run("begin immediate")
            for statement in _SCHEMA.split(";\n"):
                run(statement)
            run(f"pragma application_id={_APPLICATION}")
            run(f"pragma user_version={FORMAT}")
            run("commit")
        if most_bytes is not None:
            self._most_pages = max(1, most_bytes // ask("pragma page_size"))

    def _query(self, question: str, values: tuple[object, ...]) -> list[Any]:
        """Return every row of one reading statement, on a connection that no other thread uses meanwhile."""
        if self._closed:
            raise Unavailable("is closed", place=str(self._path), remedy="open it again")
        try:
            try:
                reader = self._idle.pop()
            except IndexError:
                reader = self._connect(_READ_WAIT)
                reader.execute("pragma query_only=on")
            try:
                return reader.execute(question, values).fetchall()
            finally:
                self._idle.append(reader)
        except (sqlite3.Error, OSError):
            with self._mapped():
                raise

    def read(self, name: bytes, now: int) -> Row | None:
        """See `Store.read`."""
        return self.read_all((name,), now)[0]

    def read_all(self, names: Sequence[bytes], now: int) -> list[Row | None]:
        """See `Store.read_all`: one statement, since each takes and drops locks that cost more than its rows."""
        if not names:
            return []
        wanted = [_integer(name) for name in names]
        question = f"{_ROWS}name in ({', '.join('?' * len(wanted))}) and expires > ?"
        found = {name: Row._make(row) for name, *row in self._query(question, (*wanted, now))}
        return [found.get(name) for name in wanted]

    @contextmanager
    def _turn(self, brief: bool) -> Iterator[None]:
        """Hold off the other threads of this process."""
        if not self._thread.acquire(timeout=_READ_WAIT if brief else -1):
            raise Unavailable("another thread holds it", place=str(self._path), remedy="try again")
        try:
            yield
        finally:
            self._thread.release()

    @contextmanager
    def _transaction(self, *, durable: bool, deletes: bool, brief: bool = False) -> Iterator[_Run]:
        """Hold the one write transaction; whoever leaves it without a commit has written nothing."""
        with self._turn(brief), self._mapped():
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) != self._file:
                raise Unavailable("was replaced while open", place=str(self._path), remedy="restart this process")
            run = self._writer.execute
            if self._most_pages:
                most = self._most_pages + (_RESERVE_PAGES if deletes else 0)
                run(f"pragma max_page_count={most}").fetchall()
            if durable is not self._durable:
                run("pragma synchronous=full" if durable else "pragma synchronous=normal")
                self._durable = durable
            if brief:
                run(f"pragma busy_timeout={round(_READ_WAIT * 1000)}").fetchall()
            try:
                run("begin immediate")
                yield run
            finally:
                if brief:
                    run(f"pragma busy_timeout={round(_WRITE_WAIT * 1000)}").fetchall()
                if self._writer.in_transaction:
                    run("rollback")

    def transact(self, writes: Sequence[Write], *, now: int, durable: bool, brief: bool = False) -> Verdict:
        """See `Store.transact`."""
        deletes = any(isinstance(write, Delete) for write in writes)
        with self._transaction(durable=durable, deletes=deletes, brief=brief) as run:
            for write in writes:
                verdict: Verdict = "done"
                if isinstance(write, Put):
                    verdict = self._put(write, now)
                elif isinstance(write, Delete):
                    verdict = self._delete(_integer(write.name), write.expect, now)
                elif isinstance(write, Emit):
                    emitted = (write.id, write.data, write.time)
                    run("insert or ignore into outbox (id, data, time) values (?, ?, ?)", emitted)
                elif isinstance(write, Drop):
                    run("delete from logs where log = ?", (write.log,))
                elif isinstance(write, Recall):
                    run("delete from outbox where id = ? and (sent = 0 or ?)", (write.id, write.received))
                else:
                    self._append(write, now)
                if verdict != "done":
                    return verdict
            run("commit")
        return "done"

    def _append(self, write: Append, now: int) -> None:
        run = self._writer.execute

        def entries() -> Iterator[bytes]:
            return (entry for (entry,) in run(_ENTRIES, (newest,)))

        newest = run("select coalesce(cast(max(log) as text), '') from logs").fetchall()[0][0]
        log, first = placed(newest, write.log, entries, now)
        for entry in (*first, write.entry):
            run("insert into logs (log, entry) values (?, ?)", (log, entry))

    def _put(self, put: Put, now: int) -> Verdict:
        run = self._writer.execute
        if put.guard is not None:
            name, generation = put.guard
            stands = "select 1 from records where name = ? and generation = ? and expires > ?"
            if not run(stands, (_integer(name), generation, now)).fetchall():
                return "dropped"
        name_ = _integer(put.name)
        found = run("select version, expires, slot from records where name = ?", (name_,)).fetchall()
        version, expires, slot = found[0] if found else (0, now, 0)
        if expires <= now:
            version = 0
            if found:
                self._delete(name_)
                slot = 0
        if version != put.expect:
            return "conflict"
        if put.wrapped is not None:
            if generation_of(put.wrapped) < run("select generation from oldest").fetchall()[0][0]:
                return "conflict"
            slot = self._lock(slot, put.wrapped)
        run(
            "insert into records values (?, ?, ?, ?, ?, ?, ?) on conflict (name) do update set "
            "version=excluded.version, generation=excluded.generation, expires=excluded.expires, slot=excluded.slot, "
            "value=excluded.value, due=excluded.due",
            (name_, version + 1, put.generation, put.expires, slot, put.value, put.due),
        )
        return "done"

    def _lock(self, slot: int, wrapped: bytes) -> int:
        """Put a wrapped key into `slot`, or into a free one when it is 0; return the slot."""
        if len(wrapped) != WRAPPED_BYTES:
            raise ValueError(f"a wrapped key has {WRAPPED_BYTES} bytes")
        run = self._writer.execute
        if not slot:
            spare = run("select slot from free limit 1").fetchall()
            if not spare:
                return run("insert into slots (wrapped) values (?)", (wrapped,)).lastrowid or 0
            slot = spare[0][0]
            run("delete from free where slot = ?", (slot,))
        run("update slots set wrapped = ? where slot = ?", (wrapped, slot))
        return slot

    def _delete(self, name: int, expect: int | None = None, now: int = 0) -> Verdict:
        run = self._writer.execute
        found = run("select version, expires, slot from records where name = ?", (name,)).fetchall()
        version, expires, slot = found[0] if found else (0, now, 0)
        if expect is not None and expect != (version if expires > now else 0):
            return "conflict"
        if slot:
            run("update slots set wrapped = zeroblob(?) where slot = ?", (WRAPPED_BYTES, slot))
            run("insert into free values (?)", (slot,))
        run("delete from records where name = ?", (name,))
        return "done"

    def rewrap(self, generation: int, wrap: Rewrap) -> int:
        """See `Store.rewrap`: a few at a time, so that no visitor waits for all the others."""
        with self._transaction(durable=True, deletes=False) as run:
            run("update oldest set generation = max(generation, ?)", (generation,))
            run("commit")
        replaced, last, more = 0, _BEFORE_ALL, True
        while more:
            with self._transaction(durable=True, deletes=False) as run:
                found = run(_OLDER, (last, generation.to_bytes(GENERATION_BYTES, "big"), _REWRAPPED_AT_ONCE)).fetchall()
                for last, slot, wrapped in found:
                    new = wrap(last.to_bytes(8, "big", signed=True), wrapped)
                    if new is not None:
                        self._lock(slot, new)
                        replaced += 1
                run("commit")
            more = len(found) == _REWRAPPED_AT_ONCE
        return replaced

    def scrub(self) -> Erasure:
        """See `Store.scrub`: truncate the WAL, retried for a second while a reader stands in the way.

        Each try waits only a moment for the reader: it holds off every writer while it waits.
        """
        deadline = time.monotonic() + _SCRUB_WAIT
        while True:
            with self._thread, self._mapped():
                run = self._writer.execute
                run(f"pragma busy_timeout={_SCRUB_STEP_MS}").fetchall()
                try:
                    busy = run("pragma wal_checkpoint(truncate)").fetchall()[0][0]
                finally:
                    run(f"pragma busy_timeout={round(_WRITE_WAIT * 1000)}").fetchall()
            if not busy:
                return "done"
            if time.monotonic() > deadline:
                return "pending"
            time.sleep(_SCRUB_STEP_MS / 1000)

    def sweep(self, now: int) -> int:
        """See `Store.sweep`; then rebuilds the file, so that the slack of its pages holds no old name either."""
        with self._transaction(durable=True, deletes=True) as run:
            expired = run("select name from records where expires <= ?", (now,)).fetchall()
            for (name,) in expired:
                self._delete(name)
            run("commit")
        with self._thread, self._mapped():
            self._writer.execute("vacuum")
        self.scrub()
        return len(expired)

    def census(self, now: int) -> Census:
        """See `Store.census`."""
        return Census._make(self._query(_CENSUS, (now, now, now, ALWAYS))[0])

    def log(self, name: str) -> list[bytes]:
        """See `Store.log`."""
        return [entry for (entry,) in self._query(_ENTRIES, (name,))]

    def logs(self) -> list[str]:
        """See `Store.logs`."""
        return [log for (log,) in self._query("select distinct cast(log as text) from logs order by 1", ())]

    def due(self, now: int) -> list[tuple[bytes, Row]]:
        """See `Store.due`."""
        found = ((name.to_bytes(8, "big", signed=True), Row._make(row)) for name, *row in self._query(_DUE, (now, now)))
        return sorted(found)

    def outbox(self, *, waiting: bool = False) -> list[Emitted]:
        """See `Store.outbox`."""
        question = "select id, data, time, sent from outbox where sent = 0 or not ? order by seq"
        return [Emitted._make(row) for row in self._query(question, (waiting,))]

    def sent(self, id: bytes, now: int) -> None:
        """See `Store.sent`."""
        with self._transaction(durable=True, deletes=False) as run:
            run("update outbox set sent = ? where id = ?", (now, id))
            run("commit")

    def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
        with self._thread, self._mapped():
            while self._idle:
                self._idle.pop().close()
            self._writer.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Tell SQLite's and the system's exceptions as ours."""
        try:
            with reaching(self._path):
                yield
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.Error) -> Refusal:
        name, place = getattr(error, "sqlite_errorname", "") or "", str(self._path)
        if name == "SQLITE_FULL":
            return Unavailable("the disk is full", place=place, remedy="free space; nothing acknowledged was lost")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable("another process holds it", place=place, remedy="try again")
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return Malformed("is damaged or not a store", place=place, remedy="restore it, or move it away")
        return Unavailable(f"cannot be used ({name or type(error).__name__})", place=place, remedy="check the disk")
