"""The preference page as markup: everything escaped, both languages whole, nothing chosen for the person."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from string import Formatter
from typing import Any

import pytest
from tests.shop import NOON, Clock, Shop
from tests.worker import configure

from entrenous import demo
from entrenous.bundle import read_bundle
from entrenous.decision import CAUSES
from entrenous.markers import catalogue
from entrenous.segments import Segment
from entrenous_consent.dpo.words import Words
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.policy import Message, Party, PrivacyPolicy, parse_policy
from entrenous_consent.signal_settings import SOURCES
from entrenous_edge.answers import STATUS, Problem
from entrenous_edge.config import read_config
from entrenous_edge.identity import COOKIE_SECONDS
from entrenous_edge.pages import routes
from entrenous_edge.pages.forms import MOST_FORM_BYTES, MOST_FORM_FIELDS, parse_form
from entrenous_edge.pages.sections import confirmation_page, error_page, preference_page
from entrenous_edge.pages.seen import Seen
from entrenous_edge.pages.writer import LANGUAGES, Html, Writer, language_of, sentences, typeset

POLICY = parse_policy(demo.policy_bytes())
MANIFEST = read_bundle(demo.bundle_bytes(NOON)).manifest
EVIL = "<script>alert('4711')</script>\"' onload=x"

RECEIPT = {
    "id": "00c0ffee00c0ffee",
    "time": NOON,
    "decision": "promotion",
    "arm": "ten_off",
    "reason": "TARGETING_MATCH",
    "cause": "",
    "tranche": "warm",
    "share": 10_000,
    "bundle": "demo_promotions 1",
    "policy": 1,
    "consents": {"personalize": 1},
    "withheld": ["bought_orders_90d", "a_feature_of_before"],
}


def drawer(**more: Any) -> dict[str, Any]:
    return {"features": {}, "times_shown": {}, "receipts": [], "events_remembered": 0, **more}


def holding(**drawers: Any) -> dict[str, Any]:
    consent = {"granted": sorted(drawers), "refused": [], "source": "app", "time": NOON, "expires": NOON + 86_400 * 180}
    return {"consent": consent, "purposes": drawers}


def seen(**more: Any) -> Seen:
    about: dict[str, Any] = {"policy": POLICY, "features": MANIFEST.features, "retention_days": {"personalize": 90}}
    return Seen(**about | more)


def known(**more: Any) -> Seen:
    granted = frozenset(more.pop("granted", {"personalize"}))
    held = more.pop("held", holding(personalize=drawer(receipts=[RECEIPT])))
    chosen = (NOON, NOON + 86_400)
    return seen(**{"known": True, "granted": granted, "stored": granted, "chosen": chosen, "held": held, **more})


TASTES = {
    field: {"values": ["yes", "no", "never", "daily", "weekly", "monthly"], "holds": ["yes"]}
    for field in ("size", "colour", "brand", "category", "rhythm", "fewer_promotions", "fewer_suggestions", "less")
}
GROUPS = (Segment(name="regulars", purpose="personalize", rule=(), en="Regulars", fr="Habitués"),)
DECLARED = (
    {"name": "r", "kind": "recency"},
    {"name": "h", "kind": "recency", "unit": "hour"},
    {"name": "s", "kind": "sum", "field": "value"},
    {"name": "a", "kind": "asked", "field": "less", "value": "boots"},
    {"name": "t", "kind": "told", "field": "rhythm"},
)


class Outline(HTMLParser):
    """What a page is made of: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in ("input", "link", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def outline(page: str) -> Outline:
    found = Outline(page)
    assert found.open == []
    return found


def shown(what: Seen, language: str = "en", notice: str = "") -> Outline:
    return outline(preference_page(Writer(language), what, notice))


# Words


def test_every_sentence_is_in_both_languages_and_fills_in_the_same():
    for key, said in sentences().items():
        assert set(said) == set(LANGUAGES), key
        filled = [{name for _, name, _, _ in Formatter().parse(one) if name} for one in said.values()]
        assert filled[0] - {"n"} == filled[1] - {"n"}, key
        assert all(one.strip() for one in said.values()), key
        assert said["en"] != said["fr"] or key in ("rights.none",), key


def test_every_sentence_is_said_somewhere(monkeypatch: pytest.MonkeyPatch):
    said, real = set(), Words.__call__

    def saying(self: Words, key: str, /, **values: object) -> str:
        said.add(key)
        return real(self, key, **values)

    monkeypatch.setattr(Words, "__call__", saying)
    w = Writer("en")
    yielding = replace(POLICY, signals=replace(POLICY.signals, gpc_yields_to_later_choice=True))
    pages = [seen(), seen(refused=True), seen(gpc=True, objects=True), seen(policy=yielding, gpc=True, objects=True)]
    pages += [
        known(policy=yielding, gpc=True),
        known(gpc=True, objects=True, ask=frozenset({"history"})),
        known(granted=(), held={}),
    ]
    pages += [known(granted=POLICY.purposes), known(policy=evil_policy(), held=evil_holding(), tastes=TASTES)]
    pages += [known(segments=MANIFEST.segments or GROUPS, within=one) for one in ((), ("regulars",))]
    for basis in ("contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"):
        purposes = {"a": replace(POLICY.purposes["improve"], legal_basis=basis)}
        message = Message(name="m", purpose="a", recipient="r")
        pages.append(seen(policy=replace(POLICY, purposes=purposes, messages=(message,))))
    for source in SOURCES:
        held = holding(
            history=drawer(),
            improve=drawer(events_remembered=2),
            personalize=drawer(features={"f": 1}, events_remembered=1),
        )
        held["consent"]["source"] = source
        pages.append(known(held=held))
    schema = [replace(MANIFEST.features[0], **declared) for declared in DECLARED]  # type: ignore[arg-type]
    for i, value in enumerate((0, 1, 2, 1.5, "never")):
        values = {one.name: value for one in schema}
        contributed = {"c": {"contributed": bool(i % 2), "until": NOON}}
        held = holding(personalize=drawer(features=values, times_shown={"p": i + 1}, contributions=contributed))
        pages.append(known(features=schema, held=held))
    receipts = [
        {**RECEIPT, "consents": {}},
        {**RECEIPT, "id": "2"},
        *({**RECEIPT, "tranche": str(i)} for i in range(12)),
    ]
    pages.append(known(held=holding(personalize=drawer(receipts=receipts * 2))))
    for page in pages:
        preference_page(w, page)
    for key in sentences():
        if key.startswith("notice."):
            preference_page(w, seen(), key.removeprefix("notice."))
    for asked in (True, False):
        confirmation_page(w, known=asked)
    for code in STATUS:
        error_page(w, code)
    plural = {"days.one"}  # nothing here lasts a day
    assert sentences().keys() - said - plural == set()


def test_every_word_that_the_routes_send_back_is_a_notice():
    source = inspect.getsource(routes)
    sent = set(re.findall(r'_seen_off\(request, "(\w+)"', source)) | {*routes._DONE.values()}
    sent |= {word for line in source.splitlines() if "notice =" in line for word in re.findall(r'"(\w+)"', line)} - {
        *("notice", "sec"),
    }
    sent |= {"pending", "erased", "not_undone"}
    assert sent == {key.removeprefix("notice.") for key in sentences() if key.startswith("notice.")}


def test_french_is_set_with_its_own_spaces():
    page = preference_page(Writer("fr"), known(granted={"personalize", "history"}), "saved")
    text = outline(page).text
    assert re.findall(r" [:;?!%»]|« ", text) == []
    assert "\u00a0:" in text
    assert re.findall(r"\w'\w", text) == []
    assert typeset("“a” : b ; c ? d", "en") == "“a” : b ; c ? d"
    assert typeset("oui : « a » ; b ? 5 %", "fr") == "oui\u00a0: «\u00a0a\u00a0»\u202f; b\u202f? 5\u202f%"


@pytest.mark.parametrize(
    ("asked", "accepted", "spoken"),
    [
        ("fr", "en", "fr"),
        ("en", "fr", "en"),
        ("", "fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("", "de, en;q=0.5, fr;q=0.7", "fr"),
        ("", "en;q=0, fr;q=0.1", "fr"),
        ("de", "", "en"),
        ("", "fr;q=4711", "en"),
        ("", "fr;q=nan,;;,", "en"),
        ("<b>", "*", "en"),
    ],
)
def test_the_language_is_the_one_asked_for_else_the_browsers_own(asked, accepted, spoken):
    assert language_of(asked, accepted) == spoken


def test_every_matter_of_the_catalogue_that_a_visitor_tells_has_words():
    told = {one.declaration["field"] for one in catalogue() if one.family in ("told", "asked")}
    listed = {
        value for one in catalogue() if one.family in ("told", "asked") for value in one.declaration.get("values", ())
    }
    assert {f"taste.field.{field}" for field in told} | {
        f"taste.value.{value}" for value in listed
    } <= sentences().keys()


def test_every_error_that_a_page_can_meet_has_words_and_a_way_on():
    unmet = {"not_found", "method_not_allowed", "too_many", "headers_too_large"}
    for code in STATUS.keys() - unmet:
        assert f"error.{code}.title" in sentences()
    for language in LANGUAGES:
        for code in STATUS:
            page = outline(error_page(Writer(language), code))
            assert {one["href"] for one in page.all("a")} >= {f"/preferences?lang={language}"}
            assert len(page.all("h1")) == 1


# Markup


def evil_policy() -> PrivacyPolicy:
    """A policy every text of which is markup."""
    words = dict.fromkeys(LANGUAGES, EVIL)
    purposes = {
        key: replace(one, title=words, description=words, interest=EVIL) for key, one in POLICY.purposes.items()
    }
    party = Party(name=EVIL, contact=EVIL, role="", address=EVIL)
    rights = replace(POLICY.rights, correct=EVIL, complain=EVIL)
    return replace(POLICY, purposes=purposes, controller=party, dpo=party, rights=rights)


def evil_holding() -> dict[str, Any]:
    """An export every text of which is markup."""
    receipt = {**RECEIPT, **dict.fromkeys(("id", "decision", "arm", "cause", "tranche", "bundle"), EVIL)}
    receipt |= {"consents": {EVIL: 1}, "withheld": [EVIL]}
    told = drawer(
        features={EVIL: EVIL, "visit_views_7d": EVIL, "visit_taste_30d": None},
        times_shown={EVIL: 2},
        receipts=[receipt],
        events_remembered=3,
        offers={EVIL: {"arm": EVIL, "until": NOON}},
        contributions={EVIL: {"contributed": False, "until": NOON}},
        triggers={"armed": {EVIL: {}}, "raised": [[EVIL, NOON]]},
    )
    held = holding(personalize=told)
    held["consent"]["source"] = EVIL
    return held


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("gpc", [False, True])
def test_whatever_policy_and_store_say_is_escaped(language, gpc):
    tastes = {EVIL: {"values": [EVIL], "holds": [EVIL]}}
    what = known(policy=evil_policy(), held=evil_holding(), tastes=tastes, within=[EVIL], gpc=gpc, objects=gpc)
    page = preference_page(Writer(language), what, EVIL)
    tags = outline(page).tags
    assert "script" not in {name for name, _ in tags}
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on")]
    assert page.count("<script") == 0
    assert page.count("&lt;script&gt;") >= 20


def test_a_value_is_sent_back_as_it_was():
    tastes = {"size": {"values": ["a : b's"], "holds": []}}
    (chip,) = [one for one in shown(known(tastes=tastes), "fr").all("button") if one.get("name") == "tell"]
    assert chip["value"] == "a : b's"


def test_markup_stays_and_text_becomes_some():
    w = Writer("en")
    assert w.tag("p", w.tag("b", "x"), "<", None, title='"', hidden=True, id=None) == (
        '<p title="&quot;" hidden><b>x</b>&lt;</p>'
    )
    assert isinstance(w.tag("br"), Html)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_has_its_language_its_landmarks_and_no_heading_left_out(language):
    pages = [
        preference_page(Writer(language), known(gpc=True, tastes={"size": {"values": ["m"], "holds": []}}), "saved"),
        preference_page(Writer(language), seen()),
        confirmation_page(Writer(language), known=True),
        error_page(Writer(language), "fault"),
    ]
    for page in pages:
        found = outline(page)
        assert found.all("html") == [{"lang": language}]
        for landmark in ("header", "nav", "main", "footer", "h1", "title"):
            assert len(found.all(landmark)) == 1
        levels = [int(name[1]) for name, _ in found.tags if re.fullmatch("h[1-6]", name)]
        assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
        ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert found.all("script") == found.all("style") == []
        assert not [attributes for _, attributes in found.tags if "style" in attributes]
        named = {*ids}
        for _, attributes in found.tags:
            for key in ("for", "form", "aria-labelledby", "aria-describedby"):
                assert attributes.get(key) is None or attributes[key] in named


# Choices


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("what", [seen(), seen(refused=True), known(granted=())])
def test_nothing_is_ticked_that_was_not_chosen(language, what):
    page = shown(what, language)
    assert [one for one in page.all("input") if "checked" in one] == []
    assert len([one for one in page.all("input") if one["name"] == "purpose" and "id" in one]) == 4


def test_what_was_chosen_is_ticked_and_nothing_else():
    page = shown(known(granted={"history"}))
    assert [one["value"] for one in page.all("input") if "checked" in one] == ["history"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_accepting_and_refusing_are_two_buttons_of_the_same_kind_side_by_side(language):
    page = shown(seen(), language)
    accept, refuse = ([one for one in page.all("button") if one.get("form") == way] for way in ("accept", "refuse"))
    assert (accept, refuse) == ([{"form": "accept"}], [{"form": "refuse"}])
    # What Enter presses in the form of the boxes is the first button that is its own: the one that saves them.
    assert next(one for one in page.all("button") if "form" not in one) == {"class": "save"}


def test_an_objecting_browser_is_told_so_and_offered_no_switch_that_does_nothing():
    page = shown(seen(gpc=True, objects=True))
    assert "Global Privacy Control" in page.text
    assert page.all("button") == []
    assert [one for one in page.all("input") if one["type"] == "checkbox"] == []
    stored = shown(known(granted=(), stored=frozenset({"history"}), gpc=True, objects=True))
    assert [one for one in stored.all("button") if one.get("form")] == [{"form": "refuse"}]
    assert "still stored" in stored.text


def test_a_policy_that_lets_a_later_choice_count_offers_it_to_an_objecting_browser():
    policy = replace(POLICY, signals=replace(POLICY.signals, gpc_yields_to_later_choice=True))
    page = shown(seen(policy=policy, gpc=True, objects=True))
    assert {one.get("form") for one in page.all("button")} >= {"accept", "refuse"}
    assert "later choice counts" in page.text
    before = known(policy=policy, granted=(), stored=frozenset({"history"}), gpc=True, objects=True)
    assert [one for one in shown(before).all("input") if "checked" in one] == []
    assert "still stored, unused: Remember past purchases." in shown(before).text
    assert "later choice counts" in shown(known(policy=policy, gpc=True)).text


def test_a_purpose_that_is_new_or_was_widened_is_marked_as_such():
    assert "New or changed" not in shown(known()).text
    assert shown(known(ask=frozenset({"history"}))).text.count("New or changed") == 1


def test_a_choice_carries_the_version_that_was_read():
    versions = [one for one in shown(seen()).all("input") if one["name"] == "policy"]
    assert [one["value"] for one in versions] == [str(POLICY.version)] * 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_purpose_says_what_it_means_how_long_and_on_what_ground(language):
    text = shown(seen(), language).text
    for purpose in POLICY.purposes.values():
        assert typeset(purpose.title[language], language) in text
        assert typeset(purpose.description[language], language) in text
    for said in {"en": ("180 days", "browsing history, for 30 days", "GDPR 6(1)(a)"), "fr": ("180 jours", "RGPD 6")}[
        language
    ]:
        assert said in text


# What is held, and why


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (seen(), "this browser brought no number"),
        (seen(refused=True), "a cookie that says “refused”"),
        (known(held={}, granted=(), chosen=None), "Nothing is held about you."),
    ],
)
def test_of_nobody_nothing_is_held(what, said):
    assert said in shown(what).text


def test_what_is_held_is_told_in_words():
    features = {"visit_views_7d": 3, "visit_taste_30d": "wool_socks", "visit_carts_7d": 0, "bought_last_90d": 0}
    page = shown(known(held=holding(personalize=drawer(features=features, times_shown={"promotion": 1}))))
    assert "Number of views of items, 7 days" in page.text
    assert "wool socks" in page.text
    assert "Nothing so far: number of additions to the cart, 7 days." in page.text
    assert "today" in page.text
    assert "“promotion” was answered once." in page.text
    assert "Goes 90 days after your last visit" in page.text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_of_a_decision_is_told_in_words(language, cause):
    receipts = [{**RECEIPT, "cause": cause}]
    text = shown(known(held=holding(personalize=drawer(receipts=receipts))), language).text
    assert "promotion" in text
    assert not cause or f"{cause}." not in text
    told = {"holdout": "few who keep the usual page", "capped": "seen enough", "": "The answer is the one for “warm”"}
    if language == "en" and cause in told:
        assert told[cause] in text


def test_a_decision_says_when_what_for_and_what_was_not_looked_at():
    text = shown(known()).text
    for said in (
        "promotion: ten off",
        "12:00 UTC",
        "Looked at for it: what you allow for “Suit this visit”.",
        "Not looked at, because you did not allow it: Number of purchases, 90 days; a feature of before.",
        "Model demo_promotions 1, privacy policy 1, receipt 00c0ffee00c0ffee.",
    ):
        assert said in text


def test_the_same_answer_several_times_in_a_row_is_told_once_and_no_more_than_ten_are():
    same = [{**RECEIPT, "id": f"{i:016x}", "time": NOON + i} for i in range(5)]
    assert "5 times, the last on" in shown(known(held=holding(personalize=drawer(receipts=same)))).text
    others = [{**one, "tranche": str(i)} for i, one in enumerate(same * 3)]
    page = shown(known(held=holding(personalize=drawer(receipts=others))))
    assert page.text.count("privacy policy 1, receipt") == 10
    assert "The download below holds all of them." in page.text


# Forms


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (b"", {}),
        (b"do=save&purpose=a&purpose=b", {"do": ("save",), "purpose": ("a", "b")}),
        (b"do=%C3%A9+x&purpose=", {"do": ("é x",), "purpose": ("",)}),
    ],
)
def test_a_form_is_read(data, fields):
    assert parse_form(data, ("do",), ("purpose",)).fields == fields


