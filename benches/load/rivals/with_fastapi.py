"""FastAPI that calls scikit-learn, as its tutorials have it: one route, one row. `MODEL` names the file."""

from __future__ import annotations

import os

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

MODEL = joblib.load(os.environ["MODEL"])
app = FastAPI()


class Visitor(BaseModel):
    """One row of features."""

    features: list[float | None]


@app.post("/predict")
async def predict(visitor: Visitor) -> dict[str, float]:
    """Return how likely the goal is."""
    row = np.array([visitor.features], dtype=np.float32)
    return {"likelihood": float(MODEL.predict_proba(row)[0, 1])}
