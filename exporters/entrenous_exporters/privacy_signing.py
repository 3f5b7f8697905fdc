"""What `entrenous privacy sign` does: show what lint finds and what changes, refuse, or hand over to `keys sign`."""

from __future__ import annotations

import argparse
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from entrenous.bundle import BUNDLE_LIMIT, read_bundle
from entrenous.documents.bundle_documents import bundle_document
from entrenous_consent.dpo.diff import diff_document
from entrenous_consent.dpo.lint import lint_document
from entrenous_consent.dpo.rendering import render
from entrenous_consent.dpo.signable import check_signable
from entrenous_consent.errors import Malformed, Missing
from entrenous_consent.files import read_up_to
from entrenous_consent.policy import POLICY_LIMIT, PrivacyPolicy, parse_policy
from entrenous_exporters import key_commands
from entrenous_exporters.key_commands import Desk
from entrenous_exporters.publish import Repository

__all__ = ["sign_privacy"]


def sign_privacy(arguments: argparse.Namespace, desk: Desk) -> int:
    """Show, check, ask, sign; return 0, or 1 when the answer was no.

    Args:
        arguments: `policy`, `repository`, `keys`, `despite`, `bundle`, `language`, `yes`.

    Raises:
        Forbidden: lint says ERROR, a purpose widens without a higher consent version, or it may not be signed.
        Malformed, Missing, Unauthentic: as `entrenous keys sign`.
    """
    data = read_up_to(arguments.policy, POLICY_LIMIT)
    policy = parse_policy(data, place=str(arguments.policy))
    repository = Repository(arguments.repository)
    before = _published(repository, policy.tenant)
    desk.say(*render(lint_document(policy, arguments.language), "text").splitlines(), "")
    if before is not None:
        desk.say(*render(diff_document(before, policy, arguments.language), "text").splitlines(), "")
    for path in arguments.bundle:
        bundle = read_bundle(read_up_to(path, BUNDLE_LIMIT), place=str(path))
        document = bundle_document(bundle, policy, arguments.language, version("entrenous"))
        desk.say(*render(document, "text").splitlines(), "")
    named = check_signable(before, policy, arguments.despite, _earlier(repository, policy.tenant))
    if named:
        desk.say("to be signed despite: " + ", ".join(named))
    with TemporaryDirectory() as directory:
        copy = Path(directory) / "policy.toml"  # what was checked is what is signed, whatever the file is by then
        copy.write_bytes(data)
        arguments.role, arguments.file, arguments.tenant = "privacy", copy, None
        return key_commands.sign(arguments, desk)


def _published(repository: Repository, tenant: str) -> PrivacyPolicy | None:
    try:
        return repository.policy(tenant)
    except Missing:
        return None


def _earlier(repository: Repository, tenant: str) -> list[PrivacyPolicy]:
    """Return every policy of a tenant that lies in the repository; what is none is passed over."""
    found = []
    for data in repository.shelf.every_target("policies", tenant, longest=POLICY_LIMIT):
        with suppress(Malformed):
            found.append(parse_policy(data))
    return found
