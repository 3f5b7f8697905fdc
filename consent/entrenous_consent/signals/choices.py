"""Plain choices: what an app's own banner asked, purpose by purpose."""

from __future__ import annotations

from collections.abc import Mapping

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import PrivacyPolicy

__all__ = ["from_choices"]


def from_choices(policy: PrivacyPolicy, choices: object) -> frozenset[str]:
    """Return the purposes that a plain map of choices grants.

    The map is the whole choice: a purpose it does not name is refused.

    Args:
        policy: the policy in force, which says what the purposes are.
        choices: purpose to `True` (granted) or `False` (refused); nothing else is read as a choice.

    Raises:
        Malformed: not a map, an unknown purpose, or a value that is neither `True` nor `False`.
    """
    if not isinstance(choices, Mapping):
        remedy = "pass the visitor's whole choice"
        raise Malformed("expected a map from purpose to True or False", place="choices", remedy=remedy)
    known = ", ".join(policy.purposes)
    for purpose, choice in choices.items():
        if purpose not in policy.purposes:
            raise Malformed("names a purpose that the policy does not have", place="choices", remedy=f"known: {known}")
        if choice is not True and choice is not False:
            remedy = "pass what the visitor chose, as a bool"
            raise Malformed("expected True or False", place=f"choices.{purpose}", remedy=remedy)
    return frozenset(purpose for purpose, choice in choices.items() if choice)
