"""GPP strings: which sections they hold, which of them object, and a refusal of each bad one."""

from __future__ import annotations

import pytest
from tests.signals import GPP

from entrenous_consent.errors import Malformed
from entrenous_consent.signals import parse_gpp, parse_tcf
from entrenous_consent.signals._bits import Bits

EUROPEAN = GPP["european"]


@pytest.mark.parametrize("vector", GPP["golden"], ids=[one["name"] for one in GPP["golden"]])
def test_a_golden_string_tells_its_sections_and_objections(vector):
    consent = parse_gpp(vector["text"])
    assert list(consent.sections) == vector["sections"]
    assert list(consent.objections) == vector["objections"]
    assert consent.tcf == (parse_tcf(EUROPEAN) if vector["european"] else None)


@pytest.mark.parametrize("vector", GPP["bad"], ids=[one["name"] for one in GPP["bad"]])
def test_a_bad_string_is_refused(vector):
    with pytest.raises(Malformed) as caught:
        parse_gpp(vector["text"])
    assert caught.value.place.partition(".")[0] in {"gpp", "tcf"}
    assert caught.value.remedy


@pytest.mark.parametrize("value", [None, 1, b"DB", ["DB"], True])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(Malformed, match="expected text"):
        parse_gpp(value)


@pytest.mark.parametrize(
    ("header", "sections"), [("DBABM", (2,)), ("DBACNY", (2, 6)), ("DBABjw", (5, 6))], ids=["one", "two", "a range"]
)
def test_the_headers_of_the_specification_are_read(header, sections):
    bodies = {2: EUROPEAN, 5: "BAAA", 6: "1YNN"}
    assert parse_gpp("~".join([header, *(bodies[one] for one in sections)])).sections == sections


@pytest.mark.parametrize("vector", GPP["golden"][::7], ids=[one["name"] for one in GPP["golden"][::7]])
def test_a_string_with_a_section_taken_away_or_put_in_is_refused(vector):
    header, *bodies = vector["text"].split("~")
    for some in (bodies[:-1], [*bodies, bodies[0]]):
        with pytest.raises(Malformed):
            parse_gpp("~".join([header, *some]))


def test_an_old_us_privacy_string_objects_by_its_third_character_alone():
    for body, objects in (("1YYN", True), ("1NYN", True), ("1-Y-", True), ("1YNY", False), ("1---", False)):
        assert parse_gpp(f"DBABT~{body}").objections == ((6,) if objects else ()), body


@pytest.mark.parametrize(
    ("coded", "number"), [("11", 1), ("011", 2), ("0011", 3), ("1011", 4), ("00011", 5), ("01011", 7)]
)
def test_fibonacci_codes_are_those_of_the_specification(coded, number):
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[int(coded.ljust(6, "0"), 2)]
    assert Bits(letter, "here").fibonacci() == number


def test_nothing_of_a_string_shows_in_an_error_or_a_repr():
    canary = "CANARYcanary"
    for text in (canary, f"DBABM~{canary}", f"DBABLA~{canary}", f"DBABT~{canary}", f"DBABM~{EUROPEAN}.{canary}"):
        with pytest.raises(Malformed) as caught:
            parse_gpp(text)
        assert canary.lower() not in f"{caught.value!s}{vars(caught.value)}{caught.value.args}".lower()
    assert " object at " in repr(parse_gpp(f"DBABM~{EUROPEAN}"))
