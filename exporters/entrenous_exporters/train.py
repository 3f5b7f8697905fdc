"""Training: from labelled rows to a bundle and its card, nothing in between left out.

Who did not grant `improve` is left out before anything else; who judges is never learnt from; what is suspicious is
refused with its figures; what is built is judged through the bytes that ship.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from entrenous.bundle import BUNDLE_LIMIT, Bundle, Manifest, encode_bundle, read_bundle
from entrenous.decisions.calibration import Calibration
from entrenous.decisions.form import DecisionRule
from entrenous.loop.reports import check_cells
from entrenous.model.proof import proof_of
from entrenous.model.scorer import Scorer
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_exporters.build import build, cuts_of
from entrenous_exporters.built import Built, score
from entrenous_exporters.card import Counts, encode_card, facts_of, scored_facts
from entrenous_exporters.deciding import DecisionSpec
from entrenous_exporters.judge import judge, merged
from entrenous_exporters.quality import Quality
from entrenous_exporters.rows import Rows, allowed_rows, joined
from entrenous_exporters.situations.judging import judge_situations
from entrenous_exporters.spec import TrainingSpec
from entrenous_exporters.splits import folds, learnt
from entrenous_exporters.suspicion import suspect
from entrenous_exporters.trees import Ensemble
from entrenous_exporters.uplift.judging import judge_uplift

if TYPE_CHECKING:
    from entrenous_exporters.recommend.spec import RecommendSpec

__all__ = ["Rows", "Trained", "check_permitted", "make_bundle", "manifest_of", "refuse", "train"]

_FOLD_GATE_ROWS = 2_000

_Part: TypeAlias = tuple[Built, Rows, Rows]
"""A model, the rows it learnt from, and rows of other visitors."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What training made.

    Attributes:
        data: the bundle's bytes. bundle: the same, read back. ensemble: what its graph computes; None if it is dense.
        card: the model card's facts (`entrenous_exporters.card`), whose hash the manifest holds.
        quality: by pattern, on visitors not learnt from; empty where nothing is likely or not.
    """

    data: bytes
    bundle: Bundle
    ensemble: Ensemble | None
    card: bytes
    quality: Mapping[tuple[str, ...], Quality]


def train(
    spec: TrainingSpec,
    policy: PrivacyPolicy,
    rows: Rows,
    *,
    created: int,
    campaigns: Sequence[DecisionSpec] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Return the bundle that `spec` asks for.

    Args:
        created: Unix seconds, as the manifest is to state. campaigns: decisions that ship beside the specification's
            own, on its score or on none. progress: told each step.

    Raises:
        Malformed: rows that should not be learnt from (`entrenous_exporters.suspicion`), none to judge by, or a model
            that cannot be protected or emitted exactly.
        Forbidden: the policy does not permit what the bundle would ask.
    """
    check_permitted(spec, policy, campaigns)  # before the work, and again as it is written
    allowed = allowed_rows(rows, spec)
    usable = allowed.where(allowed.known)
    taught, judging = learnt(usable, spec)
    learn = usable.where(taught)
    single = suspect(learn, spec)
    parts = _folds(spec, usable, progress)
    built = build(spec, learn, usable.x[judging] if judging.any() else learn.x, progress=progress)
    if not parts:
        if not judging.any():
            remedy = "give later moments, or an earlier split.until"
            raise Malformed("leaves no row to judge by", place="split", remedy=remedy)
        parts = [(built, learn, usable.where(judging))]
    progress("judging")
    found, held, quality = _judged(spec, built, parts)
    counts = Counts(
        given=len(rows.x), without_improve=len(rows.x) - len(allowed.x), unlabelled=len(allowed.x) - len(usable.x)
    )
    card = encode_card(facts_of(spec, policy, built, (learn, held), counts, single, found))
    also = {one.name: _campaigned(spec, built, learn, one) for one in campaigns}
    data = make_bundle(spec, policy, built, card=card, created=created, also=also)
    return Trained(
        data=data,
        bundle=read_bundle(data),
        ensemble=built.ensemble,
        card=card,
        quality=quality,
    )


def _judged(
    spec: TrainingSpec, built: Built, parts: Sequence[_Part]
) -> tuple[Mapping[str, Any], Rows, Mapping[tuple[str, ...], Quality]]:
    """Return what was found by the kind of decision, for the card; the rows that judged; the quality of a score."""
    if spec.decision.kind == "uplift":
        gains = judge_uplift([(model, held) for model, _, held in parts])
        return {"uplift": gains.facts(spec)}, gains.rows, {}
    if spec.decision.kind == "situation":
        several = [(model, held) for model, _, held in parts]
        return {"situations": judge_situations(spec, several)}, joined([held for _, held in several]), {}
    judged = merged([judge(spec, model, learn, held, fold=i) for i, (model, learn, held) in enumerate(parts)])
    quality = {pattern: judged.quality(spec, i) for i, pattern in enumerate(spec.decision.patterns)}
    return scored_facts(spec, built, judged), judged.rows, quality


