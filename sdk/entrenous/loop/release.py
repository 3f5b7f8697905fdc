"""The release: what is due is summed, noised, debited, written to the outbox and forgotten, in one store transaction.

When a release happens depends on the calendar alone, never on who is due: that one visitor was there must not show. If
any row it read has changed meanwhile (a withdrawal, an erasure), nothing of it happened, and it is drawn anew.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from hashlib import sha256

from entrenous.active import Active
from entrenous.decisions.routes import Trial
from entrenous.loop.contributions import Cell, Contribution, due_at, pack_contributions, unpack_contributions
from entrenous.loop.ledger import Ledger
from entrenous.loop.reports import CrowdReport, cells_of, encode_report, mechanism_of, noised
from entrenous_consent import audit
from entrenous_consent.custody import Custody
from entrenous_consent.errors import Forbidden, Unavailable
from entrenous_consent.pending import Pending
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.store import Append, Emit, Put, Write
from entrenous_consent.upkeep import note

__all__ = ["LEDGER", "ledger_of", "release"]

LEDGER = sha256(b"entrenous ledger").digest()[:8]
"""The name of the ledger's row: it belongs to no visitor."""

_TRIES = 8
_DAY = 86_400
_ALWAYS = 1 << 53


def ledger_of(custody: Custody, now: int) -> Ledger:
    """Return the ledger as it is stored.

    Raises:
        Malformed, Unavailable: it can't be read.
    """
    row = custody.store.read(LEDGER, now)
    return Ledger.unpack(row.value if row else None)


def release(custody: Custody, active: Active, now: int, below: Callable[[int], int] = secrets.randbelow) -> list[bytes]:
    """Make every report that is due at `now`; return their ids. Nothing is sent here.

    Args:
        active: what serves. now: Unix seconds. below: the operating system's randomness; tests inject a seed.

    Raises:
        Forbidden: a report's budget is spent; what was due for it is dropped, uncounted. Unavailable: the store.
    """
    made, refused = [], None
    for trial in active.trials.values():
        try:
            found = _release(custody, active, trial, now, below)
        except Forbidden as error:
            refused = error
            continue
        if found is not None:
            made.append(found)
    if refused is not None:
        note(custody, "refusal", {"error": "Forbidden", "what": refused.what, "place": refused.place}, now)
        raise refused
    return made


def _release(custody: Custody, active: Active, trial: Trial, now: int, below: Callable[[int], int]) -> bytes | None:
    report, experiment = trial.report, trial.drawing.experiment.id
    for _ in range(_TRIES):
        row = custody.store.read(LEDGER, now)
        version = row.version if row else 0
        ledger = Ledger.unpack(row.value if row else None)
        opened = ledger.opened(report.name, experiment, now)
        if opened is not ledger:
            if custody.store.transact([_ledger(opened, version)], now=now, durable=True) == "done":
                return None
            continue
        if now < ledger.next(report, experiment):
            return None
        taken = _take(custody, active.policy, trial, now)
        changed = [pending for pending, _ in taken]
        try:
            debited = ledger.debited(report, experiment, now)
        except Forbidden:
            custody.settle(changed, [], now)
            raise
        made = _report(active, trial, [one for _, one in taken if one is not None], ledger, now, below)
        writes: list[Write] = [
            _ledger(debited, version),
            Emit(made.id, encode_report(made), now),
            Append(audit.log_name(now), audit.entry("release", time=now, subject=b"", detail=_detail(made))),
        ]
        if custody.settle(changed, writes, now) == "done":
            return made.id
    raise Unavailable("keeps changing under this release", place="store", remedy="it is tried again")


def _take(custody: Custody, policy: PrivacyPolicy, trial: Trial, now: int) -> list[tuple[Pending, Contribution | None]]:
    """Return the rows that hold a contribution to this trial that is due, changed to markers, and what was in them:
    None where the grant it was made under counts no more."""
    experiment, purpose = trial.drawing.experiment.id, trial.drawing.experiment.purpose
    found: list[tuple[Pending, Contribution | None]] = []
    for pending in custody.owed(now, purpose):
        contributions = unpack_contributions(pending.value)
        one = contributions.get(experiment)
        if one is None or one.contributed or one.until > now:
            continue
        contributions[experiment] = one.marker()
        pending.value, pending.due = pack_contributions(contributions), due_at(contributions)
        found.append((pending, one if one.stands(policy.purposes[purpose], now) else None))
    return found


def _report(
    active: Active,
    trial: Trial,
    taken: list[Contribution],
    ledger: Ledger,
    now: int,
    below: Callable[[int], int],
) -> CrowdReport:
    if active.bundle is None:
        raise Unavailable("no bundle is in force", place="release", remedy="publish one")
    report, manifest = trial.report, active.bundle.manifest
    cells = cells_of(trial.rule, report)
    sums: dict[Cell, list[int]] = {cell: [0] * len(report.metrics) for cell in cells}
    for one in taken:
        if one.cell in sums:  # a cell of another bundle's tranches is declared no more
            sums[one.cell] = [a + b for a, b in zip(sums[one.cell], one.metrics(report), strict=True)]
    mechanism = mechanism_of(report)
    experiment = trial.drawing.experiment
    window, account = report.window_days * _DAY, ledger.accounts[report.name, experiment.id]
    since = account.last - window if account.releases else account.began
    return CrowdReport(
        id=os.urandom(16),
        tenant=active.policy.tenant,
        report=report.name,
        experiment=experiment.id,
        bundle=manifest.name,
        bundle_version=manifest.version,
        policy=active.policy.version,
        since=max(since, 0) // _DAY * _DAY,
        until=max(now - window, 0) // _DAY * _DAY,
        window_days=report.window_days,
        holdout=experiment.holdout,
        ramp=experiment.taken,
        currency=report.currency,
        metrics=report.metrics,
        mechanism=mechanism,
        cells=noised(sums, cells, mechanism, below),
    )


def _ledger(ledger: Ledger, version: int) -> Put:
    return Put(name=LEDGER, value=ledger.pack(), expires=_ALWAYS, expect=version)


def _detail(made: CrowdReport) -> dict[str, object]:
    return {
        "report": made.report,
        "experiment": made.experiment,
        "id": made.id.hex(),
        "epsilon": made.mechanism.epsilon,
        "cells": len(made.cells),
        "suppressed": sum(sums is None for sums in made.cells.values()),
    }
