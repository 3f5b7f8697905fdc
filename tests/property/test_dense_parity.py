"""The shipped dense graph against the library's own float64 margins, in rows made to find a difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrenous.model.onnx_dense import check_dense
from entrenous.model.scorer import Scorer, open_session
from entrenous_exporters.dense import (
    Linear,
    check_dense_parity,
    dense_margins,
    dense_rows,
    fit_linear,
    to_dense_onnx,
)

CATEGORIES = (0, 0, 0, 0, 0, 0, 12, 3, 2, 40)
F = len(CATEGORIES)
PATTERNS = (tuple(range(F)), (0, 1, 2, 6, 7, 8), (9, 7, 3))
ROWS = 100_000
TOLERANCE = 2.0**-18


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    observed: np.ndarray
    columns: tuple[tuple[Linear, tuple[int, ...]], ...]
    model: bytes
    session: Any
    scorer: Scorer


def fit(x: np.ndarray, y: np.ndarray, visitors: np.ndarray, at: tuple[int, ...]) -> Linear:
    return fit_linear(x[:, at], y, visitors, [CATEGORIES[i] for i in at], l2=0.5, k=5, seed=0)


@pytest.fixture(scope="module")
def trained() -> Trained:
    """Counts, cents, a bounded share, denormals, values next to the largest floats, an offset; four categories."""
    draw = np.random.default_rng(2026)
    n = 8_000
    x = np.empty((n, F), np.float32)
    x[:, 0] = draw.poisson(3, n)
    x[:, 1] = np.round(draw.lognormal(8, 2, n))
    x[:, 2] = draw.beta(1, 9, n)
    x[:, 3] = draw.normal(size=n) * 1e-39
    x[:, 4] = draw.choice(np.array([-3.4e38, -1e20, 1e20, 3.4e38], np.float32), n)
    x[:, 5] = 5_000 + draw.normal(size=n) * 300
    for i, count in enumerate(CATEGORIES):
        if count:
            x[:, i] = np.floor(count * draw.random(n) ** 2)
    score = x[:, 0] / 2 + np.log1p(x[:, 1]) / 4 - 8 * x[:, 2] + (x[:, 6] % 3) + (x[:, 9] > 5) - x[:, 7]
    y = score + draw.logistic(size=n) > 3
    x[draw.random((n, F)) < 0.1] = np.nan
    visitors = draw.integers(0, 3_000, n)
    columns = tuple((fit(x, y, visitors, at), at) for at in PATTERNS)
    model = to_dense_onnx(columns, F)
    return Trained(
        observed=x,
        columns=columns,
        model=model,
        session=open_session(model),
        scorer=Scorer(model, features=F, columns=len(PATTERNS)),
    )


def test_no_margin_of_a_hundred_thousand_rows_is_further_than_the_tolerance(trained: Trained) -> None:
    rows = np.concatenate([trained.observed, dense_rows(trained.columns, trained.observed, ROWS, 8)])
    edges = np.array([np.finfo(np.float32).max, 0.0], np.float32)
    assert np.isnan(rows).any()
    assert all((rows == edge).any() for edge in edges)
    parity = check_dense_parity(trained.model, trained.columns, rows, TOLERANCE)
    assert parity.rows == ROWS + 8_000
    assert 0 < parity.distance <= TOLERANCE


def test_rows_sit_on_and_beside_what_the_models_hold(trained: Trained) -> None:
    rows = dense_rows(trained.columns, trained.observed, 20_000, 1)
    clip = trained.columns[0][0].pipeline[0].named_transformers_["numbers"].named_steps["clip"].kw_args
    for i, (low, high) in enumerate(zip(clip["a_min"], clip["a_max"], strict=True)):
        for bound in (np.float32(low), np.float32(high)):
            beside = [bound, np.nextafter(bound, np.float32(np.inf)), np.nextafter(bound, np.float32(-np.inf))]
            assert all((rows[:, i] == value).any() for value in beside)
    for value in (0.5, -1.0, 1.0, np.nextafter(np.float32(1), np.float32(0)), 2.0**31):
        assert (rows[:, 6] == np.float32(value)).any()
    again = dense_rows(trained.columns, trained.observed, 20_000, 1)
    assert np.array_equal(rows.view(np.uint32), again.view(np.uint32))


def test_what_a_pattern_may_not_read_changes_no_bit_of_its_margin(trained: Trained) -> None:
    readable = [frozenset(at) for at in PATTERNS]
    facts = check_dense(trained.model, place="model", features=F, columns=len(PATTERNS), readable=readable)
    rows = dense_rows(trained.columns, trained.observed, 3_000, 2)
    other = dense_rows(trained.columns, trained.observed, 3_000, 3)
    run = trained.session.run
    before = run(["margin"], {"x": rows})[0]
    for i, reads in enumerate(facts.reads):
        assert reads <= readable[i]
        scrambled = other.copy()
        scrambled[:, sorted(reads)] = rows[:, sorted(reads)]
        after = run(["margin"], {"x": scrambled})[0]
        assert (after[:, i].view(np.uint32) == before[:, i].view(np.uint32)).all()
        assert i == 0 or (after[:, 0] != before[:, 0]).any()


values = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=False),
    st.sampled_from([np.nan, 0.0, -0.0, 1.0, 2.0, 0.5, -1.0, 11.0, 12.0]),
)


@settings(max_examples=300, deadline=None)
@given(row=st.lists(values, min_size=F, max_size=F))
def test_any_row_has_a_finite_margin_that_scorer_session_and_library_agree_on(
    trained: Trained, row: list[float]
) -> None:
    rows = np.array([row], np.float32)
    expected = dense_margins(trained.columns, rows)
    alone = trained.session.run(["margin"], {"x": rows})[0]
    scored = np.array([[trained.scorer.margin(rows[0].data, [], i) for i in range(len(PATTERNS))]], np.float32)
    assert (scored.view(np.uint32) == alone.view(np.uint32)).all()
    assert np.isfinite(alone).all()
    assert (np.abs(alone - expected) <= TOLERANCE * np.maximum(1, np.abs(expected))).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), offset=st.integers(-60, 60), l2=st.sampled_from([0.01, 1.0, 100.0]))
def test_models_of_any_scale_convert_within_the_tolerance(seed: int, offset: int, l2: float) -> None:
    draw = np.random.default_rng(seed)
    n, count = 300, int(draw.integers(1, 6))
    x = np.column_stack([draw.normal(size=n) * 2.0**offset, draw.gamma(0.3, 100, n), draw.integers(0, count, n)])
    x = x.astype(np.float32)
    y = draw.random(n) < 0.4
    x[draw.random(x.shape) < 0.1] = np.nan
    linear = fit_linear(x, y, draw.integers(0, 150, n), [0, 0, count], l2=l2, k=5, seed=0)
    columns = [(linear, (0, 1, 2)), (linear, (2, 0, 1))]
    model = to_dense_onnx(columns, 3)
    assert to_dense_onnx(columns, 3) == model
    rows = dense_rows(columns, x, 400, seed)
    assert check_dense_parity(model, columns, rows, 2.0**-14).distance <= 2.0**-14
