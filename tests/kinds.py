"""Specifications of every kind of decision over the generated shop, and its rows: for tests and for the proofs."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np

from entrenous_exporters.generated import demo_inputs, generate_events
from entrenous_exporters.rows import Rows, labelled_rows
from entrenous_exporters.spec import TrainingSpec, parse_spec
from entrenous_exporters.tables import open_backend

TRIAL = """
[trial]
arm = "segment"
shares = { none = 0.5, ten_off = 0.25, free_delivery = 0.25 }
method = "t"
"""


def spec_of(kind: str, **changes: str) -> TrainingSpec:
    """Return the packaged specification with a decision of another kind."""
    text = files("entrenous_exporters").joinpath("demo/generated.toml").read_text("utf-8")
    cut = {
        'purpose = "personalize"\npatterns': f'kind = "{kind}"\npurpose = "personalize"\npatterns',
        'tranches = ["cold", "warm", "hot"]\nshares = [0.4, 0.4, 0.2]\n': "",
        'choice = { cold = "ten_off", warm = "free_delivery", hot = "none" }\n': "",
    } | changes
    for old, new in cut.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    return parse_spec(text.encode())


def uplift_spec() -> TrainingSpec:
    costs = "costs = { ten_off = 0.02, free_delivery = 0.01 }\n"
    return spec_of(
        "uplift", **{"[split]": f"{TRIAL}\n[split]", 'default_arm = "none"\n': f'default_arm = "none"\n{costs}'}
    )


def situation_spec(count: int = 4) -> TrainingSpec:
    text = files("entrenous_exporters").joinpath("demo/generated.toml").read_text("utf-8")
    learner = text[text.index("[learner]") : text.index("[decision]")]
    return spec_of(
        "situation",
        **{
            learner: f'[learner]\nkind = "centroids"\nsituations = {count}\nk = 20\nseed = 1\n\n',
            "holdout = 0.1": "holdout = 0.1\ndaily = true",
        },
    )


def generated_rows() -> Rows:
    """Return the generated shop's visits."""
    spec, _ = demo_inputs()
    backend = open_backend()
    tables = [backend.create_table(name, data, temp=True) for name, data in zip("em", generate_events(), strict=True)]
    return labelled_rows(backend, spec, *tables)


def dealt_rows(rows: Rows) -> Rows:
    """Return the same visits after a made-up test: ten off wins visits with few views, delivery those with many."""
    chance = np.random.default_rng(5)
    by_visitor = chance.choice(3, size=int(rows.visitors.max()) + 1, p=[0.5, 0.25, 0.25])
    arm = by_visitor[rows.visitors]
    few = np.nan_to_num(rows.x[:, 0]) <= 3
    better = np.where(few, 0.6 * (arm == 1), 0.6 * (arm == 2))
    return replace(rows, arm=arm.astype(np.int64), y=rows.y | (chance.random(len(arm)) < better))
