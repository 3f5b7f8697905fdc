"""What DuckDB is asked for: one query for each way of aggregating, over many moments at once.

A moment sees whole buckets of its past and a part of its own. The past is therefore summed once a (visitor, bucket) and
then joined; raw events are joined only within the moment's own bucket. Sums are integers from end to end, decimals of
38 digits where a decay weight multiplies them: never a float, whose last bits depend on the order.

Some numbers are made of others. They are asked for as *parts*, declarations of simpler kinds, and made afterwards as
`entrenous.features.interpret` says. Parts that are equal are asked for once, whichever features they are of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ibis
import pyarrow as pa

from entrenous.events import attribute_name
from entrenous.features import HALF_HOUR, LATEST, SECONDS, Feature, decay_weights, derived, interpret, slot

__all__ = ["QUERIES", "coding", "parts_of", "query_of"]

Expression = Any
"""An Ibis expression."""
Measures = Callable[[Expression], dict[str, Any]]
Parts = Mapping[str, Feature]
"""What one query answers: its columns and what each is."""

_EXACT = "decimal(38, 0)"
_DAY, _SATURDAY = SECONDS["day"], 5
_FLOAT32 = 3.4028234e38
_QUERY = {
    "first": "edges",
    "last": "edges",
    "pause": "pauses",
    "session_length": "runs",
    "sessions": "sessions",
    "streak": "runs",
    **dict.fromkeys(("affinity", "chosen", "distinct", "listed", "squared", "top"), "codes"),
    **dict.fromkeys(LATEST, "said"),
}


def parts_of(feature: Feature) -> tuple[Feature, ...]:
    """Return what a feature is asked for as: its parts, or itself. What changes no number, such as its name, is left
    out, so that equal parts are equal."""
    parts = interpret.parts_of(feature) or (feature,)
    return tuple(replace(part, name="", purpose="", category="", source="", retention_days=0) for part in parts)


def query_of(part: Feature) -> tuple[Any, ...]:
    """Return what tells the queries apart: parts with the same are answered by one. The first is its name in `QUERIES`,
    the second the event, the third the seconds of a bucket."""
    if part.kind in LATEST:
        return "said", attribute_name(part.kind, part.field), SECONDS[part.unit], part
    seconds = HALF_HOUR if part.kind == "session_length" else SECONDS[part.unit]
    coded = (part.field, part.listed, part.slots) if part.listed or part.slots else ()
    return (_QUERY.get(part.kind, "numbers"), part.event, seconds, *coded)


def coding(events: Expression, part: Feature, met: Callable[[Expression], list[str]]) -> Expression:
    """Return the events whose field holds a value that is told apart, with its `code`.

    Args:
        met: returns the distinct values of a column of `events`.
    """
    if part.kind == "imported" and not part.listed:
        number = events[part.field].try_cast("float64").cast("float32")
        return events.mutate(code=number).filter(number.abs() <= _FLOAT32)
    if part.slots:
        values = [value for value in met(events[part.field]) if value]
        codes = [slot(value, part.slots) for value in values]
    else:
        values, codes = list(part.listed), list(range(len(part.listed)))
    known = ibis.memtable(pa.table({"known": pa.array(values, pa.string()), "code": pa.array(codes, pa.int64())}))
    return events.join(known, [events[part.field] == known.known]).drop("known")


def _seen(
    points: Expression,
    events: Expression,
    seconds: int,
    window: int,
    measures: Measures,
    by: tuple[str, ...] = (),
) -> Expression:
    """Return `row`, `now`, `age`, `by` and the measures: one line for each bucket that a moment sees, age 0 its own."""
    # Ibis divides as floats and floors: exact, since a second is far more than the last bit of time / seconds.
    points = points.mutate(now=(points.as_of // seconds).cast("int64"))
    events = events.mutate(bucket=(events.time // seconds).cast("int64"))
    buckets = events.group_by("visitor", "bucket", *by).aggregate(**measures(events))
    past = points.join(
        buckets,
        [
            points.visitor == buckets.visitor,
            buckets.bucket < points.now,
            buckets.bucket > points.now - window,
        ],
    )
    own = points.join(
        events,
        [points.visitor == events.visitor, points.now == events.bucket, events.time <= points.as_of],
    )
    partial = own.group_by("row", "now", *by).aggregate(**measures(own))
    columns = ("row", "now", "age", *by, *measures(events))
    whole = past.mutate(age=past.now - past.bucket).select(*columns)
    return whole.union(partial.mutate(age=ibis.literal(0, "int64")).select(*columns))


def _longest(parts: Parts) -> int:
    return max(part.window for part in parts.values())


def _counted(table: Expression) -> dict[str, Any]:
    return {"n": table.count()}


def _weights(part: Feature) -> Any:
    return ibis.literal(decay_weights(part.half_life, part.window), "array<int64>")


def _numbers(points: Expression, events: Expression, seconds: int, parts: Parts) -> Expression:
    measured = {"decayed_sum": "sum", "filled": "filled", "max": "max", "min": "min", "sum": "sum"}
    wanted = sorted({(measured[part.kind], part.field) for part in parts.values() if part.kind in measured})
    decayed = sorted({part.field for part in parts.values() if part.kind == "decayed_sum"})
    ways = {
        "sum": lambda column: column.sum().fill_null(0),
        "filled": lambda column: (column != "").sum().fill_null(0) if column.type().is_string() else column.count(),
        "max": lambda column: column.max(),
        "min": lambda column: column.min(),
    }

    def measures(table: Expression) -> dict[str, Any]:
        return _counted(table) | {f"{way}_{field}": ways[way](table[field]) for way, field in wanted}

    seen = _seen(points, events, seconds, _longest(parts), measures)
    seen = seen.mutate(**{f"exact_{field}": seen[f"sum_{field}"].cast(_EXACT) for field in decayed})

    def total(part: Feature) -> Any:
        within = seen.age < part.window
        match part.kind:
            case "count":
                return seen.n.sum(where=within)
            case "days":
                return seen.count(where=within)
            case "recency":
                return seen.age.min(where=within)
            case "age":
                return seen.age.max(where=within)
            case "peak":
                return seen.n.max(where=within)
            case "weekend_days":
                return seen.count(where=within & (derived("weekday", (seen.now - seen.age) * _DAY) >= _SATURDAY))
            case "sum" | "filled":
                return seen[f"{part.kind}_{part.field}"].sum(where=within)
            case "min":
                return seen[f"min_{part.field}"].min(where=within)
            case "max":
                return seen[f"max_{part.field}"].max(where=within)
        return (seen[f"exact_{part.field}"] * _weights(part)[seen.age]).sum(where=within)

    return seen.group_by("row").aggregate(**{column: total(part) for column, part in parts.items()})


def _runs(points: Expression, events: Expression, seconds: int, parts: Parts) -> Expression:
    """The run of consecutive buckets that ends at the latest: how long it is, or how many events it holds."""
    windows = {column: part.window * SECONDS[part.unit] // seconds for column, part in parts.items()}
    seen = _seen(points, events, seconds, max(windows.values()), _counted)
    seen = seen.mutate(
        place=ibis.row_number().over(group_by="row", order_by="age"), latest=seen.age.min().over(group_by="row")
    )
    seen = seen.mutate(running=seen.age - seen.place == seen.latest)

    def total(column: str, part: Feature) -> Any:
        within = seen.running & (seen.age < windows[column])
        if part.kind == "streak":
            return seen.count(where=within)
        return seen.n.sum(where=within & (seen.latest <= 1))

    return seen.group_by("row").aggregate(**{column: total(column, part) for column, part in parts.items()})


def _pauses(points: Expression, events: Expression, seconds: int, parts: Parts) -> Expression:
    """The most buckets from one with an event to the next."""
    seen = _seen(points, events, seconds, _longest(parts), _counted)
    seen = seen.mutate(before=seen.age.lead().over(group_by="row", order_by="age"))
    pause = seen.before - seen.age
    return seen.group_by("row").aggregate(
        **{column: pause.max(where=seen.before < part.window) for column, part in parts.items()}
    )


def _said(points: Expression, said: Expression, seconds: int, parts: Parts) -> Expression:
    """The code, or the number, of what was said last; of several in one second the greatest, and what holds first."""
    ((column, part),) = parts.items()
    known = points.join(said, [points.visitor == said.visitor, said.time <= points.as_of])
    known = known.filter((known.as_of // seconds).cast("int64") - (known.time // seconds).cast("int64") < part.window)
    if part.kind == "asked":
        known = known.filter(known.code == part.listed.index(part.value))
    order = [known.time.desc(), known.code.desc(), known.holds.desc()]
    last = known.mutate(place=ibis.row_number().over(group_by="row", order_by=order))
    last = last.filter(last.place == 0)
    found = last.holds.cast("int64") if part.kind == "asked" else last.code
    return last.filter(last.holds | (part.kind != "told")).select("row", **{column: found.cast("float64")})


def _sessions(points: Expression, events: Expression, seconds: int, parts: Parts) -> Expression:
    """Half-hours with an event that no such half-hour precedes."""
    a_day = seconds // HALF_HOUR
    events = events.mutate(half=(events.time % seconds // HALF_HOUR).cast("int64"))
    seen = _seen(points, events, seconds, _longest(parts), _counted, by=("half",))
    seen = seen.mutate(ago=seen.age * a_day - seen.half)
    earlier = {"group_by": "row", "order_by": "ago"}
    seen = seen.mutate(before=seen.ago.lead().over(**earlier), day_before=seen.age.lead().over(**earlier))

    def total(part: Feature) -> Any:
        follows = (seen.before == seen.ago + 1) & (seen.day_before < part.window)
        return seen.count(where=(seen.age < part.window) & ~follows.fill_null(False))

    return seen.group_by("row").aggregate(**{column: total(part) for column, part in parts.items()})


def _edges(points: Expression, events: Expression, seconds: int, parts: Parts) -> Expression:
    """The code of the latest event and of the earliest."""
    size = len(next(iter(parts.values())).listed)

    def measures(table: Expression) -> dict[str, Any]:
        # Time first, then code: of two in one second the greatest key has the higher code, the least the lower.
        key = table.time * size + table.code
        return {"latest": key.max(), "earliest": key.min()}

    seen = _seen(points, events, seconds, _longest(parts), measures)

    def total(part: Feature) -> Any:
        within = seen.age < part.window
        key = seen.latest.max(where=within) if part.kind == "last" else seen.earliest.min(where=within)
        return key % size

    return seen.group_by("row").aggregate(**{column: total(part) for column, part in parts.items()})


def _codes(points: Expression, events: Expression, seconds: int, parts: Parts) -> Expression:
    """What is counted or weighed code by code. The null of a code is that the window holds no event of it."""
    seen = _seen(points, events, seconds, _longest(parts), _counted, by=("code",))

    def weight(part: Feature) -> Any:
        events = seen.n * _weights(part)[seen.age] if part.kind == "affinity" else seen.n
        return events.sum(where=seen.age < part.window)

    codes = seen.group_by("row", "code").aggregate(**{column: weight(part) for column, part in parts.items()})

    def total(column: str, part: Feature) -> Any:
        size = len(part.listed)
        match part.kind:
            case "chosen":
                return codes[column].sum(where=codes.code == part.listed.index(part.value))
            case "listed":
                return codes[column].sum()
            case "distinct":
                return codes.count(where=codes[column].notnull())
            case "squared":
                return (codes[column] * codes[column]).sum()
        # Weight first, then the code from above: the greatest key has the most weight, of equals the lower code.
        key = codes[column].cast(_EXACT) * size + (size - 1 - codes.code)
        found = key.max() if part.rank < 2 else key.collect(order_by=key.desc())[part.rank - 1]
        return size - 1 - (found % size).cast("int64")

    return codes.group_by("row").aggregate(**{column: total(column, part) for column, part in parts.items()})


QUERIES: Mapping[str, Callable[[Expression, Expression, int, Parts], Expression]] = {
    "codes": _codes,
    "edges": _edges,
    "numbers": _numbers,
    "pauses": _pauses,
    "runs": _runs,
    "said": _said,
    "sessions": _sessions,
}
"""Each returns `row` and the columns of its parts, for moments that see something at all."""
