"""The runtime engine: one purpose's features, kept up to date event by event in buckets.

What is kept is a *state*: for each series (one event, one field, one bucket size) a small dictionary from bucket to a
number. It holds no event. A `Plan` is what a schema asks of one purpose, compiled once when a bundle is activated;
several features may read one series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from entrenous.events import Event
from entrenous.features.declare import DECAY_SCALE, SECONDS, Feature, decay_weights, stamp
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack

__all__ = ["STATE_LIMIT", "Plan", "State", "compile_plan"]

STATE_LIMIT = 1 << 20
"""The most bytes a packed state may have."""

NAN = float("nan")
_DAY = SECONDS["day"]

Buckets = dict[int, Any]
State = list[Buckets]
"""One dictionary a series, in the plan's order: {bucket: number}, {bucket: {code: count}} or {0: (time, code)}."""

_SHAPES = {"count": "n", "days": "n", "recency": "n", "sum": "s", "decayed_sum": "s", "top": "c", "last": "l"}


@dataclass(slots=True, kw_only=True)
class _Series:
    """What is kept for one event and field."""

    shape: str
    event: str
    field: str
    seconds: int
    codes: dict[str, int]
    keep: int = 0

    @property
    def key(self) -> bytes:
        """Six bytes that name this series in a stored state."""
        parts = [self.shape, self.event, self.field, self.seconds, list(self.codes)]
        return sha256(pack(parts)).digest()[:6]


Reader = Callable[[Buckets, int], float]


