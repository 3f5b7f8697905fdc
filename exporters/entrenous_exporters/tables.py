"""Feature tables at scale: the central engine, point-in-time correct.

Computes for many as-of points at once the numbers that `entrenous.features.state` keeps for one visitor, to the bit:
what each kind means is written in `entrenous.features.declare`. Everything runs through Ibis expressions on DuckDB.

Here tables are checked, queries chosen and their answers put into columns; what is asked is in `_aggregates`.
"""

from __future__ import annotations

import shutil
import weakref
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import mkdtemp
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, NUMBER_FIELDS
from entrenous.features import (
    ANY,
    DECAY_SCALE,
    DERIVED,
    INTERPRETATIONS,
    KINDS,
    LATEST,
    PARTS,
    SECONDS,
    Feature,
    derived,
)
from entrenous_consent.errors import Malformed
from entrenous_exporters._aggregates import QUERIES, coding, parts_of, query_of
from entrenous_exporters.sources import WITHOUT_EXTENSIONS

__all__ = ["FeatureTable", "feature_table", "labels", "open_backend", "value_labels"]

Backend = Any
"""An Ibis backend (Ibis ships no types)."""
Expression = Any
"""An Ibis table expression."""

_DAY = SECONDS["day"]
_TYPES = {**dict.fromkeys(NUMBER_FIELDS, "integer"), **dict.fromkeys(CATEGORY_FIELDS, "string")}
_EXACT_IN_A_FLOAT = 1 << 53


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


def open_backend(*, threads: int = 1, memory: str = "2GB") -> Backend:
    """Return an in-memory DuckDB behind Ibis that downloads no extension and keeps UTC.

    Args:
        threads: how many it may use. memory: what it may hold; what is beyond goes to a folder that nobody else can
            read, and that goes with the backend.
    """
    folder = mkdtemp(prefix="entrenous-")
    backend = ibis.duckdb.connect(
        threads=threads,
        memory_limit=memory,
        temp_directory=folder,
        **WITHOUT_EXTENSIONS,
    )
    weakref.finalize(backend, shutil.rmtree, folder, ignore_errors=True)
    return backend


def feature_table(
    backend: Backend,
    schema: Sequence[Feature],
    events: Expression,
    moments: Expression,
    attributes: Expression | None = None,
) -> FeatureTable:
    """Return the vectors of `schema` at every moment, each from the events up to and including its second.

    Args:
        backend: from `open_backend`; `events` and `moments` are its tables, or memtables.
        schema: from `parse_schema`.
        events: columns `visitor` (text), `time` (integer Unix seconds), `name`, and those that the schema reads
            among `price`, `value`, `quantity` (integers, minor units for money) and `brand`, `category`, `colour`,
            `item`, `size` (text). Where there is a column `id`, of a visitor's rows with one id only the earliest
            counts; null and empty are none.
        moments: columns `row` (integer, unique), `visitor`, `time` (the as-of, integer Unix seconds), and one for
            each supplied `context` field: numbers, or text where the feature lists `values`.
        attributes: what was told or imported: columns `visitor`, `time`, `name` (`told:` or `imported:` and the field),
            `value` (text; a number as it is written), and `holds`, false where something was taken back. None where the
            schema asks for nothing of the kind.

    Raises:
        Malformed: a column is missing or of another type, a `row` stands twice, or a moment lacks its visitor or time.
    """
    stored = {at: feature for at, feature in enumerate(schema) if feature.kind != "context"}
    parts = dict.fromkeys(part for feature in stored.values() for part in parts_of(feature))
    read = {part.field: _TYPES[part.field] for part in parts if part.field and part.kind not in LATEST}
    supplied = {
        feature.field: "string" if feature.values else "number"
        for feature in schema
        if feature.kind == "context" and feature.field not in DERIVED
    }
    _check_columns("events", events, {"visitor": "string", "time": "integer", "name": "string", **read})
    asked = _moments(backend, moments, supplied)
    order = asked["row"].to_numpy()
    rows = np.full((len(order), len(schema)), np.nan, dtype=np.float32)
    moved: dict[str, int] = {}
    for at, feature in enumerate(schema):
        if feature.kind == "context":
            rows[:, at], moved[feature.name] = _context(feature, asked)
    columns = {f"p{i}": part for i, part in enumerate(parts)}
    said = _attributes(attributes, stored.values())
    with (
        _held(backend, ibis.memtable(asked.select(["row", "visitor", "as_of"]))) as points,
        _held(backend, _relevant(events, points, parts, read)) as known,
    ):
        found = _answers(backend, points, known, said, columns)
    answers = {part: found[column] for column, part in columns.items()}
    for at, feature in stored.items():
        rows[:, at] = _values(feature, order, [(part, answers[part]) for part in parts_of(feature)])
    return FeatureTable(rows=rows, names=tuple(feature.name for feature in schema), moved=moved)


