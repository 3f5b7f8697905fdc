"""The libraries that learn trees, each set up to give the same model for the same rows, on one thread."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from threadpoolctl import threadpool_limits

from entrenous_consent.errors import Malformed, Missing
from entrenous_exporters.spec import BOOSTED, Learner

__all__ = ["fit_regression", "fit_trees"]


def fit_trees(learner: Learner, x: NDArray[np.float32], y: NDArray[np.bool_]) -> Any:
    """Return the fitted model of `learner`'s library.

    Args:
        learner: of any kind but `logistic`. x: float32 [N, C], finite or NaN. y: bool [N].

    Raises:
        Missing: LightGBM or XGBoost is not installed.
    """
    model = _MAKERS[learner.kind](learner, y)
    with threadpool_limits(1):  # OpenMP threads that wait for a busy core cost ten times what they save here
        return model.fit(x, y)


def fit_regression(learner: Learner, x: NDArray[np.float32], y: NDArray[np.float64]) -> Any:
    """Return the fitted model of a number.

    Args:
        learner: one that boosts. x: float32 [N, C], finite or NaN. y: float64 [N], finite.

    Raises:
        Malformed: another kind. Missing: LightGBM or XGBoost is not installed.
    """
    match learner.kind:
        case "hist_gradient_boosting":
            model: Any = HistGradientBoostingRegressor(**_boosting(learner))
        case "lightgbm":
            model = _library("lightgbm").LGBMRegressor(**_light(learner))
        case "xgboost":
            model = _library("xgboost").XGBRegressor(**_extreme(learner, 1.0))
        case _:
            remedy = "use " + ", ".join(BOOSTED)
            raise Malformed("regresses no numbers here", place=f"learner.kind: {learner.kind}", remedy=remedy)
    with threadpool_limits(1):
        return model.fit(x, y)


def _hist(learner: Learner, _: NDArray[np.bool_]) -> Any:
    return HistGradientBoostingClassifier(**_boosting(learner))


def _boosting(learner: Learner) -> dict[str, Any]:
    return {
        "max_iter": learner.trees,
        "max_leaf_nodes": learner.leaves,
        "learning_rate": learner.learning_rate,
        "l2_regularization": learner.l2,
        "min_samples_leaf": learner.min_rows_leaf,
        "early_stopping": False,
        "categorical_features": None,
        "max_bins": learner.bins or 255,
        "random_state": learner.seed,
    }


def _forest(learner: Learner, _: NDArray[np.bool_]) -> Any:
    kind = RandomForestClassifier if learner.kind == "random_forest" else ExtraTreesClassifier
    return kind(
        n_estimators=learner.trees,
        max_leaf_nodes=learner.leaves,
        min_samples_leaf=learner.min_rows_leaf,
        n_jobs=1,
        random_state=learner.seed,
    )


def _lightgbm(learner: Learner, _: NDArray[np.bool_]) -> Any:
    return _library("lightgbm").LGBMClassifier(**_light(learner))


def _light(learner: Learner) -> dict[str, Any]:
    return {
        "n_estimators": learner.trees,
        "num_leaves": learner.leaves,
        "learning_rate": learner.learning_rate,
        "reg_lambda": learner.l2,
        "min_child_samples": learner.min_rows_leaf,
        "random_state": learner.seed,
        "n_jobs": 1,
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
    }


def _xgboost(learner: Learner, y: NDArray[np.bool_]) -> Any:
    share = float(y.mean())
    return _library("xgboost").XGBClassifier(**_extreme(learner, share * (1 - share)))


def _extreme(learner: Learner, curvature: float) -> dict[str, Any]:
    """XGBoost bounds a leaf by its hessian: `min_rows_leaf` times a row's, the label's variance of a classifier's."""
    return {
        "n_estimators": learner.trees,
        "max_leaves": learner.leaves,
        "max_depth": 0,
        "grow_policy": "lossguide",
        "tree_method": "hist",
        "learning_rate": learner.learning_rate,
        "reg_lambda": learner.l2,
        "min_child_weight": learner.min_rows_leaf * curvature,
        "random_state": learner.seed,
        "n_jobs": 1,
    }


def _library(name: str) -> Any:
    """Return a library that only some learners need.

    Raises:
        Missing: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        remedy = "pip install 'entrenous[train]', or use another learner"
        raise Missing("is not installed", place=name, remedy=remedy) from error


_MAKERS = {
    "extra_trees": _forest,
    "hist_gradient_boosting": _hist,
    "lightgbm": _lightgbm,
    "random_forest": _forest,
    "xgboost": _xgboost,
}
