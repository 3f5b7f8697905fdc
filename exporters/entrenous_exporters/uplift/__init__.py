"""Uplift: what an action adds over doing nothing, learnt from a randomised test.

::

    trial  = Trial(x=…, outcome=…, arm=…, visitors=…)        arm 0 is the control, drawn at random
    fitted = fit_uplift(trial, learner, method="dr")            one column an arm, in the outcome's own unit
    model  = to_onnx(fitted.ensemble)                         treat where a margin exceeds what the arm costs

`measures` says how well visitors are ranked by it, `policies` what treating by it would have brought.
"""

from __future__ import annotations

from entrenous_exporters.uplift.learners import METHODS, Uplift, fit_uplift
from entrenous_exporters.uplift.measures import auuc, qini, qini_curve, uplift_at
from entrenous_exporters.uplift.policies import Constant, Value, best_constant, value_of
from entrenous_exporters.uplift.trial import Imbalance, Trial, check_randomised

__all__ = [
    "METHODS",
    "Constant",
    "Imbalance",
    "Trial",
    "Uplift",
    "Value",
    "auuc",
    "best_constant",
    "check_randomised",
    "fit_uplift",
    "qini",
    "qini_curve",
    "uplift_at",
    "value_of",
]
