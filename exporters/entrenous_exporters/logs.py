"""An event log with faults in it: the rows that hold are kept, the others are told by number and cause.

`entrenous_exporters.readers.read_events` refuses a file whole at the first thing wrong. Here a column that is missing,
or that nobody knows, still refuses it; a row at fault is left out, and counted under each cause. Nothing that a row
holds is ever told.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis

from entrenous.events import CATEGORY_FIELDS, EVENT_NAMES, LARGEST, LONGEST, MONEY_FIELDS, NUMBER_FIELDS
from entrenous_consent.errors import Malformed
from entrenous_exporters.readers import EARLIEST, EVENT_COLUMNS, LATEST, NAMED_ROWS, keep_table, reading, scan

__all__ = ["MANY_VALUES", "LogReport", "Refused", "read_log"]

MANY_VALUES = 1_000
"""More values than this in a category are told of."""

_WHOLE = "^ *-?[0-9]{1,18} *$"
_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_OFFSET = "(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why rows were left out: the column, what is wrong in it, how many rows, and the first of them (from 1)."""

    column: str
    what: str
    count: int
    rows: tuple[int, ...]

    @property
    def spoken(self) -> str:
        """How many rows, and the first of them."""
        more = ", …" if self.count > len(self.rows) else ""
        return f"{self.count:,} row{'s' if self.count > 1 else ''} ({', '.join(map(str, self.rows))}{more})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What came of a log's rows.

    Attributes:
        rows: of the file. kept: of the table. refused: by cause; a row may stand under several.
        repeated: rows that were left out because an earlier one of their visitor has the same id; None for none.
        currency: of the money that was kept, empty where the file has no such column.
        many: category columns with more than `MANY_VALUES` values, and how many they have.
    """

    rows: int
    kept: int
    repeated: Refused | None
    refused: tuple[Refused, ...]
    currency: str
    many: tuple[tuple[str, int], ...]

    @property
    def share(self) -> float:
        """The share of rows that were refused; a duplicate is none."""
        again = self.repeated.count if self.repeated else 0
        return (self.rows - self.kept - again) / self.rows if self.rows else 0.0

    def lines(self) -> list[str]:
        """Return the report in sentences; none where there is nothing to tell."""
        told = [f"left out: {one.column} is {one.what} in {one.spoken}" for one in self.refused]
        if self.repeated:
            told.append(f"left out: an id of their visitor is repeated in {self.repeated.spoken}")
        told += [
            f"{column} has {count:,} values: a feature reads those that it lists; group them, or list what matters"
            for column, count in self.many
        ]
        return told if not told else [f"{self.kept:,} of {self.rows:,} rows are kept", *told]

    def check(self, most: float, *, place: str) -> None:
        """Refuse a log of which too much was refused.

        Raises:
            Malformed: more than the share `most`; with the figures.
        """
        if self.share > most:
            what = f"holds too many rows at fault ({self.share:.1%} of {self.rows:,}, more than {most:.1%}): "
            remedy = "correct the rows, or raise data.most_refused"
            raise Malformed(what + "; ".join(self.lines()[1:]), place=place, remedy=remedy)


def read_log(backend: Any, path: str | Path, *, zone: str = "", currency: str = "") -> tuple[Any, LogReport]:
    """Return an event log as `read_events` does, without the rows that are at fault, and what came of them.

    `time` may be written after ISO 8601 with its offset beside Unix seconds, and there may be a column `currency`.

    Args:
        zone: `UTC` where a time without an offset is taken for that; else empty, and its row is refused.
        currency: of the money that is kept; empty for the one that most rows with money have.

    Raises:
        Missing: there is no such file. Malformed: it does not parse, or a column is missing, unknown or of a type that
            is not read.
    """
    path = Path(path)
    read = scan(backend, path)
    known = (*EVENT_COLUMNS, "currency")
    for column in ("visitor", "time", "name"):
        if column not in read.columns:
            raise Malformed("is missing", place=f"{path.name}: column {column}", remedy="add the column")
    for column, kind in read.schema().items():
        place = f"{path.name}: column {column[:32]}"
        if column not in known:
            raise Malformed("is not a column we know", place=place, remedy="remove it; known here: " + ", ".join(known))
        if not (kind.is_string() or kind.is_numeric() or kind.is_timestamp()):
            raise Malformed("is neither text, numbers nor times", place=place, remedy="write it as text")
    with reading(path.name):
        text = read.mutate(**{column: read[column].cast("string") for column in read.columns})
        text = keep_table(backend, text.mutate(_row=ibis.row_number() + 1))
        chosen = _currency(text, currency)
        faults = _faults(text, _moment(text.time, zone), chosen)
        marked = text.mutate(_bad=ibis.or_(*(wrong.fill_null(False) for _, _, wrong in faults)))
        typed = _typed(marked, zone)
        kept, repeated = _once(keep_table(backend, typed.filter(~typed["_bad"]).drop("_bad")))
        kept = keep_table(backend, kept.order_by("_row"))
        report = LogReport(
            rows=_number(text.count()),
            kept=_number(kept.count()),
            repeated=repeated,
            refused=_refused(text, faults),
            currency=chosen,
            many=_many(kept),
        )
    return kept.drop("_row"), report


def _number(expression: Any) -> int:
    return int(expression.to_pyarrow().as_py() or 0)


def _money(table: Any) -> list[Any]:
    return [table[column].notnull() for column in MONEY_FIELDS if column in table.columns]


def _currency(text: Any, declared: str) -> str:
    """Return which currency is kept: the declared one, or that of most rows with money, of equals the first by name;
    `none`, which no row has, where no row names any."""
    if "currency" not in text.columns or not _money(text):
        return ""
    if declared:
        return declared
    paid = text.filter(ibis.or_(*_money(text)) & text.currency.re_search("^[A-Z]{3}$"))
    counted = paid.group_by("currency").aggregate(n=paid.count())
    first = counted.order_by([ibis.desc("n"), "currency"]).limit(1).to_pyarrow()["currency"].to_pylist()
    return str(first[0]) if first else "none"


def _moment(cell: Any, zone: str) -> Any:
    """Return a time cell in Unix seconds, null where it is none or lacks its offset."""
    offset = cell.re_search(_ISO + _OFFSET)
    spelled = cell.re_replace("([+-][0-9]{2})([0-9]{2})$", r"\1:\2")
    bare = cell.re_search(_ISO + "$")
    iso = ibis.cases((offset, spelled), (bare & (zone == "UTC"), cell + "Z"))
    seconds = iso.try_cast("timestamp('UTC')").epoch_seconds().cast("int64")
    return ibis.cases((cell.re_search(_WHOLE), cell.try_cast("int64")), else_=seconds)


def _faults(text: Any, moment: Any, currency: str) -> list[tuple[str, str, Any]]:
    """Return, by column and cause, when a row is at fault."""
    bare = (text.time.re_search(_ISO + "$") & moment.isnull()).fill_null(False)
    faults = [
        ("visitor", "empty", text.visitor.isnull() | (text.visitor == "")),
        ("time", "without a time zone", bare),
        ("time", "no time between 2000 and 2100", ~bare & ~moment.between(EARLIEST, LATEST).fill_null(False)),
        ("name", "not an event we know", text.name.fill_null("").notin(sorted(EVENT_NAMES))),
    ]
    for column in text.columns:
        cell = text[column]
        if column in NUMBER_FIELDS:
            whole = cell.re_search(_WHOLE)
            amount = ibis.cases((whole, cell.try_cast("int64")))
            faults.append((column, "not a whole number", cell.notnull() & ~whole))
            faults.append((column, "negative", amount < 0))
            faults.append((column, f"more than {LARGEST[column]}", amount > LARGEST[column]))
        elif column in CATEGORY_FIELDS or column == "id":
            faults.append((column, f"longer than {LONGEST[column]} characters", cell.length() > LONGEST[column]))
    if currency:
        other = ibis.or_(*_money(text)) & (text.currency.fill_null("") != currency)
        faults.append(("currency", "another one, or none beside money", other))
    return [(column, what, wrong.fill_null(False)) for column, what, wrong in faults]


def _typed(marked: Any, zone: str) -> Any:
    cast: dict[str, Any] = {"time": _moment(marked.time, zone)}
    cast |= {column: marked[column].try_cast("int64") for column in NUMBER_FIELDS if column in marked.columns}
    typed = marked.mutate(**cast)
    return typed.drop("currency") if "currency" in typed.columns else typed


def _once(table: Any) -> tuple[Any, Refused | None]:
    """Return the rows without those that repeat an id of their visitor, and what these are."""
    if "id" not in table.columns:
        return table, None
    window = ibis.window(group_by=[table.visitor, table.id], order_by=[table.time, table["_row"]])
    again = (table.id.fill_null("") != "") & (ibis.row_number().over(window) > 0)
    marked = table.mutate(_again=again)
    repeating = marked.filter(marked["_again"])
    count = _number(repeating.count())
    rows = _first(repeating) if count else ()
    repeated = Refused(column="id", what="repeated", count=count, rows=rows) if count else None
    return marked.filter(~marked["_again"]).drop("_again"), repeated


def _first(table: Any) -> tuple[int, ...]:
    return tuple(table.order_by("_row").limit(NAMED_ROWS).to_pyarrow()["_row"].to_pylist())


def _refused(text: Any, faults: list[tuple[str, str, Any]]) -> tuple[Refused, ...]:
    counted = text.aggregate(**{f"f{i}": wrong.sum() for i, (_, _, wrong) in enumerate(faults)}).to_pyarrow()
    found = []
    for i, (column, what, wrong) in enumerate(faults):
        if count := int(counted[f"f{i}"][0].as_py() or 0):
            found.append(Refused(column=column, what=what, count=count, rows=_first(text.filter(wrong))))
    return tuple(found)


def _many(table: Any) -> tuple[tuple[str, int], ...]:
    columns = [column for column in CATEGORY_FIELDS if column in table.columns]
    if not columns:
        return ()
    counted = table.aggregate(**{column: table[column].nunique() for column in columns}).to_pyarrow()
    counts = {column: int(counted[column][0].as_py() or 0) for column in columns}
    return tuple((column, count) for column, count in counts.items() if count > MANY_VALUES)
