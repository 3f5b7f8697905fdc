"""What should not be learnt from is refused, with its figures and its place."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest

from entrenous_consent.errors import Malformed
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import TrainingSpec, parse_spec
from entrenous_exporters.suspicion import FEWEST_ROWS, alone, suspect

N = 4_000


@pytest.fixture(scope="module")
def spec() -> TrainingSpec:
    packaged = parse_spec(files("entrenous_exporters.demo").joinpath("generated.toml").read_bytes())
    return replace(packaged, features=packaged.features[:3])


@pytest.fixture
def rows() -> Rows:
    draw = np.random.default_rng(4)
    x = draw.normal(size=(N, 3)).astype(np.float32)
    x[draw.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x[:, 0]) + draw.normal(size=N) > 1
    everyone = np.ones(N, bool)
    return Rows(x=x, y=y, visitors=np.arange(N) // 2, times=np.arange(N), improve=everyone, known=everyone)


def test_honest_rows_pass_and_each_features_own_auc_is_told(spec, rows):
    found = suspect(rows, spec)
    first, *others = found.values()
    assert list(found) == [feature.name for feature in spec.features]
    assert 0.7 < first < 0.9
    assert all(0.5 < auc < 0.56 for auc in others)


@pytest.mark.parametrize(("answer", "word"), [(True, "true"), (False, "false")])
def test_a_constant_label(spec, rows, answer, word):
    with pytest.raises(Malformed, match=rf"label: is {word} in all 4,000 rows — check the label's"):
        suspect(replace(rows, y=np.full(N, answer)), spec)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("count", [1, 10, FEWEST_ROWS - 1])
def test_a_tiny_class(spec, rows, positive, count):
    y = np.full(N, not positive)
    y[:count] = positive
    with pytest.raises(
        Malformed, match=rf"label: is {str(positive).lower()} in {count} of 4,000 rows, of \d+ visitors"
    ):
        suspect(replace(rows, y=y), spec)


def test_a_class_of_many_rows_and_few_visitors(spec, rows):
    visitors = np.where(rows.y, 7, rows.visitors)
    with pytest.raises(Malformed, match=r"label: is true in [\d,]+ of 4,000 rows, of 1 visitors — .* of 20 visitors"):
        suspect(replace(rows, visitors=visitors), spec)


@pytest.mark.parametrize(
    "leak",
    {
        "the label itself": lambda y: y.astype(np.float32),
        "its opposite": lambda y: 1 - y.astype(np.float32),
        "absence": lambda y: np.where(y, np.nan, np.float32(3)),
        "presence": lambda y: np.where(y, np.float32(3), np.nan),
        "neither low nor high": lambda y: np.where(y, 0, np.sign(np.arange(len(y)) % 2 - 0.5)).astype(np.float32),
        "nearly": lambda y: (y ^ (np.arange(len(y)) % 200 == 0)).astype(np.float32),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_leak(spec, rows, leak):
    x = rows.x.copy()
    x[:, 2] = leak[1](rows.y)
    place = rf"features\.{spec.features[2].name}"
    with pytest.raises(Malformed, match=rf"{place}: separates the label on its own \(AUC (1\.000|0\.99\d) over 4,000"):
        suspect(replace(rows, x=x), spec)


def test_features_that_are_absent_everywhere_are_named_at_once(spec, rows):
    x = rows.x.copy()
    x[:, :2] = np.nan
    names = f"{spec.features[0].name}, {spec.features[1].name}"
    with pytest.raises(Malformed, match=rf"features\.{names}: are absent in all"):
        suspect(replace(rows, x=x), spec)


def test_a_strong_feature_is_no_leak(spec, rows):
    x = rows.x.copy()
    x[:, 2] = rows.y + np.random.default_rng(1).normal(0, 0.5, N)
    assert 0.9 < suspect(replace(rows, x=x), spec)[spec.features[2].name] < 0.98


def test_many_rows_are_sampled_by_the_seed():
    draw = np.random.default_rng(2)
    y = draw.random(120_000) < 0.3
    values = (y + draw.normal(size=len(y))).astype(np.float32)
    assert alone(values, y, 1) == alone(values, y, 1) != alone(values, y, 2)
    assert abs(alone(values, y, 1) - 0.76) < 0.01


def test_nothing_to_learn_from(spec, rows):
    with pytest.raises(Malformed, match=r"split: leaves no row to learn from — give earlier moments"):
        suspect(rows.where(np.zeros(N, bool)), spec)


def test_a_feature_that_is_absent_everywhere(spec, rows):
    x = rows.x.copy()
    x[:, 0] = np.nan
    with pytest.raises(
        Malformed, match=rf"features\.{spec.features[0].name}: is absent in all [\d,]+ rows — check its field"
    ):
        suspect(replace(rows, x=x), spec)
