"""Feature tables at scale: the central engine, point-in-time correct.

Computes for many as-of points at once the numbers that `entrenous.features.state` keeps for one visitor, to the bit:
what each kind means is written in `entrenous.features.declare`. Everything runs through Ibis expressions on DuckDB.

An as-of point (a *moment*) sees whole buckets of its past and a part of its own. The past is therefore summed once a
(visitor, bucket) and then joined; raw events are joined only within the as-of's own bucket. Sums are integers from end
to end, decimals of 38 digits where a decay weight multiplies them: never a float, whose last bits depend on the order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from entrenous.events import EVENT_NAMES
from entrenous.features import DECAY_SCALE, DERIVED, SECONDS, Feature, decay_weights
from entrenous_consent.errors import Malformed

__all__ = ["FeatureTable", "feature_table", "labels", "open_backend"]

Backend = Any
"""An Ibis backend (Ibis ships no types)."""
Expression = Any
"""An Ibis table expression."""

_DAY = SECONDS["day"]
_NUMERIC = ("count", "days", "decayed_sum", "recency", "sum")
_ZERO_OF_NOTHING = frozenset({"count", "days", "decayed_sum", "sum"})
_EXACT = "decimal(38, 0)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureTable:
    """A schema's vectors at many as-of points.

    Attributes:
        rows: `[N, F]` float32, one vector for each moment by ascending `row`; absent is NaN.
        names: the `F` features' names, in the schema's order.
        moved: for each supplied number, by feature, in how many rows float32 changed a whole number. Fractions are
            rounded here as they are when a decision brings them.
    """

    rows: NDArray[np.float32]
    names: tuple[str, ...]
    moved: Mapping[str, int]


def open_backend(*, threads: int = 1) -> Backend:
    """Return an in-memory DuckDB behind Ibis that downloads no extension and keeps UTC."""
    return ibis.duckdb.connect(threads=threads, autoinstall_known_extensions=False, autoload_known_extensions=False)


def feature_table(backend: Backend, schema: Sequence[Feature], events: Expression, moments: Expression) -> FeatureTable:
    """Return the vectors of `schema` at every moment, each from the events up to and including its second.

    Args:
        backend: from `open_backend`; `events` and `moments` are its tables, or memtables.
        schema: from `parse_schema`.
        events: columns `visitor` (text), `time` (integer Unix seconds), `name`, and those that the schema reads
            among `price`, `value`, `quantity` (integers, minor units for money) and `brand`, `category` (text).
        moments: columns `row` (integer, unique), `visitor`, `time` (the as-of, integer Unix seconds), and one for
            each supplied `context` field: numbers, or text where the feature lists `values`.

    Raises:
        Malformed: a column is missing or of another type, a `row` stands twice, or a moment lacks its visitor or time.
    """
    read = {feature.field: "integer" for feature in schema if feature.kind in ("sum", "decayed_sum")}
    read |= {feature.field: "string" for feature in schema if feature.kind in ("last", "top")}
    supplied = {
        feature.field: "string" if feature.values else "number"
        for feature in schema
        if feature.kind == "context" and feature.field not in DERIVED
    }
    _check_columns("events", events, {"visitor": "string", "time": "integer", "name": "string", **read})
    asked = _moments(backend, moments, supplied)
    order = asked["row"].to_numpy()
    rows = np.full((len(order), len(schema)), np.nan, dtype=np.float32)
    stored: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    moved: dict[str, int] = {}
    for at, feature in enumerate(schema):
        if feature.kind == "context":
            rows[:, at], moved[feature.name] = _context(feature, asked)
        else:
            rows[:, at] = 0 if feature.kind in _ZERO_OF_NOTHING else np.nan
            shape = "number" if feature.kind in _NUMERIC else feature.kind
            coded = (feature.field, feature.values) if shape != "number" else ()
            stored[(shape, feature.event, feature.unit, *coded)].append(at)
    names = sorted({feature.event for feature in schema if feature.event})
    with (
        _held(backend, ibis.memtable(asked.select(["row", "visitor", "as_of"]))) as points,
        _held(backend, _relevant(events, points, names, read)) as known,
    ):
        for (shape, event, unit, *_), places in stored.items():
            query = _QUERIES[shape]
            mine = {at: schema[at] for at in places}
            found = backend.to_pyarrow(query(points, known.filter(known.name == event), SECONDS[unit], mine))
            hit = np.searchsorted(order, found["row"].to_numpy())
            for at, feature in mine.items():
                rows[hit, at] = _values(feature, found[f"f{at}"])
    return FeatureTable(rows=rows, names=tuple(feature.name for feature in schema), moved=moved)


def labels(
    backend: Backend, events: Expression, moments: Expression, *, event: str, within_days: int
) -> NDArray[np.bool_]:
    """Return `[N]`: whether an `event` follows each moment, by ascending `row`, within so many days.

    Counted is `as_of < time <= as_of + within_days * 86400`. The caller leaves out moments whose horizon reaches past
    the end of the log.

    Raises:
        Malformed: as `feature_table`, or `event` is not a known name.
    """
    if event not in EVENT_NAMES:
        raise Malformed("is not an event we know", place="label.event", remedy="use a GA4 e-commerce name")
    if isinstance(within_days, bool) or not isinstance(within_days, int) or within_days < 1:
        raise Malformed("expected a whole number of days", place="label.within_days", remedy="give 1 or more")
    _check_columns("events", events, {"visitor": "string", "time": "integer", "name": "string"})
    asked = _moments(backend, moments, {})
    times = events.filter(events.name == event).select("visitor", "time").distinct()
    with _held(backend, ibis.memtable(asked)) as points:
        followed = points.semi_join(
            times,
            [
                points.visitor == times.visitor,
                times.time > points.as_of,
                times.time <= points.as_of + within_days * _DAY,
            ],
        )
        found = backend.to_pyarrow(followed.select("row"))
    return np.isin(asked["row"].to_numpy(), found["row"].to_numpy())


def _check_columns(place: str, table: Expression, wanted: Mapping[str, str]) -> None:
    held = table.schema()
    for column, sort in wanted.items():
        if column not in held:
            raise Malformed("is missing", place=f"{place}.{column}", remedy="add the column")
        kind = held[column]
        fits = {
            "string": kind.is_string(),
            "integer": kind.is_integer(),
            "number": kind.is_integer() or kind.is_floating(),
        }
        if not fits[sort]:
            article = "numbers" if sort == "number" else f"{sort} values"
            raise Malformed(f"expected {article}", place=f"{place}.{column}", remedy="cast the column first")


def _moments(backend: Backend, moments: Expression, supplied: Mapping[str, str]) -> pa.Table:
    """Return the checked moments by ascending `row`: `row`, `visitor`, `as_of` and the supplied columns."""
    wanted = {"row": "integer", "visitor": "string", "time": "integer"}
    _check_columns("moments", moments, wanted | dict(supplied))
    columns = {
        "row": moments.row.cast("int64"),
        "visitor": moments.visitor,
        "as_of": moments.time.cast("int64"),
    }
    columns |= {_column(field): moments[field] for field in supplied}
    asked = backend.to_pyarrow(moments.select(**columns).order_by("row"))
    for column, theirs in (("row", "row"), ("visitor", "visitor"), ("as_of", "time")):
        if asked[column].null_count:
            raise Malformed("holds a null", place=f"moments.{theirs}", remedy="fill it in or drop the row")
    if len(pc.unique(asked["row"])) != len(asked):
        raise Malformed("names a row twice", place="moments.row", remedy="number the moments, each once")
    return asked


def _column(field: str) -> str:
    return f"context_{field}"


def _context(feature: Feature, asked: pa.Table) -> tuple[NDArray[np.float32], int]:
    """Return the column, and in how many rows float32 changed a whole number."""
    if feature.field in DERIVED:
        as_of = asked["as_of"].to_numpy()
        # Day 0 of Unix time was a Thursday.
        derived = as_of // 3600 % 24 if feature.field == "hour" else (as_of // _DAY + 3) % 7
        return np.asarray(derived, dtype=np.float32), 0
    column = asked[_column(feature.field)]
    if feature.values:
        column = pc.index_in(column, value_set=pa.array(feature.values, pa.string()))
    exact = column.cast(pa.float64(), safe=False).to_numpy()
    with np.errstate(over="ignore"):
        values = np.asarray(exact.astype(np.float32))
    whole = np.isfinite(exact) & (exact == np.floor(exact))
    moved = int((whole & (values != exact)).sum())
    values[~np.isfinite(values)] = np.nan
    return values, moved


def _values(feature: Feature, column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return what a query answered, as numbers; its null is the nothing of `declare`."""
    nothing = 0.0 if feature.kind in _ZERO_OF_NOTHING else np.nan
    if feature.kind == "decayed_sum":
        # Python divides integers of any size with one rounding, as the runtime does.
        exact = [nothing if total is None else int(total) / DECAY_SCALE for total in column.to_pylist()]
        return np.array(exact, dtype=np.float64)
    numbers = column.cast(pa.float64(), safe=False).fill_null(nothing).to_numpy()
    size = len(feature.values)
    if feature.kind == "last":
        return np.asarray(numbers % size)
    if feature.kind == "top":
        return np.asarray(size - 1 - numbers % size)
    return np.asarray(numbers)


