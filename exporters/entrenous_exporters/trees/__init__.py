"""Tree ensembles, exactly: extract, protect (coarsen, *k*), round, emit, and compare to the bit.

::

    column   = extract(model, positions, features)     one for each consent pattern
    ensemble = on_grid(protect(assemble(columns, features), rows, visitors))
    model    = to_onnx(ensemble)
    parity   = check(model, ensemble, adversarial_rows(ensemble, held_out, 100_000, seed))
"""

from __future__ import annotations

from entrenous_exporters.trees.emit import to_onnx
from entrenous_exporters.trees.extract import (
    extract,
    from_forest,
    from_hist_gradient_boosting,
    from_lightgbm,
    from_xgboost,
    library_margins,
)
from entrenous_exporters.trees.form import (
    Column,
    Ensemble,
    Tree,
    assemble,
    check_float32,
    coarsen,
    coarsened,
    finest_step,
    float32_rows,
    floor32,
    fold,
    on_grid,
    parse_tree,
    weighted,
)
from entrenous_exporters.trees.gate import Parity, adversarial_rows, check, check_library
from entrenous_exporters.trees.reference import leaf_of, margin_of, walk
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
    "check_float32",
    "check_library",
    "coarsen",
    "coarsened",
    "enforce",
    "extract",
    "finest_step",
    "float32_rows",
    "floor32",
    "fold",
    "from_forest",
    "from_hist_gradient_boosting",
    "from_lightgbm",
    "from_xgboost",
    "leaf_of",
    "least_support",
    "library_margins",
    "lone_thresholds",
    "margin_of",
    "on_grid",
    "parse_tree",
    "protect",
    "step_aside",
    "support",
    "to_onnx",
    "walk",
    "weighted",
]
