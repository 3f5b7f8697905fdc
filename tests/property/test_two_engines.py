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

from entrenous.events import CATEGORY_FIELDS, LARGEST, NUMBER_FIELDS, parse_attribute, parse_event
from entrenous.features import ANY, DERIVED, KINDS, LATEST, Feature, compile_plan, parse_schema
from entrenous.profile import Cold, Hot
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table
from entrenous_exporters.tables import feature_table, open_backend

NAMES = ("purchase", "view_item")
CDNOW = {"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259, "p": 6.25, "q": 3.744, "gamma": 15.44}
"""Fader, Hardie and Lee's parameters for the CDNOW customers, as good as any here."""
PURPOSES = ("history", "personalize")
LEAP_DAY = int(datetime(2024, 2, 29, tzinfo=UTC).timestamp())
EVENT_TYPES = pa.schema(
    {"visitor": pa.string(), "id": pa.string(), "time": pa.int64(), "name": pa.string()}
    | dict.fromkeys(NUMBER_FIELDS, pa.int64())
    | dict.fromkeys(CATEGORY_FIELDS, pa.string())
)
SAYING_TYPES = pa.schema(
    {"visitor": pa.string(), "time": pa.int64(), "name": pa.string(), "value": pa.string(), "holds": pa.bool_()}
)
MOMENT_TYPES = pa.schema(
    {"row": pa.int64(), "visitor": pa.string(), "time": pa.int64(), "size": pa.float64(), "page": pa.string()}
)

values = st.sampled_from([["a", "b", "É"], ["b", "a"], ["c"]])
amounts = st.one_of(st.none(), st.sampled_from([0, 1, 4900, 10**10]), st.integers(0, 10**6))
counts = st.one_of(st.none(), st.sampled_from([0, 1, 10**6]), st.integers(0, 10**6))
words = st.sampled_from([None, "", "a", "b", "c", "unlisted", "É"])
times = st.builds(
    lambda day, hour, second: LEAP_DAY + day * 86_400 + hour * 3_600 + second,
    # Beside the leap day: the Sundays of 2024 when Europe and North America change their clocks.
    st.one_of(st.integers(-2, 2), st.integers(-2, 2), st.sampled_from([-400, -60, -7, 7, 10, 31, 241, 248])),
    st.sampled_from([0, 0, 1, 2, 3, 23, 24]),
    st.sampled_from([-1, 0, 0, 1, 1799, 1800, 3599]),
)
sizes = st.one_of(st.none(), st.floats(), st.integers(0, 1 << 40).map(float))


def happenings(seconds: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[object, ...]]:
    """An event's id and its fields; one without an id is never a duplicate."""
    told = (words for _ in CATEGORY_FIELDS)
    return st.tuples(st.sampled_from([None, ""]), seconds, st.sampled_from(NAMES), amounts, amounts, counts, *told)


def sayings(seconds: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[object, ...]]:
    """What was imported or told: its name, when, the value and whether it holds."""
    numbers = st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e-45, 16_777_217.0, 3e38])
    imported = st.tuples(st.just("imported:tier"), seconds, st.one_of(numbers, words.filter(bool)), st.just(True))
    return st.one_of(imported, st.tuples(st.just("told:tier"), seconds, words.filter(bool), st.booleans()))


@st.composite
def crowds(draw: st.DrawFn) -> list[tuple[list[tuple[object, ...]], ...]]:
    """Visitors with their events, as-of points and what was said of them, all from one small pool of seconds: ties are
    the rule."""
    seconds = st.sampled_from(draw(st.lists(times, min_size=1, max_size=6)))
    visitor = st.tuples(
        st.lists(happenings(seconds), max_size=16),
        st.lists(st.tuples(st.one_of(seconds, times), sizes, words), max_size=3),
        st.lists(sayings(seconds), max_size=6),
    )
    crowd = draw(st.lists(visitor, min_size=1, max_size=4))
    return [(draw(repeated(happened)), *rest) for happened, *rest in crowd]


