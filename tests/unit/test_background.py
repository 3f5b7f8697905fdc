"""The thread that does one thing again and again."""

from __future__ import annotations

import threading

import pytest

from entrenous._background import Repeated, pause


@pytest.mark.parametrize(
    ("seconds", "failures", "expected"),
    [(300, 0, 300), (300, 1, 600), (300, 3, 2400), (300, 4, 3600), (300, 10_000, 3600), (7200, 5, 7200), (0.5, 2, 2)],
)
def test_pauses_double_with_failures_up_to_an_hour(seconds, failures, expected):
    assert pause(seconds, failures, 0.5) == pytest.approx(expected)


def test_a_tenth_more_or_less():
    assert pause(100, 0, 0.0) == pytest.approx(90)
    assert 109 < pause(100, 0, 0.999) < 110


def test_it_repeats_until_it_is_stopped():
    thrice, times = threading.Event(), []

    def work() -> bool:
        times.append(1)
        if len(times) == 3:
            thrice.set()
        return True

    repeated = Repeated(work, 0.001, "test", jitter=True)
    assert thrice.wait(30)
    repeated.stop()
    count = len(times)
    assert not repeated._thread.is_alive()
    assert len(times) == count
