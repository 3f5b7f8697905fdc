"""What noised sums say: means, order value, lift, sample ratio, money. Values in, values out; no file, no clock.

Nothing here sees a visitor. It takes `Sums` (of one cell, or of cells merged with `+`) and the variance of the noise
that was added to them; that variance is in every interval. Where the sums can't carry an answer, the answer is
`Unknown` with its cause, never a number.
"""

from entrenous_evaluation.statistics.comparison import Comparison, compare
from entrenous_evaluation.statistics.estimates import CAUSES, Estimate, Interval, Unknown, mean, order_value
from entrenous_evaluation.statistics.money import Money, money
from entrenous_evaluation.statistics.sample_ratio import SampleRatio, sample_ratio
from entrenous_evaluation.statistics.sums import Noise, Sums

__all__ = [
    "CAUSES",
    "Comparison",
    "Estimate",
    "Interval",
    "Money",
    "Noise",
    "SampleRatio",
    "Sums",
    "Unknown",
    "compare",
    "mean",
    "money",
    "order_value",
    "sample_ratio",
]
