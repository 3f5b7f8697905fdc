"""The pages themselves: what they say of what was seen, section by section. Plain HTML, no script, one heading each."""

from __future__ import annotations

from collections.abc import Sequence

from entrenous_edge.pages.choices import choice, gpc
from entrenous_edge.pages.holdings import held, why
from entrenous_edge.pages.parts import form, hidden, section, word
from entrenous_edge.pages.seen import Seen
from entrenous_edge.pages.writer import LANGUAGES, Html, Writer

__all__ = ["confirmation_page", "error_page", "preference_page"]

_NAMES = {"en": "English", "fr": "Français"}


def preference_page(w: Writer, seen: Seen, notice: str = "", *, themed: bool = False) -> str:
    """Return the page.

    Args:
        seen: what there is to say. notice: a key under `notice` of the words; any other says nothing.
        themed: whether a stylesheet of the shop's follows ours.
    """
    controller = seen.policy.controller.name
    told = f"notice.{notice}" if w.say.has(f"notice.{notice}") else ""
    body = [
        w.tag("h1", w.say("title")),
        w.tag("p", w.say("lead", controller=controller), class_="lead"),
        w.tag("p", w.say(told), class_="notice", role="status") if told else None,
        gpc(w, seen),
        choice(w, seen),
        held(w, seen),
        why(w, seen),
        _tastes(w, seen),
        _rights(w, seen),
    ]
    policy = seen.policy
    said = [
        w.say("footer.controller", name=controller, contact=policy.controller.contact),
        w.say("footer.dpo", name=policy.dpo.name, contact=policy.dpo.contact),
        *([w.say("footer.complain", complain=policy.rights.complain)] if policy.rights.complain else []),
        w.say("footer.policy", version=policy.version),
    ]
    return _document(w, "/preferences", w.say("title"), body, themed=themed, brand=controller, footer=said)


def confirmation_page(w: Writer, *, known: bool, brand: str = "", themed: bool = False) -> str:
    """Return the page that asks whether everything is to go.

    Args:
        known: whether the browser is one that anything can be held about. brand: who is responsible.
    """
    back = w.tag("a", w.say("erasure.back" if known else "erasure.return"), href=_place(w), class_="button")
    do = w.tag("button", w.say("erasure.do"), name="sure", value="yes")
    body = [
        w.tag("h1", w.say("erasure.title")),
        w.p("erasure.text" if known else "erasure.nobody"),
        form(w, "erasure", w.tag("div", back, do, class_="pair")) if known else w.tag("p", back),
    ]
    return _document(w, "/preferences/erasure", w.say("erasure.title"), body, themed=themed, brand=brand)


def error_page(w: Writer, code: str, *, themed: bool = False) -> str:
    """Return the page that says what went wrong, and what to do next.

    Args:
        code: of `answers.STATUS`.
    """
    known = code if w.say.has(f"error.{code}.title") else "fault"
    body = [
        w.tag("h1", w.say(f"error.{known}.title")),
        w.p(f"error.{known}.text"),
        w.tag("p", w.tag("a", w.say("erasure.return"), href=_place(w), class_="button")),
    ]
    return _document(w, "/preferences", w.say(f"error.{known}.title"), body, themed=themed)


def _tastes(w: Writer, seen: Seen) -> Html:
    parts: list[Html] = []
    for field, known in seen.tastes.items():
        title = word(w, "taste.field", field)
        chips = [
            w.tag(
                "button",
                word(w, "taste.value", value),
                name="untell" if value in known["holds"] else "tell",
                value=value,
                aria_pressed="true" if value in known["holds"] else "false",
                class_="chip",
            )
            for value in known["values"]
        ]
        undo = w.tag(
            "button",
            w.say("taste.undo"),
            name="undo",
            value="yes",
            class_="quiet",
            aria_label=w.say("taste.undo_of", field=title),
        )
        group = w.tag("fieldset", w.tag("legend", title), w.tag("div", *chips, undo, class_="chips"))
        parts.append(form(w, "taste", *hidden(w, field=field), group))
    said = w.p("taste.lead") if parts else w.p("taste.closed")
    return section(w, "taste", said, *parts)


def _rights(w: Writer, seen: Seen) -> Html:
    policy, correct = seen.policy, seen.policy.rights.correct
    # What rests on the moment alone needs no grant, so that it may be objected to without one.
    moment = policy.contextual - {*seen.held.get("consent", {}).get("refused", ())}
    subject = [key for key in policy.purposes if key in seen.stored | moment]
    boxes = [
        w.tag(
            "label",
            w.tag("input", type="checkbox", name="purpose", value=key),
            w.tag("span", policy.purposes[key].title[w.language]),
            class_="box",
        )
        for key in subject
    ]
    buttons = w.tag(
        "div",
        w.tag("button", w.say("rights.object_some")),
        w.tag("button", w.say("rights.object_all"), name="all", value="yes"),
        class_="pair",
    )
    legend = w.tag("legend", w.say("rights.object_legend"))
    lang = f"?lang={w.language}"
    return section(
        w,
        "rights",
        w.tag("h3", w.say("rights.download")),
        w.p("rights.download_text"),
        w.tag("p", w.tag("a", w.say("rights.download_do"), href=f"/preferences/download{lang}", class_="button")),
        *([w.tag("h3", w.say("rights.correct")), w.p("rights.correct_text", correct=correct)] if correct else []),
        w.tag("h3", w.say("rights.object")),
        w.p("rights.object_text"),
        form(w, "objection", w.tag("fieldset", legend, *boxes), buttons)
        if seen.known and subject
        else w.p("rights.object_nothing"),
        w.tag("h3", w.say("rights.erase")),
        w.p("rights.erase_text"),
        w.tag("p", w.tag("a", w.say("rights.erase_do"), href=f"/preferences/erasure{lang}", class_="button")),
    )


def _place(w: Writer) -> str:
    return f"/preferences?lang={w.language}"


def _document(
    w: Writer,
    place: str,
    title: str,
    body: Sequence[Html | None],
    *,
    themed: bool,
    brand: str = "",
    footer: Sequence[str] = (),
) -> str:
    languages = [
        w.tag(
            "a",
            _NAMES[one],
            href=f"{place}?lang={one}",
            hreflang=one,
            lang=one,
            aria_current="true" if one == w.language else None,
        )
        for one in LANGUAGES
    ]
    sheets = ["style", *(["theme"] if themed else [])]
    head = [
        w.tag("meta", charset="utf-8"),
        w.tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        w.tag("meta", name="robots", content="noindex"),
        w.tag("meta", name="color-scheme", content="light dark"),
        w.tag("title", f"{title} – {brand}" if brand else title),
        w.tag("link", rel="icon", href="data:,"),
        *(w.tag("link", rel="stylesheet", href=f"/preferences/{one}.css") for one in sheets),
    ]
    return "<!doctype html>\n" + w.tag(
        "html",
        w.tag("head", *head),
        w.tag(
            "body",
            w.tag("a", w.say("skip"), href="#main", class_="skip"),
            w.tag(
                "header",
                w.tag("p", brand, class_="brand") if brand else None,
                w.tag("nav", *languages, aria_label=w.say("language")),
            ),
            w.tag("main", *body, id="main", tabindex="-1"),
            w.tag("footer", *(w.tag("p", one) for one in (*footer, w.say("footer.quiet")))),
        ),
        lang=w.language,
    )
