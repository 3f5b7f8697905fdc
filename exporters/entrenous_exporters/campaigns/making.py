"""From a campaign to a decision of a bundle: the same score as the decision that it names, its own arms and rules."""

from __future__ import annotations

from datetime import UTC, datetime

from entrenous.targeting import variables_of
from entrenous_consent.errors import Malformed
from entrenous_exporters.campaigns.form import Campaign
from entrenous_exporters.deciding import DecisionSpec
from entrenous_exporters.rules import Written, write_rule
from entrenous_exporters.spec import TrainingSpec

__all__ = ["decision_of"]


def decision_of(campaign: Campaign, spec: TrainingSpec, place: str = "campaign") -> DecisionSpec:
    """Return the decision that a campaign becomes in the bundle that `spec` trains.

    Args:
        place: the file's name, for errors.

    Raises:
        Malformed: it uses a score that the specification does not train, or its rules read what the bundle has not.
    """
    scored = bool(campaign.score)
    if scored and (campaign.score != spec.decision.name or spec.decision.kind not in ("promotion", "propensity")):
        remedy = f"the specification trains {spec.decision.name}, of the kind {spec.decision.kind}"
        raise Malformed("is not trained here", place=f"{place}: score: {campaign.score}", remedy=remedy)
    return DecisionSpec(
        name=campaign.name,
        kind=campaign.kind,
        purpose=campaign.purpose,
        patterns=spec.decision.patterns if scored else (),
        tranches=campaign.tranches,
        shares=campaign.shares,
        arms=campaign.arms,
        choice=campaign.choice,
        default_arm=campaign.default_arm,
        experiment=campaign.experiment,
        cap=campaign.cap,
        costs=(),
        posteriors=None,
        targeting=_rule(_within(campaign), spec, f"{place}: targeting"),
        exclude=_rule(campaign.exclude, spec, f"{place}: exclude"),
    )


def _within(campaign: Campaign) -> str:
    """Return the targeting with the schedule: outside it nobody is eligible."""
    parts = [f"now >= timestamp('{_moment(campaign.start)}')"] if campaign.start else []
    parts += [f"now < timestamp('{_moment(campaign.until)}')"] if campaign.until else []
    parts += [f"({campaign.targeting})"] if campaign.targeting else []
    return " && ".join(parts)


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _rule(text: str, spec: TrainingSpec, place: str) -> Written | None:
    if not text:
        return None
    segments = {segment.name: segment.rule for segment in spec.segments}

    def tree(name: str) -> tuple[object, ...]:
        if name not in segments:
            raise Malformed("is no segment of the specification", place=f"{place}: {name}", remedy="declare it there")
        return segments[name]

    return write_rule(text, variables_of(spec.features, spec.context), place=place, segments=tree)
