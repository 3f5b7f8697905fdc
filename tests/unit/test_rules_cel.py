"""CEL in, tree out: the subset is taken, all else is refused with its line and column; and a spec's rule ships."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pytest
from tests.shop import NOON

from entrenous.bundle import read_bundle
from entrenous.targeting import LONGEST_RULE, MOST_SUPPLIED, Variable
from entrenous_consent.errors import Forbidden, Malformed, Missing
from entrenous_consent.policy import parse_policy
from entrenous_exporters.built import Built
from entrenous_exporters.rules import write_rule
from entrenous_exporters.spec import parse_spec
from entrenous_exporters.train import check_permitted, make_bundle

VARIABLES = {
    "visits": Variable(type="number", purpose="personalize"),
    "taste": Variable(type="text", purpose="personalize", values=("bags", "boots")),
    "page": Variable(type="text", purpose="personalize"),
    "segments": Variable(type="texts", purpose="history"),
    "vip": Variable(type="boolean", purpose="history"),
}
V, T, P, G, B = (("var", name) for name in VARIABLES)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("vip", B),
        ("((vip))", B),
        ("!vip", ("not", B)),
        ("vip == true || vip == false", ("or", ("==", B, True), ("==", B, False))),
        ("vip && vip && !vip", ("and", B, B, ("not", B))),
        ("vip || (vip || vip)", ("or", B, ("or", B, B))),
        ("(vip || vip) && vip", ("and", ("or", B, B), B)),
        ("visits >= 3", (">=", V, 3.0)),
        ("visits > -2.5e1", (">", V, -25.0)),
        ("visits < 0x10", ("<", V, 16.0)),
        ("visits == 0.1", ("==", V, 0.10000000149011612)),
        ("visits + 1 > visits * 2", (">", ("+", V, 1.0), ("*", V, 2.0))),
        ("visits - 1 <= 8 / visits", ("<=", ("-", V, 1.0), ("/", 8.0, V))),
        ("- visits < - 3", ("<", ("neg", V), -3.0)),
        ("visits in [1, -2, 3.5]", ("in", V, (1.0, -2.0, 3.5))),
        ("visits in [- 2]", ("in", V, (-2.0,))),
        ("taste in ['bags', \"boots\"]", ("in", T, ("bags", "boots"))),
        ("'gold' in segments", ("has", G, "gold")),
        ("size(segments) > 1", (">", ("size", G), 1.0)),
        ("segments.size() > 1", (">", ("size", G), 1.0)),
        ("page.startsWith('/a')", ("starts_with", P, "/a")),
        ("page.endsWith('/a')", ("ends_with", P, "/a")),
        ("page.contains('a')", ("contains", P, "a")),
        (r"page.matches(r'^\d+$')", ("matches", P, r"^\d+$")),
        (r"page.matches('^\\d+$')", ("matches", P, r"^\d+$")),
        (r"page == 'it\'s\t\x41\u00e9'", ("==", P, "it's\tAé")),
        ("page == '' // nothing", ("==", P, "")),
        ("now < timestamp('2026-11-28T01:00:00+01:00')", ("<", ("now",), ("time", 1_795_824_000))),
        ("now.getHours() >= 9", (">=", ("hour", 0), 9.0)),
        ("now.getHours('UTC') >= 9", (">=", ("hour", 0), 9.0)),
        ("now.getHours('+02:00') >= 9", (">=", ("hour", 120), 9.0)),
        ("now.getDayOfWeek('-05:30') in [0, 6]", ("in", ("day_of_week", -330), (0.0, 6.0))),
    ],
)
def test_the_subset_is_read(text, tree):
    assert write_rule(text, VARIABLES).tree == tree


@pytest.mark.parametrize(
    ("text", "at", "what"),
    [
        ("", (1, 1), "is not CEL"),
        ("vip &&", (1, 5), "is not CEL"),
        ("vip ; vip", (1, 5), "is not CEL"),
        ("vip &&\n  'open", (2, 3), "is not CEL"),
        ("visits", (1, 1), "is not a condition"),
        ("true", (1, 1), "is not a condition"),
        ("vip &&\n  colour == 'red'", (2, 3), "not declared"),
        ("taste == 'hats'", (1, 10), "is no listed value"),
        ("taste in ['bags', 'hats']", (1, 19), "is no listed value"),
        ("visits > 'a'", (1, 1), "orders a number and text"),
        ("vip ? vip : vip", (1, 1), "is not part of the subset"),
        ("page.length == 3", (1, 1), "is not part of the subset"),
        ("segments[0] == 'a'", (1, 1), "is not part of the subset"),
        ("{1: 2} == 3", (1, 1), "is not part of the subset"),
        ("[1] == [1]", (1, 1), "is not part of the subset"),
        (".visits > 3", (1, 1), "is not part of the subset"),
        ("visits % 2 == 0", (1, 1), "is not part of the subset"),
        ("Page{} == 3", (1, 1), "is not part of the subset"),
        ("segments.exists(s, s == 'a')", (1, 10), "calls a method"),
        ("page.startsWith('a', 'b')", (1, 6), "calls a method"),
        ("visits.getHours() > 3", (1, 8), "calls a method"),
        ("has(page)", (1, 1), "calls a function"),
        ("size(segments, segments) > 1", (1, 1), "calls a function"),
        ("timestamp(visits) < now", (1, 1), "calls a function"),
        ("timestamp('2026-11-28') < now", (1, 11), "is not a moment"),
        ("timestamp('yesterday') < now", (1, 11), "is not a moment"),
        ("timestamp('2026-11-28T00:00:00.5Z') < now", (1, 11), "is not a moment"),
        ("now.getHours('Europe/Paris') > 3", (1, 14), "is not an offset"),
        ("now.getHours('+02:75') > 3", (1, 14), "is not an offset"),
        ("now.getHours(3) > 3", (1, 14), "is not an offset"),
        ("now.getHours('+15:00') > 3", (1, 14), "is not an offset"),
        ("now.getHours('-14:01') > 3", (1, 14), "is not an offset"),
        ("visits == null", (1, 11), "is a literal"),
        ("visits == 3u", (1, 11), "is a literal"),
        ("page == b'a'", (1, 9), "is a literal"),
        ("page == '''a'''", (1, 9), "is a literal"),
        (r"page == '\a'", (1, 9), "has an escape"),
        ("visits > 1e400", (1, 10), "is not a float32"),
        ("visits > 0x" + "f" * 400, (1, 10), "is not a float32"),
        ("visits in []", (1, 11), "is not a list"),
        ("visits in [visits]", (1, 12), "is not a literal"),
        ("visits in [-visits]", (1, 12), "is not a literal"),
        ("page in segments", (1, 1), "is looked up in a variable"),
        ("page.matches('(a+)+')", (1, 14), "character 1 repeats what repeats inside"),
        ("1 + 2 > visits", (1, 1), "reckons with literals alone"),
        ("!" * 80 + "vip", (1, 66), "lies deeper"),
    ],
)
def test_what_is_not_in_the_subset_is_refused_with_its_place(text, at, what):
    with pytest.raises(Malformed) as refused:
        write_rule(text, VARIABLES, place="decision.targeting")
    assert what in refused.value.what
    assert refused.value.place == f"decision.targeting, line {at[0]}, column {at[1]}"
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("has(page) && vip", "leave it out: a rule that reads what is absent does not match"),
        ("visits == null", "leave it out: a rule that reads what is absent does not match"),
        ("visits == 3u", "write the number without u"),
        ("page == b'a'", "write text in quotes, without b"),
        ("page == '''a'''", "write it on one line, in one pair of quotes"),
        ("segments == 'gold'", "look for one text, as in 'gold' in segments, or compare size(segments)"),
        ("now == timestamp('2026-11-28T00:00:00Z')", "order moments with < or >="),
        ("page.startsWith(taste)", "write a literal in quotes; a variable can't stand here"),
        ("page.startsWith('a') && visits", "compare it, as in visits > 3.0"),
        ("size(page) > 3", "name a variable that is declared with the type texts"),
        ("visits > 1e400", "stay within 3.4e38, and round it to float32"),
        (" || ".join(["page.matches('a')"] * 3), "say it in one of the others, with | between the two"),
    ],
)
def test_a_refusal_says_what_its_author_can_write_instead(text, remedy):
    with pytest.raises(Malformed) as refused:
        write_rule(text, VARIABLES)
    assert refused.value.remedy == remedy


def test_what_a_remedy_says_is_taken():
    for text in (
        "'gold' in segments || size(segments) > 3",
        "now < timestamp('2026-11-28T00:00:00Z')",
        "page.startsWith('a') && visits > 3.0",
        "page.matches('a|b') || page.matches('c')",
        "now.getHours('+14:00') > 3 && now.getHours('-14:00') > 3",
        "visits < 3.4e38",
    ):
        assert write_rule(text, VARIABLES).tree


def test_a_rule_that_is_too_long_is_refused():
    with pytest.raises(Malformed, match=f"is longer than {LONGEST_RULE} characters"):
        write_rule("vip" + " " * LONGEST_RULE, VARIABLES)


def test_a_rule_says_where_it_reads_each_variable_first():
    written = write_rule("visits > 3 ||\n  taste in ['bags'] && visits < 9", VARIABLES)
    assert written.reads == {"visits": (1, 1), "taste": (2, 3)}


# In a training specification

CONTEXT = """
[[context]]
name = "page_url"
type = "text"
purpose = "personalize"
category = "user.behavior"
source = "first_party"
"""
TARGETING = "visit_views_7d >= 2 &&\\n  page_url.startsWith('/sale/')"


def spec_of(**rules: str):
    text = (files("entrenous_exporters.demo") / "generated.toml").read_text()
    lines = "".join(f'{key} = "{rule}"\n' for key, rule in rules.items())
    return parse_spec((text.replace("[decision]\n", f"[decision]\n{lines}") + CONTEXT).encode())


PAGE_RULE = """
[[features]]
name = "{page}"
purpose = "{purpose}"
category = "user.behavior"
source = "first_party"
retention_days = 0
"""


def policy_of(page: str = "page_url", purpose: str = "personalize"):
    text = (files("entrenous.demo") / "policy.toml").read_text()
    return parse_policy((text + PAGE_RULE.format(page=page, purpose=purpose)).encode())


def built() -> Built:
    """Return what stands for training: the packaged demonstration's model."""
    shipped = read_bundle((files("entrenous.demo") / "bundle.msgpack").read_bytes())
    rule = shipped.manifest.decisions["promotion"]
    return Built(
        model=shipped.models["promotion"],
        cuts=tuple(pattern.cuts for pattern in rule.patterns),
        tolerance=0.0,
        ensemble=None,
        raw=None,
        sigmoids=(),
        least_support=None,
        parity={},
    )


