"""What the runtime keeps for one event and field: a dictionary from bucket to one integer.

A *shape* says what the integer is and how two of them become one. All of these ways are commutative and associative, so
that the order in which events arrive makes no difference, and two visitors' states can be merged.

| shape | bucket | integer | two become |
|---|---|---|---|
| `n` | bucket | events | their sum |
| `s` | bucket | sum of the field | their sum |
| `filled` | bucket | events that have the field | their sum |
| `least`, `greatest` | bucket | of the field | the smaller, the greater |
| `c` | bucket x values + code | events | their sum |
| `slots` | bucket | a bit for each slot that was met | their union |
| `half_hours` | bucket | a bit for each half-hour of the UTC day with an event | their union |
| `earliest` | bucket | second within the bucket x values + code | the smaller |
| `l` | 0 | time x values + code | the greater |
| `told` | (time x values + code) x 2 + whether it holds | 1 | both |
| `number` | 0 | time x 2^32 + the float32's bits, so that order is kept | the greater |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import add, or_
from struct import pack as pack_bits
from struct import unpack as unpack_bits
from typing import Any

from entrenous.events import ATTRIBUTES, Attribute, Event, attribute_name
from entrenous.features.declare import Feature
from entrenous.features.kinds import HALF_HOUR, SECONDS, slot
from entrenous_consent.packing import pack

__all__ = [
    "MOST_TOLD",
    "Adder",
    "Buckets",
    "Series",
    "adder",
    "combine",
    "corrected",
    "flattened",
    "ordered",
    "restored",
    "retimed",
    "series_of",
    "undone",
    "unordered",
]

MOST_TOLD = 32
"""The most words of a visitor on one matter that are remembered, and can be undone."""

Buckets = dict[int, int]
Adder = Callable[[Buckets, int, Any], None]
"""Adds an event to the buckets; between the two, the number of the event's own."""

_SHAPES: Mapping[str, str] = {
    "affinity": "c",
    "age": "n",
    "asked": "told",
    "chosen": "c",
    "count": "n",
    "days": "n",
    "decayed_sum": "s",
    "distinct": "c",
    "filled": "filled",
    "first": "earliest",
    "last": "l",
    "listed": "c",
    "max": "greatest",
    "min": "least",
    "pause": "n",
    "peak": "n",
    "recency": "n",
    "session_length": "n",
    "sessions": "half_hours",
    "squared": "c",
    "streak": "n",
    "sum": "s",
    "told": "told",
    "top": "c",
    "weekend_days": "n",
}
_ABSENT = (None, "")
_COMBINE: Mapping[str, Callable[[int, int], int]] = {
    "c": add,
    "earliest": min,
    "filled": add,
    "greatest": max,
    "half_hours": or_,
    "l": max,
    "least": min,
    "n": add,
    "number": max,
    "s": add,
    "slots": or_,
    "told": or_,
}


@dataclass(slots=True, kw_only=True)
class Series:
    """One series.

    Attributes:
        seconds: of a bucket. keep: buckets, the current one included, that some window reaches.
        values: what codes are positions in. slots: of the shape `slots`.
    """

    shape: str
    event: str
    field: str
    seconds: int
    values: tuple[str, ...] = ()
    slots: int = 0
    keep: int = 0

    @property
    def key(self) -> bytes:
        """Six bytes that name this series in a stored state."""
        parts = [self.shape, self.event, self.field, self.seconds, list(self.values)]
        return sha256(pack([*parts, self.slots] if self.slots else parts)).digest()[:6]

    def told_at(self, cell: int) -> int:
        """Return the second of a word in a series of the shape `told`."""
        return cell // 2 // len(self.values)


def series_of(feature: Feature) -> Series:
    """Return the series that a stored feature is read from; one that is made of others has none of its own."""
    in_half_hours = feature.kind == "session_length"
    shape = "slots" if feature.slots else _SHAPES.get(feature.kind) or ("l" if feature.values else "number")
    return Series(
        shape=shape,
        event=feature.event or attribute_name(feature.kind, feature.field),
        field=feature.field,
        seconds=HALF_HOUR if in_half_hours else SECONDS[feature.unit],
        values=feature.listed,
        slots=feature.slots,
        keep=feature.window * SECONDS[feature.unit] // HALF_HOUR if in_half_hours else feature.window,
    )


