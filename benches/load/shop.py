"""What is loaded: a worker on a bundle of a hundred trees, and visitors that agreed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benches.load.client import call
from tests.kinds import generated_rows
from tests.shop import Clock, Shop
from tests.worker import KEY, Running, running

from entrenous_exporters.generated import CREATED, demo_inputs
from entrenous_exporters.train import train

__all__ = ["CHOICES", "bare", "calls", "event", "processor_seconds", "shop", "visited"]

CHOICES = {"personalize": True, "history": True, "measure": True, "improve": False}
TREES = 100


def shop() -> Shop:
    """Return a shop whose bundle scores with `TREES` trees in each of two consents."""
    spec, policy = demo_inputs()
    spec = replace(spec, learner=replace(spec.learner, trees=TREES))
    made = Shop(Path(tempfile.mkdtemp(prefix="entrenous-load-")), Clock())
    made.bundle.write_bytes(train(spec, policy, generated_rows(), created=CREATED).data)
    return made


@contextmanager
def visited(of: Shop, visitors: int, **settings: Any) -> Iterator[Running]:
    """Run a worker that so many visitors gave their consent to, each with an event."""
    with running(of, **settings) as worker:
        for i in range(visitors):
            assert worker.consent(f"visitor-{i}", CHOICES).status == 200
            told = worker.ask("POST", "/v1/events", event(i)).json["outcomes"]
            assert all(one["accepted"] for one in told), told
        yield worker


def event(visitor: int) -> dict[str, Any]:
    """Return the body of a call that tells one event of a visitor."""
    viewed = {"name": "view_item", "category": "boots", "price": 4900, "currency": "EUR"}
    return {"visitor": f"visitor-{visitor}", "events": [viewed]}


def calls(visitors: int) -> list[bytes]:
    """Return one decision of each visitor, as bytes."""
    return [call("/v1/decide", {"decisions": ["promotion"], "visitor": f"visitor-{i}"}, KEY) for i in range(visitors)]


@contextmanager
def bare() -> Iterator[tuple[int, int]]:
    """Run the bare reply; yield its port and process id."""
    command = [sys.executable, "-m", "benches.load.bare"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def processor_seconds(*processes: int) -> float:
    """Return the time that processes have had of a processor."""
    total = 0.0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
