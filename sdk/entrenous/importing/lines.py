"""JSON lines, cut from bytes as they come: a value a line, bounded; a line that is none holds up no other."""

from __future__ import annotations

import json
from collections.abc import Iterator

from entrenous_consent.errors import Malformed

__all__ = ["LONGEST_LINE", "Lines"]

LONGEST_LINE = 1 << 20
"""The most bytes of a line."""


class Lines:
    """Cuts bytes into lines. What can't be read is the `Malformed` that says so; an empty line is none."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[object]:
        """Yield what the lines that end in `data` hold."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if self._skipping:
                self._skipping = False
            elif line.strip():
                yield _read(line)
        if len(self._rest) > LONGEST_LINE:
            if not self._skipping:
                yield _too_long()
            self._skipping, self._rest = True, b""

    def end(self) -> Iterator[object]:
        """Yield what the last line holds, if no line end came."""
        if self._rest.strip() and not self._skipping:
            yield _read(self._rest)
        self._rest = b""


def _read(line: bytes) -> object:
    if len(line) > LONGEST_LINE:
        return _too_long()
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return Malformed("is not JSON", place="row")


def _too_long() -> Malformed:
    return Malformed(f"is longer than {LONGEST_LINE} bytes", place="row")
