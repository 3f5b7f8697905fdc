"""Isotonic calibration on the device: the line a manifest states, and what a visitor's likelihood becomes by it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decisions import agreeing
from tests.kinds import generated_rows
from tests.shop import Shop

from entrenous.bundle import encode_bundle
from entrenous.decisions.calibration import Calibration, parse_calibration
from entrenous_consent.errors import Malformed
from entrenous_consent.parsing import Table
from entrenous_exporters.card import read_card
from entrenous_exporters.generated import CREATED, demo_inputs
from entrenous_exporters.rows import Rows
from entrenous_exporters.train import Trained, train

LINE = Calibration((-2.0, 0.0, 1.0), (-3.0, -1.0, 4.0))
singles = st.floats(-64, 64, width=32)


def parsed(**changes: object) -> Calibration:
    return parse_calibration(Table(LINE.as_table() | changes, "calibration"))


def test_it_is_straight_between_knots_and_rises_as_the_margin_does_beyond_them():
    margins = np.linspace(-2, 1, 40)
    np.testing.assert_allclose([LINE.of(one) for one in margins], np.interp(margins, LINE.margins, LINE.log_odds))
    assert [LINE.of(one) for one in (-2.0, 0.0, 1.0)] == [-3.0, -1.0, 4.0]
    assert (LINE.of(-5.0), LINE.of(3.5)) == (-6.0, 6.5)


@given(
    st.lists(singles, min_size=2, max_size=9, unique=True),
    st.lists(st.floats(-32, 32), min_size=9, max_size=9, unique=True),
    st.lists(singles, min_size=2, max_size=50),
)
def test_whatever_the_knots_a_higher_margin_is_never_less_likely(margins, log_odds, asked):
    line = Calibration(tuple(sorted(margins)), tuple(sorted(log_odds)[: len(margins)]))
    found = [line.of(one) for one in sorted(asked)]
    assert all(low <= high + 1e-12 for low, high in pairwise(found))


def test_it_comes_back_as_written():
    assert parsed() == LINE


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"margins": [0.0, 0.0, 1.0]}, "margins: is not 2 to 64 rising numbers"),
        ({"log_odds": [0.0, 2.0, 1.0]}, "log_odds: is not 2 to 64 rising numbers"),
        ({"margins": [0.0], "log_odds": [0.0]}, "margins: is not 2 to 64"),
        ({"margins": [float(i) for i in range(65)]}, "margins: is not 2 to 64"),
        ({"log_odds": [0.0, 1.0]}, "log_odds: is not one for each margin"),
        ({"log_odds": [0.0, 1.0, 33.0]}, "log_odds: is not one for each margin, from -32"),
        ({"log_odds": [-33.0, 1.0, 3.0]}, "log_odds: is not one for each margin, from -32"),
        ({"margins": [-2.0, 0.1, 1.0]}, "margins: is not float32"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_knots_that_are_no_line_are_refused(changes, said):
    with pytest.raises(Malformed, match=f"calibration.{said}"):
        parsed(**changes)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return generated_rows()


def trained(rows: Rows, calibration: str, **learner: object) -> Trained:
    spec, policy = demo_inputs()
    changed = replace(spec, learner=replace(spec.learner, calibration=calibration, **learner))
    return train(changed, policy, rows, created=CREATED)


@pytest.fixture(scope="module")
def plain(rows: Rows) -> Trained:
    return trained(rows, "none")


@pytest.fixture(scope="module")
def isotonic(rows: Rows) -> Trained:
    return trained(rows, "isotonic")


def test_the_graph_the_cuts_and_the_order_stay_and_the_card_tells_the_line(plain: Trained, isotonic: Trained):
    assert isotonic.bundle.models == plain.bundle.models
    before, after = (one.bundle.manifest.decisions["promotion"].patterns for one in (plain, isotonic))
    assert [one.cuts for one in after] == [one.cuts for one in before]
    assert all(one.calibration is None for one in before)
    assert all(one.calibration is not None for one in after)
    for pattern, quality in isotonic.quality.items():
        assert quality.auc == pytest.approx(plain.quality[pattern].auc, abs=1e-12)
        assert quality.shares == plain.quality[pattern].shares
    told = read_card(isotonic.card)["patterns"]
    for one, pattern in zip(told, after, strict=True):
        for key, knots in pattern.calibration.as_table().items():
            assert one["isotonic"][key] == pytest.approx(knots, abs=1e-6)
    assert "isotonic" not in read_card(plain.card)["patterns"][0]


def test_a_linear_model_is_calibrated_the_same_way(rows: Rows):
    found = trained(rows, "isotonic", kind="logistic", l2=1.0).bundle.manifest.decisions["promotion"]
    assert found.tolerance > 0
    assert all(one.calibration is not None for one in found.patterns)


def test_a_visitors_likelihood_and_what_counted_are_read_through_the_line(shop: Shop, plain: Trained):
    decision = plain.bundle.manifest.decisions["promotion"]
    far = Calibration((-8.0, 8.0), (2.0, 3.0))
    patterns = tuple(replace(one, calibration=far) for one in decision.patterns)
    manifest = replace(plain.bundle.manifest, decisions={"promotion": replace(decision, patterns=patterns)})
    shop.bundle.write_bytes(plain.data)
    client = shop.open()
    visitor = agreeing(client)
    visitor.observe("view_item", category="boots", price=9900, currency="EUR")
    before = visitor.decide("promotion", "fallback")
    shop.bundle.write_bytes(encode_bundle(manifest, plain.bundle.models))
    shop.publish()
    assert client.refresh().accepted
    after = visitor.decide("promotion", "fallback")
    assert before.tranche == after.tranche
    assert after.margin == far.of(before.margin)
    assert after.likelihood == round(100 / (1 + exp(-after.margin)))
    assert after.likelihood > 88 > before.likelihood
    told, retold = ({one.feature: one.effect for one in answer.why().effects} for answer in (before, after))
    assert told
    assert retold == pytest.approx({name: effect / 16 for name, effect in told.items()})
