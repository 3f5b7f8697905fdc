"""docs/merchandiser.md, top to bottom: its campaign is checked, previewed, planned, shipped; its refusals provoked."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit import test_data_scientist_guide as scientist

from entrenous.bundle import read_bundle
from entrenous.cli import REFUSED, main
from entrenous_consent.policy import parse_policy
from entrenous_exporters.campaigns import parse_campaign
from entrenous_exporters.campaigns.lines import line_of
from entrenous_exporters.campaigns.plan import plan

PROJECT = Path(__file__).parents[2]
GUIDE = (PROJECT / "docs" / "merchandiser.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def run(block: str) -> None:
    for line in block.splitlines():
        assert main(shlex.split(line.removeprefix("$ "))[1:]) == 0, line


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as it is followed, on the files of the page before."""
    home = tmp_path_factory.mktemp("campaign")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        exec(compile(scientist.blocks("python")[0], "data-scientist.md", "exec"), {})
        for name, text in zip(("spec.toml", "policy.toml"), scientist.blocks("toml"), strict=True):
            Path(name).write_text(text, "utf-8")
        campaign, purpose = blocks("toml")
        Path("autumn.toml").write_text(campaign, "utf-8")
        with Path("policy.toml").open("a", encoding="utf-8") as policy:
            policy.write(f"\n{purpose}")
        check, preview, plan, ship = blocks("console")
        assert main(shlex.split(scientist.blocks("console")[0].removeprefix("$ "))[1:]) == 0
        run(check)
        run(preview)
        run(plan)
        run(ship)
    return home


def test_every_block_of_the_page_has_its_place():
    kinds = re.findall(r"^```(\w+)$", GUIDE, re.MULTILINE)
    assert kinds == ["toml", "toml", "console", "console", "console", "console"]


def test_the_campaign_ships_beside_the_decision_whose_score_it_uses(followed: Path):
    manifest = read_bundle((followed / "bundle.msgpack").read_bytes()).manifest
    rule = manifest.decisions["autumn_offers"]
    assert (rule.kind, rule.model) == ("promotion", "delivery")
    assert rule.tranches == ("cold", "undecided", "hot")
    assert manifest.decisions["delivery"].patterns != rule.patterns or rule.tranches != ("cold", "warm", "hot")
    assert rule.experiment is not None
    assert (rule.experiment.holdout, rule.experiment.ramp) == (1_000, 5_000)
    assert all(sum(shares.values()) == 10_000 and len(shares) == 3 for shares in rule.choice.values())
    assert rule.targeting[0] == "and"


def test_the_preview_counts_every_visit_once_and_tells_why(followed: Path):
    (found,) = json.loads((followed / "preview.json").read_text()).values()
    assert sum(one["visits"] for one in found["answers"]) == found["rows"] == 3_200
    causes = {one["cause"] for one in found["answers"]}
    assert {"", "holdout", "not_yet", "ineligible"} <= causes
    eligible = [one for one in found["answers"] if one["cause"] != "ineligible"]
    held = sum(one["visits"] for one in eligible if one["cause"] == "holdout")
    assert 0.05 < held / sum(one["visits"] for one in eligible) < 0.16


