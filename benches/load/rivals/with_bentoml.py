"""A BentoML service around scikit-learn: one API, one row. `MODEL` names the file."""

from __future__ import annotations

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1)
class Scoring:
    """Scores a row."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, features: list[float]) -> float:
        """Return how likely the goal is."""
        return float(self.model.predict_proba(np.array([features], dtype=np.float32))[0, 1])
