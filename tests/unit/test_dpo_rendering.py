"""The documents of a DPO: one model, four forms, and nothing that leaves its place."""

from __future__ import annotations

import argparse
import json
import re
from html.parser import HTMLParser
from itertools import combinations

import pytest

from entrenous_consent.dpo.output import put, with_output
from entrenous_consent.dpo.page import COLOURS, style
from entrenous_consent.dpo.rendering import (
    FORMATS,
    TONES,
    Document,
    Facts,
    Items,
    Listing,
    Paragraph,
    Picture,
    Section,
    Table,
    render,
)
from entrenous_consent.dpo.words import LANGUAGES, Words, load_words, read_catalog
from entrenous_consent.errors import Missing

HOSTILE = '</section><script>alert(1)</script>| # *x* \x1b[31m\u202e"\n- y'
WIDE = Table(caption="Wide", headings=("rule", "place"), rows=(("r" * 60, "p" * 60),))
NARROW = Table(
    caption="Counts", headings=("name", "n"), rows=(("a", "1"), ("b", "22")), numeric=(1,), tones=("error", "")
)


def document(*blocks, **more) -> Document:
    inner = Section(key="inner", heading="Inside", blocks=(Paragraph(text="Deep."),))
    section = Section(key="first", heading="First", blocks=blocks, sections=(inner,))
    return Document(kind="test", language="en", title="A title", sections=(section,), **more)


WHOLE = document(
    Paragraph(text="Plain."),
    Paragraph(text="Who decides?", mark="OPEN", tone="open"),
    Items(items=("one", "two")),
    Facts(facts=(("name", "value"), ("longer name", "x " * 90))),
    Facts(facts=()),
    NARROW,
    WIDE,
    Table(caption="", headings=("a",), rows=()),
    Listing(text="line 1\nline 2"),
    Picture(svg="<svg viewBox='0 0 1 1'></svg>", words="A dot."),
    lead=(Paragraph(text="Lead."),),
    contents="Contents",
    footer=("Made from nothing.",),
    data={"n": 1},
)
EMPTY = Document(kind="empty", language="fr", title="Rien", sections=(Section(key="a", heading="A"),))


