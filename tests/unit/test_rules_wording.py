"""A rule that ships, written as CEL again: what is read off the page is what was signed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from tests.property.test_targeting import VARIABLES, conditions
from tests.unit.test_rules_criteria import SAMPLES, SUPPLIED

from entrenous.targeting import Variable, read_tree
from entrenous.targeting.wording import as_cel
from entrenous_consent.errors import Malformed
from entrenous_exporters.rules import write_rule

KNOWN = {
    **{name: Variable(type="number", purpose="p") for name in ("x", "y")},
    "s": Variable(type="text", purpose="p"),
    "many": Variable(type="texts", purpose="p"),
    "yes": Variable(type="boolean", purpose="p"),
}


def flat(tree: Any) -> Any:
    """Return a tree in which `(a && b) && c` is `a && b && c`: one rule, and one tree once it is read again."""
    if not isinstance(tree, tuple):
        return tree
    first, *rest = map(flat, tree[1:]) if tree[1:] else (None,)
    if tree[0] in ("and", "or") and isinstance(first, tuple) and first[0] == tree[0]:
        return (*first, *rest)
    return (tree[0], first, *rest) if tree[1:] else tree


@pytest.mark.parametrize(
    "text",
    [
        "x > 3",
        "x + y * 2 - 1 < 0.1",
        "(x + y) * 2 / (x - y) >= -2.5",
        "x - (y - 1) == 16777216",
        "x in [1, 2.5, -3]",
        "s in ['bags', 'boots']",
        "'gold' in many && size(many) != 2",
        "!(x > 1 || y < 2) && yes == true",
        "x > 1 && (y > 1 || s == 'a') || x < 0",
        "x > 1 && (y > 1 && yes != false)",
        "s.startsWith('/sale') || s.endsWith('é') || s.contains('😀')",
        r"s.matches(r'^/p/\d+$')",
        r"s == 'it\'s a \\ and a \n'",
        "now < timestamp('2026-12-24T00:00:00+01:00')",
        "now.getHours('+05:30') in [9, 10] || now.getDayOfWeek() == 0 || now.getHours('-03:00') > 3",
        "-x < 1 && -(x + y) > 0",
        "x > 1e30 && y < 1e-30 && x != 0.3333333",
    ],
)
def test_a_rule_is_written_as_what_it_was_read_from_means(text):
    tree = write_rule(text, KNOWN).tree
    written = as_cel(tree)
    assert write_rule(written, KNOWN).tree == tree
    assert as_cel(write_rule(written, KNOWN).tree) == written


def test_a_rule_is_written_as_a_person_would():
    text = "(x > 20 || !(s == 'a')) && 'gold' in many && now.getHours('+01:00') >= 9 && s.matches(r'\\d')"
    assert as_cel(write_rule(text, KNOWN).tree) == text


@pytest.mark.parametrize("one", SUPPLIED, ids=lambda one: one.name)
def test_every_criterion_is_written_as_it_was_read(one):
    variables = one.variables("personalize")
    tree = write_rule(one.rule(**SAMPLES[one.name][0]), variables).tree
    assert write_rule(as_cel(tree), variables).tree == tree


@given(conditions)
@settings(max_examples=150, deadline=None)
def test_whatever_rule_was_read_is_read_again_from_what_is_written(text):
    try:
        tree = write_rule(text, VARIABLES).tree
    except Malformed:
        return
    assert flat(write_rule(as_cel(tree), VARIABLES).tree) == flat(tree)


def test_a_segment_within_a_rule_is_written_by_its_name():
    segment = write_rule("x > 3 && y < 1", KNOWN).tree
    rule = write_rule("segment('regulars') && !segment('regulars') || yes == true", KNOWN, segments=lambda _: segment)
    named = as_cel(rule.tree, {segment: "regulars"})
    assert named == "segment('regulars') && !segment('regulars') || yes == true"
    assert as_cel(segment) == "x > 3 && y < 1"


def test_what_no_cel_holds_is_written_all_the_same():
    assert as_cel(read_tree(["<", ["now"], ["time", 1 << 39]], KNOWN, place="rule")) == "now < timestamp(549755813888)"
    odd = "\u202e'\\"
    assert as_cel(read_tree(["==", ["var", "s"], odd], KNOWN, place="rule")) == r"s == '\u202e\'\\'"
    assert as_cel(read_tree(["matches", ["var", "s"], "it's"], KNOWN, place="rule")) == r"s.matches('it\'s')"
