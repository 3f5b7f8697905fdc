"""The card's facts: plain values, rounded for reading, the same bytes for the same training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from math import isfinite
from typing import Any

import numpy as np

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_exporters.built import Built
from entrenous_exporters.judge import Judged
from entrenous_exporters.quality import Quality
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import TrainingSpec

__all__ = ["Counts", "encode_card", "facts_of", "read_card", "scored_facts"]

FORMAT = 1
_LIMIT = 1 << 20
_DIGITS = 6
_LIBRARIES = ("duckdb", "ibis-framework", "numpy", "onnx", "onnxruntime", "scikit-learn")
_OF_LEARNER = {
    "lightgbm": ("lightgbm",),
    "centroids": ("skl2onnx",),
    "logistic": ("skl2onnx",),
    "xgboost": ("xgboost-cpu",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows as given, and those that never entered: whose visitor did not grant `improve`, or whose label is not known
    yet."""

    given: int
    without_improve: int
    unlabelled: int


def scored_facts(spec: TrainingSpec, built: Built, judged: Judged) -> dict[str, Any]:
    """Return the card's facts of a score: quality, tranches, what k costs, groups."""
    patterns = spec.decision.patterns
    quality = [judged.quality(spec, i) for i in range(len(patterns))]
    fullest = max(range(len(patterns)), key=lambda i: (len(patterns[i]), quality[i].auc))
    costs = [judged.cost_of_k(i) for i in range(len(patterns))]
    return {
        "patterns": [
            {
                "purposes": list(pattern),
                "withheld": [one.name for one in spec.features if one.purpose not in pattern],
                "quality": _table(quality[i]),
                "price": _number(quality[fullest].auc - quality[i].auc),
                "sigmoid": [_number(one) for one in built.sigmoids[i]],
                **({"isotonic": line.as_table()} if (line := (built.lines or (None,) * len(patterns))[i]) else {}),
            }
            for i, pattern in enumerate(patterns)
        ],
        "tranches": {"names": list(spec.decision.tranches), "target": [round(one, 4) for one in spec.decision.shares]},
        "k": {
            "k": spec.learner.k,
            "least_support": built.least_support,
            "auc": [{"k": k, "patterns": [_number(cost[k]) for cost in costs]} for k in sorted(judged.at_k)],
        },
        "groups": [
            {
                "name": name,
                "value": value,
                "patterns": [_table(one) | {"treated": _treated(spec, one)} if one else None for one in found],
            }
            for name, value, found in _groups(spec, judged)
        ],
    }


def facts_of(
    spec: TrainingSpec,
    policy: PrivacyPolicy,
    built: Built,
    rows: tuple[Rows, Rows],
    counts: Counts,
    alone: Mapping[str, float],
    judged: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the card's facts.

    Args:
        built: what ships. rows: those it learnt from, and those of other visitors that judged it.
        counts: rows that never entered. alone: each feature's own AUC. judged: what was found, by the kind of decision.
    """
    source, (learn, held) = spec.source, rows
    return {
        "format": FORMAT,
        "name": spec.name,
        "version": spec.version,
        "lifetime_days": spec.lifetime_days,
        "policy": {"tenant": policy.tenant, "version": policy.version},
        "decision": {"name": spec.decision.name, "purpose": spec.decision.purpose, "kind": spec.decision.kind},
        "label": {"event": spec.label.event, "within_days": spec.label.within_days, "column": spec.label.column}
        | {key: value for key in ("absent", "field", "at_least") if (value := getattr(spec.label, key))},
        "data": {
            "rows": asdict(counts) | {"learnt": len(learn.x), "judged": len(held.x)},
            "visitors": {"learnt": _distinct(learn), "judged": _distinct(held)},
            "a_row_is_a_visitor": bool(source.table and not source.visitor),
            "public_research_data": source.public_research_data,
            "positive": _share(learn),
            "from": _day(learn.times.min()) if learn.times.any() else None,
            "until": _day(learn.times.max()) if learn.times.any() else None,
        },
        "features": [
            {
                "name": feature.name,
                "purpose": feature.purpose,
                "missing": round(float(np.isnan(learn.x[:, i]).mean()), 4),
                "alone": round(alone[feature.name], 4),
            }
            for i, feature in enumerate(spec.features)
        ],
        "patterns": [
            {"purposes": list(one), "withheld": [each.name for each in spec.features if each.purpose not in one]}
            for one in spec.decision.patterns
        ],
        "k": {"k": spec.learner.k, "least_support": built.least_support, "auc": []},
        "groups": [],
        "parity": {key: _plain(value) for key, value in built.parity.items()},
        "tolerance": built.tolerance,
        "model_bytes": len(built.model),
        "left_out": {"columns": list(held.unread)},
        "learner": {key: value for key, value in asdict(spec.learner).items() if value or key in ("k", "seed")},
        "split": {key: _dated(key, value) for key, value in asdict(spec.split).items() if value},
        "libraries": {name: version(name) for name in sorted((*_LIBRARIES, *_OF_LEARNER.get(spec.learner.kind, ())))},
        **({"shape": _shape(spec)} if spec.learners or spec.step else {}),
    } | {key: _plain(value) for key, value in judged.items()}


def _shape(spec: TrainingSpec) -> dict[str, Any]:
    """Return what a search found: what learns each pattern in the learner's place, and the step of the leaves."""
    told = ("trees", "leaves", "learning_rate", "min_rows_leaf", "bins", "calibration")
    return {
        "step": spec.step,
        "patterns": [{key: getattr(spec.learner_of(one), key) for key in told} for one in spec.decision.patterns],
    }


def encode_card(facts: Mapping[str, Any]) -> bytes:
    """Return the card's bytes: JSON with sorted keys, whose SHA-256 the manifest holds."""
    return json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def read_card(data: bytes) -> dict[str, Any]:
    """Return the facts of a card's bytes.

    Raises:
        Malformed: not a card of this format.
    """
    try:
        facts = json.loads(data) if len(data) <= _LIMIT else None
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise Malformed("is not a model card of this version", place="card", remedy="take the one written by train")
    return facts


def _groups(spec: TrainingSpec, judged: Judged) -> list[tuple[str, str, list[Quality | None]]]:
    by_pattern = [judged.groups(spec, i) for i in range(len(spec.decision.patterns))]
    return [
        (name, value, [one[name][value] for one in by_pattern])
        for name, values in by_pattern[0].items()
        for value in values
    ]


def _treated(spec: TrainingSpec, quality: Quality) -> float | None:
    """Return the share that is shown another arm than the default, holdout and caps aside."""
    decision = spec.decision
    treated = 0.0
    for tranche, share in zip(decision.tranches, quality.shares, strict=True):
        dealt = decision.choice[tranche]
        default = dealt.get(decision.default_arm, 0)
        treated += share * (1 - default / sum(dealt.values()))
    return _number(treated)


def _table(quality: Quality) -> dict[str, Any]:
    return {key: _plain(value) for key, value in asdict(quality).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    """Return a number as JSON has it: rounded, and nothing where there is none."""
    return round(float(value), _DIGITS) if isfinite(value) else None


def _distinct(rows: Rows) -> int:
    return int(np.unique(rows.visitors).size)


def _share(rows: Rows) -> float:
    return round(float(rows.y.mean()), 4)


def _day(time: int) -> str:
    return datetime.fromtimestamp(int(time), UTC).date().isoformat()


def _dated(key: str, value: Any) -> Any:
    return _day(value) if key in ("start", "until") else value
