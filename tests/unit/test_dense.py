"""Linear models: what they keep of their columns, what they refuse, and how they convert."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, RobustScaler, StandardScaler
from tests import dense

from entrenous.bundle import read_bundle
from entrenous.model.onnx_profile import OPSETS
from entrenous.model.scorer import open_session
from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import Linear, check_dense_parity, dense_margins, dense_rows, fit_linear, to_dense_onnx
from entrenous_exporters.dense.support import supported_codes, supported_number

NAN = np.nan


def margins(model: bytes, rows: np.ndarray) -> np.ndarray:
    run = open_session(model).run
    return np.concatenate([run(["margin"], {"x": rows[i : i + 1]})[0] for i in range(len(rows))])


def part(linear: Linear, *names: str) -> Any:
    found: Any = linear.pipeline
    for name in names:
        found = getattr(found, "named_transformers_", None) or found.named_steps
        found = found[name]
    return found


# What is kept of a column


def test_a_number_is_kept_as_coarse_statistics_of_visitors() -> None:
    values = np.arange(1000, dtype=np.float32) * np.float32(0.1234567)
    kept = supported_number(values, np.arange(1000), 5)
    assert kept is not None
    assert kept.low == pytest.approx(values[4], rel=2**-7)
    assert kept.high == pytest.approx(values[-5], rel=2**-7)
    assert (values <= kept.low).sum() >= 5 <= (values >= kept.high).sum()
    assert kept.centre == pytest.approx(values.mean(), rel=2**-6)
    assert kept.scale == 32.0, "the deviation is 36"


def test_rows_of_one_visitor_count_once() -> None:
    values = np.concatenate([np.arange(100), np.full(100_000, 50_000.0)]).astype(np.float32)
    visitors = np.concatenate([np.arange(100), np.full(100_000, 100)])
    kept = supported_number(values, visitors, 5)
    assert kept is not None
    assert kept.high <= 96
    assert 40 < kept.centre < 60


def test_a_share_of_the_visitors_lies_beyond_a_bound_unless_nothing_would_be_left() -> None:
    values = np.zeros(10_000, np.float32)
    values[:200] = np.arange(200) + 0.3
    kept = supported_number(values, np.arange(10_000), 5)
    assert kept is not None
    assert kept.high == 150
    values[30:] = 0
    kept = supported_number(values, np.arange(10_000), 5)
    assert kept is not None
    assert kept.high == 25.25, "50 visitors do not reach past 0, so 5 must do"


@pytest.mark.parametrize(
    "values",
    [np.zeros(100), np.full(100, NAN), np.eye(1, 100)[0], np.r_[np.ones(4), np.zeros(96)], np.full(100, 3e38)],
)
def test_a_number_that_fewer_than_k_visitors_set_apart_is_left_out(values: np.ndarray) -> None:
    assert supported_number(values.astype(np.float32), np.arange(100), 5) is None


def test_four_visitors_who_know_a_value_are_too_few() -> None:
    values = np.full(100, NAN, np.float32)
    values[:40] = np.arange(40)
    assert supported_number(values, np.arange(100) % 4, 5) is None
    assert supported_number(values, np.arange(100), 5) is not None


def test_values_near_the_ends_of_float32_are_kept_within_bounds() -> None:
    values = np.repeat(np.array([-3.4e38, -1, 1, 3.4e38], np.float32), 25)
    kept = supported_number(values, np.arange(100), 5)
    assert kept is not None
    assert (kept.low, kept.high) == (-(2.0**60), 2.0**60)
    tiny = supported_number(np.repeat(np.array([0, 1e-42], np.float32), 50), np.arange(100), 5)
    assert tiny is not None
    assert 0 < tiny.high <= 1e-42
    assert tiny.scale == 2.0**-60


def test_codes_that_k_visitors_hold_are_kept() -> None:
    values = np.repeat(np.array([0, 1, 2, NAN], np.float32), [50, 5, 4, 10])
    assert supported_codes(values, np.arange(69), 4, 5) == (0, 1)
    assert supported_codes(values, np.arange(69) % 4, 4, 5) == ()


def test_what_is_left_of_the_codes_is_held_by_k_visitors_or_nobody() -> None:
    values = np.repeat(np.array([0, 1, 2], np.float32), [50, 7, 1])
    assert supported_codes(values, np.arange(58), 3, 5) == (0,), "all zeros would have been one visitor"
    assert supported_codes(values[:57], np.arange(57), 3, 5) == (0, 1)
    alone = np.repeat(np.array([0, NAN], np.float32), [50, 1])
    assert supported_codes(alone, np.arange(51), 1, 5) == ()


# Fitting


def test_a_model_uses_the_columns_that_are_set_apart() -> None:
    given = dense.rows()
    x = given.x.copy()
    x[:, 2] = 0
    x[:, 4] = NAN
    linear = fit_linear(x, given.y, given.visitors, dense.CATEGORIES, l2=1.0, k=5, seed=0)
    assert linear.used == (0, 1, 3)
    with pytest.raises(Malformed, match="no column that 5 distinct visitors set apart"):
        fit_linear(x[:, [2, 4]], given.y, given.visitors, [0, 3], l2=1.0, k=5, seed=0)


def test_the_penalty_is_scikit_learns() -> None:
    weak, strong = (np.abs(dense.fit(dense.ALL, l2=l2).pipeline[-1].coef_).sum() for l2 in (0.01, 1_000.0))
    assert strong < weak / 2
    linear = dense.fit(dense.ALL, l2=4.0)
    given = dense.rows()
    own = LogisticRegression(C=0.25, tol=1e-8, max_iter=10_000)
    own.fit(linear.pipeline[:-1].transform(given.x.astype(np.float64)), given.y)
    assert linear.pipeline[-1].coef_ == pytest.approx(own.coef_, rel=1e-3, abs=1e-3)


def test_margins_are_log_odds_of_true() -> None:
    given = dense.rows()
    linear, at = dense.columns()[0]
    margin = dense_margins([(linear, at)], given.x)[:, 0]
    assert margin[given.y].mean() > margin[~given.y].mean()
    assert (1 / (1 + np.exp(-margin))).mean() == pytest.approx(given.y.mean(), abs=1e-3)


def test_the_same_rows_give_the_same_bytes() -> None:
    again = to_dense_onnx([(dense.fit(at), at) for at in (dense.ALL, dense.FEW)], 5)
    assert again == dense.model()


GIVEN = {"categories": dense.CATEGORIES, "l2": 1.0, "k": 5, "seed": 0}


def _with(column: int, value: float) -> np.ndarray:
    x = dense.rows().x.copy()
    x[0, column] = value
    return x


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": dense.rows().x.astype(np.float64)}, "expected float32"),
        ({"x": _with(0, np.inf)}, "rows: hold an infinity"),
        ({"x": _with(3, 4)}, "rows: column 3: holds what is no code of 0..3"),
        ({"x": _with(3, 0.5)}, "rows: column 3: holds what is no code"),
        ({"x": _with(4, -1)}, "rows: column 4: holds what is no code of 0..2"),
        ({"y": np.zeros(2_000, bool)}, "of both classes"),
        ({"y": np.zeros(2_000)}, "label: expected one boolean a row"),
        ({"y": dense.rows().y[1:]}, "label: expected one boolean a row"),
        ({"visitors": np.zeros(2_000)}, "visitors: expected one integer"),
        ({"visitors": np.zeros(3, np.int64)}, "visitors: expected one integer"),
        ({"categories": (0, 0)}, "categories: expected"),
        ({"categories": (0, 0, 0, 4, -3)}, "categories: expected"),
        ({"l2": 0.0}, "penalty above 0"),
        ({"l2": NAN}, "penalty above 0"),
        ({"k": 0}, "1 visitor or more"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(changes: dict[str, Any], message: str) -> None:
    given = dense.rows()
    arguments = {"x": given.x, "y": given.y, "visitors": given.visitors, **GIVEN, **changes}
    with pytest.raises(Malformed, match=message) as refused:
        fit_linear(**arguments)
    assert refused.value.remedy


# Calibration


def test_a_calibration_is_folded_into_the_model() -> None:
    given = dense.rows()
    linear, at = dense.columns()[0]
    before = linear.pipeline[-1].coef_.copy()
    folded = linear.folded(0.5, -0.25)
    expected = 0.5 * dense_margins([(linear, at)], given.x) - 0.25
    assert dense_margins([(folded, at)], given.x) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert margins(to_dense_onnx([(folded, at)], 5), given.x[:200]) == pytest.approx(expected[:200], abs=1e-5)
    assert (linear.pipeline[-1].coef_ == before).all()
    assert folded.used == linear.used


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (-1.0, 0.0), (NAN, 0.0), (1.0, np.inf)])
def test_a_calibration_that_does_not_rise_is_refused(a: float, b: float) -> None:
    with pytest.raises(Malformed, match="does not rise"):
        dense.columns()[0][0].folded(a, b)


# Conversion: what the stock converters do, and that ours does otherwise


def stock(pipeline: Any, width: int, rows: np.ndarray) -> np.ndarray:
    """Return the margins of what skl2onnx makes of a pipeline by itself."""
    options = {id(pipeline[-1]): {"zipmap": False, "raw_scores": True}}
    proto = convert_sklearn(
        pipeline, initial_types=[("x", FloatTensorType([None, width]))], target_opset=dict(OPSETS), options=options
    )
    return open_session(proto.SerializeToString()).run(None, {"x": rows})[1][:, 1]


def codes_model() -> Linear:
    given = dense.rows()
    return fit_linear(given.x[:, 3:], given.y, given.visitors, [4, 3], l2=1.0, k=5, seed=0)


@pytest.mark.parametrize("code", [0.5, 1.5, -0.5, 2.9999998])
def test_the_stock_one_hot_takes_a_fraction_for_a_code_and_ours_does_not(code: float) -> None:
    linear, rows = codes_model(), np.array([[code, NAN]], np.float32)
    expected = dense_margins([(linear, (0, 1))], rows)[0, 0]
    assert abs(stock(linear.pipeline, 2, rows)[0] - expected) > 0.01, "the stock conversion is wrong"
    assert margins(to_dense_onnx([(linear, (0, 1))], 2), rows)[0, 0] == pytest.approx(expected, abs=1e-6)


def test_stock_conversion_has_no_clipping() -> None:
    linear = dense.columns()[0][0]
    with pytest.raises(Exception, match="FunctionTransformer"):
        stock(linear.pipeline, 5, dense.rows().x[:1])


def test_a_missing_indicator_converts_wrongly_and_is_refused() -> None:
    given = dense.rows()
    fill = SimpleImputer(add_indicator=True)
    pipeline = Pipeline([("fill", fill), ("model", LogisticRegression(max_iter=5_000))])
    pipeline.fit(given.x[:, :3].astype(np.float64), given.y)
    assert pipeline[-1].coef_.size == 6
    with pytest.raises(Malformed, match="is a SimpleImputer with add_indicator, which converts wrongly"):
        Linear(pipeline=pipeline, width=3)


def changed(**changes: Any) -> Pipeline:
    """Return the fitted pipeline of a model with some of its parts replaced."""
    linear = dense.fit(dense.ALL)
    prepare, model = linear.pipeline[0], linear.pipeline[1]
    for i, (name, each, at) in enumerate(prepare.transformers_):
        if name in changes:
            prepare.transformers_[i] = (name, changes[name], at)
        elif name == "numbers":
            each.steps = [(step, changes.get(step, fitted)) for step, fitted in each.steps]
    return Pipeline([("prepare", changes.get("prepare", prepare)), ("model", changes.get("model", model))])


def unsettled(estimator: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": OneHotEncoder(handle_unknown="infrequent_if_exist")}, "infrequent_if_exist, which converts wrongly"),
        ({"codes": OneHotEncoder(handle_unknown="ignore", min_frequency=5)}, "leaves categories out by itself"),
        ({"codes": OneHotEncoder(handle_unknown="ignore", drop="first")}, "leaves categories out by itself"),
        ({"codes": OneHotEncoder()}, "fails on unknown codes"),
        ({"codes": StandardScaler()}, "is neither numbers nor codes"),
        ({"fill": SimpleImputer(add_indicator=True)}, "add_indicator, which converts wrongly"),
        ({"fill": SimpleImputer(missing_values=0)}, "is not a SimpleImputer of NaN"),
        ({"clip": FunctionTransformer(np.log1p)}, "is not a FunctionTransformer of np.clip"),
        ({"clip": FunctionTransformer(np.clip, kw_args={"a_min": [0]})}, "is not a FunctionTransformer of np.clip"),
        (
            {"clip": FunctionTransformer(np.clip, kw_args={"a_min": np.array([0.1]), "a_max": np.ones(1)})},
            "has bounds that are not float32",
        ),
        ({"scale": RobustScaler()}, "is not a whole StandardScaler"),
        ({"scale": StandardScaler(with_mean=False)}, "is not a whole StandardScaler"),
        ({"prepare": StandardScaler()}, "is not a plain ColumnTransformer"),
        ({"prepare": ColumnTransformer([], remainder="passthrough")}, "is not a plain ColumnTransformer"),
        ({"model": SGDClassifier()}, "is not a fitted LogisticRegression"),
        ({"model": LogisticRegression()}, "is not a fitted LogisticRegression"),
        (
            {"model": unsettled(LogisticRegression(), classes_=np.arange(1))},
            "is not a fitted LogisticRegression",
        ),
        (
            {"model": CalibratedClassifierCV(Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]))},
            "is a scaler under CalibratedClassifierCV, which converts wrongly",
        ),
    ],
)
def test_a_part_that_is_not_known_to_convert_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Malformed, match=message) as refused:
        Linear(pipeline=changed(**changes), width=5)
    assert refused.value.remedy


def test_the_unchanged_parts_are_taken() -> None:
    assert Linear(pipeline=changed(), width=5).used == (0, 1, 2, 3, 4)


def test_models_of_numbers_or_of_codes_alone_convert() -> None:
    given = dense.rows()
    for at in ((0, 2), (3,)):
        linear = dense.fit(at)
        model = to_dense_onnx([(linear, at)], 5)
        expected = dense_margins([(linear, at)], given.x[:100])
        assert margins(model, given.x[:100]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("at", [(0, 1, 2, 3), (0, 1, 2, 3, 3), (0, 1, 2, 3, 5), (-1, 0, 1, 2, 3)])
def test_positions_that_do_not_fit_are_refused(at: tuple[int, ...]) -> None:
    with pytest.raises(Malformed, match="column 0: has positions that do not fit its model"):
        to_dense_onnx([(dense.columns()[0][0], at)], 5)
    with pytest.raises(Malformed, match="has no model"):
        to_dense_onnx([], 5)


def test_positions_lead_each_column_to_its_place() -> None:
    linear, rows = dense.columns()[0][0], dense.rows().x[:50]
    at = (6, 1, 4, 0, 3)
    wide = np.full((50, 8), 7, np.float32)
    wide[:, at] = rows
    model = to_dense_onnx([(linear, at)], 8)
    expected = dense_margins([(linear, dense.ALL)], rows)
    assert margins(model, wide) == pytest.approx(expected, abs=1e-5)


# The gate


def test_the_gate_records_what_it_compared() -> None:
    rows = np.concatenate([dense.rows().x[:500], dense_rows(dense.columns(), dense.rows().x, 500, 1)])
    parity = check_dense_parity(dense.model(), dense.columns(), rows, 2.0**-16)
    assert (parity.rows, parity.tolerance, parity.size) == (1_000, 2.0**-16, len(dense.model()))
    assert 0 < parity.distance < 2.0**-18


def test_the_gate_finds_one_coefficient_that_is_off() -> None:
    proto = onnx.load_from_string(dense.model())
    last = [node for node in proto.graph.node if node.op_type == "LinearRegressor"][1]
    (weights,) = (each for each in last.attribute if each.name == "coefficients")
    weights.floats[-1] += 0.0005
    rows = dense.rows().x[:300]
    with pytest.raises(Malformed, match=r"margin: is further than 1\.5e-05 from the library in \d+ of 300 rows \(one"):
        check_dense_parity(proto.SerializeToString(), dense.columns(), rows, 2.0**-16)
    assert check_dense_parity(proto.SerializeToString(), dense.columns(), rows, 2.0**-10).distance > 2.0**-16


def test_the_gate_finds_stock_codes_in_its_adversarial_rows() -> None:
    linear = codes_model()
    rows = dense_rows([(linear, (0, 1))], dense.rows().x[:, 3:], 2_000, 4)
    off = np.abs(stock(linear.pipeline, 2, rows) - dense_margins([(linear, (0, 1))], rows)[:, 0]) > 0.01
    assert 0.1 < off.mean() < 0.9


def test_the_gate_finds_a_margin_that_is_not_a_number() -> None:
    rows = dense.rows().x[:20]
    broken = dense.fit(dense.ALL)
    broken.pipeline[-1].coef_[0, 0] = NAN
    with pytest.raises(Malformed, match="in 20 of 20 rows"):
        check_dense_parity(dense.model(), [(broken, dense.ALL), dense.columns()[1]], rows, 2.0**-10)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 2.0**-9, NAN])
def test_a_tolerance_that_a_manifest_cannot_state_is_refused(tolerance: float) -> None:
    with pytest.raises(Malformed, match="tolerance: is not above 0"):
        check_dense_parity(dense.model(), dense.columns(), dense.rows().x[:1], tolerance)


def test_rows_of_another_type_or_none_are_refused() -> None:
    with pytest.raises(Malformed, match="expected float32"):
        check_dense_parity(dense.model(), dense.columns(), dense.rows().x.astype(np.float64), 2.0**-10)
    with pytest.raises(Malformed, match="rows: are none"):
        check_dense_parity(dense.model(), dense.columns(), dense.rows().x[:0], 2.0**-10)


def test_a_coefficient_past_the_bound_is_not_emitted() -> None:
    linear = dense.fit(dense.ALL)
    linear.pipeline[-1].coef_[0, 0] = 2.0**25
    with pytest.raises(Malformed, match="may sum past 16777216"):
        to_dense_onnx([(linear, dense.ALL)], 5)


# In a bundle


def test_the_tolerance_of_a_decision_picks_the_profile() -> None:
    manifest = dense.packaged().manifest
    model = to_dense_onnx(dense.packaged_linears(), len(manifest.features))
    (rule,) = read_bundle(dense.bundle_of(model)).manifest.decisions.values()
    assert rule.tolerance == dense.TOLERANCE
    with pytest.raises(Malformed, match=r"models\.promotion: graph: holds initialisers"):
        read_bundle(dense.bundle_of(model, tolerance=0.0))
    (trees,) = dense.packaged().models.values()
    with pytest.raises(Malformed, match=r"models\.promotion: node 0: uses the operator 'ai.onnx.ml.TreeEnsemble"):
        read_bundle(dense.bundle_of(trees))


def test_a_dense_model_that_a_shop_serves_decides_as_the_library(shop: Any, ask: Any) -> None:
    columns = dense.packaged_linears()
    manifest = dense.packaged().manifest
    shop.bundle.write_bytes(dense.bundle_of(to_dense_onnx(columns, len(manifest.features))))
    client = shop.open()
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    visitor.observe("view_item", category="slippers", price=4900, currency="EUR")
    decision = ask(visitor)
    assert decision.reason in ("TARGETING_MATCH", "SPLIT")
    head = np.array(client._engine._open[next(iter(client._engine._open))].head, np.float32)[None]
    held = dense_margins(columns, head)[0]
    assert np.abs(held - decision.margin).min() <= dense.TOLERANCE
