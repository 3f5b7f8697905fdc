"""`entrenous privacy bundle`: what a bundle asks and decides by, as whoever answers for the policy reads it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.rules import PAGE, target
from tests.segments import trigger
from tests.shop import Shop

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.cli import main
from entrenous.documents.bundle_documents import bundle_document
from entrenous.documents.privacy_commands import REFUSED
from entrenous_consent.dpo.rendering import FORMATS, render
from entrenous_consent.dpo.words import load_words
from entrenous_consent.policy import parse_policy

FOR = "visit_views_7d >= 2 && page_url.startsWith('/sale')"
OUT = "now.getHours('+01:00') < 8"
REGULAR = "visit_views_7d > 20"
CART = {
    "name": "cart",
    "kind": "cart_abandoned",
    "purpose": "personalize",
    "exclude": "segment('regulars')",
    "cap": {"times": 1, "days": 7},
    "at_least": 2,
    "within_hours": 3,
}
BACK = {"name": "back", "kind": "win_back", "purpose": "history", "message": "news"}
BACK |= {"after": "any", "category": "shoes"}
MESSAGE = '\n[[messages]]\nname = "news"\npurpose = "history"\nrecipient = "Mailer"\n'


@pytest.fixture
def ruled(shop: Shop) -> Shop:
    """A shop whose bundle has rules, segments and triggers."""
    target(shop, FOR, exclude=OUT, context=[PAGE])
    trigger(shop, CART, BACK, regulars=("personalize", REGULAR), lively=("personalize", "segment('regulars') && 1 < 2"))
    with shop.policy.open("a") as file:
        file.write(MESSAGE)
    return shop


def said(shop: Shop, language: str = "en", form: str = "text") -> str:
    bundle, policy = read_bundle(shop.bundle.read_bytes()), parse_policy(shop.policy.read_bytes())
    text = render(bundle_document(bundle, policy, language, "9.9"), form)
    return " ".join(text.split()) if form == "text" else text


def run(shop: Shop, *more: str) -> int:
    return main(["privacy", "bundle", str(shop.policy), str(shop.bundle), *more])


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_rule_is_shown_with_what_it_reads(ruled, language):
    text, words = said(ruled, language), load_words(language, "documents", "bundle")
    for rule in (FOR, OUT, REGULAR, "segment('regulars')", "segment('regulars') && 1 < 2"):
        assert rule in text
    views, page = text.index(FOR), text.index("page_url (")
    assert views < text.index("visit_views_7d (", views) or views < page
    for said_of in (words("clock"), words("rules_read"), words("trigger.app"), words("trigger.any"), "Mailer"):
        assert " ".join(said_of.split()) in text
    assert words("permitted", version=1, tenant="demo_shop") in text


def test_programs_are_told_the_same_rules(ruled):
    data = json.loads(said(ruled, form="json"))["data"]
    assert data["rules"] == {
        "decisions.promotion.targeting": FOR,
        "decisions.promotion.exclude": OUT,
        "segments.regulars": REGULAR,
        "segments.lively": "segment('regulars') && 1 < 2",
        "triggers.cart.exclude": "segment('regulars')",
    }
    assert data["refusals"] == []
    assert data["bundle"]["digest"] == read_bundle(ruled.bundle.read_bytes()).digest.hex()


def test_a_decision_says_whom_it_answers_and_what_bounds_it(ruled):
    text = said(ruled)
    assert "by the rule below" in text
    assert "10 % of those who granted it keep the default" in text
    assert "add_to_cart, 2 times within 3 h" in text
    assert "any event (shoes)" in text
    assert "1 in 7 days" in text


def test_a_bundle_without_rules_is_for_everyone(shop):
    text = said(shop)
    assert "everyone who granted the purpose" in text
    assert "nobody" in text
    assert "by the rule below" not in text


@pytest.mark.parametrize("form", FORMATS)
def test_a_bundle_that_the_policy_permits_is_shown_in_every_form(ruled, capsys, form):
    assert run(ruled, "--format", form, "--language", "fr") == 0
    assert "Déclencheur" in capsys.readouterr().out.encode().decode("unicode_escape" if form == "json" else "utf-8")


def test_what_the_policy_refuses_is_shown_first_and_told_by_the_exit_code(ruled, capsys):
    text = ruled.policy.read_text().replace('name = "news"', 'name = "other"').replace('"page_url"', '"page_urls"')
    ruled.policy.write_text(text)
    assert run(ruled) == REFUSED == 1
    out = capsys.readouterr().out
    assert "[ERROR]" in out
    assert "features.page_url: the policy names no such feature" in out
    assert "triggers.back.message: the policy names no such message" in out
    assert out.index("features.page_url") < out.index(FOR)


def test_a_purpose_that_the_policy_lacks_is_named_by_its_key(ruled):
    bundle, policy = read_bundle(ruled.bundle.read_bytes()), parse_policy(ruled.policy.read_bytes())
    fewer = replace(policy, purposes={key: one for key, one in policy.purposes.items() if key != "history"})
    text = " ".join(render(bundle_document(bundle, fewer, "en", "9.9"), "text").split())
    assert "the policy has no purpose 'history'" in text


def test_what_was_learnt_from_research_is_said(shop):
    read = read_bundle(shop.bundle.read_bytes())
    shop.bundle.write_bytes(encode_bundle(replace(read.manifest, public_research_data=True), read.models))
    assert "learnt from public research data" in said(shop)


def test_what_is_no_bundle_is_refused(shop, capsys):
    Path(shop.bundle).write_bytes(b"no bundle")
    assert run(shop) == 2
    assert "bundle" in capsys.readouterr().err


def test_a_text_in_a_rule_stays_in_its_place(shop):
    """What a rule looks for is the data scientist's: it can't add lines to what the DPO reads, nor markup."""
    target(shop, r"page_url == '\n\nOK <script>\u202e'", context=[PAGE])
    for form in FORMATS:
        text = said(shop, form=form)
        assert "\nOK" not in text
        assert "\u202e" not in text
        assert form != "html" or "<script" not in text
