"""Exact discrete Laplace noise, from integers alone.

Floating-point samplers leak through their last bits (Mironov 2012); this one never makes a float. Canonne, Kamath,
Steinke, "The Discrete Gaussian for Differential Privacy" (2020), algorithms 1 and 2.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from fractions import Fraction
from math import exp

__all__ = ["discrete_laplace", "variance"]

Below = Callable[[int], int]
"""A uniform integer from 0 to its argument, exclusive."""


def discrete_laplace(scale: Fraction, below: Below = secrets.randbelow) -> int:
    """Return an integer x with probability proportional to exp(-|x| / scale).

    Args:
        scale: above 0; sensitivity over epsilon. below: the operating system's randomness; tests inject a seed.

    Raises:
        ValueError: the scale is not above 0.
    """
    if scale <= 0:
        raise ValueError("a scale is above 0")
    # The geometric part has rate numerator⁻¹ and is thinned by the denominator: algorithm 2 with s / t = 1 / scale.
    s, t = scale.denominator, scale.numerator
    while True:
        u = below(t)
        if not _bernoulli_exp(u, t, below):
            continue
        v = 0
        while _bernoulli_exp(1, 1, below):
            v += 1
        y = (u + t * v) // s
        negative = bool(below(2))
        if negative and y == 0:
            continue
        return -y if negative else y


def variance(scale: float) -> float:
    """Return the variance of `discrete_laplace(scale)`: 2p / (1 - p)², p = exp(-1 / scale)."""
    p = exp(-1 / scale)
    return 2 * p / (1 - p) ** 2


def _bernoulli_exp(numerator: int, denominator: int, below: Below) -> bool:
    """Return True with probability exp(-numerator / denominator), for a ratio from 0 to 1 (algorithm 1)."""
    k = 1
    while below(denominator * k) < numerator:
        k += 1
    return k % 2 == 1