def test_a_specifications_rules_ship_in_its_bundle():
    spec, policy = spec_of(targeting=TARGETING, exclude="hour < 6"), policy_of()
    check_permitted(spec, policy)
    manifest = read_bundle(make_bundle(spec, policy, built(), card=b"", created=0)).manifest
    rule = manifest.decisions["promotion"]
    assert rule.targeting == (
        "and",
        (">=", ("var", "visit_views_7d"), 2.0),
        ("starts_with", ("var", "page_url"), "/sale/"),
    )
    assert rule.exclude == ("<", ("var", "hour"), 6.0)
    assert manifest.context == spec.context
    assert [one.name for one in manifest.request().features][-1] == "page_url"


def test_a_rule_goes_from_the_specification_to_a_visitors_decision(shop):
    """Written in CEL, permitted, shipped in a bundle, signed, published, activated, and asked of a visitor."""
    text = shop.policy.read_text()
    shop.policy.write_text(text + PAGE_RULE.format(page="page_url", purpose="personalize"))
    policy = parse_policy(shop.policy.read_bytes())
    spec = spec_of(targeting=TARGETING, exclude="bought_orders_90d > 0")
    check_permitted(spec, policy)
    shop.bundle.write_bytes(make_bundle(spec, policy, built(), card=b"", created=NOON - 86_400))
    client = shop.open()
    visitor = client.visitor("customer-42")
    assert visitor.consent(client.example_choices).accepted

    def let_in(page: str) -> bool:
        return visitor.decide("promotion", "none", {"page_url": page}).cause != "ineligible"

    assert not let_in("/sale/boots")
    for _ in range(2):
        assert visitor.observe("view_item", category="boots", price=9900, currency="EUR").accepted
    assert let_in("/sale/boots")
    assert not let_in("/boots")
    assert visitor.observe("purchase", value=9900, currency="EUR").accepted
    assert not let_in("/sale/boots")


