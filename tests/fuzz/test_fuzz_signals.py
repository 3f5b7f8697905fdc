"""A short run of the fuzzer, and that it would notice."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fuzz import oracle, signals
from tests.signals import GPP, TCF

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.signals import TcfConsent, parse_tcf, read

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence" / "fuzz.txt"


def test_no_mutated_signal_crashes_or_grants_what_a_second_reading_does_not():
    tally = signals.run(40_000, 7)
    outcomes = {kind: {outcome for one, _, outcome in tally.counts if one == kind} for kind in ("tcf", "gpp", "map")}
    assert outcomes["tcf"] == outcomes["map"] == {signals.REFUSED, signals.NOTHING, signals.GRANTED}
    assert outcomes["gpp"] >= {signals.REFUSED, signals.GRANTED, signals.OBJECTED}
    assert tally.inputs == 40_000


def test_the_same_seed_reads_the_same_inputs():
    assert signals.run(300, 3) == signals.run(300, 3)
    assert signals.run(300, 3) != signals.run(300, 4)


def _vendor_is_not_asked_after(vendor: int, needed: set[int], consent: TcfConsent) -> str:
    return "" if all(one in consent.purposes_consent for one in needed) else "not_chosen"


def _more_segments_are_not_looked_at(text: str) -> TcfConsent:
    return parse_tcf(".".join(text.split(".")[:3]))


def _what_is_true_enough_is_granted(policy: PrivacyPolicy, choices: object) -> frozenset[str]:
    if not isinstance(choices, dict) or not policy.purposes.keys() >= choices.keys():
        raise Malformed("no")
    return frozenset(key for key, value in choices.items() if value)


@pytest.mark.parametrize(
    ("rule", "instead"),
    [
        ("_why_not_by_vendor", _vendor_is_not_asked_after),
        ("_why_not_by_mode", lambda *_: ""),
        ("parse_tcf", _more_segments_are_not_looked_at),
        ("from_choices", _what_is_true_enough_is_granted),
    ],
)
def test_a_reader_that_forgets_a_rule_is_noticed(monkeypatch, rule, instead):
    monkeypatch.setattr(read, rule, instead)
    with pytest.raises(AssertionError, match=r"readings|is taken"):
        signals.run(20_000, 7)


def test_the_second_reading_takes_the_golden_strings_and_refuses_the_bad_ones():
    for one in TCF["golden"]:
        held = oracle.tcf(one["text"])
        assert held["purposes"] == set(one["fields"]["purposes_consent"])
        assert held["vendors"] == set(one["fields"]["vendors_consent"])
    for one in GPP["golden"]:
        assert oracle.gpp(one["text"])[1] is bool(one["objections"])
    for read_again, bad in ((oracle.tcf, TCF["bad"]), (oracle.gpp, GPP["bad"])):
        for one in bad:
            with pytest.raises(oracle.Wrong):
                read_again(one["text"])


def test_an_exception_that_is_no_refusal_ends_the_run(monkeypatch):
    def broken(text: object) -> None:
        raise IndexError

    monkeypatch.setattr(read, "parse_gpp", broken)
    with pytest.raises(IndexError):
        signals.run(1000, 7)


def test_the_kept_run_read_a_million_and_says_where():
    kept = EVIDENCE.read_text("utf-8")
    found = re.search(r"^([\d,]+) inputs, seed \d+: no exception", kept, re.MULTILINE)
    assert found
    assert int(found[1].replace(",", "")) >= 1_000_000
    rows = re.findall(r"^(?:tcf|gpp|map)  .{34}((?: +[\d,]+){4})$", kept, re.MULTILINE)
    assert sum(int(count.replace(",", "")) for row in rows for count in row.split()) >= 1_000_000


def test_the_evidence_is_written_as_it_is_kept():
    tally = signals.run(200, 5)
    text = signals.written(tally, 1.2, datetime(2026, 11, 28, tzinfo=UTC))
    assert "200 inputs, seed 5" in text
    assert "28 November 2026" in text
    assert Malformed.__name__ not in text
