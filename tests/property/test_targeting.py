"""Rules against peers: patterns say what `re` says, rules what `cel-python` says, and no input breaks either."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache

import celpy
from hypothesis import given, settings
from hypothesis import strategies as st

from entrenous.targeting import NOW, Variable, compile_pattern, compile_rule, read_tree
from entrenous_consent.errors import Malformed
from entrenous_consent.packing import pack, unpack
from entrenous_exporters.rules import write_rule

ATOMS = ("a", "b", "/", ".", "[a-c]", "[^a]", r"\d", r"\w", r"\S", "(?:a|b)", "(ab|c)", r"\.", "é", "[à-é]", "(a|)")
COUNTS = ("", "", "*", "+", "?", "{2}", "{1,3}", "{2,}")
PATTERNS = st.builds(
    lambda begin, parts, end: ("^" if begin else "") + "".join(a + b for a, b in parts) + ("$" if end else ""),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(ATOMS), st.sampled_from(COUNTS)), min_size=1, max_size=6),
    st.booleans(),
)
TEXTS = st.text("abcd/1 .é\nZ😀", max_size=12)

VARIABLES = {name: Variable(type="number", purpose="p") for name in "xyz"} | {
    name: Variable(type="text", purpose="p") for name in ("s", "t")
}
NUMBERS = st.sampled_from([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0])
WORDS = st.sampled_from(["", "a", "ab", "b", "sale/b"])

KNOWN = {NOW: 0, "x": 1.0, "y": 0.0, "z": 2.0, "s": "a", "t": ""}

numbers = st.recursive(
    st.sampled_from("xyz"),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), st.sampled_from(["x", "y", "2.0"])),
    max_leaves=3,
)
comparisons = st.builds(
    "{} {} {}".format, numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), NUMBERS | st.sampled_from("xyz")
)
texts = st.builds(
    "{}.{}('{}')".format, st.sampled_from("st"), st.sampled_from(["startsWith", "endsWith", "contains"]), WORDS
)
matching = st.builds("{}.matches('{}')".format, st.sampled_from("st"), st.sampled_from(["^a", "b$", "a.*b", "[ab]{2}"]))
listed = st.builds("x in {}".format, st.lists(NUMBERS, min_size=1, max_size=4, unique=True))
conditions = st.recursive(
    comparisons | texts | matching | listed,
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("!({})".format, inner)
    ),
    max_leaves=6,
)


@cache
def _peer() -> celpy.Environment:
    """Return the other implementation, which raises the limit of recursion for good: that is undone."""
    before = sys.getrecursionlimit()
    environment = celpy.Environment()
    sys.setrecursionlimit(before)
    return environment


def _refusal(work: Callable[[], object]) -> Malformed | None:
    try:
        work()
    except Malformed as refused:
        return refused
    return None


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.lists(TEXTS, min_size=1, max_size=5))
def test_a_pattern_finds_what_the_standard_library_finds(pattern, subjects):
    try:
        automaton = compile_pattern(pattern)
    except Malformed:
        return
    peer = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    for subject in subjects:
        assert automaton.search(subject) == bool(peer.search(subject))


@settings(max_examples=200, deadline=None)
@given(conditions, st.tuples(NUMBERS, NUMBERS, NUMBERS), st.tuples(WORDS, WORDS))
def test_a_rule_says_what_another_implementation_of_cel_says(text, three, two):
    values = dict(zip("xyz", three, strict=True)) | dict(zip("st", two, strict=True))
    refused = _refusal(lambda: write_rule(text, VARIABLES))
    assert refused is None or re.match("is empty|is a pattern beyond the first 2$", refused.what)
    if refused is not None:
        return
    rule, environment = compile_rule(write_rule(text, VARIABLES).tree, VARIABLES), _peer()
    try:
        peer = bool(environment.program(environment.compile(text)).evaluate(_as_cel(values)))
    except celpy.CELEvalError:
        return
    known = {NOW: 0} | values
    assert rule.matches(known) <= rule.excludes(known)
    if rule.matches(known) == rule.excludes(known):  # else it met an error, where CEL may answer all the same
        assert rule.matches(known) == peer


@settings(max_examples=200, deadline=None)
@given(conditions, st.tuples(NUMBERS, NUMBERS, NUMBERS), st.tuples(WORDS, WORDS), st.sets(st.sampled_from("xyzst")))
def test_a_rule_that_misses_anything_never_matches_and_always_excludes(text, three, two, missing):
    """Whatever else is there and whatever part decides first: before it or after it, absent is absent."""
    try:
        rule = compile_rule(write_rule(text, VARIABLES).tree, VARIABLES)
    except Malformed:
        return
    values = dict(zip("xyz", three, strict=True)) | dict(zip("st", two, strict=True))
    there = {NOW: 0} | {name: value for name, value in values.items() if name not in missing}
    if missing.intersection(rule.reads):
        assert (rule.matches(there), rule.excludes(there)) == (False, True)
    else:
        whole = {NOW: 0} | values
        assert (rule.matches(there), rule.excludes(there)) == (rule.matches(whole), rule.excludes(whole))


def _as_cel(values: dict[str, float | str]) -> dict[str, celpy.celtypes.Value]:
    return {
        name: celpy.celtypes.StringType(value) if isinstance(value, str) else celpy.celtypes.DoubleType(value)
        for name, value in values.items()
    }


@settings(max_examples=300, deadline=None)
@given(conditions)
def test_a_written_rule_comes_back_from_its_bytes_as_it_was(text):
    try:
        tree = write_rule(text, VARIABLES).tree
    except Malformed:
        return
    assert read_tree(unpack(pack(tree), place="", longest=1 << 16), VARIABLES, place="") == tree


@settings(max_examples=400, deadline=None)
@given(st.text("xyst()[]{}<>=!&|+-*/%.,'\"\\ 019abn\n", max_size=40))
def test_whatever_is_written_is_taken_or_refused_with_its_place(text):
    refused = _refusal(lambda: write_rule(text, VARIABLES, place="rule"))
    assert refused is None or re.match(r"rule, line \d+, column \d+$", refused.place)


scraps = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from("xyzst"),
    lambda inner: st.lists(
        inner | st.sampled_from(["var", "and", "or", "not", "==", "<", "in", "has", "matches", "hour", "now", "time"]),
        max_size=4,
    ),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None)
@given(scraps)
def test_whatever_stands_in_a_manifest_is_a_rule_or_refused(tree):
    refused = _refusal(lambda: read_tree(tree, VARIABLES, place="targeting"))
    assert refused is None or refused.place.startswith("targeting")
    if refused is None:
        rule = compile_rule(read_tree(tree, VARIABLES, place="targeting"), VARIABLES)
        assert rule.matches(KNOWN) <= rule.excludes(KNOWN)
