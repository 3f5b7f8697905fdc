"""A visitor as decisions see them, and who watches the pair that they are decided under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from entrenous.active import Active
from entrenous.decisions.draws import Draw
from entrenous.decisions.routes import Route, Trial
from entrenous.profile import Kept
from entrenous_consent.drawers import Standing

__all__ = ["Open", "Unwatched", "Watch"]


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

    def take(self, active: Active, folded: Mapping[str, bytes]) -> None:
        """Take in the columns of some purposes, as they were just written under `active`; empty ones are left alone."""
        if self.active is not active:
            self.until = self.since  # of another schema: opened anew
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