@st.composite
def repeated(draw: st.DrawFn, happened: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """The same events, some with an id, and of those some twice or three times."""
    events = []
    for i, event in enumerate(happened):
        times_told = draw(st.sampled_from([0, 0, 1, 2, 3]))
        events += [(f"e{i}", *event[1:])] * times_told or [event]
    return events


@st.composite
def features(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(st.sampled_from(sorted(KINDS)))
    table: dict[str, object] = {"kind": kind, "retention_days": 400, "category": "behaviour", "source": "app"}
    table["purpose"] = draw(st.sampled_from(PURPOSES))
    if kind == "context":
        table["field"] = draw(st.sampled_from([*DERIVED, "size", "page"]))
        if table["field"] == "page":
            table["values"] = ["a", "b"]
        return table
    rules = KINDS[kind]
    if rules.events:
        table["event"] = draw(st.sampled_from([*NAMES, ANY]))
    table["unit"] = draw(st.sampled_from(rules.units))
    longest = min(rules.longest, 400 if table["unit"] == "day" else 336)
    windows = st.one_of(st.integers(1, 4), st.sampled_from([8, 24, 61, longest]))
    table["window"] = max(rules.shortest, min(longest, draw(windows)))
    return table | read(draw, kind, str(table.get("event", "")))


def read(draw: st.DrawFn, kind: str, event: str) -> dict[str, object]:
    """What a kind wants said beside its event, unit and window."""
    rules, said = KINDS[kind], {}
    if rules.reads:
        said["field"] = draw(st.sampled_from(NUMBER_FIELDS if rules.reads == "number" else CATEGORY_FIELDS))
    if kind in LATEST:
        said["field"] = "tier"
    if "half_life" in rules.needs:
        said["half_life"] = draw(st.sampled_from([1, 3, 14]))
    if "per" in rules.needs:
        said["per"] = draw(st.sampled_from([name for name in (*NAMES, ANY) if name != event]))
    if "cuts" in rules.needs:
        said["cuts"] = [1, 3, 4900] * 3 if kind == "rfm_score" else draw(st.sampled_from([[1], [2, 3], [1, 4900]]))
    if "lifetime" in rules.needs:
        said["lifetime"] = CDNOW | {"unit": draw(st.sampled_from(["day", "week"]))}
    if "horizon" in rules.needs:
        said["horizon"] = draw(st.sampled_from([1, 30, 365]))
    if "discount" in rules.needs:
        said["discount"] = draw(st.sampled_from([0.0, 0.01]))
    if "slots" in rules.needs and ("values" not in rules.needs or draw(st.booleans())):
        return said | {"slots": draw(st.sampled_from([2, 7, 60]))}
    if "values" in rules.needs or (kind == "imported" and draw(st.booleans())):
        said["values"] = listed = draw(values)
        if kind in ("asked", "share"):
            said["value"] = draw(st.sampled_from(listed))
        if kind == "affinity":
            said["rank"] = draw(st.integers(1, len(listed)))
    return said


schemas = st.lists(features(), min_size=1, max_size=8).map(
    lambda tables: parse_schema(Table(table | {"name": f"f{i}"}) for i, table in enumerate(tables))
)


@pytest.fixture(scope="module")
def backend():
    opened = open_backend()
    yield opened
    opened.disconnect()


def log(crowd) -> ibis.Table:
    rows = [(f"v{i}", *event) for i, (happened, *_) in enumerate(crowd) for event in happened]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in EVENT_TYPES]
    return ibis.memtable(pa.table(columns, schema=EVENT_TYPES))


def points(crowd) -> ibis.Table:
    rows = [(f"v{i}", *moment) for i, (_, asked, *_) in enumerate(crowd) for moment in asked]
    numbered = [(row, *rest) for row, rest in enumerate(rows)]
    columns = list(zip(*numbered, strict=True)) if numbered else [[] for _ in MOMENT_TYPES]
    return ibis.memtable(pa.table(columns, schema=MOMENT_TYPES))


def sayings_table(crowd) -> ibis.Table:
    rows = [
        (f"v{i}", time, name, str(value), holds)
        for i, (_, _, said) in enumerate(crowd)
        for name, time, value, holds in said
    ]
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in SAYING_TYPES]
    return ibis.memtable(pa.table(columns, schema=SAYING_TYPES))


