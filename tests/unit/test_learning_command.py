"""`entrenous learn`: from a collector's file and a bundle to a proposal that a specification can hold."""

from __future__ import annotations

import re
import tomllib
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.test_answer import REPORT, made

from entrenous import demo
from entrenous.bundle import encode_bundle, read_bundle
from entrenous.decisions.offers import Offer
from entrenous.loop.contributions import HOLDOUT
from entrenous.loop.reports import encode_report
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.parsing import Table
from entrenous_evaluation import commands
from entrenous_evaluation.learning.promotions import Couple
from entrenous_evaluation.learning.reading import decision_of, named, rounds_of
from entrenous_evaluation.learning.settings import parse_learning
from entrenous_evaluation.warehouse import Warehouse
from entrenous_exporters.deciding import Known, parse_deciding

NOW = 1_790_000_000
BUNDLE = read_bundle(demo.bundle_bytes(NOW))
RULE = BUNDLE.manifest.decisions["promotion"]
ARMS = tuple(RULE.arms)
DAY = 86_400
PAGE = (Path(__file__).parents[2] / "docs" / "learning.md").read_text()


def sold(visitors: int, rate: float) -> tuple[int, ...]:
    orders = round(visitors * rate)
    return (visitors, orders, orders, orders, 5 * orders, 25 * orders, 5 * orders)


