"""Promise 9: no situation is one visitor's, however often they come; what ships of it is a mean over visitors."""

from __future__ import annotations

import numpy as np
import pytest

from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import dense_margins, to_dense_onnx
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


def test_coming_often_moves_no_centroid_further_than_coming_once():
    """A centroid is the mean over visitors of their own means."""
    once, always = found(K, 1), found(K, 500)
    for linear in (once.linear([0, 1, 2]), always.linear([0, 1, 2])):
        assert np.isfinite(linear.pipeline[-1].coef_).all()
    x, _, _ = visits(K, 1)
    ours = dense_margins([(always.linear([0, 1, 2]), [0, 1, 2])], x[:400])
    assert ours.shape == (400, always.count + 1)
    assert np.unique(ours.argmax(axis=1)).size >= 2, "the crowds are still told apart"


def test_what_ships_is_coarse_and_nobodys_own_row():
    one = found(K, 1)
    linear = one.linear([0, 1, 2])
    model = to_dense_onnx([(linear, [0, 1, 2])], 3)
    shipped = {value for value in np.frombuffer(model, np.uint8).tobytes().split(b"\x00") if len(value) == 4}
    rows = {one.x[i].tobytes()[j : j + 4] for i in range(len(one.x)) for j in (0, 4, 8)}
    assert not shipped & {value for value in rows if np.frombuffer(value, np.float32)[0] not in (0.0, 1.0)}


def test_nobody_left_no_situation():
    x, y, visitors = visits(0, 0)
    with pytest.raises(Malformed, match=r"none that 5 visitors make up|no column"):
        find_situations(x[:8], y[:8], visitors[:8] // 4, [0, 0, 0], positions=[0, 1, 2], count=3, k=K, seed=0)
