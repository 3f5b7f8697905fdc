"""The smallest bundle within a loss: found by some visitors, held against the specification's own shape by others."""

from __future__ import annotations

import argparse
import csv
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entrenous.bundle import read_bundle
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_exporters import build as building
from entrenous_exporters import compact as searching
from entrenous_exporters import compacting
from entrenous_exporters.card import read_card, render_page, render_text
from entrenous_exporters.compact import compact, zipped
from entrenous_exporters.compact_commands import export
from entrenous_exporters.compacting import compacted
from entrenous_exporters.generated import CREATED, demo_inputs
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import TrainingSpec
from entrenous_exporters.splits import learnt
from entrenous_exporters.trees import least_support

MOMENTS = 1_790_000_000


@pytest.fixture(scope="module", autouse=True)
def few_shapes():
    """One shape, cut short after any tree, and two features at most left out; the search is otherwise what it is."""
    with pytest.MonkeyPatch.context() as patch:
        small = {"_OUTER": 2, "_FOLDS": 2, "_LEAVES": (6,), "_RATES": (0.3,), "_ROWS": (1,), "_MOST_DROPPED": 2}
        for name, value in small.items():
            patch.setattr(searching, name, value)
        patch.setattr(building, "GATE_ROWS", 500)
        yield


@pytest.fixture(scope="module")
def inputs() -> tuple[TrainingSpec, object, Rows]:
    """Rows in which the first feature of each purpose matters and the others are noise."""
    spec, policy = demo_inputs()
    chance = np.random.default_rng(8)
    x = chance.normal(size=(800, len(spec.features))).astype(np.float32)
    tells = [next(i for i, one in enumerate(spec.features) if one.purpose == purpose) for purpose in _purposes(spec)]
    y = chance.random(len(x)) < 1 / (1 + np.exp(-2 * x[:, tells].sum(axis=1)))
    ones = np.ones(len(x), bool)
    rows = Rows(x=x, y=y, visitors=np.arange(len(x)), times=np.full(len(x), MOMENTS), improve=ones, known=ones.copy())
    learner = replace(spec.learner, trees=20, leaves=8, learning_rate=0.1, min_rows_leaf=20, k=5)
    return replace(spec, learner=learner, split=replace(spec.split, kind="grouped", folds=2)), policy, rows


def _purposes(spec):
    return sorted({one.purpose for one in spec.features})


@pytest.fixture(scope="module")
def made(inputs):
    spec, policy, rows = inputs
    return compacted(spec, policy, rows, loss=0.02, created=CREATED, progress=lambda _: None)


def test_the_bundle_is_smaller_and_what_it_loses_is_within_the_loss(made):
    trained, found = made
    assert len(zlib.compress(trained.data, 9)) == zipped(trained.data) < 0.7 * found.reference
    assert max(found.tried[-1].losses.values()) <= 0.02
    assert found.tried[-1].size < found.reference


def test_what_is_left_out_is_not_asked_for_and_every_leaf_still_rests_on_k(inputs, made):
    spec, _, rows = inputs
    trained, found = made
    kept = [one.name for one in trained.bundle.manifest.features]
    assert found.left_out
    assert sorted([*kept, *found.left_out]) == sorted(one.name for one in spec.features)
    seen = rows.x[:, [i for i, one in enumerate(spec.features) if one.name in kept]]
    assert least_support(trained.ensemble, seen, rows.visitors) >= spec.learner.k


def test_the_card_says_what_learnt_in_the_learners_place(made):
    facts = read_card(made[0].card)
    assert [one["trees"] for one in facts["shape"]["patterns"]] == [
        made[1].spec.learner_of(one).trees for one in made[1].spec.decision.patterns
    ]
    text = " ".join(render_text(facts).split())
    for one in facts["patterns"]:
        assert f"In its smallest shape, {' + '.join(one['purposes'])}: " in text
    assert "Sous sa plus petite forme" in render_page(facts)


def test_a_few_trees_are_calibrated(made):
    """Cut short, boosting stays close to the base rate; the sigmoid spreads its margins to what was observed."""
    facts = read_card(made[0].card)
    assert {one["calibration"] for one in facts["shape"]["patterns"]} == {"sigmoid"}
    assert all(one["sigmoid"] != [1.0, 0.0] for one in facts["patterns"])
    assert all(one["quality"]["ece"] < 0.1 for one in facts["patterns"])


