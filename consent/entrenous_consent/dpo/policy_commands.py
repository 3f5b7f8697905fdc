"""Verbs of `entrenous privacy` that read a policy: lint, diff, explain, register, dpia, notice, report."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

from entrenous_consent.dpo.card import CARD_LIMIT, read_card_facts
from entrenous_consent.dpo.commands import Commands
from entrenous_consent.dpo.diff import diff_document
from entrenous_consent.dpo.dpia import dpia_document
from entrenous_consent.dpo.explain import RECEIPTS_LIMIT, explain_feature, explain_receipts, read_receipts
from entrenous_consent.dpo.facts import FACTS_LIMIT, read_document
from entrenous_consent.dpo.lint import lint, lint_document
from entrenous_consent.dpo.notice import notice_document
from entrenous_consent.dpo.output import put, with_output
from entrenous_consent.dpo.register import register_document
from entrenous_consent.dpo.report import report_document
from entrenous_consent.files import read_up_to
from entrenous_consent.policy import POLICY_LIMIT, PrivacyPolicy, parse_policy

__all__ = ["FOUND", "register"]

FOUND = 1
"""The exit code of `lint` where a rule says ERROR; 2 is kept for what is refused."""


def register(verbs: Commands) -> None:
    """Register them."""
    _verb(verbs, "lint", "what the rules find in a policy, each with its source").set_defaults(run=_lint)
    diff = _verb(verbs, "diff", "what widens, what narrows, and who is asked again", policy="OLD")
    diff.add_argument("new", type=Path, metavar="NEW", help="the policy that is to come (TOML)")
    diff.set_defaults(run=_diff)
    explain = _verb(verbs, "explain", "a feature, or a decision's receipt, in plain words")
    what = explain.add_mutually_exclusive_group(required=True)
    what.add_argument("feature", nargs="?", metavar="FEATURE", help="a feature's name")
    what.add_argument("--receipt", type=Path, metavar="FILE", help="receipts, or a visitor's whole export (JSON)")
    explain.set_defaults(run=_explain)
    _verb(verbs, "register", "the record of processing activities (GDPR Art. 30)").set_defaults(run=_register)
    dpia = _verb(verbs, "dpia", "a draft impact assessment (GDPR Art. 35), open questions marked")
    dpia.add_argument("--card", type=Path, metavar="FILE", help="the model's card, as train wrote it (.card.json)")
    dpia.set_defaults(run=_dpia)
    _verb(verbs, "notice", "what visitors are told (GDPR Art. 13, 14)").set_defaults(run=_notice)
    report = _verb(verbs, "report", "one page for an auditor: all of it, in words", form="html")
    report.add_argument(
        "--facts", type=Path, action="append", default=[], metavar="FILE", help="what another verb wrote as JSON"
    )
    report.set_defaults(run=_report)


def _verb(
    verbs: Commands, name: str, words: str, *, policy: str = "POLICY", form: str = "text"
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=words, description=words)
    parser.add_argument("policy", type=Path, metavar=policy, help="the privacy policy (TOML)")
    return with_output(parser, form=form)


def _policy(path: Path) -> PrivacyPolicy:
    return parse_policy(read_up_to(path, POLICY_LIMIT), place=str(path))


def _lint(arguments: argparse.Namespace) -> int:
    policy = _policy(arguments.policy)
    put(lint_document(policy, arguments.language), arguments)
    return FOUND if any(one.rule.level == "error" for one in lint(policy)) else 0


def _diff(arguments: argparse.Namespace) -> int:
    put(diff_document(_policy(arguments.policy), _policy(arguments.new), arguments.language), arguments)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    policy, told = _policy(arguments.policy), (arguments.language, version("entrenous"))
    if arguments.receipt is None:
        put(explain_feature(policy, arguments.feature, *told), arguments)
    else:
        receipts = read_receipts(read_up_to(arguments.receipt, RECEIPTS_LIMIT), place=str(arguments.receipt))
        put(explain_receipts(policy, receipts, *told), arguments)
    return 0


def _register(arguments: argparse.Namespace) -> int:
    put(register_document(_policy(arguments.policy), arguments.language, version("entrenous")), arguments)
    return 0


def _dpia(arguments: argparse.Namespace) -> int:
    card = arguments.card and read_card_facts(read_up_to(arguments.card, CARD_LIMIT), place=str(arguments.card))
    put(dpia_document(_policy(arguments.policy), card, arguments.language, version("entrenous")), arguments)
    return 0


def _notice(arguments: argparse.Namespace) -> int:
    put(notice_document(_policy(arguments.policy), arguments.language, version("entrenous")), arguments)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    found = [read_document(read_up_to(path, FACTS_LIMIT), place=str(path)) for path in arguments.facts]
    put(report_document(_policy(arguments.policy), found, arguments.language, version("entrenous")), arguments)
    return 0
