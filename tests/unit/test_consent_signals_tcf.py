"""TCF strings: every field of the golden ones, and a refusal of each bad one that repeats nothing of it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from tests.signals import DAY, MADE, TCF, golden

from entrenous_consent.errors import Malformed
from entrenous_consent.signals import Ids, parse_tcf
from entrenous_consent.signals.tcf import LONGEST

GOOD = next(one["text"] for one in TCF["by_hand"] if one["name"] == "good")
NAMES = [f"{one['from']} {one['name']}" for one in TCF["golden"]]


def plain(value: Any) -> Any:
    """Return a parsed value as JSON would hold it."""
    if isinstance(value, Ids):
        return list(value)
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("vector", TCF["golden"], ids=NAMES)
def test_a_golden_string_decodes_field_for_field(vector):
    found = plain(parse_tcf(vector["text"]))
    restricted = sorted(found.pop("restrictions"), key=lambda one: (one["purpose"], one["kind"]))
    expected = dict(vector["fields"])
    assert restricted == sorted(expected.pop("restrictions"), key=lambda one: (one["purpose"], one["kind"]))
    assert found == expected


@pytest.mark.parametrize("vector", TCF["bad"], ids=[one["name"] for one in TCF["bad"]])
def test_a_bad_string_is_refused(vector):
    with pytest.raises(Malformed) as caught:
        parse_tcf(vector["text"])
    assert caught.value.place.partition(".")[0] == "tcf"
    assert caught.value.remedy


def test_the_good_string_that_bad_ones_are_made_of_is_taken():
    assert parse_tcf(GOOD).updated == MADE
    assert list(parse_tcf(GOOD).vendors_consent) == [300]


def test_padding_to_a_character_is_the_same_string():
    loose = next(one["text"] for one in TCF["by_hand"] if one["name"] == "padded to a character")
    assert loose.partition(".")[0] < GOOD.partition(".")[0]
    without_publisher = ".".join(GOOD.split(".")[:2])
    assert plain(parse_tcf(loose)) == plain(parse_tcf(without_publisher))


@pytest.mark.parametrize("value", [None, 1, b"CQ", ["CQ"], {"tcf": "CQ"}, True])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(Malformed, match="expected text"):
        parse_tcf(value)


@pytest.mark.parametrize("vector", TCF["golden"], ids=NAMES)
def test_a_cut_string_is_refused_or_has_lost_padding_or_whole_segments_alone(vector):
    whole = plain(parse_tcf(vector["text"]))
    for end in range(len(vector["text"])):
        try:
            found = plain(parse_tcf(vector["text"][:end]))
        except Malformed:
            continue
        for segment in ("disclosed", "publisher"):
            if found[segment] is None:
                found[segment] = whole[segment]
        assert found == whole


def test_a_string_of_the_last_day_without_disclosed_vendors_is_taken_and_of_the_next_is_not():
    before = golden("core alone, before disclosure was due")
    assert parse_tcf(before).disclosed is None
    after = next(one for one in TCF["bad"] if one["name"].startswith("updated after 28 February 2026"))
    with pytest.raises(Malformed, match="28 February 2026"):
        parse_tcf(after["text"])


def test_a_string_as_long_as_allowed_is_read_and_one_character_more_is_not():
    without_publisher = GOOD.rpartition(".")[0]
    for length, what in ((LONGEST, "longer than what it says"), (LONGEST + 1, "longer than 8192 characters")):
        with pytest.raises(Malformed, match=what):
            parse_tcf(f"{without_publisher}.Y".ljust(length, "A"))


def test_nothing_of_a_string_shows_in_an_error_or_a_repr():
    canary = "CANARYcanaryCANARYcanary"
    for text in (canary, f"{GOOD}.{canary}", GOOD[:-1] + "é" + canary, f"{canary}.{GOOD}", canary * 400):
        with pytest.raises(Malformed) as caught:
            parse_tcf(text)
        shown = f"{caught.value!s}{caught.value!r}{vars(caught.value)}{caught.value.args}"
        assert canary.lower() not in shown.lower()
    consent = parse_tcf(golden("publisher restrictions of every kind"))
    for part in (consent, consent.vendors_consent, consent.publisher, consent.restrictions[0]):
        assert "300" not in repr(part).partition(" object at ")[0]
        assert " object at " in repr(part)


def test_ids_are_a_set():
    ids = Ids(5, 0b10010)
    assert list(ids) == [1, 4]
    assert len(ids) == 2
    assert 1 in ids
    assert 2 not in ids
    assert 0 not in ids
    assert 6 not in ids
    assert DAY * 10**6 not in ids
