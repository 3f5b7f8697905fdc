"""Linear models as dense graphs: fit on supported statistics, convert, compose, and compare with the library.

::

    linear = fit_linear(x[:, positions], y, visitors, categories, l2=1.0, k=5, seed=0)    one for each consent pattern
    model  = to_dense_onnx([(linear, positions), …], features)
    parity = check_dense_parity(model, columns, dense_rows(columns, held_out, 100_000, seed), tolerance)

A dense graph adds in float32, in an order that is the runtime's own: it decides the same within a tolerance that the
manifest states, not to the bit as trees do.
"""

from __future__ import annotations

from entrenous_exporters.dense.convert import to_dense_onnx
from entrenous_exporters.dense.gate import DenseParity, check_dense_parity, dense_margins, dense_rows
from entrenous_exporters.dense.pipeline import Linear, fit_linear, prepared

__all__ = [
    "DenseParity",
    "Linear",
    "check_dense_parity",
    "dense_margins",
    "dense_rows",
    "fit_linear",
    "prepared",
    "to_dense_onnx",
]
