"""LightGBM, read from `dump_model()`: float64 thresholds and sums over float32 rows, `x <= t`.

Three habits of its predictor that a converter must know (LightGBM 4, `include/LightGBM/tree.h` and `c_api.cpp`):

- A threshold of 1e300 stands for +inf.
- NaN follows `default_left` where a split's missing type is NaN. Where it is None, NaN counts as 0.
- Any |x| <= float32(1e-35) is read as 0, so a threshold inside that band moves to the band's edge here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.extract._vector import places
from entrenous_exporters.trees.form import Column, Floats, Tree, parse_tree

__all__ = ["from_lightgbm", "margins"]

_INFINITE = 1e300
_ZERO = np.float32(1e-35)


def from_lightgbm(model: Any, positions: Sequence[int], features: int) -> Column:
    """Return the column of a fitted `LGBMClassifier`, `LGBMRegressor` or `lightgbm.Booster`.

    The objective is binary, whose margin is log-odds, or regression, whose margin is what it foretells. Boosting types
    gbdt, dart and rf are read, up to the best iteration where one was recorded. What rf averages is averaged here;
    another `sigmoid` than 1 is multiplied in, so that a binary margin is log-odds.

    Args:
        model: the fitted model, trained on columns that hold finite values or NaN.
        positions: for each of the model's training columns, its column in the full vector; distinct.
        features: F, the width of the full vector.

    Raises:
        Malformed: not such a model or not fitted, another objective, a regression of square roots, linear trees,
            `zero_as_missing`, native categories, positions that do not fit.
    """
    booster = _booster(model)
    dump = booster.dump_model()
    scale = _scale(dump)
    where = places(positions, int(dump["max_feature_idx"]) + 1, features)
    trees = tuple(
        _tree(tree["tree_structure"], where, scale, f"trees[{i}]") for i, tree in enumerate(dump["tree_info"])
    )
    return Column(trees=trees, base=0.0)


def margins(model: Any, x: Floats) -> NDArray[np.float64]:
    """Return the library's own margins of `x` [N, columns trained on].

    Its `raw_score` leaves out what rf divides by and what `sigmoid` multiplies by; both are in `predict`, and here.
    """
    booster = _booster(model)
    return np.asarray(booster.predict(x, raw_score=True), dtype=np.float64) * _scale(booster.dump_model())


def _booster(model: Any) -> Any:
    name = type(model).__name__
    if name == "Booster":
        return model
    if name not in ("LGBMClassifier", "LGBMRegressor"):
        remedy = "train an LGBMClassifier or LGBMRegressor, or pass its booster_"
        raise Malformed(f"cannot read {name}", place="model", remedy=remedy)
    if not model.__sklearn_is_fitted__():
        raise Malformed("is not fitted", place="model", remedy="call fit first")
    return model.booster_


def _scale(dump: Mapping[str, Any]) -> float:
    """Return what a leaf's value is multiplied by to add to the margin."""
    objective, *settings = str(dump.get("objective") or "unknown").split()
    if objective not in ("binary", "regression") or "sqrt" in settings or dump["num_tree_per_iteration"] != 1:
        what = f"has the objective {objective!r}" + (", of square roots" if "sqrt" in settings else "")
        remedy = "train with objective='binary', one model for each class, or 'regression'"
        raise Malformed(what, place="model", remedy=remedy)
    sigmoid = float(dict(setting.split(":", 1) for setting in settings).get("sigmoid", 1))
    return sigmoid / len(dump["tree_info"]) if dump["average_output"] else sigmoid


def _tree(structure: Mapping[str, Any], where: NDArray[np.int64], scale: float, place: str) -> Tree:
    found = [structure]
    parts: dict[str, list[Any]] = {key: [] for key in ("feature", "threshold", "left", "right", "nan_left", "value")}
    for node in found:  # grows while it is read: children stand where they are appended
        splits = "split_feature" in node
        if not splits and "leaf_const" in node:
            raise Malformed("has linear leaves", place=place, remedy="train with linear_tree=False")
        threshold, nan_left = _split(node, place) if splits else (0.0, False)
        parts["feature"].append(where[node["split_feature"]] if splits else 0)
        parts["threshold"].append(threshold)
        parts["nan_left"].append(nan_left)
        parts["left"].append(len(found) if splits else 0)
        parts["right"].append(len(found) + 1 if splits else 0)
        parts["value"].append(0.0 if splits else node["leaf_value"] * scale)
        if splits:
            found += (node["left_child"], node["right_child"])
    return parse_tree(is_leaf=["split_feature" not in node for node in found], place=place, **parts)


def _split(node: Mapping[str, Any], place: str) -> tuple[float, bool]:
    """Return the threshold on plain values and whether NaN goes left."""
    if node["decision_type"] != "<=":
        what, remedy = "splits on native categories", "pass ordered codes, and no categorical_feature"
        raise Malformed(what, place=place, remedy=remedy)
    missing, threshold = node["missing_type"], float(node["threshold"])
    if missing not in ("None", "NaN"):
        what, remedy = "takes zero for missing", "train with zero_as_missing=False; absent is NaN"
        raise Malformed(what, place=place, remedy=remedy)
    nan_left = bool(node["default_left"]) if missing == "NaN" else threshold >= 0
    if threshold >= _INFINITE:
        return np.inf, nan_left
    if -_ZERO <= threshold < _ZERO:
        edge = _ZERO if threshold >= 0 else np.nextafter(-_ZERO, np.float32(-np.inf))
        return float(edge), nan_left
    return threshold, nan_left