class Outline(HTMLParser):
    """Tags as they open and close, and every id and link."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.said = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def test_text_says_everything_within_its_width():
    text = render(WHOLE, "text")
    for said in (
        "A title\n=======",
        "Lead.",
        "First\n-----",
        "[OPEN] Who decides?",
        "- one",
        "Inside\n······",
        "A dot.",
    ):
        assert said in text
    assert "name  n\n----" in text.replace("   ", "  ") or re.search(r"name +n\n-+ +-+\na +1\nb +22", text)
    assert f"rule   {'r' * 60}" in text
    assert max(map(len, text.splitlines())) <= 100
    assert text.endswith("Made from nothing.\n")


def test_an_empty_section_is_its_heading():
    assert render(EMPTY, "text") == "Rien\n====\n\n\nA\n-\n"


def test_json_gives_data_and_words():
    said = json.loads(render(WHOLE, "json"))
    assert (said["format"], said["kind"], said["language"], said["data"]) == (1, "test", "en", {"n": 1})
    blocks = said["sections"][0]["blocks"]
    assert blocks[0] == {"text": "Plain."}
    assert blocks[1] == {"text": "Who decides?", "mark": "OPEN", "tone": "open"}
    assert blocks[5] == {"caption": "Counts", "headings": ["name", "n"], "rows": [["a", "1"], ["b", "22"]]}
    assert blocks[-2:] == [{"listing": "line 1\nline 2"}, {"picture": "A dot."}]
    assert said["sections"][0]["sections"][0]["heading"] == "Inside"
    assert "sections" not in json.loads(render(EMPTY, "json"))["sections"][0]


def test_markdown_has_headings_tables_and_marks():
    text = render(WHOLE, "markdown")
    for said in (
        "# A title",
        "## First",
        "### Inside",
        "**OPEN** Who decides?",
        "| name | n |\n| --- | ---: |\n| a | 1 |",
    ):
        assert said in text
    assert text.endswith("*Made from nothing.*\n")


def test_html_is_whole_and_says_what_it_is():
    text = render(WHOLE, "html")
    outline = Outline(text)
    assert outline.open == []
    assert ("html", {"lang": "en"}) in outline.tags
    assert outline.tags.count(("main", {"id": "text", "tabindex": "-1"})) == 1
    assert len(set(outline.ids)) == len(outline.ids)
    assert [tag for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)] == ["h1", "h2", "h2", "h3"]
    for tag, attributes in outline.tags:
        assert tag != "th" or attributes["scope"] in ("row", "col")
    assert 'lang="fr"' in render(EMPTY, "html")
    assert "<nav" not in render(EMPTY, "html")
    assert "<footer" not in render(EMPTY, "html")


def test_html_asks_nobody_and_runs_nothing():
    outline = Outline(render(WHOLE, "html"))
    assert set(outline.links) == {"#text", "#first"}
    assert all(link[1:] in outline.ids for link in outline.links)
    assert not {"script", "link", "img", "iframe", "form"} & {tag for tag, _ in outline.tags}
    [policy] = [a["content"] for _, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "url(" not in style()
    assert "@import" not in style()


def hostile() -> Document:
    said = HOSTILE
    return document(
        Paragraph(text=said, mark=said),
        Items(items=(said,)),
        Facts(facts=((said, said),)),
        Table(caption=said, headings=(said, said), rows=((said, said),)),
        Listing(text=said),
        Picture(svg="", words=said),
        footer=(said,),
    )


@pytest.mark.parametrize("form", FORMATS)
def test_what_a_text_holds_cannot_leave_its_place(form):
    text = render(hostile(), form)
    assert "\x1b" not in text
    assert "\u202e" not in text
    if form == "html":
        outline = Outline(text)
        assert outline.open == []
        assert "script" not in {tag for tag, _ in outline.tags}
    if form == "markdown":
        written = [line for line in text.splitlines() if not line.startswith("    ")]
        assert not [line for line in written if re.search(r"(?<!\\)<script", line)]
        [row] = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
        assert len(re.findall(r"(?<!\\)\|", row)) == 3


@pytest.mark.parametrize(
    ("text", "written"), [("- x", "\\- x"), ("1. x", "1\\. x"), ("+1", "\\+1"), ("2026 was", "2026 was"), ("", "")]
)
def test_a_paragraph_of_markdown_is_no_list(text, written):
    assert f"\n\n{written}\n\n" in render(document(Paragraph(text=text)), "markdown") + "\n\n"


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_document_gives_the_same_text(form):
    assert render(WHOLE, form) == render(WHOLE, form)


def luminance(colour: str) -> float:
    def linear(part: str) -> float:
        value = int(part, 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(colour[i : i + 2]) for i in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_colour_of_writing_stands_out_from_what_is_behind_it():
    writing = set(COLOURS) - {"paper", "ground", "line"}
    assert {tone for tone in TONES if tone} <= writing
    for name in writing:
        for behind in ("paper", "ground"):
            assert contrast(COLOURS[name], COLOURS[behind]) >= 4.5, (name, behind)
    assert contrast("#ffffff", "#777777") < 4.5, "the measure can tell"
    for one, other in combinations(("error", "warning", "good"), 2):
        assert COLOURS[one] != COLOURS[other]


# Words


@pytest.mark.parametrize("language", LANGUAGES)
def test_shared_words_are_there_in_both_languages(language):
    words = load_words(language)
    assert words.language == language
    assert words.truth(True) != words.truth(False)
    assert words.has("yes")
    assert not words.has("maybe")


def test_numbers_agree_as_each_language_has_it():
    english, french = load_words("en"), load_words("fr")
    assert [english.days(n) for n in (0, 1, 2)] == ["0 days", "1 day", "2 days"]
    assert [french.days(n) for n in (0, 1, 2)] == ["0 jour", "1 jour", "2 jours"]


def test_what_is_filled_in_is_not_read_as_a_pattern():
    words = Words(language="en", sentences={"a.b": "is {x}"})
    assert words("a.b", x="{y}") == "is {y}"


def test_a_catalog_gives_its_sentences_by_path():
    assert read_catalog('[a]\nb = { en = "x", fr = "y" }\n') == {"a.b": {"en": "x", "fr": "y"}}


# Where it goes


def given(*arguments: str) -> argparse.Namespace:
    return with_output(argparse.ArgumentParser()).parse_args(arguments)


def test_a_document_goes_to_the_screen_or_to_a_file(tmp_path, capsys):
    put(WHOLE, given())
    assert capsys.readouterr().out == render(WHOLE, "text")
    put(WHOLE, given("--format", "html", "--output", str(tmp_path / "a.html")))
    assert (tmp_path / "a.html").read_text("utf-8") == render(WHOLE, "html")
    assert capsys.readouterr().out == ""


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(Missing) as caught:
        put(WHOLE, given("--output", str(tmp_path / "no" / "a.html")))
    assert caught.value.place.endswith("a.html")
