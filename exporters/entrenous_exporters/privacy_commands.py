"""`entrenous privacy sign`: the DPO reads what they are about to sign, and signs it with the key of `privacy`.

What is shown first: what lint finds, what changes since the policy that is published, and what bundles ask and decide
by, where some are named. Then `entrenous keys sign`
shows the policy to the byte, asks, and signs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from entrenous_consent.dpo.commands import Commands
from entrenous_consent.dpo.words import LANGUAGES

__all__ = ["register"]


def register(verbs: Commands) -> None:
    """Register it."""
    words = "show what lint finds and what changes, then sign with the key of the role privacy"
    parser = verbs.add_parser("sign", help=words, description=words)
    parser.add_argument("policy", type=Path, metavar="POLICY", help="the privacy policy (TOML)")
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR", help="where the repository is")
    parser.add_argument("--keys", type=Path, required=True, metavar="DIR", help="where keys are")
    parser.add_argument(
        "--despite",
        action="append",
        default=[],
        metavar="RULE",
        help="sign although this rule of lint says ERROR; once for each",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="show first what this bundle asks for and decides by; once for each",
    )
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="what is shown is in it (default: en)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from entrenous_exporters.key_commands import Desk  # noqa: PLC0415 — a TUF client takes a while to import
    from entrenous_exporters.privacy_signing import sign_privacy  # noqa: PLC0415

    return sign_privacy(arguments, Desk())
