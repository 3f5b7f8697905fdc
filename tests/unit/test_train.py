"""Training: who is learnt from, what comes out, and that it comes out the same."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

import entrenous.demo
from entrenous.bundle import read_bundle
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_exporters import trees
from entrenous_exporters.generated import CREATED, demo_inputs, generate_events, train_demo
from entrenous_exporters.rows import labelled_rows
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
    facts = json.loads(one.card)
    assert facts["rows"]["without_improve"] == int((~granted).sum())
    last = spec.source.train_until - spec.label.within_days * 86_400
    learnt = granted & (rows.times >= spec.source.train_from) & (rows.times < last)
    assert facts["visitors"] == np.unique(rows.visitors[learnt]).size


def test_nobody_granted_improve_nothing_is_learnt(inputs):
    spec, policy, rows = inputs
    asked = replace(spec, source=replace(spec.source, public_research_data=False))
    with pytest.raises(Malformed, match="0 positive rows of 0"):
        train(asked, policy, rows, created=1)


def test_the_judging_months_are_never_learnt_from(inputs):
    spec, policy, rows = inputs
    later = rows.times >= spec.source.train_until - spec.label.within_days * 86_400
    y = rows.y.copy()
    y[later] = ~y[later]
    one = train(spec, policy, rows, created=1)
    other = train(spec, policy, replace(rows, y=y), created=1)
    assert one.bundle.models == other.bundle.models


def test_cuts_give_each_tranche_its_share_of_what_was_learnt_from(inputs):
    spec, policy, rows = inputs
    trained = train(spec, policy, rows, created=1)
    learnt = rows.where(rows.times < spec.source.train_until - 3 * 86_400)
    learnt = learnt.where(learnt.times >= spec.source.train_from)
    margins = trees.walk(trained.ensemble, learnt.x)
    for pattern in trained.bundle.manifest.decisions["promotion"].patterns:
        tranche = np.searchsorted(np.array(pattern.cuts, np.float32), margins[:, pattern.column], side="right")
        shares = np.bincount(tranche, minlength=3) / len(tranche)
        assert np.abs(shares - spec.decision.shares).max() < 0.03


def test_every_leaf_rests_on_k_visitors(inputs):
    spec, policy, rows = inputs
    trained = train(spec, policy, rows, created=1)
    learnt = rows.where((rows.times >= spec.source.train_from) & (rows.times < spec.source.train_until - 3 * 86_400))
    assert trees.least_support(trained.ensemble, learnt.x, learnt.visitors) >= spec.learner.k


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
    assert json.loads(trained.card)["least_support"] >= spec.learner.k
