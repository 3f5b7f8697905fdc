"""What a person allows: each purpose with what it means, and three ways to choose that stand side by side."""

from __future__ import annotations

from entrenous_consent.dpo.taxonomy import Taxonomy, load_taxonomy
from entrenous_consent.policy import PrivacyPolicy
from entrenous_edge.pages.parts import form, hidden, section
from entrenous_edge.pages.seen import Seen
from entrenous_edge.pages.writer import Html, Writer

__all__ = ["choice", "gpc"]


def gpc(w: Writer, seen: Seen) -> Html | None:
    """Return what it means that the browser objects; None where it doesn't."""
    if not seen.gpc:
        return None
    yields = seen.policy.signals.gpc_yields_to_later_choice
    said = "outweighed" if not seen.objects else "yields" if yields else "stands"
    parts = [w.p(f"gpc.{said}")]
    if seen.objects and seen.stored:
        parts.append(w.p("gpc.stored", purposes=w.listed(_titles(w, seen.policy, seen.stored))))
    heading = w.tag("h2", w.say("gpc.title"), id="gpc-title")
    return w.tag("section", heading, *parts, class_="signal", aria_labelledby="gpc-title")


def choice(w: Writer, seen: Seen) -> Html:
    """Return the section in which a person chooses.

    Where the browser objects and no choice outweighs that, there is nothing to switch on, and only an end to be put to
    what is stored.
    """
    open_ = not seen.objects or seen.policy.signals.gpc_yields_to_later_choice
    taxonomy, version = load_taxonomy(), str(seen.policy.version)
    purposes = [_purpose(w, seen, key, taxonomy, switched=open_) for key in seen.policy.purposes]
    legend = w.tag("legend", w.say("choice.legend"), class_="unseen")
    refuse = w.tag("button", w.say("choice.refuse"), form="refuse")
    refusing = form(w, "choice", *hidden(w, do="refuse", policy=version), id_="refuse")
    if not open_:
        buttons = [w.tag("div", refuse, class_="choose"), refusing] if seen.stored else []
        return section(w, "choice", _status(w, seen), w.tag("fieldset", legend, *purposes), *buttons)
    # The form's first button is what Enter presses: it saves what is ticked.
    buttons = [
        w.tag("button", w.say("choice.accept"), form="accept"),
        refuse,
        w.tag("button", w.say("choice.save"), class_="save"),
    ]
    saving = form(
        w,
        "choice",
        *hidden(w, do="save", policy=version),
        w.tag("fieldset", legend, *purposes),
        w.tag("div", *buttons, class_="choose"),
    )
    accepting = form(w, "choice", *hidden(w, do="accept", policy=version), id_="accept")
    return section(w, "choice", _status(w, seen), saving, accepting, refusing, w.p("choice.free"))


def _status(w: Writer, seen: Seen) -> Html:
    if seen.objects:
        return w.p("choice.objecting")
    if seen.chosen is None:
        return w.p("choice.refused" if seen.refused and not seen.known else "choice.none")
    day, until = (w.day(one) for one in seen.chosen)
    count, every = len(seen.granted), len(seen.policy.purposes)
    key = "choice.nothing" if not count else "choice.some.every" if count == every > 1 else "choice.some.one"
    return w.p(key, count=count, all=every, day=day, until=until)


def _purpose(w: Writer, seen: Seen, key: str, taxonomy: Taxonomy, *, switched: bool) -> Html:
    title, said = seen.policy.purposes[key].title[w.language], seen.policy.purposes[key].description[w.language]
    switch = w.tag(
        "input",
        type="checkbox",
        name="purpose",
        value=key,
        id=f"purpose-{key}",
        checked=key in seen.granted,
        aria_describedby=f"about-{key}",
    )
    named = w.tag("span", title, class_="title")
    head = w.tag("label", named, switch, for_=f"purpose-{key}") if switched else w.tag("p", named, class_="label")
    summary = w.tag("summary", w.say("purpose.more"), w.tag("span", f" – {title}", class_="unseen"))
    facts = w.tag("ul", *(w.tag("li", one) for one in _facts(w, seen, key, taxonomy)))
    asked = w.tag("p", w.say("choice.ask"), class_="asked") if key in seen.ask else None
    about = w.tag("p", said, id=f"about-{key}")
    return w.tag("div", head, asked, about, w.tag("details", summary, facts), class_="purpose")


def _facts(w: Writer, seen: Seen, key: str, taxonomy: Taxonomy) -> list[str]:
    """Return how long things are kept for a purpose, and on what ground, as the policy states it."""
    policy, purpose, say = seen.policy, seen.policy.purposes[key], w.say
    told = [say("purpose.lifetime", days=say.days(purpose.lifetime // 86_400))]
    longest: dict[str, int] = {}
    for rule in policy.features:
        if rule.purpose == key:
            longest[rule.category] = max(longest.get(rule.category, 0), rule.retention_days)
    for category, days in longest.items():
        what = taxonomy.category(category, w.language)
        told.append(say("purpose.kept", what=what, days=say.days(days)) if days else say("purpose.moment", what=what))
    if days := seen.retention_days.get(key, 0):
        told.append(say("purpose.goes", days=say.days(days)))
    told += [say("purpose.report", cohort=w.number(one.cohort)) for one in policy.reports if one.purpose == key]
    recipients = dict.fromkeys(one.recipient for one in policy.messages if one.purpose == key)
    told += [say("purpose.recipient", recipient=one) for one in recipients]
    told.append(say("purpose.basis", basis=say(f"basis.{purpose.legal_basis}")))
    if purpose.interest:
        told.append(say("purpose.interest", interest=purpose.interest))
    if key in policy.contextual:
        told.append(say("purpose.contextual"))
    return told


def _titles(w: Writer, policy: PrivacyPolicy, keys: frozenset[str]) -> list[str]:
    return [one.title[w.language] for key, one in policy.purposes.items() if key in keys]
