"""Contributions, cells, mechanism, ledger and the report's bytes: the pure half of what leaves."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from math import exp

import msgpack
import pytest

from entrenous import demo
from entrenous.bundle import read_bundle
from entrenous.events import Event
from entrenous.loop.contributions import HOLDOUT, Contribution, due_at, pack_contributions, unpack_contributions
from entrenous.loop.ledger import Ledger
from entrenous.loop.reports import (
    CrowdReport,
    bounds,
    cells_of,
    encode_report,
    mechanism_of,
    noised,
    read_report,
    segment_of,
    threshold,
)
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.policy import parse_policy

NOW, DAY = 1_790_000_000, 86_400
POLICY = parse_policy(demo.policy_bytes())
(REPORT,) = POLICY.reports
RULE = read_bundle(demo.bundle_bytes(NOW)).manifest.decisions["promotion"]


def contribution(**more) -> Contribution:
    given = {"decision": "promotion", "cell": ("ten_off", "cold", "personalize"), "consent_version": 1}
    return Contribution(**given | {"chosen": NOW, "since": NOW, "until": NOW + 30 * DAY} | more)


def purchase(time=NOW, value=4900, **more) -> Event:
    return Event(name="purchase", time=time, value=value, **more)


# Contributions


@pytest.mark.parametrize(
    ("event", "counts"),
    [
        (purchase(), True),
        (purchase(NOW + 30 * DAY - 1), True),
        (purchase(NOW - 1), False),
        (purchase(NOW + 30 * DAY), False),
        (Event(name="view_item", time=NOW), False),
    ],
)
def test_an_outcome_counts_within_its_window_alone(event, counts):
    one = contribution()
    assert one.count(event) is counts
    assert len(one.orders) == counts


def test_lines_of_one_order_are_one_order_and_a_line_sent_twice_is_one_line():
    one = contribution()
    for line in (b"l1", b"l2", b"l1"):
        one.count(purchase(transaction=b"order-77", id=line))
    one.count(purchase(transaction=b"order-78", id=b"l3"))
    assert (len(one.orders), one.revenue) == (2, 3 * 4900)
    one.count(purchase())
    one.count(purchase())
    assert len(one.orders) == 4


def test_amounts_are_clipped_and_quantised_before_they_are_squared():
    one = contribution()
    for i in range(30):
        one.count(purchase(value=9_999, transaction=i.to_bytes(8, "big")))
    assert one.metrics(REPORT) == [1, 1, 20, 400, 100, 10_000, 2_000]
    assert one.metrics(replace(REPORT, quantum=1, clip={"orders": 20, "revenue": 10**9}))[4] == 30 * 9_999
    assert contribution().metrics(REPORT) == [1, 0, 0, 0, 0, 0, 0]


def test_no_visitor_adds_more_than_the_bounds():
    chance = random.Random(1)
    most = bounds(REPORT)
    for _ in range(200):
        one = contribution()
        for i in range(chance.randrange(60)):
            one.count(purchase(value=chance.randrange(10**8), transaction=i.to_bytes(8, "big")))
        assert all(0 <= amount <= bound for amount, bound in zip(one.metrics(REPORT), most, strict=True))


def test_a_marker_holds_no_cell_and_counts_nothing():
    one = contribution()
    one.count(purchase())
    left = one.marker()
    assert (left.cell, left.orders, left.revenue, left.contributed) == (("", "", ""), [], 0, True)
    assert not left.count(purchase())
    assert due_at({"a": left}) == 0
    assert due_at({"a": left, "b": contribution(), "c": contribution(until=NOW + DAY)}) == NOW + DAY


def test_contributions_come_back_as_written():
    one = contribution()
    one.count(purchase(transaction=b"order-77", id=b"line-001"))
    held = {"a": one, "b": contribution().marker()}
    assert unpack_contributions(pack_contributions(held)) == held
    assert unpack_contributions(None) == unpack_contributions(b"") == {}


@pytest.mark.parametrize("data", [b"\x01", b"\x91\x01", b"\x91\x92\xa1a\xa1b", b"\x91\xc1"])
def test_bytes_that_are_no_contributions_are_refused(data):
    with pytest.raises(Malformed):
        unpack_contributions(data)


# Cells and noise


def test_cells_are_enumerated_by_declaration():
    cells = cells_of(RULE, REPORT)
    assert len(cells) == len(set(cells)) == 8
    assert [cell for cell in cells if cell[2] == ""] == [(HOLDOUT, "", ""), ("none", "", "")]
    assert {cell[1] for cell in cells if cell[2] == "personalize"} == set(RULE.tranches)
    plain = cells_of(RULE, replace(REPORT, segments=()))
    assert {cell[1] for cell in plain} == {"", *RULE.tranches}
    assert segment_of(REPORT, {"measure", "personalize"}) == "personalize"


def test_the_threshold_is_that_of_the_design():
    assert threshold(20, 1.0, 1e-9) == 41


@pytest.mark.parametrize(("cohort", "epsilon", "delta"), [(20, 1.0, 1e-9), (5, 0.2, 1e-3), (20, 4 / 7, 1e-9)])
def test_a_cell_under_the_cohort_passes_with_at_most_delta(cohort, epsilon, delta):
    """P[cohort - 1 + noise >= T] of the discrete Laplace distribution, exactly."""
    p = exp(-epsilon)
    over = threshold(cohort, epsilon, delta) - (cohort - 1)
    assert p**over / (1 + p) <= delta
    assert p ** (over - 2) / (1 + p) > delta, "and not much higher than it need be"


def test_epsilon_is_split_over_the_sums_by_declaration():
    mechanism = mechanism_of(REPORT)
    spent = [bound / scale for bound, scale in zip(mechanism.bounds, mechanism.scales, strict=True)]
    assert Fraction(4) * (1 - Fraction(1, 10**6)) < sum(spent) <= Fraction(4), "never more than was declared"
    weighted = mechanism_of(replace(REPORT, split=dict.fromkeys(REPORT.metrics, 1.0) | {"visitors": 8.0}))
    assert weighted.bounds[0] / weighted.scales[0] == pytest.approx(4 * 8 / 14, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.6931471805599453, 1.0986122886681098, 3.14159265358979, 1e-6, 20.0])
@pytest.mark.parametrize("clip", [{"orders": 1, "revenue": 1000}, {"orders": 15_000, "revenue": 100_000_000}])
def test_whatever_epsilon_a_policy_may_declare_its_report_can_be_sent_and_read(epsilon, clip):
    """An epsilon of many decimals once made a fraction too long for a report's integers."""
    mechanism = mechanism_of(replace(REPORT, epsilon=epsilon, clip=clip))
    report = made(mechanism=mechanism)
    assert read_report(encode_report(report)) == report
    spent = [bound / scale for bound, scale in zip(mechanism.bounds, mechanism.scales, strict=True)]
    assert sum(spent) <= Fraction(repr(epsilon))


