"""What is held about a person, and why they were answered as they were: an export, read out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from entrenous.decisions.why import recalled
from entrenous.events import MONEY_FIELDS
from entrenous.features import KINDS, Feature
from entrenous.markers import words_of
from entrenous_consent.signal_settings import APP, GPC, GPP, OBJECTION, OVER_GPC, TCF
from entrenous_edge.pages.parts import section, spaced, word
from entrenous_edge.pages.seen import Seen
from entrenous_edge.pages.writer import Html, Writer

__all__ = ["held", "why"]

_MOST_ANSWERS = 10
_SOURCES = {APP: "app", OVER_GPC: "over_gpc", TCF: "tcf", GPP: "gpp", GPC: "gpc", OBJECTION: "objection"}
_BUCKETS = ("age", "pause", "recency")
_AMOUNTS = ("decayed_sum", "max", "mean", "min", "sum")


def held(w: Writer, seen: Seen) -> Html:
    """Return the section of what is held."""
    if not seen.held:
        said = "empty" if seen.known else "refusal" if seen.refused else "nobody"
        return section(w, "held", w.p(f"held.{said}"))
    consent = seen.held["consent"]
    source = _SOURCES.get(consent["source"])
    spoken = w.say(f"source.{source}") if source else w.say("source.other", name=consent["source"])
    day, until = w.day(consent["time"]), w.day(consent["expires"])
    parts = [w.p("held.cookie"), w.p("held.choice", day=day, source=spoken, until=until)]
    parts += [_drawer(w, seen, key, drawer) for key, drawer in seen.held["purposes"].items()]
    if seen.segments and not seen.objects:
        parts += _groups(w, seen)
    return section(w, "held", *parts)


def _drawer(w: Writer, seen: Seen, key: str, drawer: Mapping[str, Any]) -> Html:
    """Return what is held for one purpose, and when it goes."""
    say, purpose = w.say, seen.policy.purposes[key]
    features = {one.name: one for one in seen.features}
    rows, nothing = [], []
    for name, value in drawer["features"].items():
        feature = features.get(name)
        words = _named(w, feature) if feature else spaced(name)
        if value is None or (value == 0 and feature is not None and KINDS[feature.kind].zero):
            nothing.append(words[:1].lower() + words[1:])
        else:
            rows.append(w.tag("div", w.tag("dt", words), w.tag("dd", _value(w, feature, value))))
    told = [say("held.zero", words="; ".join(nothing))] if nothing else []
    told += [_shown(w, name, times) for name, times in drawer["times_shown"].items()]
    if number := drawer["events_remembered"]:
        told.append(say.count(number, "held.events"))
    for decision, offer in drawer.get("offers", {}).items():
        until = w.moment(offer["until"])
        told.append(say("held.offer", decision=spaced(decision), arm=spaced(offer["arm"]), until=until))
    for name, one in drawer.get("contributions", {}).items():
        state = "contributed" if one["contributed"] else "contribution"
        told.append(say(f"held.{state}", name=spaced(name), until=w.day(one["until"])))
    triggers = drawer.get("triggers", {})
    told += [say("held.trigger", name=spaced(name)) for name in triggers.get("armed", {})]
    told += [say("held.raised", name=spaced(name), day=w.day(at)) for name, at in triggers.get("raised", ())]
    if not rows and not told:
        return w.tag("div", w.tag("h3", purpose.title[w.language]), w.p("held.none"), class_="drawer")
    return w.tag(
        "div",
        w.tag("h3", purpose.title[w.language]),
        w.tag("dl", *rows) if rows else None,
        w.tag("ul", *(w.tag("li", one) for one in told)) if told else None,
        w.tag("p", _goes(w, seen, key), class_="goes"),
        class_="drawer",
    )


def _goes(w: Writer, seen: Seen, key: str) -> str:
    """Return when what is held for a purpose goes. A grant may end sooner than its purpose's lifetime, never later."""
    consent = seen.held["consent"]
    until = w.day(min(consent["expires"], consent["time"] + seen.policy.purposes[key].lifetime))
    days = seen.retention_days.get(key, 0)
    return w.say("held.goes", days=w.say.days(days), until=until) if days else w.say("held.goes_with", until=until)


