"""Promise 9: no situation is one visitor's, however often they come; what ships of it is a mean over visitors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import to_dense_onnx
from entrenous_exporters.situations import find_situations

K = 5


def visits(strangers: int, often: int, seed: int = 1):
    """Return 400 visitors in two crowds, and a few strangers far from both who come very often."""
    chance = np.random.default_rng(seed)
    crowd = chance.normal([0, 0, 0], 1, (400, 3))
    crowd[200:] += [6, 0, 0]
    far = chance.normal([0, 40, 40], 0.1, (strangers * often, 3))
    x = np.concatenate([crowd, far]).astype(np.float32)
    visitors = np.concatenate([np.arange(400), 400 + np.repeat(np.arange(strangers), often)])
    y = (x[:, 0] > 3) ^ (chance.random(len(x)) < 0.2)
    return x, y, visitors


def found(strangers: int, often: int, count: int = 3):
    x, y, visitors = visits(strangers, often)
    return find_situations(x, y, visitors, [0, 0, 0], positions=[0, 1, 2], count=count, k=K, seed=0)


def members(one, situation: int) -> int:
    return np.unique(one.visitors[one.member == situation]).size


@pytest.mark.parametrize("often", [1, 500])
def test_a_few_visitors_make_no_situation_however_often_they_come(often: int):
    few, enough = found(K - 1, often), found(K, often)
    assert not (few.member[400:] > 0).any() or members(few, few.member[400]) >= K
    for one in (few, enough):
        assert all(members(one, situation) >= K for situation in range(1, one.count + 1))


def test_a_cluster_of_fewer_than_k_falls_to_elsewhere():
    """Where others support either bound, a corner is far from all of them, and k-means does give it its own cluster."""
    chance, few = np.random.default_rng(3), K - 1
    crowd = chance.normal(0, 1, (400, 3))
    arms = np.repeat([[0, 40, 0], [0, 0, 40], [0, 40, 40]], [60, 60, few], axis=0) + chance.normal(
        0, 0.1, (120 + few, 3)
    )
    x = np.concatenate([crowd, arms]).astype(np.float32)
    y = chance.random(len(x)) < np.where(np.arange(len(x)) < 400, 0.2, 0.9)
    one = find_situations(x, y, np.arange(len(x)), [0, 0, 0], positions=[0, 1, 2], count=4, k=K, seed=0)
    assert (one.member[520:] == 0).all()
    assert (one.member[400:520] > 0).all()
    assert one.count == 3


@pytest.mark.parametrize("often", [2, 500])
def test_coming_often_moves_nothing_that_ships(often: int):
    """All of it is counted in visitors: bounds, scales, weights and centroids."""
    once = found(K, 1)
    again = np.repeat(np.arange(len(once.x)), np.where(once.visitors >= 400, often, 1))
    always = replace(once, **{name: getattr(once, name)[again] for name in ("x", "y", "visitors", "member")})
    one, many = (each.linear([0, 1, 2]).pipeline for each in (once, always))
    assert np.abs(one[-1].coef_[1:]).max(axis=1).min() > 0
    np.testing.assert_allclose(many[-1].coef_, one[-1].coef_, rtol=1e-12)
    np.testing.assert_allclose(many[-1].intercept_, one[-1].intercept_, rtol=1e-12)
    crowd = once.x[:400].astype(np.float64)
    np.testing.assert_array_equal(many[0].transform(crowd), one[0].transform(crowd))


def test_no_number_that_ships_is_one_visitors_own():
    one = found(K, 1)
    graph = onnx.load_from_string(to_dense_onnx([(one.linear([0, 1, 2]), [0, 1, 2])], 3)).graph
    held = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    held += [np.array(attribute.floats) for node in graph.node for attribute in node.attribute if attribute.floats]
    shipped = np.unique(np.concatenate([each.ravel() for each in held if each.dtype.kind == "f"]).astype(np.float32))
    assert len(shipped) > 3 * (one.count + 1), "bounds, centres, coefficients"
    theirs = {}
    for value, visitor in zip(one.x.T.ravel(), np.tile(one.visitors, 3), strict=True):
        theirs.setdefault(float(value), set()).add(int(visitor))
    alone = [value for value in shipped if len(theirs.get(float(value), ())) == 1]
    assert alone == []


def test_nobody_left_no_situation():
    x, y, visitors = visits(0, 0)
    with pytest.raises(Malformed, match=r"none that 5 visitors make up|no column"):
        find_situations(x[:8], y[:8], visitors[:8] // 4, [0, 0, 0], positions=[0, 1, 2], count=3, k=K, seed=0)
