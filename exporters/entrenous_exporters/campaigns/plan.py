"""What a comparison needs: how small an effect can be seen, when, and which cells the reports will never show.

With n visitors in an arm, m held out, a conversion p, and r reports, each of which brings noise of variance v into each
sum of converters::

    error²  = p (1 − p) (1/n + 1/m) + r v (1/n² + 1/m²)     detectable = (z(97.5 %) + z(80 %)) · error

as a part of p: the relative effect that is found four times in five (Cohen 1988), of one comparison alone. A cell shows
in a report only if its noisy count there reaches the policy's threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from entrenous.loop.noise import variance
from entrenous.loop.reports import mechanism_of
from entrenous_consent.errors import Malformed
from entrenous_consent.policy import Report
from entrenous_consent.pseudonyms import BUCKETS
from entrenous_exporters.campaigns.form import Campaign

__all__ = ["Planned", "cost_of", "plan"]

_SEEN = 1.959964 + 0.841621


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What one arm of one tranche would have.

    Attributes:
        treated, held: visitors in the time asked for. hidden: the threshold would hide one of the two.
        detectable: the least relative effect that would be seen, None where a cell is hidden.
    """

    tranche: str
    arm: str
    treated: int
    held: int
    hidden: bool
    detectable: float | None


def plan(campaign: Campaign, report: Report, *, daily: float, conversion: float, days: int) -> tuple[Planned, ...]:
    """Return what each arm of each tranche would have after so many days.

    Args:
        report: the policy's, on this decision. daily: new visitors a day who granted the experiment's purpose and whom
            the campaign is for. conversion: of the holdout, a share. days: of exposure.

    Raises:
        Malformed: a number out of bounds.
    """
    if not (daily > 0 and 0 < conversion < 1 and days >= 1):
        what = "are not visitors above 0, a share between 0 and 1, and a day or more"
        raise Malformed(what, place="plan", remedy="give --visitors, --conversion and --days")
    mechanism, experiment = mechanism_of(report), campaign.experiment
    noise = (
        variance(float(mechanism.scales[report.metrics.index("converters")])) if "converters" in report.metrics else 0.0
    )
    shares, reports = campaign.shares or (1.0,), max(1, ceil(days / report.every_days))
    slice_ = (experiment.slice[1] - experiment.slice[0]) / BUCKETS
    planned = []
    for tranche, part in zip(campaign.tranches, shares, strict=True):
        here = daily * days * slice_ * part
        held = here * experiment.holdout / BUCKETS
        for arm, share in campaign.choice[tranche].items():
            treated = here * experiment.taken / BUCKETS * share / BUCKETS
            hidden = min(treated, held) / reports < mechanism.threshold
            planned.append(
                Planned(
                    tranche=tranche,
                    arm=arm,
                    treated=round(treated),
                    held=round(held),
                    hidden=hidden,
                    detectable=None if hidden else _detectable(treated, held, conversion, reports * noise),
                )
            )
    return tuple(planned)


def cost_of(campaign: Campaign, planned: Sequence[Planned], conversion: float) -> float:
    """Return what the arms would cost in all, in minor units: offers for each order that is made anyway, and what an
    arm costs for each visitor. What offers bring in addition is not known before the test, nor what that costs.

    Args:
        planned: as `plan` answered. conversion: of the holdout, a share.
    """
    total = 0.0
    for one in planned:
        offer = campaign.arms[one.arm].offer
        amount = offer.amount if offer else 0
        total += one.treated * (campaign.costs.get(one.arm, 0.0) + conversion * amount)
    return total


def _detectable(n: float, m: float, p: float, noise: float) -> float:
    error = sqrt(p * (1 - p) * (1 / n + 1 / m) + noise * (1 / n**2 + 1 / m**2))
    return _SEEN * error / p
