"""From tables to labelled rows: features and label at each moment, and who the row is about."""

from __future__ import annotations

from typing import Any

import numpy as np

from entrenous_exporters.spec import TrainingSpec
from entrenous_exporters.tables import feature_table, labels
from entrenous_exporters.train import Rows

__all__ = ["labelled_rows"]


def labelled_rows(backend: Any, spec: TrainingSpec, events: Any, moments: Any) -> Rows:
    """Return the rows of `spec` at each of `moments`, in their order.

    Args:
        backend, events, moments: see `entrenous_exporters.tables.feature_table`. A boolean column `improve` of
            `moments` says who granted that models learn from the row; absent or null is not granted.
    """
    table = feature_table(backend, spec.features, events, moments)
    y = labels(backend, events, moments, event=spec.label.event, within_days=spec.label.within_days)
    wanted = ["visitor", "time", *(["improve"] if "improve" in moments.columns else [])]
    asked = moments.order_by("row").select(*wanted).to_pyarrow()
    visitors = np.unique(asked["visitor"].to_numpy(), return_inverse=True)[1].astype(np.int64)
    granted = asked["improve"].fill_null(False).to_numpy() if "improve" in wanted else np.zeros(len(y), bool)
    times = asked["time"].to_numpy()
    end = int(events.time.max().to_pyarrow().as_py() or 0)
    known = times + spec.label.within_days * 86_400 <= end
    return Rows(x=table.rows, y=y, visitors=visitors, times=times, improve=granted, known=known)
