"""From labelled visits to centroids, and from centroids to linear margins.

Each column is imputed, clipped and scaled as for a linear model (`entrenous_exporters.dense`), then weighed by how much
it says of the label on its own, so that visits are alike in what matters. K-means (Lloyd 1982) finds the centroids. The
nearest one is the greatest of linear margins, since ‖z‖² is the same for all of them::

    z = w ∘ scaled(x)        ‖z − c‖² = ‖z‖² − 2 (z·c − ‖c‖²/2)        margin(c) = scaled(x)·(w ∘ c) − ‖c‖²/2

The first situation, `elsewhere`, has its centroid where everybody's mean is: margin 0. A visit like no other falls to
it, and so do the members of a situation that fewer than *k* distinct visitors make up. Of another consent pattern the
same members count, on the columns that it reads: a situation has one meaning, however much is granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from entrenous_consent.errors import Malformed
from entrenous_exporters.dense import Linear, prepared
from entrenous_exporters.trees import coarsen

__all__ = ["Found", "find_situations"]

_SAMPLE = 100_000
_STARTS = 4
_LEAST_WEIGHT = 0.05
"""What a column that says nothing of the label still counts for."""

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Which visits make up each situation, and from what they were told apart.

    Attributes:
        x, visitors, y, categories: what was learnt from. member: int64 [N], each row's situation, 0 for `elsewhere`.
        count: how many there are beside it. k: the fewest distinct visitors behind each.
    """

    x: Floats
    y: NDArray[np.bool_]
    visitors: NDArray[np.int64]
    categories: tuple[int, ...]
    member: NDArray[np.int64]
    count: int
    k: int

    def linear(self, positions: Sequence[int]) -> Linear:
        """Return the model that recognises the situations from some columns: a margin for each, `elsewhere` first.

        Raises:
            Malformed: no column that `k` visitors set apart.
        """
        at = list(positions)
        prepare, scaled, weights = _weighed(self.x[:, at], self, at)
        weighed = scaled * weights
        centroids = np.zeros((self.count + 1, scaled.shape[1]))
        for situation in range(1, self.count + 1):
            mean = _mean_of_visitors(weighed[self.member == situation], self.visitors[self.member == situation])
            centroids[situation] = coarsen(mean - self._centre(weighed))
        model = LogisticRegression()
        model.classes_, model.n_features_in_ = np.arange(self.count + 1), scaled.shape[1]
        model.n_iter_ = np.zeros(1, int)
        moved = centroids * weights
        model.coef_ = moved
        model.intercept_ = -(centroids**2).sum(axis=1) / 2 - centroids @ self._centre(weighed)
        return Linear(pipeline=Pipeline([("prepare", prepare), ("model", model)]), width=len(at))

    def _centre(self, weighed: Wide) -> Wide:
        return np.asarray(coarsen(_mean_of_visitors(weighed, self.visitors)), np.float64)


def find_situations(
    x: Floats,
    y: NDArray[np.bool_],
    visitors: NDArray[np.int64],
    categories: Sequence[int],
    *,
    positions: Sequence[int],
    count: int,
    k: int,
    seed: int,
) -> Found:
    """Return the situations that these visits fall into.

    Args:
        x: float32 [N, F], finite or NaN. y: bool [N], what is aimed at. visitors: int64 [N], whose row each is.
        categories: for each column the number of codes, 0 for a number. positions: the columns that tell them apart.
        count: how many to look for. k: the fewest distinct visitors behind one. seed: of the sample and the starts.

    Raises:
        Malformed: no column, or none of the situations has `k` visitors.
    """
    at = list(positions)
    whole = Found(
        x=x,
        y=y,
        visitors=visitors,
        categories=tuple(categories),
        member=np.zeros(len(x), np.int64),
        count=0,
        k=k,
    )
    _, scaled, weights = _weighed(x[:, at], whole, at)
    weighed = scaled * weights
    chance = np.random.default_rng(seed)
    drawn = np.arange(len(x)) if len(x) <= _SAMPLE else chance.choice(len(x), _SAMPLE, replace=False)
    sample = weighed[drawn]
    centre = _mean_of_visitors(weighed, visitors)
    with threadpool_limits(1):
        found = KMeans(n_clusters=min(count, len(np.unique(sample, axis=0))), n_init=_STARTS, random_state=seed).fit(
            sample, sample_weight=_once_each(visitors[drawn])
        )
        starts = np.concatenate([centre[None, :], found.cluster_centers_])
        nearest = _nearest(weighed, starts)
    member = np.zeros(len(x), np.int64)
    kept = 0
    for cluster in _by_size(nearest, len(starts)):
        mine = nearest == cluster
        if np.unique(visitors[mine]).size >= k:
            kept += 1
            member[mine] = kept
    if not kept:
        raise Malformed(f"has none that {k} visitors make up", place="situations", remedy="look for fewer of them")
    return Found(x=x, y=y, visitors=visitors, categories=tuple(categories), member=member, count=kept, k=k)


def _by_size(nearest: NDArray[np.int64], count: int) -> list[int]:
    """Return the clusters but the first, the largest first."""
    sizes = np.bincount(nearest, minlength=count)
    return sorted(range(1, count), key=lambda one: (-int(sizes[one]), one))


def _nearest(weighed: Wide, centroids: Wide) -> NDArray[np.int64]:
    return np.asarray((weighed @ centroids.T - (centroids**2).sum(axis=1) / 2).argmax(axis=1), np.int64)


def _weighed(x: Floats, found: Found, positions: list[int]) -> tuple[Any, Wide, Wide]:
    """Return the first step for some columns, what it makes of them, and the weight of each column that it makes."""
    prepare = prepared(x, found.visitors, [found.categories[i] for i in positions], found.k)
    scaled = np.asarray(prepare.transform(x.astype(np.float64)), np.float64)
    each = _once_each(found.visitors)
    telling = [2 * abs(float(roc_auc_score(found.y, column, sample_weight=each)) - 0.5) for column in scaled.T]
    return prepare, scaled, np.asarray(coarsen(np.maximum(telling, _LEAST_WEIGHT)), np.float64)


def _mean_of_visitors(values: Wide, visitors: NDArray[np.int64]) -> Wide:
    """Return the mean over visitors of their own means."""
    return np.asarray(np.average(values, axis=0, weights=_once_each(visitors)), np.float64)


def _once_each(visitors: NDArray[np.int64]) -> Wide:
    """Return a weight for each row, all rows of a visitor together 1: nobody counts for more by coming often."""
    _, row, rows = np.unique(visitors, return_inverse=True, return_counts=True)
    return np.asarray(1 / rows[row], np.float64)
