"""Promise 3, one door out: a library that calls home is not let."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
ROOMS = ("consent", "sdk", "exporters", "edge_worker", "evaluation")
DECIDES = """
from entrenous import Client
with Client.demo() as client:
    visitor = client.visitor("customer-42")
    visitor.consent(client.example_choices)
    print(visitor.decide("promotion", "none").reason)
"""
EMITS = "import entrenous_exporters.trees.gate"


def home_after(code: str, home: Path, **more: str) -> list[str]:
    """Run `code` as somebody whose home is `home`; return the files that it left there."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")}
    settings = {**kept, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one), "HOME": str(home), **more}
    subprocess.run([sys.executable, "-c", code], env=settings, check=True, capture_output=True, cwd=home)
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("code", [DECIDES, EMITS])
def test_the_runtime_keeps_nothing_to_tell_its_maker(code: str, tmp_path: Path):
    assert home_after(code, tmp_path) == []


def test_not_even_where_it_was_asked_to(tmp_path: Path):
    assert home_after(DECIDES, tmp_path, ORT_DISABLE_TELEMETRY="0") == []


def test_nobody_takes_the_runtime_from_elsewhere():
    taken = re.compile(r"^\s*(?:import|from) onnxruntime\b", re.MULTILINE)
    found = [
        str(path.relative_to(PROJECT))
        for room in ROOMS
        for path in sorted((PROJECT / room).rglob("*.py"))
        if taken.search(path.read_text("utf-8"))
    ]
    assert found == ["sdk/entrenous/model/runtime.py"]
