"""Uplift and situations, from rows to a visitor's answer: learnt from generated visits, shipped, decided with."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from tests.decisions import agreeing
from tests.kinds import TRIAL, dealt_rows, generated_rows, situation_spec, uplift_spec
from tests.shop import Shop

from entrenous.bundle import encode_bundle, read_bundle
from entrenous_consent.errors import Malformed
from entrenous_exporters.built import score
from entrenous_exporters.card import read_card, render_page, render_text
from entrenous_exporters.generated import CREATED, demo_inputs
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import parse_spec
from entrenous_exporters.train import Trained, train


@pytest.fixture(scope="module")
def rows() -> Rows:
    return generated_rows()


@pytest.fixture(scope="module")
def dealt(rows: Rows) -> Rows:
    return dealt_rows(rows)


@pytest.fixture(scope="module")
def uplift(dealt: Rows) -> Trained:
    return train(uplift_spec(), demo_inputs()[1], dealt, created=CREATED)


@pytest.fixture(scope="module")
def situations(rows: Rows) -> Trained:
    return train(situation_spec(), demo_inputs()[1], rows, created=CREATED)


def test_uplift_acts_where_it_pays_and_the_card_says_what_that_is_worth(uplift: Trained):
    rule = uplift.bundle.manifest.decisions["promotion"]
    assert (rule.kind, rule.tranches, rule.width) == ("uplift", ("none", "ten_off", "free_delivery"), 2)
    facts = read_card(uplift.card)
    fullest = facts["uplift"]["patterns"][0]
    assert all(one["qini"] > 0.1 for one in fullest["actions"])
    assert fullest["policy"]["snips"]["low"] > facts["uplift"]["best_constant"]["value"]
    assert facts["k"]["least_support"] >= 20
    assert facts["parity"]["library_rows"] > 0
    for said in (render_text(facts), render_page(facts)):
        assert "Qini" in said
        assert "for everybody" in said
    assert "pour tous" in render_page(facts)


def test_a_test_without_an_effect_claims_none(dealt: Rows):
    flat = replace(dealt, y=np.random.default_rng(1).random(len(dealt.y)) < 0.1)
    facts = read_card(train(uplift_spec(), demo_inputs()[1], flat, created=CREATED).card)
    assert "not clearly more than" in render_text(facts)


def test_arms_that_were_not_drawn_are_refused_with_what_tells_them(dealt: Rows):
    chosen = replace(dealt, arm=np.where(np.nan_to_num(dealt.x[:, 0]) > 3, dealt.arm, 0))
    with pytest.raises(Malformed, match=r"can be foretold.*most different: visit_v"):
        train(uplift_spec(), demo_inputs()[1], chosen, created=CREATED)


def test_a_situation_is_named_from_whatever_is_granted(situations: Trained, rows: Rows):
    rule = situations.bundle.manifest.decisions["promotion"]
    assert rule.tranches == ("elsewhere", "s1", "s2", "s3", "s4")
    assert all(sum(shares.values()) == 10_000 and len(shares) == 3 for shares in rule.choice.values())
    facts = read_card(situations.card)
    full, narrow = facts["situations"]["patterns"]
    assert full["same_as_fullest"] == 1.0
    assert 0.5 < narrow["same_as_fullest"] < 1.0
    assert max(full["reached"]) > 2 * min(rate for rate in full["reached"] if rate is not None)
    assert facts["k"]["least_support"] >= 20
    assert facts["parity"]["near_another_situation"] < facts["parity"]["rows"] / 100
    assert "tells 4 situations apart" in render_text(facts)
    assert "distingue 4 situations" in render_page(facts)


def test_what_a_pattern_may_not_read_moves_no_visit_to_another_situation(situations: Trained, rows: Rows):
    model, rule = situations.bundle.models["promotion"], situations.bundle.manifest.decisions["promotion"]
    features, width = situations.bundle.manifest.features, rule.width
    x = rows.x[:200]
    scrambled = x.copy()
    withheld = [i for i, one in enumerate(features) if one.purpose not in rule.patterns[1].purposes]
    scrambled[:, withheld] = np.random.default_rng(2).permutation(x[:, withheld]) + 1
    before, after = (score(model, each, singly=True)[:, width:] for each in (x, scrambled))
    assert before.tobytes() == after.tobytes()


def test_more_situations_than_visitors_can_fill_are_refused(rows: Rows):
    few = rows.where(rows.visitors < 300)
    with pytest.raises(Malformed, match=r"visitors behind each, not 60"):
        train(situation_spec(60), demo_inputs()[1], few, created=CREATED)


def test_two_visitors_at_the_same_product_get_what_suits_how_they_shop(shop: Shop, situations: Trained):
    """One is discovering, one has filled a cart: the same page, the same minute, other situations."""
    manifest = situations.bundle.manifest
    rule = manifest.decisions["promotion"]
    shop.bundle.write_bytes(situations.data)
    client = shop.open()
    discovering, deciding = agreeing(client, "discovering"), agreeing(client, "deciding")
    for shelf in ("boots", "bags", "sandals", "sneakers"):
        discovering.observe("view_item", category=shelf, price=4900, currency="EUR")
    for _ in range(3):
        deciding.observe("view_item", category="boots", price=9900, currency="EUR")
        deciding.observe("add_to_cart", category="boots", price=9900, currency="EUR")
    deciding.observe("purchase", category="boots", value=9900, currency="EUR", time=shop.clock() - 9 * 86_400)
    answers = [visitor.decide("promotion", "fallback") for visitor in (discovering, deciding)]
    assert answers[0].tranche != answers[1].tranche
    learnt = dict(rule.choice) | {answers[0].tranche: {"ten_off": 10_000}, answers[1].tranche: {"none": 10_000}}
    decisions = {"promotion": replace(rule, choice=learnt, experiment=replace(rule.experiment, holdout=0))}
    shop.bundle.write_bytes(encode_bundle(replace(manifest, decisions=decisions), situations.bundle.models))
    shop.publish()
    assert client.refresh().accepted
    assert [one.decide("promotion", "fallback").value for one in (discovering, deciding)] == ["ten_off", "none"]
    assert {answer.tranche for answer in answers} <= set(rule.tranches)
    assert answers[0].margin is None


def test_the_page_on_decisions_tells_the_figures_of_the_card(situations: Trained):
    page = " ".join((Path(__file__).parents[2] / "docs" / "decisions.md").read_text("utf-8").split())
    full, narrow = read_card(situations.card)["situations"]["patterns"]
    rates = [f"{100 * rate:.0f}" for rate in full["reached"][1:]]
    assert f"of their visits {', '.join(rates[:-1])} and {rates[-1]} % end in a purchase" in page
    assert f"{100 * narrow['same_as_fullest']:.0f} % of the visits are put where they would have been" in page


def test_every_shipped_kind_reads_back(uplift: Trained, situations: Trained):
    for trained in (uplift, situations):
        assert read_bundle(trained.data).manifest == trained.bundle.manifest


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (('kind = "uplift"', 'kind = "propensity"\ntranches = ["a"]\nshares = [1.0]\nchoice = { a = "none" }'), ""),
        (("k = 20", 'k = 20\ncalibration = "sigmoid"'), "learner.kind"),
        (("none = 0.5", "none = 0.4"), "trial.shares"),
        (('default_arm = "none"', 'default_arm = "ten_off"'), "trial.shares"),
        (('method = "t"', 'method = "s"'), "trial.method"),
        (("free_delivery = 0.01", "boots = 0.01"), "decision.costs.free_delivery"),
    ],
)
def test_a_trial_that_does_not_fit_its_decision_is_refused(change, place):
    spec = files("entrenous_exporters").joinpath("demo/generated.toml").read_text("utf-8")
    text = spec.replace("[split]", f"{TRIAL}\n[split]", 1).replace(
        'purpose = "personalize"\npatterns', 'kind = "uplift"\npurpose = "personalize"\npatterns', 1
    )
    text = text.replace('tranches = ["cold", "warm", "hot"]\nshares = [0.4, 0.4, 0.2]\n', "")
    text = text.replace('choice = { cold = "ten_off", warm = "free_delivery", hot = "none" }\n', "")
    text = text.replace(
        'default_arm = "none"\n', 'default_arm = "none"\ncosts = { ten_off = 0.02, free_delivery = 0.01 }\n', 1
    )
    assert parse_spec(text.encode()).decision.kind == "uplift"
    with pytest.raises(Malformed) as refused:
        parse_spec(text.replace(*change, 1).encode())
    assert place in refused.value.place
