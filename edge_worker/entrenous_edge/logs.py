"""Log lines as JSON, one a line: when, how bad, who says it, what. Nothing that a visitor sent is ever in one.

Of an error its kind and where it was raised are told, never its text: that may quote what was being read.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType

__all__ = ["Lines", "start_logging"]


class Lines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage() if record.exc_info is None else "an error was not handled",
        }
        if record.exc_info is not None and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["at"] = where(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def where(raised: TracebackType | None) -> str:
    """Return the module and line at which an error was raised, empty where that is not known."""
    steps = traceback.extract_tb(raised)
    return f"{steps[-1].filename.rpartition('/')[2]}:{steps[-1].lineno}" if steps else ""


def start_logging() -> None:
    """Send every logger's lines to standard error in this form, and what ends the process too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)

    def last(kind: type[BaseException], error: BaseException | None, raised: TracebackType | None) -> None:
        root.critical("an error was not handled", exc_info=(kind, error or kind(), raised))

    sys.excepthook = last
    threading.excepthook = lambda one: last(one.exc_type, one.exc_value, one.exc_traceback)
    sys.unraisablehook = lambda one: last(one.exc_type, one.exc_value, one.exc_traceback)
