"""Linear models, for tests: rows of a made-up shop, and graphs made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import numpy as np

from entrenous.bundle import Bundle, encode_bundle, read_bundle
from entrenous_exporters.dense import Linear, fit_linear, to_dense_onnx

CATEGORIES = (0, 0, 0, 4, 3)
"""Three numbers, then two categories."""
ALL, FEW = (0, 1, 2, 3, 4), (1, 4)
TOLERANCE = 2.0**-16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    x: np.ndarray
    y: np.ndarray
    visitors: np.ndarray


@cache
def rows(n: int = 2_000, seed: int = 3) -> Rows:
    """Return rows of n / 2 visitors: skewed amounts, a count far from 0, a flag, two codes; some unknown."""
    draw = np.random.default_rng(seed)
    x = np.empty((n, 5), np.float32)
    x[:, 0] = np.round(draw.lognormal(6, 2, n))
    x[:, 1] = 100 + draw.poisson(40, n)
    x[:, 2] = draw.random(n) < 0.2
    x[:, 3] = draw.integers(0, 4, n)
    x[:, 4] = draw.integers(0, 3, n)
    score = 0.4 * np.log(x[:, 0]) + 0.05 * (x[:, 1] - 140) + x[:, 2] - 0.5 * x[:, 3] + (x[:, 4] == 1)
    y = score + draw.logistic(size=n) > 2
    x[draw.random((n, 5)) < 0.05] = np.nan
    return Rows(x=x, y=y, visitors=np.arange(n) // 2)


def fit(
    positions: Sequence[int], given: Rows | None = None, categories: Sequence[int] = CATEGORIES, l2: float = 1.0
) -> Linear:
    """Return a model of some of the columns."""
    given = given or rows()
    chosen = [categories[i] for i in positions]
    return fit_linear(given.x[:, list(positions)], given.y, given.visitors, chosen, l2=l2, k=5, seed=0)


@cache
def columns() -> tuple[tuple[Linear, tuple[int, ...]], ...]:
    """Return two models: of all columns, and of two."""
    return ((fit(ALL), ALL), (fit(FEW), FEW))


@cache
def model() -> bytes:
    """Return the two models as one graph."""
    return to_dense_onnx(columns(), len(CATEGORIES))


def packaged() -> Bundle:
    """Return the demonstration's bundle."""
    return read_bundle(files("entrenous.demo").joinpath("bundle.msgpack").read_bytes())


@cache
def packaged_linears() -> tuple[tuple[Linear, tuple[int, ...]], ...]:
    """Return linear models for the features and patterns of the demonstration's bundle, of made-up rows."""
    manifest = packaged().manifest
    draw = np.random.default_rng(9)
    x = np.round(draw.lognormal(1, 1, (2_000, len(manifest.features)))).astype(np.float32)
    y = np.log1p(x).sum(axis=1) + draw.logistic(size=2_000) > np.log1p(x).sum(axis=1).mean()
    (rule,) = manifest.decisions.values()
    made = []
    for pattern in rule.patterns:
        at = tuple(i for i, feature in enumerate(manifest.features) if feature.purpose in pattern.purposes)
        made.append((fit_linear(x[:, at], y, np.arange(2_000), [0] * len(at), l2=1.0, k=5, seed=0), at))
    return tuple(made)


def bundle_of(data: bytes, *, tolerance: float = TOLERANCE, version: int = 1) -> bytes:
    """Return the demonstration's bundle around another model."""
    shipped = packaged()
    ((name, rule),) = shipped.manifest.decisions.items()
    decisions = {name: replace(rule, tolerance=tolerance)}
    return encode_bundle(replace(shipped.manifest, decisions=decisions, version=version, proofs={}), {rule.model: data})
