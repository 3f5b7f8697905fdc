"""`make load`: what a worker serves, beside the same server with nothing behind it. Writes `docs/evidence/load.md`.

Needs `wrk` (apt-get install wrk) for as many calls as will go; what keeps a pace is our own client.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from time import monotonic
from typing import NamedTuple

from benches.load.client import Seen, pace
from benches.load.shop import TREES, bare, calls, processor_seconds, shop, visited
from rich.progress import track
from tests.worker import Running

PAGE = Path("docs/evidence/load.md")
CONNECTIONS = 32
ROUNDS, SECONDS = 5, 3
"""Of each kind in turn, so that what the machine does besides meets all alike; medians are told."""


class Rate(NamedTuple):
    """Calls answered a second, and microseconds of processor a call."""

    calls: float
    processor: float


def full(port: int, processes: Sequence[int], script: Path) -> Rate:
    """Return what is served to as many calls as will go."""
    before = processor_seconds(*processes)
    told = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    spent = processor_seconds(*processes) - before
    assert "Non-2xx" not in told, told
    count = int(next(line.split()[0] for line in told.splitlines() if "requests in" in line))
    return Rate(count / SECONDS, spent / count * 1e6)


def script_of(folder: Path, bodies: list[bytes], name: str = "calls") -> Path:
    """Write what wrk sends: these calls in turn."""
    path = folder / f"{name}.lua"
    texts = ",\n".join(json.dumps(one.decode()) for one in bodies)
    path.write_text(
        f"local calls = {{{texts}}}\nlocal n = 0\nrequest = function()\n  n = n % #calls + 1\n  return calls[n]\nend\n"
    )
    return path


def medians(pairs: Sequence[tuple[Rate, Rate]]) -> tuple[Rate, Rate]:
    """Return the medians of what was taken in turn."""
    first, second = zip(*pairs, strict=True)
    return _median(first), _median(second)


def _median(some: Sequence[Rate]) -> Rate:
    return Rate(median(one.calls for one in some), median(one.processor for one in some))


def compared(worker: Running, visitors: int, folder: Path) -> tuple[Rate, Rate]:
    """Return medians of the worker's rates and of the bare reply's, taken in turn."""
    script = script_of(folder, calls(visitors))
    with bare() as (port, process):
        full(worker.port, [worker.process.pid], script)
        pairs = [
            (full(worker.port, [worker.process.pid], script), full(port, [process], script))
            for _ in track(range(ROUNDS), description=f"{visitors} visitors")
        ]
    return medians(pairs)


def children_of(process: int) -> list[int]:
    """Return a process's children."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()]


def cost(worker: Running, processes: Sequence[int], rate: float) -> float:
    """Return the microseconds of processor that a call takes at a pace."""
    before = processor_seconds(*processes)
    seen = pace(worker.port, calls(CONNECTIONS), rate=rate, seconds=SECONDS, connections=CONNECTIONS)
    return (processor_seconds(*processes) - before) / len(seen.took) * 1e6


def shared(folder: Path) -> str:
    """Return what two processes that share a port and a store take beside one: medians, as the page says it."""
    script = script_of(folder, calls(CONNECTIONS))
    with visited(shop(), CONNECTIONS) as one, visited(shop(), CONNECTIONS, processes=2) as two:
        several = children_of(two.process.pid)
        for worker in (one, two):
            full(worker.port, [], script)
        pairs = [
            (full(one.port, [one.process.pid], script), full(two.port, several, script))
            for _ in track(range(ROUNDS), description="two processes")
        ]
        once, twice = medians(pairs)
        rate = once.calls / 2
        paced_pairs = [(cost(one, [one.process.pid], rate), cost(two, several, rate)) for _ in range(ROUNDS)]
    each, both = (median(some) for some in zip(*paced_pairs, strict=True))
    return f"""Two processes that share the port and the store, taken in turn with one:

| | one: calls a second | processor a call, µs | two: calls a second | processor a call, µs | of one's |
|---|---:|---:|---:|---:|---:|
| as many as will go; three programs on two processors | {once.calls:,.0f} | {once.processor:.1f} | {twice.calls:,.0f} | {twice.processor:.1f} | {twice.processor / once.processor:.2f} |
| at the same pace, a processor left for each | {rate:,.0f} | {each:.1f} | {rate:,.0f} | {both:.1f} | {both / each:.2f} |"""  # noqa: E501


