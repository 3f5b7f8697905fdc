"""What the verbs about holdings say, as documents in English and French; nothing here opens a file or a visitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from entrenous.documents.holdings import Held
from entrenous_consent.dpo.rendering import Block, Document, Facts, Items, Paragraph, Section, Table
from entrenous_consent.dpo.words import Words, load_words
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.store import Erasure

__all__ = [
    "correct_document",
    "erase_document",
    "export_document",
    "object_document",
    "receipt_document",
    "retention_document",
]


def _day(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _words(language: str) -> Words:
    return load_words(language, "holdings")


def _mark(words: Words, text: str, *, good: bool = True) -> Paragraph:
    return Paragraph(text=text, mark=words(f"mark.{'good' if good else 'warning'}"), tone="good" if good else "warning")


# One visitor


def export_document(told: Mapping[str, Any], policy: PrivacyPolicy, language: str) -> Document:
    """Return everything kept about a visitor, as `entrenous.rights.export` told it, in words."""
    words = _words(language)
    sections = []
    if told:
        choice = told["consent"]
        sections.append(
            Section(
                key="consent",
                heading=words("export.choice"),
                blocks=(
                    Facts(
                        facts=(
                            *_choices(words, policy, choice["granted"], choice["refused"]),
                            (words("export.source"), choice["source"]),
                            (words("export.time"), _moment(choice["time"])),
                            (words("export.expires"), _moment(choice["expires"])),
                        )
                    ),
                ),
            )
        )
        sections += [_kept(words, policy, key, kept) for key, kept in told["purposes"].items()]
    return Document(
        kind="export",
        language=language,
        title=words("export.title"),
        lead=(Paragraph(text=words("export.lead" if told else "nothing")),),
        sections=tuple(sections),
        data=dict(told),
    )


def _title(words: Words, policy: PrivacyPolicy, purpose: str) -> str:
    return policy.purposes[purpose].title[words.language]


def _choices(
    words: Words, policy: PrivacyPolicy, granted: Sequence[str], refused: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    states = {**dict.fromkeys(refused, "refused"), **dict.fromkeys(granted, "granted")}
    return tuple(
        (_title(words, policy, key), words(f"state.{states.get(key, 'not_asked')}")) for key in policy.purposes
    )


def _kept(words: Words, policy: PrivacyPolicy, purpose: str, kept: Mapping[str, Any]) -> Section:
    """Return the section of what one purpose keeps."""
    counted = [(words("export.shown", name=name), str(count)) for name, count in kept["times_shown"].items()]
    counted += [
        (words("export.offer", name=name), words("export.offer_until", arm=one["arm"], until=_moment(one["until"])))
        for name, one in kept.get("offers", {}).items()
    ]
    blocks: list[Block] = [Facts(facts=(*counted, (words("export.events"), str(kept["events_remembered"]))))]
    if kept["features"]:
        blocks.insert(0, _features(words, kept["features"]))
    if kept["receipts"]:
        blocks.append(_receipts(words, kept["receipts"]))
    if kept.get("contributions"):
        blocks.append(_contributions(words, kept["contributions"]))
    if kept.get("triggers"):
        blocks += _triggers(words, kept["triggers"])
    heading = words("export.purpose", title=_title(words, policy, purpose))
    return Section(key=f"purpose-{purpose}", heading=heading, blocks=tuple(blocks))


def _headings(words: Words, *names: str) -> tuple[str, ...]:
    return tuple(words(f"export.{name}") for name in names)


def _features(words: Words, features: Mapping[str, Any]) -> Table:
    rows = tuple((name, words("empty") if value is None else str(value)) for name, value in features.items())
    return Table(caption=words("export.features"), headings=_headings(words, "feature", "value"), rows=rows)


def _receipts(words: Words, receipts: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            _moment(one["time"]),
            one["decision"],
            one["arm"],
            " · ".join(part for part in (one["reason"], one["cause"], one["tranche"]) if part),
            one["bundle"],
            ", ".join(one["consents"]),
        )
        for one in receipts
    )
    headings = _headings(words, "when", "decision", "arm", "reason", "bundle", "used")
    return Table(caption=words("export.receipts"), headings=headings, rows=rows)


def _contributions(words: Words, contributions: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            experiment,
            one["decision"],
            one["arm"],
            _moment(one["since"]),
            _moment(one["until"]),
            words.truth(one["contributed"]),
            str(one["orders"]),
            str(one["revenue"]),
        )
        for experiment, one in contributions.items()
    )
    names = ("experiment", "decision", "arm", "since", "until", "contributed", "orders", "revenue")
    headings = _headings(words, *names)
    return Table(caption=words("export.contributions"), headings=headings, rows=rows, numeric=(6, 7))


def _triggers(words: Words, triggers: Mapping[str, Any]) -> list[Block]:
    armed = tuple(
        (
            name,
            str(one["events"]),
            _moment(one["since"]) if one["since"] else words("empty"),
            words.truth(one["excluded"]),
        )
        for name, one in triggers["armed"].items()
    )
    raised = tuple((name, _moment(time)) for name, time in triggers["raised"])
    told: list[Block] = []
    if armed:
        headings = _headings(words, "trigger", "armed_by", "begun", "left_out")
        told.append(Table(caption=words("export.triggers"), headings=headings, rows=armed, numeric=(1,)))
    if raised:
        told.append(Table(caption=words("export.raised"), headings=_headings(words, "trigger", "when"), rows=raised))
    if triggers["utc_offset"] is not None:
        told.append(Facts(facts=((words("export.offset"), str(triggers["utc_offset"])),)))
    return told


def erase_document(known: bool, erased: Erasure, language: str) -> Document:
    """Return what an erasure did; `known`: something was there."""
    words = _words(language)
    text = words("erase.unknown") if erased == "done" and not known else words(f"erase.{erased}")
    return Document(
        kind="erase",
        language=language,
        title=words("erase.title"),
        lead=(_mark(words, text, good=erased == "done"),),
        sections=(),
        data={"erased": erased, "known": known},
    )


def rotate_document(living: int, generation: int, language: str) -> Document:
    """Return what wrapping every data key anew did."""
    words = _words(language)
    return Document(
        kind="rotate",
        language=language,
        title=words("rotate.title"),
        lead=(_mark(words, words("rotate.done"), good=True),),
        sections=(Section(key="keys", heading=words("rotate.keys"), blocks=(Paragraph(text=str(living)),)),),
        data={"keys": living, "generation": generation},
    )


def object_document(
    purposes: frozenset[str], told: Mapping[str, Any], erased: Erasure, policy: PrivacyPolicy, language: str
) -> Document:
    """Return what an objection did, and the choice as it stands, as `entrenous.rights.choices` told it."""
    words = _words(language)
    titles = ", ".join(_title(words, policy, key) for key in policy.purposes if key in purposes)
    facts = ((words("object.to"), titles), *_choices(words, policy, told["granted"], told["refused"]))
    return Document(
        kind="object",
        language=language,
        title=words("object.title"),
        lead=(_mark(words, words(f"object.{erased}"), good=erased == "done"),),
        sections=(Section(key="choice", heading=words("object.now"), blocks=(Facts(facts=facts),)),),
        data={"purposes": sorted(purposes), "erased": erased, "choice": dict(told)},
    )


def correct_document(changed: Sequence[str], language: str) -> Document:
    """Return which features a correction changed."""
    words = _words(language)
    section = Section(key="changed", heading=words("correct.changed"), blocks=(Items(items=tuple(changed)),))
    return Document(
        kind="correct",
        language=language,
        title=words("correct.title"),
        lead=(_mark(words, words("correct.done" if changed else "correct.none"), good=bool(changed)),),
        sections=(section,) if changed else (),
        data={"changed": list(changed)},
    )


def receipt_document(receipt: Mapping[str, Any] | None, language: str) -> Document:
    """Return a consent receipt as a page that a visitor can read; None where nothing is known."""
    words = _words(language)
    return Document(
        kind="consent-receipt",
        language=language,
        title=words("receipt.title"),
        lead=(Paragraph(text=words("nothing" if receipt is None else "receipt.lead")),),
        sections=() if receipt is None else _receipt_sections(words, receipt),
        data={} if receipt is None else dict(receipt),
    )


def _receipt_sections(words: Words, receipt: Mapping[str, Any]) -> tuple[Section, ...]:
    def section(key: str, heading: str, *blocks: Block) -> Section:
        return Section(key=key, heading=words(f"receipt.{heading}"), blocks=blocks)

    purposes = receipt["purposes"]
    rows = tuple(
        (
            one["title"],
            words(f"state.{one['state']}"),
            one["valid_until"] or "",
            "" if one["consent_version"] is None else str(one["consent_version"]),
            words(f"basis.{one['lawful_basis']}"),
        )
        for one in purposes
    )
    headings = tuple(words(f"receipt.{name}") for name in ("purpose", "state", "until", "version", "basis"))
    asked = tuple((one["title"], _asked(words, one)) for one in purposes)
    notice, event = receipt["privacy_notice"], receipt["event"]
    who = [(words("receipt.controller"), _party(one)) for one in receipt["pii_controllers"]]
    who.append((words("receipt.dpo"), _party(receipt["data_protection_officer"])))
    who += [(words("receipt.recipients"), _party(one)) for one in receipt["recipients"]]
    for one in receipt["transfers"]:
        who.append((words("receipt.transfers"), ", ".join(filter(None, one.values()))))
    rights = tuple(
        (words(f"receipt.{name}"), how or words("not_stated")) for name, how in receipt["privacy_rights"].items()
    )
    facts = (
        (words("export.source"), event["type"]),
        (words("export.time"), event["time"]),
        (words("export.expires"), event["remembered_until"]),
        (words("receipt.policy"), words("receipt.policy_said", **notice)),
        (words("receipt.issued"), receipt["issued"]),
        (words("receipt.record"), receipt["record_id"]),
        (words("receipt.visitor"), receipt["pii_principal_id"]),
    )
    return (
        section("choice", "choice", Table(caption="", headings=headings, rows=rows)),
        section("texts", "texts", Facts(facts=asked)),
        section("parties", "who", Facts(facts=tuple(who))),
        section("rights", "how", Facts(facts=rights)),
        section("event", "event", Facts(facts=facts)),
    )


def _asked(words: Words, purpose: Mapping[str, Any]) -> str:
    kept = "; ".join(
        words(
            "receipt.kept" if one["retention_days"] else "receipt.unkept",
            feature=one["feature"],
            category=one["category"],
            days=words.days(one["retention_days"]),
        )
        for one in purpose["pii_information"]
    )
    return words("receipt.asked", description=purpose["description"], kept=kept or words("empty"))


def _party(party: Mapping[str, str]) -> str:
    return ", ".join(filter(None, (party["name"], party["address"], party["contact"])))


# The whole store


def retention_document(
    found: Held, policy: PrivacyPolicy, bundle_days: Mapping[str, int], language: str, now: int
) -> Document:
    """Return the rule, what is held, and what the next sweep takes.

    Args:
        bundle_days: by purpose, how long the bundle in force keeps what it holds. now: Unix seconds.
    """
    words = _words(language)
    census, dropping = found.census, found.dropping(now)
    held = [(words("retention.rows"), f"{census.rows:,}")]
    if census.rows:
        held.append((words("retention.first"), _moment(census.earliest)))
        held.append((words("retention.oldest"), _moment(found.since)))
    held.append((words("retention.reports"), f"{found.reports:,}"))
    if found.reports:
        held.append((words("retention.oldest_report"), _moment(found.oldest_report)))
    months = Table(
        caption=words("retention.months_caption", days=words.days(policy.audit_days)),
        headings=(words("retention.month"), words("retention.dropped")),
        rows=tuple((log.removeprefix("audit "), _day(over)) for log, over in found.months),
    )
    taken = Facts(
        facts=(
            (words("retention.expired"), f"{census.expired:,}"),
            (
                words("retention.months_next"),
                ", ".join(log.removeprefix("audit ") for log in dropping) or words("none"),
            ),
        )
    )
    why = Paragraph(text=words("retention.oldest_why", days=words.days(found.longest_days)))
    return Document(
        kind="retention",
        language=language,
        title=words("retention.title", tenant=policy.tenant),
        lead=(Paragraph(text=words("retention.lead")),),
        sections=(
            Section(key="rule", heading=words("retention.rule"), blocks=(_rule(words, policy, bundle_days),)),
            Section(key="held", heading=words("retention.held"), blocks=(Facts(facts=tuple(held)), why)),
            Section(key="audit", heading=words("retention.months"), blocks=(months,)),
            Section(
                key="next",
                heading=words("retention.next"),
                blocks=(taken, Paragraph(text=words("retention.unreadable"))),
            ),
        ),
        data={
            "tenant": policy.tenant,
            "policy": policy.version,
            "purposes": {key: _days(policy, bundle_days, key) for key in policy.purposes},
            "held": {"rows": census.rows, "first_ends": census.earliest, "written_since": found.since},
            "reports": {"count": found.reports, "oldest": found.oldest_report},
            "audit": {"days": policy.audit_days, "months": dict(found.months)},
            "next_sweep": {
                "rows": census.expired,
                "months": list(dropping),
                "epochs": found.epochs,
                "rewraps": found.rewraps,
            },
        },
    )


def _rule(words: Words, policy: PrivacyPolicy, bundle_days: Mapping[str, int]) -> Table:
    rows = []
    for key in policy.purposes:
        days = _days(policy, bundle_days, key)
        bundle = days["bundle"]
        rows.append(
            (
                _title(words, policy, key),
                words.days(days["choice"]),
                words.days(days["features"]),
                words("none") if bundle is None else words.days(bundle),
            )
        )
    return Table(
        caption=words("retention.rule_caption", version=policy.version),
        headings=tuple(words(f"retention.{name}") for name in ("purpose", "choice", "features", "bundle")),
        rows=tuple(rows),
    )


def _days(policy: PrivacyPolicy, bundle_days: Mapping[str, int], purpose: str) -> dict[str, Any]:
    return {
        "choice": policy.purposes[purpose].lifetime // 86_400,
        "features": max((rule.retention_days for rule in policy.features if rule.purpose == purpose), default=0),
        "bundle": bundle_days.get(purpose),
    }
