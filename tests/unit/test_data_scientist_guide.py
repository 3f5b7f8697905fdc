"""docs/data-scientist.md, from top to bottom: every block runs, and a runtime takes what comes out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from entrenous.bundle import read_bundle
from entrenous.cli import main
from entrenous_exporters.card import read_card

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "data-scientist.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    return [shlex.split(line)[2:] for block in blocks("console") for line in block.splitlines()]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as a reader would follow it, in an empty directory."""
    home = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        made, served = blocks("python")
        exec(made, {})
        for name, text in zip(("spec.toml", "policy.toml"), blocks("toml"), strict=True):
            Path(name).write_text(text)
        for command in commands():
            assert main(command) == 0, command
        names: dict[str, object] = {}
        exec(served, names)
    (home / "decision").write_text(repr(names["decision"]))
    return home


def test_a_runtime_serves_what_the_page_publishes(followed):
    assert "reason=TARGETING_MATCH" in (followed / "decision").read_text()


def test_the_card_says_what_the_page_says_it_says(followed):
    card = read_card((followed / "bundle.card.json").read_bytes())
    assert card["data"]["rows"]["given"] == 4000
    assert card["data"]["rows"]["without_improve"] == 800, "the last 200 of 900 customers, four visits each"
    assert not card["data"]["public_research_data"]
    full, partial = (one["quality"] for one in card["patterns"])
    assert full["auc"] > partial["auc"] > 0.6
    text = (followed / "bundle.card.txt").read_text()
    for section in re.findall(r"^- \*([^*]+)\*:", GUIDE, re.MULTILINE):
        assert section in text
    assert (followed / "bundle.card.html").read_text().startswith("<!doctype html>")


def test_the_same_inputs_give_the_same_bytes(followed, monkeypatch):
    monkeypatch.chdir(followed)
    created = str(read_bundle(Path("bundle.msgpack").read_bytes()).manifest.created)
    again = ["train", "spec.toml", "--policy", "policy.toml", "--out", "again.msgpack", "--created", created]
    assert main(again) == 0
    assert Path("again.msgpack").read_bytes() == Path("bundle.msgpack").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('column = "ordered"', 'column = "paid"', "is missing"),
        ('improve = "improve" ', 'improve = "ordered_by"', "is missing"),
        ('field = "bought_before"', 'field = "ordered"', "separates the label on its own"),
        ('purpose = "history"', 'purpose = "personalize"', "asks 'personalize', the policy says 'history'"),
    ],
)
def test_a_slip_is_refused_with_its_place_and_nothing_is_written(followed, tmp_path, capsys, old, new, says):
    text = (followed / "spec.toml").read_text()
    assert old in text
    text = text.replace(old, new, 1).replace('"visits.csv"', f'"{followed / "visits.csv"}"')
    if "personalize" in new:
        text = text.replace('patterns = [["history", "personalize"], ["personalize"]]', 'patterns = [["personalize"]]')
    (tmp_path / "spec.toml").write_text(text)
    arguments = [str(tmp_path / "spec.toml"), "--policy", str(followed / "policy.toml")]
    assert main(["train", *arguments, "--out", str(tmp_path / "bundle.msgpack")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "bundle.msgpack").exists()


def test_every_refusal_of_the_page_is_one_of_the_code():
    rows = re.findall(r"^\| (`[^|]+) \|", GUIDE.partition("### When it refuses")[2], re.MULTILINE)
    words = [word for row in rows for word in re.findall(r"`([^`]+)`", row)]
    assert len(words) >= 8
    code = "\n".join(
        path.read_text("utf-8") for room in ("consent", "exporters") for path in (PROJECT / room).rglob("*.py")
    )
    assert [word for word in words if word not in code] == []