def test_a_cell_under_the_threshold_shows_nothing_and_every_cell_draws_its_noise():
    mechanism = mechanism_of(REPORT)
    cells = cells_of(RULE, REPORT)
    full = [1000, 500, 600, 900, 9000, 200_000, 12_000]
    drawn = []
    chance = random.Random(7)

    def below(n: int) -> int:
        drawn.append(n)
        return chance.randrange(n)

    found = noised({cells[0]: full}, cells, mechanism, below)
    assert found[cells[0]] is not None
    assert found[cells[0]] != tuple(full)
    assert [cell for cell in cells if found[cell] is not None] == [cells[0]]
    assert len(drawn) >= 2 * len(cells) * len(full)


# The report's bytes


def made(**more) -> CrowdReport:
    cells = dict.fromkeys(cells_of(RULE, REPORT)) | {(HOLDOUT, "cold", "personalize"): (90, -3, 5, 0, 1, 2, 3)}
    given = {"id": bytes(range(16)), "tenant": "demo_shop", "report": "promotion", "experiment": "promotion_1"}
    given |= {"bundle": "demo_promotions", "bundle_version": 1, "policy": 1, "since": 0, "until": DAY}
    given |= {"window_days": 30, "holdout": 1000, "ramp": 9000, "currency": "EUR", "metrics": REPORT.metrics}
    return CrowdReport(**given | {"mechanism": mechanism_of(REPORT), "cells": cells} | more)


