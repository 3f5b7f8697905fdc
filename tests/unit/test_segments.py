"""Segments: groups that a rule says, evaluated here and now, under consent; starters; and rules that name them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.segments import group, read_segments
from tests.shop import DAY

from entrenous.bundle import encode_bundle, read_bundle
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table
from entrenous_exporters.rules import write_rule
from entrenous_exporters.segmenting import Segments, load_starters, parse_starters

LOOKERS = ("personalize", "visit_views_7d >= 2.0")
BUYERS = ("history", "bought_orders_90d >= 1.0")
HESITANT = ("personalize", "segment('lookers') && !segment('buyers')")


def looked(visitor, times: int = 2) -> None:
    for _ in range(times):
        assert visitor.observe("view_item", category="boots", price=9900, currency="EUR").accepted


def inside(visitor) -> list[str]:
    outcome = visitor.segments()
    assert outcome.accepted, outcome
    return outcome.data["segments"]


@pytest.fixture
def schema(shop):
    return read_bundle(shop.bundle.read_bytes()).manifest.features


@pytest.fixture
def grouped(shop):
    group(shop, read_segments(shop, lookers=LOOKERS, buyers=BUYERS, hesitant=HESITANT))
    return shop.open()


def test_a_visitor_is_in_the_segments_whose_rule_holds(grouped):
    visitor = grouped.visitor("customer-42")
    visitor.consent(grouped.example_choices)
    assert inside(visitor) == []
    looked(visitor)
    assert inside(visitor) == ["hesitant", "lookers"]
    visitor.observe("purchase", value=100, currency="EUR")
    assert inside(visitor) == ["buyers", "lookers"]


def test_a_segment_is_left_as_the_window_passes(shop, grouped):
    visitor = grouped.visitor("customer-42")
    visitor.consent(grouped.example_choices)
    looked(visitor)
    shop.clock.now += 7 * DAY
    assert inside(visitor) == []


def test_nothing_granted_is_in_no_segment(grouped):
    visitor = grouped.visitor("customer-42")
    assert inside(visitor) == []
    visitor.consent({"measure": True})
    assert visitor.observe("view_item", category="boots").cause == "consent_missing"
    assert inside(visitor) == []


def test_a_segment_that_reads_what_is_not_granted_is_not_told(grouped):
    visitor = grouped.visitor("customer-42")
    visitor.consent({"personalize": True})
    looked(visitor)
    assert inside(visitor) == ["lookers"], "without history, nobody knows who did not buy"


def test_withdrawal_leaves_every_segment(grouped):
    visitor = grouped.visitor("customer-42")
    visitor.consent(grouped.example_choices)
    looked(visitor)
    visitor.consent({})
    assert inside(visitor) == []


def test_who_signed_in_is_in_what_the_device_granted_too(grouped):
    account, device = grouped.visitor("account-7"), grouped.visitor("device-1")
    account.consent(grouped.example_choices)
    looked(account)
    device.consent({"personalize": True})
    linked = device.link(account)
    assert inside(account) == ["hesitant", "lookers"]
    assert inside(linked) == ["lookers"]


def test_without_a_bundle_in_force_nobody_is_in_a_segment(shop, grouped):
    visitor = grouped.visitor("customer-42")
    visitor.consent(grouped.example_choices)
    looked(visitor)
    shop.updates_clock.now = shop.clock.now = grouped.bundle.expires
    assert inside(visitor) == []


def test_who_has_no_identifier_is_told_why(grouped):
    assert not grouped.visitor("").segments().accepted


# Rules that name a segment


def test_a_rule_that_names_a_segment_ships_with_its_tree(shop, schema):
    segments = Segments(
        [Table({"name": "buyers", "purpose": "history", "rule": BUYERS[1], "words": {"en": "b", "fr": "b"}})], schema
    )
    variables = segments._variables
    rule = write_rule("segment('buyers') || visit_views_7d > 3.0", variables, segments=segments.tree)
    assert rule.tree == ("or", (">=", ("var", "bought_orders_90d"), 1.0), (">", ("var", "visit_views_7d"), 3.0))
    assert rule.reads["bought_orders_90d"] == (1, 1), "what the segment reads is read where it is named"


def test_a_decision_for_a_segment_needs_what_the_segment_reads(shop):
    group(shop, read_segments(shop, buyers=BUYERS))
    read = read_bundle(shop.bundle.read_bytes())
    (buyers,) = read.manifest.segments
    decision = replace(read.manifest.decisions["promotion"], targeting=buyers.rule)
    manifest = replace(read.manifest, decisions={"promotion": decision})
    shop.bundle.write_bytes(encode_bundle(manifest, read.models))
    client = shop.open()
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    visitor.observe("purchase", value=100, currency="EUR")
    assert visitor.decide("promotion", "none").cause != "ineligible"
    visitor.consent({"personalize": True})
    assert visitor.decide("promotion", "none").cause == "ineligible"


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        ({"a": ("personalize", "segment('a') || visit_views_7d > 1.0")}, "stands within itself (a → a)"),
        (
            {"a": ("personalize", "segment('b')"), "b": ("personalize", "visit_views_7d > 1.0 && segment('a')")},
            "stands within itself (a → b → a)",
        ),
        ({"a": ("personalize", "segment('z')")}, "names a segment that is not declared"),
        ({"a": ("history", "visit_views_7d > 1.0")}, "is that of nothing that the rule reads"),
        ({"a": ("personalize", "now > timestamp('2026-01-01T00:00:00Z')")}, "is that of nothing that the rule reads"),
        ({"a": ("personalize", "page_url == 'x'")}, "reads a variable that is not declared"),
        ({"a": ("personalize", "segment(visit_views_7d)")}, "calls a function"),
    ],
)
def test_a_segment_that_can_not_be_is_refused_with_its_place(shop, rules, what):
    with pytest.raises(Malformed, match=re.escape(what)) as refused:
        read_segments(shop, **rules)
    assert refused.value.place.startswith("segments[")


def test_no_rule_outside_a_specification_names_a_segment():
    with pytest.raises(Malformed, match="calls a function"):
        write_rule("segment('a')", {})


def test_two_segments_of_one_name_are_refused(shop, schema):
    table = {"name": "a", "purpose": "personalize", "rule": "visit_views_7d > 1.0", "words": {"en": "a", "fr": "a"}}
    with pytest.raises(Malformed, match="twice"):
        Segments([Table(table), Table(table)], schema)


# The manifest


def change(shop, **changes: object) -> bytes:
    """Return the shop's bundle with another first segment, signed by nobody."""
    outer = unpack(shop.bundle.read_bytes(), place="", longest=1 << 22)
    manifest = unpack(outer["manifest"], place="", longest=1 << 22)
    manifest["segments"][0] |= changes
    return pack(outer | {"manifest": pack(manifest)})