def ready_seconds() -> float:
    """Return how long from starting a worker that was here before to its first answer to `/readyz`."""
    found = []
    of = shop()
    with visited(of, 1):
        pass
    for _ in range(5):
        since = monotonic()
        with visited(of, 0) as worker:
            connection = HTTPConnection("127.0.0.1", worker.port, timeout=10)
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
            found.append(monotonic() - since)
            connection.close()
    return median(found)


def resident(worker: Running) -> int:
    """Return the bytes that a worker says it holds."""
    text = worker.ask("GET", "/metrics", admin=True).data.decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("entrenous_resident_bytes "))


def row(name: str, mine: Rate, its: Rate) -> str:
    """Return a line of the page."""
    return (
        f"| {name} | {mine.calls:,.0f} | {mine.calls / its.calls:.2f} | {mine.processor:.0f} | "
        f"{mine.processor / its.processor:.2f} |"
    )


def paced(name: str, seen: Seen, rate: float) -> str:
    """Return a line of the page."""
    p50, p99, p999 = (1e3 * seen.at(share) for share in (0.5, 0.99, 0.999))
    return f"| {name} | {rate:,.0f} | {len(seen.took):,} | {seen.lost} | {p50:.2f} | {p99:.2f} | {p999:.2f} |"


def main() -> int:
    """Measure, and write the page."""
    if shutil.which("wrk") is None:
        print("needs wrk: apt-get install wrk", file=sys.stderr)
        return 2
    folder, served, kept = Path(tempfile.mkdtemp(prefix="entrenous-load-")), [], []
    for visitors in (CONNECTIONS, 1000):
        with visited(shop(), visitors) as worker:
            rested = resident(worker)
            mine, its = compared(worker, visitors, folder)
            served.append(row(f"{visitors:,} visitors, one process", mine, its))
            rate = mine.calls / 2
            for name in (f"{visitors:,} visitors, all of them new at once", f"{visitors:,} visitors, from then on"):
                seen = pace(worker.port, calls(visitors), rate=rate, seconds=10, connections=CONNECTIONS)
                assert set(seen.statuses) == {200}, seen.statuses
                kept.append(paced(name, seen, rate))
            if visitors == CONNECTIONS:
                served.insert(0, f"| the bare reply | {its.calls:,.0f} | 1 | {its.processor:.0f} | 1 |")
                memory = rested
    two = shared(folder)
    ready = ready_seconds()
    PAGE.write_text(f"""# A worker under load
`make load` writes this page anew: {CONNECTIONS} connections kept alive on loopback, {ROUNDS} rounds of
{SECONDS} seconds of each kind in turn, medians. A decision here is the full path: key, consent, pseudonym, profile,
{TREES} trees, receipt, exposure, and receipts merged into the store every half second. The bare reply is the same
server answering the same calls with a few bytes, their bodies unread. Absolute figures are of the machine they were
taken on; ratios are of one run.

| | calls a second | of the bare reply's | processor a call, µs | of the bare reply's |
|---|---:|---:|---:|---:|
{chr(10).join(served)}

At a pace of half of that, whether or not answers keep up (an answer's time counts from when its call was due):

| | calls a second | answered | lost | 50 %, ms | 99 %, ms | 99.9 %, ms |
|---|---:|---:|---:|---:|---:|---:|
{chr(10).join(kept)}

{two}

Memory at rest: {memory / 1e6:.0f} MB. From start to ready: {ready:.2f} s, as a median of five.
""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
