"""What stock converters get silently wrong: each is refused with a remedy, or read exactly.

The rows are those of docs/dependencies.md, "Considered and not taken", and of the design: a name a test.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees import (
    adversarial_rows,
    assemble,
    check,
    check_library,
    extract,
    finest_step,
    float32_rows,
    least_support,
    library_margins,
    on_grid,
    protect,
    to_onnx,
    walk,
)

F = 4
XG: dict[str, Any] = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
LIGHT: dict[str, Any] = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def shop() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(8)
    rows = draw.normal(size=(800, F)).astype(np.float32)
    rows[:, 3] = draw.integers(0, 6, len(rows))
    y = rows[:, 0] + (rows[:, 3] % 2) + draw.normal(size=len(rows)) > 0.5
    return rows, y


def hist(**more: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=10, max_leaf_nodes=8, random_state=0, **more)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(10, max_leaf_nodes=8, random_state=0)


def agreement(model: Any, rows: np.ndarray) -> float:
    fine = on_grid(raw := assemble([extract(model, range(F), F)], F), finest_step(raw))
    tricky = adversarial_rows(fine, rows, 20_000, 1, infinite=False)
    return check_library(fine, tricky, library_margins(model, tricky, range(F))[:, None])


def refused(model: Any, match: str) -> None:
    with pytest.raises(Malformed, match=match):
        extract(model, range(F), F)
    with pytest.raises(Malformed, match=match):
        library_margins(model, np.zeros((1, F), np.float32), range(F))


class TestSilentlyWrong:
    def test_hist_thresholds_rounded_to_nearest_are_rounded_down(self) -> None:
        rows, y = shop()
        assert agreement(hist().fit(rows, y), rows) < 1e-5

    def test_forests_trained_with_nan_send_it_where_the_library_does(self) -> None:
        rows, y = shop()
        rows[::3, 1] = np.nan
        assert agreement(forest().fit(rows, y ^ np.isnan(rows[:, 1])), rows) < 1e-5

    def test_hist_native_categories_are_refused(self) -> None:
        rows, y = shop()
        model = hist(categorical_features=[3]).fit(rows, y)
        with pytest.raises(Malformed, match=r"native categories — pass ordered codes"):
            extract(model, range(F), F)

    def test_calibrated_hist_is_folded(self) -> None:
        rows, y = shop()
        model = CalibratedClassifierCV(hist(), method="sigmoid", ensemble=False, cv=2).fit(rows, y)
        assert agreement(model, rows) < 1e-5

    def test_isotonic_calibration_is_refused(self) -> None:
        rows, y = shop()
        model = CalibratedClassifierCV(hist(), method="isotonic", ensemble=False, cv=2).fit(rows, y)
        refused(model, r"method 'isotonic'.* — use method='sigmoid', or calibrate the column itself")

    def test_temperature_scaling_is_refused(self) -> None:
        rows, y = shop()
        model = CalibratedClassifierCV(hist(), method="temperature", ensemble=False, cv=2).fit(rows, y)
        refused(model, "method 'temperature'")

    @pytest.mark.parametrize("ensemble", [True, "auto"])
    def test_calibration_that_averages_models_is_refused(self, ensemble: Any) -> None:
        rows, y = shop()
        model = CalibratedClassifierCV(hist(), method="sigmoid", ensemble=ensemble, cv=2).fit(rows, y)
        refused(model, r"ensemble=True.* — use ensemble=False")

    def test_calibration_around_a_pipeline_with_a_scaler_is_refused(self) -> None:
        rows, y = shop()
        inner = make_pipeline(StandardScaler(), hist())
        model = CalibratedClassifierCV(inner, method="sigmoid", ensemble=False, cv=2).fit(rows, y)
        refused(model, r"Pipeline around StandardScaler — leave scaling out")

    def test_lightgbm_is_read_exactly(self) -> None:
        rows, y = shop()
        assert agreement(lightgbm.train(LIGHT, lightgbm.Dataset(rows, y), 10), rows) < 1e-5

    def test_lightgbms_zero_as_missing_is_refused(self) -> None:
        rows, y = shop()
        model = lightgbm.train({**LIGHT, "zero_as_missing": True}, lightgbm.Dataset(rows, y), 3)
        with pytest.raises(Malformed, match=r"takes zero for missing — train with zero_as_missing=False"):
            extract(model, range(F), F)

    @pytest.mark.parametrize("flag", [True, False])
    def test_an_imputer_is_refused_with_or_without_its_indicator(self, flag: bool) -> None:
        rows, y = shop()
        model = make_pipeline(SimpleImputer(add_indicator=flag), hist()).fit(rows, y)
        spoken = r"SimpleImputer\(add_indicator=True\)" if flag else "SimpleImputer"
        refused(model, rf"Pipeline around {spoken} — leave NaN as it is")

    def test_an_encoder_that_pools_rare_categories_is_refused(self) -> None:
        rows, y = shop()
        encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=5, sparse_output=False)
        chosen = ColumnTransformer([("kind", encoder, [3])], remainder="passthrough")
        model = Pipeline([("encode", chosen), ("model", hist())]).fit(rows, y)
        refused(model, r"OneHotEncoder\(infrequent_if_exist\) — pass codes in a meaningful order")

    def test_float64_rows_are_refused_everywhere_and_cast_nowhere(self) -> None:
        rows, y = shop()
        wide = rows.astype(np.float64) + 1e-9
        model = hist().fit(wide, y)
        raw = assemble([extract(model, range(F), F)], F)
        ready, visitors = on_grid(raw), np.arange(len(rows))
        refusal = r"rows: expected float32 .* not float64 — make them with float32_rows"
        for ask in (
            lambda: walk(ready, wide),
            lambda: check_library(ready, wide, library_margins(model, rows, range(F))[:, None]),
            lambda: check(to_onnx(ready), ready, wide),
            lambda: library_margins(model, wide, range(F)),
            lambda: adversarial_rows(ready, wide, 10, 0),
            lambda: protect(raw, wide, visitors),
            lambda: least_support(raw, wide, visitors),
        ):
            with pytest.raises(Malformed, match=refusal):
                ask()
        with pytest.raises(Malformed, match="values that float32 changes, in the columns 0, 1, 2, 3"):
            float32_rows(wide)

    def test_a_model_trained_on_float64_and_compared_on_float32_rows_is_found(self) -> None:
        rows, y = shop()
        wide = rows.astype(np.float64)
        wide[:, 0] = 1_760_000_000 + 1_000 * wide[:, 0]
        model = hist().fit(wide, y)
        ready = on_grid(assemble([extract(model, range(F), F)], F))
        with pytest.raises(Malformed, match=r"differs from the library in \d+ of 800 rows"):
            check_library(ready, wide.astype(np.float32), model.decision_function(wide)[:, None])

    def test_raw_unix_times_are_refused(self) -> None:
        rows, _ = shop()
        times = rows.astype(np.float64)
        times[:, 2] = 1_760_000_000 + np.arange(len(rows))
        with pytest.raises(Malformed, match=r"in the columns 2 — count days instead of Unix times"):
            float32_rows(times)


def test_what_float32_holds_is_cast() -> None:
    exact = np.array([[1, 2**24, -0.5], [np.nan, np.inf, -np.inf]])
    cast = float32_rows(exact)
    assert cast.dtype == np.float32
    assert np.array_equal(cast, exact, equal_nan=True)
    assert float32_rows(np.array([[True, False]])).tolist() == [[1.0, 0.0]]
    assert np.array_equal(float32_rows(cast), cast, equal_nan=True)
    for bad in (
        np.array([[2**24 + 1]]),
        np.array([[1e39]]),
        np.array([[1e-50]]),
        np.array([[2**62 + 1]]),
        np.array([[2**64 - 1]], np.uint64),
    ):
        with pytest.raises(Malformed, match="float32 changes"):
            float32_rows(bad)
    for other in (np.zeros(3), np.array([["a"]]), np.array([[None]])):
        with pytest.raises(Malformed, match=r"expected numbers \[N, F\]"):
            float32_rows(other)


def test_forests_that_hold_no_binary_probability_are_refused() -> None:
    rows, y = shop()
    refused(RandomForestRegressor(2).fit(rows, y), "cannot read RandomForestRegressor — use HistGradient")
    cases = {
        "not two classes": RandomForestClassifier(2).fit(rows, rows[:, 3]),
        "more than one output": RandomForestClassifier(2).fit(rows, np.stack([y, ~y], axis=1)),
        "monotonic": RandomForestClassifier(2, monotonic_cst=[1, 0, 0, 0]).fit(rows, y),
        "not fitted": RandomForestClassifier(2),
    }
    for match, model in cases.items():
        with pytest.raises(Malformed, match=match):
            extract(model, range(F), F)
    with pytest.raises(Malformed, match="±inf"):
        library_margins(forest().fit(rows, y), np.full((1, F), np.inf, np.float32), range(F))


def test_lightgbm_models_outside_the_form_are_refused() -> None:
    rows, y = shop()
    kinds = rows[:, 3].copy()

    def trained(labels: Any = y, rounds: int = 3, **more: Any) -> Any:
        return lightgbm.train({**LIGHT, **more}, lightgbm.Dataset(rows, labels), rounds)

    cut = {"min_data_per_group": 5, "cat_smooth": 1, "max_cat_to_onehot": 1}
    native = lightgbm.train({**LIGHT, **cut}, lightgbm.Dataset(rows, y, categorical_feature=[3]), 3)
    linear = lightgbm.Dataset(rows, y, params={"linear_tree": True})
    cases = {
        "native categories": native,
        "linear leaves": lightgbm.train({**LIGHT, "linear_tree": True}, linear, 3),
        "of square roots": trained(objective="regression", reg_sqrt=True),
        "objective 'regression_l1'": trained(objective="regression_l1"),
        "objective 'multiclass'": trained(kinds, objective="multiclass", num_class=6),
        "objective 'cross_entropy'": trained(objective="cross_entropy"),
        "objective 'unknown'": trained(objective=lambda margins, data: (margins - data.label, np.ones(len(margins)))),
        "not fitted": lightgbm.LGBMClassifier(),
        "cannot read LGBMRanker": lightgbm.LGBMRanker(),
    }
    for match, model in cases.items():
        with pytest.raises(Malformed, match=match):
            extract(model, range(F), F)


def test_xgboost_models_outside_the_form_are_refused() -> None:
    rows, y = shop()

    def trained(labels: Any = y, **more: Any) -> Any:
        return xgboost.train({**XG, **more}, xgboost.DMatrix(rows, labels, nthread=1), 3)

    data = xgboost.DMatrix(rows, y, nthread=1)
    both = np.stack([y, ~y], axis=1).astype(int)
    types = ["q", "q", "q", "c"]
    native = xgboost.DMatrix(rows, y, feature_types=types, enable_categorical=True, nthread=1)
    absent = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, missing=-1).fit(rows, y)
    cases = {
        "native categories": xgboost.train(XG, native, 3),
        "more than one target": trained(both),
        "more than one target, or": trained(both, multi_strategy="multi_output_tree"),
        "or more than two classes": trained(rows[:, 3], objective="multi:softprob", num_class=6),
        "objective 'reg:squaredlogerror'": trained(objective="reg:squaredlogerror"),
        "booster 'gblinear'": xgboost.train(
            {"objective": "binary:logistic", "booster": "gblinear", "nthread": 1}, data, 3
        ),
        "another value than NaN": absent,
        "not fitted": xgboost.XGBClassifier(),
        "cannot read XGBRanker": xgboost.XGBRanker(),
    }
    for match, model in cases.items():
        with pytest.raises(Malformed, match=match):
            extract(model, range(F), F)


def test_calibration_of_another_librarys_probability_is_refused() -> None:
    rows, y = shop()
    for base in (
        lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1),
        xgboost.XGBClassifier(n_estimators=3, n_jobs=1),
    ):
        frozen = FrozenEstimator(base.fit(rows, y))
        model = CalibratedClassifierCV(frozen, method="sigmoid", ensemble=False)
        refused(model.fit(rows, y), r"calibrates the probability of \w+, not its margin — calibrate the column itself")


def test_calibration_of_a_frozen_model_is_folded_and_a_frozen_model_is_read() -> None:
    rows, y = shop()
    frozen = FrozenEstimator(forest().fit(rows[:400], y[:400]))
    model = CalibratedClassifierCV(frozen, method="sigmoid").fit(rows[400:], y[400:])
    assert agreement(model, rows) < 1e-5
    assert agreement(frozen, rows) < 1e-5


def test_calibration_upon_calibration_is_refused() -> None:
    rows, y = shop()
    once = CalibratedClassifierCV(hist(), method="sigmoid", ensemble=False, cv=2)
    refused(CalibratedClassifierCV(once, method="sigmoid", ensemble=False, cv=2).fit(rows, y), "probability of Calib")


def test_other_models_are_refused_with_what_can_be_read() -> None:
    rows, y = shop()
    search = GridSearchCV(hist(), {"max_leaf_nodes": [4, 8]}, cv=2).fit(rows, y)
    refused(search, r"is a search \(GridSearchCV\) — pass its best_estimator_")
    refused(GradientBoostingClassifier(n_estimators=2), "cannot read GradientBoostingClassifier — use Hist")
    refused(IsotonicRegression(), "cannot read IsotonicRegression")
    refused(CalibratedClassifierCV(hist(), method="sigmoid", ensemble=False), "not fitted — call fit first")
    refused(Pipeline([("model", hist())]), "Pipeline around its model alone — pass its last step")
    refused("a path", "cannot read str")

    class HistGradientBoostingClassifier(RandomForestClassifier):
        """A name alone proves nothing."""

    refused(HistGradientBoostingClassifier(), "cannot read HistGradientBoostingClassifier — use")


def test_neither_lightgbm_nor_xgboost_is_imported_until_a_model_of_theirs_is() -> None:
    code = (
        "import sys; import entrenous_exporters.train, entrenous_exporters.calibrate, entrenous_exporters.trees;"
        "sys.exit(bool({'lightgbm', 'xgboost'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
