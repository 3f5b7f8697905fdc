"""Why a decision was what it was: exact for linear models, by ablation for trees, of granted purposes only."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.decisions import EVERYONE, agreeing, always, promotion, rewrite, rule_of
from tests.dense import bundle_of, packaged, packaged_linears
from tests.shop import Shop

from entrenous.decisions.form import Arm
from entrenous.decisions.why import LANGUAGES, recalled
from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import to_dense_onnx


def looked(visitor, times: int = 4) -> None:
    for _ in range(times):
        visitor.observe("view_item", category="boots", price=9900, currency="EUR")


def test_an_effect_is_what_the_margin_loses_without_the_feature(shop: Shop):
    client = shop.open()
    visitor = agreeing(client, measure=False)
    looked(visitor)
    decision = visitor.decide("promotion", "none")
    why = decision.why()
    (scorer,) = client._engine.active.scorers.values()
    head = np.array(decision.scored.head)
    names = [feature.name for feature in client._engine.active.features]
    assert why.effects
    assert [abs(one.effect) for one in why.effects] == sorted((abs(one.effect) for one in why.effects), reverse=True)
    for one in why.effects:
        without = head.copy()
        without[names.index(one.feature)] = np.nan
        assert one.effect == decision.margin - scorer.margin(without.data, [], 0)
    assert np.array(decision.scored.head).tobytes() == head.tobytes()


def test_it_says_in_both_languages_what_counted_and_what_was_not_looked_at(shop: Shop):
    visitor = agreeing(shop.open(), measure=False, history=False)
    looked(visitor)
    decision = visitor.decide("promotion", "none")
    english, french = (decision.why(language) for language in LANGUAGES)
    assert "Number of views of items, 7 days" in {one.words for one in english.effects}
    assert "Nombre de : articles vus, 7 jours" in {one.words for one in french.effects}
    assert len(english.lines) == len(french.lines) >= 3
    assert english.lines[-1].startswith("Not looked at, because you did not allow it: Number of purchases")
    assert french.lines[-1].startswith("Pas regardé, parce que vous ne l'avez pas permis : ")
    assert english.withheld == ("bought_orders_90d", "bought_spent_90d", "bought_last_90d")
    assert not {one.feature for one in english.effects} & set(english.withheld)


def test_what_is_not_granted_is_never_scored_with_not_even_to_explain(shop: Shop, monkeypatch):
    client = shop.open()
    visitor = agreeing(client, measure=False, history=False)
    looked(visitor)
    decision = visitor.decide("promotion", "none")
    (scorer,) = client._engine.active.scorers.values()
    rows = []
    original = scorer._run
    monkeypatch.setattr(
        type(scorer), "_run", lambda self, head, supplied: rows.append(list(head)) or original(head, supplied)
    )
    decision.why()
    assert len(rows) > 3
    assert all(np.isnan(row[6:9]).all() for row in rows)


def test_who_allowed_nothing_is_told_that_nothing_was_looked_at(shop: Shop):
    why = shop.open().visitor("stranger").decide("promotion", "none").why()
    assert why.lines == ("You did not allow it, so nothing was looked at and the usual answer was given.",)
    assert why.effects == ()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("holdout", "ramp"), [(EVERYONE, EVERYONE), (0, 0)])
def test_each_side_of_a_comparison_has_its_words(shop: Shop, language, holdout, ramp):
    rule = promotion(shop)
    rewrite(shop, promotion=replace(rule, experiment=replace(rule.experiment, holdout=holdout, ramp=ramp)))
    decision = agreeing(shop.open()).decide("promotion", "none")
    assert decision.cause == ("holdout" if holdout else "not_yet")
    assert {"en": "You are among" if holdout else "This is shown", "fr": "Vous faites" if holdout else "Ceci est"}[
        language
    ] in decision.why(language).lines[0]


def test_an_arm_that_was_drawn_says_how_likely_it_was(shop: Shop):
    rule = rule_of(
        {"none": Arm(value="none"), "a": Arm(value="A")}, {"none": 7_500, "a": 2_500}, "none", promotion(shop)
    )
    rewrite(shop, home=replace(rule, experiment=replace(rule.experiment, holdout=0)))
    client = shop.open()
    decisions = [agreeing(client, f"visitor-{i}").decide("home", "x") for i in range(40)]
    drawn = next(one for one in decisions if one.value == "A")
    assert drawn.why().lines == (
        "The answer was drawn by chance: 25 % of the visitors in “everyone” who take part get it.",
    )
    assert drawn.why().effects == ()


def test_effects_of_a_linear_model_add_up_to_its_margin(shop: Shop):
    """From the value that stands for unknown, contributions of numbers are exact and need nothing else."""
    shop.bundle.write_bytes(bundle_of(to_dense_onnx(packaged_linears(), len(packaged().manifest.features))))
    client = shop.open()
    visitor = agreeing(client, measure=False)
    looked(visitor)
    decision = visitor.decide("promotion", "none")
    (scorer,) = client._engine.active.scorers.values()
    nothing = np.full(len(client._engine.active.features), np.nan, np.float32)
    start = scorer.margin(nothing.data, [], 0)
    assert decision.margin - start == pytest.approx(sum(one.effect for one in decision.why().effects), abs=1e-4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_receipt_still_says_the_reason_and_what_was_not_looked_at_but_not_what_counted(shop: Shop, language):
    client = shop.open()
    visitor = agreeing(client, history=False)
    looked(visitor)
    decision = visitor.decide("promotion", "none")
    (kept,) = visitor.export().data["purposes"]["personalize"]["receipts"]
    lines, features = decision.why(language).lines, client.bundle.features
    assert recalled(kept, features, language) == (lines[0], lines[-1])
    assert len(lines) > 2
    assert recalled({**kept, "withheld": []}, features, language) == (lines[0],)
    assert "bought orders 90d" in recalled(kept, (), language)[1]


def test_another_language_is_refused(shop: Shop):
    with pytest.raises(Malformed, match="use one of: en, fr"):
        shop.open().visitor("a").decide("promotion", "none").why("de")


def test_no_bit_of_the_answer_hangs_on_being_asked_why(shop: Shop):
    client = shop.open()
    rewrite(shop, promotion=always(promotion(shop), ten_off=EVERYONE))
    visitor = agreeing(client)
    before = visitor.decide("promotion", "none")
    before.why()
    after = visitor.decide("promotion", "none")
    assert (before.margin, before.value, before.tranche) == (after.margin, after.value, after.tranche)


def test_the_example_of_the_page_on_decisions_gives_what_it_shows():
    page = (Path(__file__).parents[2] / "docs" / "decisions.md").read_text("utf-8")
    (snippet,) = re.findall(r"^```pycon\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    said: list[str] = []
    example = doctest.DocTestParser().get_doctest(snippet, {}, "decisions.md", "docs/decisions.md", 0)
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)
