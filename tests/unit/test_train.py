"""Training: who is learnt from, what comes out, and that it comes out the same."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from importlib.resources import files

import numpy as np
import pytest

import entrenous.demo
from entrenous.bundle import read_bundle
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_exporters import trees
from entrenous_exporters.card import read_card
from entrenous_exporters.generated import CREATED, demo_inputs, generate_events, train_demo
from entrenous_exporters.rows import labelled_rows
from entrenous_exporters.splits import learnt
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import train


@pytest.fixture(scope="module")
def inputs():
    spec, policy = demo_inputs()
    backend = open_backend()
    tables = [backend.create_table(name, data, temp=True) for name, data in zip("em", generate_events(), strict=True)]
    return spec, policy, labelled_rows(backend, spec, *tables)


def test_the_packaged_bundle_is_what_training_makes():
    packaged = files(entrenous.demo.__name__).joinpath("bundle.msgpack").read_bytes()
    assert train_demo().data == packaged


def test_rows_without_improve_never_enter(inputs):
    """Scrambling the rows of those who did not grant it changes no byte of the bundle."""
    spec, policy, rows = inputs
    asked = replace(spec, source=replace(spec.source, public_research_data=False))
    granted = rows.visitors % 2 == 0
    mixed = replace(rows, improve=granted)
    chance = np.random.default_rng(3)
    x, y = rows.x.copy(), rows.y.copy()
    x[~granted] = chance.normal(size=(int((~granted).sum()), x.shape[1])).astype(np.float32) * 100
    y[~granted] = chance.random(int((~granted).sum())) < 0.5
    one = train(asked, policy, mixed, created=1)
    other = train(asked, policy, replace(mixed, x=x, y=y), created=1)
    assert one.data == other.data
    facts = read_card(one.card)
    assert facts["data"]["rows"]["without_improve"] == int((~granted).sum())
    usable = mixed.where(granted & mixed.known)
    taught, _ = learnt(usable, asked)
    assert facts["data"]["visitors"]["learnt"] == np.unique(usable.visitors[taught]).size


def test_nobody_granted_improve_nothing_is_learnt(inputs):
    spec, policy, rows = inputs
    asked = replace(spec, source=replace(spec.source, public_research_data=False))
    with pytest.raises(Malformed, match=r"data: has no row to learn from — see data\.improve"):
        train(asked, policy, rows, created=1)


def test_the_judges_rows_and_the_later_months_are_never_learnt_from(inputs):
    spec, policy, rows = inputs
    usable = rows.where(rows.known)
    taught, judging = learnt(usable, spec)
    assert judging.any()
    y = usable.y.copy()
    y[~taught] = ~y[~taught]
    one = train(spec, policy, usable, created=1)
    other = train(spec, policy, replace(usable, y=y), created=1)
    assert one.bundle.models == other.bundle.models
    assert one.quality != other.quality


def test_cuts_give_each_tranche_its_share_of_what_was_learnt_from(inputs):
    spec, policy, rows = inputs
    trained = train(spec, policy, rows, created=1)
    usable = rows.where(rows.known)
    margins = trees.walk(trained.ensemble, usable.x[learnt(usable, spec)[0]])
    for pattern in trained.bundle.manifest.decisions["promotion"].patterns:
        tranche = np.searchsorted(np.array(pattern.cuts, np.float32), margins[:, pattern.column], side="right")
        shares = np.bincount(tranche, minlength=3) / len(tranche)
        assert np.abs(shares - spec.decision.shares).max() < 0.03


def test_every_leaf_rests_on_k_visitors(inputs):
    spec, policy, rows = inputs
    trained = train(spec, policy, rows, created=1)
    usable = rows.where(rows.known)
    taught = usable.where(learnt(usable, spec)[0])
    assert trees.least_support(trained.ensemble, taught.x, taught.visitors) >= spec.learner.k


def test_a_bundle_the_policy_forbids_is_never_written(inputs):
    spec, policy, rows = inputs
    narrow = replace(policy, features=tuple(rule for rule in policy.features if rule.pattern != "bought_*"))
    with pytest.raises(Forbidden, match=r"features.bought_last_90d"):
        train(spec, narrow, rows, created=1)


def test_the_bundle_states_what_it_was_made_of(inputs):
    spec, policy, rows = inputs
    trained = train(spec, policy, rows, created=CREATED)
    manifest = read_bundle(trained.data).manifest
    assert manifest.created == CREATED
    assert manifest.expires == CREATED + spec.lifetime_days * 86_400
    assert [pattern.purposes for pattern in manifest.decisions["promotion"].patterns] == list(spec.decision.patterns)
    assert read_card(trained.card)["k"]["least_support"] >= spec.learner.k
    assert manifest.card == sha256(trained.card).digest()
    assert manifest.public_research_data


LEARNERS = {
    "extra_trees": {"kind": "extra_trees", "calibration": "sigmoid", "min_rows_leaf": 10},
    "hist_gradient_boosting, calibrated": {"calibration": "sigmoid"},
    "lightgbm": {"kind": "lightgbm"},
    "logistic": {"kind": "logistic", "l2": 1.0},
    "random_forest": {"kind": "random_forest", "calibration": "sigmoid", "min_rows_leaf": 10},
    "xgboost": {"kind": "xgboost"},
}


@pytest.fixture(scope="module")
def some(inputs):
    """A quarter of the visitors, who judge in two halves: some 9,000 rows. With 900 in each of ten bins, a perfect
    model's calibration error would be .013 on average (mean absolute deviation of a binomial share)."""
    spec, policy, rows = inputs
    split = replace(spec.split, kind="grouped", folds=2)
    return replace(spec, split=split), policy, rows.where(rows.visitors % 4 == 0)


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_becomes_a_bundle_that_is_better_than_chance_and_calibrated(some, name):
    spec, policy, rows = some
    spec = replace(spec, learner=replace(spec.learner, trees=20, **LEARNERS[name]))
    first, again = (train(spec, policy, rows, created=1) for _ in range(2))
    assert first.data == again.data
    full, visit = (first.quality[pattern] for pattern in spec.decision.patterns)
    assert full.auc > 0.65
    assert visit.auc > 0.6
    assert max(full.ece, visit.ece) < 0.04
    card = read_card(first.card)
    assert [one["k"] for one in card["k"]["auc"]] == [1, 5, 20, 50]
    assert name == "logistic" or card["k"]["least_support"] >= spec.learner.k
    assert (first.bundle.manifest.decisions["promotion"].tolerance > 0) == (name == "logistic")


