"""How a choice arrives."""

from __future__ import annotations

from importlib.resources import files
from types import MappingProxyType

import numpy as np
import pytest

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import parse_policy
from entrenous_consent.signals import from_choices

POLICY = parse_policy((files("entrenous") / "demo" / "policy.toml").read_bytes())


def test_what_is_true_is_granted_and_what_is_not_named_is_refused():
    choices = MappingProxyType({"personalize": True, "history": False})
    assert from_choices(POLICY, choices) == {"personalize"}
    assert from_choices(POLICY, {}) == frozenset()


@pytest.mark.parametrize(
    "value", [1, 0, "true", "", None, [True], {"granted": True}, 1.0, np.True_], ids=lambda value: repr(value)
)
def test_only_true_and_false_are_choices(value):
    with pytest.raises(Malformed) as caught:
        from_choices(POLICY, {"history": True, "personalize": value})
    assert caught.value.place == "choices.personalize"
    assert caught.value.remedy


@pytest.mark.parametrize("purpose", ["personalise", "", "consent", "Personalize", 1, None, b"personalize"])
def test_an_unknown_purpose_is_refused_and_not_repeated(purpose):
    with pytest.raises(Malformed) as caught:
        from_choices(POLICY, {purpose: True})
    assert str(caught.value) == (
        "choices: names a purpose that the policy does not have — known: personalize, history, measure, improve"
    )


@pytest.mark.parametrize(
    "choices", [None, True, "personalize", ["personalize"], {"personalize"}, [("personalize", True)]]
)
def test_what_is_not_a_map_is_refused(choices):
    with pytest.raises(Malformed, match="expected a map"):
        from_choices(POLICY, choices)
