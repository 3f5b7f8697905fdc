"""Refusals that say what to do: what was put around a model, and why it need not be there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from entrenous_consent.errors import Malformed

__all__ = ["kind_of", "refusal"]

_READABLE = (
    "HistGradientBoostingClassifier or …Regressor, RandomForestClassifier, ExtraTreesClassifier, LGBMClassifier or "
    "…Regressor, XGBClassifier or …Regressor, a lightgbm or xgboost Booster, or CalibratedClassifierCV("
    "method='sigmoid', ensemble=False) around one of scikit-learn's"
)
_OWN_COLUMNS = "train the model itself on the vector's own columns"


def kind_of(model: Any) -> tuple[str, str]:
    """Return the package and the name of the model's very class: a subclass may predict something else."""
    cls = type(model)
    return cls.__module__.partition(".")[0], cls.__name__


def refusal(model: Any) -> Malformed:
    """Return the error for a model that no extractor reads."""
    name = type(model).__name__
    if name == "Pipeline":
        around = list(_steps(model.steps[:-1]))
        what = "is a Pipeline around " + (", ".join(spoken for spoken, _ in around) or "its model alone")
        remedy = "; ".join(dict.fromkeys(remedy for _, remedy in around)) or "pass its last step"
        return Malformed(what, place="model", remedy=remedy)
    if hasattr(model, "best_estimator_"):
        return Malformed(f"is a search ({name})", place="model", remedy="pass its best_estimator_")
    return Malformed(f"cannot read {name}", place="model", remedy=f"use {_READABLE}")


def _steps(steps: Any) -> Iterator[tuple[str, str]]:
    """Yield, for each transformer, how to call it and what to do without it."""
    for _, step, *_ in steps:
        name = type(step).__name__
        if name == "Pipeline":
            yield from _steps(step.steps)
        elif name == "ColumnTransformer":
            yield from _steps(step.transformers)
        elif name == "FeatureUnion":
            yield from _steps(step.transformer_list)
        elif step is None or isinstance(step, str):
            yield f"{step!r}", _OWN_COLUMNS
        elif "Imputer" in name or name == "MissingIndicator":
            flag = "(add_indicator=True)" if getattr(step, "add_indicator", False) else ""
            yield name + flag, "leave NaN as it is, every model read here splits on it"
        elif name == "OneHotEncoder":
            flags = ("min_frequency", "max_categories")
            rare = any(getattr(step, flag, None) is not None for flag in flags)
            rare = rare or getattr(step, "handle_unknown", "") == "infrequent_if_exist"
            yield name + ("(infrequent_if_exist)" if rare else ""), "pass codes in a meaningful order, unknown is NaN"
        elif "Scaler" in name or name in ("Normalizer", "PowerTransformer", "QuantileTransformer"):
            yield name, "leave scaling out, trees do not need it"
        else:
            yield name, _OWN_COLUMNS
