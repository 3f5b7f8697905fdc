"""Calibration: scikit-learn's own answer, on visitors not learnt from, inside the leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from threadpoolctl import threadpool_limits

from entrenous_consent.errors import Malformed
from entrenous_exporters.calibrate import calibrated, fold, platt, rising, visitor_parts
from entrenous_exporters.quality import calibration
from entrenous_exporters.trees import Column, assemble, extract, margin_of, on_grid, protect, walk

F = 4


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def shop(n: int = 2_000, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n, F)).astype(np.float32)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    visitors = draw.integers(0, n // 4, n) * 7
    y = np.nan_to_num(rows[:, 0]) + 0.5 * np.isnan(rows[:, 1]) + draw.normal(size=n) > 1
    return rows, y, visitors


def hist() -> Any:
    return HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=8, early_stopping=False, random_state=0)


def forest() -> Any:
    return RandomForestClassifier(15, max_leaf_nodes=16, random_state=0)


def fitter(make: Callable[[], Any]) -> Callable[[np.ndarray, np.ndarray], Column]:
    return lambda x, y: extract(make().fit(x, y), range(F), F)


def probability(margins: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-margins))


@pytest.mark.parametrize("make", [hist, forest])
def test_it_is_scikit_learns_calibrated_probability_with_whole_visitors_apart(make: Callable[[], Any]) -> None:
    rows, y, visitors = shop()
    ours = calibrated(fitter(make), rows, y, visitors, parts=3, seed=5)
    part = visitor_parts(visitors, 3, 5)
    splits = [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(3)]
    theirs = CalibratedClassifierCV(make(), method="sigmoid", ensemble=False, cv=splits).fit(rows, y)
    unseen, _, _ = shop(seed=4)
    apart = probability(margin_of(ours.column, unseen)) - theirs.predict_proba(unseen)[:, 1]
    assert np.abs(apart).max() < 1e-9
    assert ours.a > 0


def test_no_visitor_is_on_both_sides_and_every_row_is_scored_once() -> None:
    rows, y, visitors = shop()
    order = {row.tobytes(): i for i, row in enumerate(rows)}
    seen: list[np.ndarray] = []

    def fit(x: np.ndarray, label: np.ndarray) -> Column:
        seen.append(np.array([order[row.tobytes()] for row in x]))
        return fitter(hist)(x, label)

    calibrated(fit, rows, y, visitors, parts=4, seed=1)
    *apart, everyone = seen
    assert everyone.size == len(rows)
    out = [np.setdiff1d(everyone, learnt) for learnt in apart]
    assert np.array_equal(np.sort(np.concatenate(out)), np.sort(everyone))
    for learnt, held in zip(apart, out, strict=True):
        assert not np.intersect1d(visitors[learnt], visitors[held]).size


def test_parts_are_even_repeatable_and_know_no_order_of_rows() -> None:
    _, _, visitors = shop()
    part = visitor_parts(visitors, 5, 9)
    sizes = [np.unique(visitors[part == i]).size for i in range(5)]
    assert max(sizes) - min(sizes) <= 1
    assert (visitor_parts(visitors, 5, 9) == part).all()
    assert (visitor_parts(visitors, 5, 10) != part).any()
    mixed = np.random.default_rng(0).permutation(len(visitors))
    assert (visitor_parts(visitors[mixed], 5, 9) == part[mixed]).all()
    for parts in (1, np.unique(visitors).size + 1):
        with pytest.raises(Malformed, match="parts: is not within"):
            visitor_parts(visitors, parts, 0)


def test_the_same_seed_gives_the_same_column() -> None:
    rows, y, visitors = shop()
    one, same, other = (calibrated(fitter(hist), rows, y, visitors, parts=2, seed=seed) for seed in (1, 1, 2))
    assert (one.a, one.b) == (same.a, same.b) != (other.a, other.b)
    assert (margin_of(one.column, rows) == margin_of(same.column, rows)).all()


def test_a_forests_margin_becomes_calibrated_log_odds() -> None:
    rows, y, visitors = shop(6_000)
    unseen, truth, _ = shop(6_000, seed=8)
    plain = fitter(forest)(rows, y)
    answer = calibrated(fitter(forest), rows, y, visitors, seed=0).column
    before, _ = calibration(probability(margin_of(plain, unseen)), truth)
    after, _ = calibration(probability(margin_of(answer, unseen)), truth)
    assert before > 0.2, "a mean probability is no log-odds"
    assert after < before / 5, "a sigmoid over a probability: near, not perfect"


def test_folding_is_affine_in_every_row_and_passes_through_protection() -> None:
    rows, y, visitors = shop()
    column = fitter(hist)(rows, y)
    folded = fold(column, 1.7, -0.4)
    np.testing.assert_allclose(margin_of(folded, rows), 1.7 * margin_of(column, rows) - 0.4, atol=1e-12)
    codes = np.unique(visitors, return_inverse=True)[1]
    one, other = (protect(assemble([each], F), rows, codes, 40) for each in (folded, column))
    assert sum(tree.is_leaf.sum() for tree in one.columns[0].trees) < sum(t.is_leaf.sum() for t in column.trees)
    late = fold(other.columns[0], 1.7, -0.4)
    np.testing.assert_allclose(margin_of(one.columns[0], rows), margin_of(late, rows), atol=1e-12)
    ready = on_grid(one)
    assert np.abs(walk(ready, rows)[:, 0] - margin_of(one.columns[0], rows)).max() <= 16 * ready.step / 2


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (-1.0, 0.0), (np.nan, 0.0), (np.inf, 0.0), (1.0, np.nan)])
def test_a_slope_that_does_not_rise_is_refused(a: float, b: float) -> None:
    rows, y, _ = shop()
    with pytest.raises(Malformed, match="does not rise with the margin"):
        fold(fitter(hist)(rows, y), a, b)


def test_a_model_that_ranks_backwards_is_refused() -> None:
    rows, y, visitors = shop()
    with pytest.raises(Malformed, match="does not rise"):
        calibrated(lambda x, label: fitter(hist)(x, ~label), rows, y, visitors, parts=2, seed=0)


def test_what_cannot_be_calibrated_is_refused() -> None:
    rows, y, visitors = shop()
    with pytest.raises(Malformed, match="one class alone"):
        platt(np.arange(4), np.ones(4))
    with pytest.raises(Malformed, match="finite margin and a label"):
        platt([0, np.nan], [0, 1])
    with pytest.raises(Malformed, match="finite margin and a label"):
        platt([0, 1, 2], [0, 1])
    with pytest.raises(Malformed, match="expected float32"):
        calibrated(fitter(hist), rows.astype(np.float64), y, visitors, seed=0)
    one = visitors == visitors[0]
    with pytest.raises(Malformed, match="leaves one class alone when part"):
        calibrated(fitter(hist), rows, one, visitors, parts=2, seed=0)


def crowd(n: int = 20_000, seed: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins whose log-odds are anything but affine in them: an S with flat ends and a kink."""
    draw = np.random.default_rng(seed)
    margins = draw.normal(0, 2, n)
    truth = -1 + 3 * np.tanh(margins - 1) + (margins > 2) * (margins - 2) * 0.1
    return margins, draw.random(n) < probability(truth), np.arange(n)


