"""Scripts in JavaScript, for tests: `tests/browser` holds them, and names the packages that they need."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

__all__ = ["HOME", "node", "program"]

HOME = Path(__file__).parent / "browser"
_OLDEST = 20
_PACKAGES = {"chromium": "chromium", "node": "nodejs"}


def program(name: str) -> str:
    """Return where a program is; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install {_PACKAGES[name]}")
    return found


def node(script: str, *given: object, needs: str) -> Any:
    """Run a script of `tests/browser` and return what it printed, as JSON; without the package it `needs` the test is
    skipped."""
    if not (HOME / "node_modules" / needs).is_dir():
        pytest.skip(f"needs {needs}: npm ci --prefix tests/browser")
    command = [program("node"), str(HOME / script), *map(str, given)]
    told = subprocess.run([command[0], "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    if int(told.strip().lstrip("v").partition(".")[0]) < _OLDEST:
        pytest.skip(f"needs node {_OLDEST} or newer, this is {told.strip()}")
    run = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)
