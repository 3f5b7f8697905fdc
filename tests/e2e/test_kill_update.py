"""kill -9 at random points of an update: the old pair or the new one serves, never a mix (docs/design.md, 5)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KILLS = 300


def test_the_old_pair_or_the_new_one_serves_after_every_kill(tmp_path: Path):
    command = [sys.executable, "-m", "tests.e2e.killed_update", str(tmp_path), str(KILLS), "7"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    counted = json.loads(run.stdout)
    where = counted["where"]
    assert sum(where.values()) == KILLS
    assert where["while staging"] >= 30, where
    assert where["between policy and bundle"] >= 30, where
    assert where["before anything was taken"] + where["while staging"] < KILLS, where
    assert where["after both, still staged"] + where["after"] >= 30, where
    assert counted["torn"] >= 30  # kills that cut a write through
    assert counted["chains"] >= 5  # first refreshes and narrower policies, again and again
