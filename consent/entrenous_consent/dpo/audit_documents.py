"""What `entrenous privacy audit` says, as documents: the entries in words, what was signed, what was verified."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from entrenous_consent import audit
from entrenous_consent.dpo.rendering import Document, Facts, Listing, Paragraph, Section, Table
from entrenous_consent.dpo.words import Words, load_words
from entrenous_consent.errors import Malformed

__all__ = [
    "Shown",
    "checkpoint_document",
    "moment",
    "proof_document",
    "proved_document",
    "show_document",
    "verified_document",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The entries of a month that are to be shown: `entries` by number, from 1; `total` how many it holds."""

    log: str
    total: int
    entries: Sequence[tuple[int, bytes]]
    key: str


def moment(time: int) -> str:
    """Return a time in Unix seconds as it is written in documents: `2026-11-27 10:15:00 UTC`."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def show_document(shown: Shown, language: str) -> Document:
    """Return a month's entries in words."""
    words = load_words(language, "audit")
    rows = tuple((str(number), *_row(words, data)) for number, data in shown.entries)
    headings = tuple(words(f"column.{name}") for name in ("number", "time", "kind", "detail", "subject"))
    table = Table(caption="", headings=headings, rows=rows)
    few = len(rows) < shown.total
    lead = words("show.some" if few else "show.all", shown=len(rows), total=shown.total)
    return Document(
        kind="audit-show",
        language=language,
        title=words("show.title", month=_month(shown.log)),
        lead=(Paragraph(text=lead), Paragraph(text=words("show.subjects"))),
        sections=(Section(key="entries", heading=words("show.heading"), blocks=(table,) if rows else ()),),
        footer=(words("show.key", key=shown.key),) if shown.key else (),
        data={
            "log": shown.log,
            "total": shown.total,
            "key": shown.key,
            "entries": [_plain(number, data) for number, data in shown.entries],
        },
    )


def checkpoint_document(checkpoint: audit.Checkpoint, key: str, files: Sequence[str], language: str) -> Document:
    """Return what was signed, and what to do with it."""
    words = load_words(language, "audit")
    return Document(
        kind="audit-checkpoint",
        language=language,
        title=words("checkpoint.title"),
        lead=(Paragraph(text=words("checkpoint.lead")),),
        sections=(
            Section(
                key="signed",
                heading=words("checkpoint.heading"),
                blocks=(Facts(facts=(*_of(words, checkpoint), *_files(words, files))),),
            ),
            Section(key="key", heading=words("checkpoint.key"), blocks=(Listing(text=key),)),
        ),
        data={**_said(checkpoint), "key": key, "files": list(files)},
    )


def verified_document(
    failure: audit.Failure | None,
    held: Mapping[str, Sequence[bytes]],
    checkpoint: audit.Checkpoint | None,
    language: str,
) -> Document:
    """Return whether the log held is what it was, and the first entry that is not.

    Args:
        held: what the store holds, by log. checkpoint: what it was held against; None for the chain of seals alone.
    """
    words = load_words(language, "audit")
    good = failure is None
    text = words("verify.good" if checkpoint else "verify.chained") if good else words("verify.bad")
    mark = Paragraph(text=text, mark=words(f"mark.{'good' if good else 'error'}"), tone="good" if good else "error")
    sections = [_checked(words, held, checkpoint)]
    if failure is not None:
        sections.insert(0, _failed(words, failure, held))
    return Document(
        kind="audit-verify",
        language=language,
        title=words("verify.title"),
        lead=(mark,) if checkpoint else (mark, Paragraph(text=words("verify.alone"))),
        sections=tuple(sections),
        data={
            "verified": good,
            "checkpoint": _said(checkpoint) if checkpoint else None,
            "held": {log: len(entries) for log, entries in held.items()},
            "failure": None
            if failure is None
            else {"log": failure.log, "entry": failure.index + 1 or None, "what": failure.what},
        },
    )


def _checked(words: Words, held: Mapping[str, Sequence[bytes]], checkpoint: audit.Checkpoint | None) -> Section:
    rows = tuple((_month(log), f"{len(held[log]):,}") for log in sorted(held))
    headings = (words("column.month"), words("column.entries"))
    table = Table(caption=words("verify.held"), headings=headings, rows=rows, numeric=(1,))
    against = (Facts(facts=_of(words, checkpoint)),) if checkpoint else ()
    return Section(key="checked", heading=words("verify.heading"), blocks=(*against, table))


