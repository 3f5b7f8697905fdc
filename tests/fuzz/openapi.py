"""Calls that are made up from the worker's own description, by schemathesis: no 5xx, and every answer is one described.

A short run is an ordinary test. `make fuzz-http` makes up more, and writes what came of it to
`docs/evidence/openapi.txt`.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.shop import Clock, Shop
from tests.worker import KEY, Running, running

__all__ = ["ALL", "CALLERS", "VISITOR", "answered", "faults", "headers_of", "main", "run"]

VISITOR = "ada"
ALL = {"personalize": True, "history": True, "measure": True, "improve": True}
CALLERS = {
    "visitor": "with a publishable key and a visitor's token",
    "page": "with a publishable key alone",
    "stranger": "with nothing",
}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
_SEED = 20261128


def headers_of(worker: Running, caller: str) -> dict[str, str]:
    """Return the headers of one of `CALLERS`."""
    key = {} if caller == "stranger" else {"Authorization": f"Bearer {KEY}"}
    return key | (worker.token(VISITOR) if caller == "visitor" else {})


def faults(worker: Running) -> list[str]:
    """Return what the worker's log complains of, but for what is no HTTP: schemathesis begins with such a call."""
    return [line for line in worker.log().splitlines() if "Invalid HTTP request received" not in line]


def answered(worker: Running) -> dict[str, int]:
    """Return how many answers the worker gave, by class of status."""
    text = worker.ask("GET", "/metrics", admin=True).data.decode()
    return {kind: int(count) for kind, count in re.findall(r'entrenous_answers_total\{class="(\dxx)"\} (\d+)', text)}


def run(
    port: int, headers: Mapping[str, str], home: Path, *, examples: int, document: str = "", only: str = ""
) -> tuple[int, str]:
    """Run schemathesis; return how it ended, 0 for no finding, and what it said.

    Args:
        port: the worker's. headers: of every call. home: a folder for what it writes. examples: made up at random for
            each operation, beside those for each corner of a schema. document: another description than the worker's
            own, a file. only: of this path alone.
    """
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    command += [document or f"{address}/openapi.json", "--url", address, "--checks", ",".join(CHECKS)]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--seed", str(_SEED)]
    command += ["--generation-database", "none", "--warnings", "off", "--no-color"]
    command += [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    command += ["--include-path", only] if only else []
    ended = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=900, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def main() -> int:
    """Make calls up for each caller, on a worker of its own, and write what came of them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    today = datetime.now(UTC)
    lines = [
        f"Calls made up from the worker's /openapi.json, by schemathesis {version('schemathesis')}. Checks:",
        ", ".join(CHECKS) + ".",
        f"{today.day} {today:%B %Y}, {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"seed {_SEED}, at most {given.examples} at random for each operation. To see it again: make fuzz-http",
        "",
    ]
    worst = 0
    for caller, said in CALLERS.items():
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            with running(Shop(home, Clock())) as worker:
                worker.consent(VISITOR, ALL)
                ended, told = run(worker.port, headers_of(worker, caller), home, examples=given.examples)
                logged, classes = faults(worker), answered(worker)
        if ended or logged:
            sys.stdout.write("\n".join([told, *logged]))
        counted = re.search(r"(\d[\d,]*) generated", told)
        outcome = "no finding" if not ended else "findings"
        by_class = ", ".join(f"{kind} {count:,}" for kind, count in sorted(classes.items()))
        lines.append(f"{said}: {int(counted.group(1)) if counted else 0:,} calls, {outcome}; answers: {by_class}")
        worst = max(worst, ended, bool(logged))
    given.out.write_text("\n".join(lines) + "\n")
    return worst


if __name__ == "__main__":
    sys.exit(main())
