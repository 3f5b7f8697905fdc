"""Where a document goes: the options `--format`, `--language` and `--output` that the DPO's verbs share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from entrenous_consent.dpo.rendering import FORMATS, Document, render
from entrenous_consent.dpo.words import LANGUAGES
from entrenous_consent.files import reaching, write_whole

__all__ = ["put", "with_output"]


def with_output(parser: argparse.ArgumentParser, *, form: str = "text") -> argparse.ArgumentParser:
    """Add `--format` (`form` unless named), `--language` (English unless named) and `--output` to a verb."""
    parser.add_argument("--format", choices=FORMATS, default=form, help=f"how it is written (default: {form})")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="the language it is in (default: en)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there, and not on the screen")
    return parser


def put(document: Document, arguments: argparse.Namespace) -> None:
    """Write a document as the options of `with_output` say.

    Raises:
        Missing, Unavailable: its folder is not there, or it cannot be written.
    """
    text = render(document, arguments.format)
    if arguments.output is None:
        sys.stdout.write(text)
        return
    with reaching(arguments.output):
        write_whole(arguments.output, text.encode())