def test_a_forest_without_calibration_would_not_give_log_odds(some):
    """Its margin is a mean probability: the sigmoid turns it into what the cuts and the card take it for."""
    spec, policy, rows = some
    forest = replace(spec.learner, trees=10, min_rows_leaf=10, kind="random_forest", calibration="sigmoid")
    raw = train(replace(spec, learner=replace(forest, calibration="none")), policy, rows, created=1)
    made = train(replace(spec, learner=forest), policy, rows, created=1)
    pattern = spec.decision.patterns[0]
    assert raw.quality[pattern].ece > 5 * made.quality[pattern].ece
    assert {tuple(one["sigmoid"]) for one in read_card(raw.card)["patterns"]} == {(1.0, 0.0)}
    assert all(one["sigmoid"][0] > 1 for one in read_card(made.card)["patterns"])


def test_parts_of_the_visitors_judge_in_turn_and_all_are_learnt_from(inputs):
    spec, policy, rows = inputs
    few = rows.where(rows.visitors % 3 == 0)
    split = replace(spec.split, kind="grouped", folds=3)
    trained = train(replace(spec, split=split), policy, few, created=1)
    data = read_card(trained.card)["data"]
    assert data["rows"]["learnt"] == data["rows"]["judged"] == int(few.known.sum())
    assert data["visitors"]["learnt"] == data["visitors"]["judged"]


def test_nobody_to_judge_by_is_refused(inputs):
    spec, policy, rows = inputs
    late = replace(spec.split, until=int(rows.times.max()) + 10 * 86_400)
    with pytest.raises(Malformed, match=r"split: leaves no row to judge by — give later moments"):
        train(replace(spec, split=late), policy, rows, created=1)


def test_float64_rows_are_refused(inputs):
    spec, policy, rows = inputs
    with pytest.raises(Malformed, match=r"expected float32 \[N, columns\], not float64"):
        train(spec, policy, replace(rows, x=rows.x.astype(np.float64)), created=1)


def test_a_difference_to_the_library_stops_the_training(inputs, monkeypatch):
    """A wrong extractor, one threshold off by one float: the gate names the rows."""
    spec, policy, rows = inputs
    honest = trees.extract

    def off_by_one(*given):
        column = honest(*given)
        first = column.trees[0]
        moved = np.where(first.is_leaf, first.threshold, np.nextafter(first.threshold, np.float32(np.inf)))
        return replace(column, trees=(replace(first, threshold=moved), *column.trees[1:]))

    monkeypatch.setattr(trees, "extract", off_by_one)
    with pytest.raises(Malformed, match=r"margin: differs from the library in \d+ of 20000 rows: \d+"):
        train(spec, policy, rows, created=1)
