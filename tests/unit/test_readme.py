"""The README's first snippet: six lines, offline, a scored decision; and without the consent line, none."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def first_snippet() -> str:
    """Return the first Python block of the README."""
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def _run(code: str, capsys) -> str:
    spoken: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), spoken)
    spoken["client"].close()
    return capsys.readouterr().out


def test_the_snippet_is_at_most_six_lines():
    assert len([line for line in first_snippet().splitlines() if line.strip()]) <= 6


def test_the_snippet_gives_a_scored_decision(capsys):
    assert "reason=TARGETING_MATCH" in _run(first_snippet(), capsys)


def test_without_the_consent_line_it_answers_the_default(capsys):
    code = "\n".join(line for line in first_snippet().splitlines() if ".consent(" not in line)
    assert code != first_snippet()
    out = _run(code, capsys)
    assert "value='none'" in out
    assert "cause=consent_missing" in out