def labels(
    backend: Backend, events: Expression, moments: Expression, *, event: str, within_days: int
) -> NDArray[np.bool_]:
    """Return `[N]`: whether an `event` follows each moment, by ascending `row`, within so many days.

    Counted is `as_of < time <= as_of + within_days * 86400`: nothing that a feature may see. With the event `ANY`, who
    is not labelled has churned. The caller leaves out moments whose horizon reaches past the end of the log.

    Raises:
        Malformed: as `feature_table`, or `event` is not a known name.
    """
    heard = _awaited(events, event, within_days, {})
    asked = _moments(backend, moments, {})
    with _held(backend, ibis.memtable(asked)) as points:
        followed = points.semi_join(heard, _after(points, heard, within_days))
        found = backend.to_pyarrow(followed.select("row"))
    return np.isin(asked["row"].to_numpy(), found["row"].to_numpy())


def value_labels(
    backend: Backend, events: Expression, moments: Expression, *, event: str, field: str, within_days: int
) -> NDArray[np.int64]:
    """Return `[N]` int64: the sum of `field` over each `event` that follows a moment, as `labels` counts them.

    Raises:
        Malformed: as `labels`, or `field` holds no numbers.
    """
    if field not in NUMBER_FIELDS:
        remedy = "use one of: " + ", ".join(NUMBER_FIELDS)
        raise Malformed("is no field of numbers", place="label.field", remedy=remedy)
    heard = _awaited(events, event, within_days, {field: "integer"})
    asked = _moments(backend, moments, {})
    order = asked["row"].to_numpy()
    sums = np.zeros(len(order), dtype=np.int64)
    with _held(backend, ibis.memtable(asked.select(["row", "visitor", "as_of"]))) as points:
        followed = points.join(heard, _after(points, heard, within_days))
        total = followed.group_by("row").aggregate(total=followed[field].sum().fill_null(0).cast("int64"))
        found = backend.to_pyarrow(total)
    sums[np.searchsorted(order, found["row"].to_numpy())] = found["total"].to_numpy()
    return sums


def _awaited(events: Expression, event: str, within_days: object, read: Mapping[str, str]) -> Expression:
    """Return the events that a label waits for, each once."""
    if event not in EVENT_NAMES and event != ANY:
        raise Malformed("is not an event we know", place="label.event", remedy="use a GA4 e-commerce name, or any")
    if isinstance(within_days, bool) or not isinstance(within_days, int) or within_days < 1:
        raise Malformed("expected a whole number of days", place="label.within_days", remedy="give 1 or more")
    _check_columns("events", events, {"visitor": "string", "time": "integer", "name": "string", **read})
    return _once(_named(events, {event}, read), read)


def _after(points: Expression, events: Expression, within_days: int) -> list[Any]:
    return [
        points.visitor == events.visitor,
        events.time > points.as_of,
        events.time <= points.as_of + within_days * _DAY,
    ]


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
        return np.asarray(derived(feature.field, asked["as_of"].to_numpy()), dtype=np.float32), 0
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


Answer = tuple[NDArray[np.int64], pa.ChunkedArray]
"""Rows, and what a query found for each."""


def _attributes(attributes: Expression | None, stored: Collection[Feature]) -> Expression | None:
    """Return what was told or imported, checked, with `holds`."""
    wanting = [feature.name for feature in stored if feature.kind in LATEST]
    if not wanting:
        return None
    if attributes is None:
        remedy = f"bring the table that {wanting[0]} is read from"
        raise Malformed("are missing", place="attributes", remedy=remedy)
    wanted = {"visitor": "string", "time": "integer", "name": "string", "value": "string"}
    _check_columns("attributes", attributes, wanted)
    holds = attributes.holds.fill_null(True) if "holds" in attributes.columns else ibis.literal(True)
    return attributes.select("visitor", "name", "value", time=attributes.time.cast("int64"), holds=holds)


def _answers(
    backend: Backend, points: Expression, known: Expression, said: Expression | None, parts: Mapping[str, Feature]
) -> dict[str, Answer]:
    """Return what the queries find for each of `parts`, each query asked once."""
    together: dict[tuple[Any, ...], dict[str, Feature]] = defaultdict(dict)
    for column, part in parts.items():
        together[query_of(part)][column] = part
    answers: dict[str, Answer] = {}
    for (query, event, seconds, *coded), mine in together.items():
        part = next(iter(mine.values()))
        if said is not None and part.kind in LATEST:
            heard = said.filter(said.name == event).rename({part.field: "value"})
        else:
            heard = known if event == ANY else known.filter(known.name == event)
        if coded:
            heard = coding(heard, part, lambda column: _met(backend, column))
        found = backend.to_pyarrow(QUERIES[query](points, heard, seconds, mine))
        answers |= {column: (found["row"].to_numpy(), found[column]) for column in mine}
    return answers