def _folds(spec: TrainingSpec, usable: Rows, progress: Callable[[str], None]) -> list[_Part]:
    """Return each part of the visitors with a model of the others, built as the shipped one is; none split by time."""
    parts = []
    for i, (taught, judging) in enumerate(folds(usable, spec)):
        progress(f"judging part {i + 1} of {spec.split.folds} by a model of the others")
        learn, held = usable.where(taught), usable.where(judging)
        built = build(spec, learn, held.x, rows=_FOLD_GATE_ROWS, progress=lambda _: None)
        parts.append((built, learn, held))
    return parts


def _campaigned(spec: TrainingSpec, built: Built, learn: Rows, campaign: DecisionSpec) -> DecisionRule:
    """Return a campaign's decision, its tranches cut from the margins of the rows that were learnt from."""
    if campaign.kind == "rule":
        return campaign.rule(model="", tolerance=0.0, cuts=())
    margins = score(built.model, learn.x, singly=built.tolerance > 0)
    cuts = cuts_of(margins, campaign)
    return campaign.rule(model=spec.decision.name, tolerance=built.tolerance, cuts=cuts, lines=built.lines)


def make_bundle(
    spec: TrainingSpec,
    policy: PrivacyPolicy,
    built: Built,
    *,
    card: bytes,
    created: int,
    also: Mapping[str, DecisionRule] = MappingProxyType({}),
) -> bytes:
    """Return the bytes of the bundle around the model that was built.

    Args:
        also: decisions beside the specification's own, by name.

    Raises:
        Forbidden: the policy does not permit it; every refusal is named. Malformed: it would be too large.
    """
    manifest = manifest_of(
        spec, built.cuts, built.tolerance, created=created, card=sha256(card).digest(), lines=built.lines
    )
    manifest = replace(manifest, decisions={**also, **manifest.decisions})
    refuse(policy.permits(manifest.request()), manifest)
    categories, columns = [len(feature.values) for feature in spec.features], manifest.columns_of(spec.decision.name)
    scorer = Scorer(built.model, features=len(categories), columns=columns)
    manifest = replace(manifest, proofs={spec.decision.name: proof_of(scorer, categories, columns)})
    data = encode_bundle(manifest, {spec.decision.name: built.model})
    if len(data) > BUNDLE_LIMIT:
        raise Malformed(f"is larger than {BUNDLE_LIMIT} bytes", place=f"bundle {spec.name}", remedy="use fewer trees")
    return data


def check_permitted(
    spec: TrainingSpec | RecommendSpec, policy: PrivacyPolicy, campaigns: Sequence[DecisionSpec] = ()
) -> None:
    """Refuse a specification whose bundle the policy would not permit.

    Raises:
        Forbidden: every refusal is named. Malformed: two decisions of one name.
    """
    decisions = (spec.decision, *campaigns)
    names = [one.name for one in decisions]
    if len(set(names)) != len(names):
        raise Malformed("names a decision twice", place=", ".join(names), remedy="give each campaign a name of its own")
    manifest = manifest_of(spec, ((),) * len(spec.decision.patterns), 0.0, created=0, card=b"")
    also = {one.name: one.rule(model="", tolerance=0.0, cuts=((),) * len(one.patterns)) for one in campaigns}
    manifest = replace(manifest, decisions={**also, **manifest.decisions})
    for name, rule in manifest.decisions.items():
        report = policy.report(name, rule.experiment.purpose) if rule.experiment else None
        if report is not None:
            check_cells(name, rule, report)
    request = manifest.request()
    placed = [
        refusal
        for decision in decisions
        for rule in (decision.targeting, decision.exclude)
        if rule is not None
        for refusal in rule.refusals(policy, request)
    ]
    said = frozenset(refusal.line for refusal in placed)
    lines = [f"{refusal.place}: {refusal.line}" for refusal in placed]
    refuse([*lines, *(line for line in policy.permits(request) if line not in said)], manifest)


def refuse(refusals: Sequence[str], manifest: Manifest) -> None:
    """Refuse a bundle for what the policy says of it, if that is anything.

    Raises:
        Forbidden: every refusal is named.
    """
    if refusals:
        remedy = "change the spec, or ask the DPO to sign a policy that permits it"
        raise Forbidden("; ".join(refusals), place=f"bundle {manifest.name}", remedy=remedy)


def manifest_of(
    spec: TrainingSpec | RecommendSpec,
    cuts: Sequence[tuple[float, ...]],
    tolerance: float,
    *,
    created: int,
    card: bytes,
    lines: Sequence[Calibration | None] = (),
) -> Manifest:
    """Return the manifest of a specification, without what it vouches for.

    Args:
        cuts: of each pattern's margin. tolerance: of the margins. card: the SHA-256 of the model card.
        lines: from each pattern's margin to log-odds, none by default.
    """
    decision = spec.decision
    return Manifest(
        name=spec.name,
        version=spec.version,
        created=created,
        expires=created + spec.lifetime_days * 86_400,
        features=spec.features,
        decisions={
            decision.name: decision.rule(
                model=decision.name if decision.patterns else "", tolerance=tolerance, cuts=cuts, lines=lines
            )
        },
        models={},
        card=card,
        public_research_data=spec.source.public_research_data,
        context=spec.context,
        segments=spec.segments,
        triggers=spec.triggers,
        trigger_limit=spec.trigger_limit,
    )
