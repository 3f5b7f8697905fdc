"""From a library's fitted model to the one form, exactly as the library would score a float32 row.

`extract` reads what it names and refuses the rest with the remedy. Nothing here imports LightGBM or XGBoost: a model of
theirs brings its own methods. `library_margins` asks the library for the same number, for `check_library`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_exporters.trees.extract import _forest, _hist, _lightgbm, _sigmoid, _xgboost
from entrenous_exporters.trees.extract._forest import from_forest
from entrenous_exporters.trees.extract._hist import from_hist_gradient_boosting
from entrenous_exporters.trees.extract._lightgbm import from_lightgbm
from entrenous_exporters.trees.extract._refusals import kind_of, refusal
from entrenous_exporters.trees.extract._xgboost import from_xgboost
from entrenous_exporters.trees.form import Column, Floats, check_float32, fold

__all__ = [
    "extract",
    "from_forest",
    "from_hist_gradient_boosting",
    "from_lightgbm",
    "from_xgboost",
    "library_margins",
]

_Read = Callable[[Any, Sequence[int], int], Column]
_Margins = Callable[[Any, Floats], NDArray[Any]]


def extract(model: Any, positions: Sequence[int], features: int) -> Column:
    """Return the margin column of a fitted model.

    Log-odds for a binary classifier, but the mean probability for a forest (`from_forest`), and the raw prediction for
    a regressor. The margin is the library's own for every finite or NaN float32 row, before leaves are rounded.

    Args:
        model: scikit-learn's `HistGradientBoostingClassifier`, `HistGradientBoostingRegressor`,
            `RandomForestClassifier` or `ExtraTreesClassifier`, or `CalibratedClassifierCV(method="sigmoid",
            ensemble=False)` around one of these; `LGBMClassifier`, `LGBMRegressor` or `lightgbm.Booster`;
            `XGBClassifier`, `XGBRFClassifier`, `XGBRegressor` or `xgboost.Booster`. Trained on float32 columns that
            hold finite values or NaN.
        positions: for each of the model's training columns, its column in the full vector; distinct.
        features: F, the width of the full vector.

    Raises:
        Malformed: anything else, or one of these in a way that the one form cannot hold.
    """
    model, a, b = _unwrapped(model)
    read, _ = _reader(model)
    column = read(model, positions, features)
    return column if (a, b) == (1.0, 0.0) else fold(column, a, b)


def library_margins(model: Any, rows: Floats, positions: Sequence[int]) -> NDArray[Any]:
    """Return [N], the margins by the library's own prediction: what `extract`'s column is to be compared with.

    float64, or float32 from XGBoost, which adds in float32. Of a calibrated model: its calibrator's map of the inner
    model's own margin, since the log-odds of a probability near 1 are lost to rounding.

    Args:
        model: as in `extract`.
        rows: float32 [N, F], finite or NaN. Boosters take ±inf too; forests refuse it.
        positions: as in `extract`.

    Raises:
        Malformed: rows of another type, or a model that `extract` does not read.
    """
    check_float32(rows)
    model, a, b = _unwrapped(model)
    _, margins = _reader(model)
    found = margins(model, np.ascontiguousarray(rows[:, positions]))
    return found if (a, b) == (1.0, 0.0) else a * found + b


def _unwrapped(model: Any) -> tuple[Any, float, float]:
    """Return the model inside, and a and b of the margin wanted, a · its margin + b."""
    match kind_of(model):
        case "sklearn", "FrozenEstimator":
            return _unwrapped(model.estimator)
        case "sklearn", "CalibratedClassifierCV":
            return _sigmoid.inner(model)
    return model, 1.0, 0.0


def _reader(model: Any) -> tuple[_Read, _Margins]:
    match kind_of(model):
        case "sklearn", "HistGradientBoostingClassifier" | "HistGradientBoostingRegressor":
            return from_hist_gradient_boosting, _hist.margins
        case "sklearn", "RandomForestClassifier" | "ExtraTreesClassifier":
            return from_forest, _forest.margins
        case "lightgbm", "LGBMClassifier" | "LGBMRegressor" | "Booster":
            return from_lightgbm, _lightgbm.margins
        case "xgboost", "XGBClassifier" | "XGBRFClassifier" | "XGBRegressor" | "Booster":
            return from_xgboost, _xgboost.margins
    raise refusal(model)
