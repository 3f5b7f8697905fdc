"""What the worker counts can't single out one visitor, however often it is read."""

from __future__ import annotations

import re

import pytest

from entrenous_edge.metrics import STEP, Metrics


class Timer:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timer() -> Timer:
    return Timer()


def coarse(text: str) -> dict[str, int]:
    """What is told of persons: by route, reason, outcome and choice."""
    return {
        line.rpartition(" ")[0]: int(line.rpartition(" ")[2])
        for line in text.splitlines()
        if re.match("entrenous_(requests|decisions|events|choices)_total", line)
    }


def visit(metrics: Metrics, *, reason: str = "SPLIT", refuses: bool = True, erases: bool = True) -> None:
    """Everything that one visitor could show by: held out, refused events, a choice, an erasure that is pending."""
    metrics.decision(reason)
    metrics.events(0 if refuses else 1, 1 if refuses else 0)
    metrics.consent()
    metrics.request("/v1/decide", 200, 0.001)
    if erases:
        metrics.request("/v1/visitor", 202, 0.001)


@pytest.mark.parametrize("before", [0, 1, 19, 20, 57])
def test_read_every_second_one_visitor_more_or_less_changes_nothing_within_the_minute(timer: Timer, before: int):
    """A reader who knows when the visitor comes, and reads before and after, sees the same."""
    metrics = Metrics(timer)
    for _ in range(before):
        visit(metrics)
    timer.now = 60.0
    seen = [coarse(metrics.text())]
    for second in range(1, 60):
        timer.now = 60.0 + second
        if second == 30:
            visit(metrics)
        seen.append(coarse(metrics.text()))
    assert all(one == seen[0] for one in seen)


def test_after_the_minute_counts_stand_at_multiples_of_twenty(timer: Timer):
    metrics = Metrics(timer)
    for i in range(3 * STEP - 1):
        visit(metrics, reason="SPLIT" if i % 3 else "DEFAULT", refuses=i % 2 == 0, erases=i < 5)
        timer.now += 60.0
        assert all(count % STEP == 0 for count in coarse(metrics.text()).values())
    told = coarse(metrics.text())
    assert told["entrenous_choices_total"] == 2 * STEP
    assert told['entrenous_requests_total{route="/v1/decide",status="200"}'] == 2 * STEP
    assert not any("/v1/visitor" in name for name in told), "fewer than twenty are not even named"


def test_what_says_how_the_worker_does_is_told_as_it_stands(timer: Timer):
    metrics = Metrics(timer, gauges=lambda: {"bundle_version": 7})
    metrics.request("/v1/decide", 200, 0.0007)
    metrics.request("/v1/events", 503, 0.3)
    text = metrics.text()
    assert 'entrenous_answers_total{class="5xx"} 1' in text
    assert 'entrenous_faults_total{route="/v1/events"} 1' in text
    assert 'entrenous_answer_seconds_bucket{le="0.0005"} 0' in text
    assert 'entrenous_answer_seconds_bucket{le="0.001"} 1' in text
    assert 'entrenous_answer_seconds_bucket{le="+Inf"} 2' in text
    assert "entrenous_bundle_version 7" in text
    assert re.search(r"^entrenous_resident_bytes [1-9]", text, re.MULTILINE)
