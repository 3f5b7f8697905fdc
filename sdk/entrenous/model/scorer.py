"""Scoring: one ONNX Runtime session, one prebound row for each thread.

Input and output lie in memory of our own that the runtime is bound to once, so that a call copies nothing and makes
nothing. One intra-op and one inter-op thread, sequential, arena off: default threads spin, and cost more than they
save on one row.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from entrenous.model.runtime import onnxruntime as ort
from entrenous_consent.errors import Malformed

__all__ = ["Scorer", "open_session"]


def open_session(model: bytes, *, threads: int = 1) -> Any:
    """Return an `InferenceSession` for `model` with the project's settings.

    Args:
        threads: intra-op threads; anything but 1 is for proofs that it makes no difference.

    Raises:
        Malformed: the runtime refuses the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no base class for its errors
        raise Malformed("is refused by onnxruntime", place="model", remedy="emit it again") from error


class _Bound:
    """One thread's row, its margins, and the binding between them."""

    __slots__ = ("binding", "margins", "row", "run")

    def __init__(self, session: Any, features: int, columns: int) -> None:
        row, margins = np.full((1, features), np.nan, np.float32), np.zeros((1, columns), np.float32)
        self.binding = session.io_binding()
        self.binding.bind_input("x", "cpu", 0, np.float32, row.shape, row.ctypes.data)
        self.binding.bind_output("margin", "cpu", 0, np.float32, margins.shape, margins.ctypes.data)
        self.row: Any = row.reshape(-1).data
        self.margins: Any = margins.reshape(-1).data
        self.run = session.run_with_iobinding


class Scorer:
    """Scores one visitor at a time.

    Args:
        model: ONNX bytes that passed `entrenous.model.onnx_profile.check_model`.
        features: F, the width of a row. columns: P, the number of margins.
    """

    def __init__(self, model: bytes, *, features: int, columns: int) -> None:
        self._session = open_session(model)
        self._shape = (features, columns)
        self._local = threading.local()

    def margin(self, head: Any, supplied: list[tuple[int, float]], column: int) -> float:
        """Return the float32 margin of one row, as a float.

        Args:
            head: F float32 values, NaN where withheld or missing.
            supplied: positions and values that this one decision brings along.
            column: which margin to read.
        """
        return self._run(head, supplied)[column]  # type: ignore[no-any-return]

    def margins(self, head: Any, supplied: list[tuple[int, float]], first: int, last: int) -> list[float]:
        """Return several float32 margins of one row; see `margin`.

        Args:
            first, last: which: from `first` up to `last`.
        """
        return self._run(head, supplied)[first:last].tolist()  # type: ignore[no-any-return]

    def _run(self, head: Any, supplied: list[tuple[int, float]]) -> Any:
        try:
            bound: _Bound = self._local.bound
        except AttributeError:
            bound = self._local.bound = _Bound(self._session, *self._shape)
        row = bound.row
        row[:] = head
        for position, value in supplied:
            row[position] = value
        bound.run(bound.binding)
        return bound.margins
