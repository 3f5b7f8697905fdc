"""From reports to an answer: strata pair up, noise is in the intervals, and a known truth is covered."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from entrenous import demo
from entrenous.bundle import read_bundle
from entrenous.decisions.form import DecisionRule
from entrenous.loop.contributions import HOLDOUT
from entrenous.loop.reports import CrowdReport, cells_of, mechanism_of
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.policy import METRICS, parse_policy
from entrenous_evaluation.answer import FIGURES, Answer, Line, evaluate, parse_costs
from entrenous_evaluation.dashboard import render
from entrenous_evaluation.spoken import as_json, headline, show
from entrenous_evaluation.statistics import SampleRatio, Unknown

NOW = 1_790_000_000
POLICY = parse_policy(demo.policy_bytes())
SPLIT = dict(zip(METRICS, (1, 1, 1, 2, 1, 4, 4), strict=True))
REPORT = replace(POLICY.reports[0], quantum=2000, clip={"orders": 4, "revenue": 60_000}, split=SPLIT)
RULE = read_bundle(demo.bundle_bytes(NOW)).manifest.decisions["promotion"]
ALONE = replace(RULE, tranches=("cold",), choice={"cold": "ten_off"})
HELD = 0.2


def laplace(chance: np.random.Generator, scale: float) -> int:
    """Discrete Laplace, as the difference of two geometrics: fast, and the same distribution as the exact sampler."""
    p = 1 - np.exp(-1 / scale)
    return chance.geometric(p) - chance.geometric(p)


def bought(chance: np.random.Generator, n: int, effect: float) -> list[np.ndarray]:
    """What each of `n` visitors adds to a report: one in seven orders, for about 100 apiece."""
    orders = chance.binomial(3, 0.05 * (1 + effect), n)
    revenue = np.minimum(orders * chance.gamma(4, 2_500, n), 60_000).astype(np.int64) // 2000
    return [np.ones(n, int), orders > 0, orders, orders**2, revenue, revenue**2, revenue * orders]


def report(
    chance: np.random.Generator,
    *,
    visitors: int = 20_000,
    effect: float = 0.0,
    noise: bool = True,
    rule: DecisionRule = RULE,
    segments: tuple[str, ...] = REPORT.segments,
) -> CrowdReport:
    """A release of a made-up shop; `effect` raises how many order."""
    mechanism = mechanism_of(REPORT)
    cells = {}
    declared = cells_of(rule, replace(REPORT, segments=segments))
    strata = list(dict.fromkeys(cell[1:] for cell in declared))
    for (tranche, segment), share in zip(strata, chance.dirichlet([60] * len(strata)), strict=True):
        for arm in (cell[0] for cell in declared if cell[1:] == (tranche, segment)):
            n = round(visitors * share * (HELD if arm == HOLDOUT else 1 - HELD))
            sums = [int(column.sum()) for column in bought(chance, n, 0.0 if arm == HOLDOUT else effect)]
            drawn = [int(laplace(chance, float(scale))) if noise else 0 for scale in mechanism.scales]
            cells[arm, tranche, segment] = tuple(one + more for one, more in zip(sums, drawn, strict=True))
    return made(cells)


def made(cells, **more) -> CrowdReport:
    given = {"id": bytes(16), "tenant": "demo_shop", "report": "promotion", "experiment": "promotion_1"}
    given |= {"bundle": "demo_promotions", "bundle_version": 1, "policy": 1, "since": 0, "until": 86_400}
    given |= {
        "window_days": 30,
        "holdout": round(HELD * 10_000),
        "ramp": 10_000 - round(HELD * 10_000),
        "currency": "EUR",
        "metrics": REPORT.metrics,
    }
    return CrowdReport(**given | {"mechanism": mechanism_of(REPORT), "cells": cells} | more)


def line(answer: Answer, kind: str = "all", name: str = "all", population: int = 0) -> Line:
    return next(one for one in answer.populations[population].lines if (one.kind, one.name) == (kind, name))


# Experiments with a known truth


def _truth(effect: float) -> dict[str, float]:
    """Return the true lifts of what is reported: clipped and in steps, so by a crowd of ten million on either side."""
    chance = np.random.default_rng(1)
    (_, c1, o1, _, r1, *_), (_, c0, o0, _, r0, *_) = (
        [column.mean() for column in bought(chance, 10_000_000, one)] for one in (effect, 0.0)
    )
    return {"conversion": c1 / c0 - 1, "revenue_per_visitor": r1 / r0 - 1, "order_value": r1 / o1 / (r0 / o0) - 1}


def _covered(effect: float, experiments: int, *, told: bool = True) -> dict[str, float]:
    """Return how often 95 % intervals hold the truth. `told` False: as if there were no noise to put into them."""
    chance, truth = np.random.default_rng(20261127), _truth(effect)
    held = dict.fromkeys(truth, 0)
    for _ in range(experiments):
        one = report(chance, effect=effect, rule=ALONE, segments=())
        if not told:
            tiny = tuple(scale / 10**6 for scale in one.mechanism.scales)
            one = replace(one, mechanism=replace(one.mechanism, scales=tiny))
        lifts = line(evaluate([one])).lifts
        for figure, wanted in truth.items():
            found = lifts[figure]
            if told:
                assert not isinstance(found, Unknown), found
            held[figure] += not isinstance(found, Unknown) and found.lift.low <= wanted <= found.lift.high
    return {figure: count / experiments for figure, count in held.items()}


def test_intervals_of_two_thousand_experiments_cover_as_often_as_they_say():
    """2,000 experiments, seeded; three binomial standard errors around 95 %: ± 1.5 points (alpha .003 a figure)."""
    found = _covered(0.1, 2_000)
    for share in found.values():
        assert abs(share - 0.95) < 3 * (0.95 * 0.05 / 2_000) ** 0.5, found


def test_without_the_noise_in_them_intervals_would_not_cover():
    """The test above can fail: the noise left out of 400 intervals, they hold the truth far less often."""
    found = _covered(0.1, 400, told=False)
    assert max(found["revenue_per_visitor"], found["order_value"]) < 0.85, found


def test_an_effect_is_seen_with_its_sign_and_none_is_not_claimed():
    chance = np.random.default_rng(4)
    up = evaluate([report(chance, effect=0.6, visitors=60_000)])
    assert "raised revenue per visitor by +" in headline(up)
    down = evaluate([report(chance, effect=-0.5, visitors=60_000)])
    assert "lowered revenue per visitor" in headline(down)
    said = [headline(evaluate([report(chance, visitors=60_000)])) for _ in range(20)]
    assert sum("it may be nothing" in one for one in said) >= 17


# Strata


def test_a_stratum_counts_only_where_both_its_cells_show():
    chance = np.random.default_rng(1)
    full = report(chance, noise=False)
    whole = line(evaluate([full]))
    for gone in (HOLDOUT, "ten_off"):
        cells = {cell: None if cell[0] == gone and cell[1] == "cold" else sums for cell, sums in full.cells.items()}
        answer = evaluate([made(cells)])
        part = line(answer)
        cold = [sums for cell, sums in full.cells.items() if cell[1] == "cold"]
        assert part.treated + part.holdout == pytest.approx(whole.treated + whole.holdout - sum(one[0] for one in cold))
        assert (answer.hidden, answer.unpaired) == (1, 1)
        assert not [one for one in answer.populations[0].lines if one.name == "cold"]


def test_populations_are_everyone_and_each_segment_and_lines_are_arms_and_tranches():
    answer = evaluate([report(np.random.default_rng(1))])
    assert [one.name for one in answer.populations] == ["everyone measured", "who granted personalize too"]
    lines = [(one.kind, one.name) for one in answer.populations[0].lines]
    assert lines[0] == ("all", "all")
    assert {name for kind, name in lines if kind == "tranche"} == set(RULE.tranches)
    assert {name for kind, name in lines if kind == "arm"} == {arm for shares in RULE.choice.values() for arm in shares}
    assert line(answer).treated > line(answer, population=1).treated, "the unscored are in the first alone"


def test_reports_of_several_releases_are_merged_and_their_noise_adds_up():
    chance = np.random.default_rng(2)
    one, other = report(chance), report(chance)
    both = evaluate([one, other])
    assert line(both).treated == pytest.approx(line(evaluate([one])).treated + line(evaluate([other])).treated)
    assert both.reports == 2
    width = [
        line(found).lifts["conversion"].lift.high - line(found).lifts["conversion"].lift.low
        for found in (evaluate([one]), both)
    ]
    assert 0.5 < width[1] / width[0] < 0.9


def test_arms_that_did_not_get_their_share_raise_the_alarm():
    full = report(np.random.default_rng(1), noise=False)
    cells = {
        cell: tuple(value * (2 if cell[0] == HOLDOUT else 1) for value in sums) for cell, sums in full.cells.items()
    }
    answer = evaluate([made(cells)])
    ratio = answer.populations[0].ratio
    assert isinstance(ratio, SampleRatio)
    assert ratio.p_value < 1e-6
    assert "believe no figure" in headline(answer)
    assert evaluate([full]).populations[0].ratio.p_value > 0.05


def test_nothing_that_shows_is_no_answer_and_says_so():
    answer = evaluate([made(dict.fromkeys(cells_of(RULE, REPORT)))])
    assert answer.populations == ()
    assert "nothing shows yet" in headline(answer)
    assert "<h1>" in render(answer)
    few = report(np.random.default_rng(1), visitors=900)
    assert "too little to tell" in headline(evaluate([few]))


def test_metrics_that_a_report_leaves_out_are_not_made_up():
    full = report(np.random.default_rng(1))
    cells = {cell: sums[:2] for cell, sums in full.cells.items()}
    mechanism = replace(full.mechanism, bounds=full.mechanism.bounds[:2], scales=full.mechanism.scales[:2])
    answer = evaluate([replace(full, cells=cells, metrics=METRICS[:2], mechanism=mechanism)])
    lifts = line(answer).lifts
    assert not isinstance(lifts["conversion"], Unknown)
    assert {lifts[figure].cause for figure in FIGURES[1:]} == {"not_counted"}


def test_costs_make_a_return_and_a_margin_lowers_it():
    full = report(np.random.default_rng(3), effect=0.5, visitors=100_000)
    costs = parse_costs({"gross_margin": 0.4, "arms": {"ten_off": {"per_order": 100}}})
    money = line(evaluate([full], costs=costs), "arm", "ten_off").money
    assert money.cost > 0
    assert money.net.value == pytest.approx(0.4 * money.revenue.value - money.cost)
    assert money.roi.value == pytest.approx(money.net.value / money.cost)
    assert isinstance(line(evaluate([full])).money, Unknown)


@pytest.mark.parametrize("values", [{"arms": {"ten_off": {"colour": 1}}}, {"gross_margin": 2.0}, {"margin": 1}, []])
def test_costs_that_are_none_are_refused(values):
    with pytest.raises(Malformed):
        parse_costs(values)


def test_no_report_and_several_experiments_are_refused():
    with pytest.raises(Missing, match="no report"):
        evaluate([])
    one = report(np.random.default_rng(1))
    with pytest.raises(Malformed, match="several experiments"):
        evaluate([one, replace(one, experiment="another")])


# Words


@pytest.fixture(scope="module")
def simulated() -> Answer:
    return evaluate([report(np.random.default_rng(9), effect=0.5)], simulated="How visitors answered the offers.")


def test_what_is_simulated_is_said_wherever_its_figures_are(simulated):
    out = StringIO()
    show(simulated, Console(file=out, width=200))
    for told in (out.getvalue(), render(simulated), as_json(simulated)):
        assert "imulated" in told
        assert "How visitors answered the offers." in told
    assert headline(simulated).startswith("Simulated — ")


def test_the_page_opens_with_the_answer_and_asks_the_network_for_nothing(simulated):
    page = render(simulated)
    body = page.partition("<body>")[2].strip()
    assert body.startswith("<h1>Simulated — promotion_1: the offers raised")
    assert page.count("<svg") == len(simulated.populations)
    assert "<script" not in page
    assert re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)", page) == ["data:,"]
    assert render(simulated) == page


def test_json_holds_every_comparison(simulated):
    told = json.loads(as_json(simulated))
    assert len(told["lines"]) == sum(len(one.lines) for one in simulated.populations)
    assert {"low", "high", "value"} == set(told["lines"][0]["conversion"])