def test_split_by_time_nobody_who_judges_the_card_takes_part_in_the_search(inputs, monkeypatch):
    spec, policy, rows = inputs
    times = np.where(np.arange(len(rows.x)) % 2, MOMENTS, MOMENTS + 100 * 86_400)
    timed = replace(rows, times=times)
    split = replace(spec.split, kind="time", start=0, until=MOMENTS + 50 * 86_400, judge_share=0.5)
    spec = replace(spec, split=split)
    taught, judging = learnt(timed, spec)
    searched = []

    def watched(spec, policy, rows, **_):
        searched.append(rows)
        raise Malformed("is enough", place="search", remedy="stop")

    monkeypatch.setattr(compacting, "compact", watched)
    with pytest.raises(Malformed, match="is enough"):
        compacted(spec, policy, timed, loss=0.02, created=CREATED, progress=lambda _: None)
    assert judging.any()
    assert set(searched[0].visitors) == set(timed.visitors[taught])
    assert not np.isin(searched[0].visitors, timed.visitors[judging]).any()


def test_where_nothing_smaller_is_within_the_loss_it_refuses_with_figures(inputs):
    spec, policy, rows = inputs
    tiny = replace(spec, learner=replace(spec.learner, trees=2, leaves=2))
    with pytest.raises(
        Malformed, match=r"compact: finds nothing smaller than [\d,]+ bytes within 0\.001: .* loses -?0\."
    ):
        compact(tiny, policy, rows, loss=0.001)


@pytest.mark.parametrize(
    ("change", "loss", "said"),
    [
        ({"kind": "random_forest"}, 0.01, "learner.kind: random_forest: can't be cut short"),
        ({}, 0.0, "loss: is no loss of AUC"),
    ],
)
def test_what_cannot_be_searched_is_refused(inputs, change, loss, said):
    spec, policy, rows = inputs
    with pytest.raises(Malformed, match=said):
        compact(replace(spec, learner=replace(spec.learner, **change)), policy, rows, loss=loss)


def test_the_policy_is_asked_before_the_search(inputs):
    spec, policy, rows = inputs
    with pytest.raises(Forbidden):
        compacted(
            replace(spec, decision=replace(spec.decision, purpose="resale")),
            policy,
            rows,
            loss=0.01,
            created=CREATED,
            progress=lambda _: pytest.fail("searched"),
        )


def test_the_command_writes_the_bundle_and_tells_what_was_judged(tmp_path, capsys):
    home = Path(__file__).parents[2] / "examples" / "online_shoppers"
    text = (home / "spec.toml").read_text("utf-8").replace("online_shoppers_intention.csv.gz", "sessions.csv")
    (tmp_path / "spec.toml").write_text(
        text.replace("folds = 5", "folds = 2")
        .replace("trees = 80", "trees = 16")
        .replace("min_rows_leaf = 50", "min_rows_leaf = 20")
    )
    _sessions(tmp_path / "sessions.csv", text)
    parser = argparse.ArgumentParser()
    export(parser.add_subparsers())
    out = tmp_path / "bundle.msgpack"
    asked = [
        "export",
        "--compact",
        str(tmp_path / "spec.toml"),
        "--policy",
        str(home / "policy.toml"),
        "--out",
        str(out),
    ]
    arguments = parser.parse_args([*asked, "--loss", ".08", "--created", "1790000000"])
    assert arguments.run(arguments) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{zipped(out.read_bytes()):,} bytes compressed, of" in told
    assert "browsing" in told
    bundle, card = read_bundle(out.read_bytes()), out.with_suffix(".card.json").read_bytes()
    assert json.loads(card)["shape"]["patterns"]
    assert len(bundle.manifest.features) + told.count("left out:") == 17


def _sessions(path: Path, text: str) -> None:
    """Write a generated table with the example's columns: page values and pages tell, nothing else does."""
    columns = [
        line.split('"')[1] for line in text.partition("[data.columns]")[2].partition("[label]")[0].split("\n") if line
    ]
    chance = np.random.default_rng(4)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "Revenue"])
        for _ in range(600):
            row = {name: round(float(chance.exponential(10)), 2) for name in columns}
            row |= {"Month": str(chance.choice(["May", "Nov"])), "VisitorType": "Returning_Visitor", "Weekend": "FALSE"}
            row |= {
                name: int(chance.integers(1, 4)) for name in ("OperatingSystems", "Browser", "Region", "TrafficType")
            }
            risk = row["PageValues"] / 8 + row["ProductRelated"] / 12 + 3 * (row["Month"] == "Nov") - 3.5
            writer.writerow([*row.values(), "TRUE" if chance.random() < 1 / (1 + np.exp(-risk)) else "FALSE"])
