"""From nothing to the first scored decision, against `import onnxruntime`, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.unit.test_readme import first_snippet


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.benchmark(group="start")
def test_import_onnxruntime(benchmark):
    benchmark.pedantic(_run, ("import onnxruntime",), rounds=5)


@pytest.mark.benchmark(group="start")
def test_start_to_first_decision(benchmark):
    benchmark.pedantic(_run, (first_snippet(),), rounds=5)
