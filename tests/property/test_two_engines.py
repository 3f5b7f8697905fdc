"""The runtime and the central engine give the same bits, whatever happened and in whatever order it arrived."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrenous.events import CATEGORY_FIELDS, NUMBER_FIELDS, Event
from entrenous.features import SECONDS, Feature, compile_plan, parse_schema
from entrenous_consent.parsing import Table
from entrenous_exporters.tables import feature_table, open_backend

NAMES = ("purchase", "search")
PURPOSES = ("history", "personalize")
LEAP_DAY = int(datetime(2024, 2, 29, tzinfo=UTC).timestamp())
EVENT_TYPES = pa.schema(
    {"visitor": pa.string(), "time": pa.int64(), "name": pa.string()}
    | dict.fromkeys(NUMBER_FIELDS, pa.int64())
    | dict.fromkeys(CATEGORY_FIELDS, pa.string())
)
MOMENT_TYPES = pa.schema(
    {"row": pa.int64(), "visitor": pa.string(), "time": pa.int64(), "size": pa.float64(), "page": pa.string()}
)

values = st.sampled_from([["a", "b", "É"], ["b", "a"], ["c"]])
amounts = st.one_of(st.none(), st.sampled_from([0, 1, 4900, 10**10]), st.integers(0, 10**6))
words = st.sampled_from([None, "", "a", "b", "c", "unlisted", "É"])
times = st.builds(
    lambda day, hour, second: LEAP_DAY + day * 86_400 + hour * 3_600 + second,
    st.one_of(st.integers(-2, 2), st.integers(-2, 2), st.sampled_from([-400, -60, -7, 7])),
    st.sampled_from([0, 0, 1, 23, 24]),
    st.sampled_from([-1, 0, 0, 1, 1800]),
)
sizes = st.one_of(st.none(), st.floats(), st.integers(0, 1 << 40).map(float))


def happenings(seconds: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.tuples(seconds, st.sampled_from(NAMES), amounts, amounts, amounts, words, words)


@st.composite
def crowds(draw: st.DrawFn) -> list[tuple[list[tuple[object, ...]], list[tuple[object, ...]]]]:
    """Visitors with their events and as-of points, all from one small pool of seconds: ties are the rule."""
    seconds = st.sampled_from(draw(st.lists(times, min_size=1, max_size=6)))
    visitor = st.tuples(
        st.lists(happenings(seconds), max_size=16),
        st.lists(st.tuples(st.one_of(seconds, times), sizes, words), max_size=3),
    )
    return draw(st.lists(visitor, min_size=1, max_size=4))


@st.composite
def features(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(st.sampled_from(["context", "count", "days", "decayed_sum", "last", "recency", "sum", "top"]))
    table: dict[str, object] = {"kind": kind, "retention_days": 400, "category": "behaviour", "source": "app"}
    table["purpose"] = draw(st.sampled_from(PURPOSES))
    if kind == "context":
        table["field"] = draw(st.sampled_from(["hour", "weekday", "size", "page"]))
        if table["field"] == "page":
            table["values"] = ["a", "b"]
        return table
    table["event"] = draw(st.sampled_from(NAMES))
    table["unit"] = "day" if kind == "days" else draw(st.sampled_from(sorted(SECONDS)))
    longest = 400 if table["unit"] == "day" else 336
    table["window"] = draw(st.one_of(st.integers(1, 4), st.sampled_from([8, 24, 61, longest])))
    if kind in ("sum", "decayed_sum"):
        table["field"] = draw(st.sampled_from(NUMBER_FIELDS))
    if kind in ("last", "top"):
        table |= {"field": draw(st.sampled_from(CATEGORY_FIELDS)), "values": draw(values)}
    if kind == "decayed_sum":
        table["half_life"] = draw(st.sampled_from([1, 3, 14]))
    return table


schemas = st.lists(features(), min_size=1, max_size=8).map(
    lambda tables: parse_schema(Table(table | {"name": f"f{i}"}) for i, table in enumerate(tables))
)


@pytest.fixture(scope="module")
def backend():
    opened = open_backend()
    yield opened
    opened.disconnect()


def log(crowd) -> ibis.Table:
    rows = [(f"v{i}", *event) for i, (happened, _) in enumerate(crowd) for event in happened]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in EVENT_TYPES]
    return ibis.memtable(pa.table(columns, schema=EVENT_TYPES))


def points(crowd) -> ibis.Table:
    rows = [(f"v{i}", *moment) for i, (_, asked) in enumerate(crowd) for moment in asked]
    numbered = [(row, *rest) for row, rest in enumerate(rows)]
    columns = list(zip(*numbered, strict=True)) if numbered else [[] for _ in MOMENT_TYPES]
    return ibis.memtable(pa.table(columns, schema=MOMENT_TYPES))


def replay(schema: tuple[Feature, ...], happened, as_of: int, chance: random.Random) -> np.ndarray:
    """One visitor's vector from the runtime: events in any order, the state stored and read back now and then."""
    vector = np.full(len(schema), np.nan, dtype=np.float32)
    arriving = [event for event in happened if event[0] <= as_of]
    chance.shuffle(arriving)
    for purpose in PURPOSES:
        plan = compile_plan(schema, purpose)
        state, clock = plan.empty(), 0
        for time, name, price, value, quantity, brand, category in arriving:
            clock = max(clock, time)
            if chance.random() < 0.3:
                clock = chance.randint(clock, as_of)
                state = plan.unpack(plan.pack(state, clock))
            described = {"price": price, "value": value, "quantity": quantity}
            event = Event(name=name, time=time, brand=brand or "", category=category or "", **described)
            plan.apply(state, event)
        state = plan.unpack(plan.pack(state, as_of))
        vector[list(plan.positions)] = np.frombuffer(plan.fold(state, as_of), dtype=np.float32)
    return vector


