"""Whether a DPO may sign a policy: no ERROR of lint that was not named, no widening that keeps its consent version."""

from __future__ import annotations

from collections.abc import Collection

from entrenous_consent.dpo.changes import compare, unraised
from entrenous_consent.dpo.lint import lint
from entrenous_consent.dpo.rules import rules
from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["check_signable"]


def check_signable(
    before: PrivacyPolicy | None,
    after: PrivacyPolicy,
    despite: Collection[str],
    earlier: Collection[PrivacyPolicy] = (),
) -> tuple[str, ...]:
    """Return the rules that `after` fails with ERROR and that were named, sorted.

    Args:
        before: what is published; None at the first. despite: rules whose ERROR is taken into account by a person.
        earlier: what was published before that, in any order.

    Raises:
        Malformed: `despite` names what is no rule.
        Forbidden: a rule that says ERROR was not named, a purpose widens without a higher consent version, or one that
            was dropped comes back at a version that some visitors may have granted then.
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
    back = [
        key
        for key, purpose in after.purposes.items()
        if before is not None and key not in before.purposes and purpose.consent_version <= _highest(earlier, key)
    ]
    if back:
        places = ", ".join(f"purposes.{key}.consent_version" for key in back)
        remedy = "raise it above " + ", ".join(str(_highest(earlier, key)) for key in back)
        raise Forbidden("was granted before the purpose was dropped", place=places, remedy=remedy)
    return tuple(failed)


def _highest(policies: Collection[PrivacyPolicy], purpose: str) -> int:
    """Return the highest consent version that a purpose has had; 0 where it is in none."""
    return max((one.purposes[purpose].consent_version for one in policies if purpose in one.purposes), default=0)
