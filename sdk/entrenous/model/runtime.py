"""ONNX Runtime, which tells its maker nothing: whoever needs it takes it from here.

From 1.29 on its official builds report sessions, models and machines to their maker unless `ORT_DISABLE_TELEMETRY` is
set before the library is loaded; its own switch comes too late for that (microsoft/onnxruntime#27379). An app that
loads it before us sets the variable itself.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
