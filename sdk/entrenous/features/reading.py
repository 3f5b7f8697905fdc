"""From the buckets that are kept to a feature's number at a moment.

A number is read in two steps, so that features share the first: a *view* picks out of one series what a window holds,
and the feature's own last step makes a number of it. A view takes the number of the current bucket, and the buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from entrenous.features.declare import Feature
from entrenous.features.kinds import DECAY_SCALE, HALF_HOUR, KINDS, SECONDS, SLOTS_A_DAY, decay_weights
from entrenous.features.series import Buckets

__all__ = ["Finish", "Reader", "View", "reader"]

View = Callable[[int, Buckets], Any]
Finish = Callable[..., float]
NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How one feature is read.

    Attributes:
        view: of each of the feature's series. key: equal for views that give the same of one series.
        finish: makes the number of what the views gave, in the order of the series.
    """

    view: View
    key: tuple[Any, ...]
    finish: Finish


def reader(feature: Feature) -> Reader:
    """Return how a stored feature is read from its series, as `series_of` orders them."""
    kind, window, half_life = feature.kind, feature.window, feature.half_life
    if kind in _OF_INTEGERS or feature.slots:
        return Reader(view=_within(window), key=("within", window), finish=_OF_INTEGERS.get(kind, _slots))
    if KINDS[kind].reads == "category" and kind not in _ALONE:
        key = ("weighed", window, half_life)
        return Reader(view=_weighed(feature), key=key, finish=_of_weights(feature))
    return Reader(view=_ALONE[kind](feature), key=(kind, window, half_life), finish=float)


# Numbers of the integers in a window


def _within(window: int) -> View:
    return lambda now, kept: [integer for bucket, integer in kept.items() if now - window < bucket <= now]


def _quotient(above: list[int], below: list[int]) -> float:
    """Integers divided with one rounding, as Python does whatever their size."""
    divisor = sum(below)
    return sum(above) / divisor if divisor else NAN


def _slots(masks: list[int]) -> float:
    union = 0
    for mask in masks:
        union |= mask
    return float(union.bit_count())


_OF_INTEGERS: Mapping[str, Finish] = {
    "count": lambda integers: float(sum(integers)),
    "days": lambda integers: float(len(integers)),
    "max": lambda integers: float(max(integers, default=NAN)),
    "mean": _quotient,
    "min": lambda integers: float(min(integers, default=NAN)),
    "ratio": _quotient,
    "sum": lambda integers: float(sum(integers)),
}


# Numbers of the weight of each category


def _weighed(feature: Feature) -> View:
    """The weight of each code that the window holds: its events, or what is left of them at their age."""
    size, window = len(feature.listed), feature.window
    weights = decay_weights(feature.half_life, window) if feature.half_life else ()

    def counted(now: int, kept: Buckets) -> dict[int, int]:
        low, high = (now - window + 1) * size, (now + 1) * size
        totals: dict[int, int] = {}
        for cell, events in kept.items():
            if low <= cell < high:
                code = cell % size
                totals[code] = totals.get(code, 0) + events
        return totals

    def decayed(now: int, kept: Buckets) -> dict[int, int]:
        low, high = (now - window + 1) * size, (now + 1) * size
        totals: dict[int, int] = {}
        for cell, events in kept.items():
            if low <= cell < high:
                bucket, code = divmod(cell, size)
                totals[code] = totals.get(code, 0) + events * weights[now - bucket]
        return totals

    return decayed if weights else counted


def _of_weights(feature: Feature) -> Finish:
    rank, code = max(feature.rank, 1), feature.among.index(feature.value) if feature.value else 0

    def ranked(totals: dict[int, int]) -> float:
        order = sorted(totals, key=lambda code: (-totals[code], code))
        return float(order[rank - 1]) if len(order) >= rank else NAN

    def share(totals: dict[int, int]) -> float:
        return totals.get(code, 0) / sum(totals.values()) if totals else NAN

    def distinct(totals: dict[int, int]) -> float:
        return float(len(totals))

    return {"distinct": distinct, "share": share}.get(feature.kind, ranked)


# Numbers that only one feature reads


def _recency(feature: Feature) -> View:
    window = feature.window
    return lambda now, kept: min((now - b for b in kept if now - window < b <= now), default=NAN)


def _decayed_sum(feature: Feature) -> View:
    window, weights = feature.window, decay_weights(feature.half_life, feature.window)

    def decayed(now: int, kept: Buckets) -> float:
        whole: int = sum(n * weights[now - b] for b, n in kept.items() if now - window < b <= now)
        return whole / DECAY_SCALE

    return decayed


def _streak(feature: Feature) -> View:
    window = feature.window

    def streak(now: int, kept: Buckets) -> int:
        latest = max((b for b in kept if now - window < b <= now), default=now - window)
        day = latest
        while day in kept and day > now - window:
            day -= 1
        return latest - day

    return streak


def _sessions(feature: Feature) -> View:
    window = feature.window

    def sessions(now: int, kept: Buckets) -> int:
        begun = 0
        for day, bits in kept.items():
            if now - window < day <= now:
                before = kept.get(day - 1, 0) if day - 1 > now - window else 0
                begun += (bits & ~(bits << 1 | before >> SLOTS_A_DAY - 1)).bit_count()
        return begun

    return sessions


def _session_length(feature: Feature) -> View:
    window = feature.window * SECONDS[feature.unit] // HALF_HOUR

    def length(now: int, kept: Buckets) -> int:
        bucket, events = now if now in kept else now - 1, 0
        while bucket in kept and bucket > now - window:
            events += kept[bucket]
            bucket -= 1
        return events

    return length


def _last(feature: Feature) -> View:
    window, seconds, size = feature.window, SECONDS[feature.unit], len(feature.values)

    def last(now: int, kept: Buckets) -> float:
        if 0 not in kept:
            return NAN
        time, code = divmod(kept[0], size)
        return code if now - window < time // seconds <= now else NAN

    return last


def _first(feature: Feature) -> View:
    window, size = feature.window, len(feature.values)

    def first(now: int, kept: Buckets) -> float:
        bucket = min((b for b in kept if now - window < b <= now), default=None)
        return NAN if bucket is None else kept[bucket] % size

    return first


_ALONE: Mapping[str, Callable[[Feature], View]] = {
    "decayed_sum": _decayed_sum,
    "first": _first,
    "last": _last,
    "recency": _recency,
    "session_length": _session_length,
    "sessions": _sessions,
    "streak": _streak,
}
