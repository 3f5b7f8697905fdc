"""The shop page of `examples/web` in a real browser, in English and French, beside a worker and in front of one.

`ENTRENOUS_PICTURES=docs` writes the pictures of the documents anew.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from entrenous import demo
from tests.decisions import promotion, rewrite
from tests.javascript import node, program
from tests.shop import Clock, Shop
from tests.web import PAGE, serving
from tests.worker import KEY, running

LANGUAGES = ("en", "fr")
USUAL = {"en": "Autumn is here", "fr": "L’automne est là"}
COOKIE, REFUSED = "__Host-entrenous", "__Host-entrenous-refused"


@pytest.fixture(scope="module", params=[False, True], ids=["beside", "behind"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a browser saw, by language: the worker under an address of its own, or behind the shop's web server."""
    browser = program("chromium")
    pictures = [Path(folder).resolve()] if (folder := os.environ.get("ENTRENOUS_PICTURES")) else []
    with serving() as page:
        shop = Shop(tmp_path_factory.mktemp("shop-page"), Clock())
        rule = promotion(shop)
        assert rule.experiment is not None
        rewrite(shop, promotion=replace(rule, experiment=replace(rule.experiment, holdout=0)))  # the cookie is random
        with running(shop, allow_origins=[] if request.param else [page.origin]) as worker:
            page.worker, page.behind = worker.port, request.param
            yield node("shop.mjs", page.origin, browser, *pictures, needs="playwright-core")
            assert worker.log() == ""


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def cookies(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in state["cookies"]}


def headline(language: str, payload: str) -> str:
    return str(json.loads(payload)["headline"][language])


def test_nothing_is_asked_of_a_visitor_and_nothing_kept_before_they_chose(seen, language):
    first = seen[language]["first"]
    assert (first["lang"], first["banner"], first["offer"]) == (language, True, USUAL[language])
    assert (first["cookies"], first["stored"], first["events"], first["payload"]) == ([], 0, 0, "")


def test_to_refuse_is_as_easy_as_to_accept(seen, language):
    refuse, accept = seen[language]["buttons"]
    assert refuse == accept
    assert refuse["width"] > 100


def test_who_refuses_sees_the_usual_page_and_carries_no_identifier(seen, language):
    for state in (seen[language]["refused"], seen[language]["cameBack"]):
        assert (state["banner"], state["offer"], state["payload"]) == (False, USUAL[language], "")
        assert (state["events"], state["stored"]) == (0, 0)
        assert {name: one["value"] for name, one in cookies(state).items()} == {REFUSED: "1"}


def test_who_accepts_gets_a_decision_with_its_payload_and_the_event_is_taken(seen, language):
    state = seen[language]["accepted"]
    assert state["offer"] == headline(language, state["payload"])
    assert state["offer"] != USUAL[language]
    assert json.loads(state["event"]) == {"outcomes": [{"accepted": True}]}
    assert (state["banner"], state["events"], state["stored"]) == (False, 1, 0)
    assert set(cookies(state)) == {COOKIE}
    cookie = cookies(state)[COOKIE]
    assert re.fullmatch("[0-9a-f]{64}", cookie["value"])
    assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "Lax", "/")
    assert state["readable"] == ""  # no script of the page reads it


def test_who_withdraws_sees_the_usual_page_again_at_once_and_later(seen, language):
    for state in (seen[language]["withdrawn"], seen[language]["withdrawnCameBack"]):
        assert (state["banner"], state["offer"], state["payload"], state["event"]) == (False, USUAL[language], "", "")
        assert (state["events"], state["stored"]) == (1, 0)


def test_no_address_names_anybody_and_the_page_is_quiet(seen, language):
    assert seen[language]["console"] == []
    asked = seen[language]["asked"]
    assert any(one.endswith("/ofrep/v1/evaluate/flags") for one in asked)
    value = cookies(seen[language]["accepted"])[COOKIE]["value"]
    for one in asked:
        assert value not in one
        assert "nobody" not in one
        assert re.search(r"^(GET|POST) http://127\.0\.0\.1:\d+/[^?]*(\?lang=(en|fr))?$", one), one


# What the page says, without a browser


def test_the_page_has_twenty_lines_of_script_and_no_more():
    lines = [line for line in (PAGE / "shop.js").read_text().splitlines() if line and not line.startswith("//")]
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 120
    assert "<script>" not in (PAGE / "index.html").read_text()


def test_the_banner_says_of_each_purpose_what_the_policy_says():
    page = (PAGE / "index.html").read_text()
    purposes = tomllib.loads(demo.policy_bytes().decode())["purposes"]
    shown = dict(re.findall(r'<li data-purpose="(\w+)">(.*?)</li>', page, re.DOTALL))
    assert set(shown) == set(purposes)
    for name, purpose in purposes.items():
        for language in LANGUAGES:
            words = f"<b>{purpose['title'][language]}</b> {purpose['description'][language]}"
            assert f'<i lang="{language}">{words}</i>' in shown[name]
    (granted,) = [json.loads(one)["choices"] for one in re.findall(r"<button value='([^']+)'", page) if "true" in one]
    assert granted == dict.fromkeys(purposes, True)
    assert f'data-key="{KEY}"' in page


def test_every_word_of_the_page_is_there_in_both_languages():
    page = (PAGE / "index.html").read_text()
    assert len(re.findall('<i lang="en">', page)) == len(re.findall('<i lang="fr">', page)) > 10