@contextmanager
def _held(backend: Backend, expression: Expression) -> Iterator[Expression]:
    """Compute `expression` once into a temporary table that lives as long as the block."""
    name = ibis.util.gen_name("entrenous")
    held = backend.create_table(name, expression, temp=True)
    try:
        yield held
    finally:
        backend.drop_table(name, force=True)


def _relevant(events: Expression, points: Expression, names: list[str], read: Mapping[str, str]) -> Expression:
    """Return the events that some feature can see, without the columns that none reads, integers at full width."""
    columns = {
        column: events[column].cast("int64") if sort == "integer" else events[column]
        for column, sort in {"time": "integer", **read}.items()
    }
    kept = events.filter(events.name.isin(names)).select("visitor", "name", **columns)
    return kept.semi_join(points, [kept.visitor == points.visitor])


Measures = Callable[[Expression], dict[str, Any]]


def _seen(
    points: Expression,
    events: Expression,
    seconds: int,
    window: int,
    measures: Measures,
    by: tuple[str, ...] = (),
) -> Expression:
    """Return `row`, `age`, `by` and the measures: one line for each bucket that a moment sees, age 0 its own."""
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
    partial = own.group_by("row", *by).aggregate(**measures(own))
    columns = ("row", "age", *by, *measures(events))
    whole = past.mutate(age=past.now - past.bucket).select(*columns)
    return whole.union(partial.mutate(age=ibis.literal(0, "int64")).select(*columns))


