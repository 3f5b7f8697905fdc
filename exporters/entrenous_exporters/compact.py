"""The smallest bundle within a stated loss: fewer trees, fewer leaves, coarser steps, and attributes left out.

Two cross-validations, one within the other. The inner one tries every shape on some of the visitors and takes the
smallest; the outer one holds what it took against the specification's own learner on visitors that had no part in it.
So the loss that is stated is what taking the smallest costs, luck included. What ships is found on all visitors in the
same way, learns from all of them, and is judged like every bundle. A loss is one of AUC, in each pattern by itself.

Boosted trees come in order, so one long model gives every shorter one: each pattern takes as many trees as it needs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_exporters import trees
from entrenous_exporters.build import build
from entrenous_exporters.built import positions_of, score, spoken
from entrenous_exporters.calibrate import visitor_parts
from entrenous_exporters.learners import fit_trees
from entrenous_exporters.rows import Rows, allowed_rows
from entrenous_exporters.spec import Learner, TrainingSpec
from entrenous_exporters.train import make_bundle

__all__ = ["Compacted", "Tried", "compact", "narrowed", "zipped"]

_OUTER = 5
"""Parts of the visitors that judge in turn what the others chose."""
_FOLDS = 5
_LEAVES = (6, 8, 12, 16)
_RATES = (0.2, 0.3)
_ROWS = (1, 2)
"""Times the specification's own fewest rows of a leaf: a small model gains by being held back."""
_BINS = 64
_AHEAD = 4
_STEPS = tuple(2.0**-i for i in range(2, 9))
_ROUNDING = 0.1
"""Which part of the loss a coarser step may add."""
_MOST_DROPPED = 6
_SLACKS = (1.0, 0.5, 0.0, -0.5)
"""Which part of the loss a pattern's shape may use up while it is chosen. The smallest of many that pass is one that
was lucky; where the judges find it worse than allowed, the pattern's next one has to be better, and then to gain."""
_GATE_ROWS = 500

Pattern = tuple[str, ...]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What taking the smallest shapes costs, on visitors that they were not chosen by.

    Attributes:
        slacks: by pattern, which part of the loss they could use up while they were chosen.
        size: bytes of their bundles after zlib at level 9, on average. losses: of AUC, by pattern; below 0 for a gain.
    """

    slacks: Mapping[Pattern, float]
    size: int
    losses: Mapping[Pattern, float]

    def within(self, loss: float) -> bool:
        """Say whether no pattern lost more than `loss`."""
        return max(self.losses.values()) <= loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What a search found.

    Attributes:
        spec: the specification in its smallest shape. reference: bytes of the bundle that it stands for, zipped alike.
        tried: what was judged, the last one within the loss. left_out: features that the shape does without.
    """

    spec: TrainingSpec
    reference: int
    tried: tuple[Tried, ...]
    left_out: tuple[str, ...]


def zipped(bundle: bytes) -> int:
    """Return how many bytes a bundle has as it travels."""
    return len(zlib.compress(bundle, 9))


def compact(
    spec: TrainingSpec, policy: PrivacyPolicy, rows: Rows, *, loss: float, progress: Progress = lambda _: None
) -> Compacted:
    """Return the smallest shape of `spec` that loses at most `loss` of AUC in every pattern.

    Args:
        rows: as `entrenous_exporters.train.train` takes them. loss: above 0. progress: told each step.

    Raises:
        Malformed: a learner that can't be cut short, a loss that is none, or no shape within it: with the figures.
    """
    if spec.learner.kind != "hist_gradient_boosting" or spec.decision.kind not in ("promotion", "propensity"):
        remedy = "use hist_gradient_boosting, for a likelihood"
        raise Malformed("can't be cut short", place=f"learner.kind: {spec.learner.kind}", remedy=remedy)
    if not 0 < loss < 0.5:
        raise Malformed("is no loss of AUC between 0 and 0.5", place="loss", remedy="allow 0.002")
    allowed = allowed_rows(rows.where(rows.known), spec)
    outer = visitor_parts(allowed.visitors, _OUTER, spec.learner.seed + 1)
    progress(f"training the specification's own shape on {len(allowed.x):,} rows")
    folds = [_Outer(spec, policy, allowed, outer == i, _ROUNDING * loss) for i in range(_OUTER)]
    reference = round(float(np.mean([fold.own_size for fold in folds])))
    tried: list[Tried] = []
    at = dict.fromkeys(spec.decision.patterns, 0)
    while max(at.values()) < len(_SLACKS):
        slacks = {one: _SLACKS[i] for one, i in at.items()}
        allowance = {one: slack * loss for one, slack in slacks.items()}
        found = [fold.judged(allowance, partial(_told, progress, i + 1)) for i, fold in enumerate(folds)]
        losses = {one: float(np.mean([lost[one] for _, lost in found])) for one in spec.decision.patterns}
        tried.append(Tried(slacks=slacks, size=round(float(np.mean([size for size, _ in found]))), losses=losses))
        if tried[-1].within(loss) and tried[-1].size < reference:
            shape = _Search(spec, allowed, _ROUNDING * loss).smallest(allowance, progress)
            left_out = tuple(one.name for one in spec.features if one not in shape.features)
            return Compacted(spec=shape, reference=reference, tried=tuple(tried), left_out=left_out)
        at = {one: i + (losses[one] > loss or tried[-1].within(loss)) for one, i in at.items()}
    said = "; ".join(f"{spoken(pattern)} loses {lost:.4f}" for pattern, lost in tried[-1].losses.items())
    raise Malformed(
        f"finds nothing smaller than {reference:,} bytes within {loss:g}: {said}",
        place="compact",
        remedy="allow a greater loss, or give more rows",
    )


