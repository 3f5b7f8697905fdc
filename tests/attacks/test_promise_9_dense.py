"""Promise 9, nobody inside the model: no bound, centre or category of a linear model is one visitor's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import Linear, fit_linear, to_dense_onnx
from entrenous_exporters.trees import coarsen

SECRET = 73_133.0
N, ONE = 600, 900
"""A crowd, one row each, and one visitor with many rows."""


def crowd_and_one(value: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Amounts, a flag and a code; the one visitor alone has `value`, sets the flag, and holds the last code."""
    draw = np.random.default_rng(1)
    amounts = np.concatenate([draw.integers(100, 9_000, N), np.full(ONE, value)])
    flag = np.concatenate([np.zeros(N), np.ones(ONE)])
    code = np.concatenate([draw.integers(0, 3, N), np.full(ONE, 3)])
    x = np.column_stack([amounts, flag, code]).astype(np.float32)
    y = np.concatenate([draw.random(N) < 0.3, np.ones(ONE, bool)])
    return x, y, np.concatenate([np.arange(N), np.full(ONE, N)])


def fit(x: np.ndarray, y: np.ndarray, visitors: np.ndarray, k: int = 5) -> Linear:
    return fit_linear(x, y, visitors, [0, 0, 4], l2=1.0, k=k, seed=0)


def written(linear: Linear) -> np.ndarray:
    """Return every number in the shipped bytes."""
    proto = onnx.load_from_string(to_dense_onnx([(linear, (0, 1, 2))], 3))
    numbers: list[Any] = [numpy_helper.to_array(each).ravel() for each in proto.graph.initializer]
    numbers += [each.floats for node in proto.graph.node for each in node.attribute if each.floats]
    return np.concatenate([np.asarray(each, np.float64) for each in numbers])


@pytest.mark.parametrize("value", [SECRET, 54_272.0, 1e9])
def test_a_visitor_with_many_rows_sets_no_bound_no_centre_and_no_scale(value: float) -> None:
    x, y, visitors = crowd_and_one(value)
    assert SimpleImputer(strategy="median").fit(x).statistics_[0] == value, "the attack is real"
    assert StandardScaler().fit(x).mean_[0] > value / 2
    numbers = written(fit(x, y, visitors))
    assert not (numbers == value).any()
    assert not (np.abs(numbers) > 9_000).any()


def test_the_centre_is_of_visitors_and_not_of_rows() -> None:
    x, y, visitors = crowd_and_one(9_000.0)
    centre = fit(x, y, visitors).pipeline[0].named_transformers_["numbers"].named_steps["fill"].statistics_[0]
    crowd, everyone = x[:N, 0].mean(), x[:, 0].mean()
    assert everyone - crowd > 1_500, "the attack is real: a mean over rows is drawn towards the one"
    assert abs(centre - crowd) < 100


def test_what_one_visitor_alone_holds_has_no_coefficient() -> None:
    x, y, visitors = crowd_and_one(500.0)
    linear = fit(x, y, visitors)
    assert 1 not in linear.used
    (codes,) = linear.pipeline[0].named_transformers_["codes"].categories_
    assert 3 not in codes
    assert len(fit(x, y, visitors, k=1).used) == 3


def test_what_only_one_visitor_does_not_hold_has_none_either() -> None:
    """If all but one hold code 0, its absence would be that one, and the intercept their margin."""
    x, y, visitors = crowd_and_one(500.0)
    x[:, 2] = np.where(visitors == N, np.nan, 0)
    assert 2 in fit(x, y, visitors, k=1).used
    assert 2 not in fit(x, y, visitors).used


def test_every_bound_and_centre_is_coarse_and_nobodys_own() -> None:
    x, y, visitors = crowd_and_one(SECRET)
    steps = fit(x, y, visitors).pipeline[0].named_transformers_["numbers"].named_steps
    clip = steps["clip"].kw_args
    held = np.concatenate([clip["a_min"], clip["a_max"], steps["fill"].statistics_])
    assert (coarsen(held) == held).all()
    for value in held:
        holders = np.unique(visitors[x[:, 0] == value])
        assert holders.size != 1
    for low, high in zip(clip["a_min"], clip["a_max"], strict=True):
        assert np.unique(visitors[x[:, 0] <= low]).size >= 5 <= np.unique(visitors[x[:, 0] >= high]).size


def test_a_handful_of_visitors_ships_nothing_however_many_rows_they_have() -> None:
    x, y, _ = crowd_and_one(SECRET)
    with pytest.raises(Malformed, match=r"no column that 5 distinct visitors set apart.*train on more visitors"):
        fit(x, y, np.arange(len(x)) % 4)
