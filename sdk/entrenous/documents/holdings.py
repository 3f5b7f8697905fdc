"""What a host holds about visitors, opened offline from its files: for whoever answers a visitor's request by hand.

The files are those of a client: `state` (store, counters, what the publisher signed) and `keys`. A client or worker may
run meanwhile: what is changed here holds from its next decision, as between any two processes of a host. Nothing is
asked of the publisher, and no model is opened: the policy and the bundle are those that the client took last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from entrenous.active import activate
from entrenous.engine import Engine
from entrenous.loop.reports import CrowdReport, read_report
from entrenous.updates.retained import read_state
from entrenous_consent import audit
from entrenous_consent.custody import Custody
from entrenous_consent.dpo import host
from entrenous_consent.drawers import Standing
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.freshness import Counters
from entrenous_consent.keys import Keyring
from entrenous_consent.messages import Told, is_message, read_message
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.pseudonyms import IDENTIFIER_LIMIT, handle_of, keyed
from entrenous_consent.store import Census, Emitted, Store
from entrenous_consent.upkeep import rotation_due

__all__ = ["ENDLESS", "Egress", "Held", "Holdings", "egress", "held", "identifier_in", "opened"]

ENDLESS = 1 << 40
"""The end of a period that has none, Unix seconds."""

_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A host's files, opened. `engine` works as the client's does, without models."""

    engine: Engine
    keyring: Keyring

    @property
    def store(self) -> Store:
        """The store."""
        return self.engine.custody.store

    @property
    def policy(self) -> PrivacyPolicy:
        """The policy in force."""
        return self.engine.active.policy

    def handle(self, identifier: str) -> bytes:
        """Return the handle of a visitor's own identifier, which is dropped.

        Raises:
            Malformed: it is none.
        """
        return handle_of(identifier, keyed(self.keyring.boundary))

    def standing(self, handle: bytes) -> Standing | None:
        """Return a visitor's choice as it stands; None where nothing is known.

        Raises:
            Unauthentic: it does not open. Unavailable: the store.
        """
        return self.engine.custody.standing(handle, self.policy, self.engine.clock())


@contextmanager
def opened(state: Path, keys: Path, root_key: str, clock: Callable[[], int]) -> Iterator[Holdings]:
    """Open the files of a client.

    Args:
        state, keys: its directories. root_key: as `entrenous_consent.providers.provider_of` reads it. clock: Unix
            seconds.

    Raises:
        Missing: a file is not there: nothing is made. Malformed, Unauthentic, Unavailable: one can't be used.
    """
    keyring, now = host.keyring_of(keys, root_key), clock()
    found = read_state(state / "updates", now=now)
    if not (state / "counters").is_file():
        raise Missing("is not there", place=str(state / "counters"), remedy="name the state directory of a client")
    with ExitStack() as files:
        store = files.enter_context(host.opened_store(state))
        counters = Counters(state / "counters")
        files.callback(counters.close)
        custody = Custody(store, keyring, counters, tenant=found.policy.tenant, epoch=found.policy.epoch)
        custody.prepare(found.policy, now)
        active = activate(found.policy, found.bundle, keyring, scorers={})
        yield Holdings(engine=Engine(custody, active, clock), keyring=keyring)


def identifier_in(source: BinaryIO, *, place: str) -> str:
    """Return the identifier that a file or standard input holds: all of it, less one line end.

    Raises:
        Malformed: nothing, not UTF-8, or too long. The message does not repeat it.
    """
    data = source.read(IDENTIFIER_LIMIT + 3)
    data = data.removesuffix(b"\n").removesuffix(b"\r")
    remedy = "give the visitor's own identifier, and nothing else"
    if not data or len(data) > IDENTIFIER_LIMIT:
        raise Malformed(f"holds nothing, or more than {IDENTIFIER_LIMIT} bytes", place=place, remedy=remedy)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Malformed("is not UTF-8", place=place, remedy=remedy) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is held as a whole, and what goes next.

    Attributes:
        census: rows of visitors. since: when the oldest value held was written at the earliest under the policy in
            force, Unix seconds; 0 where none is. longest_days: what no row outlives under the policy.
        months: of the audit log, by name, each with the second from which the sweep drops it.
        reports: in the outbox. oldest_report: when the first was made, 0 for none.
        epochs: past ones whose keys the next sweep destroys. rewraps: it wraps every data key anew, and destroys the
            key that wrapped them.
    """

    census: Census
    since: int
    longest_days: int
    months: tuple[tuple[str, int], ...]
    reports: int
    oldest_report: int
    epochs: int
    rewraps: bool

    def dropping(self, now: int) -> tuple[str, ...]:
        """Return the months that the next sweep drops."""
        return tuple(log for log, over in self.months if over <= now)


def held(holdings: Holdings) -> Held:
    """Return what a host holds as a whole, now.

    A row says when it ends, not when it was written. Under the policy none is written to end later than the longest
    life of a choice, so the row that ends first was written no earlier than that long before its end, unless an earlier
    policy let choices last longer.

    Raises:
        Unavailable: the store.
    """
    store, policy, keyring, now = holdings.store, holdings.policy, holdings.keyring, holdings.engine.clock()
    census = store.census(now)
    longest = max(purpose.lifetime for purpose in policy.purposes.values())
    outbox = [one for one in store.outbox() if not is_message(one.data)]
    return Held(
        census=census,
        since=census.earliest - longest if census.rows else 0,
        longest_days=longest // _DAY,
        months=tuple((log, audit.month_end(log) + policy.audit_days * _DAY) for log in store.logs()),
        reports=len(outbox),
        oldest_report=outbox[0].time if outbox else 0,
        epochs=len(keyring.epochs_over(now, policy.epoch)),
        rewraps=rotation_due(keyring, now),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """What left in a period: each report and each message that was made in it, as bytes and, where they read, as what
    they are; and how often a visitor was handed their own data."""

    reports: tuple[tuple[Emitted, CrowdReport | None], ...]
    messages: tuple[tuple[Emitted, Told | None], ...]
    exports: int

    @property
    def size(self) -> int:
        """How many bytes all of them have together."""
        return sum(len(one.data) for one, _ in (*self.reports, *self.messages))


def egress(store: Store, since: int, until: int) -> Egress:
    """Return what left, or waits to, from `since` until before `until` (Unix seconds).

    Raises:
        Unavailable: the store.
    """
    kinds = [
        entry.kind
        for log in store.logs()
        for entry in map(_read, store.log(log))
        if entry is not None and since <= entry.time < until
    ]
    left = [one for one in store.outbox() if since <= one.time < until]
    return Egress(
        reports=tuple((one, _report(one.data)) for one in left if not is_message(one.data)),
        messages=tuple((one, _message(one.data)) for one in left if is_message(one.data)),
        exports=kinds.count("export"),
    )


def _read(data: bytes) -> audit.Entry | None:
    try:
        return audit.read_entry(data)
    except Malformed:
        return None


def _message(data: bytes) -> Told | None:
    try:
        return read_message(data)
    except Malformed:
        return None


def _report(data: bytes) -> CrowdReport | None:
    try:
        return read_report(data)
    except Malformed:
        return None
