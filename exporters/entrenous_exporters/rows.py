"""From tables to labelled rows: features and label at each moment, and who the row is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from entrenous.features import DERIVED
from entrenous_consent.errors import Malformed, Missing
from entrenous_exporters.readers import read_consent, read_table
from entrenous_exporters.spec import Label, TrainingSpec
from entrenous_exporters.tables import FeatureTable, feature_table, labels, value_labels

__all__ = ["FEWEST_IN_GROUP", "Rows", "allowed_rows", "is_file", "joined", "labelled_rows", "table_rows"]


FEWEST_IN_GROUP = 20
"""From how many distinct visitors on something is told of a declared group."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """A labelled feature table.

    Attributes:
        x: float32 [N, F], in the order of the spec's features. y: bool [N], the label.
        visitors: int64 [N], whose row it is, numbered from 0. times: int64 [N], Unix seconds; 0 where there are none.
        improve: bool [N], whether the visitor granted that models learn from the row.
        known: bool [N], whether the log reaches past the label's days, so that `y` can be relied on.
        groups: by name, text [N]: which group the row is in, for the card alone.
        unread: columns of the file that nothing asked for.
        arm: int64 [N], which arm of the test each row was dealt, 0 the control; outcome: float64 [N], what came of it;
            None where there is no test, or the label is the outcome.
    """

    x: NDArray[np.float32]
    y: NDArray[np.bool_]
    visitors: NDArray[np.int64]
    times: NDArray[np.int64]
    improve: NDArray[np.bool_]
    known: NDArray[np.bool_]
    groups: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    arm: NDArray[np.int64] | None = None
    outcome: NDArray[np.float64] | None = None

    def where(self, keep: NDArray[np.bool_]) -> Rows:
        """Return the rows that `keep` [N] marks."""
        return Rows(
            x=self.x[keep],
            y=self.y[keep],
            visitors=self.visitors[keep],
            times=self.times[keep],
            improve=self.improve[keep],
            known=self.known[keep],
            groups={name: group[keep] for name, group in self.groups.items()},
            unread=self.unread,
            arm=None if self.arm is None else self.arm[keep],
            outcome=None if self.outcome is None else self.outcome[keep],
        )


def allowed_rows(rows: Rows, spec: TrainingSpec) -> Rows:
    """Return the rows that may be looked at: of visitors who granted `improve`, and all of public research data."""
    return rows if spec.source.public_research_data else rows.where(rows.improve)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several as one, in their order; they have the same columns."""

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(one, name) for one in parts])

    first = parts[0]
    return Rows(
        x=column("x"),
        y=column("y"),
        visitors=column("visitors"),
        times=column("times"),
        improve=column("improve"),
        known=column("known"),
        groups={name: np.concatenate([one.groups[name] for one in parts]) for name in first.groups},
        unread=first.unread,
        arm=None if first.arm is None else column("arm"),
        outcome=None if first.outcome is None else column("outcome"),
    )


def is_file(improve: str) -> bool:
    """Say whether a specification's `improve` names a consent file rather than a column."""
    return improve.endswith((".csv", ".csv.gz", ".parquet"))


def labelled_rows(
    backend: Any,
    spec: TrainingSpec,
    events: Any,
    moments: Any,
    *,
    attributes: Any = None,
    base: Path | None = None,
) -> Rows:
    """Return the rows of `spec` at each of `moments`, in their order.

    Args:
        backend, events, moments, attributes: see `entrenous_exporters.tables.feature_table`. A boolean column of
            `moments` named by `spec.source.improve` says who granted that models learn from the row, unless that is a
            file.
        base: where a consent file's path starts.

    Raises:
        Malformed, Missing: as `feature_table`, or the consent file does not read.
    """
    table = _exact(feature_table(backend, spec.features, events, moments, attributes), spec)
    y = _answers(backend, spec.label, events, moments)
    source = spec.source
    dealt = (spec.trial.arm,) if spec.trial else ()
    wanted = [name for name in dict.fromkeys((source.improve, *source.groups, *dealt)) if name in moments.columns]
    for key, names in (("data.groups", source.groups), ("trial.arm", dealt)):
        for name in names:
            if name not in wanted:
                raise Missing("is not a column of the moments", place=f"{key}: {name}", remedy="add the column")
    asked = moments.order_by("row").select("visitor", "time", *wanted).to_pyarrow()
    times = asked["time"].to_numpy()
    end = int(events.time.max().to_pyarrow().as_py() or 0)
    return Rows(
        x=table.rows,
        y=y,
        visitors=_numbered(asked["visitor"]),
        times=times,
        improve=_granted(backend, spec, asked, base),
        known=times + spec.label.horizon <= end,
        groups={group: _group(asked[group]) for group in source.groups},
        arm=_arms(spec, asked[spec.trial.arm]) if spec.trial else None,
    )


def _arms(spec: TrainingSpec, column: Any) -> NDArray[np.int64]:
    """Return each row's arm as a number, in the order of the trial's shares.

    Raises:
        Malformed: a row without an arm, or with one that has no share.
    """
    known = list(spec.trial.shares) if spec.trial else []
    named = _group(column)
    strange = ~np.isin(named, known)
    if strange.any():
        what = f"names an arm that has no share, or none, in {int(strange.sum()):,} of {len(named):,} rows"
        raise Malformed(what, place="trial.arm", remedy="state the share of every arm, or leave those rows out")
    return np.array([known.index(name) for name in named], np.int64)


