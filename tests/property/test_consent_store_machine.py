"""The fake and the real store, driven side by side: equal at every step."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from entrenous_consent.sqlite import SQLiteStore
from entrenous_consent.store import Append, Delete, MemoryStore, Put, Store, Write
from entrenous_consent.vault import WRAPPED_BYTES

NAMES = [bytes(8), b"\0" * 7 + b"\1", b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7), b"\xff" * 8]
LOGS = ["l", "m"]

names = st.sampled_from(NAMES)
versions = st.integers(0, 3)
generations = st.integers(0, 2)
puts = st.builds(
    Put,
    name=names,
    value=st.binary(max_size=20),
    expires=st.integers(0, 30),
    expect=versions,
    wrapped=st.none() | st.binary(min_size=1, max_size=1).map(lambda byte: byte * WRAPPED_BYTES),
    generation=generations,
    guard=st.none() | st.tuples(names, generations),
)
writes = st.one_of(
    puts,
    st.builds(Delete, names, st.none() | versions),
    st.builds(Append, st.sampled_from(LOGS), st.binary(max_size=5)),
)


class Stores(RuleBasedStateMachine):
    """Random transactions, sweeps, clock moves and reopenings, on both at once."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "visitors.db"
        self.fake, self.real = MemoryStore(), SQLiteStore(self.path)
        self.now = 10

    @rule(writes=st.lists(writes, max_size=5), durable=st.booleans())
    def transact(self, writes: list[Write], durable: bool) -> None:
        verdicts = [store.transact(writes, now=self.now, durable=durable) for store in self.stores()]
        assert verdicts[0] == verdicts[1]

    @rule(name=names, value=st.binary(max_size=20), lasts=st.integers(1, 20), guard=st.none() | names)
    def write_what_was_read(self, name: bytes, value: bytes, lasts: int, guard: bytes | None) -> None:
        """As custody does: versions and generations that were read a moment ago, so that most writes are taken."""
        row = self.fake.read(name, self.now)
        consent = self.fake.read(guard, self.now) if guard is not None else None
        put = Put(
            name=name,
            value=value,
            expires=self.now + lasts,
            expect=row.version if row else 0,
            wrapped=None if row else bytes([lasts]) * WRAPPED_BYTES,
            generation=lasts,
            guard=(guard, consent.generation) if guard is not None and consent is not None else None,
        )
        assert [store.transact([put], now=self.now, durable=False) for store in self.stores()] == ["done", "done"]

    @rule()
    def sweep(self) -> None:
        assert self.fake.sweep(self.now) == self.real.sweep(self.now)

    @rule(seconds=st.integers(-3, 12))
    def move_the_clock(self, seconds: int) -> None:
        self.now = max(0, self.now + seconds)

    @precondition(lambda self: self.now % 4 == 0)
    @rule()
    def reopen(self) -> None:
        self.real.close()
        self.real = SQLiteStore(self.path)

    @rule()
    def scrub(self) -> None:
        assert self.real.scrub() == "done"

    def stores(self) -> tuple[Store, Store]:
        return self.fake, self.real

    @invariant()
    def they_agree(self) -> None:
        fake, real = ([*s.read_all(NAMES, self.now), *map(s.log, LOGS)] for s in self.stores())
        assert fake == real

    def teardown(self) -> None:
        self.real.close()
        self.folder.cleanup()


Stores.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestStores = Stores.TestCase
