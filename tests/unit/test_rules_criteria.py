"""Criteria on context and the clock: each matches whom it means, nobody else, and nobody who withholds it; and the
document lists all of them. Those on features are in `test_rules_features.py`."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from entrenous.targeting import Supplied, compile_gate, parse_supplied
from entrenous_consent.errors import Forbidden, Malformed, Missing
from entrenous_consent.parsing import Table
from entrenous_exporters.rules import REFUSED, Criterion, criterion, load_criteria, write_rule
from entrenous_exporters.rules.criteria import parse_criteria

DOCUMENT = (Path(__file__).parents[2] / "docs" / "targeting.md").read_text("utf-8")
GRANTED = frozenset({"personalize"})

# A Saturday, 2026-11-28, at 23:30 UTC; and the Wednesday before it, at noon.
LATE, NOON = 1_795_908_600, 1_795_608_000

SAMPLES = {
    "device_type": ({"types": ["phone", "tablet"]}, {"device_type": "phone"}, {"device_type": "desktop"}),
    "browser": ({"browsers": ["Firefox"]}, {"browser": "Firefox"}, {"browser": "Safari"}),
    "browser_version": (
        {"browser": "Firefox", "version": 120},
        {"browser": "Firefox", "browser_version": 121},
        {"browser": "Firefox", "browser_version": 119},
    ),
    "operating_system": ({"systems": ["iOS"]}, {"os": "iOS"}, {"os": "Android"}),
    "language": ({"language": "fr"}, {"language": "fr-CH"}, {"language": "en"}),
    "screen_size": ({"pixels": 1024}, {"screen_width": 1024}, {"screen_width": 800}),
    "ad_blocker": ({"present": True}, {"ad_blocker": True}, {"ad_blocker": False}),
    "cookie_value": ({"value": "b"}, {"cookie_value": "b"}, {"cookie_value": "a"}),
    "app_version": ({"version": "4."}, {"app_version": "4.2"}, {"app_version": "3.9"}),
    "sdk_version": ({"version": "0.1."}, {"sdk_version": "0.1.0"}, {"sdk_version": "0.2.0"}),
    "time_since_previous_visit": (
        {"hours": 24},
        {"hours_since_previous_visit": 30},
        {"hours_since_previous_visit": 2},
    ),
    "page_visited": ({"page": "/faq"}, {"pages_visited": ["/", "/faq"]}, {"pages_visited": ["/"]}),
    "pages_visited": ({"count": 2}, {"pages_visited": ["/", "/faq"]}, {"pages_visited": ["/"]}),
    "time_on_page": ({"seconds": 30}, {"seconds_on_page": 31.5}, {"seconds_on_page": 5}),
    "mean_page_duration": ({"seconds": 30}, {"mean_page_seconds": 40}, {"mean_page_seconds": 3}),
    "time_since_page_load": ({"seconds": 3}, {"seconds_since_load": 4}, {"seconds_since_load": 0}),
    "key_page": ({"page": "prices"}, {"key_pages_seen": ["prices"]}, {"key_pages_seen": []}),
    "landing_page": ({"path": "/sale"}, {"landing_page": "/sale/x"}, {"landing_page": "/"}),
    "previous_page": ({"path": "/cart"}, {"previous_page": "/cart"}, {"previous_page": "/"}),
    "page_title": ({"words": "Boots"}, {"page_title": "Boots for rain"}, {"page_title": "Bags"}),
    "page_url": ({"pattern": r"^/p/\d+$"}, {"page_url": "/p/42"}, {"page_url": "/p/new"}),
    "tabs_open": ({"count": 2}, {"tabs_open": 3}, {"tabs_open": 1}),
    "exit_intent": ({}, {"exit_intent": True}, {"exit_intent": False}),
    "element_seen": ({"element": "#reviews"}, {"elements_seen": ["#reviews"]}, {"elements_seen": ["#top"]}),
    "page_price": ({"minor_units": 5000}, {"page_price": 5000}, {"page_price": 4999}),
    "referrer": ({"text": "blog.example"}, {"referrer": "https://blog.example/1"}, {"referrer": ""}),
    "origin": ({"origins": ["newsletter"]}, {"origin": "newsletter"}, {"origin": "partner"}),
    "origin_type": ({"types": ["search", "social"]}, {"origin_type": "social"}, {"origin_type": "direct"}),
    "campaign": ({"campaign": "it's winter"}, {"campaign": "it's winter"}, {"campaign": "summer"}),
    "search_keywords": ({"words": "rain"}, {"search_keywords": "rain boots"}, {"search_keywords": "bags"}),
    "custom_data": ({"value": "a\\b\n"}, {"custom_data": "a\\b\n"}, {"custom_data": "ab"}),
    "custom_event": ({"event": "size_guide"}, {"custom_events": ["size_guide"]}, {"custom_events": []}),
    "cart_value": ({"minor_units": 4900}, {"cart_value": 4900}, {"cart_value": 0}),
    "cart_items": ({"count": 1}, {"cart_items": 1}, {"cart_items": 0}),
    "conversion_score": ({"least": 0.25}, {"conversion_score": 0.25}, {"conversion_score": 0.2}),
    "conversion_decile": ({"least": 9}, {"conversion_decile": 10}, {"conversion_decile": 8}),
    "tranche": ({"tranches": ["warm", "hot"]}, {"tranche": "hot"}, {"tranche": "cold"}),
    "segment": ({"segment": "at_risk"}, {"segments": ["at_risk"]}, {"segments": ["new"]}),
    "imported_segment": ({"segment": "gold"}, {"imported_segments": ["gold"]}, {"imported_segments": []}),
    "imported_attribute": ({"value": "pro"}, {"imported_attribute": "pro"}, {"imported_attribute": "private"}),
    "country": ({"countries": ["FR", "BE"]}, {"country": "BE"}, {"country": "DE"}),
    "region": ({"regions": ["Bretagne"]}, {"region": "Bretagne"}, {"region": "Alsace"}),
    "area": ({"areas": ["west"]}, {"area": "west"}, {"area": "east"}),
    "weather_sky": ({"skies": ["rain"]}, {"sky": "rain"}, {"sky": "clear"}),
    "weather_temperature": ({"celsius": -2.5}, {"temperature": -3}, {"temperature": 4}),
    "weather_forecast": ({"skies": ["snow"]}, {"forecast": "snow"}, {"forecast": "clear"}),
    "night": ({"offset": "+01:00", "sunrise": 7, "sunset": 20}, {"now": LATE}, {"now": NOON}),
    "day": ({"offset": "+01:00", "sunrise": 7, "sunset": 20}, {"now": NOON}, {"now": LATE}),
    "weekday": ({"offset": "+01:00", "day": 0}, {"now": LATE}, {"now": NOON}),
    "hour_range": ({"offset": "UTC", "start": 9, "end": 18}, {"now": NOON}, {"now": LATE}),
    "date_range": (
        {"start": "2026-11-27T00:00:00+01:00", "end": "2026-12-01T00:00:00+01:00"},
        {"now": LATE},
        {"now": NOON},
    ),
    "experiment": ({"experiment": "free_delivery_2"}, {"experiments": ["free_delivery_2"]}, {"experiments": ["x"]}),
    "exclusive_experiment": ({}, {"experiments": []}, {"experiments": ["x"]}),
    "personalisation_seen": ({"decision": "promotion"}, {"seen": ["promotion"]}, {"seen": []}),
    "feature_flag": ({"flag": "new_menu"}, {"flags": ["new_menu"]}, {"flags": []}),
}

CRITERIA = load_criteria()
SUPPLIED = tuple(one for one in CRITERIA if one.source != "feature")
each = pytest.mark.parametrize("one", SUPPLIED, ids=lambda one: one.name)
every = pytest.mark.parametrize("one", CRITERIA, ids=lambda one: one.name)


def admits(one: Criterion, said: dict, *, exclude: bool = False, granted: frozenset[str] = GRANTED) -> bool:
    """Say whether a decision with this criterion as its rule is for a visitor of whom this is known."""
    values, _, _ = SAMPLES[one.name]
    tree = write_rule(one.rule(**values), one.variables("personalize")).tree
    context = [
        Supplied(name=name, type=type_, purpose="personalize", category="user.behavior", source="first_party")
        for name, type_ in one.reads.items()
    ]
    gate = compile_gate(None if exclude else tree, tree if exclude else None, (), context)
    known = {key: value for key, value in said.items() if key != "now"}
    return gate.within(granted).admits([], [], known, said.get("now", NOON))


@each
def test_a_criterion_matches_whom_it_means(one):
    _, matching, _ = SAMPLES[one.name]
    assert admits(one, matching)
    assert not admits(one, matching, exclude=True)


@each
def test_a_criterion_matches_nobody_else(one):
    _, _, other = SAMPLES[one.name]
    assert not admits(one, other)
    assert admits(one, other, exclude=True)


@each
def test_a_criterion_that_is_withheld_matches_nobody_and_excludes_everybody(one):
    """By the purpose, whatever was said, and by each thing that is left unsaid; the clock is nobody's to withhold."""
    _, matching, other = SAMPLES[one.name]
    for said in (matching, other):
        if one.source == "clock":
            assert admits(one, said, granted=frozenset()) == admits(one, said)
            continue
        for exclude in (False, True):
            assert not admits(one, said, exclude=exclude, granted=frozenset())
            for unsaid in one.reads:
                rest = {key: value for key, value in said.items() if key != unsaid}
                assert not admits(one, rest, exclude=exclude)