def _failed(words: Words, failure: audit.Failure, held: Mapping[str, Sequence[bytes]]) -> Section:
    facts = [(words("column.month"), _month(failure.log))]
    entries = held.get(failure.log, ())
    if failure.index >= 0:
        facts.append((words("column.entry"), f"{failure.index + 1:,}"))
    facts.append((words("verify.what"), words(f"failure.{failure.what}")))
    if 0 <= failure.index < len(entries) and failure.what not in ("missing", "unsealed"):
        time, kind, detail, _ = _row(words, entries[failure.index])
        facts.append((words("verify.now"), " · ".join(part for part in (time, kind, detail) if part)))
    return Section(key="failure", heading=words("verify.first"), blocks=(Facts(facts=tuple(facts)),))


def proof_document(facts: Sequence[tuple[str, str]], file: str, language: str) -> Document:
    """Return what a proof that was written proves; `facts` name it by keys of the catalog `audit`."""
    words = load_words(language, "audit")
    told = tuple((words(name), value) for name, value in facts)
    return Document(
        kind="audit-prove",
        language=language,
        title=words("prove.title"),
        lead=(Paragraph(text=words("prove.lead")),),
        sections=(
            Section(
                key="proof",
                heading=words("prove.heading"),
                blocks=(Facts(facts=(*told, *_files(words, [file]))),),
            ),
        ),
        data={"file": file, **{name.rpartition(".")[2]: value for name, value in facts}},
    )


def proved_document(proved: audit.Inclusion | audit.Growth, language: str) -> Document:
    """Return what a proof that was verified proves."""
    words = load_words(language, "audit")
    facts: list[tuple[str, str]] = []
    data: dict[str, Any] = {"verified": True, "checkpoint": _said(proved.checkpoint)}
    if isinstance(proved, audit.Inclusion):
        text = words("proved.entry")
        time, kind, detail, subject = _row(words, proved.entry)
        facts += [(words("column.entry"), f"{proved.index + 1:,}"), (words("column.time"), time)]
        facts += [(words("column.kind"), kind), (words("column.detail"), detail), (words("column.subject"), subject)]
        data["entry"] = _plain(proved.index + 1, proved.entry)
    else:
        text = words("proved.growth", before=proved.before, after=proved.checkpoint.size)
        data["before"] = proved.before
    return Document(
        kind="audit-proved",
        language=language,
        title=words("proved.title"),
        lead=(Paragraph(text=text, mark=words("mark.good"), tone="good"),),
        sections=(
            Section(
                key="proved",
                heading=words("prove.heading"),
                blocks=(Facts(facts=tuple(pair for pair in (*facts, *_of(words, proved.checkpoint)) if pair[1])),),
            ),
        ),
        data=data,
    )


def _of(words: Words, checkpoint: audit.Checkpoint) -> tuple[tuple[str, str], ...]:
    return (
        (words("column.month"), _month(checkpoint.log)),
        (words("column.entries"), f"{checkpoint.size:,}"),
        (words("root"), b64encode(checkpoint.root).decode()),
    )


def _files(words: Words, files: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((words("file"), file) for file in files)


def _said(checkpoint: audit.Checkpoint) -> dict[str, Any]:
    return {"log": checkpoint.log, "size": checkpoint.size, "root": checkpoint.root.hex()}


def _month(log: str) -> str:
    return log.removeprefix("audit ")


def _read(data: bytes) -> audit.Entry | None:
    try:
        return audit.read_entry(data)
    except Malformed:
        return None


def _plain(number: int, data: bytes) -> dict[str, Any]:
    """Return an entry for programs; one that does not read says only that it is there."""
    entry = _read(data)
    if entry is None:
        return {"entry": number, "readable": False}
    said = {"entry": number, "readable": True, "time": entry.time, "kind": entry.kind, "detail": dict(entry.detail)}
    return {**said, "subject": entry.subject.hex()}


def _row(words: Words, data: bytes) -> tuple[str, str, str, str]:
    """Return time, kind, detail and subject of an entry in words."""
    entry = _read(data)
    if entry is None:
        return "", words("unreadable"), "", ""
    held = ((words(f"key.{key}"), value) for key, value in entry.detail.items() if value != [])
    said = (words("said", name=name, value=_value(value)) for name, value in held)
    return moment(entry.time), words(f"kind.{entry.kind}"), " · ".join(said), entry.subject.hex()[:12]


def _value(value: object) -> str:
    """Return a detail's value; a digest by its beginning, as whole it stands in the data."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32,64}", value):
        return f"{value[:12]}…"
    return f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)
