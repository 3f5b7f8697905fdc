"""A second opinion: the stock converter, where it can be trusted (small whole numbers, no missing values)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from entrenous.model.scorer import open_session
from entrenous_exporters import trees


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_skl2onnx_and_our_emitter_agree_on_whole_numbers():
    from skl2onnx import to_onnx

    chance = np.random.default_rng(11)
    x = chance.integers(0, 30, size=(3_000, 5)).astype(np.float32)
    y = chance.random(3_000) < 1 / (1 + np.exp(-(x[:, 0] - x[:, 1]) / 8))
    model = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=8, early_stopping=False).fit(x, y)
    column = trees.from_hist_gradient_boosting(model, range(5), 5)
    ours = trees.to_onnx(trees.on_grid(trees.assemble([column], 5)))
    margins = open_session(ours).run(["margin"], {"x": x})[0][:, 0]
    stock = to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options={id(model): {"zipmap": False}})
    probability = open_session(stock.SerializeToString()).run(["probabilities"], {"X": x})[0][:, 1]
    assert np.abs(1 / (1 + np.exp(-margins.astype(np.float64))) - probability).max() < 30 * 2**-11
    assert np.abs(margins - model.decision_function(x)).max() <= 30 * 2**-11