def test_a_rising_line_fits_what_no_sigmoid_does() -> None:
    margins, y, visitors = crowd()
    unseen, truth, _ = crowd(seed=7)
    line, (a, b) = rising(margins, y, visitors, 5), platt(margins, y)
    by_line, _ = calibration(probability(np.array([line.of(one) for one in unseen])), truth)
    by_sigmoid, _ = calibration(probability(a * unseen + b), truth)
    assert by_line < by_sigmoid / 3


def test_its_knots_are_the_centres_of_an_isotonic_regressions_steps() -> None:
    margins, y, visitors = crowd(3_200)
    line = rising(margins, y, visitors, 5)
    order = np.argsort(margins)
    bins = np.array_split(order, [101 * i for i in range(1, 31)])  # 32 bins would hold 100: 101 is the least of one
    shares = np.array([(y[one].sum() + 0.5) / (one.size + 1) for one in bins])
    size = np.array([one.size for one in bins])
    steps = IsotonicRegression().fit_transform(np.arange(len(bins)), shares, sample_weight=size)
    heights = np.unique(steps)
    assert 2 < heights.size < len(bins), "some bins are pooled"
    np.testing.assert_allclose(line.log_odds, np.log(heights / (1 - heights)))
    for x, height in zip(line.margins, heights, strict=True):
        pooled = np.concatenate([one for one, step in zip(bins, steps, strict=True) if step == height])
        assert x == pytest.approx(margins[pooled].mean(), abs=1e-6)


def test_rows_of_one_margin_are_one_bin_and_nothing_that_rises_is_refused() -> None:
    margins = np.repeat([0.0, 1.0], 500)
    y = np.tile([True, False, False, False], 250) | (np.arange(1_000) % 4 == 1) & (margins > 0)
    line = rising(margins, y, np.arange(1_000), 5)
    assert line.margins == (0.0, 1.0)
    np.testing.assert_allclose(probability(np.array(line.log_odds)), [0.25, 0.5], atol=1e-3)
    for of in (~y, np.tile([True, False], 500)):
        with pytest.raises(Malformed, match="no two margins of which the higher is likelier"):
            rising(margins, of, np.arange(1_000), 5)
    with pytest.raises(Malformed, match="one class alone"):
        rising(margins, np.ones(1_000, bool), np.arange(1_000), 5)
