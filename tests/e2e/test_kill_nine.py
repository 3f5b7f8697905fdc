"""kill -9 at random points: what was acknowledged is there (docs/design.md, "Acknowledged")."""

from __future__ import annotations

import json
import subprocess
import sys

ROUNDS = 200


def test_what_was_acknowledged_survives_two_hundred_kills(shop):
    command = [sys.executable, "-m", "tests.e2e.killed", str(shop.home), str(ROUNDS), "9"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    counted = json.loads(run.stdout)
    assert counted["kills"] == 2 * ROUNDS
    assert counted["events"] > 5 * ROUNDS
    assert counted["choices"] > ROUNDS


def test_what_was_acknowledged_over_http_is_there_once_after_forty_kills(tmp_path):
    """`make killed` kills eight times as often."""
    command = [sys.executable, "-m", "tests.e2e.killed_http", str(tmp_path), "20", "11"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    counted = json.loads(run.stdout)
    assert counted["kills"] == 40
    assert min(counted["events"], counted["choices"], counted["decisions"]) > 40
