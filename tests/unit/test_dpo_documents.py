"""Register, impact assessment, notice, explanation and report: what a policy says, in words, in both languages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.shop import Clock, Shop

from entrenous.decision import REASONS
from entrenous.loop.reports import mechanism_of
from entrenous_consent.dpo.card import CARD_LIMIT, CardFacts, PatternFacts, read_card_facts
from entrenous_consent.dpo.dpia import dpia_document
from entrenous_consent.dpo.explain import RECEIPTS_LIMIT, explain_feature, explain_receipts, read_receipts
from entrenous_consent.dpo.facts import FACTS_LIMIT, read_document
from entrenous_consent.dpo.figures import chance_to_show, count_epsilon, threshold
from entrenous_consent.dpo.lint import lint_document
from entrenous_consent.dpo.notice import notice_document
from entrenous_consent.dpo.register import register_document
from entrenous_consent.dpo.rendering import FORMATS, Document, Facts, Items, Listing, Paragraph, Section, Table, render
from entrenous_consent.dpo.report import report_document
from entrenous_consent.dpo.words import LANGUAGES, load_words
from entrenous_consent.errors import Malformed
from entrenous_consent.policy import RIGHTS, FeatureRule, PrivacyPolicy, parse_policy
from entrenous_consent.retention import RECEIPT_DAYS

DAY = 86_400
TEXT = files("entrenous").joinpath("demo/policy.toml").read_text("utf-8")
POLICY = parse_policy(TEXT.encode())
PARTIES = """
[[roles]]
name = "Host (fictional)"
contact = "h@host.example"
role = "processor"

[[recipients]]
name = "Carrier"
contact = "c@carrier.example"
country = "CH"

[[recipients]]
name = "Mailer"
contact = "m@mailer.example"

[[transfers]]
country = "CH"
recipient = "Carrier"
safeguard = "2000/518/EC"
kind = "adequacy"

[[transfers]]
country = "US"
recipient = "Mailer"
safeguard = "to be signed"

[[messages]]
name = "parcel_sent"
purpose = "history"
recipient = "Carrier"

