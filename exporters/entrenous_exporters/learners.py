"""The libraries that learn trees, each set up to give the same model for the same rows, on one thread."""

from __future__ import annotations

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
from entrenous_exporters.spec import Learner

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
        learner: of the kind `hist_gradient_boosting`. x: float32 [N, C], finite or NaN. y: float64 [N], finite.

    Raises:
        Malformed: another kind.
    """
    if learner.kind != "hist_gradient_boosting":
        remedy = "use hist_gradient_boosting"
        raise Malformed("regresses no numbers here", place=f"learner.kind: {learner.kind}", remedy=remedy)
    with threadpool_limits(1):
        return HistGradientBoostingRegressor(**_boosting(learner)).fit(x, y)


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
    try:
        from lightgbm import LGBMClassifier  # noqa: PLC0415 — needed by this learner alone
    except ModuleNotFoundError as error:
        raise _missing("lightgbm") from error
    return LGBMClassifier(
        n_estimators=learner.trees,
        num_leaves=learner.leaves,
        learning_rate=learner.learning_rate,
        reg_lambda=learner.l2,
        min_child_samples=learner.min_rows_leaf,
        random_state=learner.seed,
        n_jobs=1,
        verbosity=-1,
        deterministic=True,
        force_row_wise=True,
    )


def _xgboost(learner: Learner, y: NDArray[np.bool_]) -> Any:
    """XGBoost bounds a leaf by its hessian; a row's is about the label's variance, so `min_rows_leaf` is told in it."""
    try:
        from xgboost import XGBClassifier  # noqa: PLC0415 — needed by this learner alone
    except ModuleNotFoundError as error:
        raise _missing("xgboost") from error
    share = float(y.mean())
    return XGBClassifier(
        n_estimators=learner.trees,
        max_leaves=learner.leaves,
        max_depth=0,
        grow_policy="lossguide",
        tree_method="hist",
        learning_rate=learner.learning_rate,
        reg_lambda=learner.l2,
        min_child_weight=learner.min_rows_leaf * share * (1 - share),
        random_state=learner.seed,
        n_jobs=1,
    )


def _missing(library: str) -> Missing:
    return Missing("is not installed", place=library, remedy="pip install 'entrenous[train]', or use another learner")


_MAKERS = {
    "extra_trees": _forest,
    "hist_gradient_boosting": _hist,
    "lightgbm": _lightgbm,
    "random_forest": _forest,
    "xgboost": _xgboost,
}
