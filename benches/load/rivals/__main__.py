"""`make rivals`: decisions a second of the worker, beside the same model behind FastAPI, MLServer and BentoML.

Each runs in an environment of its own (`.rivals/`, made by `make rivals` while online), as one process that serves, and
is sent rows that are ready to be scored. The worker does all of a decision. Writes `docs/evidence/rivals.md`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import NamedTuple

import numpy as np
from benches.load.__main__ import CONNECTIONS, Rate, full, script_of
from benches.load.client import call
from benches.load.shop import TREES, calls, shop, visited
from rich.progress import track
from tests.kinds import generated_rows

from entrenous_exporters.generated import demo_inputs
from entrenous_exporters.learners import fit_trees

PAGE = Path("docs/evidence/rivals.md")
HOME = Path(__file__).parent
ENVIRONMENTS = Path(".rivals")
ROUNDS, READY_SECONDS = 5, 60


class Rival(NamedTuple):
    """One way to serve a model: its name, its environment, what starts it, the path and body of a call; `threads` as
    OpenMP is told, None for as many as it likes."""

    name: str
    environment: str
    command: list[str]
    path: str
    body: dict[str, object]
    threads: str | None = "1"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def rivals(folder: Path, port: int, row: list[float]) -> list[Rival]:
    """Return what is measured."""
    (folder / "settings.json").write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "http_port": port,
                "grpc_port": free_port(),
                "metrics_endpoint": None,
                "parallel_workers": 0,
                "debug": False,
            }
        )
    )
    (folder / "model-settings.json").write_text(
        json.dumps(
            {
                "name": "scoring",
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": {"uri": "./model.joblib", "version": "1"},
            }
        )
    )
    tensor = {"name": "predict", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    uvicorn = ["-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--loop", "uvloop", "--http", "httptools"]
    fastapi = Rival(
        "FastAPI and scikit-learn",
        "fastapi",
        ["python", *uvicorn, "--port", str(port), "with_fastapi:app"],
        "/predict",
        {"features": row},
    )
    return [
        fastapi,
        fastapi._replace(name="the same, threads as they come", threads=None),
        Rival(
            "MLServer",
            "mlserver",
            ["mlserver", "start", str(folder)],
            "/v2/models/scoring/infer",
            {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]},
        ),
        Rival(
            "BentoML",
            "bentoml",
            ["bentoml", "serve", "--host", "127.0.0.1", "--port", str(port), "with_bentoml:Scoring"],
            "/predict",
            {"features": row},
        ),
    ]


@contextmanager
def serving(rival: Rival, folder: Path, port: int) -> Iterator[None]:
    """Fit the model in the rival's environment, and run it until it answers."""
    programs = (ENVIRONMENTS / rival.environment / "bin").absolute()
    fit = [programs / "python", HOME / "fitted.py", folder / "data.npz", folder / "fit.json", folder / "model.joblib"]
    subprocess.run(fit, check=True)
    environment = os.environ | {
        "MODEL": str(folder / "model.joblib"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    if rival.threads:
        environment["OMP_NUM_THREADS"] = rival.threads
    log = (folder / "log").open("wb")
    program, *rest = rival.command
    with (
        log,
        subprocess.Popen(
            [programs / program, *rest], cwd=HOME, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            _await_answer(rival, port, process, folder)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def _await_answer(rival: Rival, port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    ends = monotonic() + READY_SECONDS
    while monotonic() < ends and process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", rival.path, json.dumps(rival.body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status == 200 and b"0." in answer.read():
                return
        except (OSError, HTTPException):
            pass
        sleep(0.2)
    raise SystemExit(f"{rival.name} does not answer:\n{(folder / 'log').read_text('utf-8', 'replace')[-3000:]}")


def main() -> int:
    """Measure, and write the page."""
    if shutil.which("wrk") is None:
        print("needs wrk: apt-get install wrk", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="entrenous-rivals-"))
    spec, _ = demo_inputs()
    rows = generated_rows()
    parameters = fit_trees(spec.learner, rows.x[:50], rows.y[:50]).get_params() | {"max_iter": TREES}
    (folder / "fit.json").write_text(json.dumps(parameters))
    np.savez(folder / "data.npz", x=rows.x, y=rows.y)
    sent = [[float(value) for value in np.nan_to_num(row)] for row in rows.x[:CONNECTIONS]]
    lines = []
    with ExitStack() as opened:
        worker = opened.enter_context(visited(shop(), CONNECTIONS))
        decisions = script_of(folder, calls(CONNECTIONS), name="decisions")
        full(worker.port, [worker.process.pid], decisions)
        for number in track(range(4), description="rivals"):
            port = free_port()
            some = [rivals(folder, port, row)[number] for row in sent]
            scores = script_of(folder, [call(one.path, one.body, "none") for one in some], name="scores")
            with serving(some[0], folder, port):
                full(port, [], scores)
                pairs = [(full(worker.port, [], decisions), full(port, [], scores)) for _ in range(ROUNDS)]
            lines.append(_line(some[0].name, pairs))
    PAGE.write_text(_page(lines))
    return 0


def _line(name: str, pairs: list[tuple[Rate, Rate]]) -> str:
    mine, its = (median(one.calls for one in some) for some in zip(*pairs, strict=True))
    return f"| {name} | {its:,.0f} | {mine:,.0f} | {mine / its:.1f} |"


def _page(lines: list[str]) -> str:
    versions = []
    for environment, names in (
        ("fastapi", ("fastapi", "uvicorn", "scikit-learn")),
        ("mlserver", ("mlserver", "mlserver-sklearn", "scikit-learn")),
        ("bentoml", ("bentoml", "scikit-learn")),
    ):
        listed = subprocess.run(
            [ENVIRONMENTS / environment / "bin" / "python", "-m", "pip", "list", "--format", "json"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        known = {one["name"].lower().replace("_", "-"): one["version"] for one in json.loads(listed)}
        versions.append(", ".join(f"{name} {known[name]}" for name in names))
    return f"""# A decision beside a bare score
`make rivals` writes this page anew: {CONNECTIONS} connections kept alive on loopback, {ROUNDS} rounds of each in turn,
medians. All serve {TREES} trees of the same learner, fitted on the generated (simulated) shop, by one process that
answers. The others are sent a row that is ready to be scored, and answer with a number: no key, no consent, no
profile, no receipt. The worker does all of a decision. Absolute figures are of the machine they were taken on; ratios
are of one run.

| | its scores a second | the worker's decisions beside it | the worker's, of its |
|---|---:|---:|---:|
{chr(10).join(lines)}

Measured: {"; ".join(versions)}.

Each is set up as its documentation has it, without an access log where it has one, and with one OpenMP thread, which is
the fastest for one row; MLServer scores in the process that answers (`parallel_workers = 0`).
"""


if __name__ == "__main__":
    sys.exit(main())