[signals]"""
BOUGHT = 'category = "user.behavior.purchase_history"\nsource = '
IMPROVE = 'legal_basis = "consent"\nterminal = "none"'
INTEREST = 'legal_basis = "legitimate_interests"\ninterest = "to sell what is wanted"\nterminal = "exempt"'


def rewritten(*changes: tuple[str, str]) -> PrivacyPolicy:
    text = TEXT
    for written, instead in changes:
        assert written in text, written
        text = text.replace(written, instead)
    return parse_policy(text.encode())


FULL = rewritten(
    ("retention_days = 90", 'retention_days = 90\ninfers = ["urgency"]'),
    ("alone = true", 'alone = false\nreview = "ask@shop.example"'),
    (f'{BOUGHT}"first_party"', 'category = "user.location"\nsource = "broker"'),
    (IMPROVE, f'{INTEREST}\nterminal_ground = "asked for"'),
    ("[signals]", PARTIES),
)
BARE = replace(
    POLICY,
    features=(),
    reports=(),
    decisions=(),
    identifiers=(),
    security=(),
    data_subjects=(),
    children="",
    epoch=10 * DAY,
    audit_retention_days=30,
    rights=replace(POLICY.rights, complain="", erase=""),
)
CARD = CardFacts(
    name="m",
    version=3,
    learnt=1935,
    judged=466,
    k=20,
    research=True,
    patterns=(
        PatternFacts(purposes=("history",), auc=0.7554, price=0.0),
        PatternFacts(purposes=(), auc=0.5, price=0.2554),
    ),
)
RECEIPT = {
    "id": "00000000000000ab",
    "time": 1_700_000_000,
    "decision": "promotion",
    "arm": "ten_off",
    "reason": "TARGETING_MATCH",
    "cause": "",
    "tranche": "hot",
    "bundle": "demo 1",
    "policy": 1,
    "consents": {"personalize": 1},
    "withheld": ["bought_orders"],
}


def said(document: Document, form: str = "text") -> str:
    return " ".join(render(document, form).split())


def every_document(policy: PrivacyPolicy, language: str) -> list[Document]:
    return [
        lint_document(policy, language),
        register_document(policy, language, "9.9"),
        dpia_document(policy, CARD, language, "9.9"),
        dpia_document(policy, None, language, "9.9"),
        notice_document(policy, language, "9.9"),
        explain_feature(policy, "visit_views", language, "9.9"),
        explain_receipts(policy, read_receipts(json.dumps(RECEIPT).encode()), language, "9.9"),
        report_document(policy, [lint_document(policy, language)], language, "9.9"),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("policy", [POLICY, FULL, BARE], ids=["shipped", "full", "bare"])
def test_every_document_is_written_in_every_form(policy, language):
    for document in every_document(policy, language):
        assert document.language == language
        for form in FORMATS:
            text = render(document, form)
            assert not re.search(r"\{\w+\}", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)), document.kind
        assert json.loads(render(document, "json"))["kind"] == document.kind


def test_the_same_policy_gives_the_same_bytes():
    for once, again in zip(every_document(FULL, "fr"), every_document(FULL, "fr"), strict=True):
        assert render(once, "html") == render(again, "html")


# The record of processing


def test_the_register_has_the_seven_points_of_the_article():
    document = register_document(FULL, "en", "9.9")
    assert [section.key for section in document.sections] == list("abcdefg")
    text = said(document)
    for part in (
        "Demo Shop (fictional)",
        "processor",
        "customers, visitors",
        "location",
        "Carrier",
        "adequacy decision (GDPR 45)",
        "2000/518/EC",
        "90 days",
        "a keyed function (HMAC)",
        "entrenous 9.9",
        FULL.digest.hex(),
    ):
        assert part in text, part
    assert document.data["digest"] == FULL.digest.hex()


def test_what_is_not_stated_is_said_to_be_missing():
    text = said(register_document(BARE, "en", "9.9"))
    assert text.count("not stated in the policy") >= 3
    assert "The policy names no feature" in text
    assert "no transfer" in text.lower()


# The impact assessment


def test_the_assessment_leaves_to_people_what_is_theirs():
    for language, mark in (("en", "[To be answered by a person]"), ("fr", "[À compléter par une personne]")):
        document = dpia_document(FULL, CARD, language, "9.9")
        assert [section.key for section in document.sections] == list("abcde")
        assert said(document).count(mark) == 9, "eight that every one has, and the weighing of the one interest"
        assert said(dpia_document(POLICY, CARD, language, "9.9")).count(mark) == 8


def test_the_assessment_is_filled_in_with_what_was_measured():
    document = dpia_document(POLICY, CARD, "en", "9.9")
    text = said(document)
    for part in ("466 visitors", "learnt from 1935", "history 0.755 0.000", "none 0.500 0.255", "public research data"):
        assert part in text, part
    assert "fewer than 20 visitors" in text
    assert document.data["reports"][0]["threshold"] == threshold(POLICY.reports[0])
    assert document.data["retention_days"]["bought_*"] == 90
    assert document.data["model"] == {"name": "m", "version": 3, "k": 20}


def test_without_a_card_the_assessment_says_so():
    own = said(dpia_document(POLICY, replace(CARD, research=False), "en", "9.9"))
    assert "public research data" not in own
    document = dpia_document(BARE, None, "en", "9.9")
    assert "No model card was given" in said(document)
    assert "No report is declared" in said(document)
    assert document.data["model"] is None


def test_a_card_that_train_wrote_is_read():
    card = {
        "format": 1,
        "name": "m",
        "version": 3,
        "data": {"public_research_data": True, "visitors": {"learnt": 1935, "judged": 466}, "rows": {}},
        "k": {"k": 20, "least_support": 20, "auc": []},
        "patterns": [
            {"purposes": ["history"], "quality": {"auc": 0.7554, "curve": []}, "price": 0.0, "withheld": []},
            {"purposes": [], "quality": {"auc": 0.5}, "price": 0.2554},
        ],
    }
    assert read_card_facts(json.dumps(card).encode()) == CARD
    for data, place in (
        (b"{", "card"),
        (b"[" * 100_000, "card"),
        (b"x" * (CARD_LIMIT + 1), "card"),
        (b"[]", "card: document"),
        (json.dumps({**card, "format": 2}).encode(), "card: format"),
        (json.dumps({**card, "k": {"k": True}}).encode(), "card: k.k"),
    ):
        with pytest.raises(Malformed) as caught:
            read_card_facts(data)
        assert caught.value.place == place
        assert caught.value.remedy


# The notice


def test_the_notice_tells_a_visitor_purpose_by_purpose():
    text = said(notice_document(FULL, "en", "9.9"))
    for part in (
        "You need not grant anything",
        "you may object",
        "Suit this visit",
        "location (90 days; from broker)",
        "Our interest: to sell what is wanted",
        "promotion: changes an offer",
        "A person takes part.",
        "ask@shop.example",
        "Carrier",
        "This is not addressed to children",
        "CNIL",
    ):
        assert part in text, part


def test_a_notice_of_consent_alone_speaks_of_no_other_basis():
    document = notice_document(POLICY, "en", "9.9")
    text = said(document)
    assert "you may object" not in text
    assert "A program decides" in text
    assert [section.key for section in notice_document(BARE, "en", "9.9").sections] == [
        "who",
        "what-for",
        "recipients",
        "transfers",
        "kept",
        "rights",
    ]
    asks = replace(POLICY, children="yes", decisions=(replace(POLICY.decisions[0], inputs=()),))
    assert "Children are addressed." in said(notice_document(asks, "en", "9.9"))
    assert "from every feature of the policy" in said(
        notice_document(replace(POLICY, decisions=(replace(POLICY.decisions[0], inputs=("x",)),)), "en", "9.9")
    )


# Explanations


def test_a_feature_is_explained_by_the_rule_that_speaks_of_it():
    text = said(explain_feature(FULL, "bought_orders", "en", "9.9"))
    for part in (
        "Remember past purchases",
        "90 days",
        "all that begin with bought_",
        "promotion",
        "urgency",
        "/privacy",
    ):
        assert part in text, part
    own = said(explain_feature(POLICY, "hour", "en", "9.9"))
    assert "Rule of the policy its own" in own
    none = said(explain_feature(replace(POLICY, decisions=()), "hour", "en", "9.9"))
    assert "no declared decision" in none


def test_a_feature_that_the_policy_does_not_name_is_said_to_be_refused():
    document = explain_feature(POLICY, "shoe_size", "en", "9.9")
    assert "names no such feature" in said(document)
    assert document.data["rule"] is None


def test_a_receipt_says_what_was_looked_at_and_what_was_not():
    text = said(explain_receipts(POLICY, read_receipts(json.dumps([RECEIPT]).encode()), "en", "9.9"))
    for part in (
        "2023-11-14 22:13 UTC",
        "The answer was ten_off.",
        "Suit this visit, as granted under consent version 1",
        "Not looked at, for want of consent bought_orders",
        "bundle demo 1, policy version 1",
        "hot",
    ):
        assert part in text, part


def test_a_receipt_of_nothing_says_so():
    empty = {**RECEIPT, "arm": "", "reason": "DEFAULT", "cause": "capped", "tranche": "", "bundle": "", "policy": 2}
    empty |= {"consents": {"gone": 1}, "withheld": []}
    text = said(explain_receipts(POLICY, read_receipts(json.dumps([empty, RECEIPT]).encode()), "en", "9.9"))
    for part in (
        "The answer was the default",
        "the default was given (capped)",
        "gone, as granted",
        "no bundle",
        "It was made under version 2",
    ):
        assert part in text, part
    nothing = json.dumps({**empty, "consents": {}}).encode()
    assert "nothing about the visitor" in said(explain_receipts(POLICY, read_receipts(nothing), "en", "9.9"))


def test_a_visitors_export_is_read_whole(tmp_path):
    shop = Shop(tmp_path, Clock())
    client = shop.open()
    visitor = client.visitor("customer-42")
    assert visitor.consent({"personalize": True, "history": True, "measure": False, "improve": False}).accepted
    visitor.observe("view_item", category="slippers", price=4900, currency="EUR")
    receipt = visitor.decide("promotion", default="none").receipt
    export = visitor.export().data
    client.close()
    for given in (export, {"format": 1, "kind": "export", "data": export}):
        [read] = read_receipts(json.dumps(given).encode())
        assert (read.id, read.arm, dict(read.consents)) == (
            f"{receipt.id:016x}",
            receipt.basis.arm,
            {"history": 1, "personalize": 1},
        )
    assert "Remember past purchases, as granted" in said(explain_receipts(POLICY, (read,), "en", "9.9"))


def test_a_receipt_of_an_arm_that_was_drawn_says_for_how_many():
    [read] = read_receipts(json.dumps({**RECEIPT, "share": 2_500}).encode())
    assert "25.00%" in said(explain_receipts(POLICY, (read,), "en", "9.9"))
    assert "%" not in said(explain_receipts(POLICY, read_receipts(json.dumps(RECEIPT).encode()), "en", "9.9"))


@pytest.mark.parametrize(
    "given", [{}, [], {"purposes": {}}, {"purposes": {"a": 1, "b": {"receipts": 1}}}, {"data": {}}]
)
def test_a_file_without_a_receipt_says_so(given):
    with pytest.raises(Malformed, match="holds no receipt"):
        read_receipts(json.dumps(given).encode())


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"{", "r.json"),
        (b"[" * 100_000, "r.json"),
        (b" " * (RECEIPTS_LIMIT + 1), "r.json"),
        (b"[1]", "r.json: receipts[0]"),
        (json.dumps({**RECEIPT, "visitor": "bob"}).encode(), "r.json: receipts[0]"),
        (json.dumps({**RECEIPT, "time": -1}).encode(), "r.json: receipts[0].time"),
        (
            json.dumps({**RECEIPT, "consents": {"personalize": "1"}}).encode(),
            "r.json: receipts[0].consents",
        ),
        (json.dumps({**RECEIPT, "reason": "LUCK"}).encode(), "r.json: receipts[0].reason"),
    ],
)
def test_a_receipt_that_is_none_is_refused(data, place):
    with pytest.raises(Malformed) as caught:
        read_receipts(data, place="r.json")
    assert caught.value.place == place
    assert caught.value.remedy


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_a_decision_is_explained(reason):
    receipts = read_receipts(json.dumps({**RECEIPT, "reason": reason}).encode())
    for language in LANGUAGES:
        assert load_words(language, "documents")(f"reason.{reason}") in said(
            explain_receipts(POLICY, receipts, language, "9.9")
        )


# Figures and pictures


def test_receipts_are_said_to_be_kept_as_long_as_a_profile_keeps_them():
    assert f"the last receipts of decision promotion {RECEIPT_DAYS} days" in said(
        register_document(POLICY, "en", "9.9")
    )
    assert "expiry, of at most 90 days" in said(dpia_document(POLICY, None, "en", "9.9"))


@pytest.mark.parametrize("folder", ["sdk/entrenous/demo", "exporters/entrenous_exporters/demo"])
def test_the_threshold_is_the_one_that_a_release_uses(folder):
    policy = parse_policy((Path(__file__).parents[2] / folder / "policy.toml").read_bytes())
    for report in policy.reports:
        assert threshold(report) == mechanism_of(report).threshold
        assert 0 < count_epsilon(report) < report.epsilon


def test_the_chance_to_show_falls_off_below_the_threshold():
    report = POLICY.reports[0]
    limit = threshold(report)
    chances = [chance_to_show(report, count) for count in range(2 * limit)]
    assert chances == sorted(chances)
    assert chances[report.cohort - 1] <= report.delta < chance_to_show(report, report.cohort + 2)
    assert chance_to_show(report, limit) > 0.5 > chance_to_show(report, limit - 1)


def pictures(language: str, policy: PrivacyPolicy = FULL) -> list[str]:
    return re.findall(r"<svg.*?</svg>", render(report_document(policy, (), language, "9.9"), "html"), re.DOTALL)


@pytest.mark.parametrize("language", LANGUAGES)
def test_pictures_are_whole_and_stay_within_their_frame(language):
    drawn = pictures(language)
    assert len(drawn) == 3
    for svg in drawn:
        tree = ElementTree.fromstring(svg)
        _, _, wide, high = map(float, tree.attrib["viewBox"].split())
        for mark in tree.iter("text"):
            x, y, size = (float(mark.attrib[name]) for name in ("x", "y", "font-size"))
            length = 0.56 * size * len(mark.text or "")
            start = {"start": x, "middle": x - length / 2, "end": x - length}[mark.attrib["text-anchor"]]
            assert start >= -12, mark.text
            assert start + length <= wide + 12, mark.text
            assert 0 < y <= high


def test_a_picture_says_no_more_than_the_policy_and_escapes_it():
    hostile = replace(FULL.features[3], pattern="<script>", category="user.behavior")
    named = replace(FULL, features=(hostile,))
    assert not any("<script>" in svg for svg in pictures("en", named))
    assert len(pictures("en", BARE)) == 2
    long = replace(FULL.features[3], pattern="b" * 64)
    assert any("…" in svg for svg in pictures("en", replace(FULL, features=(long,))))


# The report


def test_the_report_holds_all_of_it():
    document = report_document(FULL, (), "en", "9.9")
    text = said(document)
    for part in ("WARNING", "pseudonymous", "one in 1,000,000,000", "1000.00 EUR", "No facts of a host were given"):
        assert part in text, part
    for right in RIGHTS:
        if right != "complain":
            assert getattr(FULL.rights, right) in text
    assert document.data["findings"]
    bare = said(report_document(BARE, (), "en", "9.9"))
    assert "The policy declares no report" in bare
    minor = replace(POLICY, reports=(replace(POLICY.reports[0], currency="", segments=()),))
    assert "100000 of revenue, in minor units" in said(report_document(minor, (), "en", "9.9"))


def test_the_report_says_what_other_verbs_found():
    inner = Section(key="x", heading="Inner", blocks=(Paragraph(text="Deep."),))
    whole = Document(
        kind="retention",
        language="en",
        title="What is held",
        lead=(Paragraph(text="All well.", mark="OK", tone="good"),),
        sections=(
            Section(
                key="x",
                heading="Outer",
                blocks=(
                    Items(items=("an item",)),
                    Facts(facts=(("name", "value"),)),
                    Table(caption="c", headings=("h",), rows=(("cell",),)),
                    Listing(text="as it is"),
                ),
                sections=(inner,),
            ),
        ),
        footer=("Made.",),
        data={"n": 1},
    )
    read = read_document(render(whole, "json").encode())
    assert read == whole
    text = render(report_document(POLICY, [read, read], "en", "9.9"), "html")
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for part in ("What is held", "All well.", "an item", "cell", "as it is", "Deep."):
        assert part in text


def test_a_picture_comes_back_as_its_words():
    read = read_document(render(report_document(POLICY, (), "en", "9.9"), "json").encode())
    assert any("What stays and what leaves" in str(section.blocks) for section in read.sections)


DOCUMENT = {
    "format": 1,
    "kind": "k",
    "language": "en",
    "title": "t",
    "data": {},
    "lead": [],
    "sections": [],
    "footer": [],
}
CANARY = "bob_the_canary"
LOUD = {"text": "x", "mark": "m", "tone": "loud"}
DEEP = {"key": "a", "heading": "h", "blocks": []}
EMPTY = {"caption": "", "headings": [], "rows": [[]]}


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"{", "facts"),
        (b"[" * 100_000, "facts"),
        (b" " * (FACTS_LIMIT + 1), "facts"),
        (json.dumps({**DOCUMENT, "format": 2}).encode(), "facts: format"),
        (json.dumps({**DOCUMENT, "colour": 1}).encode(), "facts: document"),
        (json.dumps({**DOCUMENT, "footer": [1]}).encode(), "facts: footer[0]"),
        (
            json.dumps({**DOCUMENT, "lead": [LOUD]}).encode(),
            "facts: lead[0].tone",
        ),
        (json.dumps({**DOCUMENT, "lead": [{"html": "<b>"}]}).encode(), "facts: lead[0].picture"),
        (json.dumps({**DOCUMENT, "lead": [{"text": "x", CANARY: 1}]}).encode(), "facts: lead[0]"),
        (
            json.dumps({**DOCUMENT, "sections": [{**DEEP, "blocks": [{"facts": [["a"]]}]}]}).encode(),
            "facts: sections[0].blocks[0].facts[0]",
        ),
        (
            json.dumps({**DOCUMENT, "sections": [{**DEEP, "blocks": [EMPTY]}]}).encode(),
            "facts: sections[0].blocks[0].headings",
        ),
        (
            json.dumps({**DOCUMENT, "sections": [{**DEEP, "sections": [{**DEEP, "sections": [DEEP]}]}]}).encode(),
            "facts: sections[0].sections[0].sections[0].sections",
        ),
    ],
)
def test_facts_that_no_verb_wrote_are_refused(data, place):
    with pytest.raises(Malformed) as caught:
        read_document(data)
    assert caught.value.place == place
    assert caught.value.remedy
    assert CANARY not in str(caught.value)


FULLEST = {
    **DOCUMENT,
    "lead": [{"text": "t", "mark": "m", "tone": "good"}],
    "sections": [
        {
            **DEEP,
            "blocks": [
                {"text": "t"},
                {"items": ["i"]},
                {"facts": [["n", "v"]]},
                {"caption": "c", "headings": ["h"], "rows": [["r"]]},
                {"listing": "l"},
                {"picture": "p"},
            ],
        }
    ],
    "footer": ["f"],
}


def emptied(value: object) -> Iterator[object]:
    """Yield a document's values with one text, array or table in them emptied."""
    if isinstance(value, (str, list, dict)):
        yield type(value)()
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        for less in emptied(inner):
            yield {**value, key: less} if isinstance(value, dict) else [*value[:key], less, *value[key + 1 :]]


