"""No visitor is on both sides, whoever they are and however many rows they have."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrenous_consent.errors import Malformed
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import parse_spec
from entrenous_exporters.splits import folds, learnt

SPEC = parse_spec(files("entrenous_exporters.demo").joinpath("generated.toml").read_bytes())
SPLIT = SPEC.split
DAY = 86_400


def _rows(visitors: list[int], times: list[int]) -> Rows:
    n = len(visitors)
    flags = np.ones(n, bool)
    x = np.zeros((n, 1), np.float32)
    return Rows(x=x, y=flags, visitors=np.array(visitors), times=np.array(times), improve=flags, known=flags)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-60, 60)), min_size=60, max_size=200), st.integers(0, 9))
def test_by_time_judges_are_other_visitors_and_later(found, seed):
    visitors = list(range(41)) + [visitor for visitor, _ in found]
    rows = _rows(visitors, [SPLIT.until] * 41 + [SPLIT.until + days * DAY for _, days in found])
    taught, judging = learnt(rows, replace(SPEC, learner=replace(SPEC.learner, seed=seed)))
    assert not set(rows.visitors[taught]) & set(rows.visitors[judging])
    assert (rows.times[taught] < SPLIT.until - SPEC.label.horizon).all()
    assert (rows.times[taught] >= SPLIT.start).all()
    assert (rows.times[judging] >= SPLIT.until).all()
    assert 5 <= np.unique(rows.visitors[judging]).size <= 9, "a fifth of 41"


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(2, 6), st.integers(0, 9))
def test_grouped_each_row_judges_once_and_never_its_own_visitor(found, count, seed):
    visitors = [*range(31), *found]
    rows = _rows(visitors, [0] * len(visitors))
    split = replace(SPLIT, kind="grouped", folds=count)
    spec = replace(SPEC, split=split, learner=replace(SPEC.learner, seed=seed))
    everyone, nobody = learnt(rows, spec)
    assert everyone.all()
    assert not nobody.any()
    times = np.zeros(len(visitors), int)
    for taught, judging in folds(rows, spec):
        assert (taught != judging).all()
        assert not set(rows.visitors[taught]) & set(rows.visitors[judging])
        times += judging
    assert (times == 1).all()


def test_by_time_there_are_no_folds():
    assert list(folds(_rows([1, 2], [0, 0]), SPEC)) == []


def test_too_few_visitors_for_the_parts():
    with pytest.raises(Malformed, match=r"parts: is not within 2\.\.3, the number of visitors"):
        learnt(_rows([1, 2, 3, 3], [0, 0, 0, 0]), SPEC)


@pytest.mark.parametrize("kind", ["grouped", "time"])
def test_nobody_granted_improve(kind):
    spec = replace(SPEC, split=replace(SPLIT, kind=kind, folds=3))
    with pytest.raises(Malformed, match=r"data: has no row to learn from — see data\.improve"):
        learnt(_rows([], []), spec)
