"""The DPO's report in a real browser: on a desktop, at a phone's width, and printed on A4.

No word in the console, no request to any network, nothing wider than the screen, a keyboard that reaches every link.
"""

from __future__ import annotations

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from entrenous.cli import main
from entrenous_consent.dpo.rendering import render
from entrenous_consent.dpo.report import report_document
from entrenous_consent.policy import parse_policy
from tests.e2e.test_pages import CHROMIUM, FLAGS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")

POLICY = files("entrenous_exporters").joinpath("demo/policy.toml")
DESKTOP, PHONE = (1100, 1600), (390, 844)
LINKS = re.compile(r'<a href="#([^"]+)">')


def opened(page: Path, home: Path, *given: str, size: tuple[int, int] = DESKTOP) -> tuple[str, list[str], list[str]]:
    """Open a page; return its document, what its console said, and the addresses it asked for."""
    log = home / "net.json"
    flags = [flag for flag in FLAGS if not flag.startswith("--window-size")]
    flags += [f"--window-size={size[0]},{size[1]}", f"--user-data-dir={home / 'profile'}", f"--log-net-log={log}"]
    run = subprocess.run(
        [str(CHROMIUM), *flags, *given, page.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    asked = [event["params"] for event in json.loads(log.read_text())["events"] if "url" in event.get("params", {})]
    # What has no page behind it is the browser's own: its clock, its updates. It finds nobody here.
    addresses = {one["url"] for one in asked if one.get("initiator", "not an origin") != "not an origin"}
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    return run.stdout, console, sorted(one for one in addresses if not one.startswith(("file:", "data:")))


@pytest.fixture(params=["en", "fr"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The page, as the command writes it, with what lint found as a fact of another verb."""
    out, found = tmp_path / "report.html", tmp_path / "lint.json"
    language = ["--language", request.param]
    assert main(["privacy", "lint", str(POLICY), *language, "--format", "json", "--output", str(found)]) == 0
    assert main(["privacy", "report", str(POLICY), *language, "--facts", str(found), "--output", str(out)]) == 0
    return out


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_is_quiet_and_asks_nobody(page: Path, tmp_path: Path, size: tuple[int, int]):
    picture = tmp_path / "page.png"
    _, console, addresses = opened(page, tmp_path, f"--screenshot={picture}", size=size)
    assert console == []
    assert addresses == []
    assert picture.stat().st_size > 10_000


def test_printed_it_is_a_few_sheets_of_a4(page: Path, tmp_path: Path):
    printed = tmp_path / "page.pdf"
    _, console, addresses = opened(page, tmp_path, f"--print-to-pdf={printed}", "--no-pdf-header-footer")
    assert (console, addresses) == ([], [])
    data = printed.read_bytes()
    (box,) = {tuple(map(float, one.split())) for one in re.findall(rb"/MediaBox \[([^\]]+)\]", data)}
    assert box == pytest.approx((0, 0, 595, 842), abs=1)
    assert 4 <= len(re.findall(rb"/Type /Page\b", data)) <= 12


MEASURES = """
<script>
addEventListener("load", () => {
  const seen = [...document.querySelectorAll("main *")].filter(one => !one.closest("svg, figure, thead, pre, .skip"));
  const wide = seen.filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.tagName + ": " + one.textContent.slice(0, 40));
  const order = [];
  document.querySelectorAll("a, [tabindex='0']").forEach(one => {
    one.focus();
    order.push(document.activeElement === one);
  });
  const names = [...document.querySelectorAll("th")].filter(one => !one.scope).length;
  document.body.dataset.found = JSON.stringify({
    wide, reached: order.every(Boolean), links: order.length, names, inner: innerWidth,
    unnamed: [...document.querySelectorAll("[role=img]")].filter(one => !one.getAttribute("aria-label")).length,
  });
});
</script>"""


@pytest.mark.parametrize("width", [390, 1100])
def test_nothing_is_wider_than_the_screen_and_the_keyboard_reaches_every_link(tmp_path: Path, width: int):
    """The page in a frame of that width, with a script of this test that measures it: the page itself has none."""
    text = render(report_document(parse_policy(POLICY.read_bytes()), (), "en", "9.9"), "html")
    measured = re.sub(r"<meta http-equiv[^>]+>", "", text).replace("</body>", f"{MEASURES}</body>")
    (tmp_path / "page.html").write_text(measured, "utf-8")
    (tmp_path / "frame.html").write_text(
        f'<iframe src="page.html" width="{width}" height="800" style="border:0"></iframe>'
        "<script>addEventListener('load', () => setTimeout(() =>"
        " document.body.append(frames[0].document.body.dataset.found), 300));</script>",
        "utf-8",
    )
    flags = ("--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=5000")
    said, console, _ = opened(tmp_path / "frame.html", tmp_path, *flags, size=(1200, 900))
    assert console == []
    found = json.loads(re.search(r"\{.*\}", re.sub(r"<script>.*?</script>", "", said, flags=re.DOTALL)).group())
    assert found["inner"] == width
    assert found["wide"] == []
    assert found["reached"]
    assert found["links"] == 1 + len(LINKS.findall(text)) + text.count("<figure") > 10
    assert (found["names"], found["unnamed"]) == (0, 0)


def test_every_link_of_the_contents_leads_to_a_heading(page: Path):
    text = page.read_text("utf-8")
    targets = LINKS.findall(text)
    assert len(targets) > 10
    for target in targets:
        assert re.search(rf'<h2 id="{target}">', text), target


def test_a_page_that_complains_is_noticed(tmp_path: Path):
    """The tests above can fail."""
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('no')</script><img src='http://127.0.0.1:9/pixel.png'>")
    _, console, addresses = opened(bad, tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    assert any("no" in line for line in console)
    assert "http://127.0.0.1:9/pixel.png" in addresses
