"""The figures of a declared report's privacy: how its epsilon is shared, and from how many visitors a cell shows."""

from __future__ import annotations

from math import ceil, exp, log

from entrenous_consent.policy import Report

__all__ = ["chance_to_show", "count_epsilon", "threshold"]


def count_epsilon(report: Report) -> float:
    """Return the share of epsilon that the count of visitors gets."""
    weights = [report.split.get(metric, 1.0) for metric in report.metrics]
    return report.epsilon * report.split.get("visitors", 1.0) / sum(weights)


def threshold(report: Report) -> int:
    """Return T: a cell shows only if its noisy count of visitors reaches this.

    T = c + ceil(ln(1 / ((1 + e^-epsilon) delta)) / epsilon), with the count's epsilon: the tail of the discrete Laplace
    distribution, so that a cell of fewer than c visitors reaches it with probability at most delta.
    """
    epsilon = count_epsilon(report)
    return report.cohort + ceil(log(1 / ((1 + exp(-epsilon)) * report.delta)) / epsilon)


def chance_to_show(report: Report, visitors: int) -> float:
    """Return the probability that a cell of `visitors` shows.

    For discrete Laplace noise X of scale 1/epsilon, P(X >= k) is e^(-epsilon k) / (1 + e^-epsilon) for k >= 1, and
    1 - P(X >= 1 - k) for k <= 0.
    """
    epsilon, lacking = count_epsilon(report), threshold(report) - visitors
    if lacking >= 1:
        return exp(-epsilon * lacking) / (1 + exp(-epsilon))
    return 1 - exp(-epsilon * (1 - lacking)) / (1 + exp(-epsilon))
