"""From a specification on disk to its smallest bundle on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from entrenous_consent.errors import Missing
from entrenous_consent.policy import PrivacyPolicy, parse_policy
from entrenous_exporters.compact import Compacted, Progress, compact, narrowed
from entrenous_exporters.logs import LogReport
from entrenous_exporters.rows import Rows, allowed_rows
from entrenous_exporters.spec import TrainingSpec, read_spec
from entrenous_exporters.splits import learnt
from entrenous_exporters.suspicion import suspect
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import Trained, check_permitted, train
from entrenous_exporters.workshop import rows_of, write_trained

__all__ = ["compact_files", "compacted"]


def compact_files(
    spec_path: Path,
    policy_path: Path,
    out: Path,
    *,
    loss: float,
    created: int | None,
    progress: Callable[[str], Any],
    tell: Callable[[LogReport], Any] = lambda _: None,
) -> tuple[Trained, Compacted]:
    """Search for the smallest bundle of the specification at `spec_path`; write it to `out` and its card beside it.

    Args:
        loss: of AUC, what any consent pattern may lose. created: Unix seconds; now where it is None.
        progress: told each step. tell: told what came of the event log's rows, if anything did.

    Raises:
        Missing, Malformed, Forbidden: with the place; nothing is written then.
    """
    spec = read_spec(spec_path)
    if not policy_path.is_file():
        raise Missing("is not there", place=str(policy_path), remedy="check --policy")
    if not out.parent.is_dir():  # said now rather than after the search
        raise Missing("is not a directory", place=str(out.parent), remedy="make it, or check --out")
    policy = parse_policy(policy_path.read_bytes(), place=policy_path.name)
    backend: Any = open_backend(threads=2)
    progress("computing features at each moment")
    rows = rows_of(backend, spec, spec_path, lambda report: tell(report) if report.lines() else None)
    when = created if created is not None else int(time.time())
    trained, found = compacted(spec, policy, rows, loss=loss, created=when, progress=progress)
    write_trained(out, trained)
    return trained, found


def compacted(
    spec: TrainingSpec, policy: PrivacyPolicy, rows: Rows, *, loss: float, created: int, progress: Progress
) -> tuple[Trained, Compacted]:
    """Return the smallest bundle, built and judged as `train` does, and what the search found.

    Split by time, the search sees only what the model learns from: who judges the card has no part in it. Grouped,
    every visitor is learnt from and judges in turn, and the search holds its own parts against each other. A few trees
    say too little to be believed as they are, so each margin is calibrated: a sigmoid in its leaves, which moves no
    rank and takes no byte.

    Args:
        rows: as `entrenous_exporters.train.train` takes them. loss, created, progress: as in `compact_files`.

    Raises:
        Malformed, Forbidden: as `train` and `compact`.
    """
    check_permitted(spec, policy)
    usable = allowed_rows(rows.where(rows.known), spec)
    taught, _ = learnt(usable, spec)
    learn = usable.where(taught)
    suspect(learn, spec)
    found = compact(spec, policy, learn, loss=loss, progress=progress)
    found = replace(found, spec=_calibrated(found.spec))
    small = narrowed(rows, spec, found.spec)
    return train(found.spec, policy, small, created=created, progress=progress), found


def _calibrated(shape: TrainingSpec) -> TrainingSpec:
    patterns = shape.decision.patterns
    return replace(shape, learners={one: replace(shape.learner_of(one), calibration="sigmoid") for one in patterns})