def replay(schema: tuple[Feature, ...], happened, said, as_of: int, chance: random.Random) -> np.ndarray:
    """One visitor's vector from the runtime: everything offered in any order, the state stored and read back now and
    then. What is after `as_of` is refused where events are checked."""
    vector = np.full(len(schema), np.nan, dtype=np.float32)
    offered = list(happened)
    chance.shuffle(offered)
    for purpose in PURPOSES:
        plan = compile_plan(schema, purpose)
        state, clock, cold = plan.empty(), 0, Cold()
        for told, time, name, *read in offered:
            given = {"id": told} | dict(zip((*NUMBER_FIELDS, *CATEGORY_FIELDS), read, strict=True))
            described = {key: value for key, value in given.items() if value not in (None, "")}
            try:
                event = parse_event(name, described | {"currency": "EUR"}, time=time, now=as_of)
            except Malformed:
                assert time > as_of
                continue
            clock = max(clock, time)
            if chance.random() < 0.3:
                clock = chance.randint(clock, as_of)
                state = plan.unpack(plan.pack(state, clock))
            if not event.id or not cold.seen(event.id, clock):
                plan.apply(state, event)
        for name, time, value, holds in chance.sample(said, len(said)):
            if time <= as_of:
                plan.apply(state, parse_attribute(name, value, time=time, now=as_of, holds=holds))
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
    for happened, asked, said in crowd:
        for as_of, size, page in asked:
            vector = replay(schema, happened, said, as_of, chance)
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
    central = feature_table(backend, schema, log(crowd), points(crowd), sayings_table(crowd))

    assert central.names == tuple(feature.name for feature in schema)
    assert_same_bits(central.rows, runtime_rows(schema, crowd, seed))


@settings(slow_on_purpose, max_examples=30)
@given(schema=schemas, crowd=crowds(), others=st.lists(happenings(times), max_size=12), seed=st.integers(0, 1 << 30))
def test_nothing_after_the_as_of_leaks_into_a_vector(backend, schema, crowd, others, seed):
    chance = random.Random(seed)
    first = [(happened, asked[:1], said) for happened, asked, said in crowd]
    altered = []
    for happened, asked, said in first:
        as_of = asked[0][0] if asked else 0
        known = [event for event in happened if event[1] <= as_of]
        later = [(event[0], *other[1:]) for event, other in zip(happened, others, strict=False)] + others
        events = known + [event for event in later if event[1] > as_of]
        chance.shuffle(events)
        altered.append((events, asked, [(name, time + 86_400 * (time > as_of), *rest) for name, time, *rest in said]))

    before = feature_table(backend, schema, log(first), points(first), sayings_table(first))
    after = feature_table(backend, schema, log(altered), points(altered), sayings_table(altered))

    assert_same_bits(before.rows, after.rows)
    assert_same_bits(runtime_rows(schema, first, seed), runtime_rows(schema, altered, seed))


@settings(slow_on_purpose, max_examples=300)
@given(schema=schemas, moments=st.lists(times, min_size=1, max_size=5))
def test_who_did_nothing_has_the_same_columns_at_any_moment(schema, moments):
    for purpose in PURPOSES:
        plan = compile_plan(schema, purpose)
        folded = {plan.fold(plan.unpack(Hot().state), moment) for moment in moments}
        assert folded == {plan.nothing}
        assert {Hot().fresh(plan, moment) for moment in moments} == {plan.nothing}


def heard(kind: str) -> dict[str, str]:
    return {"event": "purchase"} if KINDS[kind].events else {}


