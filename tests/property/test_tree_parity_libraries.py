"""Each library's own prediction against the extracted column, and that column's graph against the walk, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from threadpoolctl import threadpool_limits

from entrenous_consent.errors import Malformed
from entrenous_exporters.calibrate import calibrated
from entrenous_exporters.trees import (
    Column,
    adversarial_rows,
    assemble,
    check,
    check_library,
    coarsened,
    extract,
    finest_step,
    library_margins,
    on_grid,
    protect,
    to_onnx,
    walk,
)

F = 8
POSITIONS = (6, 0, 3, 1, 5, 4, 2)
"""Column 7 of the vector is not trained on, the others in another order."""
ROWS = 100_000
TREES = 20
FOREST: dict[str, Any] = {"n_estimators": TREES, "max_leaf_nodes": 12, "random_state": 0, "n_jobs": 1}
LIGHT: dict[str, Any] = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 0}
XG: dict[str, Any] = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": 0}
BAGGED: dict[str, Any] = {"bagging_fraction": 0.6, "bagging_freq": 1}


def light(**more: Any) -> Callable[..., Any]:
    return lambda x, y: lightgbm.train({**LIGHT, **more}, lightgbm.Dataset(x, y), num_boost_round=TREES)


def light_from_text(x: np.ndarray, y: np.ndarray) -> Any:
    return lightgbm.Booster(model_str=light()(x, y).model_to_string())


def light_stopped(x: np.ndarray, y: np.ndarray) -> Any:
    stop = lightgbm.early_stopping(2, verbose=False)
    data = lightgbm.Dataset(x[:2_000], y[:2_000])
    judge = lightgbm.Dataset(x[2_000:], y[2_000:], reference=data)
    model = lightgbm.train(
        {**LIGHT, "learning_rate": 0.5}, data, 80, valid_sets=[judge], callbacks=[stop], keep_training_booster=True
    )
    assert model.best_iteration < model.current_iteration()
    return model


def light_classifier() -> Any:
    return lightgbm.LGBMClassifier(n_estimators=TREES, num_leaves=8, verbose=-1, n_jobs=1)


def xg(**more: Any) -> Callable[..., Any]:
    return lambda x, y: xgboost.train({**XG, **more}, xgboost.DMatrix(x, y, nthread=1), num_boost_round=TREES)


def xg_stopped(x: np.ndarray, y: np.ndarray) -> Any:
    model = xgboost.XGBClassifier(n_estimators=80, max_depth=3, learning_rate=1.0, n_jobs=1, early_stopping_rounds=2)
    model.fit(x[:2_000], y[:2_000], eval_set=[(x[2_000:], y[2_000:])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model


def xg_forest(x: np.ndarray, y: np.ndarray) -> Any:
    return xgboost.XGBRFClassifier(n_estimators=TREES, max_depth=3, n_jobs=1).fit(x, y)


def sk(make: Callable[[], Any]) -> Callable[..., Any]:
    return lambda x, y: make().fit(x, y)


def numbers(make: Callable[[], Any]) -> Callable[..., Any]:
    """Fit a regressor to a number with a mean far from 0, not to the label."""
    return lambda x, y: make().fit(x, 70 + 3 * y + np.nan_to_num(x[:, 0]))


def hist() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=TREES, max_leaf_nodes=8, early_stopping=False, random_state=0)


def platted(make: Callable[[], Any]) -> Callable[..., Any]:
    return sk(lambda: CalibratedClassifierCV(make(), method="sigmoid", ensemble=False, cv=2))


MODELS: dict[str, tuple[bool, Callable[..., Any]]] = {
    "hist": (True, sk(hist)),
    "hist, calibrated": (True, platted(hist)),
    "forest": (False, sk(lambda: RandomForestClassifier(**FOREST))),
    "forest, NaN in training": (True, sk(lambda: RandomForestClassifier(**FOREST))),
    "forest, NaN in training, calibrated": (True, platted(lambda: RandomForestClassifier(**FOREST))),
    "extra trees": (False, sk(lambda: ExtraTreesClassifier(**FOREST))),
    "extra trees, NaN in training": (True, sk(lambda: ExtraTreesClassifier(**FOREST))),
    "lightgbm": (False, light()),
    "lightgbm, NaN in training": (True, light()),
    "lightgbm, classifier": (True, sk(light_classifier)),
    "lightgbm, NaN as 0": (True, light(use_missing=False)),
    "lightgbm, dart": (True, light(boosting="dart", drop_rate=0.3, skip_drop=0)),
    "lightgbm, rf": (True, light(boosting="rf", **BAGGED)),
    "lightgbm, sigmoid 2": (True, light(sigmoid=2.0)),
    "lightgbm, read from text": (True, light_from_text),
    "lightgbm, stopped early": (True, light_stopped),
    "lightgbm, regression": (True, numbers(lambda: lightgbm.LGBMRegressor(n_estimators=TREES, verbose=-1, n_jobs=1))),
    "lightgbm, regression by rf": (True, light(objective="regression", boosting="rf", **BAGGED)),
    "xgboost": (False, xg()),
    "xgboost, NaN in training": (True, xg()),
    "xgboost, exact": (True, xg(tree_method="exact")),
    "xgboost, base score": (True, xg(base_score=0.03)),
    "xgboost, dart": (True, xg(booster="dart", rate_drop=0.3)),
    "xgboost, stopped early": (True, xg_stopped),
    "xgboost, forest": (True, xg_forest),
    "xgboost, regression": (True, numbers(lambda: xgboost.XGBRegressor(n_estimators=TREES, max_depth=3, n_jobs=1))),
    "xgboost, regression by dart": (True, xg(objective="reg:squarederror", booster="dart", rate_drop=0.3)),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):  # OpenMP pools of three libraries spin against each other on few cores
        yield


def shop(*, missing: bool) -> tuple[np.ndarray, np.ndarray]:
    """Counts, amounts, values at the zero that LightGBM rounds to, denormals, huge values, values far from zero."""
    draw = np.random.default_rng(2026)
    n = 3_000
    rows = draw.normal(size=(n, F))
    rows[:, 0] = draw.poisson(3, n)
    rows[:, 1] = np.round(draw.lognormal(8, 2, n))
    rows[:, 2] *= 1e-35
    rows[:, 3] *= 1e-39
    rows[:, 4] *= 1e30
    rows[:, 5] -= 1e6
    effect = rows[:, 0] - 3 + rows[:, 2] * 1e35 + rows[:, 3] * 1e39 - rows[:, 4] / 1e30 + rows[:, 5] + 1e6
    if missing:
        gone = draw.random(rows.shape) < 0.2
        rows[gone] = np.nan
        effect += 2 * gone[:, 1] - gone[:, 6]
    return rows.astype(np.float32), effect + draw.normal(size=n) > 0


@pytest.mark.parametrize("name", MODELS)
def test_the_column_is_the_librarys_model_and_the_graph_is_the_column(name: str) -> None:
    missing, train = MODELS[name]
    observed, y = shop(missing=missing)
    model = train(observed[:, POSITIONS], y)
    raw = assemble([extract(model, POSITIONS, F)], F)
    fine, rounded = on_grid(raw, finest_step(raw)), on_grid(raw)
    finite_only = "forest" in name or "extra" in name
    rows = adversarial_rows(fine, observed, ROWS, 7, infinite=not finite_only)
    expected = library_margins(model, rows, POSITIONS)[:, None]
    assert expected.std() > 0.01, "the model says something"
    far = check_library(fine, rows, expected)
    assert far < 1e-4, "far below any leaf: every row stands on the library's side of every split"
    check_library(rounded, rows, expected)
    assert check(to_onnx(rounded), rounded, rows, alone=100).differing == 0
    ready = on_grid(protect(raw, observed, np.arange(len(observed)) // 2))
    rows = adversarial_rows(ready, observed, ROWS, 8, originals=[raw])
    assert check(to_onnx(ready), ready, rows, threads=(1,), alone=100).differing == 0


@pytest.mark.parametrize("name", ["lightgbm, rf", "lightgbm, sigmoid 2", "lightgbm, stopped early"])
def test_lightgbms_probability_is_that_of_the_margin(name: str) -> None:
    observed, y = shop(missing=True)
    model = MODELS[name][1](observed[:, POSITIONS], y)
    margin = library_margins(model, observed, POSITIONS)
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), model.predict(observed[:, POSITIONS]), atol=1e-12)


def test_xgboosts_probability_is_that_of_the_margin() -> None:
    observed, y = shop(missing=True)
    model = xg_stopped(observed[:, POSITIONS], y)
    margin = library_margins(model, observed, POSITIONS).astype(np.float64)
    probability = model.predict_proba(observed[:, POSITIONS])[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-margin)), probability, atol=1e-6)


@pytest.mark.parametrize("make", [hist, lambda: RandomForestClassifier(**FOREST)], ids=["hist", "forest"])
def test_a_folded_sigmoid_gives_scikit_learns_calibrated_probability(make: Callable[[], Any]) -> None:
    observed, y = shop(missing=True)
    model = platted(make)(observed[:, POSITIONS], y)
    ready = on_grid(raw := assemble([extract(model, POSITIONS, F)], F), finest_step(raw))
    rows = adversarial_rows(ready, observed, ROWS, 9, infinite=False)
    with np.errstate(over="ignore", invalid="ignore"):  # scikit-learn sums all values to see whether they are finite
        probability = model.predict_proba(rows[:, POSITIONS])[:, 1]
    assert np.abs(1 / (1 + np.exp(-walk(ready, rows)[:, 0].astype(np.float64))) - probability).max() < 1e-5


@pytest.mark.parametrize("name", ["forest, NaN in training", "lightgbm, NaN in training", "xgboost, NaN in training"])
def test_what_is_calibrated_on_visitors_out_of_training_passes_the_gate(name: str) -> None:
    observed, y = shop(missing=True)
    visitors = np.arange(len(observed)) // 3

    def fit(x: np.ndarray, label: np.ndarray) -> Column:
        return extract(MODELS[name][1](x[:, POSITIONS], label), POSITIONS, F)

    answer = calibrated(fit, observed, y, visitors, parts=3, seed=1)
    ready = on_grid(protect(assemble([answer.column], F), observed, visitors))
    rows = adversarial_rows(ready, observed, ROWS, 10)
    assert check(to_onnx(ready), ready, rows, alone=100).differing == 0
    model = MODELS[name][1](observed[:, POSITIONS], y)
    fine = on_grid(raw := assemble([answer.column], F), finest_step(raw))
    rows = adversarial_rows(fine, observed, ROWS, 11, infinite=False)
    expected = answer.a * library_margins(model, rows, POSITIONS).astype(np.float64) + answer.b
    assert np.abs(walk(fine, rows)[:, 0] - expected).max() < 1e-4


@pytest.mark.parametrize("name", ["hist", "forest, NaN in training", "lightgbm", "xgboost"])
def test_thresholds_coarsened_are_another_model_and_the_comparison_sees_it(name: str) -> None:
    missing, train = MODELS[name]
    observed, y = shop(missing=missing)
    model = train(observed[:, POSITIONS], y)
    raw = assemble([extract(model, POSITIONS, F)], F)
    moved = on_grid(coarsened(raw), finest_step(raw))
    rows = adversarial_rows(moved, observed, ROWS, 12, originals=[raw], infinite=False)
    with pytest.raises(Malformed, match=r"differs from the library in \d+ of 100000 rows: \d+, "):
        check_library(moved, rows, library_margins(model, rows, POSITIONS)[:, None])
