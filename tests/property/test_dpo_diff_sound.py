"""What diff does not call a widening, is none: what the new policy permits a bundle, the old one permitted too."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as st

from entrenous_consent.dpo.changes import NARROWS, WIDENS, compare, unraised
from entrenous_consent.dpo.taxonomy import within
from entrenous_consent.policy import AskedFeature, FeatureRule, PrivacyPolicy, Request, parse_policy

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
