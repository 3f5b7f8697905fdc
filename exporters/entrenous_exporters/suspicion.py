"""What should not be learnt from, found before anything is: a label that says nothing, a feature that says too much."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from entrenous_consent.errors import Malformed
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import TrainingSpec
from entrenous_exporters.trees import check_float32

__all__ = ["FEWEST_ROWS", "LEAK", "alone", "suspect"]

FEWEST_ROWS = 50
"""The fewest rows of a class that are learnt from."""
LEAK = 0.98
"""The AUC from which a feature alone separates the label: it is then the answer, written down early."""

_SAMPLE = 50_000


def suspect(rows: Rows, spec: TrainingSpec) -> Mapping[str, float]:
    """Return each feature's own AUC on the rows to be learnt from, unless something is wrong with these.

    Raises:
        Malformed: x is not float32; the label is constant; a class has fewer than `FEWEST_ROWS` rows or `k` visitors; a
            feature is absent everywhere, or its own AUC is `LEAK` or more. With the figures.
    """
    check_float32(rows.x)
    n, positive = len(rows.y), int(rows.y.sum())
    if not n:
        raise Malformed(
            "leaves no row to learn from", place="split", remedy="give earlier moments, or a later split.until"
        )
    if positive in (0, n):
        what = f"is {'true' if positive else 'false'} in all {n:,} rows"
        raise Malformed(what, place="label", remedy="check the label's event or column, and the dates of the split")
    for value, count in ((True, positive), (False, n - positive)):
        who = np.unique(rows.visitors[rows.y == value]).size
        if count < FEWEST_ROWS or who < spec.learner.k:
            what = f"is {str(value).lower()} in {count:,} of {n:,} rows, of {who:,} visitors"
            remedy = f"give at least {FEWEST_ROWS} rows of each class, of {spec.learner.k} visitors (k)"
            raise Malformed(what, place="label", remedy=remedy)
    absent = [one.name for i, one in enumerate(spec.features) if np.isnan(rows.x[:, i]).all()]
    if absent:
        remedy = "check its field, and its values: a value that is not listed is absent; or leave it out"
        place = f"features.{', '.join(absent)}"
        verb = "is" if len(absent) == 1 else "are"
        raise Malformed(f"{verb} absent in all {n:,} rows", place=place, remedy=remedy)
    found = {one.name: alone(rows.x[:, i], rows.y, spec.learner.seed) for i, one in enumerate(spec.features)}
    for name, auc in found.items():
        if auc >= LEAK:
            what = f"separates the label on its own (AUC {auc:.3f} over {n:,} rows)"
            remedy = "leave it out: it is the answer, or known only after it"
            raise Malformed(what, place=f"features.{name}", remedy=remedy)
    return found


def alone(values: NDArray[np.float32], y: NDArray[np.bool_], seed: int) -> float:
    """Return the AUC of what a tree of 8 leaves makes of one feature, on the rows it was made from.

    A tree and not a rank, because a leak need not be monotone, and absence may be the leak.

    Args:
        values: float32 [N], finite or NaN. y: bool [N], both classes. seed: of the sample, from some size on.
    """
    if len(values) > _SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(values), _SAMPLE, replace=False)
        if y[chosen].any() and not y[chosen].all():
            values, y = values[chosen], y[chosen]
    column = values.reshape(-1, 1)
    tree = DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=5, random_state=seed).fit(column, y)
    return float(roc_auc_score(y, tree.predict_proba(column)[:, 1]))
