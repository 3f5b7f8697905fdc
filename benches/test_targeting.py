"""Rules against the same condition written in Python, in one run; and the worst that a text can do to a pattern."""

from __future__ import annotations

import pytest

from entrenous.targeting import (
    LONGEST_SUBJECT,
    NOW,
    Supplied,
    Variable,
    compile_gate,
    compile_pattern,
    compile_rule,
)
from entrenous_exporters.rules import write_rule

VARIABLES = {
    "visits": Variable(type="number", purpose="personalize"),
    "taste": Variable(type="text", purpose="personalize", values=("bags", "boots", "sandals")),
    "page": Variable(type="text", purpose="personalize"),
}
KNOWN = {NOW: 1_795_908_600, "visits": 5.0, "taste": "boots", "page": "/sale/boots"}
RULE = "visits >= 3 && taste in ['bags', 'boots'] && page.startsWith('/sale/')"


def _steady(benchmark, work, *, iterations: int = 2_000):
    return benchmark.pedantic(work, rounds=60, iterations=iterations, warmup_rounds=5)


def _rule(text: str):
    return compile_rule(write_rule(text, VARIABLES).tree, VARIABLES)


@pytest.mark.benchmark(group="targeting")
def test_the_condition_in_python(benchmark):
    tastes = frozenset({"bags", "boots"})

    def condition(known):
        return known["visits"] >= 3 and known["taste"] in tastes and known["page"].startswith("/sale/")

    assert _steady(benchmark, lambda: condition(KNOWN))


@pytest.mark.benchmark(group="targeting")
def test_a_rule(benchmark):
    rule = _rule(RULE)
    assert _steady(benchmark, lambda: rule.matches(KNOWN))


@pytest.mark.benchmark(group="targeting")
def test_a_rule_with_a_pattern(benchmark):
    rule = _rule(RULE.replace("page.startsWith('/sale/')", r"page.matches(r'^/sale/[a-z]+$')"))
    assert _steady(benchmark, lambda: rule.matches(KNOWN))


@pytest.mark.benchmark(group="targeting")
def test_a_hundred_rules(benchmark):
    hours = [f"visits >= 3 && taste in ['bags', 'boots'] && now.getHours() != {hour}" for hour in range(20)]
    plain = [f"visits > {count} || taste == 'bags'" for count in range(20)]
    pages = [f"page.startsWith('/{count}') && visits > 1" for count in range(20)]
    sums = [f"visits * 2 > {count} && !page.contains('{count}')" for count in range(20)]
    whole = [RULE] * 20
    rules = [_rule(text).matches for text in (*hours, *plain, *pages, *sums, *whole)]
    assert len(rules) == 100

    def evaluate():
        for matches in rules:
            matches(KNOWN)

    _steady(benchmark, evaluate, iterations=20)


@pytest.mark.benchmark(group="targeting")
def test_a_gate_with_what_it_reads(benchmark):
    page = Supplied(name="page", type="text", purpose="personalize", category="user.behavior", source="first_party")
    tree = write_rule("page.startsWith('/sale/') && now.getHours() >= 9", VARIABLES).tree
    gate = compile_gate(tree, None, (), [page]).within(frozenset({"personalize"}))
    assert _steady(benchmark, lambda: gate.admits([], [], {"page": "/sale/boots"}, KNOWN[NOW]))


@pytest.mark.benchmark(group="targeting")
@pytest.mark.parametrize("char", ["a", "é"])
def test_a_hostile_pattern_on_the_longest_text(benchmark, char):
    search = compile_pattern("(a|é|b)*(a|é|b)*(a|é|b)*c$").search
    text = char * LONGEST_SUBJECT
    assert not _steady(benchmark, lambda: search(text), iterations=20)


@pytest.mark.benchmark(group="targeting")
def test_the_most_patterns_of_two_rules_on_the_longest_text(benchmark):
    text = "a" * LONGEST_SUBJECT
    rule = _rule(" || ".join(f"page.matches('(a|b)*(a|b)*{end}$')" for end in "cd"))
    known = KNOWN | {"page": text}
    assert not _steady(benchmark, lambda: rule.matches(known) or rule.excludes(known), iterations=20)


@pytest.mark.benchmark(group="targeting")
def test_a_million_characters(benchmark):
    page = Supplied(name="page", type="text", purpose="personalize", category="user.behavior", source="first_party")
    gate = compile_gate(write_rule("page.matches('(a|b)*c$')", VARIABLES).tree, None, (), [page])
    narrowed, context = gate.within(frozenset({"personalize"})), {"page": "a" * 1_000_000}
    assert not _steady(benchmark, lambda: narrowed.admits([], [], context, 0))