def test_what_the_manifest_says_is_what_was_written(shop):
    segments = read_segments(shop, lookers=LOOKERS, buyers=BUYERS, hesitant=HESITANT)
    group(shop, segments)
    assert read_bundle(shop.bundle.read_bytes()).manifest.segments == segments


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": "buyers"}, "manifest.segments[1].name"),
        ({"purpose": "history"}, "manifest.segments[0].purpose"),
        ({"rule": [">", ["var", "hour"], ["var", "nothing"]]}, "manifest.segments[0].rule[2]"),
        ({"words": {"en": "only"}}, "manifest.segments[0].words.fr"),
        ({"colour": "red"}, "manifest.segments[0].colour"),
    ],
)
def test_a_manifest_with_a_segment_that_can_not_be_is_refused(shop, changes, place):
    group(shop, read_segments(shop, lookers=LOOKERS, buyers=BUYERS))
    with pytest.raises(Malformed) as refused:
        read_bundle(change(shop, **changes))
    assert refused.value.place.endswith(place)


def test_a_bundle_whose_policy_lost_a_purpose_of_a_segment_does_not_serve(shop):
    """Segments read declared features alone, and each of those has to be permitted."""
    group(shop, read_segments(shop, buyers=BUYERS))
    policy = shop.policy.read_text()
    shop.policy.write_text(policy.replace('name = "bought_*"', 'name = "spent_*"'))
    with pytest.raises(Forbidden, match="bought_last_90d"):
        shop.open()


