"""Rules: the tree is read strictly; a compiled one says what it says, and absent or in error lets nobody in."""

from __future__ import annotations

import math

import pytest

from entrenous.features import parse_schema
from entrenous.targeting import (
    MOST_TEXTS,
    NOW,
    Supplied,
    Variable,
    compile_rule,
    features_as_variables,
    float32,
    parse_supplied,
    read_tree,
)
from entrenous.targeting.form import DEEPEST, LONGEST_TEXT, MOST_LISTED, MOST_MATCHES, MOST_NODES, MOST_VARIABLES
from entrenous.targeting.pattern import LONGEST_SUBJECT
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_consent.parsing import Table

VARIABLES = {
    "visits": Variable(type="number", purpose="personalize"),
    "spent": Variable(type="number", purpose="history"),
    "taste": Variable(type="text", purpose="personalize", values=("bags", "boots")),
    "page": Variable(type="text", purpose="personalize"),
    "segments": Variable(type="texts", purpose="personalize"),
    "vip": Variable(type="boolean", purpose="history"),
}
MANY = VARIABLES | {f"v{i}": Variable(type="boolean", purpose="personalize") for i in range(MOST_VARIABLES + 1)}
V, S, T, P, G, B = (["var", name] for name in VARIABLES)
ABOUT = {"purpose": "personalize", "category": "user.behavior", "source": "first_party"}
SUM = {"name": "spent", "kind": "sum", "event": "purchase", "field": "value", "window": 7, "retention_days": 7}
WAY = {"name": "way_in", "kind": "context", "field": "channel", "retention_days": 0}
SCHEMA = parse_schema([Table(SUM | ABOUT), Table(WAY | ABOUT)])
V_NEGATIVE = ["<", V, 0.0]
SQUARE = ["*", S, S]
EIGHTH = ["*", ["*", SQUARE, SQUARE], ["*", SQUARE, SQUARE]]
# A Saturday, 2026-11-28, at 23:30 UTC.
LATE = 1_795_908_600


def rule_of(tree):
    """Read a tree the way a runtime does, from its bytes, and compile it."""
    read = read_tree(unpack(pack(tree), place="", longest=1 << 16), VARIABLES, place="targeting")
    return compile_rule(read, VARIABLES)


def known(**values):
    return {NOW: LATE} | values


