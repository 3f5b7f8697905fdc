"""What left, in words and as plain values: reports, messages, and how often a visitor was handed their own data."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from entrenous.documents.holdings import ENDLESS, Egress
from entrenous.loop.reports import CrowdReport
from entrenous_consent.dpo.rendering import Block, Document, Facts, Paragraph, Section, Table
from entrenous_consent.dpo.words import Words, load_words
from entrenous_consent.messages import Told
from entrenous_consent.store import Emitted

__all__ = ["egress_document"]


def _day(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def egress_document(left: Egress, since: int, until: int, language: str) -> Document:
    """Return everything that left in a period (Unix seconds), in bytes and in words."""
    words = load_words(language, "holdings")
    facts = (
        (words("egress.since"), _day(since) if since else words("egress.whole")),
        (words("egress.until"), _day(until) if until < ENDLESS else words("egress.now")),
        (words("egress.reports"), f"{len(left.reports):,}"),
        (words("egress.bytes"), f"{left.size:,}"),
        (words("egress.messages"), f"{len(left.messages):,}"),
        (words("egress.exports"), f"{left.exports:,}"),
    )
    return Document(
        kind="egress",
        language=language,
        title=words("egress.title"),
        lead=(Paragraph(text=words("egress.lead")),),
        sections=(
            Section(key="period", heading=words("egress.period"), blocks=(Facts(facts=facts),)),
            *((_messages(words, left),) if left.messages else ()),
            *(_left(words, one, report) for one, report in left.reports),
        ),
        data={
            "since": since or None,
            "until": until if until < ENDLESS else None,
            "bytes": left.size,
            "messages": [_plain_message(one, told) for one, told in left.messages],
            "exports": left.exports,
            "reports": [_plain(one, report) for one, report in left.reports],
        },
    )


def _messages(words: Words, left: Egress) -> Section:
    rows = tuple(
        (
            _moment(one.time),
            told.message if told else words("egress.unread_message"),
            told.recipient if told else "",
            " · ".join(filter(None, (words(f"egress.kind_{told.kind}"), told.trigger))) if told else "",
            _moment(one.sent) if one.sent else words("egress.waiting"),
            f"{len(one.data):,}",
        )
        for one, told in left.messages
    )
    names = ("made", "message", "recipient", "what", "received_message", "size")
    table = Table(
        caption=words("egress.messages_said"),
        headings=tuple(words(f"egress.{name}") for name in names),
        rows=rows,
        numeric=(5,),
    )
    return Section(key="messages", heading=words("egress.messages"), blocks=(table,))


def _sealed(one: Emitted, *, readable: bool) -> dict[str, Any]:
    """Return what is known of anything that left, whatever it is."""
    return {
        "id": one.id.hex(),
        "made": one.time,
        "received": one.sent or None,
        "bytes": len(one.data),
        "sha256": sha256(one.data).hexdigest(),
        "readable": readable,
    }


def _plain_message(one: Emitted, told: Told | None) -> dict[str, Any]:
    said = _sealed(one, readable=told is not None)
    if told is None:
        return said
    return said | {
        "kind": told.kind,
        "message": told.message,
        "recipient": told.recipient,
        "trigger": told.trigger or None,
    }


def _left(words: Words, one: Emitted, report: CrowdReport | None) -> Section:
    facts = [
        (words("egress.made"), _moment(one.time)),
        (words("egress.received"), _moment(one.sent) if one.sent else words("egress.waiting")),
        (words("egress.size"), f"{len(one.data):,} {words('egress.bytes')}"),
        (words("egress.sha256"), sha256(one.data).hexdigest()),
    ]
    heading = words("egress.report", id=one.id.hex())
    if report is None:
        blocks: tuple[Block, ...] = (Facts(facts=tuple(facts)), Paragraph(text=words("egress.unread")))
        return Section(key=f"report-{one.id.hex()}", heading=heading, blocks=blocks)
    about = words(
        "egress.about_said",
        report=report.report,
        experiment=report.experiment,
        bundle=report.bundle,
        version=report.bundle_version,
    )
    exposed = words(
        "egress.exposures_said",
        since=_day(report.since),
        until=_day(report.until),
        days=words.days(report.window_days),
    )
    mechanism = report.mechanism
    private = words("egress.privacy_said", epsilon=mechanism.epsilon, threshold=mechanism.threshold)
    facts += [(words("egress.about"), about), (words("egress.exposures"), exposed), (words("egress.privacy"), private)]
    shown = {cell: sums for cell, sums in report.cells.items() if sums is not None}
    hidden = [_cell(words, cell) for cell in report.cells if cell not in shown]
    facts.append((words("egress.count"), words("egress.count_said", shown=len(shown), hidden=len(hidden))))
    table = Table(
        caption=words("egress.cells"),
        headings=(words("egress.cell"), *report.metrics),
        rows=tuple((_cell(words, cell), *(f"{one:,}" for one in sums)) for cell, sums in shown.items()),
        numeric=tuple(range(1, 1 + len(report.metrics))),
    )
    told: list[Block] = [Facts(facts=tuple(facts))]
    told += [table] if shown else []
    told += [Paragraph(text=words("egress.hidden", cells="; ".join(hidden)))] if hidden else []
    return Section(key=f"report-{one.id.hex()}", heading=heading, blocks=tuple(told))


def _cell(words: Words, cell: tuple[str, str, str]) -> str:
    """Return a cell's name: arm, tranche and, where it has one, segment."""
    arm, tranche, segment = cell
    return " · ".join(filter(None, (arm, tranche or words("egress.unscored"), segment)))


def _plain(one: Emitted, report: CrowdReport | None) -> dict[str, Any]:
    said = _sealed(one, readable=report is not None)
    if report is None:
        return said
    return said | {
        "report": report.report,
        "experiment": report.experiment,
        "epsilon": report.mechanism.epsilon,
        "threshold": report.mechanism.threshold,
        "metrics": list(report.metrics),
        "cells": [[*cell, None if sums is None else list(sums)] for cell, sums in report.cells.items()],
    }