def report(number: int, *, version: int = 1, until: int = DAY, better: str = ARMS[-1], **more):
    """A report in which one arm sells a third more, in every tranche."""
    cells = {
        (arm, tranche, segment): sold(40_000, 0.08 if arm == better else 0.06)
        for tranche in RULE.tranches
        for arm in (HOLDOUT, *ARMS)
        for segment in ("", "personalize")
    }
    given = {"id": bytes([number]) * 16, "bundle_version": version, "until": until} | more
    return made(cells, **given)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    choice = {tranche: dict.fromkeys(ARMS, 10_000 // len(ARMS)) for tranche in RULE.tranches}
    for shares in choice.values():
        shares[ARMS[0]] += 10_000 - sum(shares.values())
    known = {tranche: dict.fromkeys(ARMS, (0.05, 0.001)) for tranche in RULE.tranches}
    manifest = replace(
        BUNDLE.manifest, version=2, decisions={"promotion": replace(RULE, choice=choice, posteriors=known)}
    )
    (tmp_path / "bundle.msgpack").write_bytes(encode_bundle(manifest, BUNDLE.models))
    (tmp_path / "learn.toml").write_text('format = 1\nmetric = "conversion"\n')
    return tmp_path


def collected(place: Path, *reports) -> None:
    warehouse = Warehouse(place / "reports.duckdb")
    for one in reports:
        warehouse.add(one, encode_report(one), sender="till", now=one.until)


def learn(place: Path, *more: str) -> str:
    parser = ArgumentParser()
    commands.learn(parser.add_subparsers())
    paths = {"database": "reports.duckdb", "bundle": "bundle.msgpack", "settings": "learn.toml", "out": "proposal.toml"}
    given = [part for key, name in paths.items() for part in (f"--{key}", str(place / name))]
    chosen = parser.parse_args(["learn", *given, *more])
    assert chosen.run(chosen) == 0
    return (place / "proposal.toml").read_text()


def test_a_proposal_favours_what_sold_more_and_says_why(place: Path, capsys: pytest.CaptureFixture[str]):
    collected(place, report(1), report(2, until=2 * DAY))
    written = tomllib.loads(learn(place))
    assert written.keys() == {"decision"}
    for tranche in RULE.tranches:
        shares = written["decision"]["choice"][tranche]
        assert max(shares, key=shares.get) == ARMS[-1]
        assert min(shares.values()) >= 0.02
    assert f"\n{RULE.tranches[0]}: {ARMS[-1]} is the best with a probability of 100%" in capsys.readouterr().out


def test_a_specification_can_hold_the_proposal(place: Path):
    collected(place, report(1))
    written = tomllib.loads(learn(place))["decision"]
    spec = {
        "name": "promotion",
        "purpose": "personalize",
        "patterns": [["personalize"]],
        "tranches": list(RULE.tranches),
        "shares": [1 / len(RULE.tranches)] * len(RULE.tranches),
        "default_arm": RULE.default_arm,
        "arms": {arm: {} for arm in ARMS},
        "experiment": {"id": "promotion_1", "purpose": "measure", "holdout": 0.1},
    }
    known = Known(purposes=frozenset({"personalize"}), variables={}, segments={}, tranches=())
    decided = parse_deciding(Table(spec | written, "decision"), known)
    rule = decided.rule(model="m", tolerance=0.0, cuts=[(0.0,) * (len(RULE.tranches) - 1)])
    assert rule.posteriors.keys() == set(RULE.tranches)
    for tranche, shares in rule.choice.items():
        assert {arm: share / 10_000 for arm, share in shares.items()} == written["choice"][tranche]


def test_it_speaks_french_and_says_what_is_simulated(place: Path, capsys: pytest.CaptureFixture[str]):
    collected(place, report(1))
    written = learn(place, "--language", "fr", "--simulated", "visitors\nand orders")
    assert "# Simulated: visitors and orders\n" in written
    assert "est le meilleur" in written
    assert "maintenant" in capsys.readouterr().out


def test_the_manifest_is_the_memory_where_the_settings_say_so(place: Path):
    """Reports under version 1 are in its posteriors already; those under version 2 say that another arm is better."""
    (place / "learn.toml").write_text('format = 1\nmetric = "conversion"\nmemory = "manifest"\n')
    collected(place, report(1, version=1), report(2, version=2, better=ARMS[0]))
    choice = tomllib.loads(learn(place))["decision"]["choice"]
    assert all(max(shares, key=shares.get) == ARMS[0] for shares in choice.values())


def test_what_hosts_released_of_one_day_is_one_round_without_who_was_not_scored():
    cells = {("a", "", ""): sold(100, 0.1), ("a", "t", ""): sold(100, 0.1), ("a", "t", "x"): sold(50, 0.1)}
    hidden = {("b", "t", ""): None}
    rounds = rounds_of([made(cells | hidden, until=2 * DAY), made(cells, until=DAY), made(cells, until=2 * DAY)])
    assert [one.keys() for one in rounds] == [{("t", "a")}, {("t", "a")}]
    assert [one["t", "a"].visitors for one in rounds] == [150, 300]
    assert rounds[0]["t", "a"].revenue == 150 * 0.1 * 5 * REPORT.quantum


def test_the_page_shows_a_command_and_settings_that_work(place: Path):
    """Its offers and its parent are of another shop's bundle: the settings are read whole, the command with others."""
    (shown,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    learning = parse_learning(tomllib.loads(shown))
    assert learning.parents == {"s3": "elsewhere"}
    assert learning.settings.guards.budget == 500_000
    (line,) = re.findall(r"^\$ entrenous (.+)$", PAGE, re.MULTILINE)
    parser = ArgumentParser()
    commands.learn(parser.add_subparsers())
    assert parser.parse_args(line.split()).out == Path("proposal.toml")


def test_nothing_that_is_missing_passes(place: Path):
    with pytest.raises(Missing, match="collect"):
        learn(place)
    collected(place, report(1))
    (place / "learn.toml").write_text('format = 1\nmetric = "conversion"\nmemory = "manifest"\n')
    with pytest.raises(Missing, match="remember by reports"):
        learn(place)
    for name in ("learn.toml", "bundle.msgpack"):
        (place / name).unlink()
        with pytest.raises(Missing, match="check --"):
            learn(place)


def test_reports_of_several_tenants_are_not_mixed(place: Path):
    collected(place, report(1), report(2, tenant="other_shop"))
    with pytest.raises(Malformed, match="several tenants"):
        learn(place)
    assert learn(place, "--tenant", "other_shop")


def test_a_decision_is_named_where_several_have_an_experiment():
    alone = replace(RULE, experiment=None)
    assert named({"a": RULE, "b": alone}, "")[0] == "a"
    for decisions, name in (({"a": RULE, "b": RULE}, ""), ({"a": alone}, ""), ({"a": RULE}, "b"), ({}, "")):
        with pytest.raises(Malformed, match="one decision with an experiment"):
            named(decisions, name)


def test_offers_of_a_manifest_are_couples_and_the_memory_is_asked_for():
    offer = Offer(amount=1_000, threshold=10_000, currency="EUR", valid_days=7, personalised=True, notice={})
    known = {RULE.tranches[0]: {ARMS[0]: (0.1, 0.01)}}
    arms = dict(RULE.arms) | {ARMS[-1]: replace(RULE.arms[ARMS[-1]], offer=offer)}
    rule = replace(RULE, arms=arms, posteriors=known)
    decision = decision_of("promotion", rule, {}, remembered=True)
    assert decision.couples == {ARMS[-1]: Couple(threshold=10_000, amount=1_000)}
    assert decision.posteriors == known
    assert decision_of("promotion", rule, {}, remembered=False).posteriors == {}


def test_settings_with_an_unknown_key_are_refused(place: Path):
    collected(place, report(1))
    (place / "learn.toml").write_text('format = 1\nmetric = "conversion"\nlucky = true\n')
    with pytest.raises(Malformed, match="lucky"):
        learn(place)
