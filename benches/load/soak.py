"""`make soak`: a worker under half its load for twenty minutes. Writes `docs/evidence/soak.md`.

Decisions and events in turn, of 32 visitors; nothing may fail, memory may not grow by more than 2 % from the first
minutes' to the last ones', and files may not stay open.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from statistics import median

from benches.load.client import call, pace
from benches.load.shop import calls, event, shop, visited
from rich.progress import track
from tests.worker import KEY, Running

PAGE = Path("docs/evidence/soak.md")
VISITORS, RATE, SLICE = 32, 7_150, 30
"""Half of what `make load` measured. A twentieth are events, which are written before they are answered."""
TO_AN_EVENT = 19
MOST_GROWTH = 0.02


def told(worker: Running, name: str) -> int:
    """Return a gauge of the worker's."""
    text = worker.ask("GET", "/metrics", admin=True).data.decode()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"entrenous_{name} "))


def mixed() -> list[bytes]:
    """Return so many decisions to an event, of each visitor in turn."""
    events = [call("/v1/events", event(i), KEY) for i in range(VISITORS)]
    asked = calls(VISITORS)
    several = [[asked[(TO_AN_EVENT * i + j) % VISITORS] for j in range(TO_AN_EVENT)] for i in range(VISITORS)]
    return [one for some, told in zip(several, events, strict=True) for one in (*some, told)]


def main() -> int:
    """Run, and write the page; 1 where something failed or grew."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    minutes = parser.parse_args().minutes
    statuses, lost, p99s, memory, files = Counter[int](), 0, [], [], []
    with visited(shop(), VISITORS) as worker:
        pace(worker.port, mixed(), rate=RATE, seconds=SLICE)  # until everything is warm
        for _ in track(range(round(minutes * 60 / SLICE)), description="soak"):
            seen = pace(worker.port, mixed(), rate=RATE, seconds=SLICE)
            statuses, lost = statuses + seen.statuses, lost + seen.lost
            p99s.append(seen.at(0.99))
            memory.append(told(worker, "resident_bytes"))
            files.append(told(worker, "open_files"))
        log = worker.log()
    grown = median(memory[-4:]) / median(memory[:4]) - 1
    opened = median(files[-4:]) - median(files[:4])
    passed = set(statuses) == {200} and not lost and grown <= MOST_GROWTH and opened <= 0 and not log
    rows = {
        "answered": f"{sum(statuses.values()):,}",
        "by status": ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items())),
        "lost": str(lost),
        "lines in the log": str(len(log.splitlines())),
        "memory, first two minutes": f"{median(memory[:4]) / 1e6:.1f} MB",
        "memory, last two minutes": f"{median(memory[-4:]) / 1e6:.1f} MB: {grown:+.2%}",
        "open files, least and most": f"{min(files)}, {max(files)}",
        f"99 % answered within, median of {SLICE} s": f"{1e3 * median(p99s):.1f} ms",
        f"99 % answered within, worst {SLICE} s": f"{1e3 * max(p99s):.1f} ms",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    PAGE.write_text(f"""# A worker under half its load
`make soak`: {minutes:g} minutes at {RATE:,} calls a second, {TO_AN_EVENT} decisions to an event, {VISITORS} visitors,
one process, the client on the same machine.

| | |
|---|---:|
{table}
""")
    print(PAGE.read_text())
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
