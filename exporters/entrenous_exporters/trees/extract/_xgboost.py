"""XGBoost, read from its JSON: float32 throughout.

Its split is strict, `x < t`: the same as `x <= t'` for the float32 t' just below t. A classifier's base score is kept
as a probability; the margin starts at its log-odds, computed here in float32 as the library does. Its sums are float32
too, so its own margins carry a rounding error, which `check_library` grants where the expected margins are float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.extract._vector import places
from entrenous_exporters.trees.form import Column, Floats, Tree, parse_tree

__all__ = ["from_xgboost", "margins"]


def from_xgboost(model: Any, positions: Sequence[int], features: int) -> Column:
    """Return the column of a fitted `XGBClassifier`, `XGBRFClassifier`, `XGBRegressor` or `xgboost.Booster`.

    The objective is binary:logistic, whose margin is log-odds, or reg:squarederror, whose margin is what it foretells;
    boosters gbtree and dart are read, the latter's weights multiplied in. Of a model stopped early the trees up to its
    best iteration are read, of a `Booster` all, as each predicts.

    Args:
        model: the fitted model, trained on columns that hold finite values or NaN, with NaN for missing. A `Booster`
            does not say what stood for missing in its `DMatrix`.
        positions: for each of the model's training columns, its column in the full vector; distinct.
        features: F, the width of the full vector.

    Raises:
        Malformed: not such a model or not fitted, another objective, classes or targets, a linear booster, native
            categories, another value for missing, positions that do not fit.
    """
    learner = json.loads(bytes(_booster(model).save_raw("json")))["learner"]
    parameters, objective = learner["learner_model_param"], learner["objective"]["name"]
    if int(parameters.get("num_target", 1)) > 1 or int(parameters["num_class"]) > 0:
        remedy = "train one binary model for each target"
        raise Malformed("has more than one target, or more than two classes", place="model", remedy=remedy)
    if objective not in _BASES:
        what = f"has the objective {objective!r}"
        raise Malformed(what, place="model", remedy="train with objective='binary:logistic' or 'reg:squarederror'")
    booster = learner["gradient_booster"]
    if booster["name"] not in ("gbtree", "dart"):
        raise Malformed(f"has the booster {booster['name']!r}", place="model", remedy="train with gbtree or dart")
    if "c" in learner["feature_types"]:
        remedy = "pass ordered codes and enable_categorical=False"
        raise Malformed("was trained on native categories", place="model", remedy=remedy)
    where = places(positions, int(parameters["num_feature"]), features)
    trees = booster.get("gbtree", booster)["model"]["trees"]
    weights = booster.get("weight_drop", [1.0] * len(trees))
    return Column(
        trees=tuple(
            _tree(tree, where, float(np.float32(weight)), f"trees[{i}]")
            for i, (tree, weight) in enumerate(zip(trees, weights, strict=True))
        ),
        base=_BASES[objective](np.float32(parameters["base_score"].strip("[]"))),
    )


def margins(model: Any, x: Floats) -> NDArray[np.float32]:
    """Return the library's own margins of `x` [N, columns trained on]: float32, as it adds them up."""
    found = _booster(model).inplace_predict(x, predict_type="margin", validate_features=False)
    return np.asarray(found, dtype=np.float32).reshape(len(x))


def _booster(model: Any) -> Any:
    name = type(model).__name__
    if name == "Booster":
        return model
    if name not in ("XGBClassifier", "XGBRFClassifier", "XGBRegressor"):
        remedy = "train an XGBClassifier or XGBRegressor, or pass its booster"
        raise Malformed(f"cannot read {name}", place="model", remedy=remedy)
    if not model.__sklearn_is_fitted__():
        raise Malformed("is not fitted", place="model", remedy="call fit first")
    if model.missing is not None and not np.isnan(model.missing):
        what = "takes another value than NaN for missing"
        raise Malformed(what, place="model", remedy="train with missing=np.nan; absent is NaN")
    booster = model.get_booster()
    best = booster.attr("best_iteration")
    return booster if best is None else booster[: int(best) + 1]


def _log_odds(probability: np.float32) -> float:
    with np.errstate(divide="ignore"):
        return float(-np.log(np.float32(1) / probability - np.float32(1)))


_BASES: Mapping[str, Callable[[np.float32], float]] = MappingProxyType(
    {"binary:logistic": _log_odds, "reg:squarederror": float}
)
"""By objective, from the base score, since version 3.1 in brackets, to the margin that trees add to."""


def _tree(tree: Mapping[str, Any], where: NDArray[np.int64], weight: float, place: str) -> Tree:
    left = np.asarray(tree["left_children"], dtype=np.int64)
    leaf = left < 0
    if any(tree["split_type"]):
        remedy = "pass ordered codes and enable_categorical=False"
        raise Malformed("splits on native categories", place=place, remedy=remedy)
    condition = np.asarray(tree["split_conditions"], dtype=np.float64).astype(np.float32)
    with np.errstate(under="ignore", over="ignore"):
        below = np.nextafter(condition, np.float32(-np.inf))
    return parse_tree(
        feature=where[np.where(leaf, 0, np.asarray(tree["split_indices"], dtype=np.int64))],
        threshold=np.where(leaf, np.float32(0), below),
        left=left,
        right=tree["right_children"],
        nan_left=tree["default_left"],
        is_leaf=leaf,
        value=np.where(leaf, condition.astype(np.float64) * weight, 0.0),
        place=place,
    )
