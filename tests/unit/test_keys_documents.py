"""docs/operating-keys.md and the section on signed metadata in docs/formats.md keep up: commands run, rows are true."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
from tests.repository import BUNDLE, TENANT, bundle_bytes, pair, policy_bytes

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.cli import main
from entrenous.updates.fetch import DirectorySource
from entrenous.updates.layout import OFFLINE_THRESHOLD
from entrenous.updates.refresh import Deployment, refresh
from entrenous.updates.retained import RETAINED
from entrenous_exporters.ceremony import Lifetimes
from entrenous_exporters.publish import Repository
from entrenous_exporters.roles import ROLES

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "operating-keys.md").read_text("utf-8")
FORMATS = (DOCS / "formats.md").read_text("utf-8")
SECTION = FORMATS.partition("\n## Signed metadata\n")[2].partition("\n## ")[0]
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]


def table(heading: str) -> Mapping[str, list[str]]:
    """Return the table that starts with `heading`: the other cells by each word in the first one's backquotes."""
    body = SECTION.partition(f"\n{heading}\n")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()[1:]]
    return {word: row[1:] for row in cells for word in re.findall(r"`([^`]+)`", row[0])}


def test_the_guide_leads_to_two_repositories_that_runtimes_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    now, shipped = int(time.time()), read_bundle(bundle_bytes())
    manifest = replace(shipped.manifest, created=now, expires=now + 9_999_999, public_research_data=False)
    Path("bundle.msgpack").write_bytes(encode_bundle(manifest, shipped.models))
    Path("policy.toml").write_bytes(policy_bytes())
    assert len(COMMANDS) > 20
    for command in COMMANDS:
        if command.startswith("entrenous "):
            assert main(shlex.split(command)[1:]) == 0, command
        else:
            subprocess.run(["bash", "-ec", command], check=True)
    root = Path("repository/metadata/1.root.json").read_bytes()
    deployment = Deployment(root=root, tenant=TENANT, bundle=BUNDLE)
    found = refresh(DirectorySource(Path("repository")), Path("state"), deployment, now=now)
    assert (found.refused, found.policy.version) == (None, 1)
    assert not list(Path("desk").rglob("*.pem"))
    assert not list(Path("shop/pending").iterdir())
    assert all(one.verified for one in Repository(Path("shop")).status(now))


def test_refusals_of_the_guide_are_those_of_the_code():
    sources = Path(__file__).parents[2] / "exporters" / "entrenous_exporters"
    code = "\n".join(path.read_text("utf-8") for path in sources.glob("*.py"))
    refusals = re.findall(r"^\| `([^`]+)` \|", GUIDE.partition("## When something is refused")[2], re.MULTILINE)
    assert len(refusals) >= 6
    assert [words for words in refusals if words not in code] == []


def test_thresholds_and_lifetimes_are_those_of_the_code():
    rows = table("| role | must sign | lasts | says |")
    assert rows.keys() == set(ROLES)
    for role, (must_sign, lasts, _) in rows.items():
        assert int(must_sign) == (OFFLINE_THRESHOLD if role in ("root", "targets") else 1)
        assert int(lasts.split()[0]) * 86_400 == Lifetimes().of(role)


def test_every_key_of_the_record_is_described(tmp_path: Path):
    _, runtime = pair(tmp_path)
    record = msgpack.unpackb((runtime.directory / "record").read_bytes())
    rows = table("| key | type | meaning |")
    assert rows.keys() == {"custom.version"}
    described = SECTION.partition("`record` is a msgpack map")[2]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", described, re.MULTILINE)))) == set(record)
    assert f"array, at most {RETAINED}" in described


def test_every_file_of_a_state_directory_is_described(tmp_path: Path):
    _, runtime = pair(tmp_path)
    there = {path.name for path in runtime.directory.iterdir()}
    named = {name.partition("/")[0] for name in table("| file | what |")}
    state = SECTION.partition("**The updater's state**")[2]
    assert there <= {name.partition("/")[0] for name in re.findall(r"^\| `([^`]+)` \|", state, re.MULTILINE)}
    assert named == {"metadata", "targets", "pending"}
