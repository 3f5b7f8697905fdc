"""Tree ensembles, exactly: extract, protect (coarsen, *k*), round, emit, and compare to the bit.

::

    column   = from_hist_gradient_boosting(model, positions, features)     one for each consent pattern
    ensemble = on_grid(protect(assemble(columns, features), rows, visitors))
    model    = to_onnx(ensemble)
    parity   = check(model, ensemble, adversarial_rows(ensemble, held_out, 100_000, seed))
"""

from __future__ import annotations

from entrenous_exporters.trees.emit import to_onnx
from entrenous_exporters.trees.extract import from_hist_gradient_boosting
from entrenous_exporters.trees.form import (
    Column,
    Ensemble,
    Tree,
    assemble,
    coarsen,
    coarsened,
    floor32,
    on_grid,
    parse_tree,
)
from entrenous_exporters.trees.gate import Parity, adversarial_rows, check, check_library
from entrenous_exporters.trees.reference import leaf_of, walk
from entrenous_exporters.trees.support import (
    enforce,
    least_support,
    lone_thresholds,
    protect,
    step_aside,
    support,
)

__all__ = [
    "Column",
    "Ensemble",
    "Parity",
    "Tree",
    "adversarial_rows",
    "assemble",
    "check",
    "check_library",
    "coarsen",
    "coarsened",
    "enforce",
    "floor32",
    "from_hist_gradient_boosting",
    "leaf_of",
    "least_support",
    "lone_thresholds",
    "on_grid",
    "parse_tree",
    "protect",
    "step_aside",
    "support",
    "to_onnx",
    "walk",
]
