"""Real shop sessions through the bundle: one graph, a column for each consent, as good as the published figures.

Needs the data (UCI 468) in `ENTRENOUS_DATA`, by default `../shared/data`. The seed of the specification was not picked:
over seeds 1 to 10, AUC with all columns, without page values, and with context alone is at least .9334, .7821 and .6917
(mean .9343, .7838, .6940), the calibration error at most .0131, and a tranche's share within .6 points of its target.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.metrics import roc_auc_score

from entrenous.bundle import Bundle, read_bundle
from entrenous.cli import main
from entrenous_exporters import train
from entrenous_exporters.built import Built
from entrenous_exporters.rows import Rows

PROJECT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ENTRENOUS_DATA", PROJECT.parent / "shared" / "data")) / "online_shoppers"
TABLE = DATA / "online_shoppers_intention.csv.gz"

pytestmark = pytest.mark.skipif(
    not TABLE.is_file(),
    reason=f"needs online_shoppers/{TABLE.name} (UCI 468) in the directory that ENTRENOUS_DATA names",
)

WANTED = {
    ("browsing", "session", "value"): 0.933,
    ("browsing", "session"): 0.780,
    ("session",): 0.691,
}
"""The AUC to reach over five folds, by what was granted."""
CONTEXT = {
    "browser",
    "month",
    "operating_systems",
    "region",
    "special_day",
    "traffic_type",
    "visitor_type",
    "weekend",
}
SESSIONS = 12_330
K = 5


@dataclass
class Fold:
    """What one part of the sessions was judged by."""

    built: Built
    learnt: Rows
    held: Rows

    def margins(self) -> np.ndarray:
        """Score the held rows with the runtime itself: nothing of ours between the bytes and the margins."""
        return _run(self.built.model, self.held.x)


@dataclass
class Real:
    bundle: Bundle
    card: dict[str, Any]
    folds: list[Fold]

    @property
    def shipped(self) -> bytes:
        (model,) = self.bundle.models.values()
        return model


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    home, folds = tmp_path_factory.mktemp("shoppers"), []
    for name in ("spec.toml", "policy.toml"):
        shutil.copy(PROJECT / "examples" / "online_shoppers" / name, home)
    (home / TABLE.name).symlink_to(TABLE.resolve())
    spec, policy, out = (str(home / name) for name in ("spec.toml", "policy.toml", "bundle.msgpack"))
    judge = train.judge

    def watched(spec: Any, built: Built, learnt: Rows, held: Rows, **more: Any) -> Any:
        folds.append(Fold(built, learnt, held))
        return judge(spec, built, learnt, held, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "judge", watched)
        assert main(["train", spec, "--policy", policy, "--out", out, "--created", "1790000000"]) == 0
    card = json.loads((home / "bundle.card.json").read_bytes())
    return Real(read_bundle((home / "bundle.msgpack").read_bytes()), card, folds)


def _run(model: bytes, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def _node(model: bytes) -> dict[str, Any]:
    """Return the attributes of the graph's one node, read with the ONNX package."""
    (node,) = onnx.load_from_string(model).graph.node
    assert node.op_type == "TreeEnsembleRegressor"
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def _quality(real: Real, purposes: tuple[str, ...]) -> dict[str, Any]:
    (found,) = [one["quality"] for one in real.card["patterns"] if tuple(one["purposes"]) == purposes]
    return found


@pytest.mark.parametrize("purposes", WANTED)
def test_five_folds_are_as_good_as_the_published_models(real, purposes):
    quality = _quality(real, purposes)
    assert quality["rows"] == SESSIONS, "every session is judged once, by a model of the others"
    assert quality["auc"] >= WANTED[purposes]
    assert quality["ece"] <= 0.02
    for share, wanted in zip(quality["shares"], real.card["tranches"]["target"], strict=True):
        assert abs(share - wanted) <= 0.03


