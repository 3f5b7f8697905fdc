"""The offline pages in a real browser: no error in the console, no request to any network."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from entrenous_consent.files import write_whole
from entrenous_evaluation.answer import evaluate
from entrenous_evaluation.dashboard import render
from tests.unit.test_answer import report

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--hide-scrollbars",
    "--window-size=1100,1600",
)


def open_page(page: Path, home: Path) -> tuple[list[str], list[str], Path]:
    """Open a page; return what its console said, the addresses it asked for, and a picture of it."""
    log, picture = home / "net.json", home / "page.png"
    given = [f"--user-data-dir={home / 'profile'}", f"--log-net-log={log}", f"--screenshot={picture}"]
    run = subprocess.run(
        [str(CHROMIUM), *FLAGS, *given, page.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    events = json.loads(log.read_text())["events"]
    asked = [event["params"] for event in events if "url" in event.get("params", {})]
    # What has no page behind it is the browser's own: its clock, its updates. It finds nobody here.
    addresses = {one["url"] for one in asked if one.get("initiator", "not an origin") != "not an origin"}
    return console, sorted(one for one in addresses if not one.startswith(("file:", "data:"))), picture


@pytest.mark.parametrize("simulated", ["", "How visitors answered."])
def test_the_answers_page_is_quiet_and_asks_nobody(tmp_path: Path, simulated: str):
    answer = evaluate([report(np.random.default_rng(3), effect=0.4)], simulated=simulated)
    write_whole(tmp_path / "answer.html", render(answer).encode())
    console, addresses, picture = open_page(tmp_path / "answer.html", tmp_path)
    assert console == []
    assert addresses == []
    assert picture.stat().st_size > 10_000


def test_a_page_that_asks_and_complains_is_noticed(tmp_path: Path):
    """The test above can fail."""
    page = tmp_path / "bad.html"
    page.write_text("<script>console.error('no')</script><img src='http://127.0.0.1:9/pixel.png'>")
    console, addresses, _ = open_page(page, tmp_path)
    assert any("no" in line for line in console)
    assert "http://127.0.0.1:9/pixel.png" in addresses
