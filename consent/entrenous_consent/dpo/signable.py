"""Whether a DPO may sign a policy: no ERROR of lint that was not named, no widening that keeps its consent version."""

from __future__ import annotations

from collections.abc import Collection

from entrenous_consent.dpo.changes import compare, unraised
from entrenous_consent.dpo.lint import lint
from entrenous_consent.dpo.rules import rules
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["check_signable"]


def check_signable(before: PrivacyPolicy | None, after: PrivacyPolicy, despite: Collection[str]) -> tuple[str, ...]:
    """Return the rules that `after` fails with ERROR and that were named, sorted.

    Args:
        before: what is published; None at the first. despite: rules whose ERROR is taken into account by a person.

    Raises:
        Malformed: `despite` names what is no rule.
        Forbidden: a rule that says ERROR was not named, or a purpose widens without a higher consent version.
    """
    known = {rule.id for rule in rules() if rule.level == "error"}
    for name in sorted(despite):
        if name not in known:
            remedy = "name one of: " + ", ".join(sorted(known))
            raise Malformed(f"{name!r} is not a rule that says ERROR", place="despite", remedy=remedy)
    failed = sorted({one.rule.id for one in lint(after) if one.rule.level == "error"})
    if unnamed := [name for name in failed if name not in despite]:
        remedy = "mend it, or name each with --despite"
        raise Forbidden("lint says ERROR: " + ", ".join(unnamed), place=f"policy of {after.tenant}", remedy=remedy)
    if before is not None and (kept := unraised(compare(before, after), before, after)):
        places = ", ".join(f"purposes.{key}.consent_version" for key in kept)
        raise Forbidden("widens and keeps its consent version", place=places, remedy="raise it by one")
    return tuple(failed)
