"""The one form: rounding down, coarsening, pre-order, the grid, and the reference walk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import (
    Column,
    Tree,
    assemble,
    coarsen,
    coarsened,
    floor32,
    leaf_of,
    on_grid,
    parse_tree,
    walk,
)

FLOAT_MAX = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).smallest_subnormal)
doubles = st.floats(allow_nan=False, allow_infinity=False)
singles = st.floats(width=32, allow_nan=False)
in_range = st.floats(min_value=-FLOAT_MAX, max_value=FLOAT_MAX)


def leaf(value: float) -> Tree:
    return parse_tree(feature=[0], threshold=[0], left=[0], right=[0], nan_left=[0], is_leaf=[1], value=[value])


def stump(threshold: float, left: float, right: float, *, feature: int = 0, nan_left: bool = False) -> Tree:
    return parse_tree(
        feature=[feature, 0, 0],
        threshold=[threshold, 0, 0],
        left=[1, 0, 0],
        right=[2, 0, 0],
        nan_left=[nan_left, False, False],
        is_leaf=[False, True, True],
        value=[0.0, left, right],
    )


@given(in_range)
def test_floor32_is_the_largest_float32_below(t: float) -> None:
    down = floor32([t])[0]
    with np.errstate(over="ignore"):
        up = np.nextafter(down, np.float32(np.inf))
    assert float(down) <= t  # as doubles: numpy would compare a float32 with a Python float in float32
    assert float(up) > t


@given(singles, doubles)
def test_floor32_changes_no_comparison_with_a_float32(x: float, t: float) -> None:
    assert (np.float32(x) <= np.float64(t)) == (np.float32(x) <= floor32([t])[0])


def test_floor32_at_the_ends_of_the_range() -> None:
    assert floor32([1e300, np.inf, -1e300, -1e-320, 1e-320]).tolist() == [FLOAT_MAX, np.inf, -np.inf, -TINY, 0.0]


@given(in_range)
def test_coarse_thresholds_have_8_significant_bits_and_are_not_above(t: float) -> None:
    down = float(coarsen([t])[0])
    assert down <= t
    if np.isfinite(down):
        mantissa = np.frexp(down)[0] * 256
        assert mantissa == np.floor(mantissa)
        assert t - down <= max(abs(t) * 2.0**-7, TINY)
        assert coarsen([down])[0] == down


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (0.0, 0.0),
        (-0.0, 0.0),
        (1.0, 1.0),
        (257.0, 256.0),
        (-257.0, -258.0),
        (255.9, 255.0),
        (-255.9, -256.0),
        (np.inf, np.inf),
        (TINY, TINY),
        (-TINY, -TINY),
        (TINY / 2, 0.0),
        (1023 * TINY, 1020 * TINY),
        (-FLOAT_MAX, -np.inf),
        (FLOAT_MAX, 255 * 2.0**120),
    ],
)
def test_coarsening_at_the_edges(t: float, expected: float) -> None:
    got = coarsen([t])[0]
    assert got == expected
    assert np.signbit(got) == np.signbit(np.float32(expected))


def test_a_tree_in_any_order_is_parsed_into_preorder_without_its_unreached_nodes() -> None:
    tree = parse_tree(
        feature=[2, 9, 9, 1, 9, 9],
        threshold=[0.5, 0, 0, 1.5, 0, 0],
        left=[3, 0, 0, 4, 0, 0],
        right=[1, 0, 0, 2, 0, 0],
        nan_left=[True, True, False, False, False, False],
        is_leaf=[False, True, True, False, True, True],
        value=[7.0, 1.0, 2.0, 7.0, 3.0, 99.0],
    )
    assert tree.feature.tolist() == [2, 1, 0, 0, 0]
    assert tree.left.tolist() == [1, 2, 0, 0, 0]
    assert tree.right.tolist() == [4, 3, 0, 0, 0]
    assert tree.nan_left.tolist() == [True, False, False, False, False]
    assert tree.value.tolist() == [0.0, 0.0, 3.0, 2.0, 1.0]
    assert not any(getattr(tree, name).flags.writeable for name in ("feature", "threshold", "left", "value"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"left": [0, 0, 0]}, "twice or out of range"),
        ({"right": [1, 0, 0]}, "twice or out of range"),
        ({"right": [3, 0, 0]}, "twice or out of range"),
        ({"left": [-1, 0, 0]}, "twice or out of range"),
        ({"feature": [-1, 0, 0]}, "below 0"),
        ({"threshold": [np.nan, 0, 0]}, "NaN or -inf"),
        ({"threshold": [-np.inf, 0, 0]}, "NaN or -inf"),
        ({"value": [0, np.inf, 0]}, "not finite"),
        ({"value": [0, 1]}, "unequal length"),
    ],
)
def test_a_broken_tree_is_refused(change: dict[str, list[float]], what: str) -> None:
    parts: dict[str, list[float]] = {
        "feature": [0, 0, 0],
        "threshold": [1, 0, 0],
        "left": [1, 0, 0],
        "right": [2, 0, 0],
        "nan_left": [0, 0, 0],
        "is_leaf": [0, 1, 1],
        "value": [0, 1, 2],
    }
    with pytest.raises(Malformed, match=what):
        parse_tree(**(parts | change))


def test_an_ensemble_needs_columns_with_trees_over_its_own_features() -> None:
    with pytest.raises(Malformed, match="no column"):
        assemble([], 1)
    with pytest.raises(Malformed, match=r"columns\[0\].*needs a tree"):
        assemble([Column(trees=(), base=0.0)], 1)
    with pytest.raises(Malformed, match=r"columns\[0\].*finite base"):
        assemble([Column(trees=(leaf(1.0),), base=np.nan)], 1)
    with pytest.raises(Malformed, match=r"columns\[0\].trees\[1\].*column >= 3"):
        assemble([Column(trees=(leaf(1.0), stump(0, 1, 2, feature=3)), base=0.0)], 3)


@given(
    st.lists(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=6), min_size=1, max_size=3),
    st.floats(min_value=-1e6, max_value=1e6),
)
def test_the_grid_moves_a_leaf_by_half_a_step_at_most_and_keeps_the_bound(
    leaves: list[list[float]], base: float
) -> None:
    columns = [Column(trees=tuple(leaf(v) for v in values), base=base) for values in leaves]
    plain = assemble(columns, 1)
    ready = on_grid(plain)
    assert np.frexp(ready.step)[0] == 0.5
    assert ready.step >= 2.0**-10
    for before, after in zip(plain.columns, ready.columns, strict=True):
        was = np.array([before.base, *(t.value[0] for t in before.trees)])
        now = np.array([after.base, *(t.value[0] for t in after.trees)])
        assert (np.abs(now - was) <= ready.step / 2).all()
        assert (now.astype(np.float32) == now).all()
        assert (now / ready.step == np.rint(now / ready.step)).all()
        assert not np.signbit(now[now == 0]).any()
        assert np.abs(now).sum() <= 2**24 * ready.step


def test_the_step_is_2_to_the_minus_10_unless_the_bound_demands_a_coarser_one() -> None:
    assert on_grid(assemble([Column(trees=(leaf(16384.0),), base=0.0)], 1)).step == 2.0**-10
    assert on_grid(assemble([Column(trees=(leaf(16385.0),), base=0.0)], 1)).step == 2.0**-9
    assert on_grid(assemble([Column(trees=(leaf(1.0),), base=0.0)], 1), 0.25).step == 0.25


def test_rounding_up_past_the_bound_takes_the_next_step() -> None:
    crowded = [leaf(2.0**-10 * 0.6) for _ in range(400)]
    assert 16383.7 + 400 * 0.6 * 2.0**-10 < 2**14 < 16383.7 + 400 * 2.0**-10
    assert on_grid(assemble([Column(trees=tuple(crowded), base=16383.7)], 1)).step == 2.0**-9


@pytest.mark.parametrize("step", [0.0, -0.25, 0.3, 2.0**-65, 2.0**65, float("nan"), float("inf")])
def test_a_step_that_is_no_power_of_two_in_range_is_refused(step: float) -> None:
    with pytest.raises(Malformed, match="power of two"):
        on_grid(assemble([Column(trees=(leaf(1.0),), base=0.0)], 1), step)


def test_a_step_too_fine_for_the_bound_is_refused() -> None:
    with pytest.raises(Malformed, match=r"columns\[1\].*2\^24 steps"):
        on_grid(assemble([Column(trees=(leaf(v),), base=0.0) for v in (1.0, 16385.0)], 1), 2.0**-10)


def test_equal_goes_left_and_nan_where_the_node_says() -> None:
    rows = np.array([[1.0], [np.nextafter(np.float32(1), np.float32(2))], [np.nan], [-np.inf], [np.inf]], np.float32)
    for nan_left in (False, True):
        tree = stump(1.0, -1.0, 1.0, nan_left=nan_left)
        assert leaf_of(tree, rows).tolist() == [1, 2, 1 if nan_left else 2, 1, 2]
    only_nan_right = on_grid(assemble([Column(trees=(stump(np.inf, -1.0, 1.0),), base=0.5)], 1))
    assert walk(only_nan_right, rows)[:, 0].tolist() == [-0.5, -0.5, 1.5, -0.5, -0.5]


def test_columns_do_not_mix() -> None:
    ready = on_grid(assemble([Column(trees=(stump(0, 1, 2), leaf(4)), base=8), Column(trees=(leaf(-1),), base=0)], 1))
    assert walk(ready, np.array([[-1], [1]], np.float32)).tolist() == [[13.0, -1.0], [14.0, -1.0]]


def test_coarsening_an_ensemble_leaves_the_given_one_as_it_was() -> None:
    plain = assemble([Column(trees=(stump(257.0, 1, 2),), base=0)], 1)
    assert coarsened(plain).columns[0].trees[0].threshold[0] == 256.0
    assert plain.columns[0].trees[0].threshold[0] == 257.0


@pytest.mark.parametrize("rows", [np.zeros((2, 1)), np.zeros((2, 2), np.float32), np.zeros(2, np.float32)])
def test_rows_of_another_type_or_width_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(Malformed, match="float32"):
        walk(assemble([Column(trees=(leaf(1.0),), base=0.0)], 1), rows)