@pytest.mark.parametrize(
    ("tree", "holds", "fails"),
    [
        (["==", V, 3.0], {"visits": 3.0}, {"visits": 4.0}),
        (["!=", V, 3.0], {"visits": 4.0}, {"visits": 3.0}),
        (["<", V, 3.0], {"visits": 2.0}, {"visits": 3.0}),
        (["<=", V, 3.0], {"visits": 3.0}, {"visits": 4.0}),
        ([">", V, 3.0], {"visits": 4.0}, {"visits": 3.0}),
        ([">=", V, 3.0], {"visits": 3.0}, {"visits": 2.0}),
        (["<", 3.0, V], {"visits": 4.0}, {"visits": 3.0}),
        (["==", [">", V, 1.0], False], {"visits": 1.0}, {"visits": 2.0}),
        (["!=", [">", V, 1.0], True], {"visits": 1.0}, {"visits": 2.0}),
        ([">=", ["neg", V], -3.0], {"visits": 3.0}, {"visits": 4.0}),
        (["<=", ["neg", V], -3.0], {"visits": 3.0}, {"visits": 2.0}),
        (["in", ["neg", V], [-3.0]], {"visits": 3.0}, {"visits": 2.0}),
        (["and", B, B, B, [">", V, 1.0]], {"vip": True, "visits": 2.0}, {"vip": True, "visits": 1.0}),
        (["==", T, "bags"], {"taste": "bags"}, {"taste": "boots"}),
        (["==", "bags", T], {"taste": "bags"}, {"taste": "boots"}),
        (["==", T, P], {"taste": "bags", "page": "bags"}, {"taste": "bags", "page": "x"}),
        (["==", B, True], {"vip": True}, {"vip": False}),
        (B, {"vip": True}, {"vip": False}),
        (["not", B], {"vip": False}, {"vip": True}),
        (["and", B, [">", V, 1.0]], {"vip": True, "visits": 2.0}, {"vip": True, "visits": 1.0}),
        (["and", B, B, B], {"vip": True}, {"vip": False}),
        (["or", B, [">", V, 1.0]], {"vip": False, "visits": 2.0}, {"vip": False, "visits": 1.0}),
        (["or", B, B, B], {"vip": True}, {"vip": False}),
        (["in", V, [1.0, 2.0]], {"visits": 2.0}, {"visits": 3.0}),
        (["in", T, ["bags"]], {"taste": "bags"}, {"taste": "boots"}),
        (["in", P, ["var", "vip"]], {"page": "var"}, {"page": "no"}),
        (["has", G, "crm_gold"], {"segments": ["a", "crm_gold"]}, {"segments": ["crm"]}),
        ([">", ["size", G], 1.0], {"segments": ["a", "b"]}, {"segments": ["a"]}),
        ([">", ["+", V, S], 3.0], {"visits": 2.0, "spent": 2.0}, {"visits": 1.0, "spent": 2.0}),
        ([">", ["-", V, 1.0], 3.0], {"visits": 5.0}, {"visits": 4.0}),
        ([">", ["*", V, 2.0], 3.0], {"visits": 2.0}, {"visits": 1.0}),
        ([">", ["/", S, V], 3.0], {"visits": 2.0, "spent": 8.0}, {"visits": 2.0, "spent": 6.0}),
        (["<", ["neg", V], -3.0], {"visits": 4.0}, {"visits": 3.0}),
        (["starts_with", P, "/a"], {"page": "/ab"}, {"page": "b/a"}),
        (["starts_with", P, "/a"], {"page": "/a"}, {"page": "/"}),
        (["starts_with", P, "/a"], {"page": "/a\U0010ffff"}, {"page": "/b"}),
        (["starts_with", P, "é"], {"page": "éa"}, {"page": "ê"}),
        (["starts_with", P, "a\U0010ffff"], {"page": "a\U0010ffffb"}, {"page": "a"}),
        (["starts_with", P, "\ud7ff"], {"page": "\ud7ffx"}, {"page": "\ud800"}),
        (["not", ["has", G, "gold"]], {"segments": ["a"]}, {"segments": ["gold"]}),
        (["not", ["contains", P, "sale"]], {"page": "/"}, {"page": "/sale"}),
        (["not", ["in", T, ["bags"]]], {"taste": "boots"}, {"taste": "bags"}),
        (["not", ["and", B, ["not", [">", V, 1.0]]]], {"vip": True, "visits": 2.0}, {"vip": True, "visits": 1.0}),
        (["not", ["or", B, ["<", V, 1.0]]], {"vip": False, "visits": 1.0}, {"vip": False, "visits": 0.0}),
        (["not", ["or", False, B]], {"vip": False}, {"vip": True}),
        (["and", True, B], {"vip": True}, {"vip": False}),
        (["==", ["or", B, B, [">", V, 1.0]], True], {"vip": False, "visits": 2.0}, {"vip": False, "visits": 1.0}),
        (["==", ["and", B, B, [">", V, 1.0]], True], {"vip": True, "visits": 2.0}, {"vip": True, "visits": 1.0}),
        (["==", ["or", V_NEGATIVE, [">", V, 1.0]], True], {"visits": 2.0}, {"visits": 1.0}),
        (["==", ["or", B, [">", V, 1.0]], True], {"vip": True, "visits": 0.0}, {"vip": False, "visits": 0.0}),
        (["==", ["or", V_NEGATIVE, B], True], {"vip": True, "visits": 1.0}, {"vip": False, "visits": 1.0}),
        (["<=", 3.0, V], {"visits": 3.0}, {"visits": 2.0}),
        ([">", 3.0, V], {"visits": 2.0}, {"visits": 3.0}),
        ([">=", 3.0, V], {"visits": 3.0}, {"visits": 4.0}),
        (["ends_with", P, "/a"], {"page": "b/a"}, {"page": "/ab"}),
        (["contains", P, "sale"], {"page": "/sale/"}, {"page": "/sa-le"}),
        (["matches", P, "^/p/[0-9]+$"], {"page": "/p/12"}, {"page": "/p/"}),
        ([">", ["now"], ["time", LATE - 1]], {}, {NOW: LATE - 2}),
        (["==", ["hour", 0], 23.0], {}, {NOW: LATE + 3600}),
        (["<=", 23.0, ["hour", 0]], {}, {NOW: LATE + 3600}),
        (["in", ["hour", 0], [23.0, 5.0]], {}, {NOW: LATE + 3600}),
        (["not", ["in", ["day_of_week", 0], [0.0, 1.0]]], {}, {NOW: LATE + 3600}),
        (["==", ["hour", 0], ["+", V, 20.0]], {"visits": 3.0}, {"visits": 2.0}),
        ([">", ["-", ["day_of_week", 0], V], 5.0], {"visits": 0.0}, {"visits": 1.0}),
        (["==", ["hour", 60], 0.0], {}, {NOW: LATE - 3600}),
        (["==", ["day_of_week", 0], 6.0], {}, {NOW: LATE + 3600}),
        (["==", ["day_of_week", 60], 0.0], {}, {NOW: LATE - 3600}),
    ],
)
def test_a_rule_says_what_it_says(tree, holds, fails):
    rule = rule_of(tree)
    assert rule.matches(known(**holds))
    assert rule.excludes(known(**holds))
    assert not rule.matches(known(**fails))
    assert not rule.excludes(known(**fails))


