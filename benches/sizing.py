"""What a worker takes of its host: memory a process, disk a visitor. `python -m benches.sizing`; one line each.

A real worker on the packaged demonstration's bundle, visitors that agreed to everything, over HTTP on this host.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from tests.shop import Clock, Shop
from tests.worker import Running, running

ALL = {"personalize": True, "history": True, "measure": True, "improve": True}
VISITORS = 10_000
EVENTS = 50


def memory(worker: Running, key: str = "Pss") -> float:
    """Return MB of a process: `Pss` counts what it shares with others by its share (proc(5), smaps_rollup)."""
    text = Path(f"/proc/{worker.process.pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{key}: +(\d+) kB", text, re.MULTILINE)[1]) / 1000  # type: ignore[index]


def most(worker: Running) -> float:
    """Return the most MB that a process had resident so far (proc(5), `VmHWM`)."""
    text = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)[1]) / 1000  # type: ignore[index]


def store(worker: Running) -> int:
    worker.ask("POST", "/flush", admin=True)
    worker.ask("POST", "/sweep", admin=True)
    return (worker.home / "edge-state" / "visitors.db").stat().st_size


def main() -> None:
    with tempfile.TemporaryDirectory() as home, running(Shop(Path(home), Clock())) as worker:
        print(
            f"memory at the start: {memory(worker):.0f} MB, of which its own {memory(worker, 'Private_Dirty'):.0f} MB"
        )
        empty = store(worker)
        for number in range(VISITORS):
            worker.consent(f"guest-{number}", ALL)
        agreed = store(worker)
        print(f"disk for a visitor that agreed to four purposes: {(agreed - empty) / VISITORS:.0f} bytes")
        for number in range(VISITORS):
            worker.decide(f"guest-{number}")
        decided = store(worker)
        print(f"after their first decision: {(decided - empty) / VISITORS:.0f} bytes")
        views = [{"name": "view_item", "category": "boots", "price": 4900, "currency": "EUR"}] * EVENTS
        for number in range(VISITORS):
            worker.ask("POST", "/v1/events", {"visitor": f"guest-{number}", "events": views})
        print(f"and {EVENTS} events of one day: {(store(worker) - empty) / VISITORS:.0f} bytes")
        print(f"memory with {VISITORS:,} visitors held open: {memory(worker):.0f} MB")
        for number in range(VISITORS):
            worker.decide(f"guest-{number}")
        print(f"memory after they were decided for again: {memory(worker):.0f} MB, {most(worker):.0f} MB at its most")
        print(f"an empty store: {empty / 1000:.0f} kB, and a journal beside it")


if __name__ == "__main__":
    main()
