"""Isotonic calibration: a rising line from a model's margin to log-odds.

It changes what is read of a score, never the order of two scores: cuts stay cuts of the margin, and the graph stays the
one exact node it is. Between knots the line is straight; beyond the outer ones it rises as the margin does, since the
model's own slope is all that is known there.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from entrenous_consent.parsing import Table

__all__ = ["FARTHEST_LOG_ODDS", "MOST_KNOTS", "Calibration", "parse_calibration"]

MOST_KNOTS = 64
FARTHEST_LOG_ODDS = 32.0
"""The largest magnitude of a knot: a chance of 1e-14."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The line.

    Attributes:
        margins: float32, rising: where the knots are. log_odds: rising, as many: what they are worth.
    """

    margins: tuple[float, ...]
    log_odds: tuple[float, ...]

    def of(self, margin: float) -> float:
        """Return the log-odds that a margin stands for."""
        margins, log_odds = self.margins, self.log_odds
        i = bisect_right(margins, margin)
        if i == 0:
            return log_odds[0] + (margin - margins[0])
        if i == len(margins):
            return log_odds[-1] + (margin - margins[-1])
        share = (margin - margins[i - 1]) / (margins[i] - margins[i - 1])
        return log_odds[i - 1] + share * (log_odds[i] - log_odds[i - 1])

    def as_table(self) -> dict[str, list[float]]:
        """Return plain values."""
        return {"margins": list(self.margins), "log_odds": list(self.log_odds)}


def parse_calibration(table: Table) -> Calibration:
    """Return the line in a manifest's table.

    Raises:
        Malformed: knots that do not rise, are too many or too few, or lie too far out.
    """
    margins, log_odds = table.numbers("margins"), table.numbers("log_odds")
    table.close()
    for key, values in (("margins", margins), ("log_odds", log_odds)):
        if not 2 <= len(values) <= MOST_KNOTS or any(low >= high for low, high in pairwise(values)):
            raise table.refuse(key, f"is not 2 to {MOST_KNOTS} rising numbers")
    if len(margins) != len(log_odds) or max(-log_odds[0], log_odds[-1]) > FARTHEST_LOG_ODDS:
        raise table.refuse("log_odds", f"is not one for each margin, from -{FARTHEST_LOG_ODDS:g} to its opposite")
    if any(float(np.float32(value)) != value for value in margins):
        raise table.refuse("margins", "is not float32", "round the margins to float32")
    return Calibration(margins, log_odds)
