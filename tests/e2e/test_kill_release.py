"""kill -9 at random points of a release: each window leaves exactly once, with the same bytes (docs/design.md, 3)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KILLS = 100


def test_every_window_leaves_exactly_once_after_every_kill(tmp_path: Path):
    command = [sys.executable, "-m", "tests.e2e.killed_release", str(tmp_path), str(KILLS), "11"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    counted = json.loads(run.stdout)
    where = counted["where"]
    assert sum(where[name] for name in ("before", "released, not sent", "sent", "after") if name in where) == KILLS
    assert where["before"] >= 10, where
    assert sum(where.get(name, 0) for name in ("released, not sent", "sent", "after")) >= 10, where
    assert counted["reports"] == KILLS + 1
