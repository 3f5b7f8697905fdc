"""Groups on the card: quality, calibration and who is treated, told apart and never learnt from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from entrenous_exporters.card import read_card, render_page, render_text
from entrenous_exporters.generated import CREATED, demo_inputs, generate_events
from entrenous_exporters.rows import labelled_rows
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import train


@pytest.fixture(scope="module")
def facts():
    """A group that follows one feature, a rare value in it, and one that a coin decides."""
    spec, policy = demo_inputs()
    backend = open_backend()
    tables = [backend.create_table(name, data, temp=True) for name, data in zip("em", generate_events(), strict=True)]
    rows = labelled_rows(backend, spec, *tables)
    rows = rows.where(rows.visitors % 4 == 0)
    spec = replace(spec, learner=replace(spec.learner, trees=15), split=replace(spec.split, kind="grouped", folds=2))
    seen = np.nan_to_num(rows.x[:, 0])
    lively = np.where(seen > np.median(seen), "many", "few").astype("U10")
    lively[rows.visitors == rows.visitors[0]] = "one person"
    coin = np.where(np.random.default_rng(2).random(int(rows.visitors.max()) + 1) < 0.5, "heads", "tails")
    grouped = replace(rows, groups={"lively": lively, "coin": coin[rows.visitors]})
    return read_card(train(spec, policy, grouped, created=CREATED).card)


def treated(facts, name, value):
    (found,) = [one["patterns"][0] for one in facts["groups"] if (one["name"], one["value"]) == (name, value)]
    return found


def test_a_groups_treated_share_is_that_of_its_tranches_with_another_arm(facts):
    """Cold gets ten off, warm free delivery, hot nothing: everyone but the hot is treated."""
    for one in facts["groups"]:
        for found in one["patterns"]:
            assert found is None or found["treated"] == pytest.approx(1 - found["shares"][2], abs=1e-5)


def test_a_group_that_a_feature_tells_is_treated_otherwise_and_a_coin_is_not(facts):
    apart = treated(facts, "lively", "few")["treated"] - treated(facts, "lively", "many")["treated"]
    same = treated(facts, "coin", "heads")["treated"] - treated(facts, "coin", "tails")["treated"]
    assert apart > 0.1
    assert abs(same) < 0.03


def test_calibration_is_told_by_group(facts):
    for name, value in (("lively", "few"), ("lively", "many"), ("coin", "heads")):
        found = treated(facts, name, value)
        assert 0 <= found["ece"] < 0.1
        assert 0 < found["base_rate"] < 1


def test_a_single_visitor_is_no_group(facts):
    assert treated(facts, "lively", "one person") is None


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("treated", "calibration error", "By lively, treated shares lie up to", "too few to tell")),
        ("fr", ("traités", "erreur de calibration", "Selon lively, les parts traitées", "trop peu pour le dire")),
    ],
)
def test_a_person_reads_it_in_their_language(facts, language, said):
    text = " ".join(render_text(facts, language=language).split())
    page = render_page(facts)
    for words in said:
        assert words in text
        assert words in page