def _told(progress: Progress, part: int, text: str) -> None:
    progress(f"part {part} of {_OUTER}: {text}")


def narrowed(rows: Rows, spec: TrainingSpec, shape: TrainingSpec) -> Rows:
    """Return the rows with the columns that a shape of `spec` keeps."""
    names = [feature.name for feature in spec.features]
    return replace(rows, x=np.ascontiguousarray(rows.x[:, [names.index(feature.name) for feature in shape.features]]))


class _Outer:
    """One part of the visitors, and what the others choose and learn."""

    def __init__(
        self, spec: TrainingSpec, policy: PrivacyPolicy, rows: Rows, held: NDArray[np.bool_], rounding: float
    ) -> None:
        self.spec, self.policy = spec, policy
        self.learn, self.held = rows.where(~held), rows.where(held)
        self.search = _Search(spec, self.learn, rounding)
        self.own_size, self.own = self._scored(spec)

    def judged(self, allowance: Mapping[Pattern, float], progress: Progress) -> tuple[int, dict[Pattern, float]]:
        """Return the size of the smallest shape that the others find, and what it loses here."""
        size, aucs = self._scored(self.search.smallest(allowance, progress))
        return size, {one: self.own[one] - aucs[one] for one in self.spec.decision.patterns}

    def _scored(self, shape: TrainingSpec) -> tuple[int, dict[Pattern, float]]:
        """Return the size of a shape's bundle, and the AUC of what it says here."""
        learn, held = narrowed(self.learn, self.spec, shape), narrowed(self.held, self.spec, shape)
        built = build(shape, learn, held.x, rows=_GATE_ROWS, progress=lambda _: None)
        margins = score(built.model, held.x, singly=False).astype(np.float64)
        aucs = {one: _auc(held.y, margins[:, i]) for i, one in enumerate(shape.decision.patterns)}
        return zipped(make_bundle(shape, self.policy, built, card=b"", created=0)), aucs


