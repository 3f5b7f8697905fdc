"""scikit-learn's forests of classifiers: float64 thresholds over float32 rows, NaN by the node's own flag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.extract._vector import places
from entrenous_exporters.trees.form import Column, Floats, parse_tree

__all__ = ["from_forest", "margins"]


def from_forest(model: Any, positions: Sequence[int], features: int) -> Column:
    """Return the column of a fitted scikit-learn `RandomForestClassifier` or `ExtraTreesClassifier` with two classes.

    Beware: a forest has no log-odds. The column's margin is the mean probability of the second class, from 0 to 1,
    each leaf worth its share of it. `entrenous_exporters.calibrate` makes calibrated log-odds of it; a forest that is
    to ship as it is wants a finer step than the default (`on_grid(ensemble, finest_step(ensemble))`).

    Args:
        model: the fitted forest, trained with or without NaN. A column without NaN in training sends it, as the
            library does, to the child that held more rows.
        positions: for each of the model's training columns, its column in the full vector; distinct.
        features: F, the width of the full vector.

    Raises:
        Malformed: not such a model or not fitted, not two classes, more than one output, monotonic constraints (the
            library then refuses NaN), positions that do not fit.
    """
    name = type(model).__name__
    if name not in ("RandomForestClassifier", "ExtraTreesClassifier"):
        raise Malformed(f"cannot read {name}", place="model", remedy="train a RandomForest or ExtraTrees classifier")
    if not hasattr(model, "estimators_"):
        raise Malformed("is not fitted", place="model", remedy="call fit first")
    if model.n_outputs_ != 1 or model.n_classes_ != 2:
        what = "has more than one output, or not two classes"
        raise Malformed(what, place="model", remedy="train one binary model for each class")
    if model.monotonic_cst is not None:
        what = "has monotonic constraints, with which the library refuses NaN"
        raise Malformed(what, place="model", remedy="use HistGradientBoostingClassifier with monotonic_cst")
    where = places(positions, model.n_features_in_, features)
    trees = []
    for i, estimator in enumerate(model.estimators_):
        tree = estimator.tree_
        leaf = tree.children_left < 0
        trees.append(
            parse_tree(
                feature=where[np.where(leaf, 0, tree.feature)],
                threshold=tree.threshold,
                left=tree.children_left,
                right=tree.children_right,
                nan_left=tree.missing_go_to_left,
                is_leaf=leaf,
                value=tree.value[:, 0, 1] / len(model.estimators_),
                place=f"trees[{i}]",
            )
        )
    return Column(trees=tuple(trees), base=0.0)


def margins(model: Any, x: Floats) -> NDArray[np.float64]:
    """Return the library's own probability of the second class for `x` [N, columns trained on].

    Raises:
        Malformed: ±inf, which the library refuses.
    """
    if np.isinf(x).any():
        raise Malformed("hold ±inf, which scikit-learn's forests refuse", place="rows", remedy="leave it out")
    with np.errstate(over="ignore", invalid="ignore"):  # it sums all values to see whether they are finite
        return np.asarray(model.predict_proba(x)[:, 1], dtype=np.float64)
