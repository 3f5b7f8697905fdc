"""Patterns: what is taken means what RE2 means, all else is refused with its character, and no text is slow."""

from __future__ import annotations

import pytest

from entrenous.targeting.pattern import LONGEST_PATTERN, LONGEST_SUBJECT, MOST_STATES, compile_pattern
from entrenous_consent.errors import Malformed


@pytest.mark.parametrize(
    ("pattern", "found", "missed"),
    [
        ("sale", "winter sale!", "sa le"),
        ("^/products/", "/products/1", "a/products/1"),
        ("html$", "index.html", "index.html?a"),
        ("^$", "", "a"),
        ("a.c", "abc", "a\nc"),
        ("[a-c]+9", "xxabc9", "d9"),
        ("[^/]x", "ax", "/x"),
        (r"\d{2,3}", "a12", "a1"),
        (r"^\d{2}$", "12", "123"),
        ("^a{2,}$", "aaa", "a"),
        ("^(?:ab){0,2}$", "abab", "ababab"),
        ("^(?:ab){0}$", "", "ab"),
        (r"^\w+$", "a_1", "é"),
        (r"\W", "é", "a"),
        (r"\s", "a b", "ab"),
        (r"\S", "a", " \t"),
        (r"\D", "1a", "12"),
        ("é|ü", "blé", "ble"),
        ("[à-é]$", "né", "né!"),
        ("^(cat|dog)s?$", "dogs", "dogss"),
        (r"a\.b\/c", "a.b/c", "axb/c"),
        (r"[\]\\-]", "]", "a"),
        ("[]a]", "]", "b"),
        ("[a-]", "-", "b"),
        (r"[\d.]+$", "1.2", "1.2x"),
        (r"a\tb", "a\tb", "a b"),
        ("^|x", "anything", None),
        ("(^|/)sale(/|$)", "/a/sale", "/a/sales"),
        ("😀", "so 😀", "so :)"),
        ("a?b", "b", "a"),
        ("^(?:a|)$", "", "b"),
        ("^(?:|a|)$", "a", "b"),
        ("^a(?:b*|c)$", "abb", "abc"),
    ],
)
def test_a_pattern_finds_what_it_says(pattern, found, missed):
    automaton = compile_pattern(pattern)
    assert automaton.search(found)
    assert missed is None or not automaton.search(missed)


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("", "is not 1 to"),
        ("a" * (LONGEST_PATTERN + 1), "is not 1 to"),
        (r"(a)\1", "character 5 is a reference back"),
        ("(?=a)", "character 2 begins look-around"),
        ("(?<!a)b", "character 2 begins look-around"),
        ("(?i)a", "character 2 begins look-around"),
        ("(?P<n>a)", "character 2 begins look-around"),
        ("(a+)+", "character 1 repeats what repeats inside"),
        ("(?:a{2})*", "character 1 repeats what repeats inside"),
        ("(a|b*)?", "character 1 repeats what repeats inside"),
        ("a*?", "character 3 is lazy"),
        ("a++", "character 3 is lazy"),
        ("a{2}{3}", "character 5 is lazy"),
        ("*a", "character 1 has nothing to repeat"),
        ("{2}", "character 1 has nothing to repeat"),
        ("^*", "character 1 repeats an end"),
        ("(a$)+", "character 1 repeats an end"),
        ("a^b", "character 2 stands before the beginning"),
        ("a$b", "character 3 stands before the beginning"),
        ("a]", "character 2 closes what is not open"),
        ("a}", "character 2 closes what is not open"),
        ("a)", "character 2 closes a group"),
        ("(a", "character 3 is missing"),
        ("[a", "character 3 is missing"),
        ("a\\", "character 3 is missing"),
        (r"\bword", "character 2 is no escape"),
        (r"\pL", "character 2 is no escape"),
        ("[[:alpha:]]", "character 3 is inside a class"),
        (r"[\D]", "is an opposite inside a class"),
        ("[z-a]", "ends no range"),
        (r"[a-\d]", "ends no range"),
        ("[ -￿]", "ends no range"),
        ("[ -z¡-ÿ]", "ends a class of more than"),
        ("a{", "begins no count"),
        ("a{,3}", "begins no count"),
        ("a{x}", "begins no count"),
        ("a{1000}", "begins no count"),
        ("a{65}", "counts beyond"),
        ("a{3,2}", "counts beyond"),
        ("(" * 9 + "a" + ")" * 9, "opens a ninth group"),
        ("a{64}" * 5, "is too large"),
        ("[ab]*a[ab]{9}", f"needs more than {MOST_STATES} states"),
        ("".join(chr(0x4E00 + i) for i in range(100)), "kinds of characters"),
    ],
)
def test_what_is_not_in_the_subset_is_refused(pattern, what):
    with pytest.raises(Malformed) as refused:
        compile_pattern(pattern)
    assert what in refused.value.what
    assert refused.value.remedy


class Counting:
    """A row that counts each symbol that is looked up in it, or in those that it leads to."""

    def __init__(self, row, symbols):
        self.row, self.symbols = row, symbols

    def __getitem__(self, index):
        if index == -1:
            return self.row[index]
        self.symbols.append(index)
        return Counting(self.row[index], self.symbols)


@pytest.mark.parametrize("char", ["a", "é"])
@pytest.mark.parametrize("pattern", ["a*a*a*a*a*b", "(a|b)*(a|b)*c$", "^a?a*$|é.*é.*x", ".*.*.*=.*"])
def test_a_hostile_pattern_looks_up_each_character_once(pattern, char):
    automaton, symbols = compile_pattern(pattern), []
    found = automaton.search(char * LONGEST_SUBJECT)
    automaton._begin = Counting(automaton._begin, symbols)
    assert automaton.search(char * LONGEST_SUBJECT) == found
    assert len(symbols) == LONGEST_SUBJECT


def test_a_lone_surrogate_is_a_character_like_others():
    assert compile_pattern("^.$").search("\ud800")


def test_a_table_is_bounded():
    assert compile_pattern("^" + "a" * 150 + "$").states <= MOST_STATES
