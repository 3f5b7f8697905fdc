"""`entrenous segments`: the segments that are ready-made, with their parts and thresholds."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from entrenous_exporters.segmenting import Starter, load_starters

if TYPE_CHECKING:
    from entrenous_consent.dpo.commands import Commands

__all__ = ["segments"]

_SAID = {
    "en": ("rule", "a feature of kind {kinds}{events} in the place of {part}", ", of {events}", "threshold"),
    "fr": ("règle", "une caractéristique de type {kinds}{events} à la place de {part}", ", de {events}", "seuil"),
}


def segments(commands: Commands) -> None:
    """Register the command."""
    words = "the ready-made segments: rules, the features that they need, thresholds"
    parser = commands.add_parser("segments", help=words, description=words, allow_abbrev=False)
    parser.add_argument("--language", choices=tuple(_SAID), default="en", help="of the words")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    for starter in load_starters().values():
        sys.stdout.write(_told(starter, arguments.language))
    return 0


def _told(starter: Starter, language: str) -> str:
    rule, part_said, of, threshold = _SAID[language]
    lines = [f"{starter.name}: {starter.fr if language == 'fr' else starter.en}", f"  {rule}: {starter.rule}"]
    for part, (kinds, events) in starter.parts.items():
        within = of.format(events=", ".join(events)) if events else ""
        lines.append("  " + part_said.format(kinds=", ".join(kinds), events=within, part="{" + part + "}"))
    lines += [f"  {threshold} {{{name}}}: {value:g}" for name, value in starter.thresholds.items()]
    return "\n".join(lines) + "\n"