@dataclass(slots=True, kw_only=True)
class Plan:
    """One purpose's features over one schema, compiled.

    Attributes:
        positions: columns of the vector that this purpose fills, in order.
        stamp: changes when the purpose's declarations do.
    """

    positions: tuple[int, ...]
    stamp: bytes
    _series: list[_Series]
    _keys: list[bytes]
    _listening: dict[str, list[int]]
    _readers: list[tuple[int, int, Reader]]
    _units: tuple[int, ...] = field(default=())

    @property
    def events(self) -> frozenset[str]:
        """Names of the events that change this state."""
        return frozenset(self._listening)

    def empty(self) -> State:
        """Return the state of a visitor who did nothing yet."""
        return [{} for _ in self._series]

    def apply(self, state: State, event: Event) -> None:
        """Add one event to `state`, in place. Order of arrival makes no difference."""
        for index in self._listening.get(event.name, ()):
            series, kept = self._series[index], state[index]
            bucket = event.time // series.seconds
            if series.shape == "n":
                kept[bucket] = kept.get(bucket, 0) + 1
                continue
            value = getattr(event, series.field)
            if series.shape == "s":
                if value is not None:
                    kept[bucket] = kept.get(bucket, 0) + value
                continue
            code = series.codes.get(value)
            if code is None:
                continue
            if series.shape == "l":
                kept[0] = max(kept.get(0, (-1, -1)), (event.time, code))
            else:
                counts = kept.setdefault(bucket, {})
                counts[code] = counts.get(code, 0) + 1

    def merge(self, state: State, other: State) -> None:
        """Add what `other` holds to `state`, in place: as if the events of both had been one visitor's."""
        for series, kept, more in zip(self._series, state, other, strict=True):
            for bucket, value in more.items():
                if series.shape == "l":
                    kept[bucket] = max(kept.get(bucket, (-1, -1)), value)
                elif series.shape == "c":
                    counts = kept.setdefault(bucket, {})
                    for code, n in value.items():
                        counts[code] = counts.get(code, 0) + n
                else:
                    kept[bucket] = kept.get(bucket, 0) + value

    def correct(self, state: State, position: int, code: int | None, now: int) -> frozenset[int]:
        """Forget, in place, what the feature in column `position` holds; hold a category's code, as of `now`, instead
        where one is given. Return the columns that read the same series, and so change with it."""
        at = self._readers[self.positions.index(position)][0]
        series, state[at] = self._series[at], {}
        if code is not None:
            state[at] = {0: (now, code)} if series.shape == "l" else {now // series.seconds: {code: 1}}
        return frozenset(
            there for there, (series_at, _, _) in zip(self.positions, self._readers, strict=True) if series_at == at
        )

    def fold(self, state: State, now: int) -> bytes:
        """Return the purpose's columns at `now`: float32 bytes, one value for each of `positions`."""
        values = [reader(state[series], now // seconds) for series, seconds, reader in self._readers]
        return np.array(values, dtype=np.float32).tobytes()

    def until(self, now: int) -> int:
        """Return the second from which a folded vector is out of date: the next bucket of any unit in use."""
        return min(((now // unit + 1) * unit for unit in self._units), default=1 << 62)

    def pack(self, state: State, now: int) -> bytes:
        """Return `state` as msgpack, without the buckets that no window reaches any more."""
        kept = []
        for series, key, buckets in zip(self._series, self._keys, state, strict=True):
            oldest = now // series.seconds - series.keep
            if series.shape == "l":
                last = buckets.get(0)
                flat = list(last) if last and last[0] // series.seconds > oldest else []
            else:
                flat = [part for bucket in sorted(buckets) if bucket > oldest for part in (bucket, buckets[bucket])]
                if series.shape == "c":
                    flat[1::2] = [[part for pair in sorted(counts.items()) for part in pair] for counts in flat[1::2]]
            if flat:
                kept.append([key, flat])
        return pack(kept)

    def unpack(self, data: bytes) -> State:
        """Return the state that `pack` wrote; series that this plan does not know are left out.

        Raises:
            Malformed: the bytes are not a state.
        """
        state = self.empty()
        known = {key: index for index, key in enumerate(self._keys)}
        try:
            for key, flat in unpack(data, place="profile state", longest=STATE_LIMIT):
                index = known.get(key)
                if index is None:
                    continue
                shape = self._series[index].shape
                if shape == "l":
                    state[index] = {0: (flat[0], flat[1])}
                elif shape == "c":
                    state[index] = {b: dict(zip(c[::2], c[1::2], strict=True)) for b, c in _pairs(flat)}
                else:
                    state[index] = dict(_pairs(flat))
        except (TypeError, ValueError, IndexError) as error:
            raise Malformed("is not a state", place="profile state") from error
        return state


def _pairs(flat: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _reader(feature: Feature) -> Reader:
    window = feature.window

    if feature.kind in ("count", "sum"):
        return lambda kept, now: float(sum(n for bucket, n in kept.items() if now - window < bucket <= now))
    if feature.kind == "days":
        return lambda kept, now: float(sum(1 for bucket in kept if now - window < bucket <= now))
    if feature.kind == "recency":
        return lambda kept, now: float(min((now - b for b in kept if now - window < b <= now), default=NAN))
    if feature.kind == "decayed_sum":
        weights = decay_weights(feature.half_life, window)

        def decayed(kept: Buckets, now: int) -> float:
            whole: int = sum(n * weights[now - b] for b, n in kept.items() if now - window < b <= now)
            return whole / DECAY_SCALE

        return decayed
    if feature.kind == "last":
        seconds = SECONDS[feature.unit]

        def last(kept: Buckets, now: int) -> float:
            time, code = kept.get(0, (-1, -1))
            return float(code) if code >= 0 and now - window < time // seconds <= now else NAN

        return last

    def top(kept: Buckets, now: int) -> float:
        counts: dict[int, int] = {}
        for bucket, codes in kept.items():
            if now - window < bucket <= now:
                for code, n in codes.items():
                    counts[code] = counts.get(code, 0) + n
        return float(max(counts, key=lambda code: (counts[code], -code))) if counts else NAN

    return top


def compile_plan(schema: Sequence[Feature], purpose: str) -> Plan:
    """Return the plan for the stored (not `context`) features of `purpose` in `schema`."""
    mine = [
        (i, feature) for i, feature in enumerate(schema) if feature.purpose == purpose and feature.kind != "context"
    ]
    series: list[_Series] = []
    index: dict[bytes, int] = {}
    readers: list[tuple[int, int, Reader]] = []
    for _, feature in mine:
        wanted = _Series(
            shape=_SHAPES[feature.kind],
            event=feature.event,
            field=feature.field,
            seconds=SECONDS[feature.unit],
            codes={value: code for code, value in enumerate(feature.values)},
        )
        at = index.setdefault(wanted.key, len(series))
        if at == len(series):
            series.append(wanted)
        series[at].keep = max(series[at].keep, feature.window)
        readers.append((at, wanted.seconds, _reader(feature)))
    listening: dict[str, list[int]] = {}
    for at, one in enumerate(series):
        listening.setdefault(one.event, []).append(at)
    return Plan(
        positions=tuple(i for i, _ in mine),
        stamp=stamp(feature for _, feature in mine),
        _series=series,
        _keys=[one.key for one in series],
        _listening=listening,
        _readers=readers,
        _units=tuple({one.seconds for one in series}),
    )