def _answers(backend: Any, label: Label, events: Any, moments: Any) -> NDArray[np.bool_]:
    """Return `[N]`: what the label says of each moment."""
    event, days = label.event, label.within_days
    if label.field:
        worth = value_labels(backend, events, moments, event=event, field=label.field, within_days=days)
        return np.asarray(worth >= label.at_least)
    followed = labels(backend, events, moments, event=event, within_days=days)
    return ~followed if label.absent else followed


def table_rows(backend: Any, spec: TrainingSpec, path: Path) -> Rows:
    """Return the rows of a flat table, in the file's order.

    Args:
        backend: from `entrenous_exporters.tables.open_backend`. path: the table.

    Raises:
        Malformed, Missing: as `entrenous_exporters.readers.read_table`, or the consent file does not read.
    """
    source = spec.source
    columns = {"label": (spec.label.column, "answer")}
    columns |= {name: (getattr(source, name), sort) for name, sort in _WHO.items() if getattr(source, name)}
    columns |= {
        f"field_{one.field}": (source.columns.get(one.field, one.field), "text" if one.values else "number")
        for one in spec.features
        if one.field not in DERIVED
    }
    columns |= {f"group_{group}": (group, "text") for group in source.groups}
    trial = spec.trial
    columns |= {"trial_arm": (trial.arm, "text")} if trial else {}
    columns |= {"trial_outcome": (trial.outcome, "number")} if trial and trial.outcome else {}
    with_column = not source.public_research_data and not is_file(source.improve)
    if with_column:
        columns["improve"] = (source.improve, "flag")
    table, unread = read_table(backend, path, columns)
    held = table.order_by("row").to_pyarrow()
    rows = range(len(held))
    visitors = held["visitor"] if source.visitor else pa.array([str(row) for row in rows])
    times = held["time"] if source.time else pa.array(np.zeros(len(held), np.int64))
    moments = pa.table(
        {"row": pa.array(rows, pa.int64()), "visitor": visitors, "time": times}
        | {one.field: held[f"field_{one.field}"] for one in spec.features if one.field not in DERIVED}
    )
    nothing = {
        "visitor": pa.array([], pa.string()),
        "time": pa.array([], pa.int64()),
        "name": pa.array([], pa.string()),
    }
    features = feature_table(backend, spec.features, ibis.memtable(pa.table(nothing)), ibis.memtable(moments))
    features = _exact(features, spec)
    asked = {"visitor": visitors, source.improve: held["improve"]} if with_column else {"visitor": visitors}
    return Rows(
        x=features.rows,
        y=held["label"].to_numpy(zero_copy_only=False).astype(bool),
        visitors=_numbered(visitors),
        times=np.asarray(times, dtype=np.int64),
        improve=_granted(backend, spec, pa.table(asked), path.parent),
        known=np.ones(len(held), bool),
        groups={group: _group(held[f"group_{group}"]) for group in source.groups},
        unread=unread,
        arm=_arms(spec, held["trial_arm"]) if trial else None,
        outcome=_outcomes(held["trial_outcome"]) if trial and trial.outcome else None,
    )


def _outcomes(column: Any) -> NDArray[np.float64]:
    values = np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    unknown = int((~np.isfinite(values)).sum())
    if unknown:
        what = f"is absent or no finite number in {unknown:,} of {len(values):,} rows"
        raise Malformed(what, place="trial.outcome", remedy="write 0 where nothing came of it")
    return values


_MOVED = 0.01
"""The most rows, as a share, whose whole number float32 may change: a few great sums lose nothing by it, a column of
Unix times loses minutes in every row."""


def _exact(table: FeatureTable, spec: TrainingSpec) -> FeatureTable:
    """Refuse a table of which float32 holds another one.

    Raises:
        Malformed: a feature whose whole numbers float32 changes in more than `_MOVED` of the rows.
    """
    for feature in spec.features:
        moved = table.moved.get(feature.name, 0)
        if moved > _MOVED * len(table.rows):
            what = f"holds whole numbers that float32 changes, in {moved:,} of {len(table.rows):,} rows"
            remedy = "count days instead of Unix times, and leave identifiers out"
            raise Malformed(what, place=f"moments.{feature.field}", remedy=remedy)
    return table


_WHO = {"visitor": "text", "time": "integer"}


def _numbered(visitors: Any) -> NDArray[np.int64]:
    """Return each row's visitor as a number from 0."""
    return np.unique(np.asarray(visitors), return_inverse=True)[1].astype(np.int64)


def _group(column: Any) -> NDArray[np.str_]:
    return np.asarray(column.fill_null("").to_numpy(zero_copy_only=False), dtype=np.str_)


def _granted(backend: Any, spec: TrainingSpec, asked: pa.Table, base: Path | None) -> NDArray[np.bool_]:
    """Return who granted `improve`: nobody of whom neither the column nor the file says so."""
    improve = spec.source.improve
    if not is_file(improve):
        if improve not in asked.column_names:
            return np.zeros(len(asked), bool)
        column = asked[improve]
        granted = np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False), dtype=np.bool_)
        no = np.asarray(column.fill_null(True).to_numpy(zero_copy_only=False), dtype=np.bool_)
        visitors = np.asarray(asked["visitor"])
        return granted & ~np.isin(visitors, visitors[~no])  # of rows that disagree about a visitor, the stricter holds
    if base is None:
        raise Malformed("names a file, and no folder is known", place="data.improve", remedy="train from a file")
    choices = read_consent(backend, base / improve).to_pyarrow()
    yes, refused = set[str](), set[str]()
    for visitor, choice in zip(choices["visitor"].to_pylist(), choices["improve"].to_pylist(), strict=True):
        (yes if choice else refused).add(visitor)
    yes -= refused  # of two lines that disagree, the stricter holds
    return np.array([visitor in yes for visitor in asked["visitor"].to_pylist()], dtype=np.bool_)
