"""The documents: every test they name exists, every link leads somewhere, every snippet of Python compiles."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def _named_tests(text: str) -> set[tuple[str, str]]:
    folders = "attacks|conformance|e2e|fuzz|property|unit"
    return set(re.findall(rf"`(?:tests/)?((?:{folders})/test_\w+\.py)(?:::(\w+))?`", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_is_named_exists(document):
    for file, function in _named_tests(document.read_text()):
        path = ROOT / "tests" / file
        assert path.is_file(), file
        assert not function or f"def {function}(" in path.read_text(), function


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_every_promise_that_the_readme_prints_names_its_test():
    section = (ROOT / "README.md").read_text().split("## What it promises")[1].split("\n## ")[0]
    promises = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(promises) >= 7
    for promise in promises:
        assert _named_tests(promise), promise


def test_every_answer_of_the_threat_model_names_its_test():
    section = (ROOT / "docs" / "threat-model.md").read_text().split("## What holds")[1].split("\n## ")[0]
    answers = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(answers) >= 12
    for answer in answers:
        assert _named_tests(answer), answer


def test_no_module_of_the_tests_has_a_name_of_pythons_own():
    """A test's folder is on the path: what stands in it would be taken for the standard library's."""
    named = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    assert len(named) > 100
    assert not named & sys.stdlib_module_names