@every
def test_a_criterion_has_words_in_two_languages(one):
    assert one.en != one.fr or one.name in {"campaign", "segment"}
    assert one.en.strip()
    assert one.fr.strip()


def test_every_criterion_has_a_sample_and_a_name_of_its_own():
    assert [one.name for one in SUPPLIED] == list(SAMPLES)


def test_the_document_lists_every_criterion_in_a_line_of_its_own():
    section = DOCUMENT.partition("\n## Criteria")[2]
    lines = [line.replace("\\|", "|") for line in section.splitlines() if line.startswith("| `")]
    assert len(lines) == len(CRITERIA)
    for one, line in zip(CRITERIA, lines, strict=True):
        assert line.startswith(f"| `{one.name}` | {one.en} · {one.fr} | `{one.template}` | ")
        for said in (one.rests_on, *(f"`{name}` ({type_})" for name, type_ in one.reads.items() if not one.rests_on)):
            assert said in line


def test_each_figure_of_the_document_names_the_bench_that_measured_it():
    section = DOCUMENT.partition("\n## What it costs")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(test_\w+)`", section, re.MULTILINE)
    benches = (Path(__file__).parents[2] / "benches" / "test_targeting.py").read_text("utf-8")
    assert named
    assert [name for name in named if f"def {name}(" not in benches] == []


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_scripts_and_raw_addresses_are_refused_and_the_reason_given(name):
    with pytest.raises(Forbidden, match=f"criterion {name}: is refused, whoever asks — a (script|raw)"):
        criterion(name)
    about = {"purpose": "personalize", "category": "user.behavior", "source": "first_party"}
    table = Table({"name": name, "type": "text", **about}, "context[0]")
    with pytest.raises(Malformed, match="raw address or a script"):
        parse_supplied([table], ())


def test_an_unknown_criterion_is_not_there():
    with pytest.raises(Missing, match="known: device_type, browser"):
        criterion("mood")


@pytest.mark.parametrize(
    ("name", "values", "place", "what"),
    [
        ("country", {}, "country.countries", "is not given"),
        ("country", {"countries": ["FR"], "country": "FR"}, "country.country", "is no value of this criterion"),
        ("exit_intent", {"present": True}, "exit_intent.present", "is no value of this criterion"),
        ("country", {"countries": "FR"}, "country.countries", "is not one text or more"),
        ("country", {"countries": []}, "country.countries", "is not one text or more"),
        ("country", {"countries": ["FR", 3]}, "country.countries", "is not one text or more"),
        ("visits", {"count": "3"}, "visits.count", "is not a finite number"),
        ("visits", {"count": True}, "visits.count", "is not a finite number"),
        ("visits", {"count": float("nan")}, "visits.count", "is not a finite number"),
        ("visits", {"count": 10**400}, "visits.count", "is not a finite number"),
        ("campaign", {"campaign": ["a"]}, "campaign.campaign", "is not text"),
        ("campaign", {"campaign": None}, "campaign.campaign", "is not text"),
        ("ad_blocker", {"present": 1}, "ad_blocker.present", "is not true or false"),
    ],
)
def test_a_value_that_is_missing_unknown_or_of_another_type_is_refused_with_its_name(name, values, place, what):
    with pytest.raises(Malformed) as refused:
        criterion(name).rule(**values)
    assert refused.value.what == what
    assert refused.value.place == f"criterion {place}"
    assert refused.value.remedy


def table(**said: object) -> Table:
    whole = {"name": "size", "en": "Size", "fr": "Taille", "template": "size == {size}", "values": {"size": "text"}}
    return Table(whole | {"context": {"size": "text"}} | said, "criteria[0]")


@pytest.mark.parametrize(
    ("said", "place", "what"),
    [
        ({"colour": 3}, "colour", "is not a known key"),
        ({"values": {"size": "moment"}}, "values.size", "is not a known value"),
        ({"context": {"size": "list"}}, "context.size", "is not a known value"),
        ({"template": "size == {other}"}, "template", "holds other names in braces"),
        ({"template": "size == 'a'"}, "template", "holds other names in braces"),
        ({"template": "size == {"}, "template", "is no template"),
        ({"template": "size == {size!r}"}, "template", "is no template"),
        ({"features": {"seen": {"kind": "count", "event": "any"}}}, "features", "stand beside context"),
        ({"features": {"seen": {"kind": "context", "event": "any"}}}, "features.seen.kind", "is not a known value"),
        ({"features": {"seen": {"kind": "count", "event": "hum"}}}, "features.seen.event", "is not a known value"),
        ({"features": {"seen": {"kind": "count", "event": "any", "at": 1}}}, "features.seen.at", "is not a known key"),
    ],
)
def test_a_table_of_criteria_is_read_strictly(said, place, what):
    with pytest.raises(Malformed, match=what) as refused:
        parse_criteria([table(**said)])
    assert refused.value.place == f"criteria[0].{place}"


def test_a_criterion_that_is_there_twice_or_declares_a_name_in_another_way_is_refused():
    with pytest.raises(Malformed, match=r"criteria\[0\]\.name: is there twice"):
        parse_criteria([table(), table()])
    with pytest.raises(Malformed, match="is declared in another way by another criterion"):
        parse_criteria([table(), table(name="width", context={"size": "number"})])


@pytest.mark.parametrize("text", ["'", "\\", "a' || true || '", '"', "\n", "\r", "\x00", "\u2028", "\\'", "é"])
def test_a_value_stays_a_value_whatever_stands_in_it(text):
    one = criterion("campaign")
    assert write_rule(one.rule(campaign=text), one.variables("p")).tree == ("==", ("var", "campaign"), text)


@pytest.mark.parametrize("snippet", re.findall(r"^```pycon\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE))
def test_the_documents_example_gives_what_it_shows(snippet):
    said: list[str] = []
    example = doctest.DocTestParser().get_doctest(snippet, {}, "targeting.md", "docs/targeting.md", 0)
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)
