"""The real store: one SQLite file shared by the processes of one host.

WAL, `secure_delete` on. A plain write is committed at `synchronous=NORMAL` (survives kill -9), a durable one at `FULL`
(survives power loss). Readers are single statements read to their end, so that none holds a snapshot open.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from entrenous_consent.errors import Malformed, Refusal, Unavailable
from entrenous_consent.store import Delete, Erasure, Put, Row, Verdict, Write
from entrenous_consent.vault import WRAPPED_BYTES

__all__ = ["FORMAT", "SQLiteStore"]

FORMAT = 1
"""The store format this program writes; a newer one is refused."""

_APPLICATION = 0x656E7472
_SCHEMA = """
create table records (
  name integer primary key, version integer not null, generation integer not null, expires integer not null,
  slot integer not null, value blob not null);
create table slots (slot integer primary key, wrapped blob not null);
create table free (slot integer primary key);
create table logs (seq integer primary key, log text not null, entry blob not null);
create index logs_log on logs (log, seq);
"""
_READ = (
    "select value, coalesce(wrapped, x''), version, generation, expires from records left join slots using (slot) "
    "where name = ? and expires > ?"
)
_READ_WAIT = 0.005
_WRITE_WAIT = 1.0
_SCRUB_WAIT = 1.0


def _integer(name: bytes) -> int:
    return int.from_bytes(name, "big", signed=True)


class SQLiteStore:
    """The store in a file. Open it after forking, one object a process.

    Args:
        path: the database file; made if absent, readable by its owner only.
        most_bytes: the most the file may grow to; None for no bound of ours.

    Raises:
        Malformed: the file is not a store. Unavailable: it is of a newer format, or the disk refuses.
    """

    def __init__(self, path: Path, *, most_bytes: int | None = None) -> None:
        self._path = path
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._thread = threading.Lock()
        with self._mapped():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._writer = self._connect(_WRITE_WAIT)
            try:
                self._prepare(most_bytes)
            except BaseException:
                self._writer.close()
                raise

    def _connect(self, wait: float) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=wait, isolation_level=None, check_same_thread=False)

    def _prepare(self, most_bytes: int | None) -> None:
        run = self._writer.execute
        found = run("pragma user_version").fetchall()[0][0]
        if found > FORMAT:
            raise Unavailable(
                f"is of format {found}, this program knows up to {FORMAT}",
                place=str(self._path),
                remedy="upgrade entrenous, or point it at another directory",
            )
        run("pragma journal_mode=wal").fetchall()
        run("pragma secure_delete=on").fetchall()
        if found == 0:
            run("begin immediate")
            if run("pragma user_version").fetchall()[0][0] == 0:
                for statement in _SCHEMA.split(";\n"):
                    run(statement)
                run(f"pragma application_id={_APPLICATION}")
                run(f"pragma user_version={FORMAT}")
            run("commit")
        if run("pragma application_id").fetchall()[0][0] != _APPLICATION:
            raise Malformed(
                "is a database of another program", place=str(self._path), remedy="choose another directory"
            )
        if most_bytes is not None:
            page = run("pragma page_size").fetchall()[0][0]
            run(f"pragma max_page_count={max(1, most_bytes // page)}").fetchall()

    def _reader(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(_READ_WAIT)
            connection.execute("pragma query_only=on")
            self._readers.append(connection)
        return connection

    def read(self, name: bytes, now: int) -> Row | None:
        """See `Store.read`."""
        try:
            found = self._reader().execute(_READ, (_integer(name), now)).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise self._refusal(error) from error
        return Row._make(found[0]) if found else None

    def transact(self, writes: Sequence[Write], *, now: int, durable: bool) -> Verdict:
        """See `Store.transact`."""
        with self._thread, self._mapped():
            run = self._writer.execute
            run("pragma synchronous=full" if durable else "pragma synchronous=normal")
            run("begin immediate")
            try:
                verdict: Verdict = "done"
                for write in writes:
                    if isinstance(write, Put):
                        verdict = self._put(write, now)
                    elif isinstance(write, Delete):
                        verdict = self._delete(_integer(write.name), write.expect)
                    else:
                        run("insert into logs (log, entry) values (?, ?)", (write.log, write.entry))
                    if verdict != "done":
                        break
                run("commit" if verdict == "done" else "rollback")
            except BaseException:
                if self._writer.in_transaction:
                    run("rollback")
                raise
        return verdict

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
            slot = self._lock(slot, put.wrapped)
        run(
            "insert into records values (?, ?, ?, ?, ?, ?) on conflict (name) do update set version=excluded.version, "
            "generation=excluded.generation, expires=excluded.expires, slot=excluded.slot, value=excluded.value",
            (name_, version + 1, put.generation, put.expires, slot, put.value),
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

    def _delete(self, name: int, expect: int | None = None) -> Verdict:
        run = self._writer.execute
        found = run("select version, slot from records where name = ?", (name,)).fetchall()
        version, slot = found[0] if found else (0, 0)
        if expect is not None and version != expect:
            return "conflict"
        if slot:
            run("update slots set wrapped = zeroblob(?) where slot = ?", (WRAPPED_BYTES, slot))
            run("insert into free values (?)", (slot,))
        run("delete from records where name = ?", (name,))
        return "done"

    def scrub(self) -> Erasure:
        """See `Store.scrub`: truncate the WAL, retried for a second while a reader stands in the way."""
        deadline = time.monotonic() + _SCRUB_WAIT
        while True:
            with self._thread, self._mapped():
                busy = self._writer.execute("pragma wal_checkpoint(truncate)").fetchall()[0][0]
            if not busy:
                return "done"
            if time.monotonic() > deadline:
                return "pending"
            time.sleep(0.02)

    def sweep(self, now: int) -> int:
        """See `Store.sweep`; then rebuilds the file, so that the slack of its pages holds no old name either."""
        with self._thread, self._mapped():
            run = self._writer.execute
            run("pragma synchronous=full")
            run("begin immediate")
            try:
                expired = run("select name from records where expires <= ?", (now,)).fetchall()
                for (name,) in expired:
                    self._delete(name)
                run("commit")
            except BaseException:
                if self._writer.in_transaction:
                    run("rollback")
                raise
            run("vacuum")
        self.scrub()
        return len(expired)

    def log(self, name: str) -> list[bytes]:
        """See `Store.log`."""
        with self._mapped():
            rows = self._reader().execute("select entry from logs where log = ? order by seq", (name,)).fetchall()
        return [entry for (entry,) in rows]

    def close(self) -> None:
        """See `Store.close`."""
        with self._thread:
            for connection in (*self._readers, self._writer):
                connection.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        """Map SQLite's and the system's exceptions to ours."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> Refusal:
        name, place = getattr(error, "sqlite_errorname", "") or "", str(self._path)
        if name == "SQLITE_FULL" or getattr(error, "errno", 0) == 28:
            return Unavailable("the disk is full", place=place, remedy="free space; nothing acknowledged was lost")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable("another process holds it", place=place, remedy="try again")
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return Malformed("is damaged or not a store", place=place, remedy="restore it, or move it away")
        return Unavailable(f"cannot be used ({name or type(error).__name__})", place=place, remedy="check the disk")