def _met(backend: Backend, column: Expression) -> list[str]:
    """Return the distinct values of a column of text."""
    values: list[str] = backend.to_pyarrow(column.as_table().distinct())[0].to_pylist()
    return values


def _values(feature: Feature, order: NDArray[np.int64], parts: Sequence[tuple[Feature, Answer]]) -> NDArray[np.float64]:
    """Return the numbers of a feature at every row of `order`; a query's null is the nothing of `declare`."""
    if feature.kind in INTERPRETATIONS:
        return _interpreted(feature, order, parts)
    ((_, answer),) = parts
    found = _spread(order, answer, 0 if KINDS[feature.kind].zero else np.nan)
    return np.asarray(found / DECAY_SCALE if feature.kind == "decayed_sum" else found, dtype=np.float64)


def _interpreted(
    feature: Feature, order: NDArray[np.int64], parts: Sequence[tuple[Feature, Answer]]
) -> NDArray[np.float64]:
    """Return what an interpretation makes of its parts: the runtime's own function, once for equal rows, of integers
    where the runtime has integers."""
    kinds, number = {**KINDS, **PARTS}, INTERPRETATIONS[feature.kind].number(feature)
    whole = [kinds[part.kind].zero for part, _ in parts]
    columns = [_spread(order, answer, 0 if zero else np.nan) for (_, answer), zero in zip(parts, whole, strict=True)]

    def made(rows: Iterable[Sequence[Any]]) -> NDArray[np.float64]:
        told = (
            number(*[int(value) if zero else value for value, zero in zip(row, whole, strict=True)]) for row in rows
        )
        return np.fromiter(told, dtype=np.float64)

    if any(column.dtype == object for column in columns):
        return made(zip(*[column.tolist() for column in columns], strict=True))
    rows = np.column_stack(columns)
    _, first, place = np.unique(
        rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel(), return_index=True, return_inverse=True
    )
    return made(rows[first].tolist())[place]


def _spread(order: NDArray[np.int64], answer: Answer, nothing: float) -> NDArray[Any]:
    """Return a number for every row of `order`: as a float, or as Python's integer where a float would round one.

    Python divides integers of any size with one rounding, as the runtime does.
    """
    rows, column = answer
    hit = np.searchsorted(order, rows)
    floats = np.full(len(order), nothing, dtype=np.float64)
    floats[hit] = column.cast(pa.float64(), safe=False).fill_null(nothing).to_numpy()
    if not (floats >= _EXACT_IN_A_FLOAT).any():
        return floats
    exact = np.zeros(len(order), dtype=object)
    exact[hit] = [int(number or 0) for number in column.to_pylist()]
    return exact


@contextmanager
def _held(backend: Backend, expression: Expression) -> Iterator[Expression]:
    """Compute `expression` once into a temporary table that lives as long as the block."""
    name = ibis.util.gen_name("entrenous")
    held = backend.create_table(name, expression, temp=True)
    try:
        yield held
    finally:
        backend.drop_table(name, force=True)


def _relevant(
    events: Expression, points: Expression, parts: Collection[Feature], read: Mapping[str, str]
) -> Expression:
    """Return what some part can see: each event once, without the columns that none reads."""
    kept = _named(events, {part.event for part in parts}, read)
    return _once(kept.semi_join(points, [kept.visitor == points.visitor]), read)


def _named(events: Expression, names: set[str], read: Mapping[str, str]) -> Expression:
    """Return the events of these names, with the columns that are read alone and integers at full width."""
    wanted = sorted(EVENT_NAMES if ANY in names else names)
    columns = {
        column: events[column].cast("int64") if sort == "integer" else events[column]
        for column, sort in {"time": "integer", **read}.items()
    }
    if "id" in events.columns:
        columns["id"] = events.id.cast("string")
    return events.filter(events.name.isin(wanted)).select("visitor", "name", **columns)


def _once(events: Expression, read: Mapping[str, str]) -> Expression:
    """Return `events` without duplicates: of a visitor's rows with one id, the earliest."""
    if "id" not in events.columns:
        return events
    events = events.mutate(
        place=ibis.row_number().over(group_by=["visitor", "id"], order_by=["time", "name", *sorted(read)])
    )
    return events.filter((events.id.fill_null("") == "") | (events.place == 0)).drop("id", "place")
