"""The preference page in a real browser with JavaScript off: both languages, on a phone and on a desktop.

`tests/browser/look.mjs` drives it. `ENTRENOUS_PICTURES=docs` writes the pictures of the documents anew.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.pages import PURPOSES, furnish
from tests.shop import Clock, Shop
from tests.worker import KEY, running

HOME = Path(__file__).parents[1] / "browser"
VIEWS = ("en-phone", "en-desktop", "fr-phone", "fr-desktop")
LEAST_CONTRAST = 4.5
PAGES = ("first", "lived", "question", "nobody", "refusal")


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script, with what it needs beside it."""
    for program, package in (("chromium", "chromium"), ("node", "nodejs"), ("npm", "npm")):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: apt-get install {package}")
    if not (HOME / "node_modules" / "playwright-core").is_dir():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run = subprocess.run(command, cwd=HOME, capture_output=True, text=True, timeout=300, check=False)
        if run.returncode:
            pytest.skip("needs what tests/browser/package.json names: npm ci --prefix tests/browser, while online")
    return HOME / "look.mjs"


@pytest.fixture(scope="module")
def seen(script: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a browser saw, by view."""
    shop = Shop(tmp_path_factory.mktemp("browser"), Clock())
    furnish(shop)
    pictures = [os.path.abspath(folder)] if (folder := os.environ.get("ENTRENOUS_PICTURES")) else []
    with running(shop) as worker:
        command = [
            "node",
            str(script),
            f"http://127.0.0.1:{worker.port}",
            str(shutil.which("chromium")),
            KEY,
            *pictures,
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stderr[-3000:]
        assert worker.log() == ""
    return json.loads(run.stdout)


def luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)` (WCAG 2.2)."""
    parts = [int(one) / 255 for one in re.findall(r"\d+", colour)]
    assert len(parts) == 3, colour
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2, 1.4.3)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_measured_as_the_standard_says():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("moment", ["first", "afterwards"])
def test_accepting_and_refusing_weigh_the_same(seen, view, moment):
    buttons = seen[view][moment]["buttons"]
    accept, refuse, save = buttons["accept"], buttons["refuse"], buttons["save"]
    assert accept["width"] == pytest.approx(refuse["width"], abs=0.5)
    assert accept["height"] == refuse["height"] == save["height"] >= 44
    assert accept["top"] == refuse["top"]
    assert accept["lines"] == refuse["lines"] == 1
    assert accept["look"] == refuse["look"] == save["look"]
    assert contrast(accept["look"]["color"], accept["look"]["backgroundColor"]) >= LEAST_CONTRAST


@pytest.mark.parametrize("view", VIEWS)
def test_one_click_does_either_and_nothing_was_chosen_before(seen, view):
    found = seen[view]
    assert found["first"]["ticked"] == 0
    assert found["refused"]["ticked"] == 0
    assert found["accepted"]["ticked"] == len(PURPOSES)
    assert found["cookiesOfARefusal"] == ["__Host-entrenous-refused"]
    assert found["cookiesOfAGrant"] == ["__Host-entrenous"]
    assert found["cookiesAfterErasure"] == []
    for way, key in (("refused", "refused"), ("accepted", "saved"), ("saved", "saved"), ("erased", "erased")):
        assert found[way]["address"].endswith(f"?lang={view[:2]}&notice={key}")


@pytest.mark.parametrize("view", VIEWS)
def test_all_of_it_works_without_script(seen, view):
    found = seen[view]
    assert found["first"]["scripts"] == found["afterwards"]["scripts"] == 0
    assert found["saved"]["ticked"] == len(PURPOSES) - 1
    assert (found["told"], found["opened"]) == (1, 1)
    assert found["entered"]["address"].endswith("&notice=saved"), "Enter saves what is ticked, and accepts nothing"
    assert found["entered"]["ticked"] == 1


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_no_fault_by_day_or_by_night(seen, view, page):
    assert set(seen[view]["pages"]) == set(PAGES)
    assert seen[view]["pages"][page]["violations"] == {"light": [], "dark": []}
    assert seen[view]["pages"][page]["unsure"] == {"light": [], "dark": []}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("page", PAGES)
def test_nothing_stands_out_sideways_at_any_width(seen, view, page):
    assert seen[view]["pages"][page]["out"] == {"phone": 0, "desktop": 0, "zoomed": 0, "narrowest": 0}


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_is_quiet_and_asks_nobody_else(seen, view):
    assert seen[view]["said"] == []
    origins = {re.match(r"\w+://[^/]+", one)[0] for one in seen[view]["asked"]}  # type: ignore[index]
    assert len(origins) == 1


@pytest.mark.parametrize("view", VIEWS)
def test_a_form_on_another_site_is_refused_by_what_the_browser_says_of_itself(seen, view):
    assert seen[view]["foreign"] == {"status": 403, "ticked": 0}


@pytest.mark.parametrize("view", VIEWS)
def test_the_keyboard_reaches_every_control_and_shows_where_it_is(seen, view):
    assert seen[view]["keyboard"]["missed"] == []
    assert seen[view]["keyboard"]["unmarked"] == []


def test_the_lock_file_names_no_registry():
    text = (HOME / "package-lock.json").read_text()
    assert "resolved" not in text
    assert "://" not in text
    assert "omit-lockfile-registry-resolved=true" in (HOME / ".npmrc").read_text()
    named = json.loads((HOME / "package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in named.values())
    for name, version in named.items():
        assert json.loads(text)["packages"][f"node_modules/{name}"]["version"] == version
