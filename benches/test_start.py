"""From nothing to the first scored decision, against `import onnxruntime`, each in a process of its own.

Both run from compiled modules, as an installed package does, whatever the environment says of writing them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.test_readme import first_snippet

Run = Callable[[str], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run code in a new interpreter, compiled modules kept in a directory that every round shares."""
    kept: Path = tmp_path_factory.mktemp("compiled")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(kept)

    def run_code(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)

    return run_code


@pytest.mark.benchmark(group="start")
def test_import_onnxruntime(benchmark, run: Run):
    benchmark.pedantic(run, ("import onnxruntime",), rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="start")
def test_start_to_first_decision(benchmark, run: Run):
    benchmark.pedantic(run, (first_snippet(),), rounds=5, warmup_rounds=1)