def test_a_specification_without_rules_ships_none():
    spec = spec_of()
    rule = read_bundle(make_bundle(spec, policy_of(), built(), card=b"", created=0)).manifest.decisions["promotion"]
    assert (rule.targeting, rule.exclude) == (None, None)


def test_a_specifications_rule_is_refused_with_its_place():
    with pytest.raises(Malformed, match=r"spec: decision\.targeting, line 1, column 1: reads a variable") as refused:
        spec_of(targeting="colour == 'red'")
    assert "declared: bought_last_90d" in refused.value.remedy


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (policy_of(page="page_title"), "features.page_url: the policy names no such feature"),
        (policy_of(purpose="history"), "features.page_url.purpose: asks 'personalize', the policy says 'history'"),
    ],
)
def test_a_rule_that_the_policy_does_not_permit_is_refused_with_its_place(policy, why):
    with pytest.raises(Forbidden) as refused:
        check_permitted(spec_of(targeting=TARGETING), policy)
    assert refused.value.what == f"decision.targeting, line 2, column 3: {why}"


def test_every_refusal_is_named_at_once_and_none_twice():
    """Of both rules with their places, and of what no rule reads: nobody learns of the second by mending the first."""
    text = (files("entrenous.demo") / "policy.toml").read_text()
    text = text.replace('"bought_*"', '"sold_*"').replace('"hour"', '"minute"')
    spec = spec_of(targeting=TARGETING, exclude="hour < 6 && bought_orders_90d > 0")
    with pytest.raises(Forbidden) as refused:
        check_permitted(spec, parse_policy(text.encode()))
    lines = refused.value.what.split("; ")
    names = "the policy names no such feature"
    assert lines == [
        f"decision.targeting, line 2, column 3: features.page_url: {names}",
        f"decision.exclude, line 1, column 1: features.hour: {names}",
        f"decision.exclude, line 1, column 13: features.bought_orders_90d: {names}",
        f"features.bought_last_90d: {names}",
        f"features.bought_spent_90d: {names}",
    ]


def test_a_specification_declares_so_many_keys_and_no_more():
    text = (files("entrenous_exporters.demo") / "generated.toml").read_text()
    keys = [CONTEXT.replace("page_url", f"key_{i}") for i in range(MOST_SUPPLIED + 1)]
    assert len(parse_spec((text + "".join(keys[:-1])).encode()).context) == MOST_SUPPLIED
    with pytest.raises(Malformed, match=rf"context: holds more than {MOST_SUPPLIED} values"):
        parse_spec((text + "".join(keys)).encode())


def test_a_missing_parser_is_said_in_one_line(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "entrenous_exporters.rules", None)
    with pytest.raises(Missing, match=r"decision\.exclude: needs cel-python — pip install 'entrenous\[train\]'"):
        spec_of(exclude="hour < 6")


def test_a_bundle_that_was_made_is_as_strict_as_its_specification():
    spec = spec_of(targeting=TARGETING)
    broken = replace(spec, context=())
    with pytest.raises(Malformed, match=r"manifest\.decisions\.promotion\.targeting\[2\]\[1\]: reads a variable"):
        read_bundle(make_bundle(broken, policy_of(), built(), card=bytes(32), created=0))
