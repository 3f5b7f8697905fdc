"""The catalogue: counted, in words, selected in one line; each marker of a real stream, by both engines."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections import Counter
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pytest
from tests.markers import CDNOW, EVERYTHING, LISTED, NOW, everything, something

from entrenous.cli import main
from entrenous.events import CATEGORY_FIELDS, NUMBER_FIELDS, Attribute, Event, parse_event
from entrenous.features import INTERPRETATIONS, KINDS, compile_plan, parse_schema
from entrenous.features.series import MOST_TOLD
from entrenous.markers import catalogue, groups, parse_selection
from entrenous_consent.dpo.taxonomy import load_taxonomy
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table
from entrenous_exporters.readers import complete_journey
from entrenous_exporters.tables import feature_table, open_backend

DAY = 86_400
TOLD = [
    *((field, value) for field in ("size", "colour", "brand", "category") for value in LISTED[field][:2]),
    *(("rhythm", value) for value in ("never", "weekly")),
    ("fewer_promotions", "yes"),
    ("fewer_suggestions", "yes"),
]


def take(*lines: str, **more: object):
    return parse_selection(Table({"purpose": "personalize", "retention_days": 365, "take": list(lines), **more}))


def test_there_are_as_many_families_and_markers_as_promised():
    families = {marker.family for marker in catalogue()}
    stored = [marker for marker in catalogue() if marker.declaration["kind"] != "context"]

    assert len(families) >= 60
    assert len(stored) >= 232
    assert len({marker.name for marker in catalogue()}) == len(catalogue())


def test_no_two_markers_are_the_same_number():
    declared = Counter(json.dumps(marker.declaration, sort_keys=True) for marker in catalogue())

    assert [one for one, times in declared.items() if times > 1] == []


def test_every_kind_but_a_share_is_a_family():
    """A share is of one value that only a shop can name."""
    kinds = {marker.declaration["kind"] for marker in catalogue()}

    assert KINDS.keys() - kinds == {"share"}
    assert INTERPRETATIONS.keys() - {"share"} <= {marker.family for marker in catalogue()}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_marker_has_words_of_its_own(language):
    said = Counter(marker.words[language] for marker in catalogue())

    assert [words for words, times in said.items() if times > 1] == []
    assert all(re.fullmatch(r"\S.{3,110}", words) and "{" not in words for words in said)
    assert all(group[language] for group in groups().values())


def test_every_data_category_is_one_of_the_taxonomy():
    known = load_taxonomy()

    assert {marker.category for marker in catalogue()} <= set(known.categories)


def test_a_name_begins_with_what_it_is_about_and_that_has_one_category():
    about: dict[str, set[str]] = {}
    for marker in catalogue():
        about.setdefault(marker.name.partition("_")[0], set()).add(marker.category)

    assert {name for name, categories in about.items() if len(categories) > 1} == {"context"}


# Selected


def test_one_line_takes_them_all():
    taken = parse_selection(Table(EVERYTHING))

    schema = parse_schema(Table(one) for one in taken.tables)

    assert [feature.name for feature in schema] == [marker.name for marker in catalogue()]
    assert taken.without == {}


def test_a_line_is_a_name_a_family_a_group_or_a_pattern():
    names = [one["name"] for one in take("visits_newcomer_90d", "streak", "journey", "views_count_*d").tables]

    assert {"visits_newcomer_90d", "views_streak_30d", "journey_funnel_7d", "views_count_7d"} <= set(names)
    assert "views_count_24h" not in names
    assert len(names) == len(set(names))


def test_what_is_left_is_not_taken():
    names = {one["name"] for one in take("streak", leave=["views_*"]).tables}

    assert names == {"visits_streak_30d"}


def test_what_a_pattern_covers_and_lacks_something_is_left_out_and_said():
    taken = take("purchases_*", values={"category": ["shoes"]})

    assert taken.without["purchases_affinity_brand_365d"] == "values"
    assert taken.without["purchases_alive_365d"] == "lifetime"
    [liked] = [one for one in taken.tables if one["name"] == "purchases_affinity_category_365d"]
    assert liked["values"] == ["shoes"]


def test_a_rank_beyond_the_values_is_left_out_and_said():
    taken = take("views_affinity_*", values={"brand": ["atelier", "north"]})

    assert {one["name"] for one in taken.tables} == {"views_affinity_brand_60d", "views_affinity_brand_60d_n2"}
    assert taken.without["views_affinity_brand_60d_n3"] == "values"


def test_values_of_one_marker_go_before_those_of_its_field():
    taken = take("told_size", values={"size": ["s"], "told_size": ["36", "38"]})

    assert taken.tables[0]["values"] == ["36", "38"]


def test_what_a_marker_lists_itself_can_be_listed_anew():
    [ours] = take("context_device_type").tables
    [theirs] = take("context_device_type", values={"device_type": ["till"]}).tables

    assert ours["values"] == ["phone", "tablet", "desktop"]
    assert theirs["values"] == ["till"]
    assert theirs["retention_days"] == 0


@pytest.mark.parametrize(
    ("lines", "more", "place", "remedy"),
    [
        (["viewz_*"], {}, "take[0]", "a pattern with *"),
        (["streak", ""], {}, "take[1]", ""),
        ([], {}, "take", "see: entrenous markers"),
        (["streak"], {"leave": ["streak"]}, "take", "see: entrenous markers"),
        (["streak"], {"leave": ["nothing"]}, "leave[0]", "a pattern with *"),
        (["told_size"], {}, "values", "list the field's values"),
        (["purchases_churn_365d"], {}, "lifetime", "entrenous lifetime fit"),
        (["streak"], {"retention_days": 29}, "retention_days", "raise it"),
        (["streak"], {"values": {"flavour": ["a"]}}, "values.flavour", "see: entrenous markers"),
        (["streak"], {"window": 3}, "window", "remove it"),
    ],
)
def test_a_selection_that_takes_nothing_or_lacks_something_is_refused(lines, more, place, remedy):
    with pytest.raises(Malformed) as caught:
        take(*lines, **more)

    assert place in caught.value.place
    assert remedy in caught.value.remedy


# Listed


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["markers", *words]) == 0
    return capsys.readouterr().out


def test_the_command_finds_markers_by_words_of_either_language(capsys):
    found = json.loads(listed(capsys, "panier", "abandoned", "--format", "json"))["data"]["markers"]

    assert {marker["family"] for marker in found} == {"abandoned"}
    assert all("panier" in marker["words"]["fr"] for marker in found)


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("form", ["text", "markdown", "html"])
@pytest.mark.parametrize("view", [[], ["--families"]])
def test_every_marker_is_listed_in_every_form(capsys, language, form, view):
    told = listed(capsys, "--language", language, "--format", form, "--group", "journey", *view)

    mine = [marker for marker in catalogue() if marker.group == "journey"]
    wanted = {marker.family for marker in mine} if view else {marker.name for marker in mine}
    assert all(name in told.replace("\\", "") for name in wanted)
    assert "purchases_*" in told.replace("\\", "")


def test_words_that_nothing_holds_are_refused(capsys):
    assert main(["markers", "zeppelin"]) == 2

    assert "use fewer words" in capsys.readouterr().err


def test_the_guide_lists_the_families_as_the_command_does(capsys):
    guide = Path("docs/markers.md").read_text("utf-8")
    told = listed(capsys, "--families", "--format", "markdown").split("\n", 2)[2]

    assert guide.endswith(told)
    assert f"{len(catalogue())} markers of {len({marker.family for marker in catalogue()})} families" in guide


def test_the_example_of_the_guide_takes_markers():
    (example,) = re.findall(r"```toml\n(.*?)```", Path("docs/markers.md").read_text("utf-8"), re.DOTALL)

    taken = parse_selection(Table(tomllib.loads(example)["markers"]))

    assert len(taken.tables) > 40
    assert taken.without == dict.fromkeys(taken.without, "values")


# Computed


@pytest.fixture(scope="module")
def shop() -> tuple[list[tuple[str, Event]], list[tuple[str, Attribute]]]:
    """A generated shop: thirty visitors over a year, from one who never came to one with a thousand events."""
    chance = random.Random(11)
    events, said = [], []
    for number in range(30):
        visitor, away = f"v{number}", chance.choice((0, 0, 0, DAY, 9 * DAY))
        for _ in range(int(1_000 ** (number / 29)) if number else 0):
            events.append((visitor, something(chance, NOW - away)))
        for _ in range(chance.randrange(12)):
            field, value = chance.choice(TOLD)
            time, holds = NOW - chance.randrange(300 * DAY), chance.random() < 0.7
            said.append((visitor, Attribute(name=f"told:{field}", time=time, value=value, holds=holds)))
        known = [("tier", chance.choice(["silver", "gold", "bronze"])), ("segment", chance.choice("ab"))]
        for field, value in known:
            said.append((visitor, Attribute(name=f"imported:{field}", time=NOW - DAY, value=value)))
        said.append((visitor, Attribute(name="imported:store_spend", time=NOW - DAY, value=float(number))))
    return events, said


def test_every_marker_is_computed_and_equal_in_both_engines(shop):
    events, said = shop
    schema = everything()
    stored = [at for at, feature in enumerate(schema) if feature.kind != "context"]
    plan = compile_plan(schema, "personalize")
    visitors = sorted({visitor for visitor, _ in said})
    mine = []
    for visitor in visitors:
        state = plan.empty()
        for owner, event in [*events, *said]:
            if owner == visitor:
                plan.apply(state, event)
        state = plan.unpack(plan.pack(state, NOW))
        mine.append(np.frombuffer(plan.fold(state, NOW), np.float32))

    columns = ("time", "name", *NUMBER_FIELDS, *CATEGORY_FIELDS)
    log = {key: [getattr(event, key) for _, event in events] for key in columns}
    words = {key: [getattr(one, key) for _, one in said] for key in ("time", "name", "value", "holds")}
    words["value"] = [str(value) for value in words["value"]]
    context = {
        feature.field: pa.nulls(len(visitors), pa.string() if feature.values else pa.float64())
        for feature in schema
        if feature.kind == "context"
    }
    backend = open_backend()
    central = feature_table(
        backend,
        schema,
        ibis.memtable(pa.table({"visitor": [visitor for visitor, _ in events], **log})),
        ibis.memtable(
            pa.table({"row": range(len(visitors)), "visitor": visitors, "time": [NOW] * len(visitors)} | context)
        ),
        ibis.memtable(pa.table({"visitor": [visitor for visitor, _ in said], **words})),
    )
    backend.disconnect()

    np.testing.assert_array_equal(central.rows[:, stored], np.array(mine))
    present = ~np.isnan(central.rows[:, stored])
    dull = [schema[at].name for at, some in zip(stored, present.T, strict=True) if not some.any()]
    assert dull == []  # each was computed of something
    varied = np.array([len(np.unique(column[~np.isnan(column)])) for column in central.rows[:, stored].T])
    assert [schema[at].name for at, many in zip(stored, varied, strict=True) if many < 2] == []


@pytest.mark.demo_data
def test_every_marker_of_real_purchases_is_computed_and_equal_in_both_engines():
    """Twenty-five households of Complete Journey over 2017, one of the few things they did: they bought."""
    backend = open_backend()
    real = complete_journey(backend)
    households = [f"household-{number}" for number in range(1, 26)]
    rows = real.filter(real.visitor.isin(households)).drop("basket").order_by("time").to_pyarrow().to_pylist()
    values = {field: sorted({row[field] for row in rows if row[field]})[:12] for field in ("brand", "category")}
    taken = take("purchases_*", "visits_*", "sum", values=values, lifetime=CDNOW)
    readable = [one for one in taken.tables if not one.get("field") or one["field"] in rows[0]]
    schema = parse_schema(Table(one) for one in readable)
    plan, now = compile_plan(schema, "personalize"), max(row["time"] for row in rows)
    mine = []
    for household in households:
        state = plan.empty()
        for row in rows:
            if row["visitor"] == household:
                told = {key: row[key] for key in ("value", "quantity", "brand", "category", "item") if row[key] != ""}
                plan.apply(state, parse_event("purchase", told | {"currency": "USD"}, time=row["time"], now=now))
        mine.append(np.frombuffer(plan.fold(state, now), np.float32))

    moments = {"row": range(len(households)), "visitor": households, "time": [now] * len(households)}
    central = feature_table(backend, schema, real, ibis.memtable(pa.table(moments)))
    backend.disconnect()

    np.testing.assert_array_equal(central.rows, np.array(mine))
    present = ~np.isnan(central.rows)
    assert {schema[at].name for at, some in enumerate(present.T) if not some.any()} == ONLY_BOUGHT
    assert len(schema) > 80


ONLY_BOUGHT = {
    *(f"purchases_ratio_{per}_{days}d" for per in ("views", "carts", "checkouts") for days in (30, 90)),
    *(f"purchases_worth_value_{per}_90d" for per in ("views", "searches")),
}
"""What purchases alone can't say."""


def test_the_full_catalogue_stays_within_sixteen_kilobytes():
    schema = everything()
    plan, chance = compile_plan(schema, "personalize"), random.Random(5)
    state = plan.empty()
    for _ in range(10_000):
        plan.apply(state, something(chance))
    for age in range(2 * MOST_TOLD):
        plan.apply(state, Attribute(name="told:size", time=NOW - age * DAY, value="m"))

    held = len(plan.pack(state, NOW)) + len(plan.fold(state, NOW))

    assert held <= 16_000 - 28  # AES-GCM adds a nonce and a tag
