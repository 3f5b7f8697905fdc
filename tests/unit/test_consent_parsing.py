"""Strict reading of tables."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime

import pytest

from entrenous_consent.errors import Malformed, Unavailable
from entrenous_consent.parsing import Table


def table(value: object) -> Table:
    return Table({"k": value}, "doc[2]")


@pytest.mark.parametrize(
    ("getter", "value"),
    [
        (lambda t: t.text("k"), 1),
        (lambda t: t.text("k"), "  "),
        (lambda t: t.text("k"), "x" * 501),
        (lambda t: t.name("k"), "Upper"),
        (lambda t: t.name("k"), "line\n"),
        (lambda t: t.choice("k", ["a", "b"]), "c"),
        (lambda t: t.integer("k", least=0, most=9), True),
        (lambda t: t.integer("k", least=0, most=9), 1.0),
        (lambda t: t.integer("k", least=0, most=9), 10),
        (lambda t: t.number("k", least=0, most=9), True),
        (lambda t: t.number("k", least=0, most=9), float("nan")),
        (lambda t: t.number("k", least=0, most=9), float("inf")),
        (lambda t: t.number("k", least=0, most=9), 10**400),
        (lambda t: t.flag("k"), 1),
        (lambda t: t.scalar("k"), float("nan")),
        (lambda t: t.scalar("k"), None),
        (lambda t: t.scalar("k"), "x" * 201),
        (lambda t: t.blob("k", longest=3), "abc"),
        (lambda t: t.blob("k", longest=3), b"abcd"),
        (lambda t: t.mapping("k"), []),
        (lambda t: t.moment("k"), datetime(2026, 11, 22)),  # noqa: DTZ001
        (lambda t: t.moment("k"), "2026-11-22"),
        (lambda t: t.array("k"), "abc"),
        (lambda t: t.array("k", longest=1), [1, 2]),
        (lambda t: t.texts("k"), ["a", "a"]),
        (lambda t: t.table("k"), [1]),
        (lambda t: t.named_tables("k", longest=0), {"a": {}}),
    ],
)
def test_a_wrong_value_says_where_and_what_to_do(getter, value):
    with pytest.raises(Malformed) as caught:
        getter(table(value))
    assert caught.value.place == "doc[2].k"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("getter", "value"),
    [
        (lambda t: t.texts("k"), ["a", 1]),
        (lambda t: t.names("k"), ["a", "B"]),
        (lambda t: t.integers("k", least=0, most=9), [1, True]),
        (lambda t: t.numbers("k"), [1, float("nan")]),
        (lambda t: t.numbers("k"), [1, 10**400]),
        (lambda t: t.tables("k"), [{}, 1]),
    ],
)
def test_a_wrong_element_is_counted(getter, value):
    with pytest.raises(Malformed) as caught:
        getter(table(value))
    assert caught.value.place == "doc[2].k[1]"
    assert caught.value.remedy


def test_a_missing_key_is_refused_unless_it_has_a_default():
    with pytest.raises(Malformed, match=r"doc\[2\].absent: is missing"):
        table(1).text("absent")
    assert table(1).integer("absent", None, least=0, most=1) is None


def test_close_refuses_what_nobody_took_and_names_what_is_known():
    one = Table({"a": 1, "b": 2})
    one.integer("a", least=0, most=9)
    with pytest.raises(Malformed, match="b: is not a known key — remove it; known here: a"):
        one.close()


@pytest.mark.parametrize("values", [None, [], {1: 2}])
def test_what_is_no_table_is_refused(values):
    with pytest.raises(Malformed, match="document"):
        Table(values)


def test_a_date_is_its_midnight_in_utc_and_a_moment_keeps_its_offset():
    midnight = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
    assert table(date(2026, 11, 22)).moment("k") == midnight
    assert table(datetime.fromisoformat("2026-11-22T01:00:00+01:00")).moment("k") == midnight


def test_an_error_survives_the_way_between_processes():
    sent = Unavailable("is full", place="disk", remedy="free space")
    received = pickle.loads(pickle.dumps(sent))
    assert (type(received), str(received)) == (Unavailable, "disk: is full — free space")


def test_where_text_or_a_table_may_stand_one_can_ask_which():
    assert table("a").is_text("k")
    assert not table({"a": 1}).is_text("k")
    assert not table("a").is_text("gone")