class _Search:
    """Tries shapes by cross-validation, and remembers what was fitted."""

    def __init__(self, spec: TrainingSpec, rows: Rows, rounding: float) -> None:
        self.spec, self.rows, self.rounding = spec, rows, rounding
        self.fold = visitor_parts(rows.visitors, _FOLDS, spec.learner.seed + 2)
        self._curves: dict[tuple[Learner, tuple[int, ...]], NDArray[np.float64]] = {}

    def smallest(self, allowance: Mapping[Pattern, float], progress: Progress) -> TrainingSpec:
        """Return the smallest shape found; `allowance` is what each pattern may lose."""
        spec = self.spec
        kept = list(range(len(spec.features)))
        learners = {pattern: self._least(pattern, allowance[pattern]) for pattern in spec.decision.patterns}
        used = self._used(learners)
        needed = _needed(spec)
        for i in sorted(kept, key=lambda one: used[one])[:_MOST_DROPPED]:
            fewer = [one for one in kept if one != i]
            if spec.features[i].name in needed or not self._readable(fewer):
                continue
            progress(f"trying without {spec.features[i].name}")
            if all(self._stands(one, learners[one], fewer) >= -allowance[one] for one in spec.decision.patterns):
                kept = fewer
        features = tuple(spec.features[i] for i in kept)
        shape = replace(spec, features=features, learners=learners)
        return replace(shape, step=self._coarsest(shape, kept))

    def _readable(self, kept: list[int]) -> bool:
        purposes = {self.spec.features[i].purpose for i in kept}
        return all(purposes & set(pattern) for pattern in self.spec.decision.patterns)

    def _positions(self, pattern: Pattern, kept: list[int]) -> tuple[int, ...]:
        return tuple(i for i in positions_of(self.spec, pattern) if i in kept)

    def _least(self, pattern: Pattern, allowance: float) -> Learner:
        """Return the smallest learner that loses no more than `allowance`, the best one where none does."""
        at = positions_of(self.spec, pattern)
        best: tuple[int, Learner] | None = None
        highest: tuple[float, Learner] | None = None
        for learner in self._shapes():
            gains = self._gains(pattern, learner, at)
            if highest is None or gains.max() > highest[0]:
                highest = float(gains.max()), replace(learner, trees=int(gains.argmax()) + 1)
            enough = np.flatnonzero(gains >= -allowance)
            if enough.size:
                cut = replace(learner, trees=int(enough[0]) + 1)
                if best is None or _nodes(cut) < best[0]:
                    best = _nodes(cut), cut
        return best[1] if best else highest[1] if highest else self.spec.learner

    def _stands(self, pattern: Pattern, learner: Learner, kept: list[int]) -> float:
        """Return what a shape surely gains over the specification's own, with these features alone."""
        long = replace(learner, trees=self._longest)
        return float(self._gains(pattern, long, self._positions(pattern, kept))[learner.trees - 1])

    @property
    def _longest(self) -> int:
        return max(self.spec.learner.trees // 2, 1)

    def _shapes(self) -> Iterator[Learner]:
        own = self.spec.learner
        for leaves, rate, times in product(_LEAVES, _RATES, _ROWS):
            rows = own.min_rows_leaf * times
            yield replace(own, leaves=leaves, learning_rate=rate, min_rows_leaf=rows, bins=_BINS, trees=self._longest)

    def _gains(self, pattern: Pattern, learner: Learner, positions: Sequence[int]) -> NDArray[np.float64]:
        """Return what a learner cut short after each of its trees surely gains over the specification's own: the mean
        over the folds, less its standard error, so that one fold's luck chooses nothing."""
        own = self._aucs(self.spec.learner, positions_of(self.spec, pattern))[:, -1:]
        gained = self._aucs(learner, positions) - own
        sure = gained.mean(axis=0) - gained.std(axis=0, ddof=1) / np.sqrt(_FOLDS)
        return _settled(np.asarray(sure, np.float64))

    def _aucs(self, learner: Learner, positions: Sequence[int]) -> NDArray[np.float64]:
        """Return the AUC [folds, trees] of a learner cut short after each of its trees."""
        at = list(positions)
        key = learner, tuple(at)
        if key not in self._curves:
            curves = []
            for fold in range(_FOLDS):
                learn, held = self.fold != fold, self.fold == fold
                model = fit_trees(learner, self.rows.x[learn][:, at], self.rows.y[learn])
                y = self.rows.y[held]
                staged = model.staged_decision_function(self.rows.x[held][:, at])
                curves.append([_auc(y, margins.ravel()) for margins in staged])
            self._curves[key] = np.array(curves)
        return self._curves[key]

    def _used(self, learners: Mapping[Pattern, Learner]) -> list[int]:
        """Return how many splits read each feature."""
        used = [0] * len(self.spec.features)
        for pattern, learner in learners.items():
            at = positions_of(self.spec, pattern)
            column = trees.extract(fit_trees(learner, self.rows.x[:, at], self.rows.y), at, len(used))
            for tree in column.trees:
                for position in tree.feature[~tree.is_leaf]:
                    used[int(position)] += 1
        return used

    def _coarsest(self, shape: TrainingSpec, kept: list[int]) -> float | None:
        """Return the coarsest step of the leaves that adds next to no loss, None for the usual one."""
        columns: dict[tuple[Pattern, int], trees.Column] = {}
        for pattern, fold in product(shape.decision.patterns, range(_FOLDS)):
            at, learn = list(self._positions(pattern, kept)), self.fold != fold
            model = fit_trees(shape.learner_of(pattern), self.rows.x[learn][:, at], self.rows.y[learn])
            columns[pattern, fold] = trees.extract(model, at, len(self.spec.features))
        whole = {pattern: self._stepped(columns, pattern, None) for pattern in shape.decision.patterns}
        for step in _STEPS:
            if all(whole[one] - self._stepped(columns, one, step) <= self.rounding for one in shape.decision.patterns):
                return step
        return None

    def _stepped(
        self, columns: Mapping[tuple[Pattern, int], trees.Column], pattern: Pattern, step: float | None
    ) -> float:
        """Return the mean AUC of the folds' trees with their leaves on this step."""
        found = []
        for fold in range(_FOLDS):
            held = self.fold == fold
            ensemble = trees.on_grid(trees.assemble([columns[pattern, fold]], len(self.spec.features)), step)
            found.append(_auc(self.rows.y[held], trees.walk(ensemble, self.rows.x[held])[:, 0].astype(np.float64)))
        return float(np.mean(found))


def _nodes(learner: Learner) -> int:
    """Return how many nodes its trees have at most."""
    return learner.trees * (2 * learner.leaves - 1)


def _settled(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curve without its luck: at each number of trees the mean over it and the next few."""
    padded = np.append(curve, np.full(_AHEAD, curve[-1]))
    return np.array([padded[i : i + _AHEAD + 1].mean() for i in range(len(curve))])


def _auc(y: NDArray[np.bool_], margins: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve from mean ranks (Mann and Whitney 1947); many times a second."""
    many, few = int(y.sum()), int((~y).sum())
    return float((rankdata(margins)[y].sum() - many * (many + 1) / 2) / (many * few))


def _needed(spec: TrainingSpec) -> frozenset[str]:
    """Return the features that rules, segments or triggers read: they stay, whatever the model does without."""
    written = [one for one in (spec.decision.targeting, spec.decision.exclude) if one is not None]
    if not (written or spec.segments or spec.triggers):
        return frozenset()
    return frozenset(feature.name for feature in spec.features)