def test_each_consent_withholds_what_it_says(real):
    withheld = {tuple(one["purposes"]): set(one["withheld"]) for one in real.card["patterns"]}
    everything = {one["name"] for one in real.card["features"]}
    assert len(everything) == 17
    assert real.card["left_out"]["columns"] == [], "every column of the table but the answer is a feature"
    assert withheld == {
        ("browsing", "session", "value"): set(),
        ("browsing", "session"): {"page_values"},
        ("session",): everything - CONTEXT,
    }


def test_the_figures_are_what_the_runtime_answers_for_sessions_not_learnt_from(real):
    """Each fold is scored again, by the runtime itself; the figures come from other formulas than the judge's."""
    assert len(real.folds) == real.card["split"]["folds"] == 5
    for fold in real.folds:
        assert not np.isin(fold.held.visitors, fold.learnt.visitors).any()
        assert len(fold.held.x) + len(fold.learnt.x) == SESSIONS
    margins = [fold.margins() for fold in real.folds]
    y = np.concatenate([fold.held.y for fold in real.folds])
    for pattern in real.bundle.manifest.decisions["offer"].patterns:
        i, quality = pattern.column, _quality(real, pattern.purposes)
        auc = [roc_auc_score(fold.held.y, m[:, i]) for fold, m in zip(real.folds, margins, strict=True)]
        assert np.average(auc, weights=[len(m) for m in margins]) == pytest.approx(quality["auc"], abs=1e-6)
        p = 1 / (1 + np.exp(-np.concatenate([m[:, i] for m in margins]).astype(float)))
        tenths = np.argsort(p, kind="stable").reshape(10, -1)
        ece = np.abs(p[tenths].mean(axis=1) - y[tenths].mean(axis=1)).mean()
        assert ece == pytest.approx(quality["ece"], abs=1e-6)
        in_tranche = np.zeros(3)
        for fold, m in zip(real.folds, margins, strict=True):
            edges = (-np.inf, *fold.built.cuts[i], np.inf)
            in_tranche += [((low <= m[:, i]) & (m[:, i] < high)).sum() for low, high in pairwise(edges)]
        assert in_tranche / SESSIONS == pytest.approx(quality["shares"], abs=1e-6)


def test_what_ships_is_one_graph_of_the_judged_kind_held_to_k(real):
    """What ships was learnt from all sessions, so it is judged by graphs made alike."""
    assert real.card["k"]["k"] == K
    assert real.card["k"]["least_support"] >= K
    assert real.card["data"]["a_row_is_a_visitor"]
    assert real.card["data"]["rows"]["learnt"] == SESSIONS
    assert real.card["tolerance"] == 0
    assert min(fold.built.least_support for fold in real.folds) >= K
    trees = set()
    for model in (real.shipped, *(fold.built.model for fold in real.folds)):
        node = _node(model)
        assert node["n_targets"] == len(WANTED)
        assert set(np.array(node["nodes_values"], np.float32).view(np.uint32) & 0xFFFF) == {0}, "8 significant bits"
        trees.add(max(node["nodes_treeids"]) + 1)
    assert trees == {len(WANTED) * real.card["learner"]["trees"]}


def test_the_bundles_cuts_share_out_the_sessions_by_its_own_graph(real):
    margins = _run(real.shipped, np.concatenate([fold.held.x for fold in real.folds]))
    for pattern in real.bundle.manifest.decisions["offer"].patterns:
        tranche = np.searchsorted(pattern.cuts, margins[:, pattern.column], side="right")
        assert np.bincount(tranche) / SESSIONS == pytest.approx(real.card["tranches"]["target"], abs=0.03)


def test_a_column_reads_nothing_that_its_consent_withholds(real):
    """Other sessions' values in every withheld column: not a bit of the margin changes."""
    x = real.folds[0].held.x
    before = _run(real.shipped, x)
    for pattern in real.bundle.manifest.decisions["offer"].patterns:
        withheld = [i for i, one in enumerate(real.bundle.manifest.features) if one.purpose not in pattern.purposes]
        mixed = x.copy()
        mixed[:, withheld] = np.roll(x[:, withheld], 1, axis=0)
        after = _run(real.shipped, mixed)
        assert after[:, pattern.column].tobytes() == before[:, pattern.column].tobytes()
        assert bool(withheld) == (after != before).any(), "the other columns do read them"
