"""docs/signals.md: its tables and the limits it names are those of the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.signals import BANNER, GPP, NOW, SIGNALS, TCF, golden, policy, policy_text

from entrenous_consent.errors import Malformed, Refusal
from entrenous_consent.policy import parse_policy
from entrenous_consent.signal_settings import CONSENT_MODE, SOURCES, STORAGE
from entrenous_consent.signals import REASONS, gpc_objects, gpp, parse_gpp, parse_tcf, read, read_signal, tcf

GUIDE = (Path(__file__).parents[2] / "docs" / "signals.md").read_text("utf-8")
ONE_OF_EACH = {
    "choices": {"choices": {"measure": True}},
    "tcf": {"tcf": golden("everything consented, vendors as bits")},
    "gpp": {"gpp": next(one["text"] for one in GPP["golden"] if one["name"] == "Europe")},
    "consent_mode": {"consent_mode": {"ad_storage": "granted"}, "cmp": BANNER},
    "gpc": {"gpc": "1"},
}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, its heads left out."""
    (table,) = re.findall(rf"^## {re.escape(heading)}$.*?((?:^\|[^\n]*\n)+)", GUIDE, re.MULTILINE | re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def said(pattern: str) -> tuple[str, ...]:
    """Return what a sentence of the page says in the places that `pattern` leaves open."""
    [found] = re.finditer(pattern.replace(" ", r"\s+"), GUIDE)
    return found.groups()


def day(text: str) -> int:
    return int(datetime.strptime(text, "%d %B %Y").replace(tzinfo=UTC).timestamp())


def test_the_table_of_signals_is_what_is_read_and_what_a_record_says_of_it():
    told = {re.findall(r'"(\w+)":', row[1])[0]: row[3] for row in rows("What is read")}
    assert set(told) == set(ONE_OF_EACH)
    assert {frozenset(one) for one in ONE_OF_EACH.values()} == set(read._READERS)
    for kind, signal in ONE_OF_EACH.items():
        source = read_signal(policy(), signal, NOW).source
        assert told[kind] == (f"`{source}`" if source in SOURCES else "its name"), kind
    assert read_signal(policy(), ONE_OF_EACH["consent_mode"], NOW).source == BANNER


def test_two_signals_in_one_call_are_refused():
    assert "two in one call are refused" in GUIDE
    with pytest.raises(Malformed, match="expected one signal"):
        read_signal(policy(), {**ONE_OF_EACH["choices"], **ONE_OF_EACH["gpc"]}, NOW)


def test_the_table_of_reasons_is_the_reasons_in_both_languages():
    assert [tuple(row) for row in rows("Why a purpose was not granted")] == [
        (f"`{reason}`", *words) for reason, words in REASONS.items()
    ]


def test_the_longest_string_is_as_long_as_the_page_says():
    (most,) = said(r"over ([\d,]+) characters")
    longest = int(most.replace(",", ""))
    with pytest.raises(Malformed, match=f"is longer than {longest} characters"):
        parse_tcf("C" * (longest + 1))
    with pytest.raises(Malformed) as caught:
        parse_tcf("C" * longest)
    assert "is longer" not in str(caught.value)
    for parse in (parse_tcf, parse_gpp):
        with pytest.raises(Malformed, match="is longer"):
            parse("C" * (longest + 1))


def test_the_dates_of_the_page_are_those_of_the_parser():
    due, born = said(r"Last updated after (\d+ \w+ \d{4}), and no")[0], said(r"existed \((\d+ \w+ \d{4})\)")[0]
    assert day(due) + 86_400 == tcf._DISCLOSURE_DUE
    assert day(born) == tcf._PUBLISHED
    assert [row[1] for row in rows("Sources") if row[0].startswith("IAB Europe, deadline")] == [due]


def test_the_versions_of_the_page_are_those_of_the_parser():
    assert said(r"Version 1 and every version but (\d)") == (str(tcf._VERSION),)
    assert said(r"a policy version below (\d), and, when it comes to granting, below (\d)") == (
        str(tcf._FIRST_POLICY),
        str(read._FIRST_POLICY),
    )
    first, last = said(r"For TCF purposes (\d) to (\d) a string that claims it is refused")
    never = {one for one in range(1, 25) if tcf._NEVER_BY_LI >> (24 - one) & 1}
    assert never == {*range(int(first), int(last) + 1)}


def test_a_policy_names_no_purpose_of_a_string_above_those_of_the_page():
    (last,) = said(r"purposes above (\d+) are read")
    text = policy_text()
    parse_policy(text.replace("tcf_purposes = [1, 8]", f"tcf_purposes = [1, {last}]").encode())
    with pytest.raises(Malformed, match="tcf_purposes"):
        parse_policy(text.replace("tcf_purposes = [1, 8]", f"tcf_purposes = [1, {int(last) + 1}]").encode())


def test_the_sections_of_the_page_are_those_that_object():
    first, last, old = said(r"\*\*United States\*\* \((\d+) to (\d+), and the old US Privacy string, (\d+)\)")
    assert {*range(int(first), int(last) + 1)} == gpp._STATES
    assert said(r"\*\*Europe\*\* \((\d)\)") == (str(gpp._TCF_EU),)
    assert int(old) == gpp._US_PRIVACY
    assert f"GPP sections {first} to {last}" in GUIDE


def test_values_of_gpc_that_say_nothing_say_nothing():
    (values,) = said(r"Only the exact value `1` objects; (.+?) and everything else say nothing")
    spelt = re.findall(r"`([^`]*)`", values)
    assert len(spelt) == 3
    assert gpc_objects("1")
    assert not any(map(gpc_objects, spelt))


def test_the_settings_that_are_left_out_are_as_the_page_says():
    signals = policy("[signals]\n").signals
    assert "Left out, the setting is\n`false`" in GUIDE
    assert signals.gpc_yields_to_later_choice is False
    for kind in ("tcf", "consent_mode"):
        with pytest.raises(Refusal):
            read_signal(policy("[signals]\n"), ONE_OF_EACH[kind], NOW)


def test_what_is_about_storage_in_consent_mode_is_told_by_its_name():
    assert "one of them is about storage (`…_storage`)" in GUIDE
    assert [one for one in CONSENT_MODE if one.endswith("_storage")] == [*STORAGE]
    assert f"for the {['six', 'seven', 'eight'][len(CONSENT_MODE) - 6]} names" in GUIDE


def test_the_encoders_of_the_page_are_those_the_vectors_were_made_with():
    for package, version in {"@iabtechlabtcf/core": TCF, "@iabgpp/cmpapi": GPP}.items():
        assert f"`{package}` {version['made_with'][package]}" in GUIDE


def test_the_settings_that_the_page_names_are_settings():
    named = set(re.findall(r"`(tcf_vendor_id|tcf_publisher_purposes|cmps|gpc_yields_to_later_choice)\b", GUIDE))
    assert all(f"{name} = " in SIGNALS for name in named)
    assert len(named) == 4