def _numbers(points: Expression, events: Expression, seconds: int, features: Mapping[int, Feature]) -> Expression:
    fields = sorted({feature.field for feature in features.values() if feature.field})
    decayed = {feature.field for feature in features.values() if feature.kind == "decayed_sum"}

    def measures(table: Expression) -> dict[str, Any]:
        sums = {f"s_{field}": table[field].sum().fill_null(0) for field in fields}
        return {"n": table.count(), **sums}

    window = max(feature.window for feature in features.values())
    seen = _seen(points, events, seconds, window, measures)
    seen = seen.mutate(**{f"d_{field}": seen[f"s_{field}"].cast(_EXACT) for field in sorted(decayed)})

    def total(feature: Feature) -> Any:
        within = seen.age < feature.window
        match feature.kind:
            case "count":
                return seen.n.sum(where=within)
            case "days":
                return seen.count(where=within)
            case "recency":
                return seen.age.min(where=within)
            case "sum":
                return seen[f"s_{feature.field}"].sum(where=within)
        weights = ibis.literal(decay_weights(feature.half_life, feature.window), "array<int64>")
        return (seen[f"d_{feature.field}"] * weights[seen.age]).sum(where=within)

    return seen.group_by("row").aggregate(**{f"f{at}": total(feature) for at, feature in features.items()})


def _coded(events: Expression, feature: Feature) -> Expression:
    """Return the events whose field holds a listed value, with its `code`."""
    codes = ibis.memtable(
        pa.table({"listed": pa.array(feature.values, pa.string()), "code": range(len(feature.values))})
    )
    return events.join(codes, [events[feature.field] == codes.listed]).drop("listed")


def _last(points: Expression, events: Expression, seconds: int, features: Mapping[int, Feature]) -> Expression:
    one = next(iter(features.values()))
    size = len(one.values)
    # Time first, then code: the greatest key is the latest event, of two in one second the higher code.
    measures: Measures = lambda table: {"key": (table.time * size + table.code).max()}  # noqa: E731
    window = max(feature.window for feature in features.values())
    seen = _seen(points, _coded(events, one), seconds, window, measures)
    return seen.group_by("row").aggregate(
        **{f"f{at}": seen.key.max(where=seen.age < feature.window) for at, feature in features.items()}
    )


def _top(points: Expression, events: Expression, seconds: int, features: Mapping[int, Feature]) -> Expression:
    one = next(iter(features.values()))
    size = len(one.values)
    window = max(feature.window for feature in features.values())
    seen = _seen(points, _coded(events, one), seconds, window, lambda table: {"n": table.count()}, by=("code",))
    counts = seen.group_by("row", "code").aggregate(
        **{f"f{at}": seen.n.sum(where=seen.age < feature.window) for at, feature in features.items()}
    )
    # Count first, then the code from above: the greatest key has most events, of equals the lower code.
    return counts.group_by("row").aggregate(
        **{f"f{at}": (counts[f"f{at}"] * size + (size - 1 - counts.code)).max() for at in features}
    )


_QUERIES: Mapping[str, Callable[..., Expression]] = {"number": _numbers, "last": _last, "top": _top}
