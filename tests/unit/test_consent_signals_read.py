"""What each kind of signal grants by the policy."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import MappingProxyType

import pytest
from tests.signals import BANNER, DAY, GPP, MADE, NOW, SIGNALS, TCF, golden, policy

from entrenous_consent.errors import Forbidden, Malformed
from entrenous_consent.policy import PrivacyPolicy
from entrenous_consent.signal_settings import OVER_GPC
from entrenous_consent.signals import REASONS, gpc_objects, parse_tcf, read_signal

POLICY = policy()
ALL = frozenset(POLICY.purposes)
BY_VENDOR = policy("[signals]\ntcf_vendor_id = 300\n")
BY_PUBLISHER = policy("[signals]\ntcf_publisher_purposes = true\n")
YIELDING = policy(SIGNALS.replace("later_choice = false", "later_choice = true"))
PERSONAL = {"personalization_storage": "granted", "ad_personalization": "granted"}


def with_purpose(base: PrivacyPolicy, key: str, **changes: object) -> PrivacyPolicy:
    purposes = {**base.purposes, key: replace(base.purposes[key], **changes)}
    return replace(base, purposes=purposes)


def european(name: str) -> str:
    return next(one["text"] for one in GPP["golden"] if one["name"] == name)


# TCF


@pytest.mark.parametrize(
    ("string", "by_vendor", "by_publisher"),
    [
        ("nothing consented", set(), set()),
        ("everything consented, vendors as bits", ALL, ALL),
        ("some purposes refused", {"history", "measure"}, set()),
        ("publisher restrictions of every kind", set(), set()),
        ("publisher segment with purposes of its own", set(), ALL),
        ("publisher segment before the disclosed vendors", ALL, set()),
        ("no publisher segment", ALL, set()),
        ("purpose 1 not shown", set(), set()),
        ("vendor consented to and not disclosed", set(), set()),
        ("to the tenth of a second, texts of its own, in German", set(), set()),
    ],
)
def test_a_tcf_string_grants_what_the_vendor_or_the_publisher_was_consented_to(string, by_vendor, by_publisher):
    text = golden(string)
    assert 300 in parse_tcf(golden("everything consented, vendors as bits")).vendors_consent
    assert read_signal(BY_VENDOR, {"tcf": text}, NOW).granted == by_vendor
    assert read_signal(BY_PUBLISHER, {"tcf": text}, NOW).granted == by_publisher
    assert read_signal(POLICY, {"tcf": text}, NOW).granted == set(by_vendor) | set(by_publisher)


def test_a_choice_says_where_it_came_from_and_when_it_was_made_and_what_it_refuses():
    choice = read_signal(BY_VENDOR, {"tcf": golden("some purposes refused")}, NOW)
    assert (choice.source, choice.made, choice.objects) == ("tcf", MADE, False)
    assert choice.refused == {"personalize": "not_chosen", "improve": "not_chosen"}
    assert choice.words() == dict.fromkeys(("personalize", "improve"), "consent was not given to it")
    assert choice.words("fr")["improve"] == "le consentement n'a pas été donné"


def test_every_reason_is_said_in_both_languages():
    for english, french in REASONS.values():
        assert english
        assert french
        assert english != french


@pytest.mark.parametrize(
    ("string", "why"),
    [
        ("vendor consented to and not disclosed", "vendor_not_disclosed"),
        ("purpose 1 not shown", "purpose_one_not_shown"),
        ("nothing consented", "not_chosen"),
    ],
)
def test_why_a_purpose_is_refused_is_told(string, why):
    assert set(read_signal(BY_VENDOR, {"tcf": golden(string)}, NOW).refused.values()) == {why}


def test_a_vendor_that_is_disclosed_and_refused_grants_nothing():
    another = policy("[signals]\ntcf_vendor_id = 12\n")
    choice = read_signal(another, {"tcf": golden("some purposes refused")}, NOW)
    assert choice.granted == set()
    assert choice.refused["history"] == "vendor_refused"


def restricted(vendor: int) -> PrivacyPolicy:
    """Return a policy that reads this vendor, whose purposes need TCF purposes 5, 7, 2 and 10."""
    found = policy(f"[signals]\ntcf_vendor_id = {vendor}\n")
    for key, needed in (("personalize", (5,)), ("history", (7,)), ("measure", (2,)), ("improve", (10,))):
        found = with_purpose(found, key, tcf_purposes=needed, terminal="none")
    return found


def test_a_restriction_of_the_publisher_is_respected():
    text = golden("publisher restrictions of every kind")
    consent = parse_tcf(text)
    assert {(rule.purpose, rule.kind) for rule in consent.restrictions} == {(5, 0), (7, 1), (2, 2)}
    assert 4 in consent.vendors_consent
    choice = read_signal(restricted(4), {"tcf": text}, NOW)
    assert choice.granted == ALL, "vendor 4 is restricted to consent, which was given"
    consented = replace(consent, vendors_consent=consent.disclosed)
    from entrenous_consent.signals import read

    whole = replace(consented, disclosed=parse_tcf(golden("vendors as ranges")).disclosed)
    whole = replace(whole, vendors_consent=whole.disclosed)
    found = read._from_tcf(restricted(300), whole, NOW, "tcf")
    assert found.granted == {"history", "improve"}
    assert found.refused == {"personalize": "restricted", "measure": "restricted"}


def test_legitimate_interest_grants_nothing():
    measuring = with_purpose(BY_VENDOR, "measure", tcf_purposes=(7,), terminal="none")
    text = golden("some purposes refused")
    assert 7 in parse_tcf(text).purposes_li
    assert "measure" not in read_signal(measuring, {"tcf": text}, NOW).granted


def test_a_purpose_that_names_no_tcf_purpose_is_never_granted_by_a_tcf_string():
    choice = read_signal(
        with_purpose(POLICY, "measure", tcf_purposes=()), {"tcf": golden("everything consented, vendors as bits")}, NOW
    )
    assert choice.granted == ALL - {"measure"}
    assert choice.refused == {"measure": "not_mapped"}


@pytest.mark.parametrize("signal", ["tcf", "consent_mode"])
def test_a_purpose_that_does_not_rest_on_consent_is_not_granted_by_a_signal_of_consent(signal):
    resting = with_purpose(POLICY, "measure", legal_basis="legitimate_interests")
    given = {
        "tcf": {"tcf": golden("everything consented, vendors as bits")},
        "consent_mode": {"consent_mode": {"analytics_storage": "granted"}, "cmp": BANNER},
    }[signal]
    assert read_signal(resting, given, NOW).refused["measure"] == "not_by_consent"


def test_what_opens_the_terminal_needs_purpose_one_even_where_the_policy_forgets_it():
    text = golden("publisher restrictions of every kind")
    forgetful = with_purpose(restricted(4), "improve", tcf_purposes=(10,), terminal="consent")
    assert "improve" in read_signal(forgetful, {"tcf": text}, NOW).granted
    from entrenous_consent.signals import Ids, read

    consent = parse_tcf(text)
    without = replace(consent, purposes_consent=Ids(24, consent.purposes_consent.bits & ~(1 << 23)))
    assert "improve" in read._from_tcf(restricted(4), without, NOW, "tcf").granted
    assert "improve" not in read._from_tcf(forgetful, without, NOW, "tcf").granted


def test_a_choice_older_than_a_purpose_keeps_it_is_refused_for_that_purpose():
    short = with_purpose(POLICY, "history", lifetime=30 * DAY)
    text = golden("everything consented, vendors as bits")
    assert read_signal(short, {"tcf": text}, MADE + 30 * DAY - 1).granted == ALL
    choice = read_signal(short, {"tcf": text}, MADE + 30 * DAY)
    assert choice.granted == ALL - {"history"}
    assert choice.refused == {"history": "expired"}


def test_a_string_older_than_any_choice_is_kept_is_refused():
    text = golden("everything consented, vendors as bits")
    assert read_signal(POLICY, {"tcf": text}, MADE + 180 * DAY - 1).granted == ALL
    with pytest.raises(Forbidden, match="older than any choice"):
        read_signal(POLICY, {"tcf": text}, MADE + 180 * DAY)


def test_a_string_dated_after_today_is_refused():
    text = golden("everything consented, vendors as bits")
    assert read_signal(POLICY, {"tcf": text}, MADE - DAY + 1).granted == ALL
    with pytest.raises(Malformed, match="dated after today"):
        read_signal(POLICY, {"tcf": text}, MADE - DAY)


def test_a_string_without_disclosed_vendors_grants_by_no_vendor():
    text = golden("core alone, before disclosure was due")
    choice = read_signal(BY_VENDOR, {"tcf": text}, parse_tcf(text).updated + DAY)
    assert choice.granted == set()
    assert set(choice.refused.values()) == {"vendor_not_disclosed"}


def test_a_string_made_under_an_old_policy_is_refused(monkeypatch):
    from entrenous_consent.signals import read

    old = replace(parse_tcf(golden("everything consented, vendors as bits")), policy_version=3)
    monkeypatch.setattr(read, "parse_tcf", lambda text: old)
    with pytest.raises(Malformed, match="older than TCF"):
        read_signal(POLICY, {"tcf": "here"}, NOW)


def test_a_policy_that_reads_no_tcf_string_takes_none():
    for signal in ({"tcf": golden("no publisher segment")}, {"gpp": european("Europe")}):
        with pytest.raises(Forbidden, match="does not read"):
            read_signal(policy("[signals]\n"), signal, NOW)


# GPP


def test_a_gpp_string_grants_what_its_european_section_does():
    choice = read_signal(POLICY, {"gpp": european("Europe and a state without opt-out")}, NOW)
    assert (choice.granted, choice.source, choice.made) == (ALL, "gpp", MADE)


def test_an_opt_out_outweighs_the_consent_beside_it():
    choice = read_signal(POLICY, {"gpp": european("Europe consents and a state opts out")}, NOW)
    assert choice.granted == set()
    assert choice.objects
    assert set(choice.refused.values()) == {"objection"}


@pytest.mark.parametrize(
    "vector",
    [one for one in GPP["golden"] if not one["european"]],
    ids=[one["name"] for one in GPP["golden"] if not one["european"]],
)
def test_a_state_objects_or_says_nothing_and_never_grants(vector):
    if vector["objections"]:
        choice = read_signal(POLICY, {"gpp": vector["text"]}, NOW)
        assert (choice.granted, choice.objects, choice.source) == (set(), True, "gpp")
    else:
        with pytest.raises(Forbidden, match="neither an objection nor a choice"):
            read_signal(POLICY, {"gpp": vector["text"]}, NOW)


# GPC


@pytest.mark.parametrize("value", ["0", "", "true", "yes", " 1", "1 ", "1,1", "01", "１", "1\n", None, 1, True])
def test_only_the_exact_value_1_objects(value):
    assert not gpc_objects(value)
    with pytest.raises(Malformed) as caught:
        read_signal(POLICY, {"gpc": value}, NOW)
    assert caught.value.place == "gpc"


def test_gpc_is_an_objection_to_everything():
    assert gpc_objects("1")
    choice = read_signal(POLICY, {"gpc": "1"}, NOW)
    assert (choice.granted, choice.objects, choice.source, choice.made) == (set(), True, "gpc", None)
    assert choice.words("fr")["measure"] == "la personne s'oppose"


@pytest.mark.parametrize(
    "signal",
    [
        {"choices": dict.fromkeys(ALL, True)},
        {"tcf": golden("everything consented, vendors as bits")},
        {"tcf": "broken"},
        {"gpp": european("Europe")},
        {"consent_mode": PERSONAL, "cmp": BANNER},
    ],
    ids=["choices", "tcf", "broken", "gpp", "consent mode"],
)
def test_under_gpc_every_signal_is_an_objection(signal):
    choice = read_signal(POLICY, signal, NOW, gpc=True)
    assert (choice.granted, choice.objects, choice.source) == (set(), True, "gpc")


def test_where_the_policy_says_so_the_apps_own_choice_outweighs_gpc_and_no_string_does():
    choice = read_signal(YIELDING, {"choices": {"measure": True}}, NOW, gpc=True)
    assert (choice.granted, choice.objects, choice.source) == ({"measure"}, False, OVER_GPC)
    for signal in ({"tcf": golden("everything consented, vendors as bits")}, {"gpc": "1"}):
        assert read_signal(YIELDING, signal, NOW, gpc=True).objects
    assert read_signal(YIELDING, {"choices": {"measure": True}}, NOW).source == "app"


# Consent mode


def test_consent_mode_grants_by_the_map_of_the_policy():
    choice = read_signal(POLICY, {"consent_mode": {**PERSONAL, "ad_user_data": "denied"}, "cmp": BANNER}, NOW)
    assert (choice.granted, choice.source, choice.made) == ({"personalize"}, BANNER, None)
    assert set(choice.refused.values()) == {"not_chosen"}
    half = {"personalization_storage": "granted"}
    assert read_signal(POLICY, {"consent_mode": half, "cmp": BANNER}, NOW).granted == set()
    assert read_signal(POLICY, {"consent_mode": {}, "cmp": BANNER}, NOW).granted == set()


@pytest.mark.parametrize("cmp", ["", "another", BANNER.upper(), BANNER + " ", None, 1, [BANNER], {}])
def test_a_consent_platform_that_the_policy_does_not_name_is_not_believed(cmp):
    with pytest.raises(Forbidden) as caught:
        read_signal(POLICY, {"consent_mode": PERSONAL, "cmp": cmp}, NOW)
    assert caught.value.place == "cmp"
    assert "another" not in str(caught.value)


@pytest.mark.parametrize(
    "states",
    [
        None,
        [],
        "granted",
        [("ad_storage", "granted")],
        {"ad_storage": True},
        {"ad_storage": "Granted"},
        {"ad_storage": ["granted"]},
        {"ad_storage": None},
        {"wait_for_update": "granted"},
        {"AD_STORAGE": "granted"},
        {1: "granted"},
        {**PERSONAL, "canary": "granted"},
    ],
)
def test_a_map_that_is_none_of_consent_mode_is_refused(states):
    with pytest.raises(Malformed) as caught:
        read_signal(POLICY, {"consent_mode": states, "cmp": BANNER}, NOW)
    assert caught.value.place == "consent_mode"
    assert "canary" not in str(caught.value)


def test_consent_mode_opens_the_terminal_by_a_type_of_storage_alone():
    unopened = policy(SIGNALS.replace('history = ["functionality_storage"]', 'history = ["ad_user_data"]'))
    states = dict.fromkeys(("ad_user_data", "functionality_storage"), "granted")
    choice = read_signal(unopened, {"consent_mode": states, "cmp": BANNER}, NOW)
    assert choice.granted == {"improve"}, "which leaves the terminal alone"
    assert choice.refused["history"] == "not_mapped"


def test_a_purpose_that_the_policy_does_not_map_is_not_granted_by_consent_mode():
    unmapped = policy(SIGNALS.replace('measure = ["analytics_storage"]\n', ""))
    choice = read_signal(unmapped, {"consent_mode": {"analytics_storage": "granted"}, "cmp": BANNER}, NOW)
    assert choice.refused["measure"] == "not_mapped"


# All


def test_the_apps_own_choices_are_read_as_they_are():
    choice = read_signal(POLICY, MappingProxyType({"choices": {"measure": True, "improve": False}}), NOW)
    assert (choice.granted, choice.source) == ({"measure"}, "app")
    assert set(choice.refused) == ALL - {"measure"}


@pytest.mark.parametrize(
    "signal",
    [
        None,
        [],
        "CQ",
        {},
        {"tcf": "", "gpp": ""},
        {"tcf": "", "choices": {}},
        {"consent_mode": {}},
        {"cmp": BANNER},
        {"TCF": ""},
        {"canary": "canary"},
        {1: 2},
        ["tcf"],
    ],
    ids=repr,
)
@pytest.mark.parametrize("gpc", [False, True])
def test_what_is_no_signal_or_more_than_one_is_refused(signal, gpc):
    with pytest.raises(Malformed, match="expected one signal") as caught:
        read_signal(POLICY, signal, NOW, gpc=gpc)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "time"),
    [("app", MADE), ("app", MADE + DAY - 1), ("app", MADE + DAY), ("tcf", MADE + DAY), ("tcf", MADE + 99 * DAY)],
)
def test_a_string_that_may_be_older_than_the_choice_in_force_can_only_narrow_it(source, time):
    everything = read_signal(POLICY, {"tcf": golden("everything consented, vendors as bits")}, NOW)
    narrowed = everything.beside(frozenset({"measure"}), source, time)
    assert (narrowed.granted, narrowed.source, narrowed.made) == ({"measure"}, source, MADE)
    assert set(narrowed.refused) == ALL - {"measure"}
    nothing = read_signal(POLICY, {"tcf": golden("nothing consented")}, NOW)
    assert nothing.beside(frozenset({"measure"}), source, time).granted == set()


@pytest.mark.parametrize(("source", "time"), [("tcf", MADE), ("tcf", MADE + DAY - 1), ("app", MADE - 1)])
def test_a_string_of_a_later_day_or_of_this_day_and_source_holds(source, time):
    choice = read_signal(POLICY, {"tcf": golden("everything consented, vendors as bits")}, NOW)
    assert choice.beside(frozenset(), source, time) is choice


def test_what_is_chosen_now_holds_whatever_was_chosen_before():
    choice = read_signal(POLICY, {"choices": {"measure": True}}, NOW)
    assert choice.beside(frozenset(), "tcf", NOW + DAY) is choice


def test_nothing_of_a_signal_shows_in_a_choice_an_error_or_a_log(caplog):
    caplog.set_level(logging.DEBUG)
    strings = [
        one["text"] for one in [*TCF["golden"], *TCF["bad"], *GPP["golden"], *GPP["bad"]] if len(one["text"]) > 12
    ]
    for text in strings:
        for kind in ("tcf", "gpp", "cmp"):
            signal = {"cmp": text, "consent_mode": {}} if kind == "cmp" else {kind: text}
            try:
                shown = repr(read_signal(POLICY, signal, NOW))
            except (Malformed, Forbidden) as error:
                shown = f"{error!s}{error!r}{vars(error)}"
            assert text[:12] not in shown
            assert text[-12:] not in shown
    assert caplog.text == ""