@pytest.mark.parametrize(
    "data",
    [
        b"do=save&do=save",
        b"more=4711",
        b"do",
        b"&&",
        b"do=%FF",
        b"do=\xc3\xa9",
        b"\x00",
        b"&".join([b"purpose=4711"] * (MOST_FORM_FIELDS + 1)),
    ],
)
def test_what_is_no_form_of_ours_is_refused_and_not_repeated(data):
    with pytest.raises(Problem) as caught:
        parse_form(data, ("do",), ("purpose",))
    assert caught.value.code == "malformed"
    assert "4711" not in caught.value.message


def test_a_value_that_is_not_known_is_refused_and_not_repeated():
    form = parse_form(b"do=4711&purpose=a&purpose=a", ("do",), ("purpose",))
    for reading in (lambda: form.choice("do", ("save",)), lambda: form.every("purpose", ("a",))):
        with pytest.raises(Problem, match=r"purpose|do") as caught:
            reading()
        assert "4711" not in caught.value.message
    assert form.one("purpose") == "a"


def test_the_limits_of_a_form_are_small():
    assert MOST_FORM_BYTES <= 1 << 16
    assert MOST_FORM_FIELDS <= 1 << 10


def test_the_content_policy_lets_no_script_in():
    policy: Mapping[str, str] = dict(one.strip().split(" ", 1) for one in routes.CONTENT_POLICY.split(";"))  # type: ignore[misc]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["style-src"] == policy["form-action"] == "'self'"
    assert "unsafe" not in routes.CONTENT_POLICY
    assert not policy.keys() & {"script-src", "script-src-elem", "script-src-attr", "connect-src", "frame-src"}


@pytest.mark.parametrize("theme", [b"", b"p { color: red; }", b"x" * (64 << 10)])
def test_a_theme_is_read_with_the_configuration(tmp_path, theme):
    path = configure(Shop(tmp_path, Clock()), theme="shop.css")
    (tmp_path / "shop.css").write_bytes(theme)
    assert read_config(path).theme == theme


@pytest.mark.parametrize("theme", [None, b"x" * ((64 << 10) + 1), b"\xff"])
def test_a_theme_that_cannot_be_served_is_refused_at_the_start(tmp_path, theme):
    path = configure(Shop(tmp_path, Clock()), theme="shop.css")
    if theme is not None:
        (tmp_path / "shop.css").write_bytes(theme)
    with pytest.raises((Missing, Malformed), match="theme"):
        read_config(path)


def test_the_cookie_lasts_as_the_page_says():
    assert COOKIE_SECONDS == 180 * 86_400
    assert "180 days" in sentences()["held.cookie"]["en"]
    assert "180 jours" in sentences()["held.cookie"]["fr"]
