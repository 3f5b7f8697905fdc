"""The privacy policy: what is refused at parse, and what a bundle may ask."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import pytest

from entrenous_consent.errors import Malformed
from entrenous_consent.policy import (
    POLICY_LIMIT,
    AskedDecision,
    AskedFeature,
    PrivacyPolicy,
    Request,
    parse_policy,
)

SHIPPED = {package: files(package) / "demo" / "policy.toml" for package in ("entrenous", "entrenous_exporters")}
TEXT = SHIPPED["entrenous"].read_text("utf-8")
BROWSING, BUYING = "user.behavior.browsing_history", "user.behavior.purchase_history"


@pytest.fixture
def policy() -> PrivacyPolicy:
    return parse_policy(TEXT.encode())


def rule(name: str, purpose: str = "personalize", retention: str = "retention_days = 1") -> str:
    return f'\n[[features]]\nname = "{name}"\npurpose = "{purpose}"\ncategory = "c"\nsource = "s"\n{retention}\n'


@pytest.mark.parametrize("package", SHIPPED)
def test_a_shipped_policy_parses(package):
    assert set(parse_policy(SHIPPED[package].read_bytes()).purposes) == {"personalize", "history", "measure", "improve"}


def test_the_parsed_values_are_those_written(policy):
    assert (policy.version, policy.tenant, policy.epoch, policy.max_stale) == (
        1,
        "demo_shop",
        400 * 86_400,
        14 * 86_400,
    )
    assert policy.purposes["personalize"].lifetime == 180 * 86_400
    assert policy.purposes["history"].title == {"en": "Remember past purchases", "fr": "Se souvenir des achats passés"}
    assert policy.controller.role == "controller"


@pytest.mark.parametrize(
    ("written", "instead", "place"),
    [
        ("format = 1", "format = 2", "format"),
        ("format = 1", "format = 1\ncolour = 1", "colour"),
        ("[signals]", "[signals]\ncolour = 1", "signals.colour"),
        ('dpv = "dpv:ServiceOptimisation"', "colour = 1", "purposes.improve.colour"),
        ('en = "Let the next', 'de = "x"\nen = "Let the next', "purposes.improve.description.de"),
        ("retention_days = 90", "retention_days = 90\ncolour = 1", "features[3].colour"),
        ("lifetime_epsilon = 12.0", "lifetime_epsilon = 12.0\ncolour = 1", "reports[0].colour"),
        ("version = 1\ntenant", "version = true\ntenant", "version"),
        ("version = 1\ntenant", 'version = "1"\ntenant', "version"),
        ("version = 1\ntenant", "version = 0\ntenant", "version"),
        ("version = 1\ntenant", f"version = 1{'0' * 400}\ntenant", "version"),
        ("epsilon = 4.0", "epsilon = nan", "reports[0].epsilon"),
        ("epsilon = 4.0", "epsilon = inf", "reports[0].epsilon"),
        ("epsilon = 4.0", "epsilon = true", "reports[0].epsilon"),
        ("epsilon = 4.0", f"epsilon = 1{'0' * 400}", "reports[0].epsilon"),
        ("orders = 20", "orders = nan", "reports[0].clip.orders"),
        ('tenant = "demo_shop"', 'tenant = "Demo Shop"', "tenant"),
        ('tenant = "demo_shop"', "", "tenant"),
        ("security = [", 'security = ["  ",', "security[0]"),
        ("gpc_yields_to_later_choice = false", "gpc_yields_to_later_choice = 0", "signals.gpc_yields_to_later_choice"),
        ("epoch_days = 400", "epoch_days = 29", "epoch_days"),
        ("windows_days = [30]", "windows_days = [true]", "attribution.windows_days[0]"),
        ('legal_basis = "consent"', 'legal_basis = "habit"', "purposes.personalize.legal_basis"),
        ('terminal = "consent"', 'terminal = "exempt"', "purposes.personalize.terminal_ground"),
        ('terminal = "consent"', 'terminal = "exempt"\nterminal_ground = " "', "purposes.personalize.terminal_ground"),
        ("lifetime_days = 180", "", "purposes.personalize.lifetime_days"),
        ("tcf_purposes = [1, 6]", "tcf_purposes = [12]", "purposes.personalize.tcf_purposes[0]"),
        ("[purposes.improve", "[purposes.consent", "purposes.consent"),
        ("[purposes.improve", "[purposes.Improve", "purposes.Improve"),
        ("retention_days = 90", "", "features[3].retention_days"),
        ("retention_days = 90", "retention_days = -1", "features[3].retention_days"),
        ("retention_days = 90", f"retention_days = 90\n{rule('visit_*')}", "features[4].name"),
        ("retention_days = 90", f"retention_days = 90\n{rule('v*sit')}", "features[4].name"),
        ("retention_days = 90", f"retention_days = 90\n{rule('x', 'profit')}", "features[4].purpose"),
        ('purpose = "measure"', 'purpose = "profit"', "reports[0].purpose"),
        ('metrics = ["visitors", ', 'metrics = ["visitors", "clicks", ', "reports[0].metrics[1]"),
        ('metrics = ["visitors", ', "metrics = [", "reports[0].metrics"),
        ("epsilon = 4.0", "epsilon = 13.0", "reports[0].lifetime_epsilon"),
        ("quantum = 1000", "quantum = 100001", "reports[0].quantum"),
        ("revenue = 100000 }\nquantum = 1000", "revenue = 1000000000 }\nquantum = 1", "reports[0].clip"),
        ("window_days = 30", "window_days = 7", "reports[0].window_days"),
        ('children = "no"', 'children = "perhaps"', "children"),
        ("audit_retention_days = 1830", "audit_retention_days = 3661", "audit_retention_days"),
        ("[rights]", "[rights]\ncolour = 1", "rights.colour"),
        ("[rights]", '[rights]\nportability = "/x"', "rights.portability"),
        ('method = "hmac"', 'method = "md5"', "identifiers[0].method"),
        ('key_kept = "apart"', 'key_kept = "apart"\ncolour = 1', "identifiers[0].colour"),
        ("key_bits = 256", "key_bits = true", "identifiers[0].key_bits"),
        ('effect = "offer"', 'effect = "magic"', "decisions[0].effect"),
        ('effect = "offer"', 'effect = "offer"\ncolour = 1', "decisions[0].colour"),
        ("[signals]", '[[decisions]]\nname = "x"\npurpose = "y"\neffect = "offer"\n[signals]', "decisions[1].purpose"),
        (
            "[signals]",
            '[[decisions]]\nname = "promotion"\npurpose = "measure"\neffect = "offer"\n[signals]',
            "decisions[1].name",
        ),
        (
            "[signals]",
            '[[identifiers]]\nname = "customer_id"\ncategory = "user"\nmethod = "none"\n[signals]',
            "identifiers[1].name",
        ),
        ('terminal = "consent"', 'terminal = "consent"\nasked = "by_habit"', "purposes.personalize.asked"),
        ("[signals]", '[[recipients]]\nname = "r"\ncontact = "c"\ncountry = "fr"\n[signals]', "recipients[0].country"),
        ("[signals]", '[[recipients]]\nname = "r"\ncontact = "c"\ncountry = "F"\n[signals]', "recipients[0].country"),
        (
            "[signals]",
            '[[transfers]]\ncountry = "US"\nrecipient = "r"\nsafeguard = "s"\nkind = "luck"\n[signals]',
            "transfers[0].kind",
        ),
        ("[signals]", '[[transfers]]\ncountry = "US"\nrecipient = "r"\n[signals]', "transfers[0].safeguard"),
        (
            "[[reports]]",
            '[[messages]]\nname = "m"\npurpose = "profit"\nrecipient = "r"\n[[reports]]',
            "messages[0].purpose",
        ),
    ],
)
def test_a_bad_policy_says_where_and_what_to_do(written, instead, place):
    assert written in TEXT
    with pytest.raises(Malformed) as caught:
        parse_policy(TEXT.replace(written, instead).encode(), place="policy.toml")
    assert caught.value.place == f"policy.toml: {place}"
    assert caught.value.remedy


@pytest.mark.parametrize(
    "data",
    [
        b"#" * (POLICY_LIMIT + 1),
        TEXT.encode("utf-16"),
        TEXT.encode("latin-1"),
        b"format = ",
        b"format = 1\nformat = 1",
        b"format = 1" + b"0" * 5000,
        b"a = " + b"[" * 5000,
    ],
    ids=["too long", "UTF-16", "Latin-1", "cut short", "a key twice", "a number of 5000 digits", "deeply nested"],
)
def test_what_is_not_a_document_is_malformed(data):
    with pytest.raises(Malformed) as caught:
        parse_policy(data, place="policy.toml")
    assert caught.value.place == "policy.toml"
    assert caught.value.remedy


def test_a_report_is_found_by_decision_and_purpose(policy):
    assert policy.report("promotion", "measure") is policy.reports[0]
    assert policy.report("promotion", "personalize") is policy.report("other", "measure") is None


def test_what_a_policy_says_for_people_is_kept():
    more = '[[recipients]]\nname = "r"\ncontact = "c"\ncountry = "CH"\n[[transfers]]\ncountry = "CH"\nrecipient = "r"\n'
    more += (
        'safeguard = "2000/518/EC"\nkind = "adequacy"\n[[messages]]\nname = "m"\npurpose = "measure"\nrecipient = "r"\n'
    )
    policy = parse_policy(TEXT.replace("[signals]", more + "[signals]").encode())
    assert policy.rights.withdraw == "/privacy"
    assert (policy.data_subjects, policy.children, policy.lifetime_epsilon) == (("customer", "visitor"), "no", 12.0)
    [identifier], [decision], [recipient], [transfer] = (
        policy.identifiers,
        policy.decisions,
        policy.recipients,
        policy.transfers,
    )
    assert (identifier.method, identifier.key_bits, identifier.per_purpose) == ("hmac", 256, True)
    assert (decision.effect, decision.alone, decision.inputs[0]) == ("offer", True, "visit_*")
    assert (recipient.country, transfer.kind, policy.messages[0].recipient) == ("CH", "adequacy", "r")


def test_a_policy_from_before_these_keys_says_that_nothing_was_stated():
    head, _, rest = TEXT.partition("[rights]")
    rest = rest[rest.index("[signals]") :]
    bare = "".join(
        line
        for line in (head + rest).splitlines(keepends=True)
        if not line.startswith(("data_subjects", "children", "audit_ret", "lifetime_epsilon = 12.0\nsecurity"))
    )
    bare = bare.replace("lifetime_epsilon = 12.0\nsecurity", "security")
    policy = parse_policy(bare.encode())
    assert (policy.data_subjects, policy.children, policy.identifiers, policy.decisions) == ((), "", (), ())
    assert (policy.audit_retention_days, policy.audit_days, policy.lifetime_epsilon) == (0, 1830, 0.0)
    assert policy.rights.refuse == policy.rights.complain == ""
    purpose = policy.purposes["personalize"]
    assert (purpose.asked, purpose.explicit_consent, purpose.interest) == ("by_action", False, "")


def test_a_stated_audit_retention_counts():
    policy = parse_policy(TEXT.replace("audit_retention_days = 1830", "audit_retention_days = 90").encode())
    assert policy.audit_days == 90


def test_a_policy_without_purposes_is_refused():
    text = TEXT[: TEXT.index("[[decisions]]")] + TEXT[TEXT.index("[signals]") :]
    head, _, rest = text.partition("[purposes.personalize]")
    with pytest.raises(Malformed, match="purposes: declares none"):
        parse_policy(f"{head}[purposes]\n[[features]]{rest.partition('[[features]]')[2]}".encode())


def test_an_unknown_key_is_named_no_longer_than_needed():
    with pytest.raises(Malformed) as caught:
        parse_policy(f"{'k' * 10_000} = 1\n{TEXT}".encode())
    assert len(caught.value.place) < 200


def test_the_digest_is_that_of_the_bytes(policy):
    assert parse_policy(TEXT.encode() + b"\n").digest != policy.digest


# What a bundle may ask

VIEWS = AskedFeature(
    name="visit_views", purpose="personalize", category=BROWSING, source="first_party", retention_days=30
)


def asks(*features: AskedFeature, decisions: tuple[AskedDecision, ...] = ()) -> Request:
    return Request(features=features, decisions=decisions)


def test_what_the_policy_names_is_permitted(policy):
    assert policy.permits(asks(VIEWS, decisions=(AskedDecision(name="promotion", purpose="personalize"),))) == ()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"purpose": "history"}, "features.visit_views.purpose: "),
        ({"category": BUYING}, "features.visit_views.category: "),
        ({"source": "broker"}, "features.visit_views.source: "),
        ({"retention_days": 31}, "features.visit_views.retention_days: "),
        ({"name": "visits"}, "features.visits: "),
    ],
)
def test_a_feature_beyond_its_rule_is_refused(policy, change, place):
    [refusal] = policy.permits(asks(replace(VIEWS, **change)))
    assert refusal.startswith(place)


def test_a_decision_for_an_undeclared_purpose_is_refused(policy):
    [refusal] = policy.permits(asks(decisions=(AskedDecision(name="promotion", purpose="profit"),)))
    assert refusal.startswith("decisions.promotion.purpose: ")


def test_the_exact_name_beats_the_longest_prefix_beats_a_shorter_one():
    rules = rule("visit_views", "history") + rule("visit_view*", "measure") + rule("v*", "improve")
    policy = parse_policy((TEXT + rules).encode())
    found = {name: policy.rule(name) for name in ("visit_views", "visit_viewed", "visit_x", "vat", "x")}
    assert {name: one and one.purpose for name, one in found.items()} == {
        "visit_views": "history",
        "visit_viewed": "measure",
        "visit_x": "personalize",
        "vat": "improve",
        "x": None,
    }


def test_refusals_are_sorted_by_path(policy):
    features = [replace(VIEWS, name=name, purpose="profit", retention_days=99) for name in ("a1", "visit_b", "a")]
    paths = [line.partition(": ")[0] for line in policy.permits(asks(*features))]
    assert paths == sorted(paths)
    assert paths[:2] == ["features.a", "features.a1"]


@pytest.mark.parametrize(
    "line", [b"a" + b".a" * 100_000 + b" = 1", b"[" + b'"a".' * 50_000 + b"a]"], ids=["key", "table"]
)
def test_a_key_of_a_hundred_thousand_parts_is_refused_before_it_is_read(line: bytes) -> None:
    """A reader of TOML takes minutes for one."""
    with pytest.raises(Malformed, match="holds a key of more than 200 parts"):
        parse_policy(line)


def test_text_may_hold_any_number_of_dots() -> None:
    with pytest.raises(Malformed, match="format: is missing"):
        parse_policy(b'a = "' + b"." * 2000 + b"\"\nb = '" + b"." * 2000 + b"'\n")


def test_a_purpose_is_contextual_where_neither_terminal_nor_law_asks_for_consent(policy):
    assert policy.contextual == frozenset()
    history = policy.purposes["history"]
    ways = {
        "neither": replace(history, terminal="none", legal_basis="legitimate_interests"),
        "terminal": replace(history, terminal="consent", legal_basis="legitimate_interests"),
        "exempt": replace(history, terminal="exempt", legal_basis="contract"),
        "law": replace(history, terminal="none", legal_basis="consent"),
    }
    assert replace(policy, purposes=ways).contextual == {"neither"}
