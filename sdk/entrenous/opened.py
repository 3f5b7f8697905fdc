"""Visitors as decisions see them, and who watches the pair that they are decided under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from entrenous.active import Active
from entrenous.decisions.draws import Draw
from entrenous.decisions.routes import Route, Trial
from entrenous.profile import Kept
from entrenous_consent.drawers import Standing

__all__ = ["Open", "Opened", "Unwatched", "Watch"]

_HANDLE_BYTES = 32


class Watch(Protocol):
    """What the engine asks of whoever keeps the active pair up to date. Both are for the visitor's path: brief."""

    def glance(self) -> None:
        """Take on a policy that another process took; called when the withdrawal counter has moved. Never raises."""

    def remaining(self) -> int:
        """Return for how many seconds the pair may still serve unless the publisher is heard; 0 or less: stale."""


class Unwatched:
    """An engine whose pair nobody replaces, and which is never stale."""

    def glance(self) -> None:
        """Do nothing."""

    def remaining(self) -> int:
        """Return more seconds than any clock counts."""
        return 1 << 53


@dataclass(slots=True, kw_only=True)
class Open:
    """A visitor as decisions see them, while nothing says otherwise; `stale` ones are never kept.

    `unsure`: opened while counts of theirs were on their way to the store; those may be in twice. `standing`: of the
    visitor's own device, in this epoch; None where a write has to ask how consent stands.
    """

    withdrawals: int
    shard: int
    version: int
    active: Active
    since: int
    until: int
    used: int
    generation: int
    routes: Mapping[str, Route | None]
    granted: frozenset[str]
    head: Any
    draws: dict[str, Draw]
    counted: dict[str, int]
    kept: Kept
    trials: dict[str, Trial]
    stale: bool
    unsure: bool
    standing: Standing | None

    def holds(self, words: Any, active: Active, now: int) -> bool:
        """Say whether nothing has changed since: no withdrawal, nothing of this visitor's shard, not the pair.

        Args:
            words: `Counters.words`.
        """
        return (
            self.withdrawals == words[0]
            and self.version == words[self.shard]
            and self.active is active
            and self.since <= now < self.until
        )

    def take(self, active: Active, folded: Mapping[str, bytes], now: int) -> None:
        """Take in the columns of some purposes as they were just written, under `active` and folded at `now`; what is
        empty is left alone."""
        if self.active is not active or not self.since <= now < self.until:
            self.until = self.since  # of another schema, or another bucket: opened anew
            return
        head = memoryview(bytearray(self.head)).cast("f")
        for purpose, columns in folded.items():
            if columns and purpose in self.granted:
                values = memoryview(columns).cast("f")
                for position, value in zip(active.plans[purpose].positions, values, strict=True):
                    head[position] = value
        self.head = head  # as one value: who is deciding has either

    def continues(self, before: Open) -> bool:
        """Say whether counts and offers of an earlier record go on in this one: its consent is the same, and no
        decision has moved to another purpose since."""
        return self.generation == before.generation and all(
            now is None or (was := before.routes.get(name)) is None or was.purpose == now.purpose
            for name, now in self.routes.items()
        )


class Opened(dict[bytes, Open]):
    """The open records of a process, by handle; of who signed in on a device, by handle and device. Whoever changes
    them holds a lock.

    Args:
        most: how many; one more drops them all.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._devices: dict[bytes, set[bytes]] = {}
        self._shards: dict[int, set[bytes]] = {}

    def keep(self, handle: bytes, device: bytes | None, seen: Open) -> None:
        """Keep a record."""
        if len(self) >= self._most:
            self.clear()
        key = handle if device is None else handle + device
        self[key] = seen
        self._list(key, seen)

    def _list(self, key: bytes, seen: Open) -> None:
        if key[_HANDLE_BYTES:]:
            self._devices.setdefault(key[:_HANDLE_BYTES], set()).add(key)
        self._shards.setdefault(seen.shard, set()).add(key)

    def of(self, handle: bytes) -> list[Open]:
        """Return the records of one visitor: their own, and one for each device they signed in on."""
        return self._those((handle, *self._devices.get(handle, ())))

    def sharing(self, shards: Iterable[int]) -> list[Open]:
        """Return the records of the visitors of some shards."""
        return self._those(key for shard in shards for key in self._shards.get(shard, ()))

    def _those(self, keys: Iterable[bytes]) -> list[Open]:
        return [self[key] for key in keys if key in self]

    def drop_idle(self, now: int, seconds: int) -> None:
        """Drop records that were not used for so long."""
        for key in [key for key, seen in self.items() if abs(now - seen.used) > seconds]:
            del self[key]
        self._devices, self._shards = {}, {}
        for key, seen in self.items():
            self._list(key, seen)

    def forget(self, handle: bytes) -> None:
        """Drop the records of one visitor."""
        for key in (handle, *self._devices.pop(handle, ())):
            self.pop(key, None)

    def clear(self) -> None:
        """Drop all."""
        super().clear()
        self._devices.clear()
        self._shards.clear()
