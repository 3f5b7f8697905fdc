"""docs/dpo.md: from an empty folder to a signed policy and a report, as a reader follows it; what it says of the rules
is so."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.shop import Clock, Shop

from entrenous.cli import main
from entrenous_consent.dpo.rules import SURENESS, rules
from entrenous_consent.dpo.words import load_words
from entrenous_consent.keys import FileKeyProvider
from entrenous_consent.policy import parse_policy
from entrenous_exporters.publish import Repository

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "dpo.md").read_text("utf-8")
LEVELS = {"ERROR": "error", "WARNING": "warning", "INFO": "info"}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def host(home: Path) -> None:
    """Put the two folders of a client that served visitors where the page says they are."""
    shop = Shop(home / "shop", Clock(), provider=FileKeyProvider(home / "shop" / "keys" / "root.key"))
    client = shop.open()
    for i in range(3):
        visitor = client.visitor(f"customer-{i}")
        visitor.consent({"personalize": True, "history": False, "measure": False, "improve": False})
        visitor.observe("view_item", category="slippers", price=4900, currency="EUR")
    client.close()
    shutil.copytree(home / "shop" / "state", home / "state")
    shutil.copytree(home / "shop" / "keys", home / "host-keys")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The page as a reader follows it in an empty folder; what each command exited with, in order."""
    home = tmp_path_factory.mktemp("dpo")
    (home / "shop" / "keys").mkdir(parents=True)
    host(home)
    (policy,) = blocks("toml")
    (home / "policy.toml").write_text(policy, "utf-8")
    codes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for line in "".join(blocks("console")).splitlines():
            assert line.startswith("$ "), line
            command = line.removeprefix("$ ")
            if command.startswith("entrenous "):
                codes.append((command, main(shlex.split(command)[1:])))
            else:
                subprocess.run(["bash", "-ec", command], check=True)
    return {"home": home, "codes": codes}


def test_every_command_does_what_the_page_says(followed):
    codes = followed["codes"]
    assert [code for _, code in codes] == [1] + [0] * (len(codes) - 1), codes
    assert codes[0][0] == codes[1][0] == "entrenous privacy lint policy.toml"
    assert len(codes) == 17


def test_what_lint_finds_first_is_what_the_page_quotes(tmp_path, capsys):
    (policy,) = blocks("toml")
    (tmp_path / "policy.toml").write_text(policy, "utf-8")
    assert main(["privacy", "lint", str(tmp_path / "policy.toml"), "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)["data"]["findings"]
    assert [(one["rule"], one["level"]) for one in found] == [("register_empty", "error"), ("unkeyed", "error")]
    assert "it finds two errors" in GUIDE


def test_the_wider_policy_is_refused_before_its_consent_version_is_raised(followed, tmp_path, capsys):
    home = followed["home"]
    first = (home / "policy.toml").read_text("utf-8")
    wider = first.replace("\nversion = 1", "\nversion = 3").replace("retention_days = 30", "retention_days = 61")
    (tmp_path / "wider.toml").write_text(wider, "utf-8")
    given = ["--keys", str(home / "keys"), "--repository", str(home / "repository"), "--yes"]
    assert main(["privacy", "sign", str(tmp_path / "wider.toml"), *given]) == 2
    assert "purposes.personalize.consent_version" in capsys.readouterr().err


def test_the_second_policy_is_published(followed):
    policy = Repository(followed["home"] / "repository").policy("corner_shop")
    assert (policy.version, policy.purposes["personalize"].consent_version) == (2, 2)
    assert policy.purposes["measure"].consent_version == 1
    assert policy.digest == parse_policy((followed["home"] / "next.toml").read_bytes()).digest


def test_the_report_holds_what_was_found_on_the_host(followed):
    page = (followed["home"] / "report.html").read_text("utf-8")
    for kind in ("retention", "egress", "checkpoint"):
        title = json.loads((followed["home"] / f"{kind}.json").read_text("utf-8"))["title"]
        assert f"{title}</h2>" in page, kind
    assert "0 errors, 0 warnings, 0 notes" in page
    assert (followed["home"] / "checkpoint.note.leaves").is_file()
    assert 'lang="fr"' in (followed["home"] / "notice.html").read_text("utf-8")
    assert "To be answered by a person" in (followed["home"] / "dpia.html").read_text("utf-8")


def test_the_table_of_rules_is_the_rules():
    written = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (.+) \|$", GUIDE, re.MULTILINE)
    words = load_words("en", "lint")
    assert [(name, LEVELS[level], sure, source) for name, level, sure, source in written] == [
        (rule.id, rule.level, rule.sure, words(f"{rule.id}.source")) for rule in rules()
    ]
    for sure in SURENESS:
        assert re.search(rf"\*{sure}\*", GUIDE, re.IGNORECASE)


def test_the_figure_of_the_page_is_right():
    assert round(math.exp(4)) == 55
    assert "at 4, that factor is 55" in GUIDE


def test_every_verb_that_is_named_exists(capsys):
    with pytest.raises(SystemExit):
        main(["privacy", "--help"])
    listed = capsys.readouterr().out
    for verb in re.findall(
        r"`(export|correct|erase|object|consent-receipt|retention|egress|audit|explain|sign)`", GUIDE
    ):
        assert re.search(rf"^    {verb}\b", listed, re.MULTILINE), verb


def test_every_anchor_leads_to_a_heading():
    for path, anchor in re.findall(r"\]\(([\w./-]+\.md)#([\w-]+)\)", GUIDE):
        headings = re.findall(r"^#+ (.+)$", (PROJECT / "docs" / path).read_text("utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, anchor