def test_something_absent_decides_the_matter_before_the_rule_is_evaluated():
    rule = rule_of(["or", B, [">", V, 1.0]])
    assert rule.reads == ("vip", "visits")
    assert rule.purposes == {"history", "personalize"}
    assert not rule.matches(known(vip=True))
    assert rule.excludes(known(vip=False))


@pytest.mark.parametrize("there", [{}, {"vip": True}, {"vip": False}, {"visits": 9.0}, {"visits": 0.0}])
@pytest.mark.parametrize("inner", [["and", B, [">", V, 1.0]], ["or", B, [">", V, 1.0]], ["==", B, [">", V, 1.0]]])
@pytest.mark.parametrize("shape", [lambda one: one, lambda one: ["not", one], lambda one: ["==", one, True]])
@pytest.mark.parametrize("joint", ["and", "or", ""])
def test_whatever_its_shape_a_rule_that_misses_something_neither_matches_nor_lets_in(there, inner, shape, joint):
    rule = rule_of([joint, shape(inner), B] if joint else shape(inner))
    assert not rule.matches(known(**there))
    assert rule.excludes(known(**there))


def test_a_long_chain_that_misses_its_last_neither_matches_nor_lets_in():
    for joint, there in (("and", True), ("or", False)):
        rule = rule_of([joint, B, B, B, B, [">", V, 1.0]])
        assert not rule.matches(known(vip=there))
        assert rule.excludes(known(vip=there))


@pytest.mark.parametrize(
    "tree",
    [
        [">", ["/", S, V], 0.0],
        ["<", ["/", S, V], 0.0],
        [">", ["*", EIGHTH, S], 0.0],
        [">", ["*", EIGHTH, float32(3e38)], 0.0],
        ["not", [">", ["-", ["*", EIGHTH, S], ["*", EIGHTH, S]], 0.0]],
    ],
)
def test_an_error_neither_matches_nor_lets_in(tree):
    rule, values = rule_of(tree), known(visits=0.0, spent=float32(3e38))
    assert not rule.matches(values)
    assert rule.excludes(values)


def test_what_is_not_reached_is_no_error():
    rule = rule_of(["and", [">", V, 0.0], [">", ["/", S, V], 1.0]])
    assert not rule.excludes(known(visits=0.0, spent=1.0))


