"""From the buckets that are kept to a feature's number at a moment.

A number is read in two steps, so that features share the first: a *view* picks out of one series what a window holds,
and the feature's own last step makes a number of it. A view takes the number of the current bucket, and the series in
its order (`Ordered`), so that a window is a slice of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from entrenous.features.declare import Feature
from entrenous.features.interpret import INTERPRETATIONS, parts_of
from entrenous.features.kinds import DECAY_SCALE, HALF_HOUR, SECONDS, SLOTS_A_DAY, decay_weights, derived
from entrenous.features.series import Buckets, Series, series_of, unordered

__all__ = ["Finish", "Ordered", "Read", "Reader", "View", "reader"]


@dataclass(frozen=True, slots=True)
class Ordered:
    """One series' buckets by ascending number, for all the views of it.

    Attributes:
        buckets: as they are kept. keys: their numbers. values: the integers of each.
    """

    buckets: Buckets
    keys: list[int]
    values: list[int]

    @classmethod
    def of(cls, buckets: Buckets) -> Ordered:
        """Return the order of `buckets`."""
        keys = sorted(buckets)
        return cls(buckets, keys, [buckets[key] for key in keys])

    def between(self, low: int, high: int) -> slice:
        """Return where the keys in `(low, high]` are."""
        return slice(bisect_right(self.keys, low), bisect_right(self.keys, high))


View = Callable[[int, Ordered], Any]
Finish = Callable[..., float]
NAN = float("nan")
DAY = SECONDS["day"]
SATURDAY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What is picked out of one series.

    Attributes:
        series: the series. view: of it. key: equal for views that give the same of one series.
    """

    series: Series
    view: View
    key: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How one feature is read.

    Attributes:
        reads: what it needs of its series. finish: makes the number of what the views gave, in their order.
    """

    reads: tuple[Read, ...]
    finish: Finish


def reader(feature: Feature) -> Reader:
    """Return how a stored feature is read."""
    if parts := parts_of(feature):
        return _made(feature, [reader(part) for part in parts])
    view, key, finish = _way(feature)
    return Reader(reads=(Read(series=series_of(feature), view=view, key=key),), finish=finish)


def _made(feature: Feature, parts: list[Reader]) -> Reader:
    """Read each part's number, then make the feature's of them."""
    number, slices, start = INTERPRETATIONS[feature.kind].number(feature), [], 0
    for part in parts:
        slices.append((part.finish, slice(start, start + len(part.reads))))
        start += len(part.reads)

    def finish(*seen: Any) -> float:
        return number(*[of(*seen[where]) for of, where in slices])

    return Reader(reads=tuple(read for part in parts for read in part.reads), finish=finish)


def _way(feature: Feature) -> tuple[View, tuple[Any, ...], Finish]:
    kind, window, half_life = feature.kind, feature.window, feature.half_life
    if kind in _OF_INTEGERS or feature.slots:
        return _within(window), ("within", window), _OF_INTEGERS.get(kind, _slots)
    if kind in _WEIGHED:
        return _weighed(feature), ("weighed", window, half_life), _of_weights(feature)
    return _ALONE[kind](feature), (kind, window, half_life, feature.value), _as_it_is


def _as_it_is(number: float) -> float:
    return number


# Numbers of the integers in a window


def _within(window: int) -> View:
    return lambda now, kept: kept.values[kept.between(now - window, now)]


def _slots(masks: list[int]) -> float:
    union = 0
    for mask in masks:
        union |= mask
    return union.bit_count()


_OF_INTEGERS: Mapping[str, Finish] = {
    "count": sum,
    "days": len,
    "filled": sum,
    "max": lambda integers: max(integers, default=NAN),
    "min": lambda integers: min(integers, default=NAN),
    "peak": lambda integers: max(integers, default=NAN),
    "sum": sum,
}


# Numbers of the weight of each category

_WEIGHED = frozenset({"affinity", "chosen", "distinct", "listed", "squared", "top"})


def _weighed(feature: Feature) -> View:
    """The weight of each code that the window holds: its events, or what is left of them at their age."""
    size, window = len(feature.listed), feature.window
    weights = decay_weights(feature.half_life, window) if feature.half_life else ()

    def cells(now: int, kept: Ordered) -> Iterator[tuple[int, int]]:
        seen = kept.between((now - window + 1) * size - 1, (now + 1) * size - 1)
        return zip(kept.keys[seen], kept.values[seen], strict=True)

    def counted(now: int, kept: Ordered) -> dict[int, int]:
        totals: dict[int, int] = {}
        for cell, events in cells(now, kept):
            code = cell % size
            totals[code] = totals.get(code, 0) + events
        return totals

    def decayed(now: int, kept: Ordered) -> dict[int, int]:
        totals: dict[int, int] = {}
        for cell, events in cells(now, kept):
            bucket, code = divmod(cell, size)
            totals[code] = totals.get(code, 0) + events * weights[now - bucket]
        return totals

    return decayed if weights else counted


def _of_weights(feature: Feature) -> Finish:
    rank, code = max(feature.rank, 1), feature.among.index(feature.value) if feature.value else 0

    def ranked(totals: dict[int, int]) -> float:
        order = sorted(totals, key=lambda code: (-totals[code], code))
        return order[rank - 1] if len(order) >= rank else NAN

    def chosen(totals: dict[int, int]) -> int:
        return totals.get(code, 0)

    def listed(totals: dict[int, int]) -> int:
        return sum(totals.values())

    def squared(totals: dict[int, int]) -> int:
        return sum(events * events for events in totals.values())

    known: Mapping[str, Finish] = {"chosen": chosen, "distinct": len, "listed": listed, "squared": squared}
    return known.get(feature.kind, ranked)


# Numbers that only one feature reads


def _recency(feature: Feature) -> View:
    window = feature.window
    return lambda now, kept: now - max(kept.keys[kept.between(now - window, now)][-1:], default=NAN)


def _age(feature: Feature) -> View:
    window = feature.window
    return lambda now, kept: now - min(kept.keys[kept.between(now - window, now)][:1], default=NAN)


def _pause(feature: Feature) -> View:
    window = feature.window

    def pause(now: int, kept: Ordered) -> float:
        buckets = kept.keys[kept.between(now - window, now)]
        return max((later - earlier for earlier, later in pairwise(buckets)), default=NAN)

    return pause


def _weekend_days(feature: Feature) -> View:
    window = feature.window
    return lambda now, kept: sum(
        derived("weekday", day * DAY) >= SATURDAY for day in kept.keys[kept.between(now - window, now)]
    )


def _decayed_sum(feature: Feature) -> View:
    window, weights = feature.window, decay_weights(feature.half_life, feature.window)

    def decayed(now: int, kept: Ordered) -> float:
        seen = kept.between(now - window, now)
        whole: int = sum(n * weights[now - b] for b, n in zip(kept.keys[seen], kept.values[seen], strict=True))
        return whole / DECAY_SCALE

    return decayed


def _streak(feature: Feature) -> View:
    window = feature.window

    def streak(now: int, kept: Ordered) -> int:
        latest = max(kept.keys[kept.between(now - window, now)][-1:], default=now - window)
        day = latest
        while day in kept.buckets and day > now - window:
            day -= 1
        return latest - day

    return streak


def _sessions(feature: Feature) -> View:
    window = feature.window

    def sessions(now: int, kept: Ordered) -> int:
        begun, seen = 0, kept.between(now - window, now)
        for day, bits in zip(kept.keys[seen], kept.values[seen], strict=True):
            before = kept.buckets.get(day - 1, 0) if day - 1 > now - window else 0
            begun += (bits & ~(bits << 1 | before >> SLOTS_A_DAY - 1)).bit_count()
        return begun

    return sessions


def _session_length(feature: Feature) -> View:
    window = feature.window * SECONDS[feature.unit] // HALF_HOUR

    def length(now: int, kept: Ordered) -> int:
        bucket, events = now if now in kept.buckets else now - 1, 0
        while bucket in kept.buckets and bucket > now - window:
            events += kept.buckets[bucket]
            bucket -= 1
        return events

    return length


def _last(feature: Feature) -> View:
    window, seconds, size = feature.window, SECONDS[feature.unit], len(feature.values)

    def last(now: int, kept: Ordered) -> float:
        if not kept.values:
            return NAN
        time, code = divmod(kept.values[0], size)
        return code if now - window < time // seconds <= now else NAN

    return last


def _first(feature: Feature) -> View:
    window, size = feature.window, len(feature.values)

    def first(now: int, kept: Ordered) -> float:
        earliest = kept.values[kept.between(now - window, now)][:1]
        return earliest[0] % size if earliest else NAN

    return first


# Numbers of what was said last


def _said(feature: Feature) -> View:
    """The code or the number that is known since a moment in the window."""
    window, size = feature.window, len(feature.values)

    def said(now: int, kept: Ordered) -> float:
        if not kept.values:
            return NAN
        time, bits = divmod(kept.values[0], size or 1 << 32)
        if not now - window < time // DAY <= now:
            return NAN
        return bits if size else unordered(bits)

    return said


def _told(feature: Feature) -> View:
    window, size = feature.window, len(feature.values)
    a_day = 2 * size * DAY

    def told(now: int, kept: Ordered) -> float:
        last = kept.keys[kept.between((now - window + 1) * a_day - 1, (now + 1) * a_day - 1)][-1:]
        return last[0] // 2 % size if last and last[0] % 2 else NAN

    return told


def _asked(feature: Feature) -> View:
    window, size, code = feature.window, len(feature.among), feature.among.index(feature.value)
    a_day = 2 * size * DAY

    def asked(now: int, kept: Ordered) -> float:
        seen = kept.keys[kept.between((now - window + 1) * a_day - 1, (now + 1) * a_day - 1)]
        last = next((cell for cell in reversed(seen) if cell // 2 % size == code), None)
        return NAN if last is None else last % 2

    return asked


_ALONE: Mapping[str, Callable[[Feature], View]] = {
    "age": _age,
    "asked": _asked,
    "decayed_sum": _decayed_sum,
    "first": _first,
    "imported": _said,
    "last": _last,
    "pause": _pause,
    "recency": _recency,
    "session_length": _session_length,
    "sessions": _sessions,
    "streak": _streak,
    "told": _told,
    "weekend_days": _weekend_days,
}
