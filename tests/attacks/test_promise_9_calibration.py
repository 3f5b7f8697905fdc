"""Promise 9, of an isotonic calibration: no knot that ships rests on fewer than *k* distinct visitors."""

from __future__ import annotations

import numpy as np
import pytest

from entrenous_exporters.calibrate import rising

K = 20


def crowd_and_few(few: int, often: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crowd's margins with their labels, and above all of them a few visitors who come often and always buy."""
    draw = np.random.default_rng(4)
    margins, rows = draw.normal(0, 1, 6_000), few * often
    y = draw.random(6_000) < 1 / (1 + np.exp(-margins))
    return (
        np.concatenate([margins, np.linspace(50, 51, rows)]),
        np.concatenate([y, np.ones(rows, bool)]),
        np.concatenate([np.arange(6_000), 9_000 + np.arange(rows) % few]),
    )


@pytest.mark.parametrize(("few", "often"), [(1, 2_000), (K - 1, 300)])
def test_few_visitors_with_many_rows_make_no_knot_of_their_own(few: int, often: int):
    line = rising(*crowd_and_few(few, often), K)
    assert line.margins[-1] < 50, "a knot among their margins alone would say what they did"


def test_as_many_as_k_do():
    line = rising(*crowd_and_few(K, 300), K)
    assert line.margins[-1] >= 50


@pytest.mark.parametrize("k", [5, 20, 400])
def test_every_knot_rests_on_k_visitors(k: int):
    """What a knot rests on is found from outside: rows nearer to no other knot's step than to its own."""
    draw = np.random.default_rng(8)
    visitors = np.sort(draw.integers(0, 1_500, 9_000))
    margins = visitors / 500 + draw.normal(0, 0.001, 9_000)  # each visitor's rows lie close together: the worst case
    y = draw.random(9_000) < 1 / (1 + np.exp(1.5 - margins))
    line = rising(margins, y, visitors, k)
    order = np.argsort(margins, kind="stable")
    reached = 0
    for x in line.margins:
        # The mean of consecutive rows from `reached` on: the block ends where its mean is the knot.
        means = np.cumsum(margins[order][reached:]) / np.arange(1, margins.size - reached + 1)
        size = int(np.argmin(np.abs(means - x))) + 1
        assert np.unique(visitors[order][reached : reached + size]).size >= k
        reached += size
    assert reached == margins.size, "the blocks cover every row"
