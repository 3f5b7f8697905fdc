"""The one store: bytes under eight-byte names, all or nothing, with their own expiry.

`Store` is the protocol; `MemoryStore` is the shipped fake with the same behaviour, `SQLiteStore` (module `sqlite`) the
real one. A store sees neither an identifier nor a plaintext. What it promises:

- `read` answers None for what is absent *or* expired; a write takes an expired row for absent too.
- `transact` applies every write or none. A `Put` names the version it saw (`conflict` if that moved on) and may carry a
  guard: the consent row and generation it was made under (`dropped` if that moved on, expired or is gone).
- A wrapped data key lives in a slot of its own that is overwritten in place when its row is deleted: rows move about
  in a B-tree and leave copies in the slack of its pages, slots don't.
- A wrapped key begins with its generation, four bytes, big-endian. `rewrap` raises the oldest that may still be written
  (an older one is a `conflict`) and replaces what is there: so a generation can be destroyed while others write.
- A `Put` may name a second at which its row falls due: `due` finds such rows without knowing whose they are.
- The outbox is the record of all that ever left: `Emit` adds to it in the transaction that made it, `sent` marks it.
  `Recall` takes out what nobody has received yet.
- `scrub` answers `done` only when no copy of a deleted wrapped key is left in any file of the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from entrenous_consent.audit import placed

__all__ = [
    "ALWAYS",
    "GENERATION_BYTES",
    "Append",
    "Census",
    "Delete",
    "Drop",
    "Emit",
    "Emitted",
    "Erasure",
    "MemoryStore",
    "Put",
    "Recall",
    "Rewrap",
    "Row",
    "Store",
    "Verdict",
    "Write",
    "generation_of",
]

Verdict = Literal["done", "conflict", "dropped"]
Erasure = Literal["done", "pending"]


class Row(NamedTuple):
    """What is kept under one name.

    Attributes:
        value: sealed bytes. wrapped: the wrapped data key, empty where another row holds it.
        version: raised by each write. generation: the consent generation, on a consent row; on a pending row its own.
        expires: Unix seconds. due: Unix seconds, 0 for never.
    """

    value: bytes
    wrapped: bytes
    version: int
    generation: int
    expires: int
    due: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a row.

    Attributes:
        expect: the version that was read, 0 for absent.
        wrapped: the wrapped data key; None keeps the one that is there.
        guard: name and generation of the consent row this write was made under.
        due: the Unix second from which `Store.due` finds the row, 0 for never.
    """

    name: bytes
    value: bytes
    expires: int
    expect: int
    wrapped: bytes | None = None
    generation: int = 0
    guard: tuple[bytes, int] | None = None
    due: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a row, and destroy its wrapped key; nothing happens if it is absent.

    Attributes:
        expect: the version that was read, 0 for absent, where another writer's work must not go with it.
    """

    name: bytes
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """Add an entry at the end of a log of the audit, or of the newest there is (`entrenous_consent.audit.placed`)."""

    log: str
    entry: bytes


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove a log with all its entries; nothing happens if there is none."""

    log: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Add what is to leave to the outbox; nothing happens if it is there already.

    Attributes:
        id: its name everywhere. data: the very bytes that will be sent. time: Unix seconds.
    """

    id: bytes
    data: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Take an entry out of the outbox while nobody has received it; nothing happens if it is not there, or was.

    Attributes:
        received: even if it was.
    """

    id: bytes
    received: bool = False


class Emitted(NamedTuple):
    """One entry of the outbox; `sent` and `time` in Unix seconds, `sent` 0 while it waits."""

    id: bytes
    data: bytes
    time: int
    sent: int


class Census(NamedTuple):
    """What a store holds that ends one day, whoever it is about.

    Attributes:
        rows: that may be read. expired: that may not, and wait for the sweep. earliest: when the first of `rows` ends,
            Unix seconds, 0 where there is none.
    """

    rows: int
    expired: int
    earliest: int


ALWAYS = 1 << 53
"""The expiry of rows that belong to no visitor and never end."""

Write = Put | Delete | Append | Drop | Emit | Recall
Rewrap = Callable[[bytes, bytes], bytes | None]
GENERATION_BYTES = 4
"""Of a wrapped key, what says under which generation it is wrapped."""


def generation_of(wrapped: bytes) -> int:
    """Return the generation that a wrapped key says it is of."""
    return int.from_bytes(wrapped[:GENERATION_BYTES], "big")


class Store(Protocol):
    """Where records, keys and logs are kept. Every method may raise `Unavailable`."""

    def read(self, name: bytes, now: int) -> Row | None:
        """Return the row under an eight-byte name, or None if it is absent or expired at `now`."""

    def read_all(self, names: Sequence[bytes], now: int) -> list[Row | None]:
        """Return what `read` would for each of `names`, all as of one moment."""

    def transact(self, writes: Sequence[Write], *, now: int, durable: bool, brief: bool = False) -> Verdict:
        """Apply all of `writes` or none; `durable` survives power loss, otherwise kill -9; `brief` waits 5 ms at most
        for another writer, since a visitor waits too."""

    def rewrap(self, generation: int, wrap: Rewrap) -> int:
        """Take no wrapped key of a generation before this one any more, and replace each that is there; durable.

        Args:
            wrap: given an eight-byte name and the wrapped key under it, returns the one that takes its place; None
                leaves what does not unwrap.

        Returns:
            How many were replaced.
        """

    def scrub(self) -> Erasure:
        """Rid the store's files of copies of what was deleted; `pending` while a reader holds on to them."""

    def sweep(self, now: int) -> int:
        """Delete what has expired at `now`; return how many rows went."""

    def census(self, now: int) -> Census:
        """Return how much is held at `now`; rows that never end, which belong to no visitor, are left out."""

    def log(self, name: str) -> list[bytes]:
        """Return a log's entries in order."""

    def logs(self) -> list[str]:
        """Return the names of the logs that hold entries, sorted."""

    def due(self, now: int) -> list[tuple[bytes, Row]]:
        """Return the names and rows that have fallen due at `now` and not expired, by name."""

    def outbox(self, *, waiting: bool = False) -> list[Emitted]:
        """Return all that ever left, in order; or what still waits to be sent."""

    def sent(self, id: bytes, now: int) -> None:
        """Mark an entry of the outbox as received by whom it was for; nothing happens if it was recalled meanwhile."""

    def close(self) -> None:
        """Let go of files."""