@pytest.mark.parametrize("form", FORMATS)
def test_facts_with_nothing_in_some_place_are_refused_or_written(form):
    written = 0
    for less in emptied(FULLEST):
        try:
            found = read_document(json.dumps(less).encode())
        except Malformed:
            continue
        written += bool(render(report_document(POLICY, [found], "en", "9.9"), form))
    assert written > 20


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_notice_tells_what_is_kept_until_it_is_counted(language: str) -> None:
    document = notice_document(POLICY, language, "9.9")
    [section] = [one for one in document.sections if one.key == "what-for"]
    [measure] = [one for one in section.sections if one.key == "purpose-measure"]
    text = " ".join(block.text for block in measure.blocks)
    assert "promotion (60 " in text
    assert "beyond your choice" not in text
    assert "hors votre choix" not in text


def test_the_report_tells_what_waits_to_be_counted_and_of_improve_that_nothing_does() -> None:
    document = report_document(POLICY, (), "en", "9.9")
    [section] = [one for one in document.sections if one.key == "features"]
    told = {one.key: one.blocks for one in section.sections}
    assert told["purpose-measure"] == (Facts(facts=(("what one visitor adds to report promotion", "60 days"),)),)
    assert told["purpose-improve"] == (Paragraph(text="No data of its own is kept for it, beyond the choice."),)


def test_no_document_says_that_noise_hides_a_person_whatever_epsilon_is() -> None:
    assert "by a factor of 55 at most" in said(dpia_document(POLICY, None, "en", "9.9"))
    for language in ("en", "fr"):
        for document in (dpia_document(POLICY, None, language, "9.9"), notice_document(POLICY, language, "9.9")):
            for claim in ("nobody can tell", "nul ne puisse", "hides whether", "cache si"):
                assert claim not in said(document)


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_data_comes_from_is_said_in_words_and_an_unknown_word_as_it_is(language):
    words = load_words(language, "documents")
    for source in ("app", "crm", "first_party", "visitor"):
        told = said(explain_feature(replace(POLICY, features=(sourced(source),)), "bought_orders", language, "9.9"))
        assert words(f"source.{source}") in told
    assert "a broker" in said(
        explain_feature(replace(POLICY, features=(sourced("a broker"),)), "bought_orders", "en", "")
    )


def sourced(source: str) -> FeatureRule:
    return replace(next(one for one in POLICY.features if one.pattern == "bought_*"), source=source)
