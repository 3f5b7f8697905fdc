"""Uplift as it ships: one exact node, a margin an action for each consent pattern, in the outcome's unit."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from entrenous_consent.errors import Malformed
from entrenous_exporters import trees
from entrenous_exporters.built import Built, Progress, positions_of, spoken
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import TrainingSpec
from entrenous_exporters.trees import Column
from entrenous_exporters.uplift.learners import fit_uplift
from entrenous_exporters.uplift.trial import Trial, check_randomised

__all__ = ["build_uplift", "trial_of"]

Floats = NDArray[np.float32]


def trial_of(spec: TrainingSpec, rows: Rows) -> Trial:
    """Return the test that labelled rows are of.

    Raises:
        Malformed: rows without an arm, or as `Trial`.
    """
    if spec.trial is None or rows.arm is None:
        raise Malformed("has no arms", place="trial", remedy="name the column in trial.arm")
    outcome = rows.y.astype(np.float64) if rows.outcome is None else rows.outcome
    return Trial(
        x=rows.x, outcome=outcome, arm=rows.arm, visitors=rows.visitors, shares=tuple(spec.trial.shares.values())
    )


def build_uplift(spec: TrainingSpec, learn: Rows, sample: Floats, rows: int, progress: Progress) -> Built:
    """Return the graph of what each action adds; see `entrenous_exporters.build.build`.

    Raises:
        Malformed: the arms were not drawn at random, an arm has too few rows, or the gate finds a difference.
    """
    if spec.trial is None:
        raise Malformed("is missing", place="trial", remedy="state how the arms were drawn")
    trial, learner = trial_of(spec, learn), spec.learner
    progress("comparing the arms with a draw")
    check_randomised(trial, seed=learner.seed, names=[feature.name for feature in spec.features])
    columns: list[Column] = []
    supports, distances, compared = [], [], 0
    for pattern in spec.decision.patterns:
        progress(f"training {spoken(pattern)} on {len(learn.x):,} rows")
        found = fit_uplift(trial, learner, method=spec.trial.method, positions=positions_of(spec, pattern))
        columns += found.ensemble.columns
        supports.append(found.least_support)
        distances.append(found.library_distance)
        compared += found.library_rows
    ensemble = trees.on_grid(trees.assemble(columns, len(spec.features)))
    model = trees.to_onnx(ensemble)
    progress(f"comparing {rows:,} adversarial rows to the bit")
    hostile = trees.adversarial_rows(ensemble, sample, rows, learner.seed)
    parity = trees.check(model, ensemble, hostile, alone=min(2_000, rows))
    return Built(
        model=model,
        cuts=((),) * len(spec.decision.patterns),
        tolerance=0.0,
        ensemble=ensemble,
        raw=None,
        sigmoids=((1.0, 0.0),) * len(spec.decision.patterns),
        least_support=min(supports),
        parity=asdict(parity) | {"library_rows": compared, "library_distance": max(distances)},
    )
