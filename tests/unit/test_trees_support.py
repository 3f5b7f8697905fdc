"""Distinct visitors under every leaf, and thresholds that are nobody's value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import (
    Column,
    Tree,
    assemble,
    coarsen,
    enforce,
    leaf_of,
    least_support,
    lone_thresholds,
    parse_tree,
    protect,
    step_aside,
    support,
)


def comb(thresholds: list[float], values: list[float]) -> Tree:
    """A tree over one feature: `x <= thresholds[0]` is the first leaf, and so on; the last leaf takes the rest."""
    n = len(thresholds)
    split, kept = [2 * i for i in range(n)], [2 * i + 1 for i in range(n)]
    size = 2 * n + 1
    parts = {name: np.zeros(size) for name in ("feature", "threshold", "left", "right", "nan_left", "value")}
    parts["threshold"][split], parts["left"][split] = thresholds, kept
    parts["right"][split] = [i + 2 for i in split]
    parts["value"][[*kept, size - 1]] = values
    is_leaf = np.ones(size, dtype=bool)
    is_leaf[split] = False
    return parse_tree(is_leaf=is_leaf, **parts)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_support_counts_visitors_and_not_rows() -> None:
    tree = comb([1, 2], [10, 20, 30])
    rows = column(0, 0, 0, 1.5, 1.5, 3)
    visitors = np.array([4, 4, 4, 4, 7, 9])
    assert support(tree, rows, visitors).tolist() == [0, 1, 0, 2, 1]
    assert least_support(tree, rows, visitors) == 1
    assert least_support(assemble([Column(trees=(tree, comb([2], [0, 0])), base=0)], 1), rows, visitors) == 1


def test_a_leaf_under_k_has_its_parent_collapsed_to_the_mean_over_rows() -> None:
    tree = comb([1, 2], [10, 20, 30])
    rows = column(0, 0, 0, 1.5, 1.5, 1.5, 3)
    visitors = np.array([0, 1, 2, 0, 1, 2, 3])
    kept = enforce(tree, rows, visitors, 2)
    assert kept.is_leaf.tolist() == [False, True, True]
    assert kept.value.tolist() == [0, 10, (3 * 20 + 30) / 4]
    assert tree.is_leaf.size == 5, "the given tree is unchanged"


def test_collapsing_repeats_until_every_leaf_is_held() -> None:
    tree = comb([1, 2, 3], [10, 20, 30, 40])
    rows = column(0, 0, 1.5, 2.5, 3.5)
    visitors = np.array([0, 1, 5, 5, 5])
    assert enforce(tree, rows, visitors, 2).value.tolist() == [(10 + 10 + 20 + 30 + 40) / 5]
    assert enforce(tree, rows, visitors, 1).is_leaf.size == 7


def test_a_leaf_that_no_row_reaches_is_collapsed_without_weight() -> None:
    kept = enforce(comb([1, 2, 3], [10, 20, 30, 40]), column(0, 0, 1.5, 1.5), np.array([0, 1, 0, 1]), 2)
    assert kept.value.tolist() == [0, 10, 20]


def test_fewer_than_k_visitors_in_all_are_refused() -> None:
    with pytest.raises(Malformed, match="fewer than 5 distinct visitors"):
        enforce(comb([1], [1, 2]), column(*range(100)), np.arange(100) % 4)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_1_is_refused(k: int) -> None:
    with pytest.raises(Malformed, match="k: is below 1"):
        enforce(comb([1], [1, 2]), column(0), np.array([0]), k)


@pytest.mark.parametrize("visitors", [np.array([0]), np.array([0.0, 1.0]), np.array([-1, 0]), np.array([0, 1 << 40])])
def test_visitors_that_are_not_numbered_rows_are_refused(visitors: np.ndarray) -> None:
    with pytest.raises(Malformed, match="visitors"):
        support(comb([1], [1, 2]), column(0, 1), visitors)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 12))
def test_after_enforcing_every_leaf_holds_k_visitors_and_the_mean_over_rows_is_kept(seed: int, k: int, n: int) -> None:
    draw = np.random.default_rng(seed)
    tree = comb(np.sort(draw.normal(size=n)).tolist(), draw.normal(size=n + 1).tolist())
    rows = column(*draw.normal(size=200))
    visitors = draw.integers(0, 30, size=200)
    kept = enforce(tree, rows, visitors, k)
    assert least_support(kept, rows, visitors) >= k
    before, after = (t.value[leaf_of(t, rows)].mean() for t in (tree, kept))
    assert after == pytest.approx(before)
    assert np.isin(kept.threshold, tree.threshold).all()


def test_a_threshold_is_lone_when_one_visitor_alone_holds_its_value() -> None:
    tree = comb([1, 2, 3], [0, 0, 0, 0])
    rows = column(1, 1, 2, 2, 2.5, 9)
    assert lone_thresholds(tree, rows, np.array([0, 1, 5, 5, 6, 7])).tolist() == [2]


def test_a_lone_threshold_steps_aside_until_nobody_is_alone_with_it() -> None:
    tree = comb([512, 600], [0, 0, 0])
    rows = column(512, 510, 510, 508, 600, 600)
    visitors = np.array([0, 0, 0, 0, 1, 2])
    aside = step_aside(tree, rows, visitors)
    assert aside.threshold[[0, 2]].tolist() == [506, 600]
    assert (coarsen(aside.threshold) == aside.threshold).all()
    assert not lone_thresholds(aside, rows, visitors).size
    assert tree.threshold[0] == 512


def test_a_threshold_with_nothing_below_it_is_refused() -> None:
    lowest = np.float32(-255 * 2.0**120)
    with pytest.raises(Malformed, match="no value left"):
        step_aside(comb([float(lowest)], [0, 0]), column(float(lowest), 1), np.array([0, 1]))


def test_protecting_an_ensemble_coarsens_steps_aside_and_enforces() -> None:
    draw = np.random.default_rng(0)
    rows = column(*np.round(draw.lognormal(6, 1, size=3_000)))
    visitors = draw.integers(0, 500, size=3_000)
    plain = assemble([Column(trees=(comb([300.5, 301.5, 5000.5], [1, 2, 3, 4]),), base=0.1)], 1)
    safe = protect(plain, rows, visitors, 5)
    (tree,) = safe.columns[0].trees
    assert (coarsen(tree.threshold) == tree.threshold).all()
    assert least_support(safe, rows, visitors) >= 5
    assert not lone_thresholds(tree, rows, visitors).size
    assert safe.columns[0].base == 0.1