def combine(series: Series, kept: Buckets, more: Buckets) -> None:
    """Add what `more` holds to `kept`, in place."""
    both = _COMBINE[series.shape]
    for bucket, value in more.items():
        kept[bucket] = both(kept[bucket], value) if bucket in kept else value
    if series.shape == "told":
        _forget_oldest(kept)


def undone(kept: Buckets) -> Buckets:
    """Return a series of the shape `told` without the last word; empty where that was the only one."""
    return dict.fromkeys(sorted(kept)[:-1], 1)


def retimed(series: Series, kept: Buckets, moved: Mapping[int, int]) -> Buckets:
    """Return a series of the shape `told` with each word at the second that `moved` puts in place of its own."""
    step = 2 * len(series.values)
    seconds = {cell: cell // step for cell in kept}
    return {cell + (moved.get(at, at) - at) * step: 1 for cell, at in seconds.items()}


def _forget_oldest(kept: Buckets) -> None:
    for cell in sorted(kept)[:-MOST_TOLD]:
        del kept[cell]


def corrected(series: Series, code: int, now: int) -> Buckets:
    """Return a series of the shape `c`, `l`, `told` or `earliest` that knows one event alone: of `code`, at `now`."""
    size, bucket = len(series.values), now // series.seconds
    if series.shape == "told":
        return {(now * size + code) * 2 + 1: 1}
    if series.shape == "l":
        return {0: now * size + code}
    if series.shape == "earliest":
        return {bucket: now % series.seconds * size + code}
    return {bucket * size + code: 1}


def adder(series: Series) -> Adder:
    """Return what adds one event to the buckets of `series`, in place."""
    if series.event.startswith(ATTRIBUTES):
        return _said(series)
    if series.shape in ("c", "l", "earliest"):
        return _coded(series)
    if series.shape in ("s", "filled", "least", "greatest"):
        return _numeric(series)
    seconds, field, slots = series.seconds, series.field, series.slots

    def count(kept: Buckets, bucket: int, event: Event) -> None:
        kept[bucket] = kept.get(bucket, 0) + 1

    def half_hours(kept: Buckets, bucket: int, event: Event) -> None:
        kept[bucket] = kept.get(bucket, 0) | 1 << event.time % seconds // HALF_HOUR

    def hashed(kept: Buckets, bucket: int, event: Event) -> None:
        if value := getattr(event, field):
            kept[bucket] = kept.get(bucket, 0) | 1 << slot(value, slots)

    return {"n": count, "half_hours": half_hours, "slots": hashed}[series.shape]


def _numeric(series: Series) -> Adder:
    field = series.field

    def total(kept: Buckets, bucket: int, event: Event) -> None:
        value = getattr(event, field)
        if value is not None:
            kept[bucket] = kept.get(bucket, 0) + value

    def filled(kept: Buckets, bucket: int, event: Event) -> None:
        if getattr(event, field) not in _ABSENT:
            kept[bucket] = kept.get(bucket, 0) + 1

    def least(kept: Buckets, bucket: int, event: Event) -> None:
        value = getattr(event, field)
        if value is not None and value < kept.get(bucket, value + 1):
            kept[bucket] = value

    def greatest(kept: Buckets, bucket: int, event: Event) -> None:
        value = getattr(event, field)
        if value is not None and value > kept.get(bucket, -1):
            kept[bucket] = value

    return {"s": total, "filled": filled, "least": least, "greatest": greatest}[series.shape]


def ordered(value: float) -> int:
    """Return the float32 nearest to `value` as an integer of 32 bits that is greater where the number is."""
    (bits,) = unpack_bits("<i", pack_bits("<f", value))
    return int(bits ^ 0x7FFFFFFF if bits < 0 else bits) + (1 << 31)


def unordered(bits: int) -> float:
    """Return the float32 that `ordered` turned into `bits`."""
    signed = bits - (1 << 31)
    (value,) = unpack_bits("<f", pack_bits("<i", signed ^ 0x7FFFFFFF if signed < 0 else signed))
    return float(value)


def _said(series: Series) -> Adder:
    """Of what is told or imported. A value that is not listed, or of another type, counts as nothing."""
    size = len(series.values)
    codes: dict[str | float, int] = {value: code for code, value in enumerate(series.values)}

    def number(kept: Buckets, bucket: int, said: Attribute) -> None:
        if not isinstance(said.value, str):
            kept[0] = max(kept.get(0, -1), said.time << 32 | ordered(said.value))

    def latest(kept: Buckets, bucket: int, said: Attribute) -> None:
        code = codes.get(said.value)
        if code is not None:
            kept[0] = max(kept.get(0, -1), said.time * size + code)

    def told(kept: Buckets, bucket: int, said: Attribute) -> None:
        code = codes.get(said.value)
        if code is not None:
            kept[(said.time * size + code) * 2 + said.holds] = 1
            if len(kept) > MOST_TOLD:
                _forget_oldest(kept)

    return {"l": latest, "number": number, "told": told}[series.shape]


def _coded(series: Series) -> Adder:
    seconds, field, size = series.seconds, series.field, len(series.values)
    codes = {value: code for code, value in enumerate(series.values)}

    def cells(kept: Buckets, bucket: int, event: Event) -> None:
        code = codes.get(getattr(event, field))
        if code is not None:
            cell = bucket * size + code
            kept[cell] = kept.get(cell, 0) + 1

    def latest(kept: Buckets, bucket: int, event: Event) -> None:
        code = codes.get(getattr(event, field))
        if code is not None:
            kept[0] = max(kept.get(0, -1), event.time * size + code)

    def earliest(kept: Buckets, bucket: int, event: Event) -> None:
        code = codes.get(getattr(event, field))
        if code is not None:
            found = event.time % seconds * size + code
            if found < kept.get(bucket, found + 1):
                kept[bucket] = found

    return {"c": cells, "l": latest, "earliest": earliest}[series.shape]


def flattened(series: Series, kept: Buckets, now: int) -> list[Any]:
    """Return what stands behind the series' key in a stored state, without the buckets that no window reaches any
    more; empty if nothing is left.

    That is `[first bucket, [integer, integer, ...]]`: of that bucket, the next, and so on; a negative one says how many
    buckets without anything are skipped. The shape `l` is `[[time, code]]`.
    """
    size, oldest = len(series.values), now // series.seconds - series.keep + 1
    if series.shape in ("l", "number"):
        time, code = divmod(kept.get(0, 0), size or 1 << 32)
        return [[time, code]] if kept and time // series.seconds >= oldest else []
    if series.shape == "told":
        oldest *= series.seconds * size * 2
    if series.shape == "c":
        oldest *= size
    buckets = sorted(bucket for bucket in kept if bucket >= oldest)
    if not buckets:
        return []
    flat, following = [], buckets[0]
    for bucket in buckets:
        if bucket != following:
            flat.append(following - bucket)
        flat.append(kept[bucket])
        following = bucket + 1
    return [buckets[0], flat]


def restored(series: Series, stored: Sequence[Any]) -> Buckets:
    """Return the buckets that `flattened` described, or `[[bucket, integer, bucket, integer ...]]`, the older form.

    Raises:
        TypeError, ValueError, IndexError: it describes nothing.
    """
    size = len(series.values)
    if series.shape in ("l", "number"):
        ((time, code),) = stored
        return {0: time * (size or 1 << 32) + code}
    if len(stored) == 2:
        bucket, flat = stored
        kept = {}
        for integer in flat:
            if integer < 0:
                bucket -= integer
            else:
                kept[bucket] = integer
                bucket += 1
        return kept
    (flat,) = stored
    pairs = zip(flat[::2], flat[1::2], strict=True)
    if series.shape != "c":
        return dict(pairs)
    return {
        bucket * size + code: events
        for bucket, counts in pairs
        for code, events in zip(counts[::2], counts[1::2], strict=True)
    }
