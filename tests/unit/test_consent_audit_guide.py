"""docs/audit.md: every command runs in its order, and its own checker agrees with ours."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from pathlib import Path

import pytest
from tests.shop import Clock, Shop

from entrenous.cli import main
from entrenous_consent import audit

GUIDE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]
(CHECKER,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def clock() -> Clock:
    return Clock(int(time.time()))


@pytest.fixture
def here(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the guide's commands run in, with the files of a client that ran."""
    with shop.open(key_provider=None) as client:
        visitor = client.visitor("canary-4711")
        assert visitor.consent(client.example_choices).accepted
        assert visitor.consent({"history": True}).accepted
    (shop.home / "state").rename(shop.home / "edge-state")
    (shop.home / "keys").rename(shop.home / "edge-keys")
    monkeypatch.chdir(shop.home)
    return shop.home


def run(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command of the guide; return what it printed."""
    assert command.startswith("$ entrenous "), command
    code = main(shlex.split(os.path.expandvars(command))[2:])
    said = capsys.readouterr()
    assert (code, said.err) == (0, ""), command
    return said.out


def test_every_command_runs_in_its_order(here, capsys, monkeypatch):
    for command in COMMANDS:
        out = run(command, capsys)
        if " audit checkpoint " in command:
            monkeypatch.setenv("KEY", out.strip().splitlines()[-1].strip())
            shutil.copytree(here / "edge-state", here / "copy-of-state")
    assert len(COMMANDS) == 10
    assert (here / "journal.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_guides_own_checker_agrees_with_ours(here, capsys, monkeypatch):
    monkeypatch.setenv("KEY", "")
    proving = next(command for command in COMMANDS if " prove entry" in command)
    shown = run("$ entrenous privacy audit show --state edge-state --keys edge-keys", capsys)
    key = shown.strip().rpartition(" ")[2]
    names: dict = {"__name__": "guide"}
    exec(compile(CHECKER, "docs/audit.md", "exec"), names)
    for number in (1, 2, 3, 4):
        run(proving.replace("--entry 2", f"--entry {number}"), capsys)
        proof = (here / "entry.tlog-proof").read_text("utf-8")
        ours = audit.read_inclusion(proof.encode(), audit.parse_verifier_key(key))
        assert names["check"](proof, key) == ours.entry
        for wrong in (proof.replace(f"index {number - 1}", f"index {number}"), proof.replace("extra l", "extra m", 1)):
            with pytest.raises(AssertionError):
                names["check"](wrong, key)


def test_every_kind_of_entry_is_named():
    assert all(f"`{kind}`" in GUIDE for kind in audit.KINDS)


def test_the_retention_that_is_stated_is_the_codes():
    assert f"{audit.RETENTION_DAYS:,} days" in GUIDE