@pytest.mark.parametrize(
    ("tree", "place", "what"),
    [
        ([], "", "is not a known operator"),
        (["eval", P], "", "is not a known operator"),
        ([["var", "page"]], "", "is not a known operator"),
        (True, "", "is not a condition"),
        (V, "", "is not a condition"),
        (["now"], "", "is not a condition"),
        (["var", "colour"], "", "not declared"),
        (["var", 3.0], "", "not declared"),
        (["var", NOW], "", "not declared"),
        (["var"], "", "wrong number of parts"),
        (["not", B, B], "", "wrong number of parts"),
        (["and", B], "", "wrong number of parts"),
        (["and", B, ["not", V]], "[2][1]", "is a number where a condition is needed"),
        (["==", V, "a"], "", "compares a number with text"),
        (["==", G, G], "", "compares several texts with several texts"),
        (["==", ["now"], ["time", 3]], "", "compares a moment with a moment"),
        (["==", T, "shoes"], "[2]", "is no listed value"),
        (["==", "shoes", T], "[1]", "is no listed value"),
        (["in", T, ["bags", "shoes"]], "[2][1]", "is no listed value"),
        (["<", T, "bags"], "", "orders text and text"),
        (["<", ["now"], 3.0], "", "orders a moment and a number"),
        (["==", V, 3], "[2]", "is not true, false, a number or text"),
        (["==", V, None], "[2]", "is not true, false, a number or text"),
        (["==", V, b"a"], "[2]", "is not true, false, a number or text"),
        (["==", V, 0.1], "[2]", "is not a float32 number"),
        (["==", V, math.inf], "[2]", "is not a float32 number"),
        (["==", V, math.nan], "[2]", "is not a float32 number"),
        (["==", P, "a" * (LONGEST_TEXT + 1)], "[2]", "is not text of at most"),
        (["in", V, []], "[2]", "is not a list"),
        (["in", V, 3.0], "[2]", "is not a list"),
        (["in", V, [float(i) for i in range(MOST_LISTED + 1)]], "[2]", "is not a list"),
        (["in", V, [1.0, "a"]], "[2][1]", "is text, and looked up is a number"),
        (["in", V, [1.0, 1.0]], "[2]", "lists a value twice"),
        (["in", B, [True]], "[1]", "is a condition"),
        (["in", V, [V]], "[2][0]", "is not true, false, a number or text"),
        (["has", T, "bags"], "[1]", "is text where several texts is needed"),
        (["has", G, 3.0], "[2]", "is not text"),
        ([">", ["size", T], 1.0], "[1][1]", "several texts is needed"),
        ([">", ["+", 1.0, 2.0], V], "[1]", "reckons with literals alone"),
        ([">", ["+", V, "a"], 2.0], "[1][2]", "is text where a number is needed"),
        (["contains", V, "a"], "[1]", "is a number where text is needed"),
        (["contains", "a", "a"], "[1]", "is a literal"),
        (["contains", P, ""], "[2]", "is empty"),
        (["contains", P, P], "[2]", "is not text"),
        (["or", ["contains", P, "a" * 100], ["contains", P, "b" * 101]], "[2]", "looks for more than 200 characters"),
        (["matches", P, "(a+)+"], "[2]", "character 1 repeats what repeats inside"),
        (["or", *[["matches", P, "a"]] * (MOST_MATCHES + 1)], f"[{MOST_MATCHES + 1}]", "is a pattern beyond"),
        (["<", ["now"], ["time", 1.5]], "[2][1]", "is not an integer"),
        (["<", ["now"], ["time", True]], "[2][1]", "is not an integer"),
        (["<", ["now"], ["time", 1 << 41]], "[2][1]", "is not an integer"),
        (["==", ["hour", 15 * 60], 1.0], "[1][1]", "is not an integer"),
        (["or", *[["==", V, 1.0]] * 100], "[86]", f"is more than {MOST_NODES} parts"),
        (["or", *(["var", f"v{i}"] for i in range(MOST_VARIABLES + 1))], "", "reads more than"),
    ],
)
def test_a_tree_of_another_form_is_refused_with_its_place(tree, place, what):
    with pytest.raises(Malformed) as refused:
        read_tree(tree, MANY, place="targeting")
    assert what in refused.value.what
    assert refused.value.place.startswith(f"targeting{place}")
    assert refused.value.remedy


def test_as_many_characters_as_a_rule_may_look_for_are_taken():
    tree = ["or", ["contains", P, "a" * 100], ["contains", P, "b" * 100], ["ends_with", P, "c" * 100]]
    assert read_tree(tree, VARIABLES, place="targeting")


def test_a_tree_that_is_too_deep_is_refused():
    tree = B
    for _ in range(DEEPEST + 1):
        tree = ["not", tree]
    with pytest.raises(Malformed, match="lies deeper"):
        read_tree(tree, VARIABLES, place="targeting")


def test_the_clocks_name_is_no_features_name():
    feature = Table({"name": "now", "kind": "context", "field": "x", **ABOUT, "retention_days": 0})
    assert features_as_variables(parse_schema([feature])) == {}


def supplied(type_: str) -> Supplied:
    (one,) = parse_supplied([Table({"name": "said", "type": type_, **ABOUT}, "context[0]")], ())
    return one


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        ("text", "/a", "/a"),
        ("text", "a" * LONGEST_SUBJECT, "a" * LONGEST_SUBJECT),
        ("text", "a" * (LONGEST_SUBJECT + 1), None),
        ("text", "a" * 1_000_000, None),
        ("boolean", False, False),
        ("number", 3, 3.0),
        ("number", 0.1, float32(0.1)),
        ("number", math.nan, None),
        ("number", 10**400, None),
        ("number", -(10**400), None),
        ("texts", ["a", "b"], ["a", "b"]),
        ("texts", ["a"] * (MOST_TEXTS + 1), None),
        ("texts", ["a" * (LONGEST_SUBJECT + 1)], None),
    ],
)
def test_what_is_too_long_or_no_number_is_absent(type_, value, read):
    assert supplied(type_).read(value) == read


