"""The preference page over real HTTP: a person's browser chooses, reads, tells, objects and erases, without script."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from entrenous_edge.pages.forms import MOST_FORM_BYTES
from entrenous_edge.pages.routes import CONTENT_POLICY
from tests.pages import FORM, PURPOSES, Browser, furnish
from tests.shop import Clock, Shop
from tests.worker import Running, running

COOKIE, REFUSED = "__Host-entrenous", "__Host-entrenous-refused"
ALLOWED = "https://shop.example"
THEME = ":root { --entrenous-accent: rebeccapurple; }"


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    shop = Shop(tmp_path_factory.mktemp("page"), Clock())
    furnish(shop)
    (shop.home / "theme.css").write_text(THEME)
    with running(shop, theme="theme.css", allow_origins=[ALLOWED]) as started:
        yield started


@pytest.fixture
def browser(worker: Running) -> Browser:
    return Browser(worker)


@pytest.fixture
def agreed(browser: Browser) -> Browser:
    """A browser that accepted everything, and looked at something."""
    assert browser.choose("accept").status == 303
    looked = [{"name": "view_item", "category": "boots"}, {"name": "view_item", "category": "bags"}]
    own = {**browser.identity, "Origin": browser.origin}
    assert browser.worker.ask("POST", "/v1/events", {"events": looked}, own).status == 200
    return browser


def granted(browser: Browser) -> list[str]:
    return browser.worker.ask("GET", "/v1/consent", headers=browser.identity).json["granted"]


def ticked(page: bytes) -> list[str]:
    return re.findall(r'name="purpose" value="(\w+)" id="[\w-]+" checked', page.decode())


def notice(browser: Browser, answer: Any) -> str:
    """Follow the redirect after a form, and return what the page says was done."""
    assert answer.status == 303
    found = re.search(
        r'<p class="notice" role="status">(.*?)</p>', browser.get(answer.headers["location"]).data.decode()
    )
    return found[1] if found else ""


# Choosing


def test_a_stranger_sees_what_could_be_allowed_and_gets_no_cookie(browser):
    page = browser.get()
    assert (page.status, page.cookies, ticked(page.data)) == (200, {}, [])
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert b"nothing is allowed" in page.data
    assert b"Nothing is held about you" in page.data


def test_granting_gives_the_very_cookie_that_the_route_for_banners_gives(browser):
    ours = cookies_set(browser, "/preferences/choice", b"do=accept&policy=1", FORM)
    choices = json.dumps({"choices": dict.fromkeys(PURPOSES, True)}).encode()
    assert ours == cookies_set(browser, "/v1/consent", choices, "application/json")
    assert any("Max-Age=15552000" in one for one in ours)
    browser.choose("accept")
    assert re.fullmatch("[0-9a-f]{64}", browser.jar[COOKIE])


def test_refusing_leaves_only_the_refusal(browser):
    answer = browser.choose("refuse")
    assert "refused everything" in notice(browser, answer)
    assert browser.jar == {REFUSED: "1"}
    ours = cookies_set(browser, "/preferences/choice", b"do=refuse", FORM)
    assert ours == cookies_set(browser, "/v1/consent", b'{"choices": {}}', "application/json")
    assert "a cookie that says “refused”" in browser.get().data.decode()


def test_a_refusal_can_be_taken_back_and_its_cookie_goes(browser):
    browser.choose("refuse")
    browser.choose("save", "history")
    assert browser.jar.keys() == {COOKIE}
    assert granted(browser) == ["history"]


def test_a_choice_is_the_whole_choice(agreed):
    assert "saved" in notice(agreed, agreed.choose("save", "measure", "personalize"))
    assert granted(agreed) == ["measure", "personalize"]
    assert ticked(agreed.get().data) == ["personalize", "measure"]
    assert "refused everything" in notice(agreed, agreed.choose("save"))
    assert granted(agreed) == ticked(agreed.get().data) == []


def test_nobody_agrees_to_what_they_did_not_read(browser):
    for do in ("accept", "save"):
        for version in ("0", "2", ""):
            answer = browser.post("choice", {"do": do, "policy": version, "purpose": ["history"] * (do == "save")})
            assert "purposes have changed" in notice(browser, answer)
    assert browser.jar == {}
    assert browser.post("choice", {"do": "refuse"}).status == 303


# Who may write

WRITES: Mapping[str, Mapping[str, Any]] = {
    "choice": {"do": "refuse", "policy": "1"},
    "taste": {"field": "size", "tell": "l"},
    "objection": {"all": "yes"},
    "erasure": {"sure": "yes"},
}
FOREIGN = [
    None,
    "null",
    "https://evil.example",
    "http://127.0.0.1:1",
    "http://127.0.0.1",
    "https://shop.example.evil.example",
]


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("origin", FOREIGN)
def test_a_form_from_elsewhere_or_from_nowhere_changes_nothing(agreed, action, origin):
    before, jar = agreed.held(), dict(agreed.jar)
    answer = agreed.post(action, WRITES[action], origin=origin)
    assert answer.status == 403
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (agreed.held(), agreed.jar) == (before, jar)


@pytest.mark.parametrize("action", WRITES)
@pytest.mark.parametrize("origin", FOREIGN)
def test_nor_does_it_give_a_stranger_a_cookie(browser, action, origin):
    forms = {**WRITES, "choice": {"do": "accept", "policy": "1"}}
    assert browser.post(action, forms[action], origin=origin).status == 403
    assert browser.jar == {}


def test_a_page_that_the_operator_named_may_write(browser):
    assert browser.post("choice", {"do": "accept", "policy": "1"}, origin=ALLOWED).status == 303
    assert browser.jar.keys() == {COOKIE}


@pytest.mark.parametrize("header", [{"Entrenous-Visitor": "known"}, "token"])
def test_only_the_cookie_says_who_is_asking(worker, browser, header):
    worker.consent("known", dict.fromkeys(PURPOSES, True))
    browser.more = worker.token("known") if header == "token" else header
    assert b"Nothing is held about you" in browser.get().data
    assert browser.get("/preferences/download").json == {}
    assert "nothing to do" in notice(browser, browser.post("erasure", {"sure": "yes"}))
    assert worker.ask("GET", "/v1/consent", headers=worker.token("known")).json["granted"] == sorted(PURPOSES)


@pytest.mark.parametrize(
    ("action", "data", "status"),
    [
        ("choice", b"do=accept&policy=1&more=4711", 400),
        ("choice", b"do=accept&do=refuse&policy=1", 400),
        ("choice", b"do=4711&policy=1", 400),
        ("choice", b"policy=1", 400),
        ("choice", b"do=save&policy=1&purpose=profit4711", 400),
        ("choice", b"do=save&policy=1&purpose=history&purpose=history", 400),
        ("choice", b"do=accept&policy=1&purpose=history", 400),
        ("choice", b'{"do": "accept"}', 400),
        ("choice", b"do=refuse&purpose=" + b"x" * MOST_FORM_BYTES, 413),
        ("taste", b"field=size", 400),
        ("taste", b"field=size&tell=m&undo=yes", 400),
        ("taste", b"field=size&tell=4711", 400),
        ("taste", b"field=shoe4711&tell=m", 400),
        ("taste", b"field=size&undo=4711", 400),
        ("objection", b"purpose=profit4711", 400),
        ("objection", b"all=4711", 400),
        ("erasure", b"sure=yes&more=4711", 400),
    ],
)
def test_a_form_that_is_none_of_ours_is_refused_as_a_page_and_changes_nothing(agreed, action, data, status):
    before = agreed.held()
    answer = agreed.ask("POST", f"/preferences/{action}?lang=fr", data, {"Content-Type": FORM, "Origin": agreed.origin})
    assert answer.status == status
    assert b'<html lang="fr">' in answer.data
    assert b'href="/preferences?lang=fr"' in answer.data
    assert b"4711" not in answer.data
    assert agreed.held() == before
    assert "4711" not in agreed.worker.log()


def test_json_is_no_form(agreed):
    headers = {"Content-Type": "application/json", "Origin": agreed.origin}
    assert agreed.ask("POST", "/preferences/erasure", b'{"sure": "yes"}', headers).status == 415
    assert agreed.held()


# What is held, and rights


def test_the_page_says_what_is_held_and_the_download_is_the_export(agreed):
    agreed.worker.ask("POST", "/v1/decide", {"decisions": ["promotion"]}, {**agreed.identity, "Origin": agreed.origin})
    page = agreed.get().data.decode()
    for said in ("Number of views of items, 7 days", "Looking around", "promotion", "Model demo_promotions 1"):
        assert said in page
    given = agreed.get("/preferences/download")
    assert given.headers["content-disposition"] == 'attachment; filename="preferences.json"'
    assert given.headers["content-type"] == "application/json"
    assert given.json == agreed.held()
    assert given.json["purposes"]["personalize"]["features"]["visit_views_7d"] == 2


def test_a_taste_is_told_taken_back_and_undone(agreed):
    def holds() -> list[str]:
        told = agreed.worker.ask("GET", "/v1/preferences", headers=agreed.identity).json["preferences"]
        return told["size"]["holds"]

    assert "keep what you told" in notice(agreed, agreed.post("taste", {"field": "size", "tell": "m"}))
    assert 'name="untell" value="m" aria-pressed="true"' in agreed.get().data.decode()
    agreed.post("taste", {"field": "size", "tell": "l"})
    assert holds() == ["l"]
    assert "holds again" in notice(agreed, agreed.post("taste", {"field": "size", "undo": "yes"}))
    assert holds() == ["m"]
    assert "no longer holds" in notice(agreed, agreed.post("taste", {"field": "size", "untell": "m"}))
    assert holds() == []
    for _ in range(3):
        last = agreed.post("taste", {"field": "size", "undo": "yes"})
    assert "nothing to undo" in notice(agreed, last)


def test_nothing_is_told_under_what_is_not_granted(agreed):
    agreed.choose("save", "measure")
    page = agreed.get().data.decode()
    assert 'name="tell"' not in page
    before = agreed.held()["purposes"]
    assert "Nothing was kept" in notice(agreed, agreed.post("taste", {"field": "size", "tell": "m"}))
    assert agreed.held()["purposes"] == before
    assert "Nothing was kept" in notice(
        Browser(agreed.worker), Browser(agreed.worker).post("taste", {"field": "size", "tell": "m"})
    )


def test_an_objection_ends_what_it_names_or_everything(agreed):
    assert "tick at least one" in notice(agreed, agreed.post("objection"))
    assert granted(agreed) == sorted(PURPOSES)
    assert "in force" in notice(agreed, agreed.post("objection", {"purpose": ["history", "improve"]}))
    assert granted(agreed) == ["measure", "personalize"]
    agreed.post("objection", {"all": "yes"})
    assert granted(agreed) == []
    assert "as an objection" in agreed.get().data.decode()


def test_erasure_asks_once_more_and_then_nothing_is_left(agreed):
    unsure = agreed.post("erasure")
    assert (unsure.status, unsure.headers["location"]) == (303, "/preferences/erasure?lang=en")
    assert agreed.held()
    question = agreed.get("/preferences/erasure?lang=en").data.decode()
    assert 'name="sure" value="yes"' in question
    assert agreed.held()
    proof = agreed.identity
    assert "is erased" in notice(agreed, agreed.post("erasure", {"sure": "yes"}))
    assert agreed.jar == {}
    assert agreed.worker.ask("GET", "/v1/visitor", headers=proof).json == {}
    assert b"nothing to erase" in agreed.get("/preferences/erasure").data


# A browser that objects


def test_a_browser_that_objects_is_told_so_and_refuses_by_choosing(worker):
    browser = Browser(worker, more={"Sec-GPC": "1"})
    page = browser.get()
    assert b"Global Privacy Control" in page.data
    assert b"<button" not in page.data
    assert "everything is refused" in notice(browser, browser.choose("accept"))
    assert browser.jar == {REFUSED: "1"}


def test_what_was_allowed_before_is_not_used_and_can_be_ended(agreed):
    agreed.more = {"Sec-GPC": "1"}
    page = agreed.get().data.decode()
    assert ticked(page.encode()) == []
    assert "still stored, unused" in page
    assert 'name="tell"' not in page
    assert "Nothing was kept" in notice(agreed, agreed.post("taste", {"field": "size", "tell": "m"}))
    assert agreed.get("/preferences/download").json["consent"]["granted"] == sorted(PURPOSES)
    agreed.choose("accept")
    assert granted(agreed) == []
    agreed.more = {}
    assert "by your browser’s signal" in agreed.get().data.decode()


def test_where_the_policy_lets_a_later_choice_count_it_counts(tmp_path):
    shop = Shop(tmp_path, Clock())
    text = shop.policy.read_text()
    shop.policy.write_text(text.replace("gpc_yields_to_later_choice = false", "gpc_yields_to_later_choice = true"))
    with running(shop) as started:
        browser = Browser(started, more={"Sec-GPC": "1"})
        assert ticked(browser.get().data) == []
        assert "saved" in notice(browser, browser.choose("save", "history"))
        page = browser.get().data
        assert ticked(page) == ["history"]
        assert b"later choice counts" in page
        earlier = Browser(started)
        earlier.choose("accept")
        earlier.more = {"Sec-GPC": "1"}
        page = earlier.get().data
        assert ticked(page) == []
        assert b"nothing is used" in page
        assert b"Nothing is allowed while your browser objects." in page


# What goes out


def test_no_address_holds_anything_about_the_visitor(agreed):
    agreed.post("taste", {"field": "size", "tell": "m"})
    agreed.get()
    agreed.post("objection", {"purpose": ["history"]})
    value = agreed.jar[COOKIE]
    page = agreed.get().data.decode()
    agreed.post("erasure", {"sure": "yes"})
    links = re.findall(r'(?:href|action)="([^"]*)"', page)
    for place in (*agreed.seen, *links):
        assert re.fullmatch(r"(|#main|data:,|/preferences(/[a-z.]+)?(\?lang=(en|fr)(&notice=[a-z_]+)?)?)", place), place
    assert value not in page


@pytest.mark.parametrize("path", ["/preferences", "/preferences/erasure", "/preferences/download"])
def test_no_cache_keeps_a_page_and_nothing_runs_in_it(agreed, path):
    for answer in (agreed.get(path), Browser(agreed.worker).get(path)):
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["content-security-policy"] == CONTENT_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


def test_redirects_and_refusals_are_kept_by_no_cache_either(agreed):
    for answer in (agreed.choose("accept"), agreed.post("choice", {}, origin=None)):
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["content-security-policy"] == CONTENT_POLICY


def test_a_link_from_another_site_does_not_say_that_something_was_done(agreed):
    for site, said in (("cross-site", False), ("same-site", False), ("same-origin", True), ("none", True)):
        page = agreed.get("/preferences?notice=erased", **{"Sec-Fetch-Site": site}).data
        assert (b'class="notice"' in page) is said
    for unknown in ("4711", "", "x%22%3E", "saved.x", "error"):
        assert b'class="notice"' not in agreed.get(f"/preferences?notice={unknown}").data


@pytest.mark.parametrize(
    ("path", "accepted", "language"),
    [
        ("/preferences", "fr-FR,fr;q=0.9", "fr"),
        ("/preferences?lang=en", "fr-FR", "en"),
        ("/preferences?lang=fr", "en", "fr"),
        ("/preferences?lang=%3Cscript%3E", "de", "en"),
    ],
)
def test_the_language_is_the_one_asked_for_else_the_browsers_own(browser, path, accepted, language):
    page = browser.get(path, **{"Accept-Language": accepted}).data.decode()
    assert f'<html lang="{language}">' in page
    assert "<script" not in page


def test_the_shops_stylesheet_comes_after_ours_from_the_same_origin(browser):
    page = browser.get().data.decode()
    assert page.index("/preferences/style.css") < page.index("/preferences/theme.css")
    theme = browser.get("/preferences/theme.css")
    assert (theme.data.decode(), theme.headers["content-type"]) == (THEME, "text/css; charset=utf-8")
    assert "--entrenous-accent" in browser.get("/preferences/style.css").data.decode()


def test_a_store_that_cannot_be_reached_is_a_page_and_nothing_is_lost(tmp_path):
    shop = Shop(tmp_path, Clock())
    with running(shop) as started:
        browser = Browser(started)
        browser.choose("accept")
        with closing(sqlite3.connect(shop.home / "edge-state" / "visitors.db", isolation_level=None)) as other:
            other.execute("begin immediate")
            for answer in (browser.choose("refuse"), browser.get()):
                assert (answer.status, answer.headers["retry-after"]) == (503, "1")
                assert answer.headers["content-type"] == "text/html; charset=utf-8"
                assert b"Nothing is lost" in answer.data
        assert granted(browser) == sorted(PURPOSES)
        assert browser.get().status == 200


def cookies_set(browser: Browser, path: str, data: bytes, kind: str) -> list[str]:
    """Return the lines that set cookies for a stranger, but for what differs from one to the next."""
    with closing(HTTPConnection("127.0.0.1", browser.worker.port, timeout=20)) as connection:
        headers = {**browser.worker.keys, "Content-Type": kind, "Origin": browser.origin}
        connection.request("POST", path, data, headers)
        lines = connection.getresponse().headers.get_all("set-cookie", [])
    return sorted(re.sub("[0-9a-f]{64}|expires=[^;]+", "", line) for line in lines)
