"""kill -9 at random points of a round of messages: each leaves once, under one id, or is yet to be raised."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

KILLS = 20


def test_every_message_leaves_under_one_id_after_every_kill(tmp_path: Path):
    command = [sys.executable, "-m", "tests.e2e.killed_messages", str(tmp_path), str(KILLS), "11"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    counted = json.loads(run.stdout)
    where = counted["where"]
    assert sum(where.get(name, 0) for name in ("before", "some", "all raised", "after")) == KILLS
    assert where.get("before", 0) + where.get("some", 0) >= 3, where
    assert where.get("all raised", 0) + where.get("after", 0) >= 3, where
    assert counted["messages"] == 4 * KILLS