def handed_over(feature: Feature, as_of: int, size: float | None, page: str | None) -> float:
    clock = datetime.fromtimestamp(as_of, UTC)
    given = {"hour": clock.hour, "weekday": clock.weekday(), "size": size, "page": page}[feature.field]
    if feature.values:
        return float(feature.values.index(given)) if given in feature.values else np.nan
    with np.errstate(over="ignore"):
        number = np.float32(np.nan if given is None else given)
    return float(number) if np.isfinite(number) else np.nan


def runtime_rows(schema: tuple[Feature, ...], crowd, seed: int) -> np.ndarray:
    chance = random.Random(seed)
    rows = []
    for happened, asked in crowd:
        for as_of, size, page in asked:
            vector = replay(schema, happened, as_of, chance)
            for at, feature in enumerate(schema):
                if feature.kind == "context":
                    vector[at] = handed_over(feature, as_of, size, page)
            rows.append(vector)
    return np.array(rows, dtype=np.float32).reshape(-1, len(schema))


def assert_same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    absent = np.isnan(ours)
    np.testing.assert_array_equal(absent, np.isnan(theirs))
    np.testing.assert_array_equal(ours[~absent].view(np.uint32), theirs[~absent].view(np.uint32))


slow_on_purpose = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@slow_on_purpose
@given(schema=schemas, crowd=crowds(), seed=st.integers(0, 1 << 30))
def test_both_engines_give_the_same_bits_at_every_as_of(backend, schema, crowd, seed):
    central = feature_table(backend, schema, log(crowd), points(crowd))

    assert central.names == tuple(feature.name for feature in schema)
    assert_same_bits(central.rows, runtime_rows(schema, crowd, seed))


@settings(slow_on_purpose, max_examples=30)
@given(schema=schemas, crowd=crowds(), others=st.lists(happenings(times), max_size=12))
def test_nothing_after_the_as_of_leaks_into_a_vector(backend, schema, crowd, others):
    first = [(happened, asked[:1]) for happened, asked in crowd]
    scrambled = [
        (
            [event for event in happened if not asked or event[0] <= asked[0][0]]
            + [event for event in others if asked and event[0] > asked[0][0]],
            asked,
        )
        for happened, asked in first
    ]

    before = feature_table(backend, schema, log(first), points(first))
    after = feature_table(backend, schema, log(scrambled), points(scrambled))

    assert_same_bits(before.rows, after.rows)


def test_a_busy_crowd_gets_the_same_bits_from_every_kind(backend):
    chance = random.Random(17)
    common = {"retention_days": 400, "category": "behaviour", "source": "app", "event": "purchase"}
    read = {
        "count": [{}],
        "days": [{}],
        "recency": [{}],
        "sum": [{"field": field} for field in NUMBER_FIELDS],
        "decayed_sum": [{"field": "price", "half_life": 1}, {"field": "value", "half_life": 14}],
        "last": [{"field": field, "values": ["a", "b", "É"]} for field in CATEGORY_FIELDS],
        "top": [{"field": field, "values": ["É", "b", "a", "c"]} for field in CATEGORY_FIELDS],
    }
    tables = [
        {"kind": kind, "unit": unit, "window": window, "purpose": PURPOSES[window % 2], **common, **more}
        for kind, variants in read.items()
        for unit in (["day"] if kind == "days" else ["day", "hour"])
        for window in (1, 2, 7, 60)
        for more in variants
    ]
    schema = parse_schema(Table(table | {"name": f"f{i}"}) for i, table in enumerate(tables))

    def second() -> int:
        return LEAP_DAY + 3_600 * chance.randint(-200, 200) + chance.choice([-1, 0, 0, 0, 1800])

    def happened() -> tuple[object, ...]:
        numbers = [chance.choice([None, 0, 1, 4900, 10**10]) for _ in NUMBER_FIELDS]
        named = [chance.choice([None, "", "a", "b", "É", "unlisted"]) for _ in CATEGORY_FIELDS]
        return (second(), "purchase", *numbers, *named)

    crowd = [([happened() for _ in range(100)], [(second(), None, None) for _ in range(6)]) for _ in range(20)]

    central = feature_table(backend, schema, log(crowd), points(crowd))

    assert_same_bits(central.rows, runtime_rows(schema, crowd, 17))
