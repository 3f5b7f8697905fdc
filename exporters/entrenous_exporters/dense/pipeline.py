"""The linear model: a scikit-learn pipeline of stock parts, fitted so that no part of it is one visitor's.

Numbers are imputed, clipped and scaled; codes are one-hot encoded, those that few visitors hold as nothing; a logistic
regression weighs them. The parts before it are set to what `support` answers rather than fitted on rows. The
coefficients and the intercept are fitted on all rows and rest on all visitors together.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from entrenous_consent.errors import Malformed
from entrenous_exporters.dense.support import Supported, supported_codes, supported_number
from entrenous_exporters.trees.form import Floats, check_float32

__all__ = ["Linear", "fit_linear", "prepared"]

_MOST_STEPS = 10_000
_PLAIN = "use fit_linear, or only its parts"

Visitors = NDArray[np.int64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """A fitted pipeline that converts exactly, but for float32 sums.

    Attributes:
        pipeline: `prepare` (a `ColumnTransformer` of `numbers` and `codes`, either of which may be left out), then
            `model`, a `LogisticRegression`; its `decision_function` is the margin: log-odds of the class True where it
            is binary, one margin for each class where there are more.
        width: C, the number of columns that it takes, NaN for unknown.

    Raises:
        Malformed: the pipeline holds a part whose conversion is not known to be exact.
    """

    pipeline: Pipeline
    width: int

    def __post_init__(self) -> None:
        _check_pipeline(self.pipeline)

    @property
    def outputs(self) -> int:
        """How many margins it gives."""
        return int(self.pipeline[-1].coef_.shape[0])

    @property
    def used(self) -> tuple[int, ...]:
        """The columns that have a coefficient, rising; the others were left out for want of visitors."""
        parts = self.pipeline.named_steps["prepare"].transformers_
        return tuple(sorted(int(i) for name, _, at in parts if name != "remainder" for i in at))

    def folded(self, a: float, b: float) -> Linear:
        """Return the model whose margin is a · margin + b: a calibration, multiplied into the coefficients.

        Raises:
            Malformed: `a` is not above 0, or either is not finite.
        """
        if not (isfinite(a) and isfinite(b) and a > 0):
            what = "does not rise with the margin: the model ranks visitors backwards, or not at all"
            raise Malformed(what, place="calibration", remedy="do not ship it; give it more rows, or better features")
        prepare, model = (step for _, step in self.pipeline.steps)
        moved = LogisticRegression(**model.get_params())
        moved.classes_, moved.n_features_in_, moved.n_iter_ = model.classes_, model.n_features_in_, model.n_iter_
        moved.coef_, moved.intercept_ = model.coef_ * a, model.intercept_ * a + b
        return Linear(pipeline=Pipeline([("prepare", prepare), ("model", moved)]), width=self.width)

    def exportable(self) -> Pipeline:
        """Return the pipeline whose `predict` is the margin [N]: a linear sum, without labels and probabilities."""
        prepare, model = (step for _, step in self.pipeline.steps)
        summed = LinearRegression()
        summed.coef_, summed.intercept_, summed.n_features_in_ = model.coef_, model.intercept_, model.n_features_in_
        return Pipeline([("prepare", prepare), ("model", summed)])


def fit_linear(
    x: Floats, y: Labels, visitors: Visitors, categories: Sequence[int], *, l2: float, k: int, seed: int
) -> Linear:
    """Return a linear model of `y`.

    Numbers: missing becomes the centre, values are clipped to bounds that at least `k` distinct visitors reach, then
    centred and scaled. Codes: one-hot, where at least `k` distinct visitors hold the code; every other value, known or
    not, is all zeros. A column that fewer than `k` visitors set apart is left out.

    Args:
        x: float32 [N, C], the training rows, finite or NaN for unknown.
        y: bool [N], the label, of both classes.
        visitors: int64 [N], whose row each is.
        categories: for each column the number of codes, 0 for a number.
        l2: the strength of the penalty, scikit-learn's 1 / C. k: the fewest distinct visitors, at least 1.
        seed: of the solver.

    Raises:
        Malformed: arrays of other types or lengths, a code out of range, one class alone, no column left, or a solver
            that does not come to an end.
    """
    label = np.asarray(y)
    _check(x, label, visitors, categories, l2, k)
    prepare = prepared(x, visitors, categories, k)
    model = LogisticRegression(C=1.0 / l2, max_iter=_MOST_STEPS, tol=1e-6, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(prepare.transform(x.astype(np.float64)), label)
        except ConvergenceWarning as error:
            raise Malformed("does not settle", place="model", remedy="use a larger l2") from error
    return Linear(pipeline=Pipeline([("prepare", prepare), ("model", model)]), width=len(categories))


def prepared(x: Floats, visitors: Visitors, categories: Sequence[int], k: int) -> ColumnTransformer:
    """Return the first step of a pipeline, set to statistics that `k` distinct visitors support; see `fit_linear`.

    Raises:
        Malformed: no column is left.
    """
    numbers: dict[int, Supported] = {}
    codes: dict[int, tuple[int, ...]] = {}
    for i, count in enumerate(categories):
        if count:
            codes[i] = supported_codes(x[:, i], visitors, count, k)
        elif (kept := supported_number(x[:, i], visitors, k)) is not None:
            numbers[i] = kept
    codes = {i: kept for i, kept in codes.items() if kept}
    if not numbers and not codes:
        what = f"have no column that {k} distinct visitors set apart"
        raise Malformed(what, place="rows", remedy="train on more visitors")
    return _prepare(numbers, codes, len(categories))


def _check(x: Floats, y: NDArray[Any], visitors: Visitors, categories: Sequence[int], l2: float, k: int) -> None:
    check_float32(x)
    if y.dtype != np.bool_ or y.shape != (len(x),) or y.all() or not y.any():
        raise Malformed("expected one boolean a row, of both classes", place="label", remedy="give it more rows")
    if visitors.shape != (len(x),) or not np.issubdtype(visitors.dtype, np.integer):
        remedy = "number them with np.unique(…, return_inverse=True)"
        raise Malformed("expected one integer for each row", place="visitors", remedy=remedy)
    if len(categories) != x.shape[1] or min(categories) < 0:
        raise Malformed("expected a number of codes for each column", place="categories", remedy="use 0 for a number")
    if not (isfinite(l2) and l2 > 0) or k < 1:
        raise Malformed("expected a penalty above 0, and 1 visitor or more", place="l2 and k", remedy="use 1.0 and 5")
    if np.isinf(x).any():
        raise Malformed("hold an infinity", place="rows", remedy="give finite values, or NaN for unknown")
    for i, count in enumerate(categories):
        known = x[~np.isnan(x[:, i]), i]
        if count and ((known != np.floor(known)) | (known < 0) | (known >= count)).any():
            remedy = "give the position of the value, or NaN for unknown"
            raise Malformed(f"holds what is no code of 0..{count - 1}", place=f"rows: column {i}", remedy=remedy)


def _prepare(numbers: dict[int, Supported], codes: dict[int, tuple[int, ...]], width: int) -> ColumnTransformer:
    """Return the first step, set to the supported statistics: fitted on one made-up row that holds the centres."""
    parts: list[tuple[str, Any, list[int]]] = []
    made_up = np.zeros((1, width))
    for i, kept in numbers.items():
        made_up[0, i] = kept.centre
    low, high, scale = (
        np.array([getattr(kept, name) for kept in numbers.values()]) for name in ("low", "high", "scale")
    )
    if numbers:
        clip = FunctionTransformer(np.clip, kw_args={"a_min": low, "a_max": high})
        steps = [("fill", SimpleImputer(strategy="median")), ("clip", clip), ("scale", StandardScaler())]
        parts.append(("numbers", Pipeline(steps), list(numbers)))
    if codes:
        values = [np.array(kept, dtype=np.float64) for kept in codes.values()]
        encoder = OneHotEncoder(categories=values, handle_unknown="ignore", sparse_output=False)
        parts.append(("codes", encoder, list(codes)))
    prepare = ColumnTransformer(parts).fit(made_up)
    if numbers:
        scaler = prepare.named_transformers_["numbers"][-1]
        scaler.scale_, scaler.var_ = scale, scale**2
    return prepare


def _check_pipeline(pipeline: Any) -> None:
    """Refuse a pipeline with any part, or any setting of a part, whose conversion is not known to be exact."""
    _refuse_known(pipeline)
    steps = [name for name, _ in getattr(pipeline, "steps", [])]
    if type(pipeline) is not Pipeline or steps != ["prepare", "model"]:
        raise _unknown("is not a Pipeline of prepare and model", "pipeline")
    prepare, model = (step for _, step in pipeline.steps)
    if type(model) is not LogisticRegression or len(getattr(model, "classes_", ())) < 2:
        raise _unknown("is not a fitted LogisticRegression", "pipeline: model")
    parts = getattr(prepare, "transformers_", ())
    if type(prepare) is not ColumnTransformer or prepare.remainder != "drop" or prepare.transformer_weights:
        raise _unknown("is not a plain ColumnTransformer", "pipeline: prepare")
    for name, part, _ in parts:
        if name == "numbers" and type(part) is Pipeline and [step for step, _ in part.steps] == _NUMBER_STEPS:
            _check_numbers(*(step for _, step in part.steps))
        elif name == "codes" and type(part) is OneHotEncoder:
            if part.drop is not None or part.min_frequency is not None or part.max_categories is not None:
                raise _unknown("leaves categories out by itself", "pipeline: codes")
            if part.handle_unknown != "ignore":
                raise _unknown("fails on unknown codes", "pipeline: codes")
        elif name != "remainder":
            raise _unknown("is neither numbers nor codes", f"pipeline: prepare: {name}")


_NUMBER_STEPS = ["fill", "clip", "scale"]


def _check_numbers(fill: Any, clip: Any, scale: Any) -> None:
    if type(fill) is not SimpleImputer or not np.isnan(fill.missing_values):
        raise _unknown("is not a SimpleImputer of NaN", "pipeline: numbers: fill")
    if type(clip) is not FunctionTransformer or clip.func is not np.clip or set(clip.kw_args) != {"a_min", "a_max"}:
        raise _unknown("is not a FunctionTransformer of np.clip", "pipeline: numbers: clip")
    bounds = np.concatenate([clip.kw_args["a_min"], clip.kw_args["a_max"]])
    if not (np.isfinite(bounds).all() and (bounds.astype(np.float32) == bounds).all()):
        raise _unknown("has bounds that are not float32", "pipeline: numbers: clip")
    if type(scale) is not StandardScaler or not scale.with_mean or not scale.with_std:
        raise _unknown("is not a whole StandardScaler", "pipeline: numbers: scale")


def _refuse_known(part: Any, inside_calibration: bool = False) -> None:
    """Walk all parts; refuse by name what the stock converters are known to convert wrongly, and say nothing of."""
    if isinstance(part, SimpleImputer) and part.add_indicator:
        raise _unknown("is a SimpleImputer with add_indicator, which converts wrongly", "pipeline")
    if isinstance(part, OneHotEncoder) and part.handle_unknown == "infrequent_if_exist":
        raise _unknown("is a OneHotEncoder with infrequent_if_exist, which converts wrongly", "pipeline")
    if isinstance(part, StandardScaler) and inside_calibration:
        raise _unknown("is a scaler under CalibratedClassifierCV, which converts wrongly", "pipeline")
    calibrated = inside_calibration or isinstance(part, CalibratedClassifierCV)
    inner = [step for _, step in getattr(part, "steps", [])]
    inner += [each[1] for name in ("transformers", "transformers_") for each in getattr(part, name, [])]
    inner += [one for one in [getattr(part, "estimator", None)] if one is not None and not isinstance(one, str)]
    for each in inner:
        _refuse_known(each, calibrated)


def _unknown(what: str, place: str) -> Malformed:
    return Malformed(what, place=place, remedy=_PLAIN)
