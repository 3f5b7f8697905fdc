"""The shipped graph against the reference walk: every margin, to the bit, in rows made to find a difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from entrenous_exporters.trees import (
    Column,
    Ensemble,
    adversarial_rows,
    assemble,
    check,
    check_library,
    from_hist_gradient_boosting,
    least_support,
    on_grid,
    protect,
    to_onnx,
    walk,
)

F = 10
PATTERNS = (tuple(range(F)), (0, 1, 2, 3, 5, 8), (1, 3, 9))
ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    observed: np.ndarray
    visitors: np.ndarray
    raw: Ensemble
    ready: Ensemble
    library: np.ndarray
    model: bytes


@pytest.fixture(scope="module")
def trained() -> Trained:
    draw = np.random.default_rng(2026)
    n = 8_000
    rows = draw.normal(size=(n, F))
    rows[:, 0] = draw.poisson(3, n)
    rows[:, 1] = np.round(draw.lognormal(8, 2, n))
    rows[:, 2] = draw.integers(0, 6, n)
    rows[:, 3] *= 1e-39
    rows[:, 4] *= 1e30
    rows[:, 5] -= 1e6
    rows[draw.random(rows.shape) < 0.2] = np.nan
    observed = rows.astype(np.float32)
    effect = np.nan_to_num(rows[:, 0]) - 3 + np.nan_to_num(rows[:, 3] * 1e39) + np.isnan(rows[:, 1])
    target = effect + draw.normal(size=n) > 0
    visitors = draw.integers(0, 2_000, n)
    columns, library = [], []
    for pattern in PATTERNS:
        model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, early_stopping=False, random_state=0)
        model.fit(observed[:, pattern], target)
        columns.append(from_hist_gradient_boosting(model, pattern, F))
        library.append(model.decision_function(observed[:, pattern]))
    raw = assemble(columns, F)
    ready = on_grid(protect(raw, observed, visitors))
    return Trained(
        observed=observed,
        visitors=visitors,
        raw=raw,
        ready=ready,
        library=np.stack(library, axis=1),
        model=to_onnx(ready),
    )


def test_no_bit_differs_in_adversarial_rows_alone_or_together_with_one_thread_or_two(trained: Trained) -> None:
    rows = adversarial_rows(trained.ready, trained.observed, ROWS, 11, originals=[trained.raw])
    record = check(trained.model, trained.ready, rows, alone=ROWS)
    assert (record.rows, record.rows_alone, record.differing, record.threads) == (ROWS, ROWS, 0, (1, 2))
    assert record.trees == 3 * 40


def test_no_bit_differs_before_thresholds_are_coarsened(trained: Trained) -> None:
    fine = on_grid(trained.raw)
    assert check_library(fine, trained.observed, trained.library) <= 41 * fine.step / 2
    rows = adversarial_rows(fine, trained.observed, ROWS, 12)
    assert check(to_onnx(fine), fine, rows, alone=100).differing == 0


def test_no_bit_differs_in_any_order_of_the_trees(trained: Trained) -> None:
    rows = adversarial_rows(trained.ready, trained.observed, 2_000, 13)
    expected = walk(trained.ready, rows)
    draw = np.random.default_rng(0)
    for i, column in enumerate(trained.ready.columns):
        steps = [walk(_alone(trained.ready, i, j), rows)[:, 0] for j in range(len(column.trees))]
        total = np.full(len(rows), np.float32(column.base))
        for j in draw.permutation(len(steps)):
            total += steps[j]
        assert (total.view(np.uint32) == expected[:, i].view(np.uint32)).all()


def _alone(ensemble: Ensemble, column: int, tree: int) -> Ensemble:
    return assemble([Column(trees=(ensemble.columns[column].trees[tree],), base=0.0)], ensemble.features)


def test_scrambling_withheld_columns_changes_no_bit_of_the_patterns_margin(trained: Trained) -> None:
    session = onnxruntime.InferenceSession(trained.model, providers=["CPUExecutionProvider"])
    rows = adversarial_rows(trained.ready, trained.observed, 20_000, 14)
    scrambled = adversarial_rows(trained.ready, trained.observed, 20_000, 15)
    (before,) = session.run(["margin"], {"x": rows})
    for i, pattern in enumerate(PATTERNS):
        mixed = scrambled.copy()
        mixed[:, pattern] = rows[:, pattern]
        (after,) = session.run(["margin"], {"x": mixed})
        assert (after[:, i].view(np.uint32) == before[:, i].view(np.uint32)).all()
        others = [j for j in range(len(PATTERNS)) if not set(PATTERNS[j]) <= set(pattern)]
        assert all((after[:, j] != before[:, j]).any() for j in others), "the scramble is felt elsewhere"


def test_every_leaf_of_the_shipped_model_holds_k_visitors(trained: Trained) -> None:
    assert least_support(trained.ready, trained.observed, trained.visitors) >= 5
