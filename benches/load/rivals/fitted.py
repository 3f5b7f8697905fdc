"""Fits trees as the worker's bundle has them, where a rival will open them: pickles are of one version.

python fitted.py DATA.npz PARAMETERS.json MODEL.joblib
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier


def main(data: str, parameters: str, model: str) -> None:
    """Fit it, and write it."""
    with np.load(data) as read:
        fitted = HistGradientBoostingClassifier(**json.loads(Path(parameters).read_text("utf-8")))
        joblib.dump(fitted.fit(read["x"], read["y"]), model)


if __name__ == "__main__":
    main(*sys.argv[1:])
