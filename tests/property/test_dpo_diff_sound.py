"""What diff does not call a widening, is none: what the new policy permits a bundle, the old one permitted too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.signals import MADE, VENDOR, golden, policy

from entrenous_consent.dpo.change import NARROWS, WIDENS
from entrenous_consent.dpo.changes import compare, unraised
from entrenous_consent.dpo.taxonomy import within
from entrenous_consent.errors import Refusal
from entrenous_consent.policy import AskedFeature, FeatureRule, PrivacyPolicy, Request, parse_policy
from entrenous_consent.signals import read_signal

BASE = parse_policy(files("entrenous").joinpath("demo/policy.toml").read_bytes())
PURPOSES = st.sampled_from(["personalize"] * 4 + ["history"])
CATEGORIES = st.sampled_from(["user.behavior"] * 4 + ["user.behavior.browsing_history", "user.device"])
SOURCES = st.sampled_from(["first_party"] * 6 + ["broker"])
DAYS = st.integers(0, 3)
NAMES = st.sampled_from(["a", "ab", "abc", "abd", "b", "ba"])
PATTERNS = st.sampled_from(["*", "a*", "ab*", "abc*", "b*", "a", "ab", "abc", "b"])
RULES = st.lists(
    st.builds(
        FeatureRule, pattern=PATTERNS, purpose=PURPOSES, category=CATEGORIES, source=SOURCES, retention_days=DAYS
    ),
    max_size=5,
    unique_by=lambda rule: rule.pattern,
)
POLICIES = st.builds(lambda rules: replace(BASE, features=tuple(rules)), RULES)


def covered(policy: PrivacyPolicy, asked: AskedFeature) -> bool:
    """Say whether someone who granted the purpose under `policy` was told of this, or of more."""
    rule = policy.rule(asked.name)
    return (
        rule is not None
        and (rule.purpose, rule.source) == (asked.purpose, asked.source)
        and within(asked.category, (rule.category,))
        and asked.retention_days <= rule.retention_days
    )


@given(old=POLICIES, new=POLICIES, name=NAMES)
@settings(max_examples=1000)
def test_what_is_permitted_without_being_asked_again_was_covered_before(old, new, name):
    rule = new.rule(name)
    if rule is None or rule.purpose in unraised(compare(old, new), old, new):
        return
    most = AskedFeature(
        name=name,
        purpose=rule.purpose,
        category=rule.category,
        source=rule.source,
        retention_days=rule.retention_days,
    )
    assert new.permits(Request(features=(most,), decisions=())) == ()
    assert covered(old, most)


@given(old=POLICIES, new=POLICIES)
@settings(max_examples=300)
def test_what_narrows_one_way_widens_the_other(old, new):
    there, back = compare(old, new), compare(new, old)
    assert {one.place for one in there if one.effect == NARROWS} <= {one.place for one in back if one.effect == WIDENS}


@given(policy=POLICIES)
def test_a_policy_does_not_differ_from_itself(policy):
    assert compare(policy, policy) == ()


# What counts as a yes

POLICY = policy(
    f"[signals]\ntcf_vendor_id = {VENDOR}\ncmps = ['a']\n[signals.consent_mode]\n"
    "measure = ['analytics_storage', 'ad_user_data']\n"
)
MEASURE = replace(POLICY.purposes["measure"], tcf_purposes=(1, 6, 8))
HEARING = replace(POLICY, purposes={**POLICY.purposes, "measure": MEASURE})
STRINGS = [golden(name) for name in ("everything consented, vendors as bits", "some purposes refused")]
TYPES = ("analytics_storage", "ad_storage", "ad_user_data")
SIGNALS = [{"tcf": text} for text in STRINGS]
SIGNALS += [
    {"consent_mode": dict.fromkeys(given, "granted"), "cmp": cmp}
    for given in (TYPES[:1], TYPES[1:2], TYPES[2:], TYPES[:2], TYPES[1:], TYPES[::2], TYPES)
    for cmp in ("a", "b")
]
HEARD = {
    "tcf_vendor_id": (0, 1, VENDOR),
    "tcf_publisher_purposes": (False, True),
    "cmps": ((), ("a",), ("b",), ("a", "b")),
    "consent_mode": ({}, *({"measure": types} for n in (1, 2, 3) for types in combinations(TYPES, n))),
    "gpc_yields_to_later_choice": (False, True),
}
ASKED = {
    "tcf_purposes": [one for n in range(4) for one in combinations((1, 6, 8), n)],
    "lifetime": (86_400, 180 * 86_400),
}


def hearing(parts: Mapping[str, object]) -> PrivacyPolicy:
    """Return the policy that hears other signals, or asks them for more or less."""
    signals = {part: value for part, value in parts.items() if part in HEARD}
    asked = {part: value for part, value in parts.items() if part in ASKED}
    purposes = {**HEARING.purposes, "measure": replace(MEASURE, **asked)}
    return replace(HEARING, signals=replace(HEARING.signals, **signals), purposes=purposes)


HEARINGS = st.fixed_dictionaries({part: st.sampled_from(values) for part, values in {**HEARD, **ASKED}.items()}).map(
    hearing
)


def granted(policy: PrivacyPolicy, signal: object) -> frozenset[str]:
    """Return what a signal grants; one that is not taken grants nothing."""
    try:
        return read_signal(policy, signal, MADE + 3600).granted
    except Refusal:
        return frozenset()


@pytest.mark.parametrize(("part", "values"), [*HEARD.items(), *ASKED.items()])
def test_what_a_signal_opens_without_being_asked_again_it_opened_before(part, values):
    for first, second in permutations(values, 2):
        old, new = hearing({part: first}), hearing({part: second})
        widened = {*unraised(compare(old, new), old, new)}
        for signal in SIGNALS:
            assert granted(new, signal) - widened <= granted(old, signal), (first, second)


@given(old=HEARINGS, middle=HEARINGS, new=HEARINGS)
@settings(max_examples=100)
def test_two_steps_that_ask_nobody_come_to_one_that_asks_nobody(old, middle, new):
    steps = {*unraised(compare(old, middle), old, middle), *unraised(compare(middle, new), middle, new)}
    assert {*unraised(compare(old, new), old, new)} <= steps