def previewing(followed: Path, place: Path, spoil: Callable[[dict[str, str]], None]) -> list[str]:
    """A preview of the page over visits that `spoil` has changed, in a folder of its own."""
    with (followed / "visits.csv").open(newline="") as file:
        visits = list(csv.DictReader(file))
    for visit in visits:
        visit["region"] = "south"
        spoil(visit)
    with (place / "visits.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(visits[0]))
        table.writeheader()
        table.writerows(visits)
    spec = (
        (followed / "spec.toml")
        .read_text("utf-8")
        .replace('time = "visited",', 'time = "visited", groups = ["region"],')
    )
    (place / "spec.toml").write_text(spec, "utf-8")
    given = [f"--{name}={followed / file}" for name, file in (("policy", "policy.toml"), ("bundle", "bundle.msgpack"))]
    campaign = [str(followed / "autumn.toml"), f"--spec={place / 'spec.toml'}"]
    return ["campaign", "preview", *campaign, *given, f"--json={place / 'preview.json'}"]


def test_who_did_not_grant_improve_is_in_no_preview_and_moves_none(followed: Path, tmp_path: Path, capsys):
    def spoil(visit: dict[str, str]) -> None:
        if not visit["improve"]:
            visit |= {"pages": "900", "bought_before": "40", "ordered": "1"}

    assert main(previewing(followed, tmp_path, spoil)) == 0
    assert (tmp_path / "preview.json").read_text() == (followed / "preview.json").read_text()
    assert "left out: 800 visits of visitors who did not grant `improve`" in capsys.readouterr().out
    nobody = previewing(followed, tmp_path, lambda visit: visit.update(improve=""))
    assert main(nobody) == REFUSED
    assert "has no visit of anyone who granted `improve`" in " ".join(capsys.readouterr().err.split())


def test_a_group_of_few_visitors_is_not_told_apart_in_a_preview(followed: Path, tmp_path: Path, capsys):
    def spoil(visit: dict[str, str]) -> None:
        number = int(visit["customer"][1:])
        visit["region"] = "isle" if number < 19 else "north" if number < 39 else "south"

    assert main(previewing(followed, tmp_path, spoil)) == 0
    said = capsys.readouterr().out
    assert "region: north" in said
    assert "region: isle" not in said
    assert "1 groups of fewer than 20 visitors" in " ".join(said.split())


def test_the_plan_says_what_can_be_seen(followed: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.chdir(followed)
    plan = "campaign plan autumn.toml --policy policy.toml --conversion 0.12"
    assert main([*shlex.split(plan), "--visitors", "900", "--days", "28"]) == 0
    plenty = capsys.readouterr().out
    assert "every comparison shows" in plenty
    assert "minor units, EUR), over the budget of 500,000" in " ".join(plenty.split())
    assert main([*shlex.split(plan), "--visitors", "20", "--days", "7"]) == 0
    assert "9 of 9 comparisons stay hidden" in capsys.readouterr().out


def checking(path: Path, home: Path) -> list[str]:
    return ["campaign", "check", str(path), "--spec", str(home / "spec.toml"), "--policy", str(home / "policy.toml")]


SPOILED = {
    "objective: is missing": ('objective = "convert"\n', ""),
    "under the minimum of": ("amount = 1000", "amount = 2000"),
    "expresses a price": (
        '{ content = { headline = { en = "5 off',
        '{ content = { price = 4900, headline = { en = "5 off',
    ),
    "presses with a scarcity": ('en = "10 off from 100"', 'en = "Only 2 left"'),
    "tells visitors what they did": ('en = "10 off from 100"', 'en = "Because you viewed boots"'),
    "is outside 0.01..0.9": ("holdout = 0.1", "holdout = 0"),
    "is not trained here": ('score = "delivery"', 'score = "promotion"'),
}


@pytest.mark.parametrize("words", SPOILED)
def test_what_the_page_says_is_refused_is_refused_with_its_line(words: str, followed: Path, tmp_path: Path, capsys):
    assert f"`{words}`" in GUIDE
    old, new = SPOILED[words]
    text = blocks("toml")[0]
    assert old in text
    path = tmp_path / "autumn.toml"
    path.write_text(text.replace(old, new, 1), "utf-8")
    given = [
        "campaign",
        "check",
        str(path),
        "--spec",
        str(followed / "spec.toml"),
        "--policy",
        str(followed / "policy.toml"),
    ]
    assert main(given) == REFUSED
    said = " ".join(capsys.readouterr().err.split())
    assert words in said
    number = int(re.search(r"autumn\.toml:(\d+): ", said)[1])
    assert not new or new.splitlines()[0][:20] in path.read_text().splitlines()[number - 1]


def test_every_refusal_of_the_page_is_provoked_here():
    rows = re.findall(r"^\| `([^`]+)` \|", GUIDE, re.MULTILINE)
    assert set(rows) == set(SPOILED)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ramp = 0.5", "ramp = 0.05"), "gives each of 3 arms 1.7 % of the visitors"),
        (("cost = 0\n", ""), ""),
        (("holdout = 0.1", "holdout = 0.02"), "every arm is compared with these few"),
        (("until = 2027-12-01", "until = 2026-09-02"), "has passed"),
        (
            ('phase = "test"', 'phase = "run"\nchoice = { cold = "none", undecided = "five_off", hot = "ten_off" }'),
            "",
        ),
        (
            (
                'phase = "test"\ndefault_arm = "none"',
                'phase = "run"\nchoice = { cold = "none", undecided = "none", hot = "ten_off" }\ndefault_arm = "none"',
            ),
            "who are less likely to buy anyway",
        ),
        (("order_value = 8000", "order_value = 12000"), "a usual order is 12,000"),
        (('en = "10 off from 100"', 'en = "Number of views of items, 7 days"'), "which is what is kept about visitors"),
    ],
)
def test_what_will_not_work_is_said(change, words: str, followed: Path, tmp_path: Path, capsys):
    path = tmp_path / "autumn.toml"
    path.write_text(blocks("toml")[0].replace(*change, 1), "utf-8")
    given = [
        "campaign",
        "check",
        str(path),
        "--spec",
        str(followed / "spec.toml"),
        "--policy",
        str(followed / "policy.toml"),
    ]
    assert main(given) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert words in said
    assert all(re.match(r"\d+: ", part) for part in said.split("autumn.toml:")[1:])


def test_a_key_within_a_text_of_several_lines_is_no_key():
    text = 'a = """\ncap = 1\n"""\nb = 2\n[cap]\ndecisions = 0\n'
    assert [line_of(text, path) for path in ("cap", "cap.decisions", "b", "a", "gone")] == [5, 6, 4, 1, 6]


def test_more_reports_bring_more_noise_and_smaller_cells(followed: Path):
    campaign = parse_campaign((followed / "autumn.toml").read_bytes())
    report = parse_policy((followed / "policy.toml").read_bytes()).report("autumn_offers", "measure")
    often = replace(report, every_days=2)
    seldom, split = (plan(campaign, one, daily=2_000, conversion=0.1, days=28) for one in (report, often))
    for one, other in zip(seldom, split, strict=True):
        assert other.detectable is None or other.detectable > one.detectable
    few = plan(campaign, often, daily=200, conversion=0.1, days=28)
    assert all(one.hidden for one in few)
    assert not all(one.hidden for one in plan(campaign, report, daily=200, conversion=0.1, days=28))