@pytest.mark.parametrize(
    ("type_", "value"),
    [("text", 3), ("boolean", 1), ("number", True), ("number", "3"), ("texts", "ab"), ("texts", ["a", 3])],
)
def test_context_of_another_type_is_refused_without_its_value(type_, value):
    with pytest.raises(Malformed, match=r"context\.said: expected") as refused:
        supplied(type_).read(value)
    assert repr(value) not in str(refused.value)
    assert refused.value.remedy.startswith("hand over ")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": "ip_address"}, "context[0].name"),
        ({"name": "javascript"}, "context[0].name"),
        ({"category": "user.device.ip_address"}, "context[0].category"),
        ({"category": "user.contact.email.work"}, "context[0].category"),
        ({"name": "spent"}, "context[0].name"),
        ({"name": "channel"}, "context[0].name"),
        ({"name": "way_in"}, "context[0].name"),
        ({"name": "now"}, "context[0].name"),
        ({"type": "moment"}, "context[0].type"),
        ({"value": 3}, "context[0].value"),
    ],
)
def test_raw_addresses_scripts_and_names_that_mean_two_things_are_refused(change, place):
    table = Table({"name": "said", "type": "text", **ABOUT} | change, "context[0]")
    with pytest.raises(Malformed) as refused:
        parse_supplied([table], SCHEMA)
    assert refused.value.place == place
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"field": "ip_address"}, "features[0].field"),
        ({"field": "javascript"}, "features[0].field"),
        ({"name": "client_ip"}, "features[0].name"),
        ({"category": "user.device.ip_address"}, "features[0].category"),
        ({"category": "user.contact.email"}, "features[0].category"),
    ],
)
def test_raw_addresses_and_scripts_are_refused_as_a_models_context_too(change, place):
    with pytest.raises(Malformed, match="raw address") as refused:
        parse_schema([Table(WAY | ABOUT | change, "features[0]")])
    assert refused.value.place == place
    assert "supply what it stands for" in refused.value.remedy


@pytest.mark.parametrize(
    "name",
    [
        *(
            "ip",
            "client_ip",
            "user_ip_v6",
            "ip_address",
            "last_ips",
            "x_real_ip",
            "ipv4",
            "visitor_ipv6_hash",
            "ipaddr",
        ),
        *("remote_addr", "http_remote_address", "x_forwarded_for", "mac", "wifi_mac", "mac_address", "device_mac_addr"),
        *("email", "customer_email", "email_hash", "hashed_email_2", "email_sha256", "e_mail", "login_email_address"),
        *("js", "page_js", "javascript", "custom_script", "code", "snippet"),
    ],
)
def test_a_name_with_a_word_for_a_raw_address_or_a_script_is_refused_wherever_it_stands(name):
    with pytest.raises(Malformed, match=r"context\[0\]\.name: is a raw address or a script"):
        parse_supplied([Table({"name": name, "type": "text", **ABOUT}, "context[0]")], ())
    with pytest.raises(Malformed, match=r"features\[0\]\.field: is a raw address or a script"):
        parse_schema([Table(WAY | ABOUT | {"field": name}, "features[0]")])


@pytest.mark.parametrize(
    "name",
    [
        *("zip", "ship_method", "equipment", "tips", "recipe", "clip_seen", "ripe", "shipping", "membership", "vip"),
        *("mac_os", "machine", "stomach", "email_campaign", "email_opened", "emailing", "address_country", "addressed"),
        *("country_code", "promo_code", "code_postal", "description", "manuscript", "subscription", "jsx", "remote"),
    ],
)
def test_a_name_that_only_resembles_one_is_taken(name):
    (one,) = parse_supplied([Table({"name": name, "type": "text", **ABOUT}, "context[0]")], ())
    assert one.name == name
    assert parse_schema([Table(WAY | ABOUT | {"field": name})])[0].field == name


def test_a_field_that_a_feature_sums_is_no_name_that_is_taken():
    (one,) = parse_supplied([Table({"name": "value", "type": "number", **ABOUT}, "context[0]")], SCHEMA)
    assert one.name == "value"


def test_a_key_declared_twice_is_refused():
    tables = [Table({"name": "said", "type": "text", **ABOUT}, f"context[{i}]") for i in range(2)]
    with pytest.raises(Malformed, match=r"context\[1\]\.name: is declared twice"):
        parse_supplied(tables, ())
