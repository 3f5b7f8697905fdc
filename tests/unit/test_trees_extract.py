"""Extraction: the library's margins on float32 rows, or a refusal that says what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import (
    adversarial_rows,
    assemble,
    check_library,
    from_hist_gradient_boosting,
    on_grid,
)

SMALL: dict[str, Any] = {"max_iter": 12, "max_leaf_nodes": 8, "random_state": 0}


def observed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(2_000, 5)).astype(np.float32)
    rows[draw.random(rows.shape) < 0.2] = np.nan
    return rows, np.nan_to_num(rows[:, 3]) + draw.normal(size=len(rows))


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_margins_are_the_librarys_raw_predictions_in_adversarial_rows_too(kind: str) -> None:
    rows, target = observed(1)
    positions = [4, 1, 3]
    if kind == "classifier":
        model = HistGradientBoostingClassifier(**SMALL).fit(rows[:, positions], target > 0)
        raw = model.decision_function
    else:
        model = HistGradientBoostingRegressor(**SMALL).fit(rows[:, positions], target)
        raw = model.predict
    ready = on_grid(assemble([from_hist_gradient_boosting(model, positions, 5)], 5))
    tricky = adversarial_rows(ready, rows, 20_000, 3)
    far = check_library(ready, tricky, raw(tricky[:, positions])[:, None])
    assert 0 < far <= (len(ready.columns[0].trees) + 1) * ready.step / 2


def test_a_margin_further_away_is_refused_with_its_rows() -> None:
    rows, target = observed(2)
    model = HistGradientBoostingRegressor(**SMALL).fit(rows, target)
    ready = on_grid(assemble([from_hist_gradient_boosting(model, range(5), 5)], 5))
    expected = model.predict(rows)[:, None]
    expected[[3, 1_000]] += 0.1
    expected[7] = np.nan
    with pytest.raises(Malformed, match="3 of 2000 rows: 3, 7, 1000"):
        check_library(ready, rows, expected)


def test_a_split_on_missing_values_alone_is_extracted() -> None:
    draw = np.random.default_rng(5)
    rows = np.where(draw.random((500, 1)) < 0.5, np.nan, 1.0).astype(np.float32)
    model = HistGradientBoostingRegressor(**SMALL).fit(rows, np.isnan(rows[:, 0]))
    column = from_hist_gradient_boosting(model, [0], 1)
    assert np.isposinf(column.trees[0].threshold[0])
    check_library(on_grid(assemble([column], 1)), rows, model.predict(rows)[:, None])


def test_what_cannot_be_read_is_refused() -> None:
    rows, target = observed(3)
    three = HistGradientBoostingClassifier(**SMALL).fit(rows, np.digitize(target, [-1, 1]))
    with pytest.raises(Malformed, match=r"more than two classes.*one binary model"):
        from_hist_gradient_boosting(three, range(5), 5)
    codes = np.nan_to_num(np.round(np.abs(rows)))
    native = HistGradientBoostingClassifier(categorical_features=[0], **SMALL).fit(codes, target > 0)
    with pytest.raises(Malformed, match=r"native categories.*ordered codes"):
        from_hist_gradient_boosting(native, range(5), 5)
    with pytest.raises(Malformed, match="not fitted"):
        from_hist_gradient_boosting(HistGradientBoostingClassifier(), range(5), 5)
    with pytest.raises(Malformed, match="RandomForestClassifier"):
        from_hist_gradient_boosting(RandomForestClassifier(), range(5), 5)


@pytest.mark.parametrize("positions", [[0, 1], [0, 0, 1, 2, 3], [0, 1, 2, 3, 5], [-1, 0, 1, 2, 3]])
def test_positions_that_do_not_fit_are_refused(positions: list[int]) -> None:
    rows, target = observed(4)
    model = HistGradientBoostingRegressor(max_iter=2).fit(rows, target)
    with pytest.raises(Malformed, match="positions"):
        from_hist_gradient_boosting(model, positions, 5)
