"""scikit-learn's histogram gradient boosting: float64 thresholds and sums, `x <= t`, NaN by the node's own flag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.extract._vector import places
from entrenous_exporters.trees.form import Column, Floats, parse_tree

__all__ = ["from_hist_gradient_boosting", "margins"]


def from_hist_gradient_boosting(model: Any, positions: Sequence[int], features: int) -> Column:
    """Return the margin column of a fitted scikit-learn `HistGradientBoostingClassifier` (binary) or `…Regressor`.

    The margin is the raw prediction, before the link: log-odds for a classifier. Thresholds are rounded down to
    float32, not yet coarsened, so that the column agrees with the library on every float32 row.

    Args:
        model: the fitted model, trained on columns that hold finite values or NaN.
        positions: for each of the model's training columns, its column in the full vector; distinct.
        features: F, the width of the full vector.

    Raises:
        Malformed: not such a model or not fitted, more than two classes, native categories, positions that do not fit.
    """
    name = type(model).__name__
    if name not in ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"):
        raise Malformed(f"cannot read {name}", place="model", remedy="train a HistGradientBoosting model")
    if not hasattr(model, "_predictors"):
        raise Malformed("is not fitted", place="model", remedy="call fit first")
    if model.n_trees_per_iteration_ != 1:
        what = "has more than two classes"
        raise Malformed(what, place="model", remedy="train one binary model for each class")
    if model.is_categorical_ is not None and np.any(model.is_categorical_):
        remedy = "pass ordered codes and categorical_features=None"
        raise Malformed("splits on native categories", place="model", remedy=remedy)
    where = places(positions, model.n_features_in_, features)
    trees = []
    for i, (predictor,) in enumerate(model._predictors):
        nodes = predictor.nodes
        leaf = nodes["is_leaf"].astype(bool)
        trees.append(
            parse_tree(
                feature=where[np.where(leaf, 0, nodes["feature_idx"])],
                threshold=nodes["num_threshold"],
                left=nodes["left"],
                right=nodes["right"],
                nan_left=nodes["missing_go_to_left"],
                is_leaf=leaf,
                value=nodes["value"],
                place=f"trees[{i}]",
            )
        )
    return Column(trees=tuple(trees), base=float(np.ravel(model._baseline_prediction)[0]))


def margins(model: Any, x: Floats) -> NDArray[np.float64]:
    """Return the library's own raw predictions of `x` [N, columns trained on]."""
    return np.asarray(model._raw_predict(x), dtype=np.float64).reshape(len(x))