# Starters


def test_five_starters_are_there_with_words_in_two_languages():
    starters = load_starters()
    assert list(starters) == ["high_spenders", "frequent", "new", "cart_abandoners", "at_risk"]
    assert all(one.en != one.fr for one in starters.values())


SCHEMA = {
    "spent": {"kind": "sum", "event": "purchase", "field": "value"},
    "orders": {"kind": "count", "event": "purchase"},
    "visits": {"kind": "days", "event": "page_view"},
    "since": {"kind": "age", "event": "page_view"},
    "cart": {"kind": "recency", "event": "add_to_cart"},
    "last": {"kind": "recency", "event": "page_view"},
}
PARTS = {
    "high_spenders": {"spent": "spent"},
    "frequent": {"visits": "visits"},
    "new": {"first": "since"},
    "cart_abandoners": {"cart": "cart", "orders": "orders"},
    "at_risk": {"last": "last", "orders": "orders"},
}
KEPT = {"window": 90, "purpose": "history", "category": "c", "source": "s", "retention_days": 90}


def starting(**tables: dict[str, object]) -> Segments:
    from entrenous.features import parse_schema

    features = parse_schema([Table({"name": name, **one, **KEPT}) for name, one in SCHEMA.items()])
    return Segments([Table({"name": n, "purpose": "history", **t}, n) for n, t in tables.items()], features)


@pytest.mark.parametrize(("starter", "parts"), PARTS.items(), ids=PARTS)
def test_each_starter_becomes_a_segment_over_a_shops_own_features(starter, parts):
    (segment,) = starting(mine={"starter": starter, "with": parts}).all()
    assert (segment.en, segment.fr) == (load_starters()[starter].en, load_starters()[starter].fr)


def test_a_threshold_of_a_starter_can_be_another():
    (segment,) = starting(mine={"starter": "high_spenders", "with": {"spent": "spent", "least": 50000}}).all()
    assert segment.rule == (">=", ("var", "spent"), 50000.0)


def test_a_starter_takes_words_of_the_shops_own():
    words = {"en": "Regulars", "fr": "Habitués"}
    (segment,) = starting(mine={"starter": "frequent", "with": {"visits": "visits"}, "words": words}).all()
    assert (segment.en, segment.fr) == ("Regulars", "Habitués")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({}, "is missing"),
        ({"spent": "nothing"}, "names no declared feature"),
        ({"spent": "orders"}, "names a feature that can't play this part"),
        ({"spent": "spent", "least": "a lot"}, "expected a number"),
        ({"spent": "spent", "most": 3}, "is not a known key"),
    ],
)
def test_a_starter_that_does_not_fit_is_refused_with_its_place(given, what):
    with pytest.raises(Malformed, match=what) as refused:
        starting(mine={"starter": "high_spenders", "with": given}).all()
    assert refused.value.place.startswith("mine.with.")


def test_an_unknown_starter_is_refused():
    with pytest.raises(Malformed, match="is not a known value"):
        starting(mine={"starter": "whales", "with": {}}).all()


def test_a_starter_whose_braces_name_nothing_is_refused():
    one = {"name": "a", "words": {"en": "a", "fr": "b"}, "rule": "{x} > {y}", "thresholds": {"y": 1}, "parts": {}}
    with pytest.raises(Malformed, match="names other places"):
        parse_starters(Table({"starters": [one]}))


@pytest.mark.parametrize(("language", "word"), [("en", "threshold {least}: 20000"), ("fr", "seuil {least}: 20000")])
def test_the_command_prints_every_starter_with_parts_and_thresholds(capsys, language, word):
    import argparse

    from entrenous_exporters.segment_commands import segments

    parser = argparse.ArgumentParser()
    segments(parser.add_subparsers())
    arguments = parser.parse_args(["segments", "--language", language])
    assert arguments.run(arguments) == 0
    told = capsys.readouterr().out
    assert word in told
    assert all(f"{name}: " in told for name in load_starters())
