"""The runtime engine: one purpose's features, kept up to date event by event in buckets.

What is kept is a *state*: for each series (one event, one field, one bucket size) a small dictionary from bucket to an
integer (`series`). It holds no event. A `Plan` is what a schema asks of one purpose, compiled once when a bundle is
activated; several features may read one series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from entrenous.events import EVENT_NAMES, Attribute, Event, attribute_name
from entrenous.features.declare import Feature, stamp
from entrenous.features.kinds import ANY
from entrenous.features.reading import Finish, Ordered, View, reader
from entrenous.features.series import (
    Adder,
    Buckets,
    Series,
    adder,
    combine,
    corrected,
    flattened,
    restored,
    retimed,
    undone,
)
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack

__all__ = ["STATE_LIMIT", "Plan", "State", "compile_plan"]

STATE_LIMIT = 1 << 20
"""The most bytes a packed state may have."""

State = list[Buckets]
"""One dictionary a series, in the plan's order."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """One purpose's features over one schema, compiled.

    Attributes:
        positions: columns of the vector that this purpose fills, in order.
        stamp: changes when the purpose's declarations do. nothing: the columns of who did nothing, the same at any
            moment.
    """

    positions: tuple[int, ...]
    stamp: bytes
    nothing: bytes = b""
    _series: list[Series]
    _keys: list[bytes]
    _listening: Mapping[str, tuple[tuple[int, tuple[tuple[int, Adder], ...]], ...]]
    _views: list[tuple[int, int, View]]
    _readers: list[tuple[tuple[int, ...], Finish]]
    _units: tuple[int, ...] = field(default=())

    @property
    def events(self) -> frozenset[str]:
        """Names of the events that change this state."""
        return frozenset(self._listening)

    def empty(self) -> State:
        """Return the state of a visitor who did nothing yet."""
        return [{} for _ in self._series]

    def apply(self, state: State, event: Event | Attribute) -> None:
        """Add one event, or what was said, to `state`, in place. Order of arrival makes no difference."""
        for seconds, adders in self._listening.get(event.name, ()):
            bucket = event.time // seconds
            for index, add in adders:
                add(state[index], bucket, event)

    def merge(self, state: State, other: State) -> None:
        """Add what `other` holds to `state`, in place: as if the events of both had been one visitor's."""
        for series, kept, more in zip(self._series, state, other, strict=True):
            combine(series, kept, more)

    def correct(self, state: State, position: int, code: int | None, now: int) -> frozenset[int]:
        """Forget, in place, what the feature in column `position` holds; hold a category's code, as of `now`, instead
        where one is given. Return the columns that read one of the same series, and so change with it."""
        read = {there: self._read(views) for there, (views, _) in zip(self.positions, self._readers, strict=True)}
        mine = read[position]
        for at in mine:
            state[at] = {} if code is None else corrected(self._series[at], code, now)
        return frozenset(there for there, series in read.items() if not mine.isdisjoint(series))

    def take(self, state: State, said: Attribute) -> bool:
        """Add what was said to `state`, in place; say whether that changed anything: what is kept may be newer."""
        heard = {at for _, adders in self._listening.get(said.name, ()) for at, _ in adders}
        before = {at: dict(state[at]) for at in heard}
        self.apply(state, said)
        return any(state[at] != kept for at, kept in before.items())

    def words(self, state: State, field: str) -> dict[int, set[tuple[str, bool]]]:
        """Return what the visitor told about `field`: by second, each value with whether it holds."""
        found: dict[int, set[tuple[str, bool]]] = {}
        for at in self._told(state, field):
            values, size = self._series[at].values, len(self._series[at].values)
            for cell in state[at]:
                second = self._series[at].told_at(cell)
                found.setdefault(second, set()).add((values[cell // 2 % size], bool(cell % 2)))
        return found

    def retime(self, state: State, field: str, moved: Mapping[int, int]) -> None:
        """Put what was told about `field` at other seconds, in place."""
        for at in self._told(state, field):
            state[at] = retimed(self._series[at], state[at], moved)

    def undo(self, state: State, field: str, *, last: int | None = None) -> bool:
        """Take back, in place, the last thing the visitor told about `field`; say whether there was any.

        What was told before it holds again.

        Args:
            last: the second of the word that is meant, where it need not be the last one here.
        """
        told = self._told(state, field)
        if last is None:
            last = max((self._series[at].told_at(max(state[at])) for at in told), default=-1)
        mine = [at for at in told if self._series[at].told_at(max(state[at])) == last]
        for at in mine:
            state[at] = undone(state[at])
        return bool(mine)

    def _told(self, state: State, field: str) -> list[int]:
        name = attribute_name("told", field)
        return [at for at, one in enumerate(self._series) if one.event == name and state[at]]

    def _read(self, views: tuple[int, ...]) -> set[int]:
        return {self._views[view][0] for view in views}

    def fold(self, state: State, now: int) -> bytes:
        """Return the purpose's columns at `now`: float32 bytes, one value for each of `positions`."""
        kept = [Ordered.of(buckets) for buckets in state]
        seen = [view(now // seconds, kept[at]) for at, seconds, view in self._views]
        values = [float(finish(*[seen[view] for view in views])) for views, finish in self._readers]
        return np.array(values, dtype=np.float32).tobytes()

    def until(self, now: int) -> int:
        """Return the second from which a folded vector is out of date: the next bucket of any unit in use."""
        return min(((now // unit + 1) * unit for unit in self._units), default=1 << 62)

    def pack(self, state: State, now: int) -> bytes:
        """Return `state` as msgpack, without the buckets that no window reaches any more."""
        kept = []
        for series, key, buckets in zip(self._series, self._keys, state, strict=True):
            if stored := flattened(series, buckets, now):
                kept.append([key, *stored])
        return pack(kept)

    def unpack(self, data: bytes) -> State:
        """Return the state that `pack` wrote; series that this plan does not know are left out.

        Raises:
            Malformed: the bytes are not a state.
        """
        state = self.empty()
        known = {key: index for index, key in enumerate(self._keys)}
        try:
            for key, *stored in unpack(data, place="profile state", longest=STATE_LIMIT):
                if not stored:
                    raise ValueError("a series without a value")
                if (index := known.get(key)) is not None:
                    state[index] = restored(self._series[index], stored)
        except (TypeError, ValueError, IndexError) as error:
            raise Malformed("is not a state", place="profile state") from error
        return state


def compile_plan(schema: Sequence[Feature], purpose: str) -> Plan:
    """Return the plan for the stored (not `context`) features of `purpose` in `schema`."""
    mine = [
        (i, feature) for i, feature in enumerate(schema) if feature.purpose == purpose and feature.kind != "context"
    ]
    series: list[Series] = []
    index: dict[bytes, int] = {}
    views: list[tuple[int, int, View]] = []
    shared: dict[tuple[int, tuple[Any, ...]], int] = {}
    readers: list[tuple[tuple[int, ...], Finish]] = []
    for _, feature in mine:
        read, how = [], reader(feature)
        for needed in how.reads:
            wanted = needed.series
            at = index.setdefault(wanted.key, len(series))
            if at == len(series):
                series.append(wanted)
            series[at].keep = max(series[at].keep, wanted.keep)
            read.append(shared.setdefault((at, needed.key), len(views)))
            if read[-1] == len(views):
                views.append((at, wanted.seconds, needed.view))
        readers.append((tuple(read), how.finish))
    listening: dict[str, dict[int, list[tuple[int, Adder]]]] = {}
    for at, one in enumerate(series):
        for name in sorted(EVENT_NAMES) if one.event == ANY else (one.event,):
            listening.setdefault(name, {}).setdefault(one.seconds, []).append((at, adder(one)))
    plan = Plan(
        positions=tuple(i for i, _ in mine),
        stamp=stamp(feature for _, feature in mine),
        _series=series,
        _keys=[one.key for one in series],
        _listening={
            name: tuple((seconds, tuple(adders)) for seconds, adders in by_seconds.items())
            for name, by_seconds in listening.items()
        },
        _views=views,
        _readers=readers,
        _units=tuple({one.seconds for one in series}),
    )
    plan.nothing = plan.fold(plan.empty(), 0)
    return plan