def _named(w: Writer, feature: Feature) -> str:
    """Return what a feature says, in words: of what visitors tell, as the section of it does."""
    if feature.kind == "told":
        return word(w, "taste.field", feature.field)
    if feature.kind == "asked":
        field, value = word(w, "taste.field", feature.field), word(w, "taste.value", feature.value)
        return field if feature.value == "yes" else w.say("colon", what=field, said=value)
    return words_of(feature, w.language)


def _value(w: Writer, feature: Feature | None, value: Any) -> str:
    """Return what a feature holds, as a person reads it."""
    if isinstance(value, str):
        return word(w, "taste.value", value) if feature and feature.kind == "told" else spaced(value)
    if feature is None:
        return w.number(value)
    if feature.kind == "asked":
        return w.say("taste.value.yes" if value else "taste.value.no")
    if feature.kind in _BUCKETS:
        return w.say.count(int(value), f"{feature.unit}s") if value else w.say(f"held.now.{feature.unit}")
    if feature.kind in _AMOUNTS and feature.field in MONEY_FIELDS:
        return w.say("held.minor_units", number=w.number(value))
    return w.number(value)


def _shown(w: Writer, name: str, times: int) -> str:
    alone = times == 1
    return w.say("held.shown.one" if alone else "held.shown.many", name=spaced(name), n=w.number(times))


def _groups(w: Writer, seen: Seen) -> list[Html]:
    words = {one.name: one.en if w.language == "en" else one.fr for one in seen.segments}
    heading = w.tag("h3", w.say("held.segments"))
    if not seen.within:
        return [heading, w.p("held.no_segments")]
    return [heading, w.tag("ul", *(w.tag("li", words.get(name, spaced(name))) for name in seen.within))]


def why(w: Writer, seen: Seen) -> Html:
    """Return the section of the last decisions, the latest first; the same one several times in a row is told once."""
    receipts = [one for drawer in seen.held.get("purposes", {}).values() for one in drawer["receipts"]]
    receipts.sort(key=lambda one: (one["time"], one["id"]), reverse=True)
    runs = [list(run) for _, run in groupby(receipts, lambda one: {**one, "id": "", "time": 0})]
    if not runs:
        return section(w, "why", w.p("why.nothing"))
    answers = [_answer(w, seen, run) for run in runs[:_MOST_ANSWERS]]
    more = w.p("why.more") if len(runs) > _MOST_ANSWERS else None
    return section(w, "why", w.p("why.lead"), w.tag("ol", *answers, class_="answers"), more)


def _answer(w: Writer, seen: Seen, run: Sequence[Mapping[str, Any]]) -> Html:
    say, last, purposes = w.say, run[0], seen.policy.purposes
    name, arm = spaced(last["decision"]), spaced(last["arm"])
    titles = [purposes[key].title[w.language] if key in purposes else spaced(key) for key in last["consents"]]
    used = say("why.used", purposes=w.listed(f"“{one}”" if w.language == "en" else f"« {one} »" for one in titles))
    lines = [*recalled(last, seen.features, w.language), used if titles else say("why.unused")]
    when = say("why.times.one" if len(run) == 1 else "why.times.many", n=len(run), last=w.moment(last["time"]))
    return w.tag(
        "li",
        w.tag("h3", say("why.answer", decision=name, arm=arm) if arm else name),
        w.tag("p", when, class_="when"),
        *(w.tag("p", one) for one in lines),
        w.tag(
            "p",
            say("why.made", bundle=last["bundle"], policy=last["policy"], receipt=last["id"]),
            class_="made",
        ),
    )
