"""From the buckets that are kept to a feature's number at a moment: one reader for each kind.

A reader takes the number of the current bucket, in the feature's own unit, and the buckets of its series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from entrenous.features.declare import Feature
from entrenous.features.kinds import DECAY_SCALE, HALF_HOUR, SECONDS, SLOTS_A_DAY, decay_weights
from entrenous.features.series import Buckets

__all__ = ["Reader", "reader"]

Reader = Callable[..., float]
NAN = float("nan")


def reader(feature: Feature) -> Reader:
    """Return what reads a stored feature from its series, as `series_of` orders them."""
    return _READERS[feature.kind](feature)


def _within(kept: Buckets, now: int, window: int) -> list[int]:
    """Return the integers of the buckets in the window."""
    return [value for bucket, value in kept.items() if now - window < bucket <= now]


def _total(feature: Feature) -> Reader:
    window = feature.window
    return lambda now, kept: float(sum(_within(kept, now, window)))


def _days(feature: Feature) -> Reader:
    window = feature.window
    return lambda now, kept: float(len(_within(kept, now, window)))


def _recency(feature: Feature) -> Reader:
    window = feature.window
    return lambda now, kept: float(min((now - b for b in kept if now - window < b <= now), default=NAN))


def _least(feature: Feature) -> Reader:
    window = feature.window
    return lambda now, kept: float(min(_within(kept, now, window), default=NAN))


def _greatest(feature: Feature) -> Reader:
    window = feature.window
    return lambda now, kept: float(max(_within(kept, now, window), default=NAN))


def _quotient(feature: Feature) -> Reader:
    """Integers divided with one rounding, as Python does whatever their size."""
    window = feature.window

    def quotient(now: int, above: Buckets, below: Buckets) -> float:
        divisor = sum(_within(below, now, window))
        return sum(_within(above, now, window)) / divisor if divisor else NAN

    return quotient


def _decayed_sum(feature: Feature) -> Reader:
    window, weights = feature.window, decay_weights(feature.half_life, feature.window)

    def decayed(now: int, kept: Buckets) -> float:
        whole: int = sum(n * weights[now - b] for b, n in kept.items() if now - window < b <= now)
        return whole / DECAY_SCALE

    return decayed


def _streak(feature: Feature) -> Reader:
    window = feature.window

    def streak(now: int, kept: Buckets) -> float:
        latest = max((b for b in kept if now - window < b <= now), default=now - window)
        day = latest
        while day in kept and day > now - window:
            day -= 1
        return float(latest - day)

    return streak


def _sessions(feature: Feature) -> Reader:
    window = feature.window

    def sessions(now: int, kept: Buckets) -> float:
        begun = 0
        for day, bits in kept.items():
            if now - window < day <= now:
                before = kept.get(day - 1, 0) if day - 1 > now - window else 0
                begun += (bits & ~(bits << 1 | before >> SLOTS_A_DAY - 1)).bit_count()
        return float(begun)

    return sessions


def _session_length(feature: Feature) -> Reader:
    window = feature.window * SECONDS[feature.unit] // HALF_HOUR

    def length(now: int, kept: Buckets) -> float:
        bucket, events = now if now in kept else now - 1, 0
        while bucket in kept and bucket > now - window:
            events += kept[bucket]
            bucket -= 1
        return float(events)

    return length


def _last(feature: Feature) -> Reader:
    window, seconds, size = feature.window, SECONDS[feature.unit], len(feature.values)

    def last(now: int, kept: Buckets) -> float:
        if 0 not in kept:
            return NAN
        time, code = divmod(kept[0], size)
        return float(code) if now - window < time // seconds <= now else NAN

    return last


def _first(feature: Feature) -> Reader:
    window, size = feature.window, len(feature.values)

    def first(now: int, kept: Buckets) -> float:
        bucket = min((b for b in kept if now - window < b <= now), default=None)
        return NAN if bucket is None else float(kept[bucket] % size)

    return first


def _weighed(kept: Buckets, now: int, size: int, weights: tuple[int, ...]) -> dict[int, int]:
    """Return the weight of each code met within `len(weights)` buckets."""
    low, high = (now - len(weights) + 1) * size, (now + 1) * size
    totals: dict[int, int] = {}
    for cell, events in kept.items():
        if low <= cell < high:
            bucket, code = divmod(cell, size)
            totals[code] = totals.get(code, 0) + events * weights[now - bucket]
    return totals


def _top(feature: Feature) -> Reader:
    size, weights = len(feature.values), (1,) * feature.window

    def top(now: int, kept: Buckets) -> float:
        totals = _weighed(kept, now, size, weights)
        return float(max(totals, key=lambda code: (totals[code], -code))) if totals else NAN

    return top


def _affinity(feature: Feature) -> Reader:
    size, weights, rank = len(feature.values), decay_weights(feature.half_life, feature.window), feature.rank

    def affinity(now: int, kept: Buckets) -> float:
        totals = _weighed(kept, now, size, weights)
        ranked = sorted(totals, key=lambda code: (-totals[code], code))
        return float(ranked[rank - 1]) if len(ranked) >= rank else NAN

    return affinity


def _share(feature: Feature) -> Reader:
    size, weights, code = len(feature.among), (1,) * feature.window, feature.among.index(feature.value)

    def share(now: int, kept: Buckets) -> float:
        totals = _weighed(kept, now, size, weights)
        return totals.get(code, 0) / sum(totals.values()) if totals else NAN

    return share


def _distinct(feature: Feature) -> Reader:
    size, weights, window = len(feature.among), (1,) * feature.window, feature.window

    def slots(now: int, kept: Buckets) -> float:
        union = 0
        for bits in _within(kept, now, window):
            union |= bits
        return float(union.bit_count())

    return slots if feature.slots else lambda now, kept: float(len(_weighed(kept, now, size, weights)))


_READERS: Mapping[str, Callable[[Feature], Reader]] = {
    "affinity": _affinity,
    "count": _total,
    "days": _days,
    "decayed_sum": _decayed_sum,
    "distinct": _distinct,
    "first": _first,
    "last": _last,
    "max": _greatest,
    "mean": _quotient,
    "min": _least,
    "ratio": _quotient,
    "recency": _recency,
    "session_length": _session_length,
    "sessions": _sessions,
    "share": _share,
    "streak": _streak,
    "sum": _total,
    "top": _top,
}
