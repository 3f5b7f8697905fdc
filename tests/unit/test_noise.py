"""The noise is the discrete Laplace distribution, exactly, and drawn from integers alone."""

from __future__ import annotations

import random
from fractions import Fraction
from math import exp

import numpy as np
import pytest
from scipy.stats import chisquare

from entrenous.loop.noise import discrete_laplace, variance

ALPHA = 1e-4
DRAWS = 20_000


def _below(seed: int):
    chance = random.Random(seed)
    return chance.randrange


@pytest.mark.parametrize("scale", [Fraction(1, 3), Fraction(1), Fraction(7, 2), Fraction(40)])
def test_draws_follow_the_stated_distribution(scale):
    """Chi-square of 20,000 seeded draws against the mass function, tails pooled where fewer than 5 are expected."""
    below = _below(11)
    drawn = np.array([discrete_laplace(scale, below) for _ in range(DRAWS)])
    p = exp(-1 / scale)
    mass = {x: (1 - p) / (1 + p) * p ** abs(x) for x in range(-2000, 2001)}
    inner = [x for x, share in mass.items() if share * DRAWS >= 5]
    seen = [int((drawn == x).sum()) for x in inner] + [int((~np.isin(drawn, inner)).sum())]
    expected = [mass[x] * DRAWS for x in inner]
    expected.append(DRAWS - sum(expected))
    if expected[-1] < 5:
        seen[-2:], expected[-2:] = [sum(seen[-2:])], [sum(expected[-2:])]
    assert chisquare(seen, expected).pvalue > ALPHA


def test_a_continuous_laplace_rounded_would_be_noticed():
    """The test above can fail: rounding a float Laplace of scale 1 gives 0 a mass of .39 instead of .46."""
    chance = np.random.default_rng(5)
    rounded = np.rint(chance.laplace(scale=1, size=DRAWS))
    p = exp(-1)
    expected = (1 - p) / (1 + p) * DRAWS
    assert chisquare([(rounded == 0).sum(), (rounded != 0).sum()], [expected, DRAWS - expected]).pvalue < ALPHA


@pytest.mark.parametrize("scale", [Fraction(1), Fraction(12)])
def test_the_variance_is_that_of_the_draws(scale):
    below = _below(3)
    drawn = np.array([discrete_laplace(scale, below) for _ in range(DRAWS)], float)
    assert abs(drawn.mean()) < 5 * (variance(float(scale)) / DRAWS) ** 0.5
    assert drawn.var() == pytest.approx(variance(float(scale)), rel=0.1)


def test_it_draws_from_the_operating_system_by_default():
    assert len({discrete_laplace(Fraction(1 << 40)) for _ in range(20)}) == 20


@pytest.mark.parametrize("scale", [Fraction(0), Fraction(-1)])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match="above 0"):
        discrete_laplace(scale)
