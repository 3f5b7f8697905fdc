"""Any TCF string that the specification allows is read as it was meant, however its vendors are written down."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.signals import MADE

from entrenous_consent.signals import Ids, parse_tcf

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
PURPOSES = st.frozensets(st.integers(1, 24))
BY_INTEREST = st.frozensets(st.sampled_from([1, 2, *range(7, 25)]))
VENDORS = st.frozensets(st.integers(1, 300) | st.integers(1, 3000), max_size=12)
NEIGHBOURS = st.tuples(st.integers(1, 900), st.integers(0, 80)).map(
    lambda span: frozenset(range(span[0], sum(span) + 1))
)
LETTERS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2)


def number(value: int, width: int) -> str:
    return format(value, f"0{width}b")


def letters(text: str) -> str:
    return "".join(number(ord(letter) - 65, 6) for letter in text)


def field(ids: frozenset[int], width: int) -> str:
    return "".join("1" if one in ids else "0" for one in range(1, width + 1))


def ranges(ids: frozenset[int]) -> str:
    starts = sorted(one for one in ids if one - 1 not in ids)
    entries = []
    for start in starts:
        end = start
        while end + 1 in ids:
            end += 1
        entries.append(f"0{number(start, 16)}" if end == start else f"1{number(start, 16)}{number(end, 16)}")
    return number(len(entries), 12) + "".join(entries)


def vendors(ids: frozenset[int], ranged: bool, spare: int) -> str:
    most = min(max(ids, default=0) + spare, 65_535)
    return number(most, 16) + ("1" + ranges(ids) if ranged and most else "0" + field(ids, most))


def encoded(bits: str, padding: str) -> str:
    if padding == "byte":
        bits += "0" * (-len(bits) % 8)
    bits += "0" * (-len(bits) % (24 if padding == "whole" else 6))
    return "".join(ALPHABET[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


@st.composite
def strings(draw: st.DrawFn) -> tuple[dict[str, object], str]:
    """Return what a string holds, and the string."""
    some = VENDORS | NEIGHBOURS
    held = {
        "language": draw(LETTERS),
        "country": draw(LETTERS),
        "consent": draw(PURPOSES),
        "li": draw(BY_INTEREST),
        "vendors": draw(some),
        "interests": draw(some),
        "disclosed": draw(some),
        "rules": draw(st.dictionaries(st.tuples(st.integers(1, 24), st.integers(0, 2)), some.filter(bool), max_size=4)),
        "own": draw(st.none() | PURPOSES),
        "custom": draw(st.frozensets(st.integers(1, 63), max_size=5)),
    }
    padding, ranged, spare = (
        draw(st.sampled_from(["byte", "whole", "letter"])),
        draw(st.booleans()),
        draw(st.integers(0, 40)),
    )
    rules = held["rules"]
    core = "".join(
        [
            number(2, 6) + number(MADE * 10, 36) * 2 + number(300, 12) + number(7, 12) + number(2, 6),
            letters(held["language"]) + number(177, 12) + number(5, 6) + "10" + number(0, 12),
            field(held["consent"], 24) + field(held["li"], 24) + "0" + letters(held["country"]),
            vendors(held["vendors"], ranged, spare) + vendors(held["interests"], not ranged, spare),
            number(len(rules), 12),
            *(number(purpose, 6) + number(kind, 2) + ranges(ids) for (purpose, kind), ids in rules.items()),
        ]
    )
    pieces = [number(1, 3) + vendors(held["disclosed"], ranged, spare)]
    if held["own"] is not None:
        many = max(held["custom"], default=0)
        own = (
            field(held["own"], 24)
            + number(0, 24)
            + number(many, 6)
            + field(held["custom"], many)
            + field(frozenset(), many)
        )
        pieces.append(number(3, 3) + own)
    pieces = draw(st.permutations(pieces))
    return held, ".".join(encoded(piece, padding) for piece in [core, *pieces])


@settings(deadline=None)
@given(strings())
def test_a_string_is_read_as_it_was_meant(made):
    held, text = made
    assert len(text) <= 8192
    found = parse_tcf(text)
    assert (found.language, found.publisher_country, found.updated) == (held["language"], held["country"], MADE)
    assert set(found.purposes_consent) == held["consent"]
    assert set(found.purposes_li) == held["li"]
    for written, read in (
        ("vendors", found.vendors_consent),
        ("interests", found.vendors_li),
        ("disclosed", found.disclosed),
    ):
        assert set(read) == held[written]
        assert len(read) == len(held[written])
    assert {(rule.purpose, rule.kind): set(rule.vendors) for rule in found.restrictions} == held["rules"]
    if held["own"] is None:
        assert found.publisher is None
    else:
        assert set(found.publisher.purposes_consent) == held["own"]
        assert set(found.publisher.custom_consent) == held["custom"]
        assert set(found.publisher.custom_li) == set()


@settings(deadline=None)
@given(VENDORS | NEIGHBOURS, st.integers(0, 40))
def test_bits_and_ranges_of_the_same_vendors_are_the_same(ids, spare):
    most = max(ids, default=0) + spare
    if not most:
        return
    expected = Ids(most, int(field(ids, most), 2))
    for ranged in (False, True):
        assert parse_tcf(_core_with(ids, spare, ranged)).vendors_consent == expected


def test_the_highest_vendor_there_can_be_is_read():
    for ids in (frozenset({65_535}), frozenset({1, 2, 3, 65_534, 65_535})):
        assert set(parse_tcf(_core_with(ids, 0, True)).vendors_consent) == ids


def _core_with(ids: frozenset[int], spare: int, ranged: bool) -> str:
    fixed = number(2, 6) + number(MADE * 10, 36) * 2 + number(300, 12) + number(7, 12) + number(2, 6) + letters("FR")
    fixed += number(177, 12) + number(5, 6) + "10" + number(0, 12 + 48) + "0" + letters("FR")
    core = fixed + vendors(ids, ranged, spare) + vendors(frozenset(), False, 0) + number(0, 12)
    return ".".join(encoded(piece, "byte") for piece in (core, number(1, 3) + vendors(frozenset({300}), False, 0)))
