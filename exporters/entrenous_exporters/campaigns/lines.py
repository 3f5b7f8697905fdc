"""In which line of a TOML file something stands: a parser of values does not say."""

from __future__ import annotations

import re

__all__ = ["line_of"]

_HEADER = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\-\"' ]+?)\s*=")


def line_of(text: str, path: str) -> int:
    """Return the line of the deepest part of `path` that is written down, from 1; the last line where none is.

    Args:
        text: the file. path: as an error names it, `arms.ten_off.offer.amount`.
    """
    wanted = re.sub(r"\[\d+\]", "", path).split(".")
    best, found = 0, text.count("\n") or 1
    table: list[str] = []
    within = ""  # the quotes of a text of several lines, where we are in one
    for number, line in enumerate(text.splitlines(), start=1):
        before = within
        within = _quoted(line, within)
        if before:
            continue
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = _parts(header[1])
            here = table
        elif key:
            here = table + _parts(key[1])
        else:
            continue
        depth = len(here) if wanted[: len(here)] == here else 0
        if depth > best:
            best, found = depth, number
    return found


def _quoted(line: str, within: str) -> str:
    """Return which quotes of a text of several lines are open after a line."""
    for quotes in re.findall(r'"""|\'\'\'', line):
        within = "" if within == quotes else within or quotes
    return within


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