class MemoryStore:
    """The fake: a dictionary with the behaviour of the real store, for tests and throw-away clients."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Row] = {}
        self._logs: dict[str, list[bytes]] = {}
        self._outbox: dict[bytes, Emitted] = {}
        self._oldest = 0
        self._thread = threading.Lock()

    def read(self, name: bytes, now: int) -> Row | None:
        """See `Store.read`."""
        return self.read_all((name,), now)[0]

    def read_all(self, names: Sequence[bytes], now: int) -> list[Row | None]:
        """See `Store.read_all`."""
        rows = self._rows
        found = (rows.get(name) for name in names)
        return [row if row is not None and row.expires > now else None for row in found]

    def transact(self, writes: Sequence[Write], *, now: int, durable: bool, brief: bool = False) -> Verdict:
        """See `Store.transact`."""
        with self._thread:
            return self._transact(writes, now)

    def _transact(self, writes: Sequence[Write], now: int) -> Verdict:
        rows, logs = dict(self._rows), {name: list(log) for name, log in self._logs.items()}
        outbox = dict(self._outbox)
        for write in writes:
            if isinstance(write, Delete):
                gone = rows.pop(write.name, None)
                version = gone.version if gone is not None and gone.expires > now else 0
                if write.expect is not None and version != write.expect:
                    return "conflict"
                continue
            if isinstance(write, Append):
                newest = max(logs, default="")
                log, first = placed(newest, write.log, logs.get(newest, []).copy, now)
                logs.setdefault(log, []).extend([*first, write.entry])
                continue
            if isinstance(write, Drop):
                logs.pop(write.log, None)
                continue
            if isinstance(write, Emit):
                outbox.setdefault(write.id, Emitted(write.id, write.data, write.time, 0))
                continue
            if isinstance(write, Recall):
                if write.id in outbox and (write.received or not outbox[write.id].sent):
                    del outbox[write.id]
                continue
            if write.guard is not None:
                name, generation = write.guard
                guard = rows.get(name)
                if guard is None or guard.expires <= now or guard.generation != generation:
                    return "dropped"
            seen = rows.get(write.name)
            seen = seen if seen is not None and seen.expires > now else None
            if (seen.version if seen else 0) != write.expect:
                return "conflict"
            if write.wrapped is not None and generation_of(write.wrapped) < self._oldest:
                return "conflict"
            fresh = Row(
                value=write.value,
                wrapped=write.wrapped or b"",
                version=write.expect + 1,
                generation=write.generation,
                expires=write.expires,
                due=write.due,
            )
            rows[write.name] = fresh._replace(wrapped=seen.wrapped) if seen and write.wrapped is None else fresh
        self._rows, self._logs, self._outbox = rows, logs, outbox
        return "done"

    def rewrap(self, generation: int, wrap: Rewrap) -> int:
        """See `Store.rewrap`."""
        with self._thread:
            self._oldest, replaced = max(self._oldest, generation), 0
            for name, row in self._rows.items():
                if row.wrapped and generation_of(row.wrapped) < generation and (new := wrap(name, row.wrapped)):
                    self._rows[name], replaced = row._replace(wrapped=new), replaced + 1
        return replaced

    def scrub(self) -> Erasure:
        """See `Store.scrub`."""
        return "done"

    def sweep(self, now: int) -> int:
        """See `Store.sweep`."""
        with self._thread:
            living = {name: row for name, row in self._rows.items() if row.expires > now}
            swept, self._rows = len(self._rows) - len(living), living
        return swept

    def census(self, now: int) -> Census:
        """See `Store.census`."""
        ends = [row.expires for row in self._rows.values() if row.expires < ALWAYS]
        living = [end for end in ends if end > now]
        return Census(rows=len(living), expired=len(ends) - len(living), earliest=min(living, default=0))

    def log(self, name: str) -> list[bytes]:
        """See `Store.log`."""
        return list(self._logs.get(name, ()))

    def logs(self) -> list[str]:
        """See `Store.logs`."""
        return sorted(self._logs)

    def due(self, now: int) -> list[tuple[bytes, Row]]:
        """See `Store.due`."""
        return sorted((name, row) for name, row in self._rows.items() if 0 < row.due <= now < row.expires)

    def outbox(self, *, waiting: bool = False) -> list[Emitted]:
        """See `Store.outbox`."""
        return [one for one in self._outbox.values() if not (waiting and one.sent)]

    def sent(self, id: bytes, now: int) -> None:
        """See `Store.sent`."""
        with self._thread:
            if id in self._outbox:
                self._outbox[id] = self._outbox[id]._replace(sent=now)

    def close(self) -> None:
        """See `Store.close`."""