def test_a_busy_crowd_gets_the_same_bits_from_every_kind(backend):
    chance = random.Random(17)
    common = {"retention_days": 400, "category": "behaviour", "source": "app"}
    listed = {"field": "brand", "values": ["a", "b", "É"]}
    variants = {
        **{kind: [{}, {"event": ANY}] for kind in ("count", "days", "recency", "sessions", "session_length", "streak")},
        **{kind: [{"field": field} for field in NUMBER_FIELDS] for kind in ("max", "mean", "min")},
        "affinity": [{"half_life": 7, "rank": rank, **listed} for rank in (1, 2, 3)],
        "distinct": [listed, {"field": "category", "slots": 7}, {"field": "category", "slots": 60}],
        "first": [listed],
        "ratio": [{"per": "view_item"}, {"event": "view_item", "per": ANY}],
        "share": [{"value": "É", **listed}],
        "sum": [{"field": field} for field in NUMBER_FIELDS],
        "decayed_sum": [{"field": "price", "half_life": 1}, {"field": "value", "half_life": 14}],
        "last": [{"field": field, "values": ["a", "b", "É"]} for field in CATEGORY_FIELDS],
        "top": [{"field": field, "values": ["É", "b", "a", "c"]} for field in CATEGORY_FIELDS],
        **{
            kind: [{}, {"event": ANY}]
            for kind, rules in KINDS.items()
            if rules.made and not (rules.reads or rules.needs)
        },
        **{kind: [{}] for kind in ("age", "peak", "pause", "funnel", "moment")},
        **{kind: [{"field": "price"}, {"field": "value"}] for kind in ("drift", "spread")},
        **{kind: [listed] for kind in ("coverage", "focus", "settled", "strayed")},
        "exploration": [{"field": "item", "slots": 7}, {"field": "category", "slots": 60}],
        **{kind: [{"per": "view_item"}] for kind in ("abandoned", "lag", "outstanding")},
        **{kind: [{"field": "value", "per": "view_item"}] for kind in ("given_back", "price_gap", "worth")},
        **{kind: [{"cuts": [2, 5]}] for kind in ("frequency_score", "recency_score")},
        "monetary_score": [{"field": "value", "cuts": [4901, 10**7]}],
        "rfm_score": [{"field": "value", "cuts": [2, 5, 2, 5, 4901, 10**7]}],
        **{kind: [{"lifetime": CDNOW | {"unit": unit}} for unit in ("day", "week")] for kind in ("alive", "churn")},
        "expected_purchases": [{"lifetime": CDNOW | {"unit": "week"}, "horizon": 90}],
        "expected_value": [{"lifetime": CDNOW | {"unit": "day"}, "field": "value"}],
        "lifetime_value": [{"lifetime": CDNOW | {"unit": "day"}, "field": "value", "horizon": 365, "discount": 0.01}],
        "imported": [{"field": "tier"}, {"field": "tier", "values": ["a", "b"]}],
        "told": [{"field": "tier", "values": ["b", "É", "a"]}],
        "asked": [{"field": "tier", "values": ["a", "b"], "value": value} for value in ("a", "b")],
    }
    tables = [
        {"kind": kind, "unit": unit, "window": max(window, KINDS[kind].shortest), **common, **heard(kind), **more}
        for kind, some in variants.items()
        for unit in KINDS[kind].units
        for window in (1, 2, 7, min(60, KINDS[kind].longest))
        for more in some
    ]
    assert variants.keys() | {"context"} == KINDS.keys()
    schema = parse_schema(
        Table(table | {"name": f"f{i}", "purpose": PURPOSES[i % 2]}) for i, table in enumerate(tables)
    )

    def second() -> int:
        return LEAP_DAY + 3_600 * chance.randint(-200, 200) + chance.choice([-1, 0, 0, 0, 1800])

    def happened() -> tuple[object, ...]:
        numbers = [chance.choice([None, 0, 1, 4900, LARGEST[field]]) for field in NUMBER_FIELDS]
        named = [chance.choice([None, "", "a", "b", "É", "unlisted"]) for _ in CATEGORY_FIELDS]
        return ("", second(), chance.choice(["purchase", "purchase", "view_item", "add_to_cart"]), *numbers, *named)

    def said() -> tuple[object, ...]:
        value = chance.choice(["a", "b", "É", "unlisted"])
        if chance.random() < 0.5:
            return ("told:tier", second(), value, chance.random() < 0.7)
        return ("imported:tier", second(), chance.choice([value, -1.5, 7.0]), True)

    crowd = [
        (
            [happened() for _ in range(100)],
            [(second(), None, None) for _ in range(6)],
            [said() for _ in range(chance.randrange(40))],
        )
        for _ in range(20)
    ]

    central = feature_table(backend, schema, log(crowd), points(crowd), sayings_table(crowd))

    assert_same_bits(central.rows, runtime_rows(schema, crowd, 17))
