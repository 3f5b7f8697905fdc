"""Training: from events and moments to a bundle, nothing in between left out.

One model for each consent pattern, on that pattern's columns alone; extracted, coarsened, held to *k* distinct
visitors under every leaf, rounded to the grid, emitted as one graph, and compared to the bit before it becomes a
bundle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from entrenous.bundle import BUNDLE_LIMIT, Bundle, DecisionRule, Manifest, Pattern, encode_bundle, read_bundle
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_exporters import trees
from entrenous_exporters.quality import Quality, assess
from entrenous_exporters.spec import DecisionSpec, TrainingSpec
from entrenous_exporters.trees import Ensemble

__all__ = ["Rows", "Trained", "make_bundle", "train"]

_GATE_ROWS = 20_000
_FEWEST = 10

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A labelled feature table.

    Attributes:
        x: float32 [N, F], in the order of the spec's features. y: bool [N], the label.
        visitors: int64 [N], whose row it is, numbered from 0. times: int64 [N], Unix seconds.
        improve: bool [N], whether the visitor granted that models learn from the row.
        known: bool [N], whether the log reaches past the label's days, so that `y` can be relied on.
    """

    x: Floats
    y: NDArray[np.bool_]
    visitors: NDArray[np.int64]
    times: NDArray[np.int64]
    improve: NDArray[np.bool_]
    known: NDArray[np.bool_]

    def where(self, keep: NDArray[np.bool_]) -> Rows:
        """Return the rows that `keep` [N] marks."""
        return Rows(
            x=self.x[keep],
            y=self.y[keep],
            visitors=self.visitors[keep],
            times=self.times[keep],
            improve=self.improve[keep],
            known=self.known[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What training made.

    Attributes:
        data: the bundle's bytes. bundle: the same, read back. ensemble: what its graph computes.
        card: the facts of the model card, whose hash the manifest holds. quality: by pattern, on rows not learnt from.
    """

    data: bytes
    bundle: Bundle
    ensemble: Ensemble
    card: bytes
    quality: Mapping[tuple[str, ...], Quality]


def train(
    spec: TrainingSpec,
    policy: PrivacyPolicy,
    rows: Rows,
    *,
    created: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Return the bundle that `spec` asks for.

    Rows whose visitor did not grant `improve` are left out first, and counted. Rows after `train_until` (less the
    label's horizon) are never learnt from: they judge.

    Args:
        created: Unix seconds, as the manifest is to state. progress: told each step.

    Raises:
        Malformed: too few rows of either class, or a model that cannot be protected or emitted exactly.
        Forbidden: the policy does not permit what the bundle would ask.
    """
    allowed = rows if spec.source.public_research_data else rows.where(rows.improve)
    usable = allowed.where(allowed.known)
    horizon = spec.label.within_days * 86_400
    last = spec.source.train_until - horizon
    learn = usable.where((usable.times >= spec.source.train_from) & (usable.times < last))
    judge = usable.where(usable.times >= spec.source.train_until)
    _check_classes(learn)
    columns = []
    for pattern in spec.decision.patterns:
        progress(f"training {_spoken(pattern)} on {len(learn.x):,} rows")
        positions = [i for i, feature in enumerate(spec.features) if feature.purpose in pattern]
        if not positions:
            raise Malformed("has no feature to learn from", place="decision.patterns", remedy="leave it out")
        columns.append(_fit(spec, learn, positions))
    progress(f"holding every leaf to {spec.learner.k} distinct visitors")
    width = len(spec.features)
    protected = trees.protect(trees.assemble(columns, width), learn.x, learn.visitors, spec.learner.k)
    ensemble = trees.on_grid(protected)
    model = trees.to_onnx(ensemble)
    progress(f"comparing {_GATE_ROWS:,} adversarial rows to the bit")
    sample = judge.x if len(judge.x) else learn.x
    parity = trees.check(model, ensemble, trees.adversarial_rows(ensemble, sample, _GATE_ROWS, spec.learner.seed))
    margins = trees.walk(ensemble, learn.x)
    cuts = [_cuts(margins[:, i], spec.decision) for i in range(len(columns))]
    quality: dict[tuple[str, ...], Quality] = {}
    if len(judge.x):
        judged = trees.walk(ensemble, judge.x)
        quality = {pattern: assess(judged[:, i], judge.y, cuts[i]) for i, pattern in enumerate(spec.decision.patterns)}
    facts = {
        "name": spec.name,
        "version": spec.version,
        "public_research_data": spec.source.public_research_data,
        "rows": {"given": len(rows.x), "without_improve": len(rows.x) - len(allowed.x), "learnt": len(learn.x)},
        "visitors": int(np.unique(learn.visitors).size),
        "k": spec.learner.k,
        "least_support": trees.least_support(ensemble, learn.x, learn.visitors),
        "parity_rows": parity.rows,
        "quality": {_spoken(pattern): one.as_table() for pattern, one in quality.items()},
    }
    card = json.dumps(facts, indent=1, sort_keys=True).encode()
    data = make_bundle(spec, policy, model, cuts, card=card, created=created)
    return Trained(data=data, bundle=read_bundle(data), ensemble=ensemble, card=card, quality=quality)


def make_bundle(
    spec: TrainingSpec, policy: PrivacyPolicy, model: bytes, cuts: list[tuple[float, ...]], *, card: bytes, created: int
) -> bytes:
    """Return the bytes of the bundle around `model`.

    Raises:
        Forbidden: the policy does not permit it; every refusal is named. Malformed: it would be too large.
    """
    decision = spec.decision
    patterns = tuple(Pattern(purposes=pattern, column=i, cuts=cuts[i]) for i, pattern in enumerate(decision.patterns))
    manifest = Manifest(
        name=spec.name,
        version=spec.version,
        created=created,
        expires=created + spec.lifetime_days * 86_400,
        features=spec.features,
        decisions={
            decision.name: DecisionRule(
                kind="propensity",
                purpose=decision.purpose,
                model=decision.name,
                tolerance=0.0,
                tranches=decision.tranches,
                patterns=patterns,
                arms=decision.arms,
                choice=decision.choice,
                default_arm=decision.default_arm,
                experiment=decision.experiment,
                cap=decision.cap,
            )
        },
        models={},
        card=sha256(card).digest(),
        public_research_data=spec.source.public_research_data,
    )
    refusals = policy.permits(manifest.request())
    if refusals:
        raise Forbidden("; ".join(refusals), place=f"bundle {spec.name}", remedy="change the spec or ask the DPO")
    data = encode_bundle(manifest, {decision.name: model})
    if len(data) > BUNDLE_LIMIT:
        raise Malformed(f"is larger than {BUNDLE_LIMIT} bytes", place=f"bundle {spec.name}", remedy="use fewer trees")
    return data


def _check_classes(rows: Rows) -> None:
    positive = int(rows.y.sum())
    if min(positive, len(rows.y) - positive) < _FEWEST:
        raise Malformed(
            f"has {positive} positive rows of {len(rows.y)}",
            place="label",
            remedy=f"give at least {_FEWEST} rows of each class, before train_until less the label's days",
        )


def _fit(spec: TrainingSpec, rows: Rows, positions: list[int]) -> Any:
    """Return the margin column of a model that sees nothing but `positions`."""
    learner = spec.learner
    model = HistGradientBoostingClassifier(
        max_iter=learner.trees,
        max_leaf_nodes=learner.leaves,
        learning_rate=learner.learning_rate,
        l2_regularization=learner.l2,
        min_samples_leaf=learner.min_rows_leaf,
        early_stopping=False,
        categorical_features=None,
        random_state=learner.seed,
    )
    with threadpool_limits(1):  # OpenMP threads that wait for a busy core cost ten times what they save here
        model.fit(rows.x[:, positions], rows.y)
    return trees.from_hist_gradient_boosting(model, positions, rows.x.shape[1])


def _cuts(margins: Floats, decision: DecisionSpec) -> tuple[float, ...]:
    """Return the rising float32 cuts that give each tranche its share of `margins` [N]."""
    wanted = np.cumsum(decision.shares)[:-1]
    cuts = np.quantile(margins.astype(np.float64), wanted, method="higher").astype(np.float32)
    for i in range(1, len(cuts)):
        if cuts[i] <= cuts[i - 1]:
            cuts[i] = np.nextafter(cuts[i - 1], np.float32(np.inf))
    return tuple(float(cut) for cut in cuts)


def _spoken(pattern: tuple[str, ...]) -> str:
    return " + ".join(pattern) or "no purpose"
