"""Event logs with faults in them: what is refused is told by row and cause, and the rest is kept."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entrenous_consent.errors import Malformed, Missing
from entrenous_exporters.logs import MANY_VALUES, LogReport, read_log
from entrenous_exporters.readers import read_events
from entrenous_exporters.spec import read_spec
from entrenous_exporters.tables import open_backend
from entrenous_exporters.workshop import rows_of

NOON = 1_788_000_000
CANARY = "canary-4711"


@pytest.fixture(scope="module")
def backend():
    opened = open_backend()
    yield opened
    opened.disconnect()


def csv(folder: Path, header: str, *rows: str) -> Path:
    path = folder / "log.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def causes(report) -> dict[tuple[str, str], tuple[int, tuple[int, ...]]]:
    return {(one.column, one.what): (one.count, one.rows) for one in report.refused}


def test_a_log_without_faults_is_what_the_strict_reader_reads(backend, tmp_path):
    path = csv(
        tmp_path,
        "visitor,time,name,id,price,value,quantity,brand,category,item",
        f"v1,{NOON},purchase,a,4900,,1,,slippers,i-1",
        f"v2,{NOON + 1},search,,,,,,,",
    )
    kept, report = read_log(backend, path)
    assert kept.to_pyarrow().equals(read_events(backend, path).to_pyarrow())
    assert (report.rows, report.kept, report.share, report.lines()) == (2, 2, 0, [])


@pytest.mark.parametrize("column", ["visitor", "time", "name"])
def test_missing_columns_are_refused(backend, tmp_path, column):
    header = ",".join(one for one in ("visitor", "time", "name") if one != column)
    with pytest.raises(Malformed) as refused:
        read_log(backend, csv(tmp_path, header, "a,b"))
    assert refused.value.place == f"log.csv: column {column}"


def test_unknown_columns_and_a_file_that_is_not_there_are_refused(backend, tmp_path):
    with pytest.raises(Malformed, match="not a column we know"):
        read_log(backend, csv(tmp_path, "visitor,time,name,e_mail", f"v,{NOON},search,{CANARY}"))
    with pytest.raises(Missing):
        read_log(backend, tmp_path / "gone.csv")


def test_mixed_time_zones_become_one_moment(backend, tmp_path):
    moment = datetime.fromtimestamp(NOON, UTC)
    zones = [timezone(timedelta(hours=hours)) for hours in (-11, 0, 2, 5.5)]
    spelled = [moment.astimezone(zone).isoformat() for zone in zones]
    spelled += [moment.strftime("%Y-%m-%d %H:%M:%SZ"), moment.astimezone(zones[2]).strftime("%Y-%m-%dT%H:%M:%S%z")]
    path = csv(tmp_path, "visitor,time,name", *(f"v,{one},search" for one in [*spelled, NOON]))
    kept, report = read_log(backend, path)
    assert kept.time.to_pyarrow().to_pylist() == [NOON] * 7
    assert report.refused == ()


def test_a_time_without_an_offset_is_refused_by_row_unless_the_specification_says_what_it_is(backend, tmp_path):
    bare = datetime.fromtimestamp(NOON, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    path = csv(tmp_path, "visitor,time,name", f"v,{NOON},search", f"v,{bare},search")
    kept, report = read_log(backend, path)
    assert causes(report) == {("time", "without a time zone"): (1, (2,))}
    assert kept.count().to_pyarrow().as_py() == 1
    kept, report = read_log(backend, path, zone="UTC")
    assert (kept.time.to_pyarrow().to_pylist(), report.refused) == ([NOON, NOON], ())


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01T00:00:00Z", "1788000000000", "-1", "", "2026-11-01"])
def test_what_is_no_time_is_refused_by_row(backend, tmp_path, time):
    path = csv(tmp_path, "visitor,time,name", f"v,{NOON},search", f"v,{time},search")
    assert causes(read_log(backend, path)[1]) == {("time", "no time between 2000 and 2100"): (1, (2,))}


def test_duplicates_are_kept_once_and_are_no_fault(backend, tmp_path):
    rows = [f"v,{NOON + 9},search,a", f"v,{NOON},search,a", f"w,{NOON},search,a", *[f"v,{NOON},search,"] * 2]
    kept, report = read_log(backend, csv(tmp_path, "visitor,time,name,id", *rows))
    assert (report.kept, report.repeated.count, report.repeated.rows, report.share) == (4, 1, (1,), 0)
    assert sorted(kept.time.to_pyarrow().to_pylist()) == [NOON] * 4
    assert report.lines()[1] == "left out: an id of their visitor is repeated in 1 row (1)"


@pytest.mark.parametrize(
    ("cell", "what"),
    [("-1", "negative"), ("49.00", "not a whole number"), ("1e3", "not a whole number"), ("10000000001", "more than")],
)
def test_negative_and_broken_prices_are_refused_by_row_and_the_rest_is_kept(backend, tmp_path, cell, what):
    rows = [f"v,{NOON},purchase,1", *[f"v,{NOON},purchase,{cell}"] * 7]
    kept, report = read_log(backend, csv(tmp_path, "visitor,time,name,price", *rows))
    ((column, cause),) = causes(report)
    assert (column, what in cause) == ("price", True)
    assert causes(report)[column, cause] == (7, (2, 3, 4, 5, 6))
    assert kept.price.to_pyarrow().to_pylist() == [1]
    assert report.lines()[1].endswith("in 7 rows (2, 3, 4, 5, 6, …)")


def test_other_currencies_are_refused_by_row_and_none_is_converted(backend, tmp_path):
    rows = [
        f"v,{NOON},purchase,100,EUR",
        f"v,{NOON},purchase,100,USD",
        f"v,{NOON},purchase,100,EUR",
        f"v,{NOON},purchase,100,",
        f"v,{NOON},search,,USD",
        f"v,{NOON},search,,",
    ]
    path = csv(tmp_path, "visitor,time,name,price,currency", *rows)
    kept, report = read_log(backend, path)
    cause = ("currency", "another one, or none beside money")
    assert (report.currency, causes(report)) == ("EUR", {cause: (2, (2, 4))})
    assert "currency" not in kept.columns
    assert causes(read_log(backend, path, currency="USD")[1]) == {cause: (3, (1, 3, 4))}


def test_where_no_row_names_a_currency_none_is_taken_for_one(backend, tmp_path):
    path = csv(tmp_path, "visitor,time,name,price,currency", f"v,{NOON},purchase,100,", f"v,{NOON},purchase,1,{CANARY}")
    _, report = read_log(backend, path)
    assert (report.kept, CANARY in str(report)) == (0, False)


def test_categories_of_ten_thousand_characters_are_refused_by_row(backend, tmp_path):
    rows = [f"v,{NOON},search,{CANARY * 1_000}", f"v,{NOON},search,boots"]
    kept, report = read_log(backend, csv(tmp_path, "visitor,time,name,category", *rows))
    assert causes(report) == {("category", "longer than 128 characters"): (1, (1,))}
    assert kept.category.to_pyarrow().to_pylist() == ["boots"]
    assert CANARY not in "".join(report.lines())


def test_a_category_explosion_is_told_with_its_figure_and_kept(backend, tmp_path):
    rows = [f"v,{NOON},search,c-{number}" for number in range(MANY_VALUES + 1)]
    path = csv(tmp_path, "visitor,time,name,category", *rows)
    _, report = read_log(backend, path)
    assert (report.many, report.share, report.kept) == ((("category", 1_001),), 0, 1_001)
    assert "category has 1,001 values" in report.lines()[1]
    assert read_log(backend, csv(tmp_path, "visitor,time,name,category", *rows[1:]))[1].many == ()


def test_a_row_that_is_wrong_twice_counts_once(backend, tmp_path):
    path = csv(tmp_path, "visitor,time,name,price", f",{NOON},buy,-1", f"v,{NOON},search,1")
    _, report = read_log(backend, path)
    assert (len(report.refused), report.share) == (3, 0.5)


def test_a_share_of_faults_over_the_limit_refuses_the_log_with_the_figures(backend, tmp_path):
    rows = [f"v,{NOON},search,1", f"v,{NOON},search,-1"]
    _, report = read_log(backend, csv(tmp_path, "visitor,time,name,price", *rows))
    report.check(0.5, place="log.csv")
    with pytest.raises(Malformed) as refused:
        report.check(0.01, place="log.csv")
    assert "50.0% of 2, more than 1.0%" in refused.value.what
    assert "price is negative in 1 row (2)" in refused.value.what


def test_parquet_with_times_as_text_or_with_a_zone_reads_the_same(backend, tmp_path):
    moment = datetime.fromtimestamp(NOON, UTC)
    for kind, value in ((pa.string(), moment.isoformat()), (pa.timestamp("us", tz="UTC"), moment), (pa.int64(), NOON)):
        types = pa.schema({"visitor": pa.string(), "time": kind, "name": pa.string(), "price": pa.int64()})
        path = tmp_path / "log.parquet"
        pq.write_table(
            pa.Table.from_pylist([{"visitor": "v", "time": value, "name": "search", "price": 7}], types), path
        )
        kept, report = read_log(backend, path)
        assert (kept.to_pyarrow().to_pylist(), report.kept) == (
            [{"visitor": "v", "time": NOON, "name": "search", "price": 7}],
            1,
        )


def test_a_column_of_another_type_is_refused(backend, tmp_path):
    types = pa.schema({"visitor": pa.binary(), "time": pa.int64(), "name": pa.string()})
    path = tmp_path / "log.parquet"
    pq.write_table(pa.Table.from_pylist([{"visitor": b"v", "time": NOON, "name": "search"}], types), path)
    with pytest.raises(Malformed, match="neither text, numbers nor times"):
        read_log(backend, path)


def test_an_empty_log_is_none_at_fault(backend, tmp_path):
    _, report = read_log(backend, csv(tmp_path, "visitor,time,name"))
    assert (report.rows, report.share) == (0, 0)


def block(kind: str) -> str:
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example of docs/formats.md, with one event at fault behind three that hold."""
    (tmp_path / "spec.toml").write_text(block("toml spec"))
    (tmp_path / "events.csv").write_text(f"{block('csv events')}v-2,1788003600,view_item,boots,-12900,\n")
    for name in ("moments", "consent"):
        (tmp_path / f"{name}.csv").write_text(block(f"csv {name}"))
    return tmp_path


def test_training_goes_on_without_the_rows_at_fault_where_they_are_few(backend, folder):
    spec, told = read_spec(folder / "spec.toml"), list[LogReport]()
    few = replace(spec, source=replace(spec.source, improve="improve", groups=(), most_refused=0.25))
    rows = rows_of(backend, few, folder / "spec.toml", told.append)
    assert (len(rows.x), told[0].kept, told[0].share) == (2, 3, 0.25)
    assert told[0].lines()[1] == "left out: price is negative in 1 row (4)"


def test_training_is_refused_with_the_figures_where_they_are_many(backend, folder):
    spec, told = read_spec(folder / "spec.toml"), list[LogReport]()
    assert spec.source.most_refused == 0.01
    with pytest.raises(Malformed, match=r"25\.0% of 4, more than 1\.0%"):
        rows_of(backend, spec, folder / "spec.toml", told.append)
    assert told == []
