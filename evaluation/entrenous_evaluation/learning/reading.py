"""What learning reads: a decision of a bundle, and rounds of reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from entrenous.decisions.form import DecisionRule
from entrenous.loop.reports import CrowdReport
from entrenous_consent.errors import Malformed
from entrenous_evaluation.cells import sums_of
from entrenous_evaluation.learning.metrics import Cells
from entrenous_evaluation.learning.promotions import Couple
from entrenous_evaluation.learning.proposal import Decision
from entrenous_evaluation.statistics import Sums

__all__ = ["decision_of", "named", "rounds_of"]


def named(decisions: Mapping[str, DecisionRule], name: str) -> tuple[str, DecisionRule, str]:
    """Return a decision, and the experiment that its reports are about.

    Args:
        name: which; empty where only one has an experiment.

    Raises:
        Malformed: there is no such decision, it has no experiment, or several have one.
    """
    tried = {key: rule for key, rule in decisions.items() if rule.experiment is not None and name in ("", key)}
    if len(tried) != 1:
        what = f"is not one decision with an experiment; the bundle has {', '.join(sorted(decisions)) or 'none'}"
        raise Malformed(what, place="decision", remedy="name one with --decision, and let it have an experiment")
    ((key, rule),) = tried.items()
    return key, rule, rule.experiment.id if rule.experiment else ""


def decision_of(name: str, rule: DecisionRule, parents: Mapping[str, str], *, remembered: bool) -> Decision:
    """Return a manifest's decision as learning takes it.

    Args:
        parents: of the tranches that have one. remembered: its posteriors are the prior.

    Raises:
        Malformed: a parent is no tranche, or they go in a circle.
    """
    return Decision(
        name=name,
        tranches=rule.tranches,
        arms=tuple(rule.arms),
        default_arm=rule.default_arm,
        choice=rule.choice,
        posteriors=(rule.posteriors or {}) if remembered else {},
        parents=parents,
        couples={
            arm: Couple(threshold=one.offer.threshold, amount=one.offer.amount)
            for arm, one in rule.arms.items()
            if one.offer is not None
        },
    )


def rounds_of(reports: Iterable[CrowdReport]) -> list[Cells]:
    """Return the cells of each round, oldest first, over all segments; whoever was not scored is left out.

    A round is what was released about exposures up to the same day under one bundle: arms were told apart by chance
    within it, whatever else went on that day.
    """
    found: dict[tuple[int, str, int], dict[tuple[str, str], Sums]] = {}
    for report in sorted(reports, key=lambda one: (one.until, one.bundle_version)):
        cells = found.setdefault((report.until, report.bundle, report.bundle_version), {})
        for (arm, tranche, _), values in report.cells.items():
            if tranche and values is not None:
                sums, key = sums_of(report.metrics, report.mechanism, values), (tranche, arm)
                cells[key] = cells[key] + sums if key in cells else sums
    return [cells for cells in found.values() if cells]
