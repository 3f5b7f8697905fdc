"""Two policies compared: what widens, what narrows, who is asked again."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files

import pytest

from entrenous_consent.dpo.change import NARROWS, SAYS, WIDENS
from entrenous_consent.dpo.changes import asked_again, compare, unraised
from entrenous_consent.dpo.diff import diff_document
from entrenous_consent.dpo.rendering import render
from entrenous_consent.dpo.words import LANGUAGES, read_catalog
from entrenous_consent.errors import Forbidden
from entrenous_consent.policy import PrivacyPolicy, parse_policy

TEXT = files("entrenous").joinpath("demo/policy.toml").read_text("utf-8")
CATALOG = read_catalog((files("entrenous_consent.dpo") / "catalog" / "diff.toml").read_text("utf-8"))
DAY = 86_400
OLD = parse_policy(TEXT.encode())
PARTIES = parse_policy(
    TEXT.replace(
        "[signals]",
        '[[recipients]]\nname = "Carrier"\ncontact = "c"\ncountry = "CH"\n'
        '[[transfers]]\ncountry = "CH"\nrecipient = "Carrier"\nsafeguard = "2000/518/EC"\nkind = "adequacy"\n'
        '[[messages]]\nname = "sent"\npurpose = "history"\nrecipient = "Carrier"\n[signals]',
    ).encode()
)
EVERYONE = ("history", "improve", "measure", "personalize")


def purpose(policy: PrivacyPolicy = OLD, key: str = "measure", **parts: object) -> PrivacyPolicy:
    return replace(policy, purposes={**policy.purposes, key: replace(policy.purposes[key], **parts)})


def report(**parts: object) -> PrivacyPolicy:
    return replace(OLD, reports=(replace(OLD.reports[0], **parts),))


def feature(number: int = 3, **parts: object) -> PrivacyPolicy:
    rules = list(OLD.features)
    rules[number] = replace(rules[number], **parts)
    return replace(OLD, features=tuple(rules))


def decision(**parts: object) -> PrivacyPolicy:
    return replace(OLD, decisions=(replace(OLD.decisions[0], **parts),))


def party(what: str, policy: PrivacyPolicy = PARTIES, **parts: object) -> PrivacyPolicy:
    return replace(policy, **{what: (replace(getattr(policy, what)[0], **parts),)})


def signals(**parts: object) -> PrivacyPolicy:
    return replace(OLD, signals=replace(OLD.signals, **parts))


def identifier(**parts: object) -> PrivacyPolicy:
    return party("identifiers", OLD, **parts)


def without(what: str, key: str | None = None, policy: PrivacyPolicy = OLD) -> PrivacyPolicy:
    if what == "purposes":
        return replace(policy, purposes={one: rule for one, rule in policy.purposes.items() if one != key})
    return replace(policy, **{what: ()})


CLIPPED = dict(OLD.reports[0].clip)
TIGHT = purpose(terminal="none", legal_basis="contract", asked="by_silence", tcf_purposes=(8,))
PRECISE = feature(infers=("urgency",))
GROUND = purpose(terminal="exempt", terminal_ground="a")
EVERY_INPUT = decision(inputs=())
MODE = signals(cmps=("banner",), consent_mode={"measure": ("analytics_storage",)})

STEPS: list[tuple[str, PrivacyPolicy, PrivacyPolicy, str, str, tuple[str, ...], str | None]] = [
    # what widens, and what takes it back: place, purposes, reason there, reason back (None where it is not looked at)
    ("new_purpose", without("purposes", "improve"), OLD, "purposes.improve", "no_purpose", ("improve",), NARROWS),
    (
        "weaker_basis",
        OLD,
        purpose(legal_basis="contract"),
        "purposes.measure.legal_basis",
        "firmer_basis",
        ("measure",),
        NARROWS,
    ),
    (
        "terminal_further",
        TIGHT,
        purpose(TIGHT, terminal="consent"),
        "purposes.measure.terminal",
        "terminal_less",
        ("measure",),
        NARROWS,
    ),
    (
        "other_ground",
        GROUND,
        purpose(GROUND, terminal_ground="b"),
        "purposes.measure.terminal_ground",
        "other_ground",
        ("measure",),
        WIDENS,
    ),
    ("asked_less", OLD, purpose(asked="preselected"), "purposes.measure.asked", "asked_by_act", ("measure",), NARROWS),
    (
        "other_use",
        OLD,
        purpose(data_use="analytics"),
        "purposes.measure.data_use",
        "narrower_use",
        ("measure",),
        NARROWS,
    ),
    (
        "more_tcf",
        purpose(tcf_purposes=()),
        OLD,
        "purposes.measure.tcf_purposes",
        "less_tcf",
        ("measure",),
        NARROWS,
    ),
    (
        "less_tcf",
        OLD,
        purpose(tcf_purposes=(8,)),
        "purposes.measure.tcf_purposes",
        "more_tcf",
        ("measure",),
        WIDENS,
    ),
    (
        "choice_longer",
        OLD,
        purpose(lifetime=181 * DAY),
        "purposes.measure.lifetime_days",
        "choice_shorter",
        ("measure",),
        NARROWS,
    ),
    (
        "not_explicit",
        purpose(explicit_consent=True),
        OLD,
        "purposes.measure.explicit_consent",
        "explicit",
        ("measure",),
        NARROWS,
    ),
    ("version_fell", purpose(consent_version=2), OLD, "purposes.measure.consent_version", "", ("measure",), None),
    ("new_feature", without("features"), OLD, "features.bought_*", "no_feature", ("history",), NARROWS),
    (
        "feature_moved",
        OLD,
        feature(purpose="personalize"),
        "features.bought_*.purpose",
        "feature_moved",
        ("personalize",),
        WIDENS,
    ),
    (
        "other_category",
        OLD,
        feature(category="user.behavior"),
        "features.bought_*.category",
        "narrower_category",
        ("history",),
        NARROWS,
    ),
    ("other_source", OLD, feature(source="broker"), "features.bought_*.source", "other_source", ("history",), WIDENS),
    (
        "kept_longer",
        OLD,
        feature(retention_days=91),
        "features.bought_*.retention_days",
        "kept_shorter",
        ("history",),
        NARROWS,
    ),
    ("infers_more", OLD, PRECISE, "features.bought_*.infers", "infers_less", ("history",), NARROWS),
    ("new_report", without("reports"), OLD, "reports.promotion", "no_report", ("measure", "personalize"), NARROWS),
    ("report_moved", OLD, report(purpose="history"), "reports.promotion.purpose", "report_moved", ("history",), WIDENS),
    (
        "more_metrics",
        report(metrics=("visitors",)),
        OLD,
        "reports.promotion.metrics",
        "fewer_metrics",
        ("measure",),
        NARROWS,
    ),
    ("epsilon_up", OLD, report(epsilon=5.0), "reports.promotion.epsilon", "epsilon_down", ("measure",), NARROWS),
    (
        "lifetime_epsilon_up",
        OLD,
        report(lifetime_epsilon=13.0),
        "reports.promotion.lifetime_epsilon",
        "lifetime_epsilon_down",
        ("measure",),
        NARROWS,
    ),
    ("delta_up", OLD, report(delta=1e-8), "reports.promotion.delta", "delta_down", ("measure",), NARROWS),
    (
        "window_days_up",
        OLD,
        report(window_days=31),
        "reports.promotion.window_days",
        "window_days_down",
        ("measure",),
        NARROWS,
    ),
    ("cohort_down", OLD, report(cohort=19), "reports.promotion.cohort", "cohort_up", ("measure",), NARROWS),
    ("quantum_down", OLD, report(quantum=100), "reports.promotion.quantum", "quantum_up", ("measure",), NARROWS),
    (
        "every_days_down",
        OLD,
        report(every_days=29),
        "reports.promotion.every_days",
        "every_days_up",
        ("measure",),
        NARROWS,
    ),
    (
        "clip_up",
        OLD,
        report(clip={**CLIPPED, "orders": 21}),
        "reports.promotion.clip.orders",
        "clip_down",
        ("measure",),
        NARROWS,
    ),
    (
        "told_apart",
        report(segments=()),
        OLD,
        "reports.promotion.segments",
        "told_together",
        ("measure", "personalize"),
        NARROWS,
    ),
    ("new_message", without("messages", policy=PARTIES), PARTIES, "messages.sent", "no_message", ("history",), NARROWS),
    (
        "other_recipient",
        PARTIES,
        party("messages", recipient="X"),
        "messages.sent.recipient",
        "other_recipient",
        ("history",),
        WIDENS,
    ),
    (
        "message_moved",
        PARTIES,
        party("messages", purpose="measure"),
        "messages.sent.purpose",
        "message_moved",
        ("measure",),
        WIDENS,
    ),
    (
        "new_recipient",
        without("recipients", policy=PARTIES),
        PARTIES,
        "recipients.Carrier",
        "no_recipient",
        ("history",),
        NARROWS,
    ),
    (
        "other_country",
        party("recipients", country="FR"),
        PARTIES,
        "recipients.Carrier.country",
        "otherwise",
        ("history",),
        SAYS,
    ),
    (
        "new_transfer",
        without("transfers", policy=PARTIES),
        PARTIES,
        "transfers.Carrier.CH",
        "no_transfer",
        ("history",),
        NARROWS,
    ),
    (
        "weaker_safeguard",
        PARTIES,
        party("transfers", kind="derogation"),
        "transfers.Carrier.CH.kind",
        "otherwise",
        ("history",),
        SAYS,
    ),
    (
        "other_controller",
        OLD,
        replace(OLD, controller=replace(OLD.controller, name="X")),
        "controller.name",
        "other_controller",
        EVERYONE,
        WIDENS,
    ),
    ("epoch_up", OLD, replace(OLD, epoch=401 * DAY), "epoch_days", "epoch_down", EVERYONE, NARROWS),
    (
        "lifetime_epsilon_up",
        OLD,
        replace(OLD, lifetime_epsilon=13.0),
        "lifetime_epsilon",
        "lifetime_epsilon_down",
        ("measure",),
        NARROWS,
    ),
    ("no_budget", OLD, replace(OLD, lifetime_epsilon=0.0), "lifetime_epsilon", "budget", ("measure",), NARROWS),
    (
        "gpc_yields",
        OLD,
        signals(gpc_yields_to_later_choice=True),
        "signals.gpc_yields_to_later_choice",
        "gpc_stands",
        EVERYONE,
        NARROWS,
    ),
    (
        "other_vendor",
        OLD,
        signals(tcf_vendor_id=7),
        "signals.tcf_vendor_id",
        "no_vendor",
        EVERYONE,
        NARROWS,
    ),
    (
        "other_vendor",
        signals(tcf_vendor_id=7),
        signals(tcf_vendor_id=8),
        "signals.tcf_vendor_id",
        "other_vendor",
        EVERYONE,
        WIDENS,
    ),
    (
        "publisher_heard",
        OLD,
        signals(tcf_publisher_purposes=True),
        "signals.tcf_publisher_purposes",
        "publisher_unheard",
        EVERYONE,
        NARROWS,
    ),
    (
        "more_cmps",
        MODE,
        signals(cmps=("banner", "other"), consent_mode=MODE.signals.consent_mode),
        "signals.cmps",
        "fewer_cmps",
        ("measure",),
        NARROWS,
    ),
    ("mode_opens", OLD, MODE, "signals.consent_mode.measure", "mode_shut", ("measure",), NARROWS),
    (
        "mode_opens",
        signals(cmps=("banner",), consent_mode={"measure": ("ad_user_data",)}),
        MODE,
        "signals.consent_mode.measure",
        "mode_shut",
        ("measure",),
        NARROWS,
    ),
    (
        "mode_less",
        signals(cmps=("banner",), consent_mode={"measure": ("analytics_storage", "ad_user_data")}),
        MODE,
        "signals.consent_mode.measure",
        "mode_more",
        ("measure",),
        NARROWS,
    ),
    (
        "mode_less",
        signals(cmps=("banner",), consent_mode={"measure": ("ad_storage",)}),
        MODE,
        "signals.consent_mode.measure",
        "mode_less",
        ("measure",),
        WIDENS,
    ),
    ("identifiers_untold", OLD, without("identifiers"), "identifiers", "", EVERYONE, None),
    (
        "new_identifier",
        OLD,
        replace(OLD, identifiers=(*OLD.identifiers, replace(OLD.identifiers[0], name="device"))),
        "identifiers.device",
        "no_identifier",
        EVERYONE,
        NARROWS,
    ),
    (
        "other_category",
        OLD,
        identifier(category="user.contact"),
        "identifiers.customer_id.category",
        "other_category",
        EVERYONE,
        WIDENS,
    ),
    (
        "weaker_method",
        OLD,
        identifier(method="hash"),
        "identifiers.customer_id.method",
        "firmer_method",
        EVERYONE,
        NARROWS,
    ),
    (
        "shorter_key",
        OLD,
        identifier(key_bits=128),
        "identifiers.customer_id.key_bits",
        "longer_key",
        EVERYONE,
        NARROWS,
    ),
    (
        "key_beside",
        OLD,
        identifier(key_kept="beside"),
        "identifiers.customer_id.key_kept",
        "key_apart",
        EVERYONE,
        NARROWS,
    ),
    (
        "shared_pseudonyms",
        OLD,
        identifier(per_purpose=False),
        "identifiers.customer_id.per_purpose",
        "own_pseudonyms",
        EVERYONE,
        NARROWS,
    ),
    (
        "audit_longer",
        OLD,
        replace(OLD, audit_retention_days=1831),
        "audit_retention_days",
        "audit_shorter",
        (),
        NARROWS,
    ),
    (
        "share_up",
        OLD,
        report(split={**dict.fromkeys(OLD.reports[0].metrics, 1.0), "revenue": 2.0}),
        "reports.promotion.split.revenue",
        "share_down",
        ("measure",),
        NARROWS,
    ),
    ("decisions_untold", OLD, without("decisions"), "decisions", "", ("personalize",), None),
    (
        "new_decision",
        OLD,
        replace(OLD, decisions=(*OLD.decisions, replace(OLD.decisions[0], name="other"))),
        "decisions.other",
        "no_decision",
        ("personalize",),
        NARROWS,
    ),
    ("graver", OLD, decision(effect="credit"), "decisions.promotion.effect", "lighter", ("personalize",), NARROWS),
    ("alone", decision(alone=False), OLD, "decisions.promotion.alone", "with_person", ("personalize",), NARROWS),
    (
        "decision_moved",
        OLD,
        decision(purpose="history"),
        "decisions.promotion.purpose",
        "decision_moved",
        ("history",),
        WIDENS,
    ),
    ("any_input", OLD, EVERY_INPUT, "decisions.promotion.inputs", "fewer_inputs", ("personalize",), NARROWS),
    (
        "more_inputs",
        OLD,
        decision(inputs=(*OLD.decisions[0].inputs, "x")),
        "decisions.promotion.inputs",
        "fewer_inputs",
        ("personalize",),
        NARROWS,
    ),
]


@pytest.mark.parametrize(
    ("reason", "old", "new", "place", "back", "purposes", "effect"), STEPS, ids=[f"{one[0]} {one[3]}" for one in STEPS]
)
def test_a_step_widens_and_its_way_back_does_not(reason, old, new, place, back, purposes, effect):
    there = [one for one in compare(old, new) if (one.place, one.reason) == (place, reason)]
    assert [(one.effect, one.purposes) for one in there[:1]] == [(WIDENS, purposes)]
    if effect is not None:
        [first, *_] = [one for one in compare(new, old) if (one.place, one.reason) == (place, back)]
        assert first.effect == effect
    assert compare(old, old) == ()


def test_every_reason_is_tested_and_has_its_words():
    used = {reason for one in STEPS for reason in (one[0], one[4]) if reason}
    assert {key.removeprefix("reason.") for key in CATALOG if key.startswith("reason.")} == used


def test_a_widening_that_keeps_its_consent_version_is_named():
    wider = feature(retention_days=91)
    assert unraised(compare(OLD, wider), OLD, wider) == ("history",)
    raised = purpose(wider, key="history", consent_version=2)
    assert unraised(compare(OLD, raised), OLD, raised) == ()
    assert asked_again(OLD, raised) == ("history",)


def test_a_new_purpose_needs_no_higher_version_for_nobody_was_asked():
    fewer = without("purposes", "improve")
    assert unraised(compare(fewer, OLD), fewer, OLD) == ()
    assert asked_again(fewer, OLD) == ("improve",)


def test_a_name_under_a_rule_that_covers_it_is_nothing_new():
    named = replace(OLD, features=(*OLD.features, replace(OLD.features[0], pattern="visit_views")))
    assert compare(OLD, named) == ()


def test_a_rule_that_falls_away_is_judged_by_the_one_that_speaks_then():
    strict = replace(OLD, features=(*OLD.features, replace(OLD.features[0], pattern="visit_views", retention_days=1)))
    [change] = compare(strict, OLD)
    assert (change.effect, change.place, change.reason) == (
        WIDENS,
        "features.visit_views.retention_days",
        "kept_longer",
    )
    [change] = compare(OLD, strict)
    assert change.effect == NARROWS


def test_a_recipient_that_no_message_names_touches_every_purpose():
    bare = without("messages", policy=PARTIES)
    [change] = [one for one in compare(without("recipients", policy=bare), bare) if one.reason == "new_recipient"]
    assert change.purposes == EVERYONE


def test_what_is_only_said_otherwise_says_so():
    rights = replace(OLD, rights=replace(OLD.rights, erase=""), children="yes", security=("locks",), max_stale=DAY)
    told = purpose(rights, title={"en": "Count", "fr": "Compter"})
    changes = compare(OLD, replace(told, identifiers=identifier(domain="the shop").identifiers))
    assert {one.effect for one in changes} == {SAYS}
    places = {"rights.erase", "children", "security", "identifiers.customer_id.domain", "purposes.measure.title.fr"}
    assert places < {one.place for one in changes}
    assert [(one.old, one.new) for one in changes if one.place == "max_stale_days"] == [("14", "1")]
    assert compare(EVERY_INPUT, EVERY_INPUT) == ()
    unbounded = replace(OLD, lifetime_epsilon=0.0)
    assert compare(unbounded, unbounded) == ()
    [change] = compare(identifier(method="table"), identifier(method="encryption"))
    assert (change.effect, change.place) == (SAYS, "identifiers.customer_id.method")
    shut = signals(cmps=("banner",), consent_mode={"measure": ("ad_user_data",)})
    [change] = compare(shut, signals(cmps=("banner",), consent_mode={"measure": ("ad_personalization",)}))
    assert (change.effect, change.place) == (SAYS, "signals.consent_mode.measure")


@pytest.mark.parametrize(
    ("what", "weak"),
    [
        ("decisions", decision(effect="credit")),
        ("identifiers", identifier(method="hash")),
        ("identifiers", identifier(key_kept="beside")),
        ("identifiers", identifier(per_purpose=False)),
    ],
)
def test_what_is_declared_for_the_first_time_widens_where_nobody_would_expect_it(what, weak):
    silent = without(what)
    assert {one.effect for one in compare(silent, OLD)} == {SAYS}
    assert {one.effect for one in compare(silent, weak)} == {WIDENS}


def test_a_longer_audit_log_is_shown_as_a_widening_and_asks_nobody_again():
    longer = replace(OLD, audit_retention_days=1831)
    assert unraised(compare(OLD, longer), OLD, longer) == ()
    assert compare(OLD, replace(OLD, audit_retention_days=0)) == ()


def test_weights_that_come_to_the_same_are_no_change():
    assert compare(OLD, report(split=dict.fromkeys(OLD.reports[0].metrics, 3.0))) == ()


def test_policies_of_two_tenants_are_not_compared():
    with pytest.raises(Forbidden, match="another tenant"):
        compare(OLD, replace(OLD, tenant="other"))


# As a document


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_document_says_all_of_it(language):
    new = replace(purpose(feature(retention_days=91), consent_version=2), version=2)
    document = diff_document(OLD, new, language)
    text = " ".join(render(document, "text").split())
    assert "features.bought_*.retention_days" in text
    assert CATALOG["reason.kept_longer"][language] in text
    assert [one.tone for one in document.lead] == ["", "error"]
    assert document.data["unraised"] == ["history"]
    assert document.data["asked_again"] == ["measure"]
    assert re.search(r"consent_version (to|à) 2", text)


def test_the_document_of_nothing_is_short():
    document = diff_document(OLD, replace(OLD, version=2), "en")
    assert [section.key for section in document.sections] == ["asked"]
    assert "Nobody is asked again." in render(document, "text")
    assert "Nothing that a policy says changes." in render(document, "text")


def test_the_document_names_a_purpose_that_is_new_and_a_version_that_is_not():
    document = diff_document(without("purposes", "improve"), OLD, "en")
    text = " ".join(render(document, "text").split())
    assert "improve is new: nobody has been asked yet" in text
    assert "no runtime would take it" in text