def test_a_report_comes_back_as_sent():
    assert read_report(encode_report(made())) == made()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format"),
        ({"id": b"short"}, "id"),
        ({"colour": "red"}, "colour"),
        ({"since": 2 * DAY}, "dates"),
        ({"metrics": ["orders", "visitors"]}, "metrics"),
        ({"cells": [["a", "b", "c", [1]]]}, r"cells\[0\]"),
        ({"cells": [["a", "b", "c", None]] * 2}, r"cells\[1\]"),
        ({"cells": [["a", "b", "c", [True] * 7]]}, r"cells\[0\]"),
        ({"tenant": "Not A Key"}, "tenant"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(change, says):
    table = msgpack.unpackb(encode_report(made())) | change
    with pytest.raises(Malformed, match=says):
        read_report(msgpack.packb(table))


@pytest.mark.parametrize(
    "change", [{"scales": [[1, 0]] * 7}, {"scales": [[1, 2]]}, {"name": "gauss"}, {"threshold": 0}]
)
def test_a_mechanism_that_is_none_is_refused(change):
    table = msgpack.unpackb(encode_report(made()))
    table["mechanism"] |= change
    with pytest.raises(Malformed):
        read_report(msgpack.packb(table))


def test_a_report_that_is_cut_short_is_refused():
    data = encode_report(made())
    for length in range(0, len(data), 7):
        with pytest.raises(Malformed):
            read_report(data[:length])


# The ledger


def test_the_calendar_alone_says_when():
    ledger = Ledger().opened("promotion", "one", NOW)
    assert ledger.opened("promotion", "one", NOW + DAY) is ledger
    assert ledger.next(REPORT, "one") == NOW + 60 * DAY
    paid = ledger.debited(REPORT, "one", NOW + 61 * DAY)
    assert paid.next(REPORT, "one") == NOW + 91 * DAY


def test_releases_of_one_experiment_cost_once_and_experiments_add_up():
    ledger = Ledger()
    for experiment in ("one", "two", "three"):
        ledger = ledger.opened("promotion", experiment, NOW)
        for week in range(3):
            ledger = ledger.debited(REPORT, experiment, NOW + week)
    assert ledger.spent("promotion") == 12.0
    ledger = ledger.opened("promotion", "four", NOW)
    with pytest.raises(Forbidden, match=r"reports\.promotion: has spent 12 of 12 epsilon"):
        ledger.debited(REPORT, "four", NOW)
    assert Ledger.unpack(ledger.pack()) == ledger


def test_a_release_under_a_larger_epsilon_costs_the_difference():
    ledger = Ledger().opened("promotion", "one", NOW).debited(REPORT, "one", NOW)
    dearer = ledger.debited(replace(REPORT, epsilon=6.0), "one", NOW)
    assert dearer.spent("promotion") == 6.0


def test_bytes_that_are_no_ledger_are_refused():
    with pytest.raises(Malformed):
        Ledger.unpack(b"\x91\x01")


# The policy's declaration


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('["visitors", "converters"', '["converters", "visitors"', "put it first"),
        ('"revenue2"', '"profit"', "not a metric"),
        ("orders = 20, ", "", r"clip\.orders: is missing"),
        ("orders = 20", "orders = 20, clicks = 3", r"clip\.clicks: is not a known key"),
        ("window_days = 30", "window_days = 29", "no attribution window"),
        ('segments = ["personalize"]', 'segments = ["colour"]', "not a declared purpose"),
        ("lifetime_epsilon = 12.0", "lifetime_epsilon = 3.0", "less than one release"),
        ("quantum = 1000", "quantum = 1000000", "more than revenue"),
        (
            "revenue = 100000 }\nquantum = 1000",
            "revenue = 1000000000 }\nquantum = 1",
            "more noise than a report can hold",
        ),
    ],
)
def test_a_report_that_could_not_be_made_is_refused_when_the_policy_is_read(old, new, says):
    text = demo.policy_bytes().decode()
    report = text.partition("[[reports]]")[2].partition("[[features]]")[0]
    assert old in report
    with pytest.raises(Malformed, match=says):
        parse_policy(text.replace(report, report.replace(old, new, 1)).encode())
