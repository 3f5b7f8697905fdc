"""kill -9 at random points of a rotation, while another process writes: nobody is lost, old copies die all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KILLS = 40


def test_nobody_is_lost_and_every_older_copy_dies_after_every_kill(tmp_path: Path):
    command = [sys.executable, "-m", "tests.e2e.killed_rotation", str(tmp_path), str(KILLS), "7"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    assert sum(told["where"].values()) == KILLS
    assert sum(told["where"].get(name, 0) for name in ("before", "between", "destroyed")) >= KILLS // 3, told
    assert told["views"] > 0
