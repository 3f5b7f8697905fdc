"""Rules against a bare ONNX Runtime identity call, and the same condition written in Python, in one run; and the worst
that a text can do to a pattern, to two rules, and to a decision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rules import PAGE, target
from tests.shop import Clock, Shop

from entrenous import Visitor
from entrenous.targeting import (
    LONGEST_SUBJECT,
    NOW,
    Supplied,
    Variable,
    compile_gate,
    compile_pattern,
    compile_rule,
)
from entrenous.targeting.form import MOST_SOUGHT
from entrenous_exporters.rules import write_rule
from test_decision import identity

__all__ = ["identity"]

VARIABLES = {
    "visits": Variable(type="number", purpose="personalize"),
    "taste": Variable(type="text", purpose="personalize", values=("bags", "boots", "sandals")),
    "page": Variable(type="text", purpose="personalize"),
}
KNOWN = {NOW: 1_795_908_600, "visits": 5.0, "taste": "boots", "page": "/sale/boots"}
HOSTILE = ("(a|é|b)*(a|é|b)*(a|é|b)*c$", "(a|é|b)*(a|é|b)*(a|é|b)*d$")
"""What makes an engine that goes back share a text among three loops in every way; as many as one rule may hold."""
RULE = "visits >= 3 && taste in ['bags', 'boots'] && page.startsWith('/sale/')"


def _steady(benchmark, work, *, iterations: int = 2_000):
    return benchmark.pedantic(work, rounds=60, iterations=iterations, warmup_rounds=5)


def _rule(text: str):
    return compile_rule(write_rule(text, VARIABLES).tree, VARIABLES)


@pytest.mark.benchmark(group="targeting")
def test_identity_call_beside_rules(benchmark, identity):
    _steady(benchmark, identity)


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


def _hostile(name: str) -> str:
    return " || ".join(f"{name}.matches('{pattern}')" for pattern in HOSTILE)


def _most_hostile(name: str) -> str:
    """Return the worst that one rule may hold: its patterns, and the longest text that is almost found everywhere."""
    almost = "é" * (MOST_SOUGHT // 2)
    return f"{_hostile(name)} || {name}.contains('{almost}b{almost[:-1]}')"


@pytest.mark.benchmark(group="targeting")
@pytest.mark.parametrize("char", ["a", "é"])
def test_a_hostile_pattern_on_the_longest_text(benchmark, char):
    search = compile_pattern(HOSTILE[0]).search
    text = char * LONGEST_SUBJECT
    assert not _steady(benchmark, lambda: search(text), iterations=20)


@pytest.mark.benchmark(group="targeting")
@pytest.mark.parametrize("char", ["a", "é"])
def test_the_four_patterns_of_two_rules_on_the_longest_text(benchmark, char):
    rule = _rule(_hostile("page"))
    known = KNOWN | {"page": char * LONGEST_SUBJECT}
    assert not _steady(benchmark, lambda: rule.matches(known) or rule.excludes(known), iterations=20)


@pytest.fixture(scope="module")
def hostile_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """A visitor of a decision whose two rules hold the worst that there may be, and evaluate all of it."""
    home: Path = tmp_path_factory.mktemp("hostile")
    shop = Shop(home, Clock())
    target(shop, f"!({_most_hostile('page_url')})", exclude=_most_hostile("page_url"), context=[PAGE])
    with shop.open() as client:
        visitor = client.visitor("customer-42")
        assert visitor.consent(client.example_choices).accepted
        yield visitor


@pytest.mark.benchmark(group="targeting")
@pytest.mark.parametrize("char", ["a", "é"])
def test_a_decision_with_the_worst_of_two_rules_on_the_longest_text(benchmark, hostile_shop, char):
    context = {"page_url": char * LONGEST_SUBJECT}
    assert hostile_shop.decide("promotion", "elsewhere", context).cause != "ineligible"
    _steady(benchmark, lambda: hostile_shop.decide("promotion", "elsewhere", context), iterations=20)


@pytest.mark.benchmark(group="targeting")
def test_a_decision_on_a_million_characters(benchmark, hostile_shop):
    context = {"page_url": "a" * 1_000_000}
    assert hostile_shop.decide("promotion", "elsewhere", context).cause == "ineligible"
    _steady(benchmark, lambda: hostile_shop.decide("promotion", "elsewhere", context), iterations=20)
