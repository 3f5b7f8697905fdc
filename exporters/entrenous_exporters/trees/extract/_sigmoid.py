"""scikit-learn's sigmoid calibration around one model: an affine map of its margin, folded into the column."""

from __future__ import annotations

from typing import Any

from entrenous_consent.errors import Malformed
from entrenous_exporters.trees.extract._refusals import kind_of, refusal

__all__ = ["inner"]

_OURS = "calibrate the column itself: entrenous_exporters.calibrate.calibrated"


def inner(model: Any) -> tuple[Any, float, float]:
    """Return what a fitted `CalibratedClassifierCV` calibrates, and a and b of its log-odds, a · margin + b.

    Raises:
        Malformed: not fitted, more than one model, another method than sigmoid, a pipeline, or a model of another
            library: having no `decision_function`, its probability is calibrated, which is not affine in its margin.
    """
    if not hasattr(model, "calibrated_classifiers_"):
        raise Malformed("is not fitted", place="model", remedy="call fit first")
    if model.method != "sigmoid":
        what = f"is calibrated by the method {model.method!r}, which is no map of the margin that leaves can hold"
        raise Malformed(what, place="model", remedy=f"use method='sigmoid', or {_OURS}")
    if model.ensemble is True or len(model.calibrated_classifiers_) != 1:
        what = "averages the probabilities of models calibrated apart (ensemble=True), which no sum of leaves gives"
        raise Malformed(what, place="model", remedy=f"use ensemble=False, or {_OURS}")
    (one,) = model.calibrated_classifiers_
    if len(one.calibrators) != 1:
        raise Malformed("has more than two classes", place="model", remedy="train one binary model for each class")
    (sigmoid,) = one.calibrators
    estimator = one.estimator
    while type(estimator).__name__ == "FrozenEstimator":
        estimator = estimator.estimator
    match kind_of(estimator):
        case "sklearn", "HistGradientBoostingClassifier" | "RandomForestClassifier" | "ExtraTreesClassifier":
            return estimator, -float(sigmoid.a_), -float(sigmoid.b_)
        case "sklearn", "Pipeline":
            raise refusal(estimator)
    what = f"calibrates the probability of {type(estimator).__name__}, not its margin"
    raise Malformed(what, place="model", remedy=_OURS)
